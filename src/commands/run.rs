//! `run`: the daemon.

use super::{Hung, block_on, queue};
use crate::config::{self, LogArgs, ServerArgs, Settings, WorkerArgs};
use crate::http::{self, AskWaiting, Sources};
use crate::stores::embedded::Embedded;
use crate::stores::mongo::Mongo;
use crate::stores::names::Names;
use crate::stores::servers::{ServerSettings, Servers};
use crate::stores::{RunQueue, Stores};
use crate::systemd;
use crate::worker::{Execute, Heart, Shutdown, Summary, Worker, WorkerOptions};
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  oma-worker run
      on the servers that MONGODB_*, MYSQL_*, AWS_* and KAFKA_* name; `oma-worker check` says whether they are reached
  oma-worker run --embedded ./workspace
      works until SIGTERM or Ctrl-C; a run that is at work then goes back into the queue
  oma-worker run --embedded ./workspace --exit-when-idle 10
      works off what is queued and leaves
  SLEEP_TIME=1 OMA_LOG=debug oma-worker run --embedded ./workspace --once
      one run, told in detail

Any number of workers may share one queue. Settings may stand in the environment or in a .env file; empty means unset.";

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
    #[command(flatten)]
    servers: ServerArgs,
}

fn idle(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    seconds.ok_or_else(|| "a number of seconds of at least 0".into())
}

impl Run {
    /// Everything that can be wrong before a store is opened; the servers' settings where they are needed.
    pub(super) fn check(&self, log: &LogArgs) -> anyhow::Result<(Settings, Option<ServerSettings>)> {
        match self.embedded {
            Some(_) => Ok((self.worker.check(log)?, None)),
            None => {
                let (settings, servers) = self.worker.check_with(&self.servers, log)?;
                Ok((settings, Some(servers)))
            }
        }
    }

    pub(super) fn execute(self, log: &LogArgs) -> anyhow::Result<ExitCode> {
        let (settings, servers) = self.check(log)?;
        for line in config::unknown_variables() {
            tracing::warn!("{line}");
        }
        let options = WorkerOptions { once: self.once, exit_when_idle: self.exit_when_idle, ..options(&settings) };
        block_on(async {
            let ground = match &servers {
                Some(servers) => Ground::on_servers(servers, &settings).await?,
                None => {
                    let workspace = queue::open(&self.embedded.unwrap_or_default()).await?;
                    Ground::in_folder(&workspace, &settings).await?
                }
            };
            tracing::info!(stores = ground.told, worker = options.worker_id, "worker starts");
            let summary = work(ground, &settings, options).await?;
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

/// What a worker works on: the six ports, and heartbeats with a thread and a connection of their own.
pub(super) struct Ground {
    pub(super) stores: Stores,
    names: Names,
    data_path: PathBuf,
    heart: Heart,
    waiting: AskWaiting,
    /// What the log says of it.
    told: String,
}

impl Ground {
    pub(super) async fn in_folder(workspace: &Embedded, settings: &Settings) -> anyhow::Result<Ground> {
        let folder = workspace.folder().to_owned();
        let told = folder.display().to_string();
        let data_path = settings.data_path.clone().unwrap_or_else(|| folder.join("data"));
        let open = move || async move {
            let queue: Arc<dyn RunQueue> = Embedded::open(&folder).await?.stores().queue;
            Ok(queue)
        };
        let heart = Heart::on_own_thread(open).await.context("heartbeats")?;
        let (stores, names, asked) = (workspace.stores(), workspace.names().clone(), workspace.clone());
        let waiting: AskWaiting = Arc::new(move || {
            let workspace = asked.clone();
            Box::pin(async move { workspace.waiting().await })
        });
        Ok(Ground { stores, names, data_path, heart, waiting, told })
    }

    async fn on_servers(servers: &ServerSettings, settings: &Settings) -> anyhow::Result<Ground> {
        let clients = Servers::connect(servers).await?;
        let (mongodb, names) = (servers.mongodb.clone(), servers.names.clone());
        let connect = move || async move {
            let queue: Arc<dyn RunQueue> = Arc::new(Mongo::connect(&mongodb, &names).await?);
            Ok(queue)
        };
        let heart = Heart::on_own_thread(connect).await.context("heartbeats")?;
        let mongo = clients.mongo.clone();
        tokio::spawn(async move {
            if let Err(error) = mongo.make_indexes().await {
                tracing::warn!(error = %error, "the queue has no indexes of ours, claims may be slow");
            }
        });
        let told = format!(
            "MongoDB {}, MySQL {}, S3 {}, Kafka {}",
            servers.mongodb.domain,
            servers.mysql.host,
            servers.s3.endpoint.as_deref().unwrap_or(&servers.s3.region),
            servers.kafka.broker
        );
        let data_path = settings.data_path.clone().unwrap_or_default();
        let asked = clients.mongo.clone();
        let waiting: AskWaiting = Arc::new(move || {
            let mongo = asked.clone();
            Box::pin(async move { mongo.waiting().await })
        });
        Ok(Ground { stores: clients.stores(), names: servers.names.clone(), data_path, heart, waiting, told })
    }
}

/// The worker's loop, until the options or a signal end it.
pub(super) async fn work(ground: Ground, settings: &Settings, options: WorkerOptions) -> anyhow::Result<Summary> {
    let Ground { stores, names, data_path, heart, waiting, .. } = ground;
    std::fs::create_dir_all(&data_path).with_context(|| format!("DATA_PATH: {}", data_path.display()))?;
    let execute = Execute::new(stores.clone(), names, &data_path, SPOOL_LIMIT, settings.string_paths)
        .with_memory_limit(settings.memory_limit_mib)
        .with_reports(settings.reports)
        .with_tracking(settings.tracked_results)
        .with_backends(super::backends(&settings.backend)?);
    let shutdown = Shutdown::on_signals().context("the process cannot be told of signals")?;
    let queue = stores.queue.clone();
    let worker = Worker::new(stores, heart, options, Arc::new(execute));
    let vitals = worker.vitals();
    if let Some(address) = settings.http_addr {
        let metrics = http::record().context("figures cannot be recorded")?;
        let listener = http::bind(address).await.with_context(|| format!("OMA_HTTP_ADDR: {address}"))?;
        let sources = Sources { vitals: vitals.clone(), shutdown: shutdown.clone(), queue, waiting };
        tracing::info!(address = ?listener.local_addr(), "HTTP is served");
        tokio::spawn(http::serve(listener, sources, metrics));
    }
    tokio::spawn(systemd::tell(vitals, shutdown.clone()));
    Ok(worker.run(shutdown).await)
}
