//! Kafka over TLS: `scripts/kafka-tls` builds and runs this. The broker of the tests keeps no users, so a password is only
//! tried where it is refused.

use crate::support::platform::{Platform, wait_until};
use mongodb::bson::doc;
use oma_worker::model::run::Status;
use serde_json::json;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `scripts/kafka-tls` sets it"))
}

/// What librdkafka has to be told, beside what it is told without TLS.
fn options(platform: &Platform, more: &str) -> String {
    format!("{},{more}", platform.servers.settings.kafka.options.reveal())
}

#[tokio::test]
async fn statuses_and_aborts_pass_over_tls() {
    let platform = Platform::fresh().await;
    let (broker, ca) = (variable("OMA_TEST_TLS_KAFKA_BROKER"), variable("OMA_TEST_TLS_CA"));
    let tls = options(&platform, &format!("security.protocol=ssl,ssl.ca.location={ca}"));
    let kafka = [("KAFKA_BROKER", broker.as_str()), ("KAFKA_OPTIONS", tls.as_str())];
    let done = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(done, "FDD").await;
    let mut worker = platform.worker(&kafka);
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));

    let aborted = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(aborted, "FDD").await;
    // A run that waits for S3 can be aborted.
    let mut worker = platform.worker(&[kafka[0], kafka[1], ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
    let is_at_work = async || platform.read_analysis(aborted).await["status"] == "RUNNING";
    wait_until("the run is at work", is_at_work).await;
    platform.servers.broadcast(Some(json!({"analysis_id": aborted.to_hex()}).to_string().as_bytes())).await;
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));

    let messages = platform.servers.messages().await;
    let told = |analysis: mongodb::bson::oid::ObjectId| -> Vec<Status> {
        messages.iter().filter(|m| m.document_id == analysis.to_hex()).map(|m| m.status).collect()
    };
    assert_eq!(told(done), [Status::Running, Status::Done]);
    assert_eq!(told(aborted), [Status::Running, Status::Aborted]);
    platform.servers.remove().await;
}

#[tokio::test]
async fn a_refused_password_and_an_unknown_certificate_are_told_with_their_variable() {
    let platform = Platform::fresh().await;
    let (broker, ca) = (variable("OMA_TEST_TLS_KAFKA_BROKER"), variable("OMA_TEST_TLS_CA"));
    let password = "planted-password";
    let user = format!("sasl.mechanism=SCRAM-SHA-512,sasl.username=app,sasl.password={password}");
    for more in [
        format!("security.protocol=sasl_ssl,ssl.ca.location={ca},{user}"),
        "security.protocol=ssl".to_owned(),
        "security.protocol=plaintext".to_owned(),
    ] {
        let checked = platform.check(&[("KAFKA_BROKER", &broker), ("KAFKA_OPTIONS", &options(&platform, &more))]);
        assert_eq!(checked.code, Some(1), "{more}: {}", checked.text);
        assert!(checked.text.contains("KAFKA_OPTIONS") && !checked.text.contains(password), "{more}: {}", checked.text);
    }
    platform.servers.remove().await;
}
