//! What `deploy/` says of the worker: the query that starts workers, and the figures that are watched.

use crate::support::servers::TestServers;
use mongodb::bson::{Bson, DateTime, Document, doc};
use oma_worker::stores::documents::Claimant;
use oma_worker::stores::servers::Servers;
use std::collections::BTreeSet;

/// The query of `keda.yaml`, folded as YAML folds it.
fn query() -> Document {
    let file = include_str!("../../deploy/keda.yaml");
    let (_, rest) = file.split_once("query: >-\n").unwrap();
    let (query, _) = rest.split_once("authenticationRef").unwrap();
    let json: serde_json::Value = serde_json::from_str(query).unwrap();
    match Bson::try_from(json).unwrap() {
        Bson::Document(query) => query,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn workers_are_started_for_what_a_worker_would_find() {
    let servers = TestServers::fresh();
    let queue = Servers::connect(&servers.settings).await.unwrap().stores().queue;
    let collection = servers.collection(&servers.settings.names.queue).await;
    let claimant = Claimant { worker_id: "w".into(), host: "h".into(), lease_ms: 60_000 };
    let hours = |from_now: i64| DateTime::from_millis(DateTime::now().timestamp_millis() + from_now * 3_600_000);
    let held = |since: Bson, lease_ms: Bson| doc! {"fence": 5_i64, "heartbeat_at": since, "lease_ms": lease_ms};
    let outcome = doc! {"status": "DONE", "fence": 5_i64};
    let mut left = held(hours(-1).into(), 60_000.into());
    left.insert("outcome", outcome.clone());
    let mut settling = held(hours(0).into(), 60_000.into());
    settling.insert("outcome", outcome);
    let found = [
        doc! {"status": "QUEUED"},
        doc! {"status": "QUEUED", "worker": {"not_before": hours(-1)}},
        doc! {"status": "QUEUED", "worker": {"not_before": "tomorrow"}},
        doc! {"status": "RUNNING", "worker": held(hours(-1).into(), 60_000.into())},
        doc! {"status": "RUNNING", "worker": held(hours(-1).into(), "long".into())},
        doc! {"status": "RUNNING", "worker": left},
    ];
    let not_found = [
        doc! {"status": "QUEUED", "worker": {"not_before": hours(1)}},
        doc! {"status": "RUNNING"},
        doc! {"status": "RUNNING", "worker": held(hours(0).into(), 60_000.into())},
        doc! {"status": "RUNNING", "worker": held(hours(-1).into(), i64::MAX.into())},
        doc! {"status": "RUNNING", "worker": held("yesterday".into(), 60_000.into())},
        doc! {"status": "RUNNING", "worker": settling},
        doc! {"status": "READY"},
        doc! {"status": "DONE"},
        doc! {"status": 5},
    ];
    let told = found.into_iter().map(|document| (document, true)).chain(not_found.into_iter().map(|d| (d, false)));
    for (mut document, is_work) in told {
        document.extend(doc! {"structure_id": "s", "analysis_id": "a", "type": "SSI"});
        collection.insert_one(&document).await.unwrap();
        assert_eq!(collection.count_documents(query()).await.unwrap(), u64::from(is_work), "{document}");
        let claimed = queue.claim(&claimant).await.unwrap().is_some();
        let is_found = claimed || queue.claim_settling(&claimant).await.unwrap().is_some();
        assert_eq!(is_found, is_work, "{document}");
        collection.delete_many(doc! {}).await.unwrap();
    }
    servers.remove().await;
}

/// Every `oma_…` in a text, without what Prometheus appends.
fn figures(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("oma_"));
    let plain = |word: &str| {
        let end = ["_bucket", "_count", "_sum"].into_iter().find_map(|end| word.strip_suffix(end));
        end.unwrap_or(word).to_owned()
    };
    words.map(plain).collect()
}

#[test]
fn every_figure_has_its_alert_and_its_paragraph() {
    let served = figures(include_str!("../../src/http.rs"));
    assert_eq!(served.len(), 13, "{served:?}");
    let alerts = include_str!("../../deploy/alerts.yaml");
    let operations = include_str!("../../deploy/operations.md");
    assert_eq!(figures(alerts), served);
    // Databases of the compose file and folders look the same.
    assert!(served.is_subset(&figures(operations)), "{:?}", served.difference(&figures(operations)));
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(operations.contains(&format!("### {name}\n")), "{name} is not explained");
    }
}
