//! The command line: what a person types, and the only room that speaks `anyhow`.
//!
//! Results go to standard output or into files, everything else to standard error. Exit codes: 0 done,
//! 1 the work failed, 2 usage or configuration, 70 gave up on a hung run.

mod analyze;

mod check;

mod completions;

mod demo;

mod merge;

mod output;

mod queue;

mod report;

mod run;

use crate::compute::select::Backends;
use crate::config::{self, BackendSettings, Faults, LogArgs};
use crate::export;
use crate::model::result::AnalysisResult;
use crate::telemetry;
use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// EX_SOFTWARE of sysexits.h: a supervisor should start the process anew.
const HUNG: u8 = 70;

const EXAMPLES: &str = "\
Examples:
  oma-worker demo
      a structure of exactly known modes, from its files through the queue to the modes
  oma-worker analyze record.csv --method ssi-cov --fs 100 --report report.html
      the modes of your own record
  oma-worker run --embedded ./workspace
      the queue worker on a workspace; fill it with `enqueue`, look at it with `status`

Exit codes: 0 done, 1 the work failed, 2 usage or configuration, 70 gave up on a hung run.";

/// Finds natural frequencies, damping ratios and mode shapes of a structure from its ambient vibration alone
#[derive(Debug, Parser)]
#[command(name = "oma-worker", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work off queued runs until told to stop
    Run(run::Run),
    /// Watch the whole worker find the modes of a structure whose modes are exactly known
    Demo(demo::Demo),
    /// Analyse files without a queue
    Analyze(analyze::Analyze),
    /// Join the results of setups that share reference channels
    Merge(merge::Merge),
    /// Write the page of results that lie as JSON
    Report(report::Report),
    /// Queue a run of an analysis
    Enqueue(queue::Enqueue),
    /// Stop the running run of an analysis
    Abort(queue::Abort),
    /// Show analyses, queued runs and dead letters
    Status(queue::Status),
    /// Put the demo's structure with its files and three queued runs into the stores
    Seed(demo::seed::Seed),
    /// Validate the configuration and reach every store
    Check(check::Check),
    /// Print the completions of a shell
    Completions(completions::Completions),
}

/// The command cannot be carried out as it was typed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// A run made no progress and could not be stopped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Hung(String);

/// The backends that the settings name.
fn backends(settings: &BackendSettings) -> anyhow::Result<Arc<Backends>> {
    let backends = Backends::keeping(settings.choice, settings.adapter.clone(), config::kernel_folder());
    backends.check().map_err(|reason| Usage(format!("OMA_BACKEND (--backend) is gpu, but {reason}")))?;
    Ok(backends)
}

/// Parses the arguments, does what they say and returns the exit code.
pub fn main() -> ExitCode {
    let result = config::load_env_file().map_err(anyhow::Error::from).and_then(|()| match Cli::try_parse() {
        Ok(cli) => execute(cli),
        Err(error) => explain(&error),
    });
    result.unwrap_or_else(|error| fail(&error))
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Run(run) = &cli.command {
        run.check(&cli.log)?;
    }
    let default_filter = if matches!(cli.command, Command::Run(_)) { "info" } else { "warn" };
    let log = cli.log.check(default_filter)?;
    if let Command::Check(check) = cli.command {
        return check.execute(&cli.log);
    }
    let _log = telemetry::start(log).map_err(|error| Usage(error.to_string()))?;
    match cli.command {
        Command::Run(command) => command.execute(&cli.log),
        Command::Demo(command) => command.execute(),
        Command::Analyze(command) => command.execute(),
        Command::Merge(command) => command.execute(),
        Command::Report(command) => command.execute(),
        Command::Enqueue(command) => command.execute(),
        Command::Abort(command) => command.execute(),
        Command::Status(command) => command.execute(),
        Command::Seed(command) => command.execute(&cli.log),
        Command::Check(command) => command.execute(&cli.log),
        Command::Completions(command) => command.execute(),
    }
}

/// What clap has to say: help and version to standard output, a mistake to standard error.
fn explain(error: &clap::Error) -> anyhow::Result<ExitCode> {
    if !error.use_stderr() {
        error.print()?;
        return Ok(ExitCode::SUCCESS);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.print()?;
        return Ok(ExitCode::from(USAGE));
    }
    let text = error.render().to_string();
    Err(Usage(text.trim_start_matches("error: ").trim_end().to_owned()).into())
}

/// Says what went wrong, once, and finds the exit code.
fn fail(error: &anyhow::Error) -> ExitCode {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    // Whoever read our output has seen enough: `oma-worker status | head -1` is no failure.
    if error.chain().any(closed) {
        return ExitCode::SUCCESS;
    }
    // Nothing can be said where standard error is closed too.
    let _ = writeln!(io::stderr(), "oma-worker: {error:#}");
    let code = if error.is::<Usage>() || error.is::<Faults>() {
        USAGE
    } else if error.is::<Hung>() {
        HUNG
    } else {
        FAILED
    };
    ExitCode::from(code)
}

/// Runs a future on a new runtime. What still computes when it is done is not waited for: the process ends next.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Runtime::new().context("the threads of the runtime cannot be started")?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Writes a file, or standard output where the path is `-`.
fn write_output(path: &Path, content: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return writeln!(io::stdout(), "{}", content.trim_end()).context("standard output");
    }
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a result for other programs into a folder, which is made if need be.
fn write_export(folder: &Path, result: &AnalysisResult) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, content) in export::files(result)? {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
