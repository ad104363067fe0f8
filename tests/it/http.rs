//! The worker's HTTP answers, over a real socket.

use crate::support::platform::{Platform, WorkerProcess, wait_until};
use mongodb::bson::doc;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status and body.
async fn get(worker: &WorkerProcess, path: &str) -> Option<(u16, String)> {
    let said = worker.said();
    let address = said.split("address=Ok(").nth(1)?.split(')').next()?;
    let mut socket = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[tokio::test]
async fn life_readiness_figures_and_the_run_are_told() {
    let platform = Platform::fresh().await;
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    let mut worker = platform.worker(&[("OMA_HTTP_ADDR", "127.0.0.1:0"), ("NO_COLOR", "1")]);
    wait_until("the worker is ready", async || matches!(get(&worker, "/ready").await, Some((200, _)))).await;
    assert_eq!(get(&worker, "/live").await.unwrap().0, 200);
    let (code, status) = get(&worker, "/status").await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["draining"], &status["run"]), (200, &Value::Bool(false), &Value::Null));

    for run_type in ["PREPROCESSING", "FDD", "FDD-2"] {
        platform.enqueue(analysis, run_type).await;
    }
    platform.queue_is_empty().await;
    let status: Value = serde_json::from_str(&get(&worker, "/status").await.unwrap().1).unwrap();
    assert_eq!((&status["counts"]["done"], &status["counts"]["error"]), (&2.into(), &1.into()), "{status}");
    let (code, figures) = get(&worker, "/metrics").await.unwrap();
    assert_eq!(code, 200);
    for line in [
        "oma_runs_total{type=\"PREPROCESSING\",outcome=\"DONE\"} 1",
        "oma_runs_total{type=\"FDD\",outcome=\"DONE\"} 1",
        "oma_runs_total{type=\"unknown\",outcome=\"ERROR\"} 1",
        "oma_queue_depth 0",
        "oma_messages_waiting 0",
        "oma_documents_total{what=\"lost\"} 0",
        "oma_stage_seconds_bucket{stage=\"ingest\",le=\"600\"} 2",
        "oma_operation_seconds_count{service=\"mongodb\",operation=\"claim\",outcome=\"ok\"}",
        "oma_operation_seconds_count{service=\"mysql\",operation=\"read the channels\",outcome=\"ok\"} 2",
        "oma_operation_seconds_count{service=\"s3\",operation=\"get an object\",outcome=\"ok\"} 3",
        "oma_operation_seconds_count{service=\"kafka\",operation=\"send a status message\",outcome=\"ok\"} 6",
        "oma_backend_runs_total{backend=\"cpu\",fallback=\"no\"} 2",
        "oma_build_info{version=\"",
    ] {
        assert!(figures.contains(line), "{line} is missing in\n{figures}");
    }
    assert!(!figures.contains(&analysis.to_hex()));

    assert_eq!(worker.end().code(), Some(0));
    platform.servers.remove().await;
}

#[tokio::test]
async fn a_worker_without_its_queue_lives_but_is_not_ready() {
    let platform = Platform::fresh().await;
    let worker = platform.worker(&[("OMA_HTTP_ADDR", "127.0.0.1:0"), ("NO_COLOR", "1"), ("MONGODB_PORT", "1")]);
    wait_until("the worker answers", async || get(&worker, "/ready").await.is_some()).await;
    assert_eq!(get(&worker, "/ready").await.unwrap().0, 503);
    assert_eq!(get(&worker, "/live").await.unwrap().0, 200);
    assert_eq!(get(&worker, "/metrics").await.unwrap().0, 200);
    platform.servers.remove().await;
}

/// A figure by its name and labels.
fn figure(figures: &str, name: &str) -> Option<f64> {
    figures.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test]
async fn trouble_shows_in_the_figures() {
    let platform = Platform::fresh().await;
    let broken = [("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("KAFKA_BROKER", "127.0.0.1:1")];
    let settings = [("OMA_HTTP_ADDR", "127.0.0.1:0"), ("NO_COLOR", "1"), ("OMA_LEASE_SECONDS", "8")];
    let worker = platform.worker(&[&settings[..], &broken].concat());
    let lost = platform.analysis(platform.structure, doc! {}).await;
    let waiting = platform.analysis(platform.structure, doc! {}).await;
    let taken = platform.enqueue(lost, "FDD").await;
    platform.enqueue(waiting, "SSI").await;
    let has = async |name: &str, is_so: fn(f64) -> bool| {
        let figures = get(&worker, "/metrics").await.map(|(_, figures)| figures).unwrap_or_default();
        figure(&figures, name).is_some_and(is_so)
    };
    wait_until("one run waits", async || has("oma_queue_depth", |depth| depth == 1.0).await).await;
    wait_until("it has waited", async || has("oma_queue_oldest_seconds", |age| age > 0.0).await).await;
    wait_until("a message waits", async || has("oma_messages_waiting", |count| count == 1.0).await).await;
    wait_until("it has waited", async || has("oma_messages_oldest_seconds", |age| age > 0.0).await).await;
    wait_until("hearts beat", async || has("oma_heartbeat_lag_seconds_count", |count| count > 1.0).await).await;
    let refused = "oma_operation_seconds_count{service=\"s3\",operation=\"look at an object\",outcome=\"unavailable\"}";
    wait_until("S3 has refused", async || has(refused, |count| count > 0.0).await).await;
    let unsent =
        "oma_operation_seconds_count{service=\"kafka\",operation=\"send a status message\",outcome=\"unavailable\"}";
    wait_until("Kafka has refused", async || has(unsent, |count| count > 0.0).await).await;

    // Somebody else has the document: that is what a higher fence says.
    let queue = platform.servers.collection(&platform.servers.settings.names.queue).await;
    queue.update_one(doc! {"_id": taken}, doc! {"$inc": {"worker.fence": 1_i64}}).await.unwrap();
    wait_until("the lease is lost", async || has("oma_documents_total{what=\"lost\"}", |count| count == 1.0).await)
        .await;
    platform.servers.remove().await;
}

#[tokio::test]
async fn an_abort_and_its_latency_show_in_the_figures() {
    let platform = Platform::fresh().await;
    let settings = [("OMA_HTTP_ADDR", "127.0.0.1:0"), ("NO_COLOR", "1"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")];
    let worker = platform.worker(&settings);
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(analysis, "FDD").await;
    let is_at_work = async || platform.read_analysis(analysis).await["status"] == "RUNNING";
    wait_until("the run is at work", is_at_work).await;
    let abort = serde_json::json!({"analysis_id": analysis.to_hex()}).to_string();
    platform.servers.broadcast(Some(abort.as_bytes())).await;
    platform.queue_is_empty().await;
    let (_, figures) = get(&worker, "/metrics").await.unwrap();
    assert_eq!(figure(&figures, "oma_runs_total{type=\"FDD\",outcome=\"ABORTED\"}"), Some(1.0), "{figures}");
    assert_eq!(figure(&figures, "oma_abort_seconds_count"), Some(1.0), "{figures}");
    assert!(figure(&figures, "oma_abort_seconds_sum").is_some_and(|seconds| seconds <= 1.0), "{figures}");
    platform.servers.remove().await;
}
