//! `seed`: the demo's building in any stores, with its files and three queued runs.

use super::super::{block_on, queue};
use super::frame;
use crate::config::{LogArgs, ServerArgs, WorkerArgs};
use crate::model::geometry::Wireframe;
use crate::model::run::RunType;
use crate::stores::Objects;
use crate::stores::documents::Id;
use crate::stores::names::Names;
use crate::stores::platform::{NewStructure, Platform};
use crate::stores::servers::Servers;
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  oma-worker seed
      into the servers that MONGODB_*, MYSQL_* and AWS_* name, whose MySQL has the tables of deploy/schema.sql
  oma-worker seed --embedded ./workspace
      into a workspace in a folder

Prints the ids of the structure and of the analysis; `oma-worker run --exit-when-idle 2` works the runs off.";

/// Whose the structure and the analysis are.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Owner {
    /// Tenant who owns the structure
    #[arg(long, value_name = "ID", default_value_t = Owner::default().tenant_id)]
    tenant_id: i64,
    /// User who made the analysis: messages go to both
    #[arg(long, value_name = "ID", default_value_t = Owner::default().user_id)]
    user_id: i64,
}

impl Default for Owner {
    fn default() -> Owner {
        Owner { tenant_id: 9, user_id: 7 }
    }
}

/// Put the demo's structure with its files and three queued runs into the stores
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::commands) struct Seed {
    /// Folder of the workspace
    #[arg(long, value_name = "DIR")]
    embedded: Option<PathBuf>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    servers: ServerArgs,
}

impl Seed {
    pub(in crate::commands) fn execute(self, log: &LogArgs) -> anyhow::Result<ExitCode> {
        let Seeded { structure_id, analysis_id } = block_on(async {
            if let Some(folder) = &self.embedded {
                let workspace = queue::open(folder).await?;
                let objects = workspace.stores().objects;
                return seed(&workspace, objects.as_ref(), workspace.names(), &self.owner).await;
            }
            let (_, settings) = self.worker.check_with(&self.servers, log)?;
            let servers = Servers::connect(&settings).await?;
            seed(&servers, &servers.s3, &settings.names, &self.owner).await
        })?;
        writeln!(io::stdout(), "structure {structure_id}\nanalysis {analysis_id}").context("standard output")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What was put into the stores.
pub(in crate::commands) struct Seeded {
    pub(in crate::commands) structure_id: Id,
    pub(in crate::commands) analysis_id: Id,
}

/// What a platform would have put into its stores: structure, channels, files with their index, analysis, runs.
pub(in crate::commands) async fn seed(
    platform: &dyn Platform,
    objects: &dyn Objects,
    names: &Names,
    owner: &Owner,
) -> anyhow::Result<Seeded> {
    let node = |storey: usize| if storey == 0 { "ground".to_owned() } else { storey.to_string() };
    let lines: Vec<[String; 2]> = (0..frame::STOREYS).map(|s| [node(s), node(s + 1)]).collect();
    let wireframe = Wireframe { points: [(node(0), [0.0; 3])].into(), lines, surfaces: Vec::new() };
    let structure = platform
        .add_structure(&NewStructure {
            id: None,
            number: None,
            name: "shear frame".into(),
            tenant_id: owner.tenant_id,
            tenant_name: "demo".into(),
            geometry: serde_json::to_value(wireframe)?,
            channels: (1..=frame::STOREYS).map(frame::channel).collect(),
        })
        .await?;
    let transfer = tempfile::NamedTempFile::new().context("no temporary file can be made")?;
    for file in frame::files() {
        let sensor_id = &structure.channels[file.storey - 1].sensor_id;
        let key = file.key(owner.tenant_id, structure.id.as_str(), sensor_id);
        std::fs::write(transfer.path(), &file.text).context("no temporary file can be written")?;
        objects.put(&names.file_bucket, &key, transfer.path()).await?;
        let measure = json!({
            "sensor_id": sensor_id, "channels": ["x"], "start": file.start, "end": file.end,
            "sampling_rate_hz": frame::SAMPLING_RATE_HZ, "samples": file.rows, "key": key,
        });
        platform.add_measure(structure.number, &measure).await?;
    }
    let Owner { tenant_id, user_id } = owner;
    let fields = [("tenant_id", json!(tenant_id)), ("user_id", json!(user_id)), ("name", json!("demo"))];
    let fields = Map::from_iter(fields.map(|(name, value): (_, Value)| (name.to_owned(), value)));
    let analysis_id = platform.add_analysis(&structure.id, &fields).await?;
    for run_type in RunType::ALL {
        platform.add_run(&structure.id, &analysis_id, run_type).await?;
    }
    Ok(Seeded { structure_id: structure.id, analysis_id })
}
