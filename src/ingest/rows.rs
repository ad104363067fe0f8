//! What files of every format give: a hash, and rows of numbers in blocks.

use super::IngestError;
use super::stamps::Nanos;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

/// Consecutive rows of a file, row by row.
#[derive(Debug, Default)]
pub(crate) struct RowBlock {
    /// The first one's place in the file.
    pub(crate) first_row: u64,
    columns: usize,
    values: Vec<f64>,
    /// One a row where the file has a column of time.
    pub(crate) stamps: Vec<Nanos>,
}

impl RowBlock {
    /// Empties the block.
    pub(crate) fn begin(&mut self, first_row: u64, columns: usize) {
        self.first_row = first_row;
        self.columns = columns;
        self.values.clear();
        self.stamps.clear();
    }

    /// Room for so many rows' stamps and values, to be filled whole.
    pub(crate) fn room(&mut self, first_row: u64, columns: usize, rows: usize) -> (&mut [Nanos], &mut [f64]) {
        (self.first_row, self.columns) = (first_row, columns);
        self.stamps.resize(rows, 0);
        self.values.resize(rows * columns, f64::NAN);
        (&mut self.stamps, &mut self.values)
    }

    /// Adds the next cell.
    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// Makes room for `rows` rows, to be [`set`](RowBlock::set).
    pub(crate) fn resize(&mut self, rows: usize) {
        self.values.resize(rows * self.columns, f64::NAN);
    }

    /// Sets one cell.
    pub(crate) fn set(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.columns + column] = value;
    }

    /// Whole rows.
    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    /// One column of the rows `from..to` of the block.
    pub(crate) fn column(&self, column: usize, from: usize, to: usize) -> impl Iterator<Item = f64> {
        self.values[from * self.columns..to * self.columns].iter().skip(column).step_by(self.columns).copied()
    }
}

/// Hands out the numbers of one file; NaN stands for a missing one, infinity never occurs.
pub(crate) trait Rows: Send {
    /// Fills `rows` with what comes next, which may be nothing on the way to a row; `false` at the end of the file.
    fn next_rows(&mut self, rows: &mut RowBlock) -> Result<bool, IngestError>;

    /// Leaves out everything before `row`.
    fn skip_to(&mut self, row: u64);
}

/// Hash and length of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileDigest {
    /// Hexadecimal SHA-256.
    pub(crate) sha256: String,
    /// Rows of numbers.
    pub(crate) rows: u64,
}

/// Hashes what is read through it.
pub(crate) struct Digest<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Digest<R> {
    pub(crate) fn new(inner: R) -> Digest<R> {
        Digest { inner, hash: Sha256::new() }
    }

    /// Reads what is left and returns the hash of all.
    pub(crate) fn finish(mut self, rows: u64) -> io::Result<FileDigest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(FileDigest { sha256: hex(&self.hash.finalize()), rows })
    }
}

impl<R: Read> Read for Digest<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
