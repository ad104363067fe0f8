//! Leading eigenpairs of a Hermitian matrix, by Lanczos steps in the machine's vectors.

use super::cost::{self, PAIR_STEPS};
use super::leading::fixed_noise;
use super::tridiagonal::Tridiagonal;
use super::{C64, NoConvergence, hermitian_eigen};
use nalgebra::DMatrix;
use pulp::{Arch, Simd, WithSimd, bytemuck};

/// Eigenvalues, descending, and their vectors as columns.
pub type Pairs = (Vec<f64>, DMatrix<C64>);

/// Largest residual ‖A v − s v‖ of a pair in units of the largest eigenvalue.
const RESIDUAL: f64 = 1e-10;

/// Steps to the first look at the residuals, beyond the pairs that are wanted.
const FIRST_LOOK: usize = 6;

/// Steps from a look to the next: as many as are missing at the rate of those so far, within these bounds. Residuals fall
/// late and then quickly.
const LEAST_MORE: usize = 2;
const MOST_MORE: usize = 6;

/// Leading `count` eigenvalues of a Hermitian positive semidefinite matrix, descending, and their vectors as columns.
///
/// Lanczos steps from a fixed start vector, every new vector made orthogonal to all before; where they do not converge, or
/// a full decomposition costs less, the full one is taken. The residuals ‖A v − s v‖ are below 1e-10 · s₁ either way. Of
/// eigenvalues that are equal to working precision one may be passed over for the next below.
///
/// # Errors
/// [`NoConvergence`].
///
/// # Source
/// Parlett (1998), "The symmetric eigenvalue problem", chapter 13.
pub fn leading_hermitian(a: &DMatrix<C64>, count: usize) -> Result<Pairs, NoConvergence> {
    let count = count.min(a.nrows());
    if cost::pairs(a.nrows(), count)
        && let Some(pairs) = lanczos(a, count)?
    {
        return Ok(pairs);
    }
    let (mut values, vectors) = hermitian_eigen(a)?;
    values.truncate(count);
    Ok((values, vectors.columns(0, count).into_owned()))
}

/// The pairs by Lanczos steps; `None` where they do not converge.
fn lanczos(a: &DMatrix<C64>, count: usize) -> Result<Option<Pairs>, NoConvergence> {
    let (arch, n) = (Arch::new(), a.nrows());
    let matrix = Columns::of(a);
    let start = fixed_noise(n, 1);
    let length = start.norm();
    let mut basis = Columns::new(n);
    let mut next = Column::new(n);
    next.re[..n].iter_mut().zip(&start).for_each(|(to, x)| *to = x / length);
    basis.push(&next, 1.0);
    let mut projected = Tridiagonal::default();
    let (mut largest, mut next_look) = (0.0_f64, count + FIRST_LOOK);
    for step in 0..PAIR_STEPS.min(n - 1) {
        let before = projected.beside.last().copied();
        let (along, norm) = arch.dispatch(Step { matrix: &matrix, basis: &basis, before, next: &mut next });
        projected.diagonal.push(along);
        largest = largest.max(along.abs());
        // An invariant subspace: what else there is can only be told by the full decomposition. NaN is none.
        if !(norm > n as f64 * f64::EPSILON * largest) {
            return Ok(None);
        }
        let size = step + 1;
        if size == next_look {
            let pairs = &projected.eigen()?[..count];
            let residual = pairs.iter().map(|(_, weights)| norm * weights[step].abs()).fold(0.0, f64::max) / pairs[0].0;
            if residual <= RESIDUAL {
                let vectors: Vec<C64> = pairs.iter().flat_map(|(_, weights)| basis.sum(weights)).collect();
                return Ok(Some((
                    pairs.iter().map(|(value, _)| *value).collect(),
                    DMatrix::from_vec(n, count, vectors),
                )));
            }
            let steps = size as f64 * RESIDUAL.ln() / residual.min(0.5).ln();
            next_look = (steps as usize).clamp(size + LEAST_MORE, size + MOST_MORE);
        }
        projected.beside.push(norm);
        basis.push(&next, 1.0 / norm);
    }
    Ok(None)
}

/// Lengths of columns are whole numbers of the widest vectors.
const WIDEST: usize = 8;

/// Columns of complex numbers of one length, real and imaginary parts apart, zeros behind their ends.
struct Columns {
    rows: usize,
    stride: usize,
    re: Vec<f64>,
    im: Vec<f64>,
}

/// One of them.
struct Column {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Column {
    fn new(rows: usize) -> Column {
        let stride = rows.next_multiple_of(WIDEST);
        Column { re: vec![0.0; stride], im: vec![0.0; stride] }
    }
}

impl Columns {
    fn new(rows: usize) -> Columns {
        Columns { rows, stride: rows.next_multiple_of(WIDEST), re: Vec::new(), im: Vec::new() }
    }

    fn of(a: &DMatrix<C64>) -> Columns {
        let mut columns = Columns::new(a.nrows());
        let (rows, stride) = (columns.rows, columns.stride);
        columns.re.resize(stride * a.ncols(), 0.0);
        columns.im.resize(stride * a.ncols(), 0.0);
        let room = columns.re.chunks_exact_mut(stride).zip(columns.im.chunks_exact_mut(stride));
        for ((re, im), column) in room.zip(a.as_slice().chunks_exact(rows)) {
            for ((re, im), z) in re.iter_mut().zip(im).zip(column) {
                (*re, *im) = (z.re, z.im);
            }
        }
        columns
    }

    fn push(&mut self, column: &Column, factor: f64) {
        self.re.extend(column.re.iter().map(|x| x * factor));
        self.im.extend(column.im.iter().map(|x| x * factor));
    }

    /// Each column as vectors, re and im.
    #[inline(always)]
    fn vectors<S: Simd>(&self) -> impl DoubleEndedIterator<Item = (&[S::f64s], &[S::f64s])> {
        let count = self.stride / S::F64_LANES;
        let (re, im): (&[S::f64s], &[S::f64s]) = (bytemuck::cast_slice(&self.re), bytemuck::cast_slice(&self.im));
        re.chunks_exact(count).zip(im.chunks_exact(count))
    }

    /// Their sum with real weights.
    fn sum(&self, weights: &[f64]) -> Vec<C64> {
        let mut sum = vec![C64::new(0.0, 0.0); self.rows];
        let columns = self.re.chunks_exact(self.stride).zip(self.im.chunks_exact(self.stride));
        for ((re, im), weight) in columns.zip(weights) {
            for ((sum, re), im) in sum.iter_mut().zip(re).zip(im) {
                *sum += C64::new(re * weight, im * weight);
            }
        }
        sum
    }
}

/// `next` = A v for the last vector v of the basis, without its parts along the basis; (vᴴ A v, ‖next‖).
struct Step<'a> {
    matrix: &'a Columns,
    basis: &'a Columns,
    /// What the step before left: A v has as much of the last vector but one.
    before: Option<f64>,
    next: &'a mut Column,
}

impl WithSimd for Step<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, f64) {
        /// A vector that keeps this much of its length is orthogonal after one pass (Daniel, Gragg, Kaufman & Stewart 1976).
        const KEPT: f64 = std::f64::consts::FRAC_1_SQRT_2;
        let Step { matrix, basis, before, next } = self;
        let stride = basis.stride;
        let last = basis.re.len() - stride;
        let x = (&basis.re[last..], &basis.im[last..]);
        let (re, im): (&mut [S::f64s], &mut [S::f64s]) =
            (bytemuck::cast_slice_mut(&mut next.re), bytemuck::cast_slice_mut(&mut next.im));
        let wide = re.len() / 4 * 4;
        (0..wide).step_by(4).for_each(|from| product::<S, 4>(simd, matrix, x, from, (re, im)));
        (wide..re.len()).for_each(|from| product::<S, 1>(simd, matrix, x, from, (re, im)));
        let mut recent = basis.vectors::<S>().rev();
        let mut along = 0.0;
        if let Some(last) = recent.next() {
            along = dot(simd, last, (re, im)).re;
            subtract(simd, (re, im), last, C64::new(along, 0.0));
        }
        if let Some((last_but_one, before)) = recent.next().zip(before) {
            subtract(simd, (re, im), last_but_one, C64::new(before, 0.0));
        }
        let mut norm = dot(simd, (re, im), (re, im)).re.sqrt();
        // Twice is enough (Parlett, §6.9).
        for _ in 0..2 {
            let mut parts = [C64::new(0.0, 0.0); PAIR_STEPS];
            parts.iter_mut().zip(basis.vectors::<S>()).for_each(|(part, column)| *part = dot(simd, column, (re, im)));
            basis.vectors::<S>().zip(parts).for_each(|(column, part)| subtract(simd, (re, im), column, part));
            let kept = dot(simd, (re, im), (re, im)).re.sqrt();
            let is_done = kept >= KEPT * norm;
            norm = kept;
            if is_done {
                break;
            }
        }
        (along, norm)
    }
}

/// `WIDE` vectors of A x, from vector `from` on.
#[inline(always)]
fn product<S: Simd, const WIDE: usize>(
    simd: S,
    a: &Columns,
    x: (&[f64], &[f64]),
    from: usize,
    y: (&mut [S::f64s], &mut [S::f64s]),
) {
    let zero = simd.splat_f64s(0.0);
    let mut sums = [[zero; WIDE]; 2];
    for ((re, im), (x_re, x_im)) in a.vectors::<S>().zip(x.0.iter().zip(x.1)) {
        let (re, im) = (&re[from..from + WIDE], &im[from..from + WIDE]);
        let (x_re, x_im, minus) = (simd.splat_f64s(*x_re), simd.splat_f64s(*x_im), simd.splat_f64s(-x_im));
        let [sum_re, sum_im] = &mut sums;
        for k in 0..WIDE {
            sum_re[k] = simd.mul_add_e_f64s(re[k], x_re, sum_re[k]);
            sum_im[k] = simd.mul_add_e_f64s(re[k], x_im, sum_im[k]);
            sum_re[k] = simd.mul_add_e_f64s(im[k], minus, sum_re[k]);
            sum_im[k] = simd.mul_add_e_f64s(im[k], x_re, sum_im[k]);
        }
    }
    y.0[from..from + WIDE].copy_from_slice(&sums[0]);
    y.1[from..from + WIDE].copy_from_slice(&sums[1]);
}

/// aᴴ b.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: (&[S::f64s], &[S::f64s]), b: (&[S::f64s], &[S::f64s])) -> C64 {
    let zero = simd.splat_f64s(0.0);
    let mut sums = [zero; 4];
    for ((a_re, a_im), (b_re, b_im)) in a.0.iter().zip(a.1).zip(b.0.iter().zip(b.1)) {
        sums[0] = simd.mul_add_e_f64s(*a_re, *b_re, sums[0]);
        sums[1] = simd.mul_add_e_f64s(*a_im, *b_im, sums[1]);
        sums[2] = simd.mul_add_e_f64s(*a_re, *b_im, sums[2]);
        sums[3] = simd.mul_add_e_f64s(*a_im, *b_re, sums[3]);
    }
    C64::new(
        simd.reduce_sum_f64s(simd.add_f64s(sums[0], sums[1])),
        simd.reduce_sum_f64s(simd.sub_f64s(sums[2], sums[3])),
    )
}

/// y − x · factor.
#[inline(always)]
fn subtract<S: Simd>(simd: S, y: (&mut [S::f64s], &mut [S::f64s]), x: (&[S::f64s], &[S::f64s]), factor: C64) {
    // (x_re + i x_im)(f_re + i f_im) = x_re f_re − x_im f_im + i (x_re f_im + x_im f_re)
    let (im, minus_re, minus_im) =
        (simd.splat_f64s(factor.im), simd.splat_f64s(-factor.re), simd.splat_f64s(-factor.im));
    for ((y_re, y_im), (x_re, x_im)) in y.0.iter_mut().zip(y.1).zip(x.0.iter().zip(x.1)) {
        *y_re = simd.mul_add_e_f64s(*x_im, im, simd.mul_add_e_f64s(*x_re, minus_re, *y_re));
        *y_im = simd.mul_add_e_f64s(*x_re, minus_im, simd.mul_add_e_f64s(*x_im, minus_re, *y_im));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_hermitian_pairs_are_those_of_the_full_decomposition() {
        let part = |seed: usize, i: usize, j: usize| ((seed + 7 * i * i + 13 * j + i * j) as f64).sin();
        // A flat floor below a few strong directions, and one of nothing but the floor; small enough for both ways.
        for (n, strong, floor) in [(20, 3, 0.1), (60, 3, 0.1), (120, 0, 1.0), (90, 90, 0.0)] {
            let noise =
                DMatrix::from_fn(n, n + 9, |i, j| C64::new(part(1, i, j), part(2, j, i))) * C64::new(floor, 0.0);
            let signal =
                DMatrix::from_fn(n, strong.max(1), |i, j| C64::new(part(3, i, j), part(4, i, j)) * (j + 1) as f64);
            let a = &noise * noise.adjoint() + &signal * signal.adjoint();
            let (all, _) = hermitian_eigen(&a).unwrap();
            let (values, vectors) = leading_hermitian(&a, 2).unwrap();
            assert_eq!((values.len(), vectors.shape()), (2, (n, 2)));
            assert!(strong != 3 || lanczos(&a, 2).unwrap().is_some(), "a few steps suffice at {n}");
            for (i, value) in values.iter().enumerate() {
                assert!((value - all[i]).abs() <= 1e-10 * all[0], "{n}: {value} instead of {}", all[i]);
                let residual = &a * vectors.column(i) - vectors.column(i) * C64::new(*value, 0.0);
                assert!(residual.norm() <= 1e-9 * all[0]);
            }
        }
        let (values, vectors) = leading_hermitian(&DMatrix::identity(40, 40), 40).unwrap();
        assert_eq!((values.len(), vectors.shape()), (40, (40, 40)));
        let (values, _) = leading_hermitian(&DMatrix::zeros(40, 40), 1).unwrap();
        assert_eq!(values, [0.0]);
        let (values, _) = leading_hermitian(&DMatrix::identity(40, 40), 2).unwrap();
        assert!((values[0] - 1.0).abs() <= 1e-12);
    }
}
