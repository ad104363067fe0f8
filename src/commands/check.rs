//! `check`: whether this configuration works, before anything depends on it.

use super::queue;
use crate::config::{self, LogArgs, WorkerArgs};
use anyhow::Context;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Example:
  oma-worker check --embedded ./workspace

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
}

impl Check {
    pub(super) fn execute(self, log: &LogArgs) -> anyhow::Result<ExitCode> {
        let mut findings = vec![("settings", self.settings(log)), ("log", log_folder(log))];
        if let Some(folder) = &self.embedded {
            findings.push(("workspace", workspace(folder)));
        }
        findings.push(("GPU", Ok("none: this version computes on the CPU".into())));
        findings
            .extend(config::unknown_variables().into_iter().map(|line| ("environment", Err(anyhow::anyhow!(line)))));
        let mut out = io::stdout();
        for (name, finding) in &findings {
            match finding {
                Ok(text) => writeln!(out, "ok    {name}: {text}"),
                Err(error) => writeln!(out, "FAIL  {name}: {}", format!("{error:#}").replace('\n', " ")),
            }
            .context("standard output")?;
        }
        let failed = findings.iter().any(|(_, finding)| finding.is_err());
        Ok(if failed { ExitCode::from(super::FAILED) } else { ExitCode::SUCCESS })
    }

    fn settings(&self, log: &LogArgs) -> anyhow::Result<String> {
        let settings = self.worker.check(log)?;
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
