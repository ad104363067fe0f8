//! The first lines of a text file → how its rows are written: separator, decimal sign, head, columns, time.
//!
//! Every separator is tried with every decimal sign; the reading under which most cells are numbers or times, in
//! rows of one width below a head of that width, is taken. What a file leaves open between two readings is refused
//! with the setting that would tell; what had to be assumed is a note that becomes a warning.

use super::IngestError;
use super::calendar::is_time;
use super::cells::{Grammar, Separator, is_missing, shown, thousands_of};
use super::preamble::Preamble;
use super::time_columns::{self, TimeColumns};
use crate::model::file_format::FileFormat;

/// Rows that are looked at.
const HEAD_ROWS: usize = 400;

/// A column that is none of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) header: String,
    /// From a row of units, empty where there is none.
    pub(crate) unit: String,
    /// Its place in a row.
    pub(crate) index: usize,
    /// Why it is no channel, where it is none.
    pub(crate) unfit: Option<&'static str>,
}

/// How the rows of a text file are written.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) grammar: Grammar,
    /// Ends a line: a line feed, or a carriage return where there is no line feed.
    pub(crate) line_end: u8,
    /// Cells of a row; empty ones may follow.
    pub(crate) width: usize,
    /// Lines before the first row.
    pub(crate) head_lines: u64,
    /// Those of them that are not blank: such a line among the rows repeats the head.
    pub(crate) head: Vec<Vec<u8>>,
    pub(crate) columns: Vec<Column>,
    pub(crate) time: Option<TimeColumns>,
    /// What the head says of the record.
    pub(crate) preamble: Preamble,
    pub(crate) notes: Vec<String>,
}

/// One line under one grammar.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    cells: usize,
    /// Numbers and times, and what is neither of them nor missing.
    values: usize,
    texts: usize,
}

impl Line {
    fn is_row(self) -> bool {
        self.values > 0 && self.values >= self.texts
    }
}

/// One grammar and what becomes of the lines under it.
struct Reading {
    grammar: Grammar,
    lines: Vec<Line>,
    width: usize,
    first: usize,
    score: i64,
    /// Whether a line of the head is as wide as the rows.
    headed: bool,
}

impl Layout {
    /// `file`: its name for messages; `text`: its first lines; `whole`: whether they are all.
    pub(crate) fn detect(file: &str, text: &str, whole: bool, format: &FileFormat) -> Result<Layout, IngestError> {
        let line_end = if text.contains('\n') || !text.contains('\r') { b'\n' } else { b'\r' };
        let mut lines: Vec<&[u8]> = text.as_bytes().split(|b| *b == line_end).take(HEAD_ROWS).collect();
        if !whole && lines.len() < HEAD_ROWS {
            lines.pop();
        }
        let lines: Vec<&[u8]> = lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        let Some(reading) = best_reading(&lines, format)? else { return Err(no_rows(file, &lines, format)) };
        let grammar = reading.grammar;
        check_thousands(file, &lines, &reading, format)?;
        let mut first = reading.first;
        let mut notes = Vec::new();
        if is_serial_row(&lines, &reading) {
            notes.push(format!("line {} was taken for serial numbers", first + 1));
            first += 1;
        }
        let rows: Vec<Vec<&[u8]>> = (first..lines.len())
            .filter(|at| reading.lines[*at].is_row() && reading.lines[*at].cells == reading.width)
            .map(|at| grammar.separator.cells(lines[at]).collect())
            .collect();
        let head: Vec<&[u8]> = lines[..first].iter().copied().filter(|line| !line.trim_ascii().is_empty()).collect();
        let preamble = Preamble::read(&head, format.date_order);
        let used = rows.iter().filter_map(|row| row.iter().rposition(|cell| !cell.is_empty())).max().unwrap_or(0) + 1;
        let (names, units) = name_rows(file, &head, grammar.separator, (used, reading.width))?;
        let width = names.len().max(used);
        let described = !names.is_empty();
        let names = if described { names } else { (1..=width).map(|k| format!("ch{k}")).collect() };
        if !described {
            notes.push("no line of the head names the columns".into());
        }
        let name_of = |index: usize| names.get(index).cloned().unwrap_or_default();
        let line = first as u64 + 1;
        let time = time_columns::find(file, line, described.then_some(&names), &rows, format, &preamble, &mut notes)?;
        let unfit = |index: usize| -> Option<&'static str> {
            let cells = || rows.iter().filter_map(|row| row.get(index).copied());
            let first = cells().find(|cell| !matches!(grammar.number(cell), Some(v) if v.is_nan()));
            match first {
                Some(cell) if grammar.number(cell).is_none() => Some("holds no numbers"),
                _ if time.is_some() && described && super::stamps::is_time_header(&names[index]) => {
                    Some("is another column of time")
                }
                _ if time_columns::counts(described.then(|| names[index].as_str()), index, cells()) => {
                    Some("counts the rows")
                }
                _ => None,
            }
        };
        let is_time = |index: usize| time.as_ref().is_some_and(|t| t.index == index || t.clock == Some(index));
        let column = |index: usize| Column {
            header: name_of(index),
            unit: units.get(index).cloned().unwrap_or_default(),
            index,
            unfit: unfit(index),
        };
        let named = |index: &usize| !is_time(*index) && (!described || !name_of(*index).is_empty() || *index < used);
        let columns = (0..width).filter(named).map(column).collect();
        let head = head.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Layout { grammar, line_end, width, head_lines: first as u64, head, columns, time, preamble, notes })
    }
}

/// Separators and decimal signs in the order in which equal readings are preferred.
fn grammars(format: &FileFormat) -> Result<Vec<Grammar>, IngestError> {
    let setting = |setting, value: &str, limit| IngestError::FormatSetting { setting, value: value.into(), limit };
    let separators = match format.separator.as_deref() {
        None => [b'\t', b';', b',', b'|'].map(Separator::Byte).into_iter().chain([Separator::Blanks]).collect(),
        Some("tab") => vec![Separator::Byte(b'\t')],
        Some("blanks") => vec![Separator::Blanks],
        Some(text) => match text.as_bytes() {
            &[byte] if !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'-' | b'+') => {
                vec![Separator::Byte(byte)]
            }
            _ => return Err(setting("separator", text, "one character, tab or blanks")),
        },
    };
    let decimals: &[u8] = match format.decimal_sign {
        None => b".,",
        Some('.') => b".",
        Some(',') => b",",
        Some(other) => return Err(setting("decimal_sign", &other.to_string(), ". or ,")),
    };
    let all = separators.into_iter().flat_map(|separator| decimals.iter().map(move |&decimal| (separator, decimal)));
    let all = all.filter(|(separator, decimal)| *separator != Separator::Byte(*decimal));
    Ok(all.map(|(separator, decimal)| Grammar { separator, decimal, thousands: None }).collect())
}

fn best_reading(lines: &[&[u8]], format: &FileFormat) -> Result<Option<Reading>, IngestError> {
    let readings: Vec<Reading> = grammars(format)?.into_iter().filter_map(|g| Reading::of(lines, g)).collect();
    let most = readings.iter().map(|reading| reading.score).max().unwrap_or(0);
    // A head that fits outweighs up to half of the cells: a decimal comma read as a separator doubles their number.
    let rank = |reading: &Reading| (reading.headed && 2 * reading.score >= most, reading.score);
    Ok(readings.into_iter().rev().max_by_key(rank))
}

impl Reading {
    fn of(lines: &[&[u8]], mut grammar: Grammar) -> Option<Reading> {
        let mut found: Option<u8> = None;
        let mut judge = |line: &&[u8]| {
            let mut judged = Line::default();
            if line.trim_ascii().is_empty() {
                return judged;
            }
            for cell in grammar.separator.cells(line) {
                judged.cells += 1;
                let plain = grammar.number(cell);
                let grouped = || thousands_of(cell, grammar.decimal).filter(|t| found.is_none_or(|f| f == *t));
                if plain.is_some_and(f64::is_finite) || is_time(cell) {
                    judged.values += 1;
                } else if plain.is_none()
                    && let Some(sign) = grouped()
                {
                    found = Some(sign);
                    judged.values += 1;
                } else if plain.is_none() {
                    judged.texts += 1;
                }
            }
            judged
        };
        let texts = lines;
        let lines: Vec<Line> = lines.iter().map(&mut judge).collect();
        let rows = || lines.iter().filter(|line| line.is_row());
        let count = |width: usize| rows().filter(|row| row.cells == width).count();
        let width = rows().map(|row| row.cells).max_by_key(|width| (count(*width), *width))?;
        let worth = |row: &Line| {
            let own = row.values as i64 - 2 * row.texts as i64;
            if row.cells == width { own } else { -2 * own.max(0) }
        };
        let score = rows().map(worth).sum();
        // A row of numbers in the head has text below it; the first row of the table is followed by another one.
        let fits = |line: &Line| line.is_row() && line.cells == width;
        let follows = |at: usize| lines[at + 1..].iter().find(|line| line.cells > 0).is_none_or(|line| line.is_row());
        let first = (0..lines.len()).find(|at| fits(&lines[*at]) && follows(*at));
        let first = first.or_else(|| lines.iter().position(fits))?;
        // A single column of decimal commas has no comma in its name.
        let names = |text: &[u8]| width > 1 || grammar.decimal != b',' || !text.contains(&b',');
        let head = || lines[..first].iter().zip(texts);
        let headed = head().any(|(line, text)| line.cells == width && line.texts > 0 && names(text));
        grammar.thousands = found;
        (score > 0).then_some(Reading { grammar, lines, width, first, score, headed })
    }
}

/// No line is a row: a head alone, or no table at all.
fn no_rows(file: &str, lines: &[&[u8]], format: &FileFormat) -> IngestError {
    let mut filled = lines.iter().filter(|line| !line.trim_ascii().is_empty());
    match (filled.next(), filled.next()) {
        (None, _) => IngestError::Empty(file.to_owned()),
        (Some(_), None) => IngestError::HeaderOnly(file.to_owned()),
        (Some(first), _) => {
            let tried = grammars(format).unwrap_or_default();
            let below =
                || lines.iter().skip_while(|line| *line != first).skip(1).filter(|line| !line.trim_ascii().is_empty());
            let valueless = |g: &&Grammar| {
                below().all(|line| g.separator.cells(line).all(|cell| g.number(cell).is_some_and(f64::is_nan)))
            };
            if let Some(name) = tried.iter().find(valueless).and_then(|g| g.separator.cells(first).next()) {
                return IngestError::AllMissing(shown(name));
            }
            let mut tried: Vec<String> = tried.into_iter().map(|g| g.separator.name()).collect();
            tried.dedup();
            let tried = format!(
                "not NPY, Parquet or UFF 58, and as text no row of numbers with any of the separators {}; it begins with \
                 {:?}",
                tried.join(" "),
                shown(first)
            );
            IngestError::UnknownFormat { file: file.to_owned(), tried }
        }
    }
}

/// Refuses numbers like 1,234 where nothing tells whether the comma is a decimal sign.
fn check_thousands(file: &str, lines: &[&[u8]], reading: &Reading, format: &FileFormat) -> Result<(), IngestError> {
    let grammar = reading.grammar;
    let comma = grammar.decimal == b',' || grammar.thousands == Some(b',');
    if format.decimal_sign.is_some() || !comma {
        return Ok(());
    }
    let rows = lines.iter().zip(&reading.lines).filter(|(_, line)| line.is_row());
    let mut commas =
        rows.flat_map(|(line, _)| grammar.separator.cells(line)).filter(|c| c.contains(&b',') && !is_time(c));
    let Some(example) = commas.next() else { return Ok(()) };
    let open = |cell: &[u8]| {
        let once = cell.iter().filter(|b| **b == b',').count() == 1;
        once && !cell.contains(&b'.') && thousands_of(cell, b'.') == Some(b',')
    };
    if open(example) && commas.all(open) {
        let cell = shown(example);
        let reading = format!("{cell} could be {} or {}", cell.replace(',', "."), cell.replace(',', ""));
        return Err(IngestError::Ambiguous { file: file.into(), reading, setting: "file_format.decimal_sign" });
    }
    Ok(())
}

/// Whether the first row holds serial numbers: whole numbers of four digits and more in columns that have decimals
/// in every later row, and nothing else but text.
fn is_serial_row(lines: &[&[u8]], reading: &Reading) -> bool {
    let grammar = reading.grammar;
    let row = |at: usize| grammar.separator.cells(lines[at]).collect::<Vec<_>>();
    let later: Vec<Vec<&[u8]>> =
        (reading.first + 1..lines.len()).filter(|at| reading.lines[*at].is_row()).take(20).map(row).collect();
    let is_serial = |cell: &[u8]| cell.len() >= 4 && cell.iter().all(u8::is_ascii_digit);
    let has_decimals = |cell: &[u8]| cell.contains(&grammar.decimal) && grammar.number(cell).is_some();
    let fits = |(index, cell): (usize, &&[u8])| {
        let below = |test: &dyn Fn(&[u8]) -> bool| later.iter().all(|row| row.get(index).is_some_and(|c| test(c)));
        match is_serial(cell) {
            true => below(&has_decimals),
            false => (grammar.number(cell).is_none() || is_missing(cell)) && !is_time(cell),
        }
    };
    let first = row(reading.first);
    later.len() > 2 && first.iter().any(|cell| is_serial(cell)) && first.iter().enumerate().all(fits)
}

/// Names and units of the columns: the first line of the head that names the time, or else the first of those that
/// stand directly above the rows; empty where there is none.
fn name_rows(
    file: &str,
    head: &[&[u8]],
    separator: Separator,
    (used, width): (usize, usize),
) -> Result<(Vec<String>, Vec<String>), IngestError> {
    let cells = |line: &&[u8]| -> Vec<String> {
        let line = line.trim_ascii_start();
        let mark = line.iter().take_while(|b| matches!(b, b'#' | b'%' | b'!')).count();
        let line = if mark > 0 { &line[mark..] } else { line };
        let mut cells: Vec<String> =
            separator.cells(line).map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
        while cells.len() > used && cells.last().is_some_and(String::is_empty) {
            cells.pop();
        }
        cells
    };
    let rows: Vec<Vec<String>> = head.iter().map(cells).collect();
    let fits = |row: &&Vec<String>| row.len() == used || row.len() == width;
    let block = rows.iter().rev().take_while(fits).count();
    let block = &rows[rows.len() - block..];
    let names_time = |row: &&Vec<String>| fits(row) && row.iter().any(|cell| super::stamps::is_time_header(cell));
    let is_units = |row: &&Vec<String>| row.iter().all(|cell| cell.is_empty() || is_unit(cell));
    let names = rows.iter().find(names_time).or_else(|| match used {
        // Any line is as wide as a single column: the last one names it.
        1 => block.iter().rev().find(|row| !is_units(row)),
        _ => block.iter().find(|row| !is_units(row) && row.iter().any(|cell| !cell.is_empty())),
    });
    let Some(names) = names else {
        let last = rows.last().filter(|row| row.len() > 1 && used > 1 && !is_units(row));
        return match last {
            // A line that is split and is no setting was meant to be the header.
            Some(row) if !Preamble::is_setting(head[head.len() - 1]) => {
                Err(IngestError::HeaderWidth { file: file.into(), found: row.len(), expected: used })
            }
            _ => Ok((Vec::new(), Vec::new())),
        };
    };
    let units = block.iter().find(|row| *row != names && is_units(row)).cloned().unwrap_or_default();
    Ok((names.clone(), units.iter().map(|unit| unit.trim_matches(['[', ']', '(', ')']).to_owned()).collect()))
}

/// Whether a cell is a unit of what loggers measure, or of time.
fn is_unit(cell: &str) -> bool {
    const UNITS: [&str; 38] = [
        "s", "sec", "ms", "us", "µs", "ns", "hz", "g", "mg", "µg", "ug", "gal", "mgal", "m/s2", "m/s^2", "m/s²",
        "mm/s2", "mm/s^2", "mm/s²", "m/s", "mm/s", "m", "mm", "µm", "um", "v", "mv", "µv", "uv", "counts", "count",
        "-", "°c", "degc", "µm/m", "ue", "deg", "rad",
    ];
    let bare = cell.trim_matches(['[', ']', '(', ')']).trim().to_lowercase();
    UNITS.contains(&bare.as_str())
}
