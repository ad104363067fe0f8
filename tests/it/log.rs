//! What the log says of a run.

use crate::support::platform::{Platform, wait_until};
use mongodb::bson::doc;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Lines of the loops and listeners, which belong to no run.
fn is_of_no_run(line: &Value) -> bool {
    let target = line["target"].as_str().unwrap();
    let message = line["message"].as_str().unwrap_or_default();
    let is_of_the_worker = target.starts_with("oma_worker::worker::") || target.starts_with("oma_worker::pipeline");
    !is_of_the_worker || target == "oma_worker::worker::abort" && message != "abort received"
}

#[tokio::test]
async fn the_file_of_the_day_says_the_same_and_two_weeks_of_files_stay() {
    let platform = Platform::fresh().await;
    let folder = tempfile::tempdir().unwrap();
    for day in 1..=20 {
        std::fs::write(folder.path().join(format!("oma-worker.2020-01-{day:02}.log")), "old").unwrap();
    }
    let other = folder.path().join("notes.log");
    std::fs::write(&other, "not ours").unwrap();
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(analysis, "FDD").await;
    let mut worker = platform.worker(&[("LOGS_PATH", folder.path().to_str().unwrap()), ("NO_COLOR", "1")]);
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));

    let is_daily = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("oma-worker.");
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(is_daily).collect();
    files.sort();
    assert_eq!(files.len(), 14, "{files:?}");
    assert!(other.exists());
    let said = std::fs::read_to_string(files.last().unwrap()).unwrap();
    // Each has the time at which it was written itself.
    let untimed = |text: &str| text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>();
    assert_eq!(untimed(&said), untimed(&worker.said()));
    let run = format!("analysis={analysis} structure={} run_type=\"FDD\" attempt=1", platform.structure);
    for message in ["run claimed", "run ended"] {
        assert!(said.lines().any(|line| line.contains(message) && line.contains(&run)), "{message}, {run}: {said}");
    }
    platform.servers.remove().await;
}

#[tokio::test]
async fn every_line_of_a_run_says_which_one() {
    let platform = Platform::fresh().await;
    let log = [("OMA_LOG", "debug"), ("OMA_LOG_FORMAT", "json")];
    let mut said = Vec::new();
    let mut run = async |more: &[(&str, &str)], is_aborted: bool| {
        let analysis = platform.analysis(platform.structure, doc! {}).await;
        platform.enqueue(analysis, "FDD").await;
        let mut worker = platform.worker(&[&log[..], more].concat());
        if is_aborted {
            wait_until("a call was repeated", async || worker.said().contains("is repeated")).await;
            platform.servers.broadcast(Some(json!({"analysis_id": analysis.to_hex()}).to_string().as_bytes())).await;
        }
        platform.queue_is_empty().await;
        worker.end();
        said.push((analysis, worker.said()));
    };
    run(&[], false).await;
    run(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], true).await;

    let mut messages = BTreeSet::new();
    for (analysis, said) in said {
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        for line in lines.filter(|line| !is_of_no_run(line)) {
            let span = &line["span"];
            assert_eq!((&span["name"], &span["analysis"]), (&json!("run"), &json!(analysis.to_hex())), "{line}");
            assert_eq!(span["structure"], json!(platform.structure.to_hex()), "{line}");
            assert_eq!((&span["run_type"], &span["attempt"]), (&json!("FDD"), &json!(1)), "{line}");
            messages.insert(line["message"].as_str().unwrap().to_owned());
        }
    }
    for message in
        ["run claimed", "call failed, is repeated", "abort received", "computation is told to stop", "run ended"]
    {
        assert!(messages.contains(message), "{message} is missing in {messages:?}");
    }
    platform.servers.remove().await;
}
