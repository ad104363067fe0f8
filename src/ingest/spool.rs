//! Decoded rows on disk: every file of text is parsed once, and read again from here as often as a step needs.
//!
//! Blocks of [`block_rows`] rows, the last one of a file perhaps shorter: the stamps in ns, then the values row by row,
//! one f64 a channel, as they lie in memory. The file lies in the folder of the run and goes away with the last
//! [`Spool`] that refers to it.

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

/// Bytes of a row, a stamp and a value a channel.
fn row_bytes(columns: usize) -> usize {
    CELL * (columns + 1)
}

/// Rows of a block.
fn block_rows(columns: usize) -> usize {
    (BLOCK_BYTES / row_bytes(columns)).max(1)
}

/// Takes the rows of one track, file after file.
pub(crate) struct SpoolWriter {
    file: File,
    path: Arc<TempPath>,
    columns: usize,
    /// What was not written yet.
    stamps: Vec<Nanos>,
    values: Vec<f64>,
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
        let (stamps, values) = (Vec::new(), Vec::new());
        Ok(SpoolWriter { file, path: Arc::new(path), columns, stamps, values, first: 0, rows: 0 })
    }

    /// Takes rows: a stamp each, and their values row by row.
    pub(crate) fn push(&mut self, mut stamps: &[Nanos], mut values: &[f64]) -> Result<(), IngestError> {
        self.rows += stamps.len() as u64;
        while !stamps.is_empty() {
            let room = block_rows(self.columns) - self.stamps.len();
            let (own_stamps, own_values);
            (own_stamps, stamps) = stamps.split_at(room.min(stamps.len()));
            (own_values, values) = values.split_at(own_stamps.len() * self.columns);
            self.stamps.extend_from_slice(own_stamps);
            self.values.extend_from_slice(own_values);
            if own_stamps.len() == room {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends a file.
    pub(crate) fn finish_file(&mut self, missing: Vec<Vec<f64>>) -> Result<Spool, IngestError> {
        self.flush()?;
        let (path, columns, first) = (Arc::clone(&self.path), self.columns, self.first);
        self.first = self.rows;
        Ok(Spool { path, columns, first, rows: self.rows - first, missing })
    }

    fn flush(&mut self) -> Result<(), IngestError> {
        let stamps = self.file.write_all(bytemuck::cast_slice(&self.stamps));
        let written = stamps.and_then(|()| self.file.write_all(bytemuck::cast_slice(&self.values)));
        self.stamps.clear();
        self.values.clear();
        written.map_err(|source| IngestError::Io { file: self.path.display().to_string(), source })
    }
}

impl Spool {
    /// Its numbers; all of them, the columns were chosen when it was written.
    pub(crate) fn rows(&self) -> Result<SpoolRows, IngestError> {
        let file = File::open(&*self.path).map_err(|source| self.failed(source))?;
        Ok(SpoolRows { of: self.clone(), file, row: 0, at: None })
    }

    fn failed(&self, source: io::Error) -> IngestError {
        IngestError::Io { file: self.path.display().to_string(), source }
    }
}

/// Reads a [`Spool`].
pub(crate) struct SpoolRows {
    of: Spool,
    file: File,
    /// The next row.
    row: u64,
    /// The row at which the file stands.
    at: Option<u64>,
}

impl Rows for SpoolRows {
    fn next_rows(&mut self, rows: &mut RowBlock) -> Result<bool, IngestError> {
        let (columns, most) = (self.of.columns, block_rows(self.of.columns) as u64);
        // The whole block that holds the next row.
        let first = self.row / most * most;
        let count = self.of.rows.saturating_sub(first).min(most) as usize;
        if self.row >= self.of.rows {
            rows.begin(self.row, columns);
            return Ok(false);
        }
        let place = (self.of.first + first) * row_bytes(columns) as u64;
        let sought = if self.at == Some(first) { Ok(0) } else { self.file.seek(SeekFrom::Start(place)) };
        let (stamps, values) = rows.room(first, columns, count);
        sought
            .and_then(|_| self.file.read_exact(bytemuck::cast_slice_mut(stamps)))
            .and_then(|()| self.file.read_exact(bytemuck::cast_slice_mut(values)))
            .map_err(|source| self.of.failed(source))?;
        for (column, missing) in self.of.missing.iter().enumerate().filter(|(_, missing)| !missing.is_empty()) {
            let values = values.iter_mut().skip(column).step_by(columns);
            values.filter(|value| missing.contains(value)).for_each(|value| *value = f64::NAN);
        }
        self.row = first + count as u64;
        self.at = Some(self.row);
        Ok(true)
    }

    fn skip_to(&mut self, row: u64) {
        self.row = row.min(self.of.rows);
    }
}
