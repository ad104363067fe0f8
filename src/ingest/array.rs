//! NPY arrays: samples × channels (or one channel), floats of 4 or 8 bytes or whole numbers, rows or columns
//! contiguous; read in blocks with seeks.

use super::IngestError;
use super::bytes::open;
use super::cells::finite;
use super::rows::{Digest, FileDigest, RowBlock, Rows};
use crate::model::control::Control;
use crate::model::record::RawFile;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Bytes of one block of rows, at most: 0.5 MiB.
const BLOCK_BYTES: usize = 1 << 19;

/// Bytes of the longest header that is read: that of an array of numbers takes 128.
const LONGEST_HEADER: usize = 1 << 16;

/// Brackets within brackets up to which a header is read: a record type has four, and the time that the parser of Python's
/// literals takes doubles with each.
const DEEPEST: usize = 8;

/// An NPY file whose header was understood.
#[derive(Debug, Clone)]
pub(crate) struct ArrayFile {
    file: RawFile,
    /// Where the values begin.
    data: u64,
    rows: u64,
    /// Channels.
    pub(crate) columns: usize,
    order: Order,
    /// Of a value.
    bytes: usize,
    kind: TypeChar,
    big_endian: bool,
}

impl ArrayFile {
    /// Understands the header and compares the size with it.
    pub(crate) fn open(file: &RawFile) -> Result<ArrayFile, IngestError> {
        let wrong = |reason: String| IngestError::Array { file: file.key.clone(), reason };
        let mut source = open(file)?;
        let size = source.metadata().map_err(|e| IngestError::io(&file.key, e))?.len();
        if size == 0 {
            return Err(IngestError::Empty(file.key.clone()));
        }
        let mut head = Vec::new();
        let read = (&mut source).take(2 * LONGEST_HEADER as u64).read_to_end(&mut head).and_then(|_| source.rewind());
        read.map_err(|error| IngestError::io(&file.key, error))?;
        if let Some(reason) = unreadable(&head) {
            return Err(wrong(reason));
        }
        let header = NpyHeader::from_reader(&mut source).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                wrong(format!("is no NPY array: {error}"))
            }
            _ => IngestError::io(&file.key, error),
        })?;
        let data = source.stream_position().map_err(|e| IngestError::io(&file.key, e))?;
        let dtype = header.dtype();
        let plain = match &dtype {
            DType::Plain(plain) => match (plain.type_char(), plain.size_field()) {
                (TypeChar::Float, 4 | 8) | (TypeChar::Int | TypeChar::Uint, 1 | 2 | 4 | 8) => Some(plain),
                _ => None,
            },
            _ => None,
        };
        let other = || wrong(format!("holds {}, only f4, f8 and whole numbers are read", dtype.descr()));
        let plain = plain.ok_or_else(other)?;
        let (bytes, kind) = (plain.size_field() as usize, plain.type_char());
        let big_endian = plain.endianness() == Endianness::Big;
        let (rows, columns) = match *header.shape() {
            [rows] => (rows, 1),
            [rows, columns] => (rows, columns),
            ref shape => return Err(wrong(format!("has the shape {shape:?}, expected samples × channels"))),
        };
        if rows == 0 || columns == 0 {
            return Err(IngestError::Empty(file.key.clone()));
        }
        let expected =
            rows.checked_mul(columns).and_then(|n| n.checked_mul(bytes as u64)).and_then(|n| n.checked_add(data));
        if expected != Some(size) {
            return Err(wrong(format!("has {size} bytes, a header for {rows} × {columns} values of {bytes} bytes")));
        }
        if columns > rows {
            return Err(wrong(format!(
                "has {rows} rows and {columns} columns: rows are samples, columns are channels"
            )));
        }
        Ok(ArrayFile {
            file: file.clone(),
            data,
            rows,
            columns: columns as usize,
            order: header.order(),
            bytes,
            kind,
            big_endian,
        })
    }

    /// Reads the whole file once for its hash.
    pub(crate) fn scan(&self, control: &Control) -> Result<FileDigest, IngestError> {
        let failed = |source| IngestError::io(&self.file.key, source);
        let mut digest = Digest::new(open(&self.file)?);
        let mut buffer = vec![0; BLOCK_BYTES];
        while digest.read(&mut buffer).map_err(failed)? > 0 {
            control.checkpoint()?;
        }
        digest.finish(self.rows).map_err(failed)
    }

    /// The numbers of some columns.
    pub(crate) fn rows(&self, columns: &[usize]) -> Result<Box<dyn Rows>, IngestError> {
        let source = open(&self.file)?;
        let rows = (BLOCK_BYTES / (self.bytes * self.columns)).max(1);
        Ok(Box::new(ArrayRows {
            of: self.clone(),
            source,
            columns: columns.to_vec(),
            row: 0,
            block: rows,
            buffer: Vec::new(),
        }))
    }

    fn value(&self, bytes: &[u8]) -> f64 {
        let mut little = [0; 8];
        let own = &mut little[..self.bytes];
        own.copy_from_slice(bytes);
        if self.big_endian {
            own.reverse();
        }
        let bits = u64::from_le_bytes(little);
        let unused = 64 - 8 * self.bytes as u32;
        match (self.kind, self.bytes) {
            (TypeChar::Float, 4) => finite(f64::from(f32::from_bits(bits as u32))),
            (TypeChar::Float, _) => finite(f64::from_bits(bits)),
            // The sign of a narrow number is moved to the top and back.
            (TypeChar::Int, _) => (((bits << unused) as i64) >> unused) as f64,
            _ => bits as f64,
        }
    }
}

/// Why the header of a file that begins with these bytes would keep its parser busy for hours or fill the memory.
fn unreadable(head: &[u8]) -> Option<String> {
    // Six bytes of magic, two of the version, then the header's length: two bytes in version 1, four since.
    let (start, length) = match (head.get(6)?, head.get(8..12)?) {
        (1, &[low, high, ..]) => (10, usize::from(u16::from_le_bytes([low, high]))),
        (_, &[a, b, c, d]) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return None,
    };
    if length > LONGEST_HEADER {
        return Some(format!("has a header of {length} bytes, at most {LONGEST_HEADER} are read"));
    }
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in head.iter().skip(start).take(length) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    (deepest > DEEPEST)
        .then(|| format!("has {deepest} brackets within each other in its header, at most {DEEPEST} are read"))
}

struct ArrayRows {
    of: ArrayFile,
    source: File,
    columns: Vec<usize>,
    row: u64,
    /// Rows of a block.
    block: usize,
    buffer: Vec<u8>,
}

impl ArrayRows {
    /// Reads `count` values from the value at `place` on.
    fn read(&mut self, place: u64, count: usize) -> Result<(), IngestError> {
        self.buffer.resize(count * self.of.bytes, 0);
        let at = self.of.data + place * self.of.bytes as u64;
        let read = self.source.seek(SeekFrom::Start(at)).and_then(|_| self.source.read_exact(&mut self.buffer));
        read.map_err(|source| IngestError::io(&self.of.file.key, source))
    }
}

impl Rows for ArrayRows {
    fn next_rows(&mut self, rows: &mut RowBlock) -> Result<bool, IngestError> {
        let count = (self.of.rows - self.row).min(self.block as u64) as usize;
        rows.begin(self.row, self.columns.len());
        if count == 0 {
            return Ok(false);
        }
        match self.of.order {
            Order::C => {
                self.read(self.row * self.of.columns as u64, count * self.of.columns)?;
                for row in self.buffer.chunks_exact(self.of.columns * self.of.bytes) {
                    for column in &self.columns {
                        let at = column * self.of.bytes;
                        rows.push(self.of.value(&row[at..at + self.of.bytes]));
                    }
                }
            }
            Order::Fortran => {
                rows.resize(count);
                for place in 0..self.columns.len() {
                    self.read(self.columns[place] as u64 * self.of.rows + self.row, count)?;
                    for (row, bytes) in self.buffer.chunks_exact(self.of.bytes).enumerate() {
                        rows.set(row, place, self.of.value(bytes));
                    }
                }
            }
        }
        self.row += count as u64;
        Ok(true)
    }

    fn skip_to(&mut self, row: u64) {
        self.row = row.min(self.of.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 1 with this header.
    fn with_header(header: &str) -> Vec<u8> {
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
    }

    #[test]
    fn a_header_that_would_take_its_parser_for_ever_is_refused_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let raw = RawFile::new("deep.npy", file.path());
        std::fs::write(file.path(), with_header(&"{".repeat(41))).unwrap();
        let error = ArrayFile::open(&raw).unwrap_err().to_string();
        assert!(error.contains("deep.npy") && error.contains("41 brackets") && error.contains("at most 8"), "{error}");
        let long = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..]].concat();
        std::fs::write(file.path(), long).unwrap();
        let error = ArrayFile::open(&raw).unwrap_err().to_string();
        assert!(error.contains("4294967295 bytes") && error.contains("at most 65536"), "{error}");
    }

    #[test]
    fn ordinary_headers_are_let_through() {
        let plain = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n";
        let record = "{'descr': [('x', '<f4', (2, 3))], 'fortran_order': False, 'shape': (3,), }\n";
        assert_eq!((unreadable(&with_header(plain)), unreadable(&with_header(record))), (None, None));
        assert_eq!(unreadable(b"\x93NUMPY"), None);
    }
}
