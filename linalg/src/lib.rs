//! The one door to the matrix decompositions.
//!
//! nalgebra is the matrix type, faer does the work. faer's generics compile where they are called, so this crate
//! holds non-generic wrappers: an edit elsewhere does not wait for them. Everything starts from
//! fixed vectors and is sequential, but for products of large matrices, which are shared out in fixed parts: a result
//! depends on its input alone, not on the number of threads. Callers parallelise over what is independent (lines,
//! orders, blocks).

mod cost;
mod leading;
mod narrow;
mod pairs;
mod tridiagonal;

pub use leading::{leading_singular_values, leading_svd};
pub use pairs::{Entries, Pairs, leading_hermitian, leading_hermitian_values};

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use leading::fixed_noise;
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
pub fn hermitian_eigen(a: &DMatrix<C64>) -> Result<Pairs, NoConvergence> {
    use_one_thread();
    let eigen = view(a).self_adjoint_eigen(faer::Side::Lower).map_err(|_| NoConvergence("Hermitian eigenproblem"))?;
    let n = a.nrows();
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let descending = (0..n).rev().map(|i| values[i].re).collect();
    Ok((descending, DMatrix::from_fn(n, n, |i, j| vectors[(i, n - 1 - j)])))
}

/// Eigenvalues of a Hermitian matrix (lower triangle read), descending.
///
/// # Errors
/// [`NoConvergence`].
pub fn hermitian_values(a: &DMatrix<C64>) -> Result<Vec<f64>, NoConvergence> {
    use_one_thread();
    let values = view(a).self_adjoint_eigenvalues(faer::Side::Lower);
    values.map(|values| values.into_iter().rev().collect()).map_err(|_| NoConvergence("Hermitian eigenvalues"))
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
