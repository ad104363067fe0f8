//! `run`: the daemon.

use super::{Hung, Usage, block_on, queue};
use crate::config::{self, LogArgs, Settings, WorkerArgs};
use crate::stores::embedded::Embedded;
use crate::stores::{RunQueue, Stores};
use crate::worker::{Execute, Heart, Shutdown, Summary, Worker, WorkerOptions};
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
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
        for line in config::unknown_variables() {
            tracing::warn!("{line}");
        }
        let folder = self.embedded.unwrap_or_default();
        let options = WorkerOptions { once: self.once, exit_when_idle: self.exit_when_idle, ..options(&settings) };
        block_on(async {
            let workspace = queue::open(&folder).await?;
            tracing::info!(workspace = %folder.display(), worker = options.worker_id, "worker starts");
            let summary = work(&workspace, workspace.stores(), &settings, options).await?;
            tracing::info!(counts = ?summary.counts, "worker ends");
            if summary.hung {
                return Err(Hung("a run makes no progress and does not stop; start the worker anew".into()).into());
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Bytes of raw files that are kept in DATA_PATH between runs: a month of 16 channels at 100 Hz as CSV.
const SPOOL_LIMIT: u64 = 40 << 30;

/// The options of a worker that the settings decide.
pub(super) fn options(settings: &Settings) -> WorkerOptions {
    WorkerOptions {
        lease: settings.lease,
        max_attempts: settings.max_attempts,
        sleep_time: settings.sleep_time,
        drain: settings.drain,
        run_timeout: settings.run_timeout,
        ..WorkerOptions::default()
    }
}

/// The worker's loop on a workspace, with heartbeats on a thread and a connection of their own, until the options or
/// a signal end it. `stores` are the workspace's, perhaps with something around them.
pub(super) async fn work(
    workspace: &Embedded,
    stores: Stores,
    settings: &Settings,
    options: WorkerOptions,
) -> anyhow::Result<Summary> {
    let folder = workspace.folder().to_owned();
    let data_path = settings.data_path.clone().unwrap_or_else(|| folder.join("data"));
    std::fs::create_dir_all(&data_path).with_context(|| format!("DATA_PATH: {}", data_path.display()))?;
    let heart = Heart::on_own_thread(move || async move {
        let queue: Arc<dyn RunQueue> = Embedded::open(&folder).await?.stores().queue;
        Ok(queue)
    });
    let heart = heart.await.context("heartbeats")?;
    let names = workspace.names().clone();
    let execute = Execute::new(stores.clone(), names, &data_path, SPOOL_LIMIT, settings.string_paths);
    let shutdown = Shutdown::on_signals().context("the process cannot be told of signals")?;
    Ok(Worker::new(stores, heart, options, Arc::new(execute)).run(shutdown).await)
}
