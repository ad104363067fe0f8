//! What a platform asks a worker over HTTP (`OMA_HTTP_ADDR`): whether it lives and is ready, its figures, its run.
//!
//! ```text
//! /live      200 while the run loop and the thread of the heartbeats move, else 503
//! /ready     200 while the queue is reached and no end is requested, else 503
//! /metrics   every figure, in Prometheus' text format; no ids in labels
//! /status    the run at work, its stage and fraction, and what was done so far, as JSON
//! ```

use crate::stores::documents::Id;
use crate::stores::{RunQueue, StoreResult, Waiting};
use crate::worker::{Counts, Shutdown, Vitals};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use futures::future::BoxFuture;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long the queue may take to answer: orchestrators give a probe a second or few.
const PROBE: Duration = Duration::from_secs(2);
/// Upper bounds of the times that are counted, s: from a database's millisecond to a run of hours.
const BUCKETS: [f64; 12] = [0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0];

/// Asks a store what waits.
pub type AskWaiting = Arc<dyn Fn() -> BoxFuture<'static, StoreResult<Waiting>> + Send + Sync>;

/// What the answers are made of.
#[derive(Clone)]
pub struct Sources {
    /// The worker's signs of life.
    pub vitals: Arc<Vitals>,
    /// Whether it is about to end.
    pub shutdown: Shutdown,
    /// The queue that it needs.
    pub queue: Arc<dyn RunQueue>,
    /// What waits in it.
    pub waiting: AskWaiting,
}

#[derive(Clone)]
struct Served {
    sources: Sources,
    metrics: PrometheusHandle,
}

/// Starts to count. Everything that is measured before is lost.
///
/// # Errors
/// On a second call in a process.
pub fn record() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    describe_counter!("oma_runs_total", "Runs that came to an end here, by type and outcome");
    describe_counter!("oma_documents_total", "What else became of queue documents here");
    describe_counter!("oma_gpu_failures_total", "Devices that failed in mid-run");
    describe_counter!("oma_backend_runs_total", "Computed runs by backend, and whether it was a fallback");
    describe_histogram!("oma_stage_seconds", "Time of each stage of a run");
    describe_histogram!("oma_operation_seconds", "Time of each call, by service and outcome");
    describe_histogram!("oma_heartbeat_lag_seconds", "How late heartbeats were acknowledged");
    describe_histogram!("oma_abort_seconds", "From the arrival of an abort to the end of the computation");
    describe_gauge!("oma_queue_depth", "Runs that wait for a worker");
    describe_gauge!("oma_queue_oldest_seconds", "How long the oldest of them has waited");
    describe_gauge!("oma_messages_waiting", "Status messages that wait to be sent");
    describe_gauge!("oma_messages_oldest_seconds", "How long the oldest of them has waited");
    describe_gauge!("oma_build_info", "1, with the version as label");
    gauge!("oma_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Opens the port.
///
/// # Errors
/// If it is taken or not allowed.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the process ends.
///
/// # Errors
/// If the port is lost.
pub async fn serve(listener: TcpListener, sources: Sources, metrics: PrometheusHandle) -> io::Result<()> {
    let routes = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(figures))
        .route("/status", get(status))
        .with_state(Served { sources, metrics });
    axum::serve(listener, routes).await
}

async fn live(State(served): State<Served>) -> (StatusCode, String) {
    match served.sources.vitals.stands_still() {
        None => (StatusCode::OK, "lives\n".into()),
        Some(text) => (StatusCode::SERVICE_UNAVAILABLE, text + "\n"),
    }
}

async fn ready(State(served): State<Served>) -> (StatusCode, String) {
    if served.sources.shutdown.is_requested() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the worker is about to end\n".into());
    }
    let queue = served.sources.queue.clone();
    // The call runs to its end whatever becomes of the wait for it.
    let probe = tokio::spawn(async move { queue.find(&Id::fresh()).await });
    match tokio::time::timeout(PROBE, probe).await {
        Ok(Ok(Ok(_))) => (StatusCode::OK, "ready\n".into()),
        Ok(Ok(Err(error))) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        _ => (StatusCode::SERVICE_UNAVAILABLE, format!("the queue gives no answer within {} s\n", PROBE.as_secs())),
    }
}

async fn figures(State(served): State<Served>) -> String {
    let asked = tokio::spawn((served.sources.waiting)());
    if let Ok(Ok(Ok(waiting))) = tokio::time::timeout(PROBE, asked).await {
        gauge!("oma_queue_depth").set(waiting.queued as f64);
        gauge!("oma_queue_oldest_seconds").set(waiting.oldest_queued_s);
        gauge!("oma_messages_waiting").set(waiting.messages as f64);
        gauge!("oma_messages_oldest_seconds").set(waiting.oldest_message_s);
    }
    for (what, count) in named(&served.sources.vitals.counts()) {
        counter!("oma_documents_total", "what" => what).absolute(count);
    }
    served.metrics.run_upkeep();
    served.metrics.render()
}

async fn status(State(served): State<Served>) -> Json<Value> {
    let counts = named(&served.sources.vitals.counts());
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "draining": served.sources.shutdown.is_requested(),
        "run": served.sources.vitals.current(),
        "counts": counts.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
    }))
}

fn named(counts: &Counts) -> [(&'static str, u64); 13] {
    [
        ("done", counts.done),
        ("error", counts.error),
        ("aborted", counts.aborted),
        ("settled", counts.settled),
        ("handed_back", counts.handed_back),
        ("released", counts.released),
        ("withdrawn", counts.withdrawn),
        ("lost", counts.lost),
        ("abandoned", counts.abandoned),
        ("dead", counts.dead),
        ("messages_without_addressee", counts.messages_without_addressee),
        ("messages_unsent", counts.messages_unsent),
        ("broadcasts_ignored", counts.broadcasts_ignored),
    ]
}
