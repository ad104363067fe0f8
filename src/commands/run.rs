//! `run`: the daemon.

use super::Usage;
use crate::config::{LogArgs, Settings, WorkerArgs};
use crate::stores::Stores;
use crate::stores::embedded::Embedded;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  oma-worker run --embedded ./workspace
      works until SIGTERM or Ctrl-C; a run that is at work then goes back into the queue
  oma-worker run --embedded ./workspace --exit-when-idle 10
      works off what is queued and leaves
  SLEEP_TIME=1 OMA_LOG=debug oma-worker run --embedded ./workspace --once
      one run, told in detail

Any number of workers may share one workspace. Settings may stand in the environment or in a .env file; empty means unset.";

/// Work off queued runs until told to stop
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// Folder that holds queue, analyses, files and results: no server is needed
    #[arg(long, value_name = "DIR")]
    embedded: Option<PathBuf>,
    /// Leave after one run
    #[arg(long)]
    once: bool,
    /// Leave when the queue has been empty for so long
    #[arg(long, value_name = "SECONDS", value_parser = idle)]
    exit_when_idle: Option<Duration>,
    #[command(flatten)]
    worker: WorkerArgs,
}

fn idle(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    seconds.ok_or_else(|| "a number of seconds of at least 0".into())
}

impl Run {
    /// Everything that can be wrong before a store is opened.
    pub(super) fn check(&self, log: &LogArgs) -> anyhow::Result<Settings> {
        let settings = self.worker.check(log)?;
        if self.embedded.is_none() {
            let text = "this version works on an embedded workspace only, stores on servers are not built in yet; \
                        name a folder: oma-worker run --embedded DIR";
            return Err(Usage(text.into()).into());
        }
        Ok(settings)
    }

    pub(super) fn execute(self, log: &LogArgs) -> anyhow::Result<ExitCode> {
        let settings = self.check(log)?;
        let _ = (settings, self.once, self.exit_when_idle);
        anyhow::bail!("not yet")
    }
}

/// How long to work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Until {
    /// Until a signal comes.
    Told,
    /// One run.
    Once,
    /// Until the queue has been empty for so long.
    Idle(Duration),
}

/// The worker's loop.
pub(super) async fn work_off(
    workspace: &Embedded,
    stores: Stores,
    settings: &Settings,
    until: Until,
) -> anyhow::Result<()> {
    let _ = (workspace, stores, settings, until);
    anyhow::bail!("not yet")
}
