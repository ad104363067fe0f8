//! CSV files: what is in them (from their first 64 KiB), their time stamps, their numbers row by row.

use super::IngestError;
use super::rows::{Digest, FileDigest, RowBlock, Rows};
use super::stamps::{Nanos, StampFormat, is_time_header};
use crate::model::control::Control;
use crate::model::record::RawFile;
use csv::ByteRecord;
use std::fs::File;
use std::io::Read;

/// Bytes from which dialect, columns and time format are read.
const HEAD_BYTES: u64 = 1 << 16;

/// Rows of the head that are looked at.
const HEAD_ROWS: usize = 200;

/// Rows handed out at once: at 16 channels 0.5 MiB.
const BLOCK_ROWS: usize = 1 << 12;

/// Separator and decimal sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    delimiter: u8,
    comma: bool,
}

/// A column that holds numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) header: String,
    /// Its place in a row.
    pub(crate) index: usize,
    /// Whether its first cell that is not empty is a number.
    pub(crate) numeric: bool,
}

/// A CSV file whose head was understood.
#[derive(Debug, Clone)]
pub(crate) struct CsvFile {
    file: RawFile,
    dialect: Dialect,
    /// Cells of a row.
    width: usize,
    /// All but the time column.
    pub(crate) columns: Vec<Column>,
    /// Place and format of the time column.
    pub(crate) stamp: Option<(usize, StampFormat)>,
}

impl CsvFile {
    /// Understands the head of `file`.
    pub(crate) fn open(file: &RawFile) -> Result<CsvFile, IngestError> {
        let head = head(file)?;
        let delimiter = delimiter(&head);
        let mut rows = parse_head(&head, delimiter);
        if rows.is_empty() {
            return Err(IngestError::Empty(file.key.clone()));
        }
        let header = rows.remove(0);
        let names: Vec<String> = header
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).trim_start_matches('\u{feff}').trim().into())
            .collect();
        let comma = delimiter != b',' && rows.iter().any(|row| row.iter().any(needs_comma));
        let dialect = Dialect { delimiter, comma };
        if header.iter().all(|cell| dialect.number(cell).is_some_and(f64::is_finite)) {
            return Err(IngestError::NoHeader { file: file.key.clone(), line: names.join(" ") });
        }
        let Some(first) = rows.first() else { return Err(IngestError::HeaderOnly(file.key.clone())) };

        let by_name = names.iter().position(|name| is_time_header(name));
        let by_content = || first.iter().position(|c| matches!(format_of("", c), Some(StampFormat::Iso { .. })));
        let stamp = match by_name.or_else(by_content) {
            None => None,
            Some(index) => {
                let cell = first.get(index).unwrap_or_default();
                let format = format_of(&names[index], cell).ok_or_else(|| IngestError::Time {
                    file: file.key.clone(),
                    line: first.position().map_or(2, csv::Position::line),
                    value: shown(cell),
                })?;
                Some((index, format))
            }
        };
        let numeric = |index: usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(index));
            let first = cells.find(|cell| !matches!(dialect.number(cell), Some(v) if v.is_nan()));
            first.is_none_or(|cell| dialect.number(cell).is_some())
        };
        let column =
            |(index, header): (usize, &String)| Column { header: header.clone(), index, numeric: numeric(index) };
        let is_stamp = |index: usize| stamp.is_some_and(|(at, _)| at == index);
        let columns = names.iter().enumerate().filter(|(index, _)| !is_stamp(*index)).map(column).collect();
        Ok(CsvFile { file: file.clone(), dialect, width: names.len(), columns, stamp })
    }

    /// Reads the whole file once: hands each row's stamp with its line to `stamp`, where there is a time column, and
    /// returns the content's hash and the number of rows.
    pub(crate) fn scan(
        &self,
        control: &Control,
        mut stamp: impl FnMut(Nanos, u64) -> Result<(), IngestError>,
    ) -> Result<FileDigest, IngestError> {
        let mut digest = Digest::new(open(&self.file)?);
        let mut reader = self.reader(&mut digest);
        let (mut record, mut rows) = (ByteRecord::new(), 0u64);
        while self.next_record(&mut reader, &mut record)? {
            if rows.is_multiple_of(BLOCK_ROWS as u64) {
                control.checkpoint()?;
            }
            rows += 1;
            if let Some((index, format)) = self.stamp {
                let (cell, line) = (&record[index], line(&record));
                let parsed = format.parse(cell);
                let time = parsed.ok_or_else(|| IngestError::Time {
                    file: self.file.key.clone(),
                    line,
                    value: shown(cell),
                })?;
                stamp(time, line)?;
            }
        }
        drop(reader);
        digest.finish(rows).map_err(|source| IngestError::io(&self.file.key, source))
    }

    /// The numbers of some columns (places in a row).
    pub(crate) fn rows(&self, columns: &[usize]) -> Result<Box<dyn Rows>, IngestError> {
        let reader = self.reader(open(&self.file)?);
        let (of, columns, record) = (self.clone(), columns.to_vec(), ByteRecord::new());
        Ok(Box::new(CsvRows { of, reader, columns, record, row: 0, skip: 0 }))
    }

    fn reader<R: Read>(&self, bytes: R) -> csv::Reader<R> {
        csv::ReaderBuilder::new()
            .delimiter(self.dialect.delimiter)
            .flexible(true)
            .buffer_capacity(HEAD_BYTES as usize)
            .from_reader(bytes)
    }

    fn next_record<R: Read>(&self, reader: &mut csv::Reader<R>, record: &mut ByteRecord) -> Result<bool, IngestError> {
        let more = reader.read_byte_record(record).map_err(|error| self.failed(error))?;
        if more && record.len() != self.width {
            return Err(IngestError::Ragged {
                file: self.file.key.clone(),
                line: line(record),
                found: record.len(),
                expected: self.width,
            });
        }
        Ok(more)
    }

    fn failed(&self, error: csv::Error) -> IngestError {
        match error.into_kind() {
            csv::ErrorKind::Io(source) => IngestError::io(&self.file.key, source),
            other => IngestError::Unreadable { file: self.file.key.clone(), reason: format!("{other:?}") },
        }
    }
}

struct CsvRows {
    of: CsvFile,
    reader: csv::Reader<File>,
    columns: Vec<usize>,
    record: ByteRecord,
    row: u64,
    /// Rows before this one are read over.
    skip: u64,
}

impl Rows for CsvRows {
    fn next_rows(&mut self, rows: &mut RowBlock) -> Result<bool, IngestError> {
        let stop = self.skip.min(self.row + BLOCK_ROWS as u64);
        while self.row < stop && self.of.next_record(&mut self.reader, &mut self.record)? {
            self.row += 1;
        }
        rows.begin(self.row, self.columns.len());
        if self.row == stop && stop < self.skip {
            return Ok(true);
        }
        while rows.rows() < BLOCK_ROWS && self.of.next_record(&mut self.reader, &mut self.record)? {
            self.row += 1;
            for &index in &self.columns {
                let cell = &self.record[index];
                let Some(value) = self.of.dialect.number(cell) else {
                    let name = self.of.columns.iter().find(|c| c.index == index).map(|c| c.header.clone());
                    return Err(IngestError::Text {
                        file: self.of.file.key.clone(),
                        line: line(&self.record),
                        column: name.unwrap_or_default(),
                        value: shown(cell),
                    });
                };
                rows.push(value);
            }
        }
        Ok(rows.rows() > 0)
    }

    fn skip_to(&mut self, row: u64) {
        self.skip = row;
    }
}

impl Dialect {
    /// A cell's number; NaN where it is empty or says that there is none; `None` where it is something else.
    fn number(self, cell: &[u8]) -> Option<f64> {
        let cell = cell.trim_ascii();
        let parsed = if self.comma && cell.contains(&b',') {
            let mut pointed = cell.to_vec();
            pointed.iter_mut().filter(|b| **b == b',').for_each(|b| *b = b'.');
            fast_float2::parse(pointed)
        } else {
            fast_float2::parse(cell)
        };
        match parsed {
            Ok(value) => Some(finite(value)),
            Err(_) => is_missing(cell).then_some(f64::NAN),
        }
    }
}

/// An infinite sample is no measurement: it counts as missing.
fn finite(value: f64) -> f64 {
    if value.is_infinite() { f64::NAN } else { value }
}

/// The ways in which data loggers and spreadsheets write that a value is missing.
fn is_missing(cell: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] = [b"", b"na", b"n/a", b"#n/a", b"null", b"none", b"-"];
    WORDS.contains(&cell.to_ascii_lowercase().as_slice())
}

/// A number with a decimal comma that would be none with a point.
fn needs_comma(cell: &[u8]) -> bool {
    let number = |comma| Dialect { delimiter: b';', comma }.number(cell).is_some();
    cell.contains(&b',') && !number(false) && number(true)
}

fn format_of(header: &str, cell: &[u8]) -> Option<StampFormat> {
    StampFormat::detect(header, cell)
}

fn line(record: &ByteRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

/// A cell as it stands in a message: not longer than a line.
fn shown(cell: &[u8]) -> String {
    const LONGEST: usize = 40;
    let text = String::from_utf8_lossy(cell);
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn open(file: &RawFile) -> Result<File, IngestError> {
    File::open(&file.path).map_err(|source| IngestError::io(&file.key, source))
}

/// The file's first bytes, whole lines only.
fn head(file: &RawFile) -> Result<Vec<u8>, IngestError> {
    let mut head = Vec::new();
    let read = open(file)?.take(HEAD_BYTES).read_to_end(&mut head);
    read.map_err(|source| IngestError::io(&file.key, source))?;
    if head.trim_ascii().is_empty() {
        return Err(IngestError::Empty(file.key.clone()));
    }
    if head.contains(&0) {
        return Err(IngestError::Binary(file.key.clone()));
    }
    if head.len() as u64 == HEAD_BYTES {
        let end = head.iter().rposition(|b| *b == b'\n').ok_or_else(|| IngestError::Binary(file.key.clone()))?;
        head.truncate(end + 1);
    }
    Ok(head)
}

fn parse_head(head: &[u8], delimiter: u8) -> Vec<ByteRecord> {
    let reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(false).from_reader(head);
    reader.into_byte_records().take(HEAD_ROWS).map_while(Result::ok).collect()
}

/// The separator: the first of tab, semicolon and comma that cuts most rows into as many cells as the header, and
/// into more than one. A file that none of them cuts so has one column, or broken rows.
fn delimiter(head: &[u8]) -> u8 {
    let cells = |delimiter| {
        let rows = parse_head(head, delimiter);
        let header = rows.first().map_or(0, ByteRecord::len);
        let same = rows.iter().filter(|row| row.len() == header).count();
        (header, 2 * same > rows.len())
    };
    const CANDIDATES: [u8; 3] = [b'\t', b';', b','];
    let consistent = CANDIDATES.into_iter().find(|d| matches!(cells(*d), (2.., true)));
    let cutting = || CANDIDATES.into_iter().find(|d| cells(*d).0 > 1);
    // A single column: its only comma could be the decimal sign.
    consistent.or_else(cutting).unwrap_or(b';')
}
