//! What the log says of a run.

use crate::support::platform::{Platform, wait_until};
use mongodb::bson::doc;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Lines of the loops and listeners, which belong to no run.
fn is_of_no_run(line: &Value) -> bool {
    let target = line["target"].as_str().unwrap();
    let message = line["message"].as_str().unwrap_or_default();
    let is_of_the_worker = target.starts_with("oma_worker::worker::") || target.starts_with("oma_worker::pipeline");
    !is_of_the_worker || target == "oma_worker::worker::abort" && message != "abort received"
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
