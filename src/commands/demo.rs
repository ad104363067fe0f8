//! `demo`: the whole worker on an embedded workspace, with a structure of exactly known modes.
//!
//! Files with the flaws of real ones go into the workspace, three runs into its queue, the worker's own loop works
//! them off, and what it found is held against what is known. The demo promises to find every mode and checks it.

mod comparison;

mod frame;

pub(super) mod seed;

use super::run::{self, Ground};
use super::{Usage, block_on, write_output};
use crate::config::{BackendArgs, BackendSettings, Settings};
use crate::model::result::AnalysisResult;
use crate::model::run::{RunType, StatusMessage};
use crate::report::{self, Section};
use crate::stores::documents::Id;
use crate::stores::embedded::Embedded;
use crate::stores::{Statuses, StoreResult};
use crate::worker::WorkerOptions;
use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use comparison::Comparison;
use seed::{Owner, Seeded};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  oma-worker demo
      in a temporary folder, whose place is printed
  oma-worker demo --dir ./workspace
      in a folder to look into afterwards, and to go on with:
      oma-worker status --embedded ./workspace
      oma-worker enqueue --embedded ./workspace --analysis ID --type SSI
      oma-worker run --embedded ./workspace --exit-when-idle 2";

/// Watch the whole worker find the modes of a structure whose modes are exactly known
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// Folder for the workspace and report.html; it must not hold a workspace yet [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendArgs,
}

impl Demo {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let backend = self.backend.check()?;
        // What cannot be had is said before a folder is made.
        super::backends(&backend)?;
        let folder = match self.dir {
            Some(dir) => dir,
            None => tempfile::Builder::new().prefix("oma-demo-").tempdir().context("no temporary folder")?.keep(),
        };
        block_on(show(folder, backend))
    }
}

async fn show(folder: PathBuf, backend: BackendSettings) -> anyhow::Result<ExitCode> {
    if Embedded::open(&folder).await.is_ok() {
        let text = format!("{} holds a workspace already, name another folder by --dir", folder.display());
        return Err(Usage(text).into());
    }
    let started = Instant::now();
    let workspace = Embedded::create(&folder).await?;
    let objects = workspace.stores().objects;
    let Seeded { structure_id, analysis_id } =
        seed::seed(&workspace, objects.as_ref(), workspace.names(), &Owner::default()).await?;
    introduce(&folder)?;

    let settings = Settings { sleep_time: Duration::from_millis(50), backend, ..Settings::default() };
    // A fault of the machine is to be seen at once, not waited out.
    let options = WorkerOptions {
        exit_when_idle: Some(Duration::from_millis(500)),
        patience: Duration::from_secs(2),
        ..run::options(&settings)
    };
    let mut ground = Ground::in_folder(&workspace, &settings).await?;
    ground.stores.statuses = Arc::new(Told { inner: ground.stores.statuses, started });
    run::work(ground, &settings, options).await?;

    let mut results = results(&workspace, &structure_id, &analysis_id).await?;
    let comparison = Comparison::new(&frame::chain().modes(), &results[1].modes, &results[2].modes);
    writeln!(io::stdout(), "\n{}\n", comparison.table())?;
    let section = Section {
        title: "Exact and identified modes".into(),
        text: "A shear frame of six storeys; its modes are known in closed form.".into(),
        columns: comparison::COLUMNS.map(str::to_owned).into(),
        rows: comparison.rows(),
    };
    // What a reader looks for first comes first.
    results.reverse();
    let page = folder.join("report.html");
    write_output(&page, &report::page("Demo of the OMA worker", &[section], &results))?;
    writeln!(io::stdout(), "report: {}", page.display())?;
    check(&workspace, &comparison).await?;
    writeln!(
        io::stdout(),
        "all {} modes found within |Δf|/f < {} %, MAC > {}, damping within {} %; 3 runs DONE, queue empty; {:.1} s",
        frame::STOREYS,
        100.0 * comparison::FREQUENCY_LIMIT,
        comparison::MAC_LIMIT,
        100.0 * comparison::DAMPING_LIMIT,
        started.elapsed().as_secs_f64()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn introduce(folder: &std::path::Path) -> io::Result<()> {
    let (first, last) = (frame::logger(1), frame::logger(frame::STOREYS));
    let lost = frame::GAP.len() as f64 / frame::SAMPLING_RATE_HZ;
    writeln!(
        io::stdout(),
        "a shear frame of {} storeys, {} minutes at {} Hz, one file a sensor and hour in {}\n\
         loggers {} and {}, the clock of {} is {} s ahead; storey {} lost {lost} s, {} cells are empty\n",
        frame::STOREYS,
        frame::MINUTES,
        frame::SAMPLING_RATE_HZ,
        folder.display(),
        first.name,
        last.name,
        last.name,
        last.clock_offset.as_secs_f64(),
        frame::GAP_STOREY,
        frame::EMPTY_CELLS.len()
    )
}

/// The results that the analysis names, in the order of [`RunType::ALL`].
async fn results(workspace: &Embedded, structure: &Id, analysis: &Id) -> anyhow::Result<Vec<AnalysisResult>> {
    let listing = workspace.listing().await?.into_iter().find(|l| l.analysis_id == *analysis);
    let body = listing.context("the analysis is gone")?.analysis;
    let mut results = Vec::new();
    for run_type in RunType::ALL {
        let Some(id) = Id::from_value(&body["results"][run_type.as_str()]) else {
            bail!("{run_type} left no result: {}", body["error"]["message"].as_str().unwrap_or("no error is noted"));
        };
        let document =
            workspace.result(structure, &id).await?.with_context(|| format!("{run_type}: no result {id}"))?;
        results.push(serde_json::from_value(document).with_context(|| format!("{run_type}: result {id}"))?);
    }
    Ok(results)
}

/// Holds the demo to its promise.
async fn check(workspace: &Embedded, comparison: &Comparison) -> anyhow::Result<()> {
    let missed = comparison.missed();
    ensure!(missed.is_empty(), "modes were missed:\n{}", missed.join("\n"));
    ensure!(workspace.queue_documents().await?.is_empty(), "the queue is not empty");
    let told = workspace.status_messages().await?;
    let words: Vec<String> = told.iter().map(|m| format!("{} {}", m.run_type, m.status)).collect();
    let expected: Vec<String> =
        RunType::ALL.iter().flat_map(|t| [format!("{t} RUNNING"), format!("{t} DONE")]).collect();
    ensure!(words == expected, "the status messages are {words:?}, should be {expected:?}");
    Ok(())
}

/// A topic that is read aloud.
struct Told {
    inner: Arc<dyn Statuses>,
    started: Instant,
}

#[async_trait]
impl Statuses for Told {
    async fn send(&self, message: &StatusMessage, within: Duration) -> StoreResult<()> {
        self.inner.send(message, within).await?;
        let seconds = self.started.elapsed().as_secs_f64();
        // Whoever does not listen any more still wants the runs to end.
        let _ = writeln!(io::stdout(), "{seconds:6.1} s  {:<13}  {}", message.run_type, message.status);
        Ok(())
    }
}
