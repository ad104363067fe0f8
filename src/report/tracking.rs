//! Which mode of earlier results each mode is.

use super::table::{Alignment, table};
use crate::model::modes::Mode;
use crate::model::result::AnalysisResult;
use crate::model::tracking::Missing;

/// The columns of the table, here and on the page.
pub(super) const COLUMNS: [&str; 8] =
    ["mode", "f before, Hz", "Δf, %", "Δf / σ", "ξ before, %", "Δξ / σ", "MAC", "seen"];

/// One row a mode.
pub(super) fn rows(result: &AnalysisResult) -> Vec<Vec<String>> {
    let row = |(k, mode): (usize, &Mode)| {
        let Some(track) = &mode.track else {
            let mut row = vec![(k + 1).to_string(), "new".to_owned()];
            row.resize(COLUMNS.len(), "–".into());
            return row;
        };
        let sigmas = |sigmas: Option<f64>| sigmas.map_or("–".into(), |sigmas| format!("{sigmas:+.1}"));
        vec![
            (k + 1).to_string(),
            format!("{:.4}", track.frequency_hz),
            format!("{:+.2}", 100.0 * track.frequency_change_hz / track.frequency_hz),
            sigmas(track.frequency_change_sigmas),
            track.damping_ratio.map_or("–".into(), |damping| format!("{:.2}", 100.0 * damping)),
            sigmas(track.damping_ratio_change_sigmas),
            format!("{:.4}", track.mac),
            track.seen.to_string(),
        ]
    };
    result.modes.iter().enumerate().map(row).collect()
}

/// What of the earlier results is not found; `None` where nothing is missing.
pub(super) fn missing(result: &AnalysisResult) -> Option<String> {
    let tracking = result.tracking.as_ref().filter(|tracking| !tracking.missing.is_empty())?;
    let one = |missing: &Missing| format!("{:.4} Hz ({} of {})", missing.frequency_hz, missing.seen, tracking.earlier);
    let all: Vec<String> = tracking.missing.iter().map(one).collect();
    Some(format!("in earlier results, not found now: {}", all.join(", ")))
}

/// The table for the terminal; `None` where no earlier results were given.
pub fn track_table(result: &AnalysisResult) -> Option<String> {
    let tracking = result.tracking.as_ref()?;
    let head = match tracking.earlier {
        1 => "beside 1 earlier result".to_owned(),
        n => format!("beside {n} earlier results"),
    };
    let table = table(&COLUMNS.map(|name| (name, Alignment::Right)), rows(result));
    let missing = missing(result).map_or(String::new(), |missing| format!("\n{missing}"));
    Some(format!("{head}\n{table}{missing}"))
}
