//! CSV files: one pass over the text, in parallel pieces, gives stamps and numbers in order.

mod chunk;
#[cfg(target_arch = "x86_64")]
mod quick;

use super::IngestError;
use super::bytes::{Content, open};
use super::layout::{Column, Layout};
use super::local_time::LocalTime;
use super::rows::{Digest, FileDigest};
use super::sentinels::Census;
use super::stamps::Nanos;
use crate::model::control::Control;
use crate::model::file_format::FileFormat;
use crate::model::record::RawFile;
use chunk::{Chunk, FOOTER_LINES, Fault, Plan, Problem};
use jiff::tz::TimeZone;
use rayon::prelude::*;
use std::io::{self, Read};
use std::sync::Arc;

/// Bytes that are parsed at once by one thread; a line is shorter.
const CHUNK_BYTES: usize = 1 << 18;

/// With more than one the threads end together although one of them also reads.
const CHUNKS_PER_THREAD: usize = 2;

/// A CSV file whose head was understood.
#[derive(Debug, Clone)]
pub(crate) struct CsvFile {
    file: RawFile,
    content: Content,
    pub(crate) layout: Arc<Layout>,
    zone: Option<TimeZone>,
    missing_values: Option<Vec<f64>>,
}

/// Rows in order, as they were found.
pub(crate) struct Decoded<'a> {
    /// One a row; zeros where there is no column of time.
    pub(crate) stamps: &'a [Nanos],
    /// Row by row.
    pub(crate) values: &'a [f64],
}

/// What one pass over a file found beside its rows.
pub(crate) struct Findings {
    pub(crate) digest: FileDigest,
    /// Per column the numbers that mean that there is none.
    pub(crate) missing: Vec<Vec<f64>>,
    pub(crate) warnings: Vec<String>,
}

impl CsvFile {
    /// `content` and `text`: how the file is read, and its first lines; `whole`: whether they are all.
    pub(crate) fn open(
        file: &RawFile,
        content: Content,
        (text, whole): (&str, bool),
        note: Option<String>,
        format: &FileFormat,
    ) -> Result<CsvFile, IngestError> {
        let mut layout = Layout::detect(&file.key, text, whole, format)?;
        layout.notes.extend(note);
        let zone = format.time_zone.as_deref().map(|name| {
            TimeZone::get(name).map_err(|_| IngestError::FormatSetting {
                setting: "time_zone",
                value: name.into(),
                limit: "a zone of the IANA database, like Europe/Rome",
            })
        });
        let (zone, missing_values) = (zone.transpose()?, format.missing_values.clone());
        Ok(CsvFile { file: file.clone(), content, layout: Arc::new(layout), zone, missing_values })
    }

    /// All but the time.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.layout.columns
    }

    /// Whether the stamps are those of a wall clock of an unknown zone.
    pub(crate) fn is_of_unknown_zone(&self) -> bool {
        self.zone.is_none() && self.layout.time.as_ref().is_some_and(|time| time.format.is_local())
    }

    /// Time of the first row by the file's head, where the rows do not tell it.
    pub(crate) fn head_start(&self) -> Option<Nanos> {
        Some(LocalTime::new(None, self.zone.clone()).utc_of(self.layout.preamble.start?))
    }

    /// Reads the whole file once and hands `columns` (places in a row) to `sink`. `line_of` in an error is the
    /// file's own line.
    pub(crate) fn decode(
        &self,
        columns: &[usize],
        control: &Control,
        sink: &mut dyn FnMut(&Decoded<'_>) -> Result<(), IngestError>,
    ) -> Result<Findings, IngestError> {
        let failed = |source| IngestError::io(&self.file.key, source);
        let plan = Plan::new(&self.layout, columns);
        let mut digest = Digest::new(open(&self.file)?);
        let text = self.content.text(&mut digest).map_err(failed)?;
        let mut lines = Lines::new(text, self.layout.line_end, self.layout.head_lines);
        let mut order = Ordered::new(self, columns.len());
        let mut batch = lines.next_batch().map_err(failed)?;
        let mut parsed: Vec<Chunk> = Vec::new();
        // Three batches are on their way at once: one is read, one is parsed, one is handed on.
        while !batch.is_empty() || !parsed.is_empty() {
            control.checkpoint()?;
            let is_last = lines.ended;
            let last = batch.len().saturating_sub(1);
            let parse = |(at, bytes): (usize, &mut Vec<u8>)| Chunk::parse(&plan, bytes, is_last && at == last);
            let (mut chunks, mut next) = (Vec::new(), Ok(Vec::new()));
            let handed_on = rayon::in_place_scope(|scope| {
                scope.spawn(|_| {
                    (chunks, next) =
                        rayon::join(|| batch.par_iter_mut().enumerate().map(parse).collect(), || lines.next_batch());
                });
                parsed.drain(..).try_for_each(|chunk| order.take(chunk, sink))
            });
            handed_on?;
            parsed = chunks;
            lines.spare.extend(std::mem::replace(&mut batch, next.map_err(failed)?));
        }
        drop(lines);
        let (missing, mut warnings, rows) = order.finish(&plan)?;
        warnings.splice(..0, self.layout.notes.iter().map(|note| format!("{}: {note}", self.file.key)));
        Ok(Findings { digest: digest.finish(rows).map_err(failed)?, missing, warnings })
    }

    fn error(&self, fault: Fault) -> IngestError {
        let file = self.file.key.clone();
        let line = fault.line + self.layout.head_lines;
        match fault.problem {
            Problem::Ragged { found } => IngestError::Ragged { file, line, found, expected: self.layout.width },
            Problem::Time { value } => IngestError::Time { file, line, value },
            Problem::Text { index, value } => {
                let column = self.layout.columns.iter().find(|column| column.index == index);
                let column = column.map_or(String::new(), |column| column.header.clone());
                IngestError::Text { file, line, column, value }
            }
        }
    }
}

/// Cuts text into chunks of whole lines.
struct Lines<R> {
    text: R,
    line_end: u8,
    /// Lines of the head that are still to be left out.
    skip: u64,
    /// The begin of a line whose end was not read yet.
    rest: Vec<u8>,
    ended: bool,
    /// Room of chunks that are done with.
    spare: Vec<Vec<u8>>,
}

impl<R: Read> Lines<R> {
    fn new(text: R, line_end: u8, skip: u64) -> Lines<R> {
        Lines { text, line_end, skip, rest: Vec::new(), ended: false, spare: Vec::new() }
    }

    /// Some chunks for every thread; none at the end of the text.
    fn next_batch(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut batch = Vec::new();
        while batch.len() < CHUNKS_PER_THREAD * rayon::current_num_threads() && !self.ended {
            let chunk = self.next_chunk()?;
            if !chunk.is_empty() {
                batch.push(chunk);
            }
        }
        Ok(batch)
    }

    fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
        chunk.clear();
        chunk.append(&mut self.rest);
        let room = CHUNK_BYTES.saturating_sub(chunk.len());
        let read = (&mut self.text).take(room as u64).read_to_end(&mut chunk)?;
        self.ended = read < room;
        if !self.ended {
            let Some(end) = memchr::memrchr(self.line_end, &chunk) else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a line is longer than {CHUNK_BYTES} bytes"),
                ));
            };
            self.rest.extend_from_slice(&chunk[end + 1..]);
            chunk.truncate(end + 1);
        }
        while self.skip > 0 {
            let Some(end) = memchr::memchr(self.line_end, &chunk) else { break };
            chunk.drain(..=end);
            self.skip -= 1;
        }
        Ok(chunk)
    }
}

/// Per column the numbers that mean that there is none; warnings; rows.
type Totals = (Vec<Vec<f64>>, Vec<String>, u64);

/// Brings chunks that were parsed apart together again.
struct Ordered<'a> {
    of: &'a CsvFile,
    local: Option<LocalTime>,
    census: Vec<Census>,
    rows: u64,
    lines: u64,
    repeated_heads: u64,
    /// Lines that are no rows and behind which no row came yet.
    tail: Vec<Fault>,
    cut_off: bool,
}

impl<'a> Ordered<'a> {
    fn new(of: &'a CsvFile, columns: usize) -> Ordered<'a> {
        let time = of.layout.time.as_ref();
        let local = time.map(|time| LocalTime::new(Some(time.format), of.zone.clone()));
        let census = vec![Census::new(); columns];
        Ordered { of, local, census, rows: 0, lines: 0, repeated_heads: 0, tail: vec![], cut_off: false }
    }

    fn take(
        &mut self,
        mut chunk: Chunk,
        sink: &mut dyn FnMut(&Decoded<'_>) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        let lines = self.lines;
        let here = |fault: Fault| Fault { line: fault.line + lines, ..fault };
        let rows_follow = !chunk.stamps.is_empty() || chunk.fault.is_some();
        if rows_follow && let Some(fault) = self.tail.first().cloned().or(chunk.fault.map(here)) {
            return Err(self.of.error(fault));
        }
        self.tail.extend(chunk.tail.drain(..).map(here));
        if self.tail.len() > FOOTER_LINES {
            return Err(self.of.error(self.tail.swap_remove(0)));
        }
        if let Some(local) = &mut self.local {
            chunk.stamps.iter_mut().for_each(|stamp| *stamp = local.utc_of(*stamp));
        }
        self.census.iter_mut().zip(&chunk.census).for_each(|(own, other)| own.merge(other));
        self.rows += chunk.stamps.len() as u64;
        self.lines += chunk.lines;
        self.repeated_heads += chunk.repeated_heads;
        self.cut_off |= chunk.cut_off;
        sink(&Decoded { stamps: &chunk.stamps, values: &chunk.values })
    }

    fn finish(mut self, plan: &Plan) -> Result<Totals, IngestError> {
        let of = self.of;
        let key = &of.file.key;
        let mut warnings = Vec::new();
        if self.cut_off {
            self.tail.pop();
            warnings.push(format!("{key}: the last line is cut off and was left out"));
        }
        if let Some(fault) = self.tail.iter().position(|fault| !plan.is_footer(fault)) {
            return Err(of.error(self.tail.swap_remove(fault)));
        }
        if self.rows == 0 {
            return match self.tail.is_empty() {
                true => Err(IngestError::HeaderOnly(key.clone())),
                false => Err(of.error(self.tail.swap_remove(0))),
            };
        }
        if !self.tail.is_empty() {
            let lines = self.tail.len();
            warnings.push(format!("{key}: {lines} lines of text behind the last row were left out"));
        }
        if self.repeated_heads > 0 {
            let lines = self.repeated_heads;
            warnings.push(format!("{key}: {lines} lines that repeat the head were left out"));
        }
        if let Some(values) = &of.missing_values {
            return Ok((vec![values.clone(); self.census.len()], warnings, self.rows));
        }
        let mut missing = Vec::new();
        let mut counted: Vec<(f64, u64)> = Vec::new();
        for census in &self.census {
            let found: Vec<(f64, u64)> = census.missing().collect();
            for &(value, count) in &found {
                match counted.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, all)) => *all += count,
                    None => counted.push((value, count)),
                }
            }
            missing.push(found.into_iter().map(|(value, _)| value).collect());
        }
        for (value, count) in counted {
            warnings.push(format!("{key}: {count} values of {value} were taken for missing"));
        }
        Ok((missing, warnings, self.rows))
    }
}
