//! Runs of the whole worker whose device fails: they end DONE, with the modes of the CPU, and say what happened.

use crate::support::gpu;
use crate::support::memory_stores::Memory;
use oma_worker::compute::gpu::Fault;
use oma_worker::compute::select::Backends;
use oma_worker::model::channel::Channel;
use oma_worker::model::result::AnalysisResult;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use oma_worker::stores::Objects;
use oma_worker::stores::documents::{AnalysisKey, Id};
use oma_worker::stores::names::Names;
use oma_worker::worker::{Execute, Heart, Shutdown, Worker, WorkerOptions};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

const CHANNELS: usize = 3;

fn id(number: u32) -> Id {
    Id::from(format!("{number:024x}").as_str())
}

/// A structure with one raw file in `folder`.
fn write_record(folder: &Path) {
    let chain = ShearChain { dofs: CHANNELS, top_frequency_hz: 15.0, damping: Damping::Uniform(0.01) };
    let dofs = (0..CHANNELS).collect();
    let channels = chain.record(&Measurement { dofs, sampling_rate_hz: 50.0, samples: 20_000, noise: 0.05, seed: 7 });
    let mut text = String::from("time,c0,c1,c2\n");
    for t in 0..channels[0].len() {
        write!(text, "{:.2}", t as f64 / 50.0).unwrap();
        channels.iter().for_each(|channel| write!(text, ",{}", channel[t]).unwrap());
        text.push('\n');
    }
    std::fs::write(folder.join("record.csv"), text).unwrap();
}

/// The result of one run of a worker, which must end DONE.
async fn run(run_type: &str, backends: Arc<Backends>, folder: &Path) -> AnalysisResult {
    let (memory, names) = (Memory::new(), Names::default());
    memory.put(&names.file_bucket, "s/record.csv", &folder.join("record.csv")).await.unwrap();
    let key = AnalysisKey { structure_id: id(1), analysis_id: id(2) };
    {
        let mut state = memory.state();
        state.structures.insert(id(1), json!({"name": "bridge", "tenant_id": 9, "mysql_id": 43}));
        let channel = |c: usize| {
            let name = format!("c{c}");
            Channel { sensor_id: "s".into(), axis: name.clone(), ..Channel::named(&name) }
        };
        state.channels.insert(43, (0..CHANNELS).map(channel).collect());
        let measure = json!({"sensor_id": "s", "channels": ["c0", "c1", "c2"], "key": "s/record.csv"});
        state.measures.insert(43, vec![measure]);
    }
    let parameters = json!({
        "tenant_id": 9, "user_id": 7, "status": "READY",
        "fdd": {"segment_length": 512},
        "ssi": {"block_rows": 12, "order_max": 12, "blocks": 8, "decimation_levels": false},
    });
    memory.insert_analysis(&key, parameters);
    let queued = json!({"status": "QUEUED", "structure_id": id(1), "analysis_id": id(2), "type": run_type});
    memory.insert_queue_document(&id(3), queued);
    let stores = memory.stores();
    let data = tempfile::tempdir().unwrap();
    let execute = Execute::new(stores.clone(), names, data.path(), u64::MAX, false).with_backends(backends);
    let options = WorkerOptions { once: true, ..WorkerOptions::default() };
    let heart = Heart::here(stores.queue.clone());
    let summary = Worker::new(stores, heart, options, Arc::new(execute)).run(Shutdown::new()).await;
    assert_eq!(summary.counts.done, 1, "{run_type}: {:?}", memory.state().analyses);
    let results: Vec<_> = memory.state().results.values().cloned().collect();
    serde_json::from_value(results[0].clone()).unwrap()
}

fn modes_agree(found: &AnalysisResult, exact: &AnalysisResult) {
    assert_eq!(found.modes.len(), exact.modes.len());
    for (f, e) in found.modes.iter().zip(&exact.modes) {
        let error = (f.frequency_hz - e.frequency_hz).abs();
        assert!(error <= 1e-5 * e.frequency_hz, "{} Hz for {} Hz", f.frequency_hz, e.frequency_hz);
        if let (Some(f), Some(e)) = (f.damping_ratio, e.damping_ratio) {
            assert!((f - e).abs() <= 5e-3 * e, "damping {f} for {e}");
        }
    }
}

/// A fault at the first occasion of a run, at the second, … until a run has none left.
async fn every_occasion(fault: Fault, least: u64, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    write_record(folder.path());
    for run_type in ["FDD", "SSI"] {
        let exact = run(run_type, Backends::cpu(), folder.path()).await;
        assert_eq!((exact.modes.len(), exact.provenance.backend.as_str()), (CHANNELS, "cpu"));
        for after in 0.. {
            // Of a device whose buffers are made already none is left to refuse.
            let device = gpu::open();
            device.inject(fault, after);
            let found = run(run_type, Backends::over(device), folder.path()).await;
            modes_agree(&found, &exact);
            let told = found.provenance;
            if told.backend == "gpu" {
                assert!(after >= least && told.fallback_reason.is_none(), "{run_type}: only {after} occasions");
                break;
            }
            let reason = told.fallback_reason.unwrap();
            assert!(reason.contains(words) && told.adapter.is_some() && told.driver.is_some(), "{run_type}: {reason}");
            assert!(told.warnings.iter().any(|warning| warning.contains(words)), "{run_type}: {:?}", told.warnings);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_done_whichever_submission_loses_the_device() {
    every_occasion(Fault::LoseDevice, 2, "lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_done_whichever_allocation_is_refused() {
    every_occasion(Fault::RefuseAllocation, 2, "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_done_whichever_wait_has_no_answer() {
    every_occasion(Fault::Hang, 2, "did not answer").await;
}
