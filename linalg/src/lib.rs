//! The one door to the matrix decompositions.
//!
//! nalgebra is the matrix type, faer does the work. faer's generics compile where they are called, so this crate
//! holds non-generic wrappers: an edit elsewhere does not wait for them. Everything here is sequential and starts
//! from fixed vectors, so a result depends on its input alone, not on the number of threads; callers parallelise
//! over what is independent (lines, orders, blocks).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use nalgebra::{Complex, DMatrix, DVector};

/// A complex number of double precision.
pub type C64 = Complex<f64>;

/// A decomposition that did not converge. Input of finite numbers does not cause it in practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} did not converge")]
pub struct NoConvergence(&'static str);

/// A matrix that is not positive definite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("matrix of size {0} is not positive definite")]
pub struct NotPositiveDefinite(usize);

/// Thin singular value decomposition A = U diag(s) Vᵀ, singular values descending.
#[derive(Debug, Clone, PartialEq)]
pub struct Svd {
    /// Left vectors, rows of A × k.
    pub u: DMatrix<f64>,
    /// Singular values, k.
    pub s: DVector<f64>,
    /// Right vectors, columns of A × k.
    pub v: DMatrix<f64>,
}

fn view<T>(a: &DMatrix<T>) -> MatRef<'_, T> {
    MatRef::from_column_major_slice(a.as_slice(), a.nrows(), a.ncols())
}

fn view_mut<T>(a: &mut DMatrix<T>) -> MatMut<'_, T> {
    let (rows, columns) = a.shape();
    MatMut::from_column_major_slice_mut(a.as_mut_slice(), rows, columns)
}

fn copy<T: Clone + nalgebra::Scalar>(a: MatRef<'_, T>) -> DMatrix<T> {
    DMatrix::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)].clone())
}

fn use_one_thread() {
    // faer's convenience methods read a global; set again at each door, since whoever embeds us may change it.
    faer::set_global_parallelism(Par::Seq);
}

/// A · B.
pub fn multiply(a: &DMatrix<f64>, b: &DMatrix<f64>) -> DMatrix<f64> {
    let mut c = DMatrix::zeros(a.nrows(), b.ncols());
    matmul(view_mut(&mut c), Accum::Replace, view(a), view(b), 1.0, Par::Seq);
    c
}

/// Aᵀ · B.
pub fn multiply_transposed(a: &DMatrix<f64>, b: &DMatrix<f64>) -> DMatrix<f64> {
    let mut c = DMatrix::zeros(a.ncols(), b.ncols());
    matmul(view_mut(&mut c), Accum::Replace, view(a).transpose(), view(b), 1.0, Par::Seq);
    c
}

/// A · B of complex matrices.
pub fn multiply_complex(a: &DMatrix<C64>, b: &DMatrix<C64>) -> DMatrix<C64> {
    let mut c = DMatrix::zeros(a.nrows(), b.ncols());
    let one = C64::new(1.0, 0.0);
    matmul(view_mut(&mut c), Accum::Replace, view(a), view(b), one, Par::Seq);
    c
}

/// Thin singular value decomposition of any matrix.
///
/// # Errors
/// [`NoConvergence`].
pub fn svd(a: &DMatrix<f64>) -> Result<Svd, NoConvergence> {
    use_one_thread();
    let svd = view(a).thin_svd().map_err(|_| NoConvergence("singular value decomposition"))?;
    let s = svd.S().column_vector();
    Ok(Svd { u: copy(svd.U()), s: DVector::from_fn(s.nrows(), |i, _| s[i]), v: copy(svd.V()) })
}

/// Singular values of any matrix, descending.
///
/// # Errors
/// [`NoConvergence`].
pub fn singular_values(a: &DMatrix<f64>) -> Result<Vec<f64>, NoConvergence> {
    use_one_thread();
    view(a).singular_values().map_err(|_| NoConvergence("singular values"))
}

/// Leading `rank` singular triplets by block subspace iteration from fixed start vectors, with a residual check.
///
/// `rank` is cut to the smaller dimension. Where the check fails after the allowed sweeps, or a full
/// decomposition costs less, the full one is taken: the result is exact to `tolerance` · s₁ either way.
///
/// # Errors
/// [`NoConvergence`].
///
/// # Source
/// Halko, Martinsson & Tropp (2011), algorithm 4.4, with the residual ‖A v − s u‖ of every triplet as the test.
pub fn leading_svd(a: &DMatrix<f64>, rank: usize, tolerance: f64) -> Result<Svd, NoConvergence> {
    // A sweep costs 4 m n (rank + oversampling) flops, a full decomposition about 20 m n min(m, n): below a
    // fifth of the smaller dimension several sweeps are cheaper.
    const FULL_BELOW: usize = 5;
    const OVERSAMPLING: usize = 16;
    const SWEEPS: usize = 12;
    let smaller = a.nrows().min(a.ncols());
    let rank = rank.min(smaller);
    let width = rank + OVERSAMPLING;
    if width * FULL_BELOW >= smaller {
        return Ok(truncate(svd(a)?, rank));
    }
    let mut basis = fixed_noise(a.ncols(), width);
    for sweep in 0..SWEEPS {
        let (q, _) = qr(&multiply(a, &basis));
        let b = multiply_transposed(a, &q);
        if sweep == 0 {
            basis = qr(&b).0;
            continue;
        }
        // A ≈ Q Bᵀ with B = Aᵀ Q: the triplets of B are those of A within the subspace.
        let inner = svd(&b)?;
        let u = multiply(&q, &inner.v);
        let v = inner.u;
        let residual = multiply(a, &v);
        let worst = (0..rank).map(|j| (residual.column(j) - u.column(j) * inner.s[j]).norm()).fold(0.0, f64::max);
        if worst <= tolerance * inner.s[0] {
            return Ok(truncate(Svd { u, s: inner.s, v }, rank));
        }
        basis = v;
    }
    Ok(truncate(svd(a)?, rank))
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
fn fixed_noise(rows: usize, columns: usize) -> DMatrix<f64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    DMatrix::from_fn(rows, columns, |_, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

/// Thin QR decomposition: Q (rows × k) with orthonormal columns, R (k × columns) upper triangular.
pub fn qr(a: &DMatrix<f64>) -> (DMatrix<f64>, DMatrix<f64>) {
    use_one_thread();
    let qr = view(a).qr();
    (copy(qr.compute_thin_Q().as_ref()), copy(qr.thin_R()))
}

/// R of the QR decomposition of a matrix with at least as many rows as columns, its diagonal not negative.
pub fn upper_triangle(a: &DMatrix<f64>) -> DMatrix<f64> {
    use_one_thread();
    let mut r = copy(view(a).qr().thin_R());
    for (i, mut row) in r.row_iter_mut().enumerate() {
        if row[i] < 0.0 {
            row.neg_mut();
        }
    }
    r
}

/// Lower Cholesky factor of a symmetric matrix, of which the lower triangle is read.
///
/// # Errors
/// [`NotPositiveDefinite`].
pub fn cholesky(a: &DMatrix<f64>) -> Result<DMatrix<f64>, NotPositiveDefinite> {
    use_one_thread();
    let llt = view(a).llt(faer::Side::Lower).map_err(|_| NotPositiveDefinite(a.nrows()))?;
    let l = llt.L();
    Ok(DMatrix::from_fn(a.nrows(), a.ncols(), |i, j| if i >= j { l[(i, j)] } else { 0.0 }))
}

/// Condition number ‖L‖ ‖L^(−1)‖ of a lower triangular matrix in the spectral norm, from below to some per cent: power
/// iteration on L Lᵀ and on its inverse, from a fixed vector. Infinite where L is singular.
pub fn triangular_condition(l: &DMatrix<f64>) -> f64 {
    const STEPS: usize = 10;
    let norm = |step: &dyn Fn(&DMatrix<f64>) -> DMatrix<f64>| {
        let mut x = fixed_noise(l.nrows(), 1);
        for _ in 0..STEPS {
            let length = x.norm();
            x = step(&(x / length));
        }
        x.norm()
    };
    let squared = norm(&|x| multiply(l, &multiply_transposed(l, x)));
    let inverse = norm(&|x| divide_upper(&l.transpose(), &divide_lower(l, x)));
    let condition = (squared * inverse).sqrt();
    if condition.is_nan() { f64::INFINITY } else { condition }
}

/// B · L^(−T) for a lower triangular L.
pub fn divide_by_transpose(b: &DMatrix<f64>, l: &DMatrix<f64>) -> DMatrix<f64> {
    // X Lᵀ = B  ⟺  L Xᵀ = Bᵀ
    divide_lower(l, &b.transpose()).transpose()
}

/// L^(−1) · B for a lower triangular L.
pub fn divide_lower(l: &DMatrix<f64>, b: &DMatrix<f64>) -> DMatrix<f64> {
    let mut x = b.clone();
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(view(l), view_mut(&mut x), Par::Seq);
    x
}

/// R^(−1) · B for an upper triangular R.
pub fn divide_upper(r: &DMatrix<f64>, b: &DMatrix<f64>) -> DMatrix<f64> {
    let mut x = b.clone();
    faer::linalg::triangular_solve::solve_upper_triangular_in_place(view(r), view_mut(&mut x), Par::Seq);
    x
}

/// Eigenvalues of a Hermitian matrix (lower triangle read), descending, and their vectors as columns.
///
/// # Errors
/// [`NoConvergence`].
pub fn hermitian_eigen(a: &DMatrix<C64>) -> Result<(Vec<f64>, DMatrix<C64>), NoConvergence> {
    use_one_thread();
    let eigen = view(a).self_adjoint_eigen(faer::Side::Lower).map_err(|_| NoConvergence("Hermitian eigenproblem"))?;
    let n = a.nrows();
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let descending = (0..n).rev().map(|i| values[i].re).collect();
    Ok((descending, DMatrix::from_fn(n, n, |i, j| vectors[(i, n - 1 - j)])))
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
pub fn leading_hermitian(a: &DMatrix<C64>, count: usize) -> Result<(Vec<f64>, DMatrix<C64>), NoConvergence> {
    const RESIDUAL: f64 = 1e-10;
    /// Up to this size a full decomposition takes less than the steps.
    const FULL_UP_TO: usize = 24;
    /// A step costs 8 n² flops, a full decomposition with vectors some 60 n³.
    const MOST_STEPS: usize = 64;
    /// Steps between two looks at the residuals.
    const LOOK: usize = 6;
    /// Of more pairs the last ones seldom converge within the steps.
    const MOST_PAIRS: usize = MOST_STEPS / 8;
    let n = a.nrows();
    let count = count.min(n);
    if n > FULL_UP_TO && count <= MOST_PAIRS {
        let one = C64::new(1.0, 0.0);
        fn column(x: &[C64]) -> MatRef<'_, C64> {
            MatRef::from_column_major_slice(x, x.len(), 1)
        }
        fn column_mut(x: &mut [C64]) -> MatMut<'_, C64> {
            let rows = x.len();
            MatMut::from_column_major_slice_mut(x, rows, 1)
        }
        let mut basis: Vec<C64> = fixed_noise(n, 1).iter().map(|x| C64::new(*x, 0.0)).collect();
        let length = basis.iter().map(Complex::norm_sqr).sum::<f64>().sqrt();
        basis.iter_mut().for_each(|x| *x /= length);
        let mut tridiagonal = DMatrix::zeros(MOST_STEPS, MOST_STEPS);
        let mut largest = 0.0_f64;
        for step in 0..MOST_STEPS.min(n - 1) {
            let size = step + 1;
            let so_far = MatRef::from_column_major_slice(&basis, n, size);
            let mut next = vec![C64::new(0.0, 0.0); n];
            matmul(column_mut(&mut next), Accum::Replace, view(a), column(&basis[step * n..]), one, Par::Seq);
            // Once is not enough (Parlett, §6.9).
            for again in [false, true] {
                let mut parts = vec![C64::new(0.0, 0.0); size];
                matmul(column_mut(&mut parts), Accum::Replace, so_far.adjoint(), column(&next), one, Par::Seq);
                matmul(column_mut(&mut next), Accum::Add, so_far, column(&parts), -one, Par::Seq);
                if !again {
                    tridiagonal[(step, step)] = parts[step].re;
                }
            }
            let norm = next.iter().map(Complex::norm_sqr).sum::<f64>().sqrt();
            largest = largest.max(tridiagonal[(step, step)].abs());
            // An invariant subspace: what else there is can only be told by the full decomposition.
            if norm <= n as f64 * f64::EPSILON * largest {
                break;
            }
            if size >= count && size % LOOK == 0 {
                let (values, vectors) = symmetric_eigen(&tridiagonal.view((0, 0), (size, size)).into_owned())?;
                if (0..count).all(|i| norm * vectors[(step, i)].abs() <= RESIDUAL * values[0]) {
                    let weights = vectors.columns(0, count).map(|x| C64::new(x, 0.0));
                    let basis = DMatrix::from_vec(n, size, basis);
                    return Ok((values[..count].to_vec(), multiply_complex(&basis, &weights)));
                }
            }
            if size == MOST_STEPS {
                break;
            }
            largest = largest.max(norm);
            (tridiagonal[(size, step)], tridiagonal[(step, size)]) = (norm, norm);
            basis.extend(next.iter().map(|x| x / norm));
        }
    }
    let (mut values, vectors) = hermitian_eigen(a)?;
    values.truncate(count);
    Ok((values, vectors.columns(0, count).into_owned()))
}

/// Eigenvalues of a real symmetric matrix (lower triangle read), descending, and their vectors as columns.
fn symmetric_eigen(a: &DMatrix<f64>) -> Result<(Vec<f64>, DMatrix<f64>), NoConvergence> {
    use_one_thread();
    let eigen = view(a).self_adjoint_eigen(faer::Side::Lower).map_err(|_| NoConvergence("symmetric eigenproblem"))?;
    let n = a.nrows();
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let descending = (0..n).rev().map(|i| values[i]).collect();
    Ok((descending, DMatrix::from_fn(n, n, |i, j| vectors[(i, n - 1 - j)])))
}

/// Eigenvalues and right eigenvectors of a real square matrix, the vectors in real form: a real eigenvalue has its
/// vector in its own column; of a conjugate pair in places j and j + 1, the one with positive imaginary part first,
/// column j holds Re ψ and column j + 1 Im ψ.
///
/// # Errors
/// [`NoConvergence`].
pub fn eigen(a: &DMatrix<f64>) -> Result<(Vec<C64>, DMatrix<f64>), NoConvergence> {
    use_one_thread();
    let eigen = view(a).eigen().map_err(|_| NoConvergence("eigenproblem"))?;
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let values: Vec<C64> = (0..a.nrows()).map(|i| values[i]).collect();
    // faer keeps LAPACK's order: the pairs are neighbours, positive imaginary part first.
    let real = |i: usize, j: usize| if values[j].im < 0.0 { vectors[(i, j - 1)].im } else { vectors[(i, j)].re };
    let vectors = DMatrix::from_fn(a.nrows(), a.nrows(), real);
    Ok((values, vectors))
}

/// Inverse of a square matrix; `None` where it is singular to working precision.
pub fn inverse(a: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    use_one_thread();
    use faer::linalg::solvers::DenseSolveCore;
    let inverse: Mat<f64> = view(a).partial_piv_lu().inverse();
    let inverse = copy(inverse.as_ref());
    inverse.iter().all(|x| x.is_finite()).then_some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reconstruction error of a decomposition: faer's own bound, 128 n ε of the norm.
    fn tolerance(n: usize) -> f64 {
        128.0 * n as f64 * f64::EPSILON
    }

    #[test]
    fn svd_reconstructs() {
        let a = fixed_noise(30, 20);
        let Svd { u, s, v } = svd(&a).unwrap();
        let back = &u * DMatrix::from_diagonal(&s) * v.transpose();
        assert!((back - &a).norm() <= tolerance(30) * a.norm());
        assert!(s.as_slice().windows(2).all(|w| w[0] >= w[1]));
    }

    #[test]
    fn leading_svd_equals_the_full_one() {
        let decay = DMatrix::from_fn(300, 280, |i, j| 0.5_f64.powi((i as i32 - j as i32).abs()) / (1 + i + j) as f64);
        let full = svd(&decay).unwrap();
        let leading = leading_svd(&decay, 10, 1e-12).unwrap();
        assert_eq!(leading.s.len(), 10);
        for j in 0..10 {
            assert!((full.s[j] - leading.s[j]).abs() <= 1e-12 * full.s[0]);
            let residual = &decay * leading.v.column(j) - leading.u.column(j) * leading.s[j];
            assert!(residual.norm() <= 1e-11 * full.s[0]);
        }
    }

    #[test]
    fn eigenvectors_satisfy_their_equation() {
        let a = fixed_noise(25, 25);
        let (values, vectors) = eigen(&a).unwrap();
        let mut j = 0;
        let mut pairs = 0;
        while j < values.len() {
            let pair = values[j].im != 0.0;
            assert!(!pair || values[j].im > 0.0 && values[j + 1] == values[j].conj());
            let part = |i: usize| if pair { vectors[(i, j + 1)] } else { 0.0 };
            let psi = DVector::from_fn(25, |i, _| C64::new(vectors[(i, j)], part(i)));
            let residual = a.map(|x| C64::new(x, 0.0)) * &psi - &psi * values[j];
            assert!(residual.norm() <= tolerance(25) * a.norm());
            pairs += usize::from(pair);
            j += if pair { 2 } else { 1 };
        }
        assert!(pairs > 5);
        let identity = inverse(&vectors).unwrap() * &vectors;
        assert!((identity - DMatrix::identity(25, 25)).norm() <= 1e-9);
    }

    #[test]
    fn hermitian_eigenvalues_descend_and_vectors_are_orthonormal() {
        let b = DMatrix::from_fn(8, 5, |i, j| C64::new((i * 3 + j) as f64 % 7.0, (i + 2 * j) as f64 % 5.0));
        let a = &b * b.adjoint();
        let (values, vectors) = hermitian_eigen(&a).unwrap();
        assert!(values.windows(2).all(|w| w[0] >= w[1]));
        assert!((vectors.adjoint() * &vectors - DMatrix::identity(8, 8)).norm() <= tolerance(8));
    }

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

    #[test]
    fn triangular_solves_invert_cholesky() {
        let b = fixed_noise(12, 12);
        let a = &b * b.transpose() + DMatrix::identity(12, 12);
        let l = cholesky(&a).unwrap();
        assert!((&l * l.transpose() - &a).norm() <= tolerance(12) * a.norm());
        let x = fixed_noise(4, 12);
        assert!((divide_by_transpose(&(&x * l.transpose()), &l) - &x).norm() <= 1e-12 * x.norm());
        assert!(cholesky(&(-&a)).is_err());
        let (q, r) = qr(&b);
        assert!((&q * &r - &b).norm() <= tolerance(12) * b.norm());
        assert!((divide_upper(&r, &(&r * &a)) - &a).norm() <= 1e-9 * a.norm());
        let condition = triangular_condition(&l);
        let values = singular_values(&l).unwrap();
        let exact = values[0] / values[11];
        assert!(condition <= (1.0 + 1e-9) * exact && condition >= 0.9 * exact, "{condition} {exact}");
        assert_eq!(triangular_condition(&DMatrix::zeros(3, 3)), f64::INFINITY);
        let triangle = upper_triangle(&b);
        assert!((triangle.transpose() * &triangle - b.transpose() * &b).norm() <= tolerance(12) * b.norm_squared());
        assert!(triangle.diagonal().iter().all(|pivot| *pivot >= 0.0));
    }
}
