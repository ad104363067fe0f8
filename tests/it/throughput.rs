//! Many small runs by one, two and four workers, none of them computed twice; claims from a long queue.
//!
//! OMA_THROUGHPUT_RUNS says how many runs (40); the figures are printed, not judged.

use crate::support::platform::Platform;
use crate::support::servers::TestServers;
use mongodb::bson::{Document, doc};
use oma_worker::stores::documents::Claimant;
use oma_worker::stores::servers::Servers;
use std::time::{Duration, Instant};

fn runs() -> usize {
    std::env::var("OMA_THROUGHPUT_RUNS").map_or(40, |runs| runs.parse().unwrap())
}

#[tokio::test]
async fn no_run_is_computed_twice_by_any_number_of_workers() {
    for workers in [1, 2, 4] {
        let platform = Platform::fresh().await;
        for _ in 0..runs() {
            let analysis = platform.analysis(platform.structure, doc! {}).await;
            platform.enqueue(analysis, "FDD").await;
        }
        let started = Instant::now();
        let processes: Vec<_> = (0..workers).map(|_| platform.worker(&[])).collect();
        platform.queue_is_empty().await;
        let seconds = started.elapsed().as_secs_f64();
        drop(processes);
        let results = platform.servers.documents(&format!("modals_analysis_results_{}", platform.structure)).await;
        assert_eq!(results.len(), runs(), "every computation leaves a result");
        let messages = platform.servers.messages().await;
        assert_eq!(messages.len(), 2 * runs());
        eprintln!("{workers} workers, {} runs: {:.1} runs/s", runs(), runs() as f64 / seconds);
        platform.servers.remove().await;
    }
}

const LONG: usize = 100_000;

#[tokio::test]
async fn claims_from_a_long_queue() {
    let servers = TestServers::fresh();
    let clients = Servers::connect(&servers.settings).await.unwrap();
    clients.mongo.make_indexes().await.unwrap();
    let queue = clients.stores().queue;
    let collection = servers.collection(&servers.settings.names.queue).await;
    let waiting = doc! {"status": "QUEUED", "structure_id": "s", "analysis_id": "a", "type": "SSI"};
    let claimant = Claimant { worker_id: "w".into(), host: "h".into(), lease_ms: 60_000 };
    let mut inserted = 0;
    for length in [100, 10_000, LONG] {
        let more: Vec<Document> = vec![waiting.clone(); length - inserted];
        for batch in more.chunks(10_000) {
            collection.insert_many(batch).await.unwrap();
        }
        inserted = length;
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..50 {
            let started = Instant::now();
            assert!(queue.claim(&claimant).await.unwrap().is_some());
            times.push(started.elapsed());
        }
        times.sort();
        let started = Instant::now();
        assert_eq!(queue.claim_settling(&claimant).await.unwrap(), None);
        let settling = started.elapsed();
        eprintln!(
            "{length} documents: claim median {:?}, 90 % {:?}; claim for settling {settling:?}",
            times[25], times[45]
        );
    }
    servers.remove().await;
}
