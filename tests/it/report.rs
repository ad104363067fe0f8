//! The page is one file, shows what the result holds, and no text breaks out of it.

use oma_worker::model::result::AnalysisResult;
use oma_worker::report;

fn results() -> Vec<AnalysisResult> {
    let texts = [include_str!("../wire/v1/fdd.json"), include_str!("../wire/v1/ssi.json")];
    texts.map(|text| serde_json::from_str(text).unwrap()).into()
}

#[test]
fn the_page_shows_modes_plots_and_provenance_and_needs_no_network() {
    let page = report::page("Bridge", &[], &results());
    for expected in ["1.880", "0.99", "<svg", "Stabilization diagram", "Singular values", "20 s are missing", "ab12"] {
        assert!(page.contains(expected), "{expected} is missing");
    }
    for outside in ["<script", "<link", "src=", "href=", "@import"] {
        assert!(!page.contains(outside), "the page loads something: {outside}");
    }
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let mut results = results();
    for result in &mut results {
        result.data.channels = vec!["<script>alert(1)</script>".into()];
        result.provenance.warnings = vec!["<img src=x>".into()];
    }
    let page = report::page("<b>title</b>", &[], &results);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"));
}

#[test]
fn no_modes_is_said_with_its_reason() {
    let mut result = results().remove(0);
    result.modes.clear();
    result.no_modes_reason = Some("no peak stands out of the noise".into());
    assert!(report::mode_table(&result).contains("no peak stands out of the noise"));
    assert!(report::page("t", &[], &[result]).contains("no peak stands out of the noise"));
}
