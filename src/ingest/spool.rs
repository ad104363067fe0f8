//! Decoded rows on disk: every file of text is parsed once, and read again from here as often as a step needs.
//!
//! A record of fixed size per row, little-endian: the stamp in ns, then one f64 a channel. The file lies in the
//! folder of the run and goes away with the last [`Spool`] that refers to it.

use super::IngestError;
use super::rows::{RowBlock, Rows};
use super::stamps::Nanos;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use tempfile::{NamedTempFile, TempPath};

/// Bytes that are read or written at once.
const BLOCK_BYTES: usize = 1 << 19;

/// Bytes of a stamp and of a value.
const CELL: usize = 8;

/// Takes the rows of one track, file after file.
pub(crate) struct SpoolWriter {
    file: File,
    path: Arc<TempPath>,
    columns: usize,
    buffer: Vec<u8>,
    /// Rows before this file's first one, and all.
    first: u64,
    rows: u64,
}

/// The rows of one file.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    path: Arc<TempPath>,
    columns: usize,
    first: u64,
    rows: u64,
    /// Per column the number that means that there is none.
    missing: Vec<Vec<f64>>,
}

impl SpoolWriter {
    /// A file in `folder` for rows of so many channels.
    pub(crate) fn create(folder: &Path, columns: usize) -> Result<SpoolWriter, IngestError> {
        let created = NamedTempFile::new_in(folder);
        let created = created.map_err(|source| IngestError::Io { file: folder.display().to_string(), source })?;
        let (file, path) = created.into_parts();
        Ok(SpoolWriter { file, path: Arc::new(path), columns, buffer: Vec::new(), first: 0, rows: 0 })
    }

    /// Takes rows: a stamp each, and their values row by row.
    pub(crate) fn push(&mut self, stamps: &[Nanos], values: &[f64]) -> Result<(), IngestError> {
        let (record, filled) = (CELL * (self.columns + 1), self.buffer.len());
        self.buffer.resize(filled + stamps.len() * record, 0);
        let rows = stamps.iter().zip(values.chunks_exact(self.columns));
        for (room, (stamp, row)) in self.buffer[filled..].chunks_exact_mut(record).zip(rows) {
            let (of_stamp, of_values) = room.split_at_mut(CELL);
            of_stamp.copy_from_slice(&stamp.to_le_bytes());
            let cells = of_values.chunks_exact_mut(CELL).zip(row);
            cells.for_each(|(cell, value)| cell.copy_from_slice(&value.to_le_bytes()));
        }
        self.rows += stamps.len() as u64;
        if self.buffer.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends a file.
    pub(crate) fn finish_file(&mut self, missing: Vec<Vec<f64>>) -> Result<Spool, IngestError> {
        self.flush()?;
        let (path, columns, first) = (Arc::clone(&self.path), self.columns, self.first);
        self.first = self.rows;
        Ok(Spool { path, columns, first, rows: self.rows - first, missing })
    }

    fn flush(&mut self) -> Result<(), IngestError> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|source| IngestError::Io { file: self.path.display().to_string(), source })
    }
}

impl Spool {
    /// Its numbers; all of them, the columns were chosen when it was written.
    pub(crate) fn rows(&self) -> Result<SpoolRows, IngestError> {
        let file = File::open(&*self.path).map_err(|source| self.failed(source))?;
        Ok(SpoolRows { of: self.clone(), file, row: 0, at: None, buffer: Vec::new() })
    }

    fn failed(&self, source: io::Error) -> IngestError {
        IngestError::Io { file: self.path.display().to_string(), source }
    }
}

/// Reads a [`Spool`].
pub(crate) struct SpoolRows {
    of: Spool,
    file: File,
    row: u64,
    /// The row at which the file stands.
    at: Option<u64>,
    buffer: Vec<u8>,
}

impl Rows for SpoolRows {
    fn next_rows(&mut self, rows: &mut RowBlock) -> Result<bool, IngestError> {
        let record = CELL * (self.of.columns + 1);
        let count = (self.of.rows - self.row).min((BLOCK_BYTES / record).max(1) as u64) as usize;
        rows.begin(self.row, self.of.columns);
        if count == 0 {
            return Ok(false);
        }
        self.buffer.resize(count * record, 0);
        let place = (self.of.first + self.row) * record as u64;
        let sought = if self.at == Some(self.row) { Ok(0) } else { self.file.seek(SeekFrom::Start(place)) };
        sought.and_then(|_| self.file.read_exact(&mut self.buffer)).map_err(|source| self.of.failed(source))?;
        for row in self.buffer.chunks_exact(record) {
            let mut cells = row.chunks_exact(CELL).map(|cell| cell.try_into().unwrap_or([0; CELL]));
            rows.push_stamp(cells.next().map_or(0, Nanos::from_le_bytes));
            for (cell, missing) in cells.zip(&self.of.missing) {
                let value = f64::from_le_bytes(cell);
                rows.push(if missing.contains(&value) { f64::NAN } else { value });
            }
        }
        self.row += count as u64;
        self.at = Some(self.row);
        Ok(true)
    }

    fn skip_to(&mut self, row: u64) {
        self.row = row.min(self.of.rows);
    }
}
