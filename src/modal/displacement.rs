//! Exact sums over the columns of the data matrix, without the matrix.
//!
//! The data matrix of the other packages has a column for every t = 0 .. N − 1, N = samples − 2q + 1 with q block rows:
//! past references Y_p = [y_ref(t+q−1); …; y_ref(t)] above future outputs Y_f = [y(t+q); …; y(t+2q−1)]. Every block of
//! its products is C_m(s) = Σ_{t=s}^{s+N−1} y(t+m) y_ref(t)ᵀ for some m and s. That leaves out of the full sums P_m only
//! products at the segment's two ends, and neighbours in s differ by two of them (displacement structure, algorithms
//! §3.5): the products cost what the lag products cost, and their memory does not depend on the record's length.

use super::ModalError;
use super::correlations::Correlations;
use crate::compute::SegmentEdges;
use nalgebra::DMatrix;

/// The data matrix of a record; over several segments sums and N are added up.
pub struct Windows<'a> {
    correlations: &'a Correlations<'a>,
    block_rows: usize,
    /// N.
    count: u64,
}

impl<'a> Windows<'a> {
    /// For correlations at 2·block_rows lags.
    ///
    /// # Errors
    /// [`ModalError::Setting`] if no segment has 2·block_rows samples.
    pub fn new(correlations: &'a Correlations<'_>, block_rows: usize) -> Result<Windows<'a>, ModalError> {
        let length = 2 * block_rows as u64;
        let longest = correlations.edges.iter().map(|edge| edge.samples).max().unwrap_or(0);
        let count: u64 = correlations.edges.iter().map(|edge| (edge.samples + 1).saturating_sub(length)).sum();
        if count == 0 {
            return Err(ModalError::Setting(format!(
                "longest gap-free stretch of the record has {longest} samples, block_rows {block_rows} needs at least \
                 {length}"
            )));
        }
        Ok(Windows { correlations, block_rows, count })
    }

    /// References and channels.
    pub fn shape(&self) -> (usize, usize) {
        let (channels, references) = self.correlations.shape();
        (references, channels)
    }

    /// Y_f Y_pᵀ / N, the `cov` matrix of the other packages: H_ab = (1/N) Σ_t y(t+q+a) y_ref(t+q−1−b)ᵀ.
    pub fn hankel(&self) -> DMatrix<f64> {
        let (q, (r, l)) = (self.block_rows, self.shape());
        let mut h = DMatrix::zeros(q * l, q * r);
        for m in 1..2 * q {
            // s = q − 1 − b over the blocks of this anti-diagonal, a = m − 1 − b.
            let (first, last) = (m.saturating_sub(q), (m - 1).min(q - 1));
            self.descend(m, q - 1 - first, q - 1 - last, |s, sum| {
                let b = q - 1 - s;
                h.view_mut(((m - 1 - b) * l, b * r), (l, r)).copy_from(&sum);
            });
        }
        h
    }

    /// Y_p Y_pᵀ / N.
    pub fn past(&self) -> DMatrix<f64> {
        let (q, (r, _)) = (self.block_rows, self.shape());
        let mut covariance = DMatrix::zeros(q * r, q * r);
        for m in 0..q {
            self.descend(m, q - 1 - m, 0, |s, sum| {
                let earlier = q - 1 - s;
                let block = sum.select_rows(&self.correlations.references);
                set_symmetric(&mut covariance, earlier - m, earlier, &block);
            });
        }
        covariance
    }

    /// Y_f Y_fᵀ / N.
    ///
    /// # Panics
    /// If not every channel is a reference.
    pub fn future(&self) -> DMatrix<f64> {
        let (q, (r, l)) = (self.block_rows, self.shape());
        assert_eq!(r, l, "only products with every channel make up the covariance of the future");
        let mut covariance = DMatrix::zeros(q * l, q * l);
        for m in 0..q {
            self.descend(m, 2 * q - 1 - m, q, |s, sum| set_symmetric(&mut covariance, s - q + m, s - q, &sum));
        }
        covariance
    }

    /// Visits C_m(s) / N for s = `high`, high − 1, …, `low`.
    fn descend(&self, m: usize, high: usize, low: usize, mut visit: impl FnMut(usize, DMatrix<f64>)) {
        let length = 2 * self.block_rows;
        let is_usable = |edge: &&SegmentEdges| edge.samples >= length as u64;
        let mut sum = self.correlations.totals[m].clone();
        for edge in &self.correlations.edges {
            // A segment too short for a single window: all of its products go.
            let (heads, tails) = match is_usable(&edge) {
                true => (high, length - 1 - m - high),
                false => ((edge.samples as usize).saturating_sub(m), 0),
            };
            (0..heads).for_each(|t| self.add(&mut sum, -1.0, edge, m, End::Head(t)));
            (0..tails).for_each(|t| self.add(&mut sum, -1.0, edge, m, End::Tail(t)));
        }
        for s in (low..=high).rev() {
            visit(s, &sum / self.count as f64);
            if s > low {
                for edge in self.correlations.edges.iter().filter(is_usable) {
                    // The head product at s − 1 comes in, the tail product at s + N − 1 goes.
                    self.add(&mut sum, 1.0, edge, m, End::Head(s - 1));
                    self.add(&mut sum, -1.0, edge, m, End::Tail(length - 1 - m - s));
                }
            }
        }
    }

    /// Adds a multiple of one product.
    fn add(&self, sum: &mut DMatrix<f64>, factor: f64, edge: &SegmentEdges, m: usize, end: End) {
        let (matrix, later) = match end {
            End::Head(t) => (&edge.head, t + m),
            End::Tail(t) => (&edge.tail, edge.tail.ncols() - 1 - t),
        };
        for (j, &reference) in self.correlations.references.iter().enumerate() {
            sum.column_mut(j).axpy(factor * matrix[(reference, later - m)], &matrix.column(later), 1.0);
        }
    }
}

enum End {
    /// y(t+m) y_ref(t)ᵀ at the t-th sample of the segment.
    Head(usize),
    /// The t-th product from the end: y(n−1−t) y_ref(n−1−t−m)ᵀ.
    Tail(usize),
}

/// Sets a block and the one opposite.
fn set_symmetric(matrix: &mut DMatrix<f64>, i: usize, j: usize, block: &DMatrix<f64>) {
    let n = block.nrows();
    matrix.view_mut((i * n, j * n), (n, n)).copy_from(block);
    matrix.view_mut((j * n, i * n), (n, n)).copy_from(&block.transpose());
}
