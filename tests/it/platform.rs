//! The worker as the platform runs it: a process with the fixed variables, on the real servers, with documents that
//! another program wrote.

use crate::support::platform::{Platform, TENANT, USER};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, bson, doc};
use serde_json::{Value, json};
use std::process::Command;

/// What `scripts/services env` tells besides the worker's own variables.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start the servers by `scripts/services up`"))
}

#[tokio::test]
async fn three_runs_of_four_fields_each_end_done_and_are_told_in_exactly_five_fields() {
    let platform = Platform::fresh().await;
    let analysis = platform.analysis(platform.structure, doc! {"name": "n"}).await;
    let types = ["PREPROCESSING", "FDD", "SSI"];
    for run_type in types {
        platform.enqueue(analysis, run_type).await;
    }
    let mut worker = platform.worker(&[]);
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));

    let message = |run_type: &str, status: &str| {
        format!(
            r#"{{"tenant_id":{TENANT},"user_id":{USER},"document_id":"{analysis}","run_type":"{run_type}","status":"{status}"}}"#
        )
    };
    let expected: Vec<String> = types.iter().flat_map(|t| [message(t, "RUNNING"), message(t, "DONE")]).collect();
    let sent = platform.servers.raw_messages().await;
    let (keys, told): (Vec<_>, Vec<_>) = sent.into_iter().map(|(k, v)| (k, String::from_utf8(v).unwrap())).unzip();
    assert_eq!(told, expected);
    assert!(keys.iter().all(|key| *key == Some(analysis.to_hex().into_bytes())), "{keys:?}");

    let body = platform.read_analysis(analysis).await;
    assert_eq!((&body["status"], &body["name"], &body["error"]), (&json!("DONE"), &json!("n"), &Value::Null), "{body}");
    let results = platform.servers.documents(&format!("modals_analysis_results_{}", platform.structure)).await;
    assert_eq!(results.len(), types.len());
    for run_type in types {
        assert_eq!(body["status_by_type"][run_type], "DONE");
        let id = &body["results"][run_type];
        let result = results.iter().find(|result| result["_id"] == *id).unwrap();
        assert_eq!((&result["type"], &result["analysis_id"]), (&json!(run_type), &json!(analysis.to_hex())));
    }
    assert_eq!(results.iter().find(|r| r["type"] == "SSI").unwrap()["modes"].as_array().unwrap().len(), 3);
    platform.servers.remove().await;
}

#[tokio::test]
async fn what_the_seeding_program_puts_into_the_servers_is_worked_off() {
    let platform = Platform::fresh().await;
    let mut seeding = platform.start(Command::new(Platform::program()).args(["seed", "--user-id", "8"]), &[]);
    assert_eq!(seeding.wait().code(), Some(0), "{}", seeding.said());
    let said = seeding.said();
    let id = |line: &str, name: &str| line.strip_prefix(name).unwrap().parse::<ObjectId>().unwrap();
    let mut lines = said.lines();
    let structure = id(lines.next().unwrap(), "structure ");
    let analysis = id(lines.next().unwrap(), "analysis ");

    let body = platform.read_analysis_of(structure, analysis).await;
    assert_eq!((&body["status"], &body["user_id"]), (&json!("QUEUED"), &json!(8)), "{body}");
    let mut worker = platform.worker(&[]);
    platform.queue_is_empty().await;
    worker.end();
    let body = platform.read_analysis_of(structure, analysis).await;
    assert_eq!(body["status"], "DONE", "{body}");
    let results = platform.servers.documents(&format!("modals_analysis_results_{structure}")).await;
    for run_type in ["FDD", "SSI"] {
        let result = results.iter().find(|result| result["_id"] == body["results"][run_type]).unwrap();
        assert_eq!(result["modes"].as_array().unwrap().len(), 6, "{run_type}");
    }
    platform.servers.remove().await;
}

#[tokio::test]
async fn mongodb_mysql_and_s3_are_reached_over_tls() {
    let platform = Platform::fresh().await;
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(analysis, "FDD").await;
    let (ca, endpoint) = (variable("OMA_TEST_TLS_CA"), variable("OMA_TEST_TLS_AWS_ENDPOINT_URL"));
    let options = platform.servers.settings.mongodb.options.reveal();
    let mut worker = platform.worker(&[
        ("MONGODB_OPTIONS", &format!("{options}&tls=true&tlsCAFile={ca}")),
        ("MYSQL_SSL_MODE", "verify_identity"),
        ("MYSQL_SSL_CA", &ca),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("SSL_CERT_FILE", &ca),
    ]);
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));
    assert_eq!(platform.read_analysis(analysis).await["status"], "DONE");
    platform.servers.remove().await;
}

#[tokio::test]
async fn raw_files_are_found_by_ids_by_names_and_in_the_index_itself() {
    let platform = Platform::fresh().await;
    let (by_id, by_name, inline) = (ObjectId::new(), ObjectId::new(), ObjectId::new());
    for (structure, number) in [(by_id, 44), (by_name, 45), (inline, 46)] {
        platform.make_structure(structure, number).await;
    }
    for (index, text) in platform.files.iter().enumerate() {
        let sensor = index + 1;
        platform.put_file(&format!("{TENANT}/{by_id}/{}/2026/03/01/a.csv", 440 + sensor), text).await;
        platform.put_file(&format!("{}/bridge/s{sensor}/2026/03/01/a.csv", platform.servers.tag), text).await;
        let values: Vec<f64> =
            text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
        let measure = json!({"sensor_id": 460 + sensor, "sampling_rate_hz": 100.0, "values": {"x": values}});
        platform.insert_measure(46, measure).await;
    }
    let enqueue = async |structure: ObjectId| {
        let analysis = platform.analysis(structure, doc! {}).await;
        let mut document = platform.queue_document(analysis, "FDD");
        document.insert("structure_id", structure.to_hex());
        platform.insert(&platform.servers.settings.names.queue, document).await;
        (structure, analysis)
    };
    let mut analyses = vec![enqueue(by_id).await, enqueue(inline).await];
    let mut worker = platform.worker(&[]);
    platform.queue_is_empty().await;
    worker.end();
    analyses.push(enqueue(by_name).await);
    let mut worker = platform.worker(&[("USE_S3_STRING_PATHS", "yes")]);
    platform.queue_is_empty().await;
    worker.end();
    for (structure, analysis) in analyses {
        let body = platform.read_analysis_of(structure, analysis).await;
        assert_eq!(body["status"], "DONE", "{body}");
    }
    platform.servers.remove().await;
}

/// How a malformed document ends.
enum End {
    /// In the dead letters, with a reason that has this in it.
    Dead(&'static str),
    /// In ERROR, with this code and a sentence that has this in it.
    Error(&'static str, &'static str),
}

/// What is wrong with a queue document.
fn malformed_queue_documents() -> Vec<(Document, End)> {
    use End::{Dead, Error};
    vec![
        (doc! {"analysis_id": Bson::Undefined}, Dead("analysis_id is missing or of the wrong type")),
        (doc! {"analysis_id": 5}, Dead("analysis_id is missing or of the wrong type")),
        (doc! {"analysis_id": null}, Dead("analysis_id is missing or of the wrong type")),
        (doc! {"analysis_id": ""}, Dead("analysis_id is missing or of the wrong type")),
        (doc! {"analysis_id": ["65e08e66bfe58ba848bccee0"]}, Dead("analysis_id is missing or of the wrong type")),
        (doc! {"analysis_id": "65e08e66bfe58ba848bccee0"}, Dead("analysis 65e08e66bfe58ba848bccee0 of structure")),
        (doc! {"analysis_id": "no id"}, Dead("analysis no id of structure")),
        (doc! {"structure_id": 5}, Dead("structure_id is missing or of the wrong type")),
        (doc! {"structure_id": "$a.b"}, Dead("does not exist")),
        (doc! {"type": null}, Dead("type is missing or of the wrong type")),
        (doc! {"type": 5, "_id": 5}, Dead("type is missing or of the wrong type")),
        (doc! {"type": {"name": "SSI"}, "_id": "run 1", "worker": [1]}, Dead("type is missing or of the wrong type")),
        (doc! {"type": "MODES"}, Error("unknown_run_type", "MODES")),
        (doc! {"type": "$ssi.x", "_id": 6.5}, Error("unknown_run_type", "$ssi.x")),
        (
            doc! {"type": "ssi", "worker": {"unsent": ["x", {"fence": "y"}], "outcome": 5, "fence": i64::MAX, "attempts": "a"}},
            Error("unknown_run_type", "ssi"),
        ),
    ]
}

/// What is wrong with an analysis.
fn malformed_analyses() -> Vec<(Document, End)> {
    let cases: [(Document, &str, &str); 13] = [
        (doc! {"period": {"start": "yesterday"}}, "bad_analysis", "yesterday"),
        (doc! {"period": {"end": {"year": 2026}}}, "bad_analysis", "period"),
        (doc! {"period": {"start": "2001-01-01T00:00:00Z", "end": "2001-01-02T00:00:00Z"}}, "bad_period", ""),
        (doc! {"channels": "all"}, "bad_analysis", "channels"),
        (doc! {"channels": ["c9"]}, "unknown_channel", "c9"),
        (doc! {"reference_channels": [1]}, "bad_analysis", "reference_channels"),
        (doc! {"ssi": {"block_rows": -1}}, "bad_parameter", "block_rows"),
        (doc! {"ssi": {"blok_rows": 20}}, "bad_parameter", "block_rows"),
        (doc! {"ssi": "quick"}, "bad_parameter", "ssi"),
        (doc! {"ssi": {"order_max": "many"}}, "bad_parameter", "order_max"),
        (doc! {"preprocessing": {"detrend": 7}}, "bad_parameter", "detrend"),
        (doc! {"fdd": [1]}, "bad_parameter", "fdd"),
        (doc! {"ssi": {"block_rows": 100_000}}, "bad_parameter", "block_rows"),
    ];
    cases.into_iter().map(|(fields, code, part)| (fields, End::Error(code, part))).collect()
}

#[tokio::test]
async fn malformed_documents_end_in_error_or_in_the_dead_letters_and_the_worker_lives() {
    let platform = Platform::fresh().await;
    let queue = platform.servers.settings.names.queue.clone();
    let mut expected: Vec<(ObjectId, ObjectId, End)> = Vec::new();
    let mut dead: Vec<(Bson, &str)> = Vec::new();
    for (fields, end) in malformed_queue_documents() {
        let analysis = platform.analysis(platform.structure, doc! {}).await;
        let mut document = platform.queue_document(analysis, "SSI");
        document.insert("_id", ObjectId::new());
        for (name, value) in fields {
            match value {
                Bson::Undefined => drop(document.remove(&name)),
                value => drop(document.insert(name, value)),
            }
        }
        match end {
            End::Dead(reason) => dead.push((document.get("_id").unwrap().clone(), reason)),
            error => expected.push((platform.structure, analysis, error)),
        }
        platform.insert(&queue, document).await;
    }
    for (fields, end) in malformed_analyses() {
        let analysis = platform.analysis(platform.structure, fields).await;
        platform.enqueue(analysis, "SSI").await;
        expected.push((platform.structure, analysis, end));
    }
    for (structure, code, part) in malformed_structures(&platform).await {
        let analysis = platform.analysis(structure, doc! {}).await;
        let mut document = platform.queue_document(analysis, "FDD");
        document.insert("structure_id", structure);
        platform.insert(&queue, document).await;
        expected.push((structure, analysis, End::Error(code, part)));
    }
    assert!(dead.len() + expected.len() >= 24);
    let good = platform.analysis(platform.structure, doc! {}).await;
    platform.enqueue(good, "FDD").await;

    let mut worker = platform.worker(&[]);
    platform.queue_is_empty().await;
    assert_eq!(worker.end().code(), Some(0));
    let mut wrong = Vec::new();
    for (structure, analysis, end) in expected {
        let body = platform.read_analysis_of(structure, analysis).await;
        let End::Error(code, part) = end else { continue };
        let (told_code, sentence) = (&body["error"]["code"], body["error"]["message"].as_str().unwrap_or_default());
        if body["status"] != "ERROR" || *told_code != json!(code) || !sentence.contains(part) {
            wrong.push(format!("expected {code} with {part:?}, got {} {}", body["status"], body["error"]));
        }
    }
    let letters = platform.servers.documents(&format!("{queue}_dead")).await;
    assert_eq!(letters.len(), dead.len());
    for (id, reason) in dead {
        let id = id.into_relaxed_extjson();
        let letter = letters.iter().find(|letter| letter["_id"] == id).unwrap();
        if !letter["reason"].as_str().unwrap().contains(reason) {
            wrong.push(format!("expected {reason:?}, got {letter}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(platform.read_analysis(good).await["status"], "DONE");
    platform.servers.remove().await;
}

/// Structures that no run can be made of.
async fn malformed_structures(platform: &Platform) -> Vec<(ObjectId, &'static str, &'static str)> {
    let names = platform.servers.settings.names.clone();
    let structures = [
        (Bson::Null, "no_channels", "0 channels are known"),
        (bson!(99), "no_channels", "0 channels are known"),
        (bson!("many"), "no_channels", "0 channels are known"),
    ];
    let mut made = vec![(ObjectId::new(), "missing_structure", "does not exist")];
    for (mysql_id, code, part) in structures {
        let id = ObjectId::new();
        platform.insert(&names.structures, doc! {"_id": id, "name": "s", "tenant_id": 9, "mysql_id": mysql_id}).await;
        made.push((id, code, part));
    }
    made
}
