//! Which column of a table holds the time, and how it is written.

use super::IngestError;
use super::calendar::{is_bare_date, time_of_day};
use super::cells::shown;
use super::preamble::Preamble;
use super::stamps::{Detected, Nanos, StampFormat, is_time_header, words};
use crate::model::file_format::FileFormat;

/// The time of a row: one cell, or a date and a time of day in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeColumns {
    /// Place of the cell.
    pub(crate) index: usize,
    /// Place of the time of day, where it is apart.
    pub(crate) clock: Option<usize>,
    pub(crate) format: StampFormat,
}

impl TimeColumns {
    /// The time of a row from its one or two cells.
    pub(crate) fn parse(&self, cell: &[u8], clock: &[u8]) -> Option<Nanos> {
        let time = self.format.parse(cell)?;
        match self.clock {
            None => Some(time),
            Some(_) => time.checked_add(time_of_day(clock)?),
        }
    }
}

/// Rows whose cells settle how a column is written.
const SAMPLE_ROWS: usize = 64;

/// Finds the time in a table. `names`: the header's, where there is one; `line`: that of the first row.
pub(crate) fn find(
    file: &str,
    line: u64,
    names: Option<&[String]>,
    rows: &[Vec<&[u8]>],
    format: &FileFormat,
    preamble: &Preamble,
    notes: &mut Vec<String>,
) -> Result<Option<TimeColumns>, IngestError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let cells = |index: usize| -> Vec<&[u8]> {
        rows.iter()
            .take(SAMPLE_ROWS)
            .filter_map(|row| row.get(index).copied())
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    let name = |index: usize| names.and_then(|names| names.get(index)).map_or("", String::as_str);
    let detect = |index: usize| StampFormat::detect(name(index), &cells(index), format.date_order);
    let with = |notes: &mut Vec<String>, index: usize, clock: Option<usize>, found: Detected| {
        notes.extend(found.note);
        Ok(Some(TimeColumns { index, clock, format: found.format }))
    };
    let failed = |index: usize| IngestError::Time {
        file: file.to_owned(),
        line,
        value: shown(first.get(index).copied().unwrap_or_default()),
    };
    if let Some(wanted) = &format.time_column {
        let index = (0..first.len()).find(|index| name(*index).eq_ignore_ascii_case(wanted));
        let index = index.ok_or_else(|| IngestError::FormatSetting {
            setting: "time_column",
            value: wanted.clone(),
            limit: "the header of a column",
        })?;
        return with(notes, index, None, detect(index).ok_or_else(|| failed(index))?);
    }
    let columns = 0..first.len();
    let bare_date = columns.clone().find(|index| is_bare_date(first[*index]));
    let clock = columns.clone().find(|index| time_of_day(first[*index]).is_some());
    if let (Some(index), Some(clock)) = (bare_date, clock)
        && let Some(found) = detect(index)
    {
        return with(notes, index, Some(clock), found);
    }
    let is_named = |index: &usize| is_time_header(name(*index));
    let calendar = |index: &usize| {
        let found = detect(*index).map(|d| d.format);
        matches!(found, Some(StampFormat::Calendar { .. })) && Some(*index) != bare_date
    };
    let named = columns.clone().find(|index| is_named(index) && calendar(index));
    let named = named.or_else(|| columns.clone().find(|index| is_named(index) && detect(*index).is_some()));
    if let Some(index) = named.or_else(|| columns.clone().find(is_named)) {
        return with(notes, index, None, detect(index).ok_or_else(|| failed(index))?);
    }
    if let Some(index) = columns.clone().find(calendar).or(clock)
        && let Some(found) = detect(index)
    {
        return with(notes, index, None, found);
    }
    if names.is_none() && goes_on_evenly(&cells(0), preamble) {
        notes.push("the first column was taken for time, as it goes on evenly".into());
        return detect(0).map_or(Ok(None), |found| with(notes, 0, None, found));
    }
    Ok(None)
}

/// Whether numbers rise in equal steps, other than rows that are counted.
fn goes_on_evenly(cells: &[&[u8]], preamble: &Preamble) -> bool {
    let Some(values) = numbers(cells) else { return false };
    let steps: Vec<f64> = values.windows(2).map(|w| w[1] - w[0]).collect();
    let Some(mean) = steps.iter().copied().reduce(|a, b| a + b).map(|sum| sum / steps.len() as f64) else {
        return false;
    };
    let once_a_second = preamble.sampling_rate_hz.is_some_and(|rate| (rate - 1.0).abs() < 0.01);
    let counted = steps.iter().all(|step| *step == 1.0) && values.iter().all(|v| v.abs() < 1e8) && !once_a_second;
    // Rounded to no better than half a step, as milliseconds are at 1 kHz.
    steps.len() >= 2 && !counted && mean > 0.0 && steps.iter().all(|step| (step - mean).abs() <= 0.5 * mean)
}

/// Whether a column counts the rows: named as one that does, or the first of a table without names.
pub(crate) fn counts<'a>(name: Option<&str>, index: usize, cells: impl Iterator<Item = &'a [u8]>) -> bool {
    const NAMES: [&str; 12] =
        ["sample", "samples", "index", "idx", "no", "nr", "n", "row", "scan", "counter", "packet", "id"];
    let by_name = name.map(words).map_or(index == 0, |words| match words.as_slice() {
        [] => name == Some("#"),
        [word, rest @ ..] => NAMES.contains(&word.as_str()) && rest.iter().all(|w| w == "no" || w == "number"),
    });
    let cells: Vec<&[u8]> = if by_name { cells.take(SAMPLE_ROWS).collect() } else { return false };
    numbers(&cells).is_some_and(|values| values.len() > 2 && values.windows(2).all(|w| w[1] - w[0] == 1.0))
}

fn numbers(cells: &[&[u8]]) -> Option<Vec<f64>> {
    let number = |cell: &&[u8]| std::str::from_utf8(cell).ok()?.replace(',', ".").parse::<f64>().ok();
    cells.iter().map(number).collect()
}
