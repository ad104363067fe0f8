//! Leading eigenpairs of many Hermitian matrices of which there is nothing but their products with vectors.
//!
//! Blocks of a Krylov space, the same number of vectors for every line, so that one dispatch multiplies them all; the
//! vectors are made orthonormal and the pairs taken from them (Rayleigh & Ritz) in f64. Products are those of a device, in
//! f32, so there is no use in going on below [`RESIDUAL`].
//!
//! # Accuracy
//! With A the matrix that the device multiplies by, each product is right to γ Σ_j |A_ij| |v_j|, γ = 2e-7, of which the
//! rounding of v to f32 is a third. A pair is taken when ‖A v − s v‖ ≤ ρ s₁, ρ = [`RESIDUAL`], by the products: then A has an
//! eigenvalue within ρ s₁ + ‖E‖ of s, E the error of the products, and that one is within ‖F‖ of the exact matrix', F the
//! error of the sums in A. Roundings do not know of each other, so ‖E‖ and ‖F‖ are some twice the largest root of a row's
//! summed variances. What goes with |A_ij| makes 2 γ s₁, for no row of A is longer than s₁. What goes with √(A_ii A_jj)
//! although A_ij is small, partial sums that cancelled later, is a tenth of γ for sums of 64 on 64 terms of random phase and
//! makes 0.2 γ √n s₁, 2e-6 s₁ for the 2 048 channels that there are at most. With ρ it is below 5e-6 s₁ all in all.
//!
//! # Source
//! Golub & Underwood (1977), "The block Lanczos method for computing eigenvalues"; Parlett (1998), chapters 11 and 13.

use nalgebra::{Complex, DMatrixView, DVectorView};
use oma_linalg::{Pairs, hermitian_eigen};
use rayon::prelude::*;

type C64 = Complex<f64>;

/// Largest residual ‖A v − s v‖ of a pair in units of the largest eigenvalue: ten times the products' own error, less than
/// half of what the values may be off by (5e-6).
const RESIDUAL: f64 = 2e-6;

/// Blocks at the first look at the residuals, and from one look to the next: hardly a line is done before, and a look costs
/// a small decomposition.
const FIRST_LOOK: usize = 6;
/// See [`FIRST_LOOK`].
const LOOKS: usize = 2;

/// Products with one matrix after which it is given up: as many bytes as the matrix itself has of 256 channels, from which on
/// matrices stay on the device ([`cost::stays_on_device`](super::cost::stays_on_device)).
const MOST_PRODUCTS: usize = 64;

/// The `count` leading pairs of each of `lines` matrices of size `rows`, multiplied by `products`: it is given the places of
/// lines, a number of vectors, and these vectors one line after the other, [row][vector], and gives the products in the same
/// order. `None`: not within [`MOST_PRODUCTS`] products, or the matrix is no larger than a few blocks.
pub(super) fn leading<E>(
    rows: usize,
    lines: usize,
    count: usize,
    most_vectors: usize,
    mut products: impl FnMut(&[usize], usize, &[C64]) -> Result<Vec<C64>, E>,
) -> Result<Vec<Option<Pairs>>, E> {
    let count = count.min(rows);
    // As many equal eigenvalues are found as a block has vectors.
    let width = count.min(most_vectors);
    let mut found: Vec<Option<Pairs>> = vec![None; lines];
    if width == 0 || 2 * width > rows {
        return Ok(found);
    }
    let start = start(rows, width);
    let mut open: Vec<Search> = (0..lines).map(|line| Search::new(line, rows, &start)).collect();
    for blocks in 1.. {
        let places: Vec<usize> = open.iter().map(|search| search.line).collect();
        let vectors: Vec<C64> = open.par_iter().flat_map_iter(|search| search.last_block(width)).collect();
        let images = products(&places, width, &vectors)?;
        let is_look = blocks >= FIRST_LOOK && (blocks - FIRST_LOOK).is_multiple_of(LOOKS);
        let is_last = (blocks + 1) * width > rows.min(MOST_PRODUCTS);
        let each = open.into_par_iter().zip(images.par_chunks_exact(rows * width));
        let steps = each.map(|(mut search, images)| {
            search.take(images, width);
            let goes_on = !is_last && search.extend(width);
            let pairs = if is_look || !goes_on { search.pairs(count) } else { None };
            let is_open = goes_on && pairs.is_none();
            (search, pairs, is_open)
        });
        let mut still = Vec::new();
        for (search, pairs, is_open) in steps.collect::<Vec<_>>() {
            if is_open {
                still.push(search);
            } else {
                found[search.line] = pairs;
            }
        }
        open = still;
        if open.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// A fixed orthonormal block that no structure is likely to be orthogonal to.
fn start(rows: usize, width: usize) -> Vec<C64> {
    let mut state = 1_u32;
    let mut next = || {
        // Numerical Recipes' linear congruence.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 23) - 1.0
    };
    let mut block: Vec<C64> = Vec::new();
    for _ in 0..width {
        let column: Vec<C64> = (0..rows).map(|_| C64::new(next(), next())).collect();
        append_orthonormal(&mut block, column, 0.0);
    }
    block
}

/// Appends a column without its parts along the columns that are there, of length one; not if no more than `least` is left.
fn append_orthonormal(columns: &mut Vec<C64>, mut column: Vec<C64>, least: f64) -> bool {
    let rows = column.len();
    // Twice is enough (Parlett, §6.9).
    for _ in 0..2 {
        for other in columns.chunks_exact(rows) {
            let part: C64 = other.iter().zip(&column).map(|(o, c)| o.conj() * c).sum();
            column.iter_mut().zip(other).for_each(|(c, o)| *c -= o * part);
        }
    }
    let norm = column.iter().map(|c| c.norm_sqr()).sum::<f64>().sqrt();
    // NaN is not more.
    let is_new = norm > least;
    if is_new {
        columns.extend(column.iter().map(|c| c / norm));
    }
    is_new
}

/// The search of one line: columns one after the other.
struct Search {
    line: usize,
    rows: usize,
    /// Orthonormal.
    basis: Vec<C64>,
    /// A times them; of the last block once it is there.
    images: Vec<C64>,
}

impl Search {
    fn new(line: usize, rows: usize, start: &[C64]) -> Search {
        Search { line, rows, basis: start.to_vec(), images: Vec::new() }
    }

    /// [row][vector]
    fn last_block(&self, width: usize) -> impl Iterator<Item = C64> {
        let (rows, from) = (self.rows, self.basis.len() - width * self.rows);
        (0..rows).flat_map(move |i| (0..width).map(move |v| self.basis[from + v * rows + i]))
    }

    /// Takes the products with the last block, [row][vector].
    fn take(&mut self, images: &[C64], width: usize) {
        self.images.extend((0..width).flat_map(|v| images.iter().skip(v).step_by(width)));
    }

    /// The pairs, if their residuals are small enough.
    fn pairs(&self, count: usize) -> Option<Pairs> {
        let size = self.images.len() / self.rows;
        if size < count {
            return None;
        }
        let basis = DMatrixView::from_slice(&self.basis, self.rows, size);
        let images = DMatrixView::from_slice(&self.images, self.rows, size);
        let projected = basis.ad_mul(&images);
        let hermitian = (&projected + projected.adjoint()) * C64::from(0.5);
        let (mut values, weights) = hermitian_eigen(&hermitian).ok()?;
        let weights = weights.columns(0, count);
        let vectors = basis * weights;
        let most = RESIDUAL * values[0];
        let residual = |j: usize| (images * weights.column(j) - vectors.column(j) * C64::from(values[j])).norm();
        // A zero matrix has residuals of zero; NaN is never small enough.
        (0..count).all(|j| residual(j) <= most).then(|| {
            values.truncate(count);
            (values, vectors)
        })
    }

    /// Appends the next block, what is new in the products with the last one; `false` if nothing is.
    fn extend(&mut self, width: usize) -> bool {
        let (rows, from) = (self.rows, self.images.len() - width * self.rows);
        let largest = self.images.chunks_exact(rows).map(|image| DVectorView::from_slice(image, rows).norm());
        let least = rows as f64 * f64::EPSILON * largest.fold(0.0, f64::max);
        let mut block = self.images[from..].chunks_exact(rows);
        block.all(|image| append_orthonormal(&mut self.basis, image.to_vec(), least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::DMatrix;

    fn matrix(rows: usize, strong: usize, floor: f64, seed: usize) -> DMatrix<C64> {
        let part = |seed: usize, i: usize, j: usize| ((seed + 7 * i * i + 13 * j + i * j) as f64).sin();
        let noise =
            DMatrix::from_fn(rows, rows + 9, |i, j| C64::new(part(seed, i, j), part(2, j, i))) * C64::from(floor);
        let signal =
            DMatrix::from_fn(rows, strong.max(1), |i, j| C64::new(part(3, i, j), part(4, i, j)) * (j + 1) as f64);
        &noise * noise.adjoint() + &signal * signal.adjoint()
    }

    /// Products in f32, as a device would give them.
    fn find(matrices: &[DMatrix<C64>], count: usize) -> (Vec<Option<Pairs>>, usize) {
        let (rows, mut used) = (matrices[0].nrows(), 0);
        let single = |z: C64| C64::new(f64::from(z.re as f32), f64::from(z.im as f32));
        let found = leading::<()>(rows, matrices.len(), count, 4, |lines, width, vectors| {
            used += lines.len() * width;
            let of_line = |(line, vectors): (&usize, &[C64])| {
                let x = DMatrix::from_row_slice(rows, width, vectors).map(single);
                (&matrices[*line] * x).map(single).transpose().as_slice().to_vec()
            };
            Ok(lines.iter().zip(vectors.chunks_exact(rows * width)).flat_map(of_line).collect())
        });
        (found.unwrap(), used)
    }

    #[test]
    fn pairs_are_those_of_the_full_decomposition() {
        let matrices: Vec<_> = [(1, 0.1), (3, 0.1), (3, 1e-3), (0, 1.0), (90, 0.0)]
            .iter()
            .enumerate()
            .map(|(seed, (strong, floor))| matrix(80, *strong, *floor, seed))
            .chain([DMatrix::zeros(80, 80), DMatrix::identity(80, 80)])
            .collect();
        for count in [1, 2, 3, 6] {
            let (found, used) = find(&matrices, count);
            eprintln!("{count}: {used} products, {} given up", found.iter().filter(|pairs| pairs.is_none()).count());
            for (a, pairs) in matrices.iter().zip(&found) {
                let Some((values, vectors)) = pairs else { continue };
                let (all, _) = hermitian_eigen(a).unwrap();
                assert_eq!((values.len(), vectors.shape()), (count, (80, count)));
                for (j, value) in values.iter().enumerate() {
                    // The residual, and the f32 rounding of a product.
                    assert!((value - all[j]).abs() <= 1.5 * RESIDUAL * all[0], "{count}: {value} for {}", all[j]);
                    let residual = a * vectors.column(j) - vectors.column(j) * C64::from(*value);
                    assert!(residual.norm() <= 1.5 * RESIDUAL * all[0]);
                }
            }
            // Few strong motions over a floor are what a structure looks like; six pairs of three lie in the floor.
            assert!(count > 3 || found[..3].iter().all(Option::is_some) && found[5].is_some(), "{count}");
        }
    }

    #[test]
    fn what_is_not_finite_or_small_is_left_to_the_matrix() {
        let mut broken = matrix(80, 3, 0.1, 1);
        broken[(3, 4)] = C64::new(f64::NAN, 0.0);
        assert_eq!(find(&[broken], 2).0, [None]);
        assert_eq!(find(&[matrix(3, 1, 0.1, 1)], 2).0, [None]);
        assert_eq!(find(&[matrix(80, 1, 0.1, 1)], 0).0, [None]);
    }
}
