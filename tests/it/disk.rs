//! A disk that is smaller than what the worker may keep on it.

use crate::raw_files::noise;
use crate::support::memory_stores::Memory;
use async_trait::async_trait;
use oma_worker::model::channel::Channel;
use oma_worker::stores::documents::{AnalysisKey, Id};
use oma_worker::stores::names::Names;
use oma_worker::stores::{ObjectInfo, Objects, Page, StoreError, StoreErrorKind, StoreResult, Stores};
use oma_worker::worker::{Execute, Heart, Shutdown, Worker, WorkerOptions};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Objects on a disk that has room for one raw file.
struct RoomForOne(Memory);

#[async_trait]
impl Objects for RoomForOne {
    async fn head(&self, bucket: &str, key: &str) -> StoreResult<Option<ObjectInfo>> {
        self.0.head(bucket, key).await
    }

    async fn get(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        if std::fs::read_dir(path.parent().unwrap()).unwrap().count() > 0 {
            return Err(StoreError::new(StoreErrorKind::Local, "get", "no space left on device"));
        }
        self.0.get(bucket, key, path).await
    }

    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        self.0.put(bucket, key, path).await
    }

    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> StoreResult<Page> {
        self.0.list(bucket, prefix, after).await
    }
}

#[tokio::test]
async fn raw_files_of_earlier_runs_make_room_on_a_full_disk() {
    let memory = Memory::new();
    let (names, folder) = (Names::default(), tempfile::tempdir().unwrap());
    let id = |number: u32| Id::from(format!("{number:024x}").as_str());
    let key = AnalysisKey { structure_id: id(1), analysis_id: id(2) };
    let raw = folder.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    std::fs::write(raw.join("earlier.csv"), b"time,x\n").unwrap();

    let mut text = String::from("time,x\n");
    noise(3, 6000).iter().enumerate().for_each(|(k, y)| writeln!(text, "{:.2},{y}", k as f64 / 100.0).unwrap());
    let path = folder.path().join("transfer.csv");
    std::fs::write(&path, text).unwrap();
    memory.put(&names.file_bucket, "s/x.csv", &path).await.unwrap();
    {
        let mut state = memory.state();
        state.structures.insert(id(1), json!({"name": "bridge", "tenant_id": 9, "mysql_id": 43}));
        let channel = Channel { sensor_id: "s".into(), axis: "x".into(), ..Channel::named("x") };
        state.channels.insert(43, vec![channel]);
        state.measures.insert(43, vec![json!({"sensor_id": "s", "channels": ["x"], "key": "s/x.csv"})]);
    }
    memory.insert_analysis(&key, json!({"tenant_id": 9, "user_id": 7, "status": "READY"}));
    let queued = json!({"status": "QUEUED", "structure_id": id(1), "analysis_id": id(2), "type": "PREPROCESSING"});
    memory.insert_queue_document(&id(3), queued);

    let stores = Stores { objects: Arc::new(RoomForOne(memory.clone())), ..memory.stores() };
    let execute = Execute::new(stores.clone(), names, folder.path(), u64::MAX, false);
    let options = WorkerOptions { once: true, ..WorkerOptions::default() };
    let heart = Heart::here(stores.queue.clone());
    let summary = Worker::new(stores, heart, options, Arc::new(execute)).run(Shutdown::new()).await;
    assert_eq!((summary.counts.done, summary.counts.released), (1, 0), "{:?}", memory.state().analyses);
    let kept: Vec<_> = std::fs::read_dir(&raw).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(kept.len() == 1 && kept[0].to_string_lossy().ends_with("-x.csv"), "{kept:?}");
}
