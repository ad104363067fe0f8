//! `check`: whether this configuration works, before anything depends on it.

use super::queue;
use crate::compute::cpu::Cpu;
use crate::compute::gpu::{self, Adapter, Gpu};
use crate::compute::select::Choice;
use crate::config::{self, Faults, LogArgs, ServerArgs, WorkerArgs};
use crate::stores::servers::Servers;
use anyhow::Context;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  oma-worker check
      the servers that MONGODB_*, MYSQL_*, AWS_* and KAFKA_* name
  oma-worker check --embedded ./workspace
      a workspace in a folder

One line for each thing that was looked at; the exit code is 0 if all of them are well, otherwise 1.";

/// Validate the configuration and reach every store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// Folder of the workspace
    #[arg(long, value_name = "DIR")]
    embedded: Option<PathBuf>,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    servers: ServerArgs,
}

/// What was looked at, and what was found.
type Finding = (&'static str, anyhow::Result<String>);

/// The lines of a failure: each setting that cannot be used has one, what a server says stays in one.
fn failure(name: &str, error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<Faults>() {
        Some(faults) => {
            let each = faults.each().map(|fault| format!("FAIL  {name}: {fault}"));
            each.chain(faults.remedies().map(|remedy| format!("      {remedy}"))).collect()
        }
        None => vec![format!("FAIL  {name}: {}", format!("{error:#}").replace('\n', " "))],
    }
}

impl Check {
    pub(super) fn execute(self, log: &LogArgs) -> anyhow::Result<ExitCode> {
        let mut findings = vec![("settings", self.settings(log)), ("log", log_folder(log))];
        match &self.embedded {
            Some(folder) => findings.push(("workspace", workspace(folder))),
            None => findings.extend(self.reach(log)),
        }
        findings.extend(self.gpus(log));
        findings
            .extend(config::unknown_variables().into_iter().map(|line| ("environment", Err(anyhow::anyhow!(line)))));
        let mut out = io::stdout();
        for (name, finding) in &findings {
            match finding {
                Ok(text) => writeln!(out, "ok    {name}: {text}"),
                Err(error) => failure(name, error).iter().try_for_each(|line| writeln!(out, "{line}")),
            }
            .context("standard output")?;
        }
        let failed = findings.iter().any(|(_, finding)| finding.is_err());
        Ok(if failed { ExitCode::from(super::FAILED) } else { ExitCode::SUCCESS })
    }

    fn settings(&self, log: &LogArgs) -> anyhow::Result<String> {
        let settings = match &self.embedded {
            Some(_) => self.worker.check(log)?,
            None => self.worker.check_with(&self.servers, log)?.0,
        };
        if let Some(folder) = &settings.data_path {
            writable(folder).context("DATA_PATH")?;
        }
        let seconds = |d: std::time::Duration| d.as_secs_f64();
        Ok(format!(
            "look every {} s, lease {} s, {} attempts, {} s a run, {} s to drain",
            seconds(settings.sleep_time),
            seconds(settings.lease),
            settings.max_attempts,
            seconds(settings.run_timeout),
            seconds(settings.drain)
        ))
    }

    /// Every adapter, with what it was measured to do; software ones are only named, unless one is asked for.
    fn gpus(&self, log: &LogArgs) -> Vec<Finding> {
        let Ok(settings) = self.worker.check(log) else { return Vec::new() };
        let (choice, wanted) = (settings.backend.choice, settings.backend.adapter);
        let adapters = gpu::adapters();
        let is_wanted = |adapter: &Adapter| match &wanted {
            Some(wanted) => adapter.is_named(wanted),
            None => !adapter.is_software,
        };
        let missing = match &wanted {
            Some(wanted) => format!("no adapter is named {wanted:?} (OMA_GPU_ADAPTER)"),
            None => "none, the CPU computes".into(),
        };
        let rate = format!("{:.1} GFLOP/s in spectral sums", Cpu.rate() / 1e9);
        let mut findings: Vec<Finding> = vec![("CPU", Ok(rate))];
        if !adapters.iter().any(is_wanted) {
            let demanded = choice == Choice::Gpu || wanted.is_some();
            findings.push(("GPU", if demanded { Err(anyhow::anyhow!(missing)) } else { Ok(missing) }));
        }
        for adapter in adapters {
            let named = format!("{} ({}, {} {})", adapter.name, adapter.driver, adapter.api, adapter.pci_bus_id);
            if !is_wanted(&adapter) {
                let why = if adapter.is_software { "software, taken only by name" } else { "not the one asked for" };
                findings.push(("GPU", Ok(format!("{}: {why}", named.trim_end()))));
                continue;
            }
            let tested = Gpu::open(Some(&adapter.name)).and_then(|gpu| {
                let (rates, peaks) = (gpu.rates(), gpu.peaks()?);
                Ok(format!(
                    "{named}: self-test passed, {:.1} GB/s copied, {:.1} GFLOP/s in multiply-adds, {:.1} in products of \
                     spectra, {:.2} GB/s uploaded, {:.1} ms a job",
                    peaks.copy_bytes / 1e9,
                    peaks.flops / 1e9,
                    rates.flops / 1e9,
                    rates.upload_bytes / 1e9,
                    rates.latency_s * 1e3
                ))
            });
            findings.push(("GPU", tested.map_err(anyhow::Error::from)));
        }
        findings
    }

    /// Each of the servers; none while a setting is wrong.
    fn reach(&self, log: &LogArgs) -> Vec<Finding> {
        let Ok((_, servers)) = self.worker.check_with(&self.servers, log) else { return Vec::new() };
        let asked = super::block_on(async {
            let servers = Servers::connect(&servers).await?;
            Ok(servers.check().await)
        });
        match asked {
            Err(error) => vec![("servers", Err(error))],
            Ok(answers) => {
                answers.into_iter().map(|(name, answer)| (name, answer.map_err(anyhow::Error::from))).collect()
            }
        }
    }
}

fn log_folder(log: &LogArgs) -> anyhow::Result<String> {
    match log.check("info")?.logs_path {
        None => Ok("standard error".into()),
        Some(folder) => {
            writable(&folder).context("LOGS_PATH")?;
            Ok(format!("standard error and {}", folder.display()))
        }
    }
}

fn workspace(folder: &Path) -> anyhow::Result<String> {
    super::block_on(async {
        let workspace = queue::open(folder).await?;
        let (analyses, queue) = (workspace.listing().await?.len(), workspace.queue_documents().await?.len());
        let dead = workspace.dead_letters().await?.len();
        writable(folder)?;
        Ok(format!("{}: {analyses} analyses, {queue} queued, {dead} dead letters", folder.display()))
    })
}

/// Makes the folder if need be, and a file in it.
fn writable(folder: &Path) -> anyhow::Result<()> {
    let tried = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    tried.map(drop).with_context(|| format!("{} cannot be written to", folder.display()))
}
