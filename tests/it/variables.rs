//! Variables of the worker that no other test depends on: each does what it says.

use crate::support::platform::Platform;
use crate::support::servers::TestServers;
use mongodb::bson::{doc, oid::ObjectId};
use oma_worker::stores::names::Names;
use serde_json::json;

#[tokio::test]
async fn collections_have_the_names_that_the_variables_say() {
    let mut servers = TestServers::fresh();
    servers.settings.names = Names {
        queue: "jobs".into(),
        structures: "bridges".into(),
        analyses: "runs".into(),
        results: "outcomes".into(),
        measures: "recordings".into(),
        ..servers.settings.names
    };
    let platform = Platform::on(servers, 6000).await;
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(analysis, "FDD").await;
    platform.insert("jobs", doc! {"status": "QUEUED"}).await;
    let mut worker = platform.worker(&[
        ("MONGODB_QUEUE_COLLECTION", "jobs"),
        ("MONGODB_STRUCTURE_COLLECTION", "bridges"),
        ("MONGODB_RUN_COLLECTION", "runs"),
        ("MONGODB_RES_COLLECTION", "outcomes"),
        ("MONGODB_MEASURE_COLLECTION", "recordings"),
    ]);
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));
    let body = platform.read_analysis(analysis).await;
    assert_eq!(body["status"], "DONE", "{body}");
    let results = platform.servers.documents(&format!("outcomes_{}", platform.structure)).await;
    assert_eq!(results.iter().map(|result| &result["_id"]).collect::<Vec<_>>(), [&body["results"]["FDD"]]);
    assert_eq!(platform.servers.documents("jobs_dead").await.len(), 1);
    platform.servers.remove().await;
}

#[tokio::test]
async fn a_run_that_needs_more_memory_than_it_may_ends_in_error() {
    let platform = Platform::with_samples(60_000).await;
    let cases = [("SSI", doc! {"ssi": {"block_rows": 60}}, "60 block rows, 3 channels and 3 references need 2 MiB")];
    let mut expected = Vec::new();
    for (run_type, fields, told) in cases {
        let analysis = platform.analysis(platform.structure, fields).await;
        platform.enqueue(analysis, run_type).await;
        expected.push((analysis, told));
    }
    // 2.3 MiB of spectral matrices, 1.6 MiB of correlations, filters that hold 60000 samples, 0.5 MiB, of each of three
    // channels: these lines, these blocks and these channels go in passes.
    let mut passes = Vec::new();
    for (run_type, fields) in [
        ("FDD", doc! {"fdd": {"segment_length": 32_768}}),
        ("SSI", doc! {"ssi": {"block_rows": 20, "blocks": 300}}),
        ("PREPROCESSING", doc! {"preprocessing": {"filter": {"kind": "highpass", "low_hz": 0.1}}}),
    ] {
        let analysis = platform.analysis(platform.structure, fields).await;
        platform.enqueue(analysis, run_type).await;
        passes.push(analysis);
    }
    let mut worker = platform.worker(&[("OMA_MEMORY_LIMIT_MIB", "1")]);
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));
    for (analysis, told) in expected {
        let error = &platform.read_analysis(analysis).await["error"];
        let message = error["message"].as_str().unwrap_or_default();
        assert_eq!(error["code"], json!("too_large"), "{error}");
        assert!(message.contains(told) && message.contains("OMA_MEMORY_LIMIT_MIB is 1"), "{message}");
    }
    for analysis in passes {
        assert_eq!(platform.read_analysis(analysis).await["status"], "DONE");
    }
    platform.servers.remove().await;
}

#[tokio::test]
async fn modes_are_tracked_over_so_many_results_of_other_analyses() {
    let platform = Platform::with_samples(60_000).await;
    let results = format!("modals_analysis_results_{}", platform.structure);
    let settings = [("OMA_TRACKED_RESULTS", "2")];
    // Three analyses one after the other; the last one twice, and once beside what nobody can read.
    let mut told = Vec::new();
    let analyses =
        [platform.analysis(platform.structure, doc! {}).await, platform.analysis(platform.structure, doc! {}).await];
    for (k, analysis) in [analyses[0], analyses[1], analyses[1]].into_iter().enumerate() {
        platform.enqueue(analysis, "SSI").await;
        let mut worker = platform.worker(&settings);
        platform.queue_is_empty().await;
        assert_eq!(worker.end().code(), Some(0));
        let id = platform.read_analysis(analysis).await["results"]["SSI"].clone();
        let documents = platform.servers.documents(&results).await;
        let result = documents.into_iter().find(|result| result["_id"] == id).unwrap();
        let modes = result["modes"].as_array().unwrap().clone();
        assert!(!modes.is_empty());
        let tracked = modes.iter().filter(|mode| mode["track"]["latest"]["analysis_id"] == analyses[0].to_string());
        told.push((result["tracking"]["earlier"].clone(), tracked.count() == modes.len()));
        // The newest whoever wrote it: ids of one second and several processes have no order.
        let newest = ObjectId::parse_str(format!("ffffffff000000000000000{k}")).unwrap();
        platform
            .insert(&results, doc! {"_id": newest, "type": "SSI", "analysis_id": "somebody", "modes": "none"})
            .await;
    }
    // The same record has the same modes; an own result is no earlier one.
    assert_eq!(told, [(json!(0), false), (json!(1), true), (json!(0), false)]);
    platform.servers.remove().await;
}
