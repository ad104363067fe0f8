//! Documents that were written once must be readable for ever: `tests/wire/v1` only grows.

use oma_worker::model::result::AnalysisResult;
use oma_worker::model::run::{RunType, Status, StatusMessage};
use serde_json::Value;

const FDD: &str = include_str!("../wire/v1/fdd.json");
const HARMONICS: &str = include_str!("../wire/v1/harmonics.json");
const SSI: &str = include_str!("../wire/v1/ssi.json");
const MERGED: &str = include_str!("../wire/v1/merged.json");
const SETUPS: &str = include_str!("../wire/v1/setups.json");
const MIXED: &str = include_str!("../wire/v1/mixed.json");
const PREPROCESSING: &str = include_str!("../wire/v1/preprocessing.json");
const STATUS: &str = include_str!("../wire/v1/status.json");

/// Every value of `expected` is in `found` at the same place.
fn assert_kept(expected: &Value, found: &Value, place: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, value) in expected.iter().filter(|(name, _)| *name != "a_field_of_a_later_version") {
                assert_kept(value, found.get(name).unwrap_or(&Value::Null), &format!("{place}.{name}"));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{place}");
            let pairs = expected.iter().zip(found).enumerate();
            pairs.for_each(|(k, (expected, found))| assert_kept(expected, found, &format!("{place}[{k}]")));
        }
        _ => assert_eq!(expected, found, "{place}"),
    }
}

#[test]
fn results_of_version_1_keep_every_value_through_reading_and_writing() {
    let documents = [
        (FDD, RunType::Fdd),
        (HARMONICS, RunType::Fdd),
        (SSI, RunType::Ssi),
        (MERGED, RunType::Ssi),
        (SETUPS, RunType::Ssi),
        (MIXED, RunType::Fdd),
        (PREPROCESSING, RunType::Preprocessing),
    ];
    for (text, run_type) in documents {
        let result: AnalysisResult = serde_json::from_str(text).unwrap();
        assert_eq!(result.run_type, run_type);
        assert_kept(&serde_json::from_str(text).unwrap(), &serde_json::to_value(&result).unwrap(), run_type.as_str());
    }
}

#[test]
fn results_survive_bson_as_they_survive_json() {
    for text in [FDD, HARMONICS, SSI, MERGED, SETUPS, MIXED, PREPROCESSING] {
        let result: AnalysisResult = serde_json::from_str(text).unwrap();
        let document = bson::serialize_to_document(&result).unwrap();
        assert_eq!(bson::deserialize_from_document::<AnalysisResult>(document).unwrap(), result);
    }
}

#[test]
fn the_status_message_is_exactly_five_fields_in_the_agreed_order() {
    let message: StatusMessage = serde_json::from_str(STATUS).unwrap();
    assert_eq!((message.run_type.as_str(), message.status), ("SSI", Status::Running));
    assert_eq!(serde_json::to_string(&message).unwrap(), STATUS.trim());
}

#[test]
fn run_types_and_statuses_are_spelled_as_the_platform_spells_them() {
    let words: Vec<String> = RunType::ALL.iter().map(|t| serde_json::to_string(t).unwrap()).collect();
    assert_eq!(words, ["\"PREPROCESSING\"", "\"FDD\"", "\"SSI\""]);
    for status in [Status::Ready, Status::Queued, Status::Running, Status::Done, Status::Error, Status::Aborted] {
        assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        assert_eq!(status.to_string(), format!("{status:?}").to_uppercase());
    }
}
