//! The leading part of a decomposition, without the rest.

use super::cost::{self, BLOCK, Steps};
use super::narrow::{self, Columns};
use super::{
    NoConvergence, Svd, cholesky, divide_lower, multiply, multiply_transposed, qr, singular_values, svd, view, view_mut,
};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatRef, Par};
use nalgebra::DMatrix;
use rayon::prelude::*;

/// Leading `rank` singular triplets of any matrix, each with a residual ‖Aᵀu − s v‖ of at most `tolerance` · s₁.
///
/// Block Golub-Kahan-Lanczos steps from fixed start vectors, every new vector made orthogonal to all before. `rank` is
/// cut to the smaller dimension. Where the steps cost more than a full decomposition, or run out, the full one is taken.
///
/// # Errors
/// [`NoConvergence`].
///
/// # Source
/// Golub, Luk & Overton (1981); Musco & Musco (2015), "Randomized block Krylov methods", algorithm 2; orthogonality
/// by two passes as in Barlow & Smoktunowicz (2013), algorithm BCGS2.
pub fn leading_svd(a: &DMatrix<f64>, rank: usize, tolerance: f64) -> Result<Svd, NoConvergence> {
    let rank = rank.min(a.nrows().min(a.ncols()));
    match lanczos(a, rank, tolerance)? {
        Some(svd) => Ok(svd),
        None => Ok(truncate(svd(a)?, rank)),
    }
}

/// The leading triplets by Lanczos steps; `None` where they are not worth their while or do not converge.
fn lanczos(a: &DMatrix<f64>, rank: usize, tolerance: f64) -> Result<Option<Svd>, NoConvergence> {
    let Some(steps) = cost::triplets(a.nrows().min(a.ncols()), rank) else { return Ok(None) };
    let mut next_look = steps.first_look;
    let of_a = (a.as_slice(), a.nrows());
    let (mut left, mut right) = (Basis::new(a.nrows()), Basis::new(a.ncols()));
    // Uᵀ A V, column by column: each holds what the step found along the left vectors so far.
    let mut columns: Vec<DMatrix<f64>> = Vec::new();
    let Some(_) = right.add(fixed_noise(BLOCK, a.ncols())) else { return Ok(None) };
    loop {
        let Some(along) = left.add(narrow::times(of_a, &right.last)) else { return Ok(None) };
        columns.push(along);
        let back = narrow::transposed_times(of_a, &left.last);
        let size = left.count();
        let Some(along) = right.add(back) else { return Ok(None) };
        if size >= next_look {
            let inner = svd(&assemble(&columns))?;
            // Aᵀ U = V Bᵀ + V_next Rᵀ: what sticks out of the basis is the residual.
            let out = along.rows(size, BLOCK).into_owned() * inner.u.view((size - BLOCK, 0), (BLOCK, rank));
            if out.column_iter().all(|column| column.norm() <= tolerance * inner.s[0]) {
                let u = shared(left.all(), view(&inner.u.columns(0, rank).into_owned()));
                let v = shared(right.leading(size), view(&inner.v.columns(0, rank).into_owned()));
                let s = inner.s.rows(0, rank).into_owned();
                let mut residual = shared(view(a).transpose(), view(&u));
                residual.column_iter_mut().enumerate().for_each(|(j, mut r)| r.axpy(-s[j], &v.column(j), 1.0));
                let holds = residual.column_iter().all(|r| r.norm() <= tolerance * s[0]);
                return Ok(holds.then_some(Svd { u, s, v }));
            }
            next_look = Steps::next_look(size);
            if next_look > steps.most {
                return Ok(None);
            }
        }
    }
}

/// Uᵀ A V from its columns, which are zero below what they hold.
fn assemble(columns: &[DMatrix<f64>]) -> DMatrix<f64> {
    let size = columns.len() * BLOCK;
    let mut matrix = DMatrix::zeros(size, size);
    for (j, column) in columns.iter().enumerate() {
        matrix.view_mut((0, j * BLOCK), column.shape()).copy_from(column);
    }
    matrix
}

/// Orthonormal columns, a block after the other.
struct Basis {
    rows: usize,
    values: Vec<f64>,
    /// The transpose of the last block.
    last: DMatrix<f64>,
}

impl Basis {
    fn new(rows: usize) -> Basis {
        Basis { rows, values: Vec::new(), last: DMatrix::zeros(BLOCK, 0) }
    }

    fn count(&self) -> usize {
        self.values.len() / self.rows
    }

    fn leading(&self, count: usize) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.values[..count * self.rows], self.rows, count)
    }

    fn all(&self) -> MatRef<'_, f64> {
        self.leading(self.count())
    }

    /// Adds what is new in a block, given as its transpose, and returns its coefficients along all columns, the new ones last;
    /// `None` where something of it is not new to working precision.
    fn add(&mut self, block: DMatrix<f64>) -> Option<DMatrix<f64>> {
        /// A unit column that keeps this much of its length was new.
        const NEW: f64 = 0.5;
        let count = self.count();
        let so_far: Columns<'_> = (&self.values, self.rows);
        let without = |mut block: DMatrix<f64>| {
            let along = narrow::transposed_times(so_far, &block);
            block -= narrow::times(so_far, &along);
            (along.transpose(), orthonormal(&block))
        };
        let (first, (q, upper)) = without(block);
        let (second, (q, again)) = without(q);
        if !again.diagonal().iter().all(|kept| kept.abs() >= NEW) {
            return None;
        }
        let mut coefficients = DMatrix::zeros(count + BLOCK, BLOCK);
        coefficients.rows_mut(0, count).copy_from(&(first + second * &upper));
        coefficients.rows_mut(count, BLOCK).copy_from(&(again * upper));
        self.values.extend_from_slice(q.transpose().as_slice());
        self.last = q;
        Some(coefficients)
    }
}

/// QR decomposition of a block given as its transpose: the transpose of Q, and R.
///
/// By the Cholesky factor of the columns' products, which loses as many digits of their orthogonality as they have condition,
/// squared; a second pass has nearly orthonormal columns and restores them (Yamamoto, Nakatsukasa, Yanagisawa & Fukaya 2015,
/// CholeskyQR2). Columns that are nearly dependent are taken one after the other.
fn orthonormal(block: &DMatrix<f64>) -> (DMatrix<f64>, DMatrix<f64>) {
    /// Least pivot over the largest one: ten of sixteen digits are lost, and six are left for the second pass.
    const LEAST_PIVOT: f64 = 1e-5;
    let columns = block.transpose();
    let of_columns: Columns<'_> = (columns.as_slice(), columns.nrows());
    let lower = cholesky(&narrow::transposed_times(of_columns, block)).ok();
    match lower.filter(|lower| lower.diagonal().min() >= LEAST_PIVOT * lower.diagonal().max()) {
        Some(lower) => {
            let inverse = divide_lower(&lower, &DMatrix::identity(BLOCK, BLOCK));
            (narrow::times(of_columns, &inverse), lower.transpose())
        }
        None => {
            let (q, upper) = qr(&columns);
            (q.transpose(), upper)
        }
    }
}

/// A · B on all threads: shares of A's rows, the same for any number of threads, and so is the product.
fn shared(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> DMatrix<f64> {
    /// Rows whose part of the product is worth a task.
    const SHARE: usize = 128;
    let mut product = DMatrix::zeros(a.nrows(), b.ncols());
    view_mut(&mut product).par_row_chunks_mut(SHARE).zip(a.par_row_chunks(SHARE)).for_each(|(product, a)| {
        matmul(product, Accum::Replace, a, b, 1.0, Par::Seq);
    });
    product
}

/// Estimates of the leading `rank` singular values from a few sweeps of block subspace iteration, never too large;
/// where the spectrum is flat they are some per cent too small. To compare magnitudes, not to compute with.
///
/// # Errors
/// [`NoConvergence`].
pub fn leading_singular_values(a: &DMatrix<f64>, rank: usize) -> Result<Vec<f64>, NoConvergence> {
    // Half as many vectors again and three sweeps bring a flat spectrum within a few per cent.
    const SWEEPS: usize = 3;
    let width = (rank + rank / 2 + 16).min(a.nrows().min(a.ncols()));
    let mut basis = fixed_noise(a.ncols(), width);
    for _ in 0..SWEEPS {
        let (q, _) = qr(&multiply(a, &basis));
        basis = qr(&multiply_transposed(a, &q)).0;
    }
    let mut values = singular_values(&multiply(a, &basis))?;
    values.truncate(rank);
    Ok(values)
}

fn truncate(svd: Svd, rank: usize) -> Svd {
    let k = rank.min(svd.s.len());
    Svd { u: svd.u.columns(0, k).into_owned(), s: svd.s.rows(0, k).into_owned(), v: svd.v.columns(0, k).into_owned() }
}

/// Well spread numbers in (−1, 1), the same each time: a 64-bit linear congruential sequence (Knuth, MMIX).
pub(super) fn fixed_noise(rows: usize, columns: usize) -> DMatrix<f64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    DMatrix::from_fn(rows, columns, |_, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smooth decay; a flat top cut in its middle, above a floor; fewer directions than are asked for.
    fn matrices() -> [(DMatrix<f64>, usize); 3] {
        let decay = DMatrix::from_fn(500, 450, |i, j| 0.5_f64.powi((i as i32 - j as i32).abs()) / (1 + i + j) as f64);
        let noise = fixed_noise(450, 450 + 60 + 60);
        let (floor, left, right) = (noise.columns(0, 450), noise.columns(450, 60), noise.columns(510, 60));
        let flat = qr(&left.into_owned()).0 * qr(&right.into_owned()).0.transpose() + floor * 1e-3;
        let few = left.columns(0, 20) * right.columns(0, 20).transpose();
        [(decay, 10), (flat, 40), (few, 40)]
    }

    #[test]
    fn leading_svd_equals_the_full_one() {
        for (a, rank) in matrices() {
            let full = svd(&a).unwrap();
            let Svd { u, s, v } = lanczos(&a, rank, 1e-12).unwrap().expect("few steps suffice");
            assert_eq!((u.shape(), s.len(), v.shape()), ((a.nrows(), rank), rank, (a.ncols(), rank)));
            for j in 0..rank {
                assert!((full.s[j] - s[j]).abs() <= 1e-12 * full.s[0], "{j}: {} instead of {}", s[j], full.s[j]);
                assert!((&a * v.column(j) - u.column(j) * s[j]).norm() <= 1e-12 * full.s[0]);
                assert!((a.transpose() * u.column(j) - v.column(j) * s[j]).norm() <= 2e-12 * full.s[0]);
            }
            for vectors in [u, v] {
                let error = (vectors.transpose() * &vectors - DMatrix::identity(rank, rank)).norm();
                // 128 n ε, faer's own bound of a decomposition.
                assert!(error <= 128.0 * a.nrows() as f64 * f64::EPSILON, "{error:e}");
            }
        }
    }

    #[test]
    fn where_steps_do_not_pay_the_full_decomposition_is_taken() {
        // Equal singular values beyond the width of a step, noise alone, and too small.
        for (a, rank) in [(DMatrix::identity(450, 450), 100), (fixed_noise(450, 450), 100), (fixed_noise(60, 90), 2)] {
            let (full, leading) = (svd(&a).unwrap(), leading_svd(&a, rank, 1e-12).unwrap());
            assert_eq!(leading.s.len(), rank);
            assert!((0..rank).all(|j| (full.s[j] - leading.s[j]).abs() <= 1e-12 * full.s[0]));
        }
    }

    #[test]
    fn threads_do_not_change_the_triplets() {
        let [_, (a, rank), _] = matrices();
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| leading_svd(&a, rank, 1e-12).unwrap())
        };
        let one = with(1);
        assert!([2, 3].into_iter().all(|threads| with(threads) == one));
    }
}
