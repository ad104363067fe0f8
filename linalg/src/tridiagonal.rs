//! Eigenvalues of small symmetric tridiagonal matrices, and their vectors.

use super::NoConvergence;

/// A symmetric tridiagonal matrix.
#[derive(Debug, Clone, Default)]
pub(super) struct Tridiagonal {
    /// n.
    pub(super) diagonal: Vec<f64>,
    /// n − 1: entry i stands beside diagonal entries i and i + 1.
    pub(super) beside: Vec<f64>,
}

impl Tridiagonal {
    pub(super) fn size(&self) -> usize {
        self.diagonal.len()
    }

    /// Eigenvalues, descending, each with its unit vector.
    ///
    /// # Errors
    /// [`NoConvergence`].
    pub(super) fn eigen(&self) -> Result<Vec<(f64, Vec<f64>)>, NoConvergence> {
        let n = self.size();
        let mut identity = vec![0.0; n * n];
        identity.iter_mut().step_by(n + 1).for_each(|one| *one = 1.0);
        self.rotated(identity)
    }

    /// Eigenvalues, descending, each with the last component of its unit vector, n times sooner than with all of it.
    ///
    /// # Errors
    /// [`NoConvergence`].
    pub(super) fn eigen_ends(&self) -> Result<Vec<(f64, f64)>, NoConvergence> {
        let mut last_row = vec![0.0; self.size()];
        last_row.last_mut().into_iter().for_each(|one| *one = 1.0);
        Ok(self.rotated(last_row)?.into_iter().map(|(value, end)| (value, end[0])).collect())
    }

    /// Eigenvalues, descending, each with its column of `rows` times the matrix of unit vectors. `rows`: column after column.
    ///
    /// # Source
    /// Implicit QL steps with Wilkinson's shift: Parlett (1998), "The symmetric eigenvalue problem", §8.11 to 8.13.
    fn rotated(&self, mut rows: Vec<f64>) -> Result<Vec<(f64, Vec<f64>)>, NoConvergence> {
        /// A value takes two or three; LAPACK gives up after this many, too.
        const MOST_STEPS: usize = 30;
        let n = self.size();
        // Squares of the smallest numbers are none, those of the largest overflow.
        let largest = self.diagonal.iter().chain(&self.beside).fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let unit = if largest > 0.0 { largest } else { 1.0 };
        let mut diagonal: Vec<f64> = self.diagonal.iter().map(|x| x / unit).collect();
        let mut beside: Vec<f64> = self.beside.iter().map(|x| x / unit).chain([0.0]).collect();
        let width = rows.len() / n.max(1);
        for first in 0..n {
            let mut steps = 0;
            loop {
                let is_split =
                    |i: &usize| beside[*i].abs() <= f64::EPSILON * (diagonal[*i].abs() + diagonal[i + 1].abs());
                let last = (first..n - 1).find(is_split).unwrap_or(n - 1);
                if last == first {
                    break;
                }
                steps += 1;
                if steps > MOST_STEPS {
                    return Err(NoConvergence("tridiagonal eigenproblem"));
                }
                chase(&mut diagonal, &mut beside, (first, last), &mut rows);
            }
        }
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
        Ok(order.into_iter().map(|i| (diagonal[i] * unit, rows[i * width..(i + 1) * width].to_vec())).collect())
    }
}

/// One step on rows `first` to `last`, from the last one up; the rotations go into the columns of `rows`, too.
fn chase(diagonal: &mut [f64], beside: &mut [f64], (first, last): (usize, usize), rows: &mut [f64]) {
    let width = rows.len() / diagonal.len();
    let half_gap = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
    let shift = beside[first] / (half_gap + (half_gap * half_gap + 1.0).sqrt().copysign(half_gap));
    let mut g = diagonal[last] - diagonal[first] + shift;
    let (mut sine, mut cosine, mut taken) = (1.0, 1.0, 0.0);
    for i in (first..last).rev() {
        let (f, b) = (sine * beside[i], cosine * beside[i]);
        let length = (f * f + g * g).sqrt();
        beside[i + 1] = length;
        if length == 0.0 {
            // It has split on the way.
            diagonal[i + 1] -= taken;
            beside[last] = 0.0;
            return;
        }
        (sine, cosine) = (f / length, g / length);
        g = diagonal[i + 1] - taken;
        let along = (diagonal[i] - g) * sine + 2.0 * cosine * b;
        taken = sine * along;
        diagonal[i + 1] = g + taken;
        g = cosine * along - b;
        let (left, right) = rows[i * width..(i + 2) * width].split_at_mut(width);
        for (left, right) in left.iter_mut().zip(right) {
            (*left, *right) = (cosine * *left - sine * *right, sine * *left + cosine * *right);
        }
    }
    diagonal[first] -= taken;
    beside[first] = g;
    beside[last] = 0.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// −1, 2, −1 of size n has the eigenvalues 2 + 2 cos(kπ/(n+1)) and the vectors sin(ikπ/(n+1)).
    #[test]
    fn a_chain_has_its_values_and_vectors() {
        for (n, unit) in [(1, 1.0), (2, 1.0), (7, 1e-200), (40, 1.0), (64, 1e200)] {
            let chain = Tridiagonal { diagonal: vec![2.0 * unit; n], beside: vec![-unit; n - 1] };
            let all = chain.eigen().unwrap();
            assert_eq!(all.len(), n);
            let ends: Vec<(f64, f64)> = all.iter().map(|(value, vector)| (*value, vector[n - 1])).collect();
            assert_eq!(chain.eigen_ends().unwrap(), ends);
            for (k, (value, vector)) in all.iter().enumerate() {
                let angle = (k + 1) as f64 * std::f64::consts::PI / (n + 1) as f64;
                assert!((value - (2.0 + 2.0 * angle.cos()) * unit).abs() <= 1e-14 * n as f64 * unit, "{n}: {value}");
                let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
                let exact = |i: usize| (2.0 / (n + 1) as f64).sqrt() * ((i + 1) as f64 * angle).sin() * sign(i);
                let parts: f64 = vector.iter().enumerate().map(|(i, x)| x * exact(i)).sum();
                assert!((parts.abs() - 1.0).abs() <= 1e-12, "{n}: vector {k} is off by {parts}");
            }
        }
    }

    #[test]
    fn what_is_split_or_zero_is_solved_in_parts() {
        let parts = Tridiagonal { diagonal: vec![1.0, 5.0, 3.0, 3.0], beside: vec![0.0, 0.0, 1.0] };
        let values: Vec<f64> = parts.eigen().unwrap().into_iter().map(|(value, _)| value).collect();
        assert!(values.iter().zip([5.0, 4.0, 2.0, 1.0]).all(|(value, exact)| (value - exact).abs() <= 1e-14));
        let nothing = Tridiagonal { diagonal: vec![0.0; 3], beside: vec![0.0; 2] };
        assert!(nothing.eigen().unwrap().iter().all(|(value, _)| *value == 0.0));
        assert!(Tridiagonal::default().eigen().unwrap().is_empty());
        assert!(Tridiagonal::default().eigen_ends().unwrap().is_empty());
        let bad = Tridiagonal { diagonal: vec![1.0, f64::NAN], beside: vec![1.0] };
        assert!(bad.eigen().is_err());
    }
}
