//! `enqueue`, `abort`, `status`: the API's part of an embedded workspace.

use super::{Usage, block_on};
use crate::model::run::RunType;
use crate::report::{Alignment, table};
use crate::stores::documents::Id;
use crate::stores::embedded::Embedded;
use crate::stores::workspace::Listing;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const ENQUEUE_EXAMPLES: &str = "\
Example:
  oma-worker enqueue --embedded ./workspace --analysis 65e08e66bfe58ba848bccee0 --type SSI

The ids of the analyses are shown by `oma-worker status --embedded ./workspace`.";

const ABORT_EXAMPLES: &str = "\
Example:
  oma-worker abort --embedded ./workspace --analysis 65e08e66bfe58ba848bccee0

The run that works for the analysis at this moment stops with status ABORTED; queued runs stay queued.";

const STATUS_EXAMPLES: &str = "\
Examples:
  oma-worker status --embedded ./workspace
  oma-worker status --embedded ./workspace --json | python3 -m json.tool";

#[derive(Debug, clap::Args)]
struct OneAnalysis {
    /// Folder of the workspace
    #[arg(long, value_name = "DIR")]
    embedded: PathBuf,
    /// The analysis
    #[arg(long, value_name = "ID", value_parser = object_id)]
    analysis: Id,
}

/// Queue a run of an analysis
#[derive(Debug, clap::Args)]
#[command(after_help = ENQUEUE_EXAMPLES)]
pub(super) struct Enqueue {
    #[command(flatten)]
    target: OneAnalysis,
    /// PREPROCESSING, FDD or SSI
    #[arg(long = "type", value_name = "TYPE")]
    run_type: RunType,
}

/// Stop the running run of an analysis
#[derive(Debug, clap::Args)]
#[command(after_help = ABORT_EXAMPLES)]
pub(super) struct Abort {
    #[command(flatten)]
    target: OneAnalysis,
}

/// Show analyses, queued runs and dead letters
#[derive(Debug, clap::Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub(super) struct Status {
    /// Folder of the workspace
    #[arg(long, value_name = "DIR")]
    embedded: PathBuf,
    /// The documents themselves as one JSON object
    #[arg(long)]
    json: bool,
}

fn object_id(text: &str) -> Result<Id, String> {
    let id = Id::from(text);
    if id.is_object_id() { Ok(id) } else { Err("an id has 24 hexadecimal digits".into()) }
}

/// Opens the workspace that a person named.
pub(super) async fn open(folder: &Path) -> anyhow::Result<Embedded> {
    let failed = |error: crate::stores::StoreError| {
        if error.is_transient() {
            return anyhow::Error::from(error);
        }
        Usage(format!("{error}; `oma-worker demo --dir DIR` makes a workspace to start from")).into()
    };
    Embedded::open(folder).await.map_err(failed)
}

impl OneAnalysis {
    /// The workspace, once it is known to hold the analysis.
    async fn open(&self) -> anyhow::Result<Embedded> {
        let workspace = open(&self.embedded).await?;
        if workspace.structure_of(&self.analysis).await?.is_none() {
            let folder = self.embedded.display();
            bail!(
                "no analysis {} in {folder}; those that it has are shown by `oma-worker status --embedded {folder}`",
                self.analysis
            );
        }
        Ok(workspace)
    }
}

impl Enqueue {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let workspace = self.target.open().await?;
            let id = workspace.enqueue(&self.target.analysis, self.run_type).await?;
            writeln!(io::stdout(), "{id}").context("standard output")?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Abort {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let workspace = self.target.open().await?;
            workspace.broadcast_abort(&self.target.analysis).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Status {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let workspace = open(&self.embedded).await?;
            let (listings, dead) = (workspace.listing().await?, workspace.dead_letters().await?);
            let text = if self.json {
                serde_json::to_string_pretty(&json_of(&listings, &dead))?
            } else {
                tables_of(&listings, &dead)
            };
            writeln!(io::stdout(), "{text}").context("standard output")?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn json_of(listings: &[Listing], dead: &[(Id, Value)]) -> Value {
    let analyses = listings.iter().map(|listing| {
        let queue = listing.queue.iter().map(|d| json!({"_id": d.id, "document": d.to_body()}));
        json!({
            "analysis_id": listing.analysis_id,
            "structure_id": listing.structure_id,
            "analysis": listing.analysis,
            "queue": queue.collect::<Vec<_>>(),
        })
    });
    let dead = dead.iter().map(|(id, letter)| json!({"_id": id, "letter": letter}));
    json!({"analyses": analyses.collect::<Vec<_>>(), "dead": dead.collect::<Vec<_>>()})
}

fn tables_of(listings: &[Listing], dead: &[(Id, Value)]) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("–").to_owned();
    let analyses = listings.iter().map(|listing| {
        let body = &listing.analysis;
        let mut row = vec![listing.analysis_id.to_string(), word(&body["name"]), word(&body["status"])];
        row.extend(RunType::ALL.map(|run_type| word(&body["status_by_type"][run_type.as_str()])));
        let queued = listing.queue.iter().filter_map(|d| Some(format!("{} {}", d.run_type()?, d.status())));
        row.push(queued.collect::<Vec<_>>().join(", "));
        row.push(body["error"]["message"].as_str().unwrap_or_default().to_owned());
        row
    });
    let columns = ["analysis", "name", "status", "PREPROCESSING", "FDD", "SSI", "queue", "error"];
    let mut text = table(&columns.map(|c| (c, Alignment::Left)), analyses);
    if !dead.is_empty() {
        let letters = dead.iter().map(|(id, letter)| vec![id.to_string(), word(&letter["reason"])]);
        text += &format!("\n\n{}", table(&[("dead letter", Alignment::Left), ("reason", Alignment::Left)], letters));
    }
    text
}
