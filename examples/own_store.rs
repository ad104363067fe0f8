//! A store of one's own: `cargo run --example own_store`.
//!
//! A worker sees the world through six ports ([`oma_worker::stores`]). Here five of them are a folder, and the sixth,
//! which tells every change of a run's status, is written here: it prints what a platform would hear. A run of a
//! structure without channels is queued, worked on, and ends in ERROR with its reason.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use async_trait::async_trait;
use oma_worker::model::run::{RunType, StatusMessage};
use oma_worker::stores::embedded::Embedded;
use oma_worker::stores::{RunQueue, Statuses, StoreError, StoreErrorKind, StoreResult};
use oma_worker::worker::{Execute, Heart, Shutdown, Worker, WorkerOptions};
use serde_json::json;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of raw files that are kept between runs.
const SPOOL_LIMIT: u64 = 1 << 30;

/// Keeps every message in the order in which it came, as the port promises.
#[derive(Default)]
struct Printed(Mutex<Vec<StatusMessage>>);

#[async_trait]
impl Statuses for Printed {
    async fn send(&self, message: &StatusMessage, _within: Duration) -> StoreResult<()> {
        let lost = |_| StoreError::new(StoreErrorKind::Unavailable, "send a status", "the list of messages is lost");
        println!("{} {}", message.run_type, message.status);
        self.0.lock().map_err(lost)?.push(message.clone());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let workspace = Embedded::create(folder.path()).await?;
    let structure = workspace.insert_structure(&json!({"name": "bridge", "mysql_id": 1, "tenant_id": 9})).await?;
    let analysis =
        workspace.insert_analysis(&structure, &json!({"tenant_id": 9, "user_id": 7, "name": "first"})).await?;
    workspace.enqueue(&analysis, RunType::Ssi).await?;

    let mut stores = workspace.stores();
    let statuses = Arc::new(Printed::default());
    stores.statuses = statuses.clone();
    let path = folder.path().to_owned();
    let heart = Heart::on_own_thread(move || async move {
        let queue: Arc<dyn RunQueue> = Embedded::open(&path).await?.stores().queue;
        Ok(queue)
    })
    .await?;
    let execute = Execute::new(stores.clone(), workspace.names().clone(), folder.path(), SPOOL_LIMIT, false);
    let options = WorkerOptions { once: true, ..WorkerOptions::default() };
    Worker::new(stores, heart, options, Arc::new(execute)).run(Shutdown::on_signals()?).await;

    let messages = statuses.0.lock().map_err(|_| "the list of messages is lost")?;
    println!("{} messages about analysis {analysis}", messages.len());
    Ok(())
}
