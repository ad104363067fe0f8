//! Tables for the terminal: no colours, no borders that a copy into a text would break.

use super::with_std;
use crate::model::merging::Strategy;
use crate::model::modes::{Confidence, Mode};
use crate::model::result::AnalysisResult;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// A line under the header and nothing else.
const RULED_HEADER: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Where the cells of a column sit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table from its columns and rows.
pub fn table(columns: &[(&str, Alignment)], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(RULED_HEADER).set_header(columns.iter().map(|(name, _)| *name)).add_rows(rows);
    for (column, (_, alignment)) in table.column_iter_mut().zip(columns) {
        column.set_cell_alignment(match alignment {
            Alignment::Left => CellAlignment::Left,
            Alignment::Right => CellAlignment::Right,
        });
    }
    table.to_string()
}

/// The columns of a table of modes, here and on the page.
pub(super) const MODE_COLUMNS: [&str; 10] =
    ["mode", "f, Hz", "± std", "ξ, %", "± std", "MPC", "order", "poles", "support", "confidence"];

/// One row of a table of modes; `number` counts from 1.
pub(super) fn mode_row(number: usize, mode: &Mode) -> Vec<String> {
    let (frequency, frequency_std) = with_std(Some(mode.frequency_hz), mode.frequency_std_hz, 4);
    let percent = |ratio: Option<f64>| ratio.map(|r| r * 100.0);
    let (damping, damping_std) = with_std(percent(mode.damping_ratio), percent(mode.damping_ratio_std), 2);
    let count = |n: Option<usize>| n.map_or("–".into(), |n| n.to_string());
    let support = mode.support.map_or("–".into(), |s| format!("{s:.2}"));
    let mpc = format!("{:.3}", mode.mpc);
    let (order, poles) = (count(mode.order), count(mode.pole_count));
    let confidence = mode.confidence.map_or("–", Confidence::as_str).to_owned();
    vec![number.to_string(), frequency, frequency_std, damping, damping_std, mpc, order, poles, support, confidence]
}

/// What was analysed, and its modes; the reason where there is none.
pub fn mode_table(result: &AnalysisResult) -> String {
    let summary = summary(result);
    if result.modes.is_empty() {
        let reason = result.no_modes_reason.as_deref().unwrap_or("the method found none");
        return format!("{summary}\nno modes: {reason}");
    }
    let rows = result.modes.iter().enumerate().map(|(k, mode)| mode_row(k + 1, mode));
    let harmonics: Vec<String> = result.harmonics.iter().map(|h| format!("{:.4}", h.frequency_hz)).collect();
    let harmonics = match harmonics.as_slice() {
        [] => String::new(),
        some => format!("\nharmonics of machines, no modes: {} Hz", some.join(", ")),
    };
    format!("{summary}\n{}{harmonics}", table(&MODE_COLUMNS.map(|name| (name, Alignment::Right)), rows))
}

/// One line: method, setups, channels, length, rate, gaps.
pub(super) fn summary(result: &AnalysisResult) -> String {
    let data = &result.data;
    let channels = match data.channels.len() {
        1 => "1 channel".into(),
        n => format!("{n} channels"),
    };
    let gaps = match data.segments.len() {
        0 | 1 => String::new(),
        2 => ", 1 gap".into(),
        n => format!(", {} gaps", n - 1),
    };
    let setups = result.merging.as_ref().map_or(String::new(), |merging| {
        let strategy = match merging.strategy {
            Strategy::Poser => String::new(),
            other => format!(" by {}", other.name()),
        };
        format!("{} setups{strategy}, ", merging.setups.len())
    });
    format!(
        "{}: {setups}{channels}, {:.1} s at {} Hz ({} samples){gaps}",
        result.method, data.duration_s, data.sampling_rate_hz, data.samples
    )
}
