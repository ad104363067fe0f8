//! Universal files, dataset 58: functions of time at even spacing, each one channel, as text (58) or binary (58b).
//!
//! The file holds one channel after the other; each is read from its own place, so that all come out row by row in
//! blocks. The records are those of the SDRC definition: five lines of identification, one of the function's
//! type and place, one of the data's form, four of the axes, then the values.

use super::IngestError;
use super::bytes::open;
use super::cells::{finite, shown};
use super::csv::{Decoded, Findings};
use super::layout::Column;
use super::rows::Digest;
use super::stamps::{Nanos, any_time};
use super::timeline::rounded_rate;
use crate::model::control::Control;
use crate::model::file_format::DateOrder;
use crate::model::record::RawFile;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// Rows that are decoded at once.
const BLOCK_ROWS: usize = 1 << 14;

/// Lines before the values.
const HEAD_LINES: usize = 11;

/// A line of a universal file is 80 characters long; some writers fill it up. A longer one is no such file.
const LINE_BYTES: u64 = 4096;

/// A universal file whose datasets were found.
#[derive(Debug, Clone)]
pub(crate) struct UffFile {
    file: RawFile,
    columns: Vec<Column>,
    /// In the order of the columns.
    functions: Vec<Function>,
    pub(crate) sampling_rate_hz: f64,
    /// Of the first row, as a wall clock shows it.
    pub(crate) start: Option<Nanos>,
    notes: Vec<String>,
}

/// One dataset 58.
#[derive(Debug, Clone, PartialEq)]
struct Function {
    name: String,
    unit: String,
    /// Where the values begin.
    data: u64,
    points: u64,
    interval_s: f64,
    first_s: f64,
    start: Option<Nanos>,
    form: Form,
}

/// How its values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Fields of so many characters, so many a line.
    Text { width: usize, per_line: usize },
    /// 4 or 8 bytes each.
    Binary { bytes: usize, big_endian: bool },
}

/// Whether a file begins like a universal file: with −1 in the first six columns, and below it the number of a dataset.
/// A column of numbers may begin with −1 as well, but hardly in these places.
pub(crate) fn is_universal(head: &[u8]) -> bool {
    let mut lines = head.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    // Header, nodes, units, functions, trace lines, and the newer ones of the same.
    let number = field(second, 0..6).parse().unwrap_or(0);
    let is_dataset = matches!(number, 15 | 18 | 55 | 58 | 82 | 151 | 164 | 2400..=2477);
    first.trim_ascii_end() == b"    -1" && is_dataset
}

impl UffFile {
    /// Finds the functions of time in the file.
    pub(crate) fn open(file: &RawFile, order: Option<DateOrder>) -> Result<UffFile, IngestError> {
        let mut lines = Lines::new(file)?;
        let (mut functions, mut others) = (Vec::<Function>::new(), 0);
        while let Some(line) = lines.next()? {
            if line.trim_ascii() != b"-1" {
                continue;
            }
            let Some(kind) = lines.next()? else { break };
            let dataset = kind.trim_ascii();
            if dataset.starts_with(b"58") && dataset.get(2).is_none_or(|b| matches!(b, b' ' | b'b' | b'B')) {
                match lines.function(&kind, order)? {
                    Some(function) => functions.push(function),
                    None => others += 1,
                }
            }
            // To the end of the dataset.
            while let Some(line) = lines.next()? {
                if line.trim_ascii() == b"-1" {
                    break;
                }
            }
        }
        let wrong = |reason: String| IngestError::Universal { file: file.key.clone(), reason };
        let Some(first) = functions.first().cloned() else {
            return Err(wrong(format!("holds no function of time ({others} of another type)")));
        };
        for other in &functions[1..] {
            let same = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs();
            if other.points != first.points || !same(first.interval_s, other.interval_s) {
                return Err(wrong(format!(
                    "holds {} with {} values {} s apart and {} with {} values {} s apart: give each its own file",
                    first.name, first.points, first.interval_s, other.name, other.points, other.interval_s
                )));
            }
        }
        let column = |(index, function): (usize, &Function)| Column {
            header: function.name.clone(),
            unit: function.unit.clone(),
            index,
            unfit: None,
        };
        let mut notes = Vec::new();
        if others > 0 {
            notes.push(format!("{}: {others} functions that are none of time were left out", file.key));
        }
        let after = (first.first_s * 1e9).round() as Nanos;
        Ok(UffFile {
            file: file.clone(),
            columns: functions.iter().enumerate().map(column).collect(),
            sampling_rate_hz: rate_of(first.interval_s),
            start: first.start.map(|start| start.saturating_add(after)),
            functions,
            notes,
        })
    }

    /// One a function.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Reads the functions of `columns` side by side and hands their rows to `sink`.
    pub(crate) fn decode(
        &self,
        columns: &[usize],
        control: &Control,
        sink: &mut dyn FnMut(&Decoded<'_>) -> Result<(), IngestError>,
    ) -> Result<Findings, IngestError> {
        let mut readers =
            columns.iter().map(|c| Values::new(&self.file, &self.functions[*c])).collect::<Result<Vec<_>, _>>()?;
        let rows = self.functions.first().map_or(0, |function| function.points);
        let mut done = 0;
        let mut column = Vec::new();
        while done < rows {
            control.checkpoint()?;
            let count = (rows - done).min(BLOCK_ROWS as u64) as usize;
            let mut values = vec![f64::NAN; count * columns.len()];
            for (place, reader) in readers.iter_mut().enumerate() {
                reader.read(&self.file, count, &mut column)?;
                for (row, value) in column.iter().enumerate() {
                    values[row * columns.len() + place] = finite(*value);
                }
            }
            sink(&Decoded { stamps: &vec![0; count], values: &values })?;
            done += count as u64;
        }
        let digest = Digest::new(open(&self.file)?).finish(rows);
        let digest = digest.map_err(|source| IngestError::io(&self.file.key, source))?;
        Ok(Findings { digest, missing: vec![Vec::new(); columns.len()], warnings: self.notes.clone() })
    }
}

/// Reads a universal file line by line, with the place of each.
struct Lines<'a> {
    of: &'a RawFile,
    inner: BufReader<File>,
    place: u64,
    size: u64,
}

impl<'a> Lines<'a> {
    fn new(file: &'a RawFile) -> Result<Lines<'a>, IngestError> {
        let inner = open(file)?;
        let size = inner.metadata().map_err(|source| IngestError::io(&file.key, source))?.len();
        Ok(Lines { of: file, inner: BufReader::new(inner), place: 0, size })
    }

    fn wrong(&self, reason: String) -> IngestError {
        IngestError::Universal { file: self.of.key.clone(), reason }
    }

    /// The next line without its end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, IngestError> {
        let mut line = Vec::new();
        let read = (&mut self.inner).take(LINE_BYTES).read_until(b'\n', &mut line);
        let read = read.map_err(|source| IngestError::io(&self.of.key, source))?;
        if read as u64 == LINE_BYTES {
            return Err(self.wrong(format!("has a line of more than {LINE_BYTES} bytes at byte {}", self.place)));
        }
        self.place += read as u64;
        while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            line.pop();
        }
        Ok((read > 0).then_some(line))
    }

    /// Leaves out `bytes`.
    fn skip(&mut self, bytes: u64) -> Result<(), IngestError> {
        self.place = self.place.saturating_add(bytes);
        if self.place > self.size {
            return Err(self.wrong(format!("is cut off: {} bytes of values are missing", self.place - self.size)));
        }
        let sought = self.inner.seek(SeekFrom::Start(self.place));
        sought.map(|_| ()).map_err(|source| IngestError::io(&self.of.key, source))
    }

    /// The head of a dataset 58; `None` if it is no function of time. The lines stand behind its head, or behind its
    /// values where they are binary.
    fn function(&mut self, kind: &[u8], order: Option<DateOrder>) -> Result<Option<Function>, IngestError> {
        let at = self.place;
        let mut head = Vec::new();
        for _ in 0..HEAD_LINES {
            head.push(self.next()?.ok_or_else(|| self.wrong(format!("is cut off in the head at byte {at}")))?);
        }
        let is_binary = kind.trim_ascii().get(2).is_some_and(|b| b.eq_ignore_ascii_case(&b'b'));
        let key = &self.of.key;
        let number = |word: &str, what: &str| {
            let parsed = word.replace(['D', 'd'], "E").parse::<f64>().ok().filter(|v| v.is_finite());
            let reason = || format!("has {word:?} as {what} in the dataset at byte {at}");
            parsed.ok_or_else(|| IngestError::Universal { file: key.clone(), reason: reason() })
        };
        let (of, form) = (&head[5], &head[6]);
        let function_type = number(&field(of, 0..5), "function type")?;
        let data_type = number(&field(form, 0..10), "ordinate data type")?;
        let points = number(&field(form, 10..20), "number of values")?;
        let even = number(&field(form, 20..30), "abscissa spacing")? == 1.0;
        let first_s = number(&field(form, 30..43), "abscissa minimum")?;
        let interval_s = number(&field(form, 43..56), "abscissa increment")?;
        let data = self.place;
        let points = points.max(0.0) as u64;
        let bytes = match data_type as i64 {
            2 => 4,
            4 => 8,
            _ => 0,
        };
        // Complex values take twice the room, uneven ones a time each.
        let mut declared = 0;
        let binary = match is_binary {
            false => None,
            true => {
                let big_endian = number(&field(kind, 7..13), "byte order")? == 2.0;
                if number(&field(kind, 13..19), "floating point format")? != 2.0 {
                    return Err(self.wrong(format!("is not written in IEEE 754 in the dataset at byte {at}")));
                }
                declared = number(&field(kind, 31..43), "number of bytes")?.max(0.0) as u64;
                Some(Form::Binary { bytes, big_endian })
            }
        };
        self.skip(declared)?;
        // Type 1 is a time response.
        if function_type != 1.0 {
            return Ok(None);
        }
        if bytes == 0 || !even || !(interval_s > 0.0) || points == 0 {
            return Err(self.wrong(format!(
                "has a function with data type {data_type}, {points} values and increment {interval_s} at byte {at}: \
                 only real values at even times are read"
            )));
        }
        if is_binary && declared < points.saturating_mul(bytes as u64) {
            return Err(self.wrong(format!("declares {declared} bytes for {points} values at byte {at}")));
        }
        let text =
            if bytes == 4 { Form::Text { width: 13, per_line: 6 } } else { Form::Text { width: 20, per_line: 4 } };
        let node = number(&field(of, 41..51), "response node")? as i64;
        let direction = number(&field(of, 51..55), "response direction")? as i64;
        Ok(Some(Function {
            name: format!("{node}{}", direction_of(direction)),
            unit: Some(field(&head[8], 47..67)).filter(|unit| unit != "NONE").unwrap_or_default(),
            data,
            points,
            interval_s,
            first_s,
            start: any_time(&head[2], order.or(Some(DateOrder::DayFirst))),
            form: binary.unwrap_or(text),
        }))
    }
}

/// The characters of a line at fixed places.
fn field(line: &[u8], places: std::ops::Range<usize>) -> String {
    let end = places.end.min(line.len());
    String::from_utf8_lossy(&line[places.start.min(end)..end]).trim().to_owned()
}

/// The rate of an increment that is written with six digits: that of four digits where it agrees.
fn rate_of(interval_s: f64) -> f64 {
    let rounded = rounded_rate(1.0 / interval_s);
    if (rounded * interval_s - 1.0).abs() <= 1e-5 { rounded } else { 1.0 / interval_s }
}

/// Direction codes of the format: 1 to 3 along, 4 to 6 about the axes, negative against them.
fn direction_of(code: i64) -> String {
    let axis = ["", "X", "Y", "Z", "RX", "RY", "RZ"].get(code.unsigned_abs() as usize).copied().unwrap_or("?");
    if code < 0 { format!("-{axis}") } else { axis.to_owned() }
}

/// Reads the values of one function.
struct Values {
    source: BufReader<File>,
    form: Form,
    /// Fields of a line that were read, and that line.
    line: Vec<u8>,
    field: usize,
}

impl Values {
    fn new(file: &RawFile, function: &Function) -> Result<Values, IngestError> {
        let mut source = BufReader::new(open(file)?);
        source.seek(SeekFrom::Start(function.data)).map_err(|source| IngestError::io(&file.key, source))?;
        Ok(Values { source, form: function.form, line: Vec::new(), field: usize::MAX })
    }

    fn read(&mut self, file: &RawFile, count: usize, values: &mut Vec<f64>) -> Result<(), IngestError> {
        values.clear();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                IngestError::Universal { file: file.key.clone(), reason: "is cut off within its values".into() }
            }
            _ => IngestError::io(&file.key, source),
        };
        match self.form {
            Form::Binary { bytes, big_endian } => {
                let mut buffer = vec![0; count * bytes];
                self.source.read_exact(&mut buffer).map_err(failed)?;
                values.extend(buffer.chunks_exact(bytes).map(|value| binary(value, big_endian)));
            }
            Form::Text { width, per_line } => {
                while values.len() < count {
                    if self.field >= per_line {
                        self.line.clear();
                        let read = (&mut self.source).take(LINE_BYTES).read_until(b'\n', &mut self.line);
                        if read.map_err(failed)? == 0 {
                            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                        }
                        self.field = 0;
                    }
                    let from = (self.field * width).min(self.line.len());
                    let field = self.line[from..self.line.len().min(from + width)].trim_ascii();
                    self.field += 1;
                    let text = std::str::from_utf8(field).unwrap_or_default().replace(['D', 'd'], "E");
                    values.push(text.parse().map_err(|_| IngestError::Universal {
                        file: file.key.clone(),
                        reason: format!("has {:?} among its values", shown(field)),
                    })?);
                }
            }
        }
        Ok(())
    }
}

fn binary(value: &[u8], big_endian: bool) -> f64 {
    match (value, big_endian) {
        (&[a, b, c, d], false) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (&[a, b, c, d], true) => f64::from(f32::from_be_bytes([a, b, c, d])),
        (&[a, b, c, d, e, f, g, h], false) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        (&[a, b, c, d, e, f, g, h], true) => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    }
}
