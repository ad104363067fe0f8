//! Spectral matrices in little memory: they are the greater part of what a run holds.

use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::{Entries, NoConvergence, Pairs, leading_hermitian, leading_hermitian_values, multiply_complex};

type C64 = Complex<f64>;

/// A Hermitian positive semidefinite matrix G.
#[derive(Debug, Clone, PartialEq)]
pub struct Hermitian {
    size: usize,
    kept: Kept,
}

#[derive(Debug, Clone, PartialEq)]
enum Kept {
    /// The lower triangle, row by row: entry (i, j) with j ≤ i at i(i + 1)/2 + j.
    Triangle(Vec<C64>),
    /// F of G = F Fᴴ, column by column, with fewer columns than rows.
    Factor(Vec<C64>),
}

impl Hermitian {
    /// From the lower triangle, row by row.
    ///
    /// # Panics
    /// If it has not size·(size + 1)/2 entries.
    pub fn of_triangle(size: usize, triangle: Vec<C64>) -> Hermitian {
        assert_eq!(triangle.len(), entries(size), "entries of the lower triangle of size {size}");
        Hermitian { size, kept: Kept::Triangle(triangle) }
    }

    /// F Fᴴ, from F column by column.
    ///
    /// # Panics
    /// If a column is not whole.
    pub fn of_factor(size: usize, factor: Vec<C64>) -> Hermitian {
        assert!(factor.len().is_multiple_of(size.max(1)), "{} entries in columns of {size}", factor.len());
        Hermitian { size, kept: Kept::Factor(factor) }
    }

    /// Rows, and columns.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Entry (i, j).
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, i: usize, j: usize) -> C64 {
        match &self.kept {
            Kept::Triangle(triangle) if j <= i => triangle[entries(i) + j],
            Kept::Triangle(triangle) => triangle[entries(j) + i].conj(),
            Kept::Factor(factor) => factor.chunks_exact(self.size).map(|f| f[i] * f[j].conj()).sum(),
        }
    }

    /// The diagonal, which is real.
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.size).map(|i| self.at(i, i).re).collect()
    }

    /// All of the matrix.
    pub fn matrix(&self) -> DMatrix<C64> {
        match &self.kept {
            Kept::Triangle(triangle) => Entries::Triangle(triangle, self.size, None).matrix(),
            Kept::Factor(factor) => {
                let factor = DMatrix::from_column_slice(self.size, factor.len() / self.size.max(1), factor);
                let product = multiply_complex(&factor, &factor.adjoint());
                // Round-off leaves the triangles apart.
                Entries::All(&product).matrix()
            }
        }
    }

    /// wᴴ G w.
    ///
    /// # Panics
    /// If w is shorter than the matrix.
    pub fn quadratic_form(&self, w: &DVector<C64>) -> f64 {
        match &self.kept {
            Kept::Triangle(triangle) => {
                let mut rows = &triangle[..];
                let of_row = |i: usize| {
                    let row;
                    (row, rows) = rows.split_at(i + 1);
                    let beside: C64 = row[..i].iter().zip(w).map(|(g, w)| g * w).sum();
                    row[i].re * w[i].norm_sqr() + 2.0 * (w[i].conj() * beside).re
                };
                (0..self.size).map(of_row).sum()
            }
            Kept::Factor(factor) => {
                let along = |f: &[C64]| f.iter().zip(w).map(|(f, w)| f.conj() * w).sum::<C64>().norm_sqr();
                factor.chunks_exact(self.size).map(along).sum()
            }
        }
    }

    /// The leading `count` eigenvalues of G, or of D G D with the real diagonal matrix D of `scale`, descending, and their
    /// vectors as columns, of which there are no more than the rank allows. See [`leading_hermitian`].
    ///
    /// # Errors
    /// [`NoConvergence`].
    ///
    /// # Panics
    /// If there are fewer scales than rows.
    pub fn leading(&self, count: usize, scale: Option<&[f64]>) -> Result<Pairs, NoConvergence> {
        let factor = match &self.kept {
            Kept::Triangle(triangle) => return leading_hermitian(Entries::Triangle(triangle, self.size, scale), count),
            Kept::Factor(factor) => self.scaled(factor, scale),
        };
        // Fᴴ F has the eigenvalues of F Fᴴ, and of v the vector F v.
        let inner = multiply_complex(&factor.adjoint(), &factor);
        let (mut values, vectors) = leading_hermitian(Entries::All(&inner), count)?;
        values.resize(count.min(self.size), 0.0);
        let mut vectors = multiply_complex(&factor, &vectors);
        for j in 0..vectors.ncols() {
            let (before, mut after) = vectors.columns_range_pair_mut(..j, j..);
            let mut vector = after.column_mut(0);
            // F v of a small eigenvalue has errors along the vectors of the large ones.
            for larger in before.column_iter() {
                let along = larger.dotc(&vector);
                vector.axpy(-along, &larger, C64::new(1.0, 0.0));
            }
            let norm = vector.norm();
            if norm > 0.0 {
                vector.unscale_mut(norm);
            } else {
                // Nothing is there: any vector is one of the eigenvalue 0.
                vector[0] = C64::new(1.0, 0.0);
            }
        }
        Ok((values, vectors))
    }

    /// The values of [`Hermitian::leading`] alone. See [`leading_hermitian_values`].
    ///
    /// # Errors
    /// [`NoConvergence`].
    ///
    /// # Panics
    /// If there are fewer scales than rows.
    pub fn leading_values(&self, count: usize, scale: Option<&[f64]>) -> Result<Vec<f64>, NoConvergence> {
        let factor = match &self.kept {
            Kept::Triangle(triangle) => {
                return leading_hermitian_values(Entries::Triangle(triangle, self.size, scale), count);
            }
            Kept::Factor(factor) => self.scaled(factor, scale),
        };
        let inner = multiply_complex(&factor.adjoint(), &factor);
        let mut values = leading_hermitian_values(Entries::All(&inner), count)?;
        values.resize(count.min(self.size), 0.0);
        Ok(values)
    }

    /// F, or D F.
    fn scaled(&self, factor: &[C64], scale: Option<&[f64]>) -> DMatrix<C64> {
        let scale = |i: usize| scale.map_or(1.0, |scale| scale[i]);
        DMatrix::from_fn(self.size, factor.len() / self.size.max(1), |i, s| factor[s * self.size + i] * scale(i))
    }

    /// The sum of `part` times this matrix and `other_part` times another of its size, kept as triangle.
    pub(super) fn sum(&self, part: f64, other: &Hermitian, other_part: f64) -> Hermitian {
        let rows = (0..self.size).flat_map(|i| (0..=i).map(move |j| (i, j)));
        let sum = |(i, j)| self.at(i, j) * part + other.at(i, j) * other_part;
        Hermitian::of_triangle(self.size, rows.map(sum).collect())
    }
}

/// Entries of the lower triangle of a matrix of that size, and so the place of that row's first one.
pub(super) fn entries(size: usize) -> usize {
    size * (size + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of rank 2, as both are kept, and as it is.
    fn matrices(size: usize) -> ([Hermitian; 2], DMatrix<C64>) {
        let of = |i: usize, s: usize| C64::new(((3 * i + 7 * s) as f64).sin(), ((i * i + s) as f64).cos());
        let factor = DMatrix::from_fn(size, 2, of);
        let whole = &factor * factor.adjoint();
        let rows = (0..size).flat_map(|i| (0..=i).map(move |j| (i, j)));
        let triangle = Hermitian::of_triangle(size, rows.map(|at| whole[at]).collect());
        ([triangle, Hermitian::of_factor(size, factor.as_slice().to_vec())], whole)
    }

    #[test]
    fn however_a_matrix_is_kept_it_says_the_same() {
        for size in [3, 5, 30] {
            let (both, whole) = matrices(size);
            let scale: Vec<f64> = (0..size).map(|i| 0.5 + i as f64).collect();
            let diagonal = DMatrix::from_diagonal(&DVector::from_iterator(size, scale.iter().map(|&x| C64::from(x))));
            let scaled = &diagonal * &whole * &diagonal;
            let w = DVector::from_fn(size, |i, _| C64::new(1.0, i as f64));
            // Products of two terms, sums of up to thirty, and decompositions, all of order one in units of the norm.
            let tolerance = 1e-13 * (1.0 + scaled.norm());
            for kept in both {
                assert!((kept.matrix() - &whole).norm() <= tolerance);
                assert!((DMatrix::from_fn(size, size, |i, j| kept.at(i, j)) - &whole).norm() <= tolerance);
                let diagonal = kept.diagonal();
                assert!((0..size).all(|i| (diagonal[i] - whole[(i, i)].re).abs() <= tolerance));
                let form = w.dotc(&(&whole * &w)).re;
                assert!((kept.quadratic_form(&w) - form).abs() <= tolerance * w.norm_squared());
                let sum = kept.sum(2.0, &kept, 0.5);
                assert!((sum.matrix() - &whole * C64::from(2.5)).norm() <= 4.0 * tolerance);
                for (scale, g) in [(None, &whole), (Some(&scale[..]), &scaled)] {
                    let (values, vectors) = kept.leading(3, scale).unwrap();
                    assert_eq!(values.len(), 3.min(size));
                    let alone = kept.leading_values(3, scale).unwrap();
                    assert!(
                        values.iter().zip(&alone).all(|(a, b)| (a - b).abs() <= 2e-10 * (1.0 + g.norm())),
                        "{alone:?}"
                    );
                    for (j, v) in vectors.column_iter().enumerate() {
                        assert!((v.norm() - 1.0).abs() <= tolerance);
                        assert!((g * v - v * C64::from(values[j])).norm() <= tolerance, "{size}: pair {j}");
                    }
                    let trace: f64 = (0..size).map(|i| g[(i, i)].re).sum();
                    assert!((values.iter().sum::<f64>() - trace).abs() <= tolerance, "{size}");
                }
            }
        }
    }

    #[test]
    fn of_nothing_there_is_a_vector_too() {
        let (values, vectors) = Hermitian::of_factor(3, vec![C64::default(); 3]).leading(2, None).unwrap();
        assert_eq!((values, vectors.column(0).norm()), (vec![0.0, 0.0], 1.0));
    }
}
