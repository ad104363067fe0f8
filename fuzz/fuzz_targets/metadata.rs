//! Any JSON as the documents that others write: queue documents, analyses, parameters, structures, measures, results.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oma_worker::modal::tracking;
use oma_worker::model::parameters::Parameters;
use oma_worker::model::result::AnalysisResult;
use oma_worker::report;
use oma_worker::stores::documents::{Analysis, Id, Measure, QueueDocument, Structure};
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let _ = Parameters::from_parts(&value, &Value::Null, &Value::Null);
    let _ = Parameters::from_parts(&value["preprocessing"], &value["fdd"], &value["ssi"]);
    let id = || Id::from("6426ff08edc3cbd39eac2a93");
    let _ = Structure::from_body(id(), &value);
    let measure = Measure::from_body(&value);
    let _ = measure.overlaps((measure.start, None));

    let document = QueueDocument::from_body(id(), value.clone());
    let _ = (document.analysis_id(), document.structure_id(), document.run_type(), document.status());
    // What is written back is read as the same again.
    assert_eq!(QueueDocument::from_body(id(), document.to_body()), document);
    let analysis = Analysis { id: id(), body: value.clone() };
    let _ = (analysis.holder(), analysis.tenant_id(), analysis.user_id(), analysis.status());

    // A result of any size and shape of arrays has modes to track and a page, as far as it is one.
    if let Ok(mut result) = serde_json::from_value::<AnalysisResult>(value) {
        let earlier = [result.clone()];
        tracking::track(&mut result, &earlier);
        let _ = report::page("any", &[], &[result]);
    }
});
