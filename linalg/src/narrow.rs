//! Products of a large matrix with a block of [`BLOCK`] columns, in the machine's vectors.
//!
//! A general product packs both factors so that they are used often from the cache; of so few columns that costs more than
//! the arithmetic. Here the large matrix is read once, column by column as it lies, and the block, which stays in the
//! cache, row by row: blocks are given and returned as their transposes.

use super::cost::BLOCK;
use nalgebra::DMatrix;
use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;

/// Rows of a task: their part of the block is 64 KiB, and 4 KiB of a column are read at a time.
const ROWS: usize = 512;
/// Columns of a task: a basis of a hundred vectors is shared by several.
const COLUMNS: usize = 32;

/// A large matrix: columns one after the other, and how many rows each has.
pub(super) type Columns<'a> = (&'a [f64], usize);

/// (A X)ᵀ = Xᵀ Aᵀ, `BLOCK` × rows, from Xᵀ, `BLOCK` × columns.
///
/// # Panics
/// If there are other columns than those of A.
pub(super) fn times((a, rows): Columns<'_>, x: &DMatrix<f64>) -> DMatrix<f64> {
    assert_eq!((x.nrows(), x.ncols() * rows), (BLOCK, a.len()), "a row for each column");
    let mut product = DMatrix::zeros(BLOCK, rows);
    let arch = Arch::new();
    product.as_mut_slice().par_chunks_mut(BLOCK * ROWS).enumerate().for_each(|(at, product)| {
        arch.dispatch(Task { a, rows, from: Some(at * ROWS), block: x.as_slice(), product });
    });
    product
}

/// (Aᵀ Y)ᵀ = Yᵀ A, `BLOCK` × columns, from Yᵀ, `BLOCK` × rows.
///
/// # Panics
/// If there are other rows than those of A.
pub(super) fn transposed_times((a, rows): Columns<'_>, y: &DMatrix<f64>) -> DMatrix<f64> {
    assert_eq!(y.shape(), (BLOCK, rows), "a row for each row");
    let mut product = DMatrix::zeros(BLOCK, a.len() / rows);
    let arch = Arch::new();
    let parts = product.as_mut_slice().par_chunks_mut(BLOCK * COLUMNS).zip(a.par_chunks(rows * COLUMNS));
    parts.for_each(|(product, a)| arch.dispatch(Task { a, rows, from: None, block: y.as_slice(), product }));
    product
}

/// The rows of A X from `from` on, as many as `product` has; or Aᵀ Y.
struct Task<'a> {
    a: &'a [f64],
    rows: usize,
    from: Option<usize>,
    block: &'a [f64],
    product: &'a mut [f64],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F64_LANES {
            8 => self.wide::<S, 2, 8>(simd),
            4 => self.wide::<S, 4, 2>(simd),
            2 => self.wide::<S, 8, 1>(simd),
            _ => self.wide::<S, 16, 1>(simd),
        }
    }
}

impl Task<'_> {
    /// With rows of the block in `WIDE` vectors, the sums of `SIDE` rows or columns of A side by side in registers.
    #[inline(always)]
    fn wide<S: Simd, const WIDE: usize, const SIDE: usize>(self, simd: S) {
        let Task { a, rows, from, block, product } = self;
        let block: &[[S::f64s; WIDE]] = bytemuck::cast_slice(block).as_chunks().0;
        let product = bytemuck::cast_slice_mut(product).as_chunks_mut().0;
        match from {
            Some(from) => add_rows::<S, WIDE, SIDE>(simd, (a, rows), from, block, product),
            None => all_dots::<S, WIDE, SIDE>(simd, (a, rows), block, product),
        }
    }
}

/// The rows of A X from `from` on.
#[inline(always)]
fn add_rows<S: Simd, const WIDE: usize, const SIDE: usize>(
    simd: S,
    (a, rows): Columns<'_>,
    from: usize,
    x: &[[S::f64s; WIDE]],
    product: &mut [[S::f64s; WIDE]],
) {
    /// Columns that are read at a time, a cache line of each after the other: as many streams as are fetched ahead.
    const PANEL: usize = 32;
    let until = from + product.len();
    for (panel, x) in a.chunks(PANEL * rows).zip(x.chunks(PANEL)) {
        let (sides, rest) = product.as_chunks_mut::<SIDE>();
        for (at, sums) in sides.iter_mut().enumerate() {
            add::<S, WIDE, SIDE>(simd, panel, rows, from + SIDE * at, x, sums);
        }
        let first = until - rest.len();
        for (at, sums) in rest.iter_mut().enumerate() {
            add::<S, WIDE, 1>(simd, panel, rows, first + at, x, std::array::from_mut(sums));
        }
    }
}

/// Adds what every column of the panel has in the rows from `from` on, times its row of X.
#[inline(always)]
fn add<S: Simd, const WIDE: usize, const SIDE: usize>(
    simd: S,
    panel: &[f64],
    rows: usize,
    from: usize,
    x: &[[S::f64s; WIDE]],
    to: &mut [[S::f64s; WIDE]; SIDE],
) {
    let mut sums = *to;
    for (column, x) in panel.chunks_exact(rows).zip(x) {
        let Some(values) = column[from..].first_chunk::<SIDE>() else { return };
        for (value, sums) in values.iter().zip(&mut sums) {
            add_row::<S, WIDE>(simd, *value, x, sums);
        }
    }
    *to = sums;
}

/// Aᵀ Y.
#[inline(always)]
fn all_dots<S: Simd, const WIDE: usize, const SIDE: usize>(
    simd: S,
    (a, rows): Columns<'_>,
    y: &[[S::f64s; WIDE]],
    product: &mut [[S::f64s; WIDE]],
) {
    let (sides, rest) = a.split_at(a.len() / (SIDE * rows) * SIDE * rows);
    let (of_sides, of_rest) = product.split_at_mut(sides.len() / rows);
    for (columns, product) in sides.chunks_exact(SIDE * rows).zip(of_sides.as_chunks_mut::<SIDE>().0) {
        *product = dots::<S, WIDE, SIDE>(simd, columns, rows, y);
    }
    for (column, product) in rest.chunks_exact(rows).zip(of_rest) {
        [*product] = dots::<S, WIDE, 1>(simd, column, rows, y);
    }
}

/// The products of `SIDE` columns with those of Y.
#[inline(always)]
fn dots<S: Simd, const WIDE: usize, const SIDE: usize>(
    simd: S,
    side: &[f64],
    rows: usize,
    y: &[[S::f64s; WIDE]],
) -> [[S::f64s; WIDE]; SIDE] {
    /// Rows between two looks at where the columns end.
    const STRIDE: usize = 8;
    let mut columns = [&side[..0]; SIDE];
    columns.iter_mut().zip(side.chunks_exact(rows)).for_each(|(to, column)| *to = column);
    let mut sums = [[simd.splat_f64s(0.0); WIDE]; SIDE];
    let (strides, rest) = y.as_chunks::<STRIDE>();
    for (at, rows) in strides.iter().enumerate() {
        let mut these = [&[0.0; STRIDE]; SIDE];
        for k in 0..SIDE {
            these[k] = &columns[k].as_chunks().0[at];
        }
        for (i, row) in rows.iter().enumerate() {
            for k in 0..SIDE {
                add_row::<S, WIDE>(simd, these[k][i], row, &mut sums[k]);
            }
        }
    }
    for (i, row) in rest.iter().enumerate() {
        for k in 0..SIDE {
            add_row::<S, WIDE>(simd, columns[k][STRIDE * strides.len() + i], row, &mut sums[k]);
        }
    }
    sums
}

/// Adds a row of a block, times a factor.
#[inline(always)]
fn add_row<S: Simd, const WIDE: usize>(simd: S, factor: f64, row: &[S::f64s; WIDE], sums: &mut [S::f64s; WIDE]) {
    let factor = simd.splat_f64s(factor);
    for v in 0..WIDE {
        sums[v] = simd.mul_add_e_f64s(factor, row[v], sums[v]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::leading::fixed_noise;
    use super::*;

    /// Sizes that divide no task and no group of columns, and less than one.
    #[test]
    fn products_are_those_of_the_formula() {
        for (rows, columns) in [(1, 1), (3, 70), (256, 32), (257, 33), (600, 131)] {
            let a = fixed_noise(rows, columns);
            let (x, y) = (fixed_noise(BLOCK, columns), fixed_noise(BLOCK, rows));
            let of_a = (a.as_slice(), rows);
            let pairs = [(times(of_a, &x), &x * a.transpose()), (transposed_times(of_a, &y), &y * &a)];
            for (found, expected) in pairs {
                assert_eq!(found.shape(), expected.shape());
                // Sums of so many products below 1, each rounded once.
                let tolerance = rows.max(columns) as f64 * f64::EPSILON;
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= tolerance), "{rows} x {columns}");
            }
        }
    }
}
