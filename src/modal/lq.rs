//! LQ decomposition of the data matrix column by column, for records whose past outputs are nearly dependent.
//!
//! The covariances of filtered or oversampled records are so close to singular that their Cholesky factors say little.
//! The triangle of the data matrix itself keeps all digits. It is brought up to date with some columns of the data matrix
//! at a time, so that the matrix is never held (Golub & Van Loan 2013, §5.2.9: "tall skinny" QR).

use super::{ModalError, for_each_block};
use crate::model::control::Control;
use crate::model::record::Record;
use nalgebra::DMatrix;

/// Columns of the data matrix that are taken at once, as a part of its rows: a decomposition costs the more per column the
/// fewer there are.
const COLUMNS_PER_ROW: usize = 3;

/// Bytes that each entry of triangle and columns takes: itself and the copy that is decomposed, f64.
const BYTES: usize = 16;

/// L of [Y_p; Y_f] / √N = L Q with a diagonal that is not negative; rows and columns as those of
/// [`Windows`](super::displacement::Windows).
///
/// # Errors
/// [`ModalError`] if it would take too much memory, the record cannot be read or the run is stopped.
pub fn lower_triangle(
    record: &dyn Record,
    references: &[usize],
    block_rows: usize,
    control: &Control,
) -> Result<DMatrix<f64>, ModalError> {
    let (q, r, l) = (block_rows, references.len(), record.info().channels.len());
    let size = q * (r + l);
    control.plan_memory(
        || format!("triangle of the data matrix of {q} block rows, {l} channels and {r} references"),
        &[size, size, 1 + COLUMNS_PER_ROW, BYTES],
        "lower block_rows, choose fewer channels, or take ssi-cov",
    )?;
    let mut columns = Columns::new(size);
    let mut segment = 0;
    let mut history: Vec<Vec<f32>> = vec![Vec::new(); l];
    for_each_block(record, "data matrix", control, |block| {
        if block.segment != segment {
            segment = block.segment;
            history.iter_mut().for_each(Vec::clear);
        }
        for (c, samples) in history.iter_mut().enumerate() {
            samples.extend_from_slice(block.channel(c));
        }
        let windows = (history.first().map_or(0, Vec::len) + 1).saturating_sub(2 * q);
        for t in 0..windows {
            let past = (0..q).flat_map(|b| references.iter().map(move |&c| (c, q - 1 - b)));
            let future = (0..q).flat_map(|a| (0..l).map(move |c| (c, q + a)));
            columns.push(past.chain(future).map(|(c, lag)| f64::from(history[c][t + lag])));
        }
        history.iter_mut().for_each(|samples| drop(samples.drain(..windows)));
    })?;
    Ok(columns.finish())
}

/// The triangle of the columns so far, and those that wait.
struct Columns {
    /// Upper triangle above waiting columns of the data matrix, which are rows here.
    stack: DMatrix<f64>,
    waiting: usize,
    count: u64,
}

impl Columns {
    fn new(size: usize) -> Columns {
        Columns { stack: DMatrix::zeros((1 + COLUMNS_PER_ROW) * size, size), waiting: 0, count: 0 }
    }

    fn push(&mut self, column: impl Iterator<Item = f64>) {
        let row = self.stack.ncols() + self.waiting;
        for (j, value) in column.enumerate() {
            self.stack[(row, j)] = value;
        }
        self.waiting += 1;
        self.count += 1;
        if row + 1 == self.stack.nrows() {
            self.reduce();
        }
    }

    fn reduce(&mut self) {
        let size = self.stack.ncols();
        let triangle = oma_linalg::upper_triangle(&self.stack);
        self.stack.fill(0.0);
        self.stack.rows_mut(0, size).copy_from(&triangle);
        self.waiting = 0;
    }

    fn finish(mut self) -> DMatrix<f64> {
        self.reduce();
        self.stack.rows(0, self.stack.ncols()).transpose() / (self.count.max(1) as f64).sqrt()
    }
}
