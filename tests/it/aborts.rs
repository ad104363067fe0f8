//! Aborts over the real broker: one that nobody could hear when it was sent, and a storm of them.

use crate::support::flaky::Dice;
use crate::support::own_servers::OwnServers;
use crate::support::platform::{Platform, wait_until};
use crate::support::servers::TestServers;
use crate::support::way;
use futures::StreamExt;
use mongodb::bson::doc;
use oma_worker::model::run::Status;
use oma_worker::stores::Aborts;
use oma_worker::stores::kafka::KafkaAborts;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_broadcast_sent_while_no_broker_was_reached_still_counts() {
    let servers = TestServers::fresh();
    servers.make_topic(&servers.settings.kafka.broadcast_topic, 3).await;
    servers.broadcast(Some(b"long before")).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let kafka =
        oma_worker::stores::kafka::KafkaSettings { broker: address.to_string(), ..servers.settings.kafka.clone() };
    let mut broadcasts = KafkaAborts::new(&kafka).subscribe().await.unwrap();
    for payload in [&b"one"[..], b"two", b"three"] {
        servers.broadcast(Some(payload)).await;
    }
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(way::lead(listener, servers.settings.kafka.broker.clone(), Duration::ZERO));
    let mut heard = Vec::new();
    while heard.len() < 3 {
        // Errors tell of the broker that was not reached.
        if let Ok(payload) = broadcasts.next().await.unwrap() {
            heard.push(payload);
        }
    }
    heard.sort();
    assert_eq!(heard, [&b"one"[..], b"three", b"two"]);
}

#[tokio::test]
async fn an_abort_interrupts_the_wait_for_a_store_that_is_down() {
    let platform = Platform::fresh().await;
    for down in [("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("MYSQL_PORT", "1")] {
        let mut worker = platform.worker(&[down]);
        let analysis = platform.analysis(platform.structure, doc! {}).await;
        platform.enqueue(analysis, "FDD").await;
        let status = async || platform.read_analysis(analysis).await["status"].as_str().unwrap().to_owned();
        wait_until("the run is at work", async || status().await == "RUNNING").await;
        platform.servers.broadcast(Some(json!({"analysis_id": analysis.to_hex()}).to_string().as_bytes())).await;
        wait_until("the run has ended", async || status().await != "RUNNING").await;
        assert_eq!(status().await, "ABORTED", "{down:?}");
        platform.queue_is_empty().await;
        assert_eq!(worker.end().code(), Some(0));
    }
    platform.servers.remove().await;
}

#[tokio::test]
async fn an_abort_on_a_partition_made_since_counts() {
    let servers = OwnServers::up();
    let platform = Platform::on(servers.test(), 6000).await;
    let mut worker = platform.worker(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(analysis, "FDD").await;
    let status = async || platform.read_analysis(analysis).await["status"].as_str().unwrap().to_owned();
    wait_until("the run is at work", async || status().await == "RUNNING").await;
    servers.set_partitions(&platform.servers, &platform.servers.settings.kafka.broadcast_topic, 6).await;
    let abort = json!({"analysis_id": analysis.to_hex()}).to_string();
    platform.servers.broadcaster().send_to(Some(5), Some(abort.as_bytes())).await;
    wait_until("the run has ended", async || status().await != "RUNNING").await;
    assert_eq!(status().await, "ABORTED");
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));
}

const ABORTS: usize = 200;

#[tokio::test]
async fn a_storm_of_aborts_ends_each_run_once() {
    // Half an hour at 100 Hz: a run takes longer than the time within which its abort comes.
    let platform = Platform::with_samples(180_000).await;
    let dice = Dice::new(11);
    let sender = platform.servers.broadcaster();
    let mut worker = platform.worker(&[("SLEEP_TIME", "0.05")]);
    let megabyte = vec![b'x'; 900_000];
    let (mut latencies, mut done) = (Vec::new(), 0);
    let mut analyses = Vec::new();
    for round in 0..ABORTS {
        // A setting of its own for each: a record from the cache would leave little to stop.
        let preprocessing = doc! {"max_gap_samples": round as i64};
        let analysis = platform.analysis(platform.structure, doc! {"preprocessing": preprocessing}).await;
        analyses.push(analysis);
        platform.enqueue(analysis, ["PREPROCESSING", "FDD", "SSI"][round % 3]).await;
        let status = async || platform.read_analysis(analysis).await["status"].as_str().unwrap().to_owned();
        wait_until("the run is at work", async || status().await != "READY").await;
        tokio::time::sleep(dice.duration(Duration::from_millis(150))).await;
        let wrong_id = json!({"analysis_id": platform.structure.to_hex()}).to_string();
        let junk: [Option<&[u8]>; 5] =
            [None, Some(b"\xff\xfe{"), Some(b"{\"analysis_id\": 5}"), Some(&megabyte), Some(wrong_id.as_bytes())];
        sender.send(junk[round % junk.len()]).await;
        let sent_at = Instant::now();
        sender.send(Some(json!({"analysis_id": analysis.to_hex()}).to_string().as_bytes())).await;
        wait_until("the run has ended", async || status().await != "RUNNING").await;
        match status().await.as_str() {
            "ABORTED" => latencies.push(sent_at.elapsed()),
            "DONE" => done += 1,
            other => panic!("round {round}: {other}, {}", platform.read_analysis(analysis).await),
        }
    }
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));
    let messages = platform.servers.messages().await;
    for analysis in &analyses {
        let own = messages.iter().filter(|message| message.document_id == analysis.to_hex());
        let told: Vec<Status> = own.map(|message| message.status).collect();
        let body = platform.read_analysis(*analysis).await;
        assert_eq!(told.len(), 2, "{told:?} {body}");
        assert_eq!((told[0], &json!(told[1])), (Status::Running, &body["status"]));
    }
    latencies.sort();
    assert!(latencies.len() >= ABORTS / 4, "only {} runs were stopped, {done} were DONE before", latencies.len());
    let quantile = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    eprintln!(
        "{ABORTS} aborts: {} runs ABORTED, {done} DONE before; from message to the end on the analysis: median {:?}, p99 {:?}, \
         longest {:?}",
        latencies.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
    platform.servers.remove().await;
}
