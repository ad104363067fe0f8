//! Any JSON as the documents that others write: parameters, structures, measures, results.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oma_worker::model::parameters::Parameters;
use oma_worker::model::result::AnalysisResult;
use oma_worker::stores::documents::{Id, Measure, Structure};
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let _ = Parameters::from_parts(&value, &Value::Null, &Value::Null);
    let _ = Parameters::from_parts(&value["preprocessing"], &value["fdd"], &value["ssi"]);
    let _ = Structure::from_body(Id::from("6426ff08edc3cbd39eac2a93"), &value);
    let measure = Measure::from_body(&value);
    let _ = measure.overlaps((measure.start, None));
    let _ = serde_json::from_value::<AnalysisResult>(value);
});
