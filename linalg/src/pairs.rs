//! Leading eigenpairs of a Hermitian matrix, by Lanczos steps in the machine's vectors.

use super::cost::{self, PAIR_STEPS};
use super::leading::fixed_noise;
use super::tridiagonal::Tridiagonal;
use super::{C64, NoConvergence, hermitian_eigen, hermitian_values};
use nalgebra::DMatrix;
use pulp::{Arch, Simd, WithSimd, bytemuck};

/// Eigenvalues, descending, and their vectors as columns.
pub type Pairs = (Vec<f64>, DMatrix<C64>);

/// Largest residual ‖A v − s v‖ of a pair, or error of a value, in units of the largest eigenvalue.
const RESIDUAL: f64 = 1e-10;

/// Steps to the first look at the residuals, beyond the pairs that are wanted.
const FIRST_LOOK: usize = 6;

/// Steps from a look to the next: as many as are missing at the rate of those so far, within these bounds. Residuals fall
/// late and then quickly.
const LEAST_MORE: usize = 2;
const MOST_MORE: usize = 6;

/// A Hermitian matrix as its owner keeps it.
#[derive(Debug, Clone, Copy)]
pub enum Entries<'a> {
    /// All of it, of which the lower triangle is read.
    All(&'a DMatrix<C64>),
    /// D G D with the real diagonal matrix D, or G itself: the lower triangle of G row by row, and the diagonal of D.
    Triangle(&'a [C64], usize, Option<&'a [f64]>),
}

impl Entries<'_> {
    fn size(&self) -> usize {
        match self {
            Entries::All(matrix) => matrix.nrows(),
            Entries::Triangle(_, size, _) => *size,
        }
    }

    /// Gives every entry of the lower triangle to `put`: row, column, value.
    ///
    /// # Panics
    /// If a triangle has fewer entries, or fewer scales, than its size wants.
    fn each(&self, mut put: impl FnMut(usize, usize, C64)) {
        match self {
            Entries::All(matrix) => {
                (0..matrix.nrows()).for_each(|i| (0..=i).for_each(|j| put(i, j, matrix[(i, j)])));
            }
            Entries::Triangle(rows, size, scale) => {
                let mut rest = *rows;
                for i in 0..*size {
                    let row;
                    (row, rest) = rest.split_at(i + 1);
                    match scale {
                        None => row.iter().enumerate().for_each(|(j, z)| put(i, j, *z)),
                        Some(scale) => {
                            row.iter()
                                .zip(*scale)
                                .enumerate()
                                .for_each(|(j, (z, own))| put(i, j, z * (scale[i] * own)));
                        }
                    }
                }
            }
        }
    }

    /// All of it, from its lower triangle.
    pub fn matrix(&self) -> DMatrix<C64> {
        let mut matrix = DMatrix::zeros(self.size(), self.size());
        self.each(|i, j, z| (matrix[(i, j)], matrix[(j, i)]) = (z, z.conj()));
        matrix
    }
}

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
pub fn leading_hermitian(a: Entries<'_>, count: usize) -> Result<Pairs, NoConvergence> {
    let count = count.min(a.size());
    if cost::pairs(a.size(), count)
        && let Some(space) = lanczos(a, count, |residual, _| residual)?
    {
        let pairs = space.projected.eigen()?;
        let vectors: Vec<C64> = pairs[..count].iter().flat_map(|(_, weights)| space.basis.sum(weights)).collect();
        return Ok((space.values, DMatrix::from_vec(a.size(), count, vectors)));
    }
    let (mut values, vectors) = hermitian_eigen(&a.matrix())?;
    values.truncate(count);
    Ok((values, vectors.columns(0, count).into_owned()))
}

/// The values alone, which fewer steps find: the error of a value is below the square of its residual over its distance
/// from the others, and so below 1e-10 · s₁.
///
/// # Errors
/// [`NoConvergence`].
///
/// # Source
/// Parlett (1998), theorem 11.7.1.
pub fn leading_hermitian_values(a: Entries<'_>, count: usize) -> Result<Vec<f64>, NoConvergence> {
    /// The others are known as far as the steps have found them: their distance may be so many times smaller.
    const GAP: f64 = 10.0;
    let count = count.min(a.size());
    let error =
        |residual: f64, gap: f64| if GAP * residual < gap { GAP * residual * (residual / gap) } else { residual };
    if cost::pairs(a.size(), count)
        && let Some(space) = lanczos(a, count, error)?
    {
        return Ok(space.values);
    }
    let mut values = hermitian_values(&a.matrix())?;
    values.truncate(count);
    Ok(values)
}

/// What the steps found: the matrix in their basis, and its leading values.
struct Krylov {
    basis: Columns,
    projected: Tridiagonal,
    values: Vec<f64>,
}

/// The leading values by Lanczos steps; `None` where they do not converge. `error` of a pair's
/// residual and its distance from its neighbours has to fall below [`RESIDUAL`], all in units of the largest value.
fn lanczos(a: Entries<'_>, count: usize, error: impl Fn(f64, f64) -> f64) -> Result<Option<Krylov>, NoConvergence> {
    let (arch, n) = (Arch::new(), a.size());
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
            let found = projected.eigen_ends()?;
            let unit = found[0].0;
            let gap = |j: usize| {
                let beside = [j.checked_sub(1), Some(j + 1)].into_iter().flatten();
                beside.map(|i| (found[i].0 - found[j].0).abs()).fold(f64::INFINITY, f64::min)
            };
            let worst = |j: usize| error(norm * found[j].1.abs() / unit, gap(j) / unit);
            let worst = (0..count).map(worst).fold(0.0, f64::max);
            if worst <= RESIDUAL {
                let values = found[..count].iter().map(|(value, _)| *value).collect();
                return Ok(Some(Krylov { basis, projected, values }));
            }
            let steps = size as f64 * RESIDUAL.ln() / worst.min(0.5).ln();
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

    fn of(a: Entries<'_>) -> Columns {
        let size = a.size();
        let mut columns = Columns::new(size);
        let stride = columns.stride;
        let (mut re, mut im) = (vec![0.0; stride * size], vec![0.0; stride * size]);
        a.each(|i, j, z| {
            (re[j * stride + i], im[j * stride + i]) = (z.re, z.im);
            (re[i * stride + j], im[i * stride + j]) = (z.re, -z.im);
        });
        (columns.re, columns.im) = (re, im);
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
            let (values, vectors) = leading_hermitian(Entries::All(&a), 2).unwrap();
            assert_eq!((values.len(), vectors.shape()), (2, (n, 2)));
            let found = lanczos(Entries::All(&a), 2, |residual, _| residual).unwrap();
            assert!(strong != 3 || found.is_some(), "a few steps suffice at {n}");
            let alone = leading_hermitian_values(Entries::All(&a), 2).unwrap();
            assert!(
                alone.iter().zip(&all).all(|(value, exact)| (value - exact).abs() <= 1e-10 * all[0]),
                "{n}: {alone:?}"
            );
            for (i, value) in values.iter().enumerate() {
                assert!((value - all[i]).abs() <= 1e-10 * all[0], "{n}: {value} instead of {}", all[i]);
                let residual = &a * vectors.column(i) - vectors.column(i) * C64::new(*value, 0.0);
                assert!(residual.norm() <= 1e-9 * all[0]);
            }
        }
        let (values, vectors) = leading_hermitian(Entries::All(&DMatrix::identity(40, 40)), 40).unwrap();
        assert_eq!((values.len(), vectors.shape()), (40, (40, 40)));
        let (values, _) = leading_hermitian(Entries::All(&DMatrix::zeros(40, 40)), 1).unwrap();
        assert_eq!(values, [0.0]);
        let (values, _) = leading_hermitian(Entries::All(&DMatrix::identity(40, 40)), 2).unwrap();
        assert!((values[0] - 1.0).abs() <= 1e-12);
    }

    /// Two values a millionth apart above a floor: fewer steps than for vectors, and right all the same.
    #[test]
    fn values_alone_take_fewer_steps_and_are_right_where_they_are_close() {
        let n = 80;
        let exact = |i: usize| match i {
            0 => 1.0,
            1 => 1.0 - 1e-6,
            2 => 0.3,
            _ => 0.1 / (1.0 + i as f64),
        };
        // A reflection leaves the values as they are.
        let v = DMatrix::from_fn(n, 1, |i, _| C64::new((1.0 + i as f64).sin(), (2.0 * i as f64).cos())).normalize();
        let reflection = DMatrix::identity(n, n) - &v * v.adjoint() * C64::from(2.0);
        let diagonal = DMatrix::from_fn(n, n, |i, j| C64::from(if i == j { exact(i) } else { 0.0 }));
        let a = &reflection * diagonal * &reflection;
        let rows: Vec<C64> = (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|at| a[at]).collect();
        let kept = Entries::Triangle(&rows, n, None);
        for (j, value) in leading_hermitian_values(kept, 3).unwrap().iter().enumerate() {
            assert!((value - exact(j)).abs() <= 1e-10, "{j}: {value}");
        }
        let steps = |error: fn(f64, f64) -> f64| lanczos(kept, 3, error).unwrap().unwrap().basis.re.len();
        assert!(steps(|residual, gap| residual * residual / gap) < steps(|residual, _| residual));
        let scale: Vec<f64> = (0..n).map(|i| 0.5 + i as f64).collect();
        let scaled = DMatrix::from_fn(n, n, |i, j| a[(i, j)] * (scale[i] * scale[j]));
        assert_eq!(Entries::Triangle(&rows, n, Some(&scale)).matrix().norm(), scaled.norm());
        let found = leading_hermitian_values(Entries::Triangle(&rows, n, Some(&scale)), 2).unwrap();
        let all = hermitian_values(&scaled).unwrap();
        assert!((0..2).all(|j| (found[j] - all[j]).abs() <= 1e-10 * all[0]), "{found:?}");
    }
}
