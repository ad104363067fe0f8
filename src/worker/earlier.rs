//! The modes of a result over earlier results of the structure (`OMA_TRACKED_RESULTS`).

use super::Job;
use super::execute::{Execute, ExecuteError};
use crate::modal::tracking;
use crate::model::result::AnalysisResult;
use std::collections::HashSet;

/// Tells which mode of earlier results each mode is. A result that cannot be read is left out, with a warning.
pub(super) async fn track(execute: &Execute, result: &mut AnalysisResult, job: &Job) -> Result<(), ExecuteError> {
    let documents = execute.results_beside(job).await?;
    let found = documents.len();
    let mut earlier: Vec<AnalysisResult> =
        documents.into_iter().filter_map(|document| serde_json::from_value(document).ok()).collect();
    if earlier.len() < found {
        result.provenance.warnings.push(format!(
            "{} of {found} earlier results cannot be read, no mode is tracked over them",
            found - earlier.len()
        ));
    }
    // The newest come first: of an analysis that was run again the last one counts.
    let mut known = HashSet::new();
    earlier.retain(|result| known.insert(result.analysis_id.clone()));
    tracking::track(result, &earlier);
    Ok(())
}
