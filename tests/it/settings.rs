//! `check` against real servers with one thing wrong at a time, and secrets under every failure.

use crate::support::platform::{Platform, wait_until};
use mongodb::bson::doc;
use std::process::{Command, Stdio};

pub(crate) struct Checked {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Platform {
    pub(crate) fn check(&self, wrong: &[(&str, &str)]) -> Checked {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oma-worker"));
        command.arg("check").env_clear().current_dir(home.path()).envs(self.environment());
        command.env("DATA_PATH", home.path()).envs(wrong.iter().copied());
        let output = command.stdin(Stdio::null()).output().unwrap();
        Checked { code: output.status.code(), text: String::from_utf8(output.stdout).unwrap() }
    }
}

#[tokio::test]
async fn check_names_the_variable_of_whatever_is_wrong() {
    let platform = Platform::fresh().await;
    let well = platform.check(&[]);
    assert_eq!(well.code, Some(0), "{}", well.text);
    for line in ["ok    MongoDB", "ok    MySQL", "ok    S3", "ok    Kafka"] {
        assert!(well.text.contains(line), "{line} is missing in {}", well.text);
    }
    let no_column = "SELECT name FROM channels WHERE sensor_id = ?";
    let cases = [
        (("MONGODB_PASSWORD", "wrong"), "MongoDB", "MONGODB_PASSWORD"),
        (("MONGODB_PORT", "1"), "MongoDB", "MONGODB_PORT"),
        (("MONGODB_DATABASE", "other"), "MongoDB", "MONGODB_DATABASE"),
        (("MONGODB_OPTIONS", "replicaSet=rs&authSource=admin&tls=true"), "MongoDB", "MONGODB_OPTIONS"),
        (("MYSQL_PASSWORD", "wrong"), "MySQL", "MYSQL_PASSWORD"),
        (("MYSQL_PORT", "1"), "MySQL", "MYSQL_PORT"),
        (("MYSQL_DATABASE", "oma_test_other"), "MySQL", "MYSQL_DATABASE"),
        (("MYSQL_SSL_MODE", "verify_identity"), "MySQL", "MYSQL_SSL_MODE"),
        (("MYSQL_CHANNELS_QUERY", no_column), "MySQL", "no column axis"),
        (
            ("MYSQL_CHANNELS_QUERY", "SELECT colour FROM channels"),
            "MySQL",
            "MYSQL_CHANNELS_QUERY: Unknown column 'colour'",
        ),
        (("AWS_SECRET_ACCESS_KEY", "wrong"), "S3", "AWS_SECRET_ACCESS_KEY"),
        (("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), "S3", "AWS_ENDPOINT_URL"),
        (("FILE_BUCKET", "no-such-bucket"), "S3", "FILE_BUCKET"),
        (("CACHE_BUCKET", "no-such-bucket"), "S3", "CACHE_BUCKET"),
        (("KAFKA_BROKER", "127.0.0.1:1"), "Kafka", "KAFKA_BROKER"),
        (("KAFKA_TOPIC_BROADCAST", "no_such_topic"), "Kafka", "KAFKA_TOPIC_BROADCAST"),
        (("KAFKA_OPTIONS", "no.such.option=1"), "servers", "no.such.option"),
    ];
    let mut unclear = Vec::new();
    for ((variable, value), service, told) in cases {
        let ill = platform.check(&[(variable, value)]);
        let failed: Vec<&str> = ill.text.lines().filter(|line| line.starts_with("FAIL")).collect();
        let is_clear =
            matches!(failed[..], [line] if line.contains(&format!("FAIL  {service}: ")) && line.contains(told));
        if ill.code != Some(1) || !is_clear {
            unclear.push(format!("{variable}={value}: {failed:#?}"));
        }
    }
    assert!(unclear.is_empty(), "{}", unclear.join("\n"));
    platform.servers.remove().await;
}

/// What must not be seen, as it is and as an address would have it.
const PLANTED: [&str; 2] = ["pl@nted/Geheim:5", "pl%40nted%2FGeheim%3A5"];

fn assert_hidden(text: &str) {
    for secret in PLANTED {
        assert!(!text.contains(secret), "{secret} is in:\n{text}");
    }
}

#[tokio::test]
async fn a_password_appears_nowhere_whatever_fails_at_the_most_verbose_level() {
    let platform = Platform::fresh().await;
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(analysis, "FDD").await;
    let kafka = format!("broker.address.family=v4,sasl.password={},debug=all", PLANTED[0]);
    let planted = [
        ("OMA_LOG", "trace"),
        ("MYSQL_PASSWORD", PLANTED[0]),
        ("AWS_SECRET_ACCESS_KEY", PLANTED[0]),
        ("KAFKA_OPTIONS", &kafka),
    ];
    // The queue is there, so that a run comes to each of the others, which refuse.
    let worker = platform.worker(&planted);
    wait_until("MySQL has refused", async || worker.said().contains("Access denied")).await;
    assert_hidden(&worker.said());
    drop(worker);
    let nowhere = [
        ("MONGODB_PASSWORD", PLANTED[0]),
        ("MONGODB_OPTIONS", "serverSelectionTimeoutMS=1000"),
        ("MONGODB_PORT", "1"),
        ("MYSQL_PORT", "1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("KAFKA_BROKER", "127.0.0.1:1"),
    ];
    let all: Vec<(&str, &str)> = planted.into_iter().chain(nowhere).collect();
    let worker = platform.worker(&all);
    wait_until("MongoDB was not reached", async || worker.said().contains("the queue is not to be reached")).await;
    assert_hidden(&worker.said());
    assert_hidden(&platform.check(&all).text);
    assert_hidden(
        &platform.check(&[("MONGODB_PASSWORD", PLANTED[0]), ("MONGODB_OPTIONS", "tls=pl@nted/Geheim:5")]).text,
    );
    // What is wrong here is told, but not shown.
    let refused = platform.check(&[("KAFKA_OPTIONS", PLANTED[0])]);
    assert!(refused.text.contains("KAFKA_OPTIONS"), "{}", refused.text);
    assert_hidden(&refused.text);
    platform.servers.remove().await;
}
