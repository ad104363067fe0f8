//! Hermitian matrices by half: spectral matrices of many channels are the greater part of what a run holds in memory.

use nalgebra::{Complex, DMatrix};

type C64 = Complex<f64>;

/// A Hermitian matrix, as its lower triangle.
#[derive(Debug, Clone, PartialEq)]
pub struct Hermitian {
    size: usize,
    /// Row by row, entry (i, j) with j ≤ i at i(i + 1)/2 + j.
    triangle: Vec<C64>,
}

impl Hermitian {
    /// From the lower triangle, row by row.
    ///
    /// # Panics
    /// If it has not size·(size + 1)/2 entries.
    pub fn new(size: usize, triangle: Vec<C64>) -> Hermitian {
        assert_eq!(triangle.len(), entries(size), "entries of the lower triangle of size {size}");
        Hermitian { size, triangle }
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
        if j <= i { self.triangle[entries(i) + j] } else { self.triangle[entries(j) + i].conj() }
    }

    /// The lower triangle, row by row.
    pub fn triangle(&self) -> &[C64] {
        &self.triangle
    }

    /// The same, to be changed.
    pub fn triangle_mut(&mut self) -> &mut [C64] {
        &mut self.triangle
    }

    /// The diagonal, which is real.
    pub fn diagonal(&self) -> impl Iterator<Item = f64> {
        (0..self.size).map(|i| self.triangle[entries(i) + i].re)
    }

    /// All of the matrix.
    pub fn matrix(&self) -> DMatrix<C64> {
        self.unfold(|_, _, z| z)
    }

    /// D G D with the real diagonal matrix D of `scale`.
    ///
    /// # Panics
    /// If there are fewer scales than rows.
    pub fn scaled(&self, scale: &[f64]) -> DMatrix<C64> {
        self.unfold(|i, j, z| z * (scale[i] * scale[j]))
    }

    fn unfold(&self, of_entry: impl Fn(usize, usize, C64) -> C64) -> DMatrix<C64> {
        let mut matrix = DMatrix::zeros(self.size, self.size);
        let mut rest = &self.triangle[..];
        for i in 0..self.size {
            let row;
            (row, rest) = rest.split_at(i + 1);
            for (j, &z) in row.iter().enumerate() {
                let z = of_entry(i, j, z);
                matrix[(i, j)] = z;
                matrix[(j, i)] = z.conj();
            }
        }
        matrix
    }
}

/// Entries of the lower triangle of a matrix of that size, and so the place of that row's first one.
pub(super) fn entries(size: usize) -> usize {
    size * (size + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_matrix_says_all_of_it() {
        let of = |i: usize, j: usize| C64::new((3 * i + j) as f64, if i == j { 0.0 } else { i as f64 - j as f64 });
        let whole = DMatrix::from_fn(4, 4, |i, j| if j <= i { of(i, j) } else { of(j, i).conj() });
        let half = Hermitian::new(4, (0..4).flat_map(|i| (0..=i).map(move |j| of(i, j))).collect());
        assert_eq!(half.matrix(), whole);
        assert_eq!(DMatrix::from_fn(4, 4, |i, j| half.at(i, j)), whole);
        assert!(half.diagonal().eq([0.0, 4.0, 8.0, 12.0]));
        let scale = [1.0, 2.0, 0.5, 3.0];
        assert_eq!(half.scaled(&scale), DMatrix::from_fn(4, 4, |i, j| whole[(i, j)] * scale[i] * scale[j]));
        assert_eq!(Hermitian::new(0, Vec::new()).matrix().len(), 0);
    }
}
