//! Block Hankel matrices of correlations, and the weightings of SSI.
//!
//! With R_m = E[y(t + m) y_ref(t)ᵀ] the block Hankel matrix has H_ab = R_{a+b+1}, a, b = 0 .. block_rows − 1: the
//! covariance of the future outputs y(t), y(t+1), … with the past references y_ref(t−1), y_ref(t−2), …

use super::ModalError;
use super::displacement::Windows;
use crate::model::parameters::Weighting;
use nalgebra::{Complex, DMatrix};
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

type C64 = Complex<f64>;

/// H from correlations: `correlations[m]` = R_m, m = 0 .. 2·block_rows − 1 at least.
pub fn block_hankel(correlations: &[DMatrix<f64>], block_rows: usize) -> DMatrix<f64> {
    let (l, r) = correlations[0].shape();
    let mut h = DMatrix::zeros(block_rows * l, block_rows * r);
    for a in 0..block_rows {
        for b in 0..block_rows {
            h.view_mut((a * l, b * r), (l, r)).copy_from(&correlations[a + b + 1]);
        }
    }
    h
}

/// Products of block Hankel matrices, of many correlation functions, with one matrix V: Y_a = Σ_b R_{a+b+1} V_b.
///
/// Along the block index that is a convolution, so it is done line by line on transforms over it; the block Hankel
/// matrix is never formed, and a product costs about block_rows / 8 times less than with it.
pub struct HankelProduct {
    block_rows: usize,
    columns: usize,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    /// Transform of V, blocks in reverse, r × columns at every line.
    right: Vec<DMatrix<C64>>,
}

impl HankelProduct {
    /// Prepares products with `v`, block_rows·references × columns.
    pub fn new(v: &DMatrix<f64>, block_rows: usize) -> HankelProduct {
        // Outputs block_rows .. 2·block_rows − 1 of the convolution are wanted; a circular one of twice the block rows
        // folds only earlier outputs onto each other.
        let length = (2 * block_rows).next_power_of_two();
        let mut planner = RealFftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
        let r = v.nrows() / block_rows;
        let block = |c: usize| v.rows((block_rows - 1 - c) * r, r);
        let right = transform(&*forward, (r, v.ncols()), block_rows, |c, i, j| block(c)[(i, j)]);
        HankelProduct { block_rows, columns: v.ncols(), forward, inverse, right }
    }

    /// H V for the H of `correlations`, block_rows·channels × columns.
    ///
    /// # Panics
    /// If there are fewer than 2·block_rows correlations.
    pub fn of(&self, correlations: &[DMatrix<f64>]) -> DMatrix<f64> {
        let (l, r) = correlations[0].shape();
        let left = transform(&*self.forward, (l, r), 2 * self.block_rows, |m, i, j| correlations[m][(i, j)]);
        let lines: Vec<_> = left.iter().zip(&self.right).map(|(a, b)| oma_linalg::multiply_complex(a, b)).collect();
        let scale = 1.0 / self.inverse.len() as f64;
        let mut product = DMatrix::zeros(self.block_rows * l, self.columns);
        let (mut spectrum, mut output) = (self.inverse.make_input_vec(), self.inverse.make_output_vec());
        let mut scratch = self.inverse.make_scratch_vec();
        for j in 0..self.columns {
            for i in 0..l {
                spectrum.iter_mut().zip(&lines).for_each(|(value, line)| *value = line[(i, j)]);
                real_ends(&mut spectrum);
                self.inverse
                    .process_with_scratch(&mut spectrum, &mut output, &mut scratch)
                    .expect("all buffers have the plan's length");
                for a in 0..self.block_rows {
                    product[(a * l + i, j)] = output[a + self.block_rows] * scale;
                }
            }
        }
        product
    }
}

/// Both end lines of a real signal's transform are real up to round-off; the inverse transform insists on exactly.
fn real_ends(spectrum: &mut [C64]) {
    let last = spectrum.len() - 1;
    spectrum[0].im = 0.0;
    spectrum[last].im = 0.0;
}

/// Transform of a sequence of matrices along the sequence, one matrix a line.
fn transform(
    forward: &dyn RealToComplex<f64>,
    (rows, columns): (usize, usize),
    count: usize,
    entry: impl Fn(usize, usize, usize) -> f64,
) -> Vec<DMatrix<C64>> {
    let mut lines = vec![DMatrix::zeros(rows, columns); forward.complex_len()];
    let (mut input, mut output) = (forward.make_input_vec(), forward.make_output_vec());
    let mut scratch = forward.make_scratch_vec();
    for j in 0..columns {
        for i in 0..rows {
            input.fill(0.0);
            (0..count).for_each(|c| input[c] = entry(c, i, j));
            forward
                .process_with_scratch(&mut input, &mut output, &mut scratch)
                .expect("all buffers have the plan's length");
            lines.iter_mut().zip(&output).for_each(|(line, value)| line[(i, j)] = *value);
        }
    }
    lines
}

/// W₁ H W₂ with W₁ = L_ff^(−1) or none and W₂ = L_pp^(−T) or none, L the Cholesky factors of the covariances of
/// future outputs and past references: any square root gives the same singular values and left vectors.
#[derive(Debug, Clone)]
pub struct Weights {
    future: Option<DMatrix<f64>>,
    past: Option<DMatrix<f64>>,
}

/// Added to the diagonal of R_pp and R_ff, as a part of R_0: oversampled and filtered records have covariances of
/// nearly deficient rank. 1e-3 and 1e-2 gave the same modes (automation §1.1).
const RIDGE: f64 = 1e-3;

impl Weights {
    /// W₁ = I and W₂ = I.
    pub fn none() -> Weights {
        Weights { future: None, past: None }
    }

    /// Weights from correlations with all `references` (rows of R_m that the columns belong to).
    ///
    /// # Errors
    /// [`ModalError::Data`] if a covariance is not positive definite even with the ridge, or CVA is asked for with
    /// fewer references than channels.
    pub fn new(
        weighting: Weighting,
        correlations: &[DMatrix<f64>],
        references: &[usize],
        block_rows: usize,
    ) -> Result<Weights, ModalError> {
        let l = correlations[0].nrows();
        check_references(weighting, references.len(), l)?;
        let factor = |covariance: DMatrix<f64>, of: &str| {
            oma_linalg::cholesky(&covariance).map_err(|_| {
                ModalError::Data(format!(
                    "covariance of the {of} ({0} × {0}) is not positive definite: channels without variance, or copies",
                    covariance.nrows()
                ))
            })
        };
        let past = || {
            let rows = |m: usize| correlations[m].select_rows(references);
            // E[y_ref(t−b) y_ref(t−b')ᵀ] = R_{b'−b}
            factor(toeplitz(block_rows, rows), "past references")
        };
        // E[y(t+a) y(t+a')ᵀ] = R_{a−a'} = R_{a'−a}ᵀ
        let future = || factor(toeplitz(block_rows, |m| correlations[m].transpose()), "future outputs");
        Ok(match weighting {
            Weighting::Pc => Weights::none(),
            Weighting::Upc => Weights { future: None, past: Some(past()?) },
            Weighting::Cva => Weights { future: Some(future()?), past: Some(past()?) },
        })
    }

    /// Weights from the exact covariances of the data matrix, without a ridge: with `upc` W₁ H W₂ is L₂₁ of the LQ
    /// decomposition of [Y_p; Y_f] / √N, the projection of SSI-data. `None` where a covariance is so close to singular that
    /// its Cholesky factor says little.
    ///
    /// # Errors
    /// [`ModalError::Setting`] if CVA is asked for with fewer references than channels.
    pub fn exact(weighting: Weighting, windows: &Windows<'_>) -> Result<Option<Weights>, ModalError> {
        let (references, channels) = windows.shape();
        check_references(weighting, references, channels)?;
        let past = (weighting != Weighting::Pc).then(|| exact_factor(&windows.past()));
        let future = (weighting == Weighting::Cva).then(|| exact_factor(&windows.future()));
        Ok(match (future, past) {
            (Some(None), _) | (_, Some(None)) => None,
            (future, past) => Some(Weights { future: future.flatten(), past: past.flatten() }),
        })
    }

    /// The same weights and L₂₁ from the triangle of the data matrix, of which `past` rows are the past's.
    ///
    /// # Errors
    /// [`ModalError::Data`] if past outputs depend on each other to working precision.
    pub fn of_triangle(
        weighting: Weighting,
        triangle: &DMatrix<f64>,
        past: usize,
    ) -> Result<(Weights, DMatrix<f64>), ModalError> {
        let size = triangle.nrows();
        let of_past = triangle.view((0, 0), (past, past)).into_owned();
        let rows = || triangle.rows(past, size - past).transpose();
        let future = (weighting == Weighting::Cva).then(|| oma_linalg::upper_triangle(&rows()).transpose());
        for (factor, of) in [Some(&of_past), future.as_ref()].into_iter().flatten().zip(["past", "future"]) {
            let condition = oma_linalg::triangular_condition(factor);
            if !(condition <= 1.0 / f64::EPSILON) {
                return Err(ModalError::Data(format!(
                    "{of} outputs depend on each other: the condition number of their {0} × {0} triangle is \
                     {condition:.1e}; lower block_rows, leave channels out, or take ssi-cov",
                    factor.nrows()
                )));
            }
        }
        let projection = triangle.view((past, 0), (size - past, past)).into_owned();
        let weights = Weights { future, past: Some(of_past) };
        let projection = weights.apply_left(projection);
        Ok((weights, projection))
    }

    /// W₁ H W₂.
    pub fn apply(&self, h: DMatrix<f64>) -> DMatrix<f64> {
        let right = match &self.past {
            Some(l) => oma_linalg::divide_by_transpose(&h, l),
            None => h,
        };
        self.apply_left(right)
    }

    /// W₁ M.
    pub fn apply_left(&self, m: DMatrix<f64>) -> DMatrix<f64> {
        match &self.future {
            Some(l) => oma_linalg::divide_lower(l, &m),
            None => m,
        }
    }

    /// W₂ M.
    pub fn apply_right(&self, m: &DMatrix<f64>) -> DMatrix<f64> {
        match &self.past {
            Some(l) => oma_linalg::divide_upper(&l.transpose(), m),
            None => m.clone(),
        }
    }

    /// The first rows of W₂^(−T) V = L_pp V from the first rows of V: all it takes, because L_pp is lower triangular.
    pub fn remove_right(&self, v: &DMatrix<f64>) -> DMatrix<f64> {
        match &self.past {
            Some(l) => l.view((0, 0), (v.nrows(), v.nrows())) * v,
            None => v.clone(),
        }
    }

    /// W₁^(−1) M: back from weighted left vectors to the observability matrix.
    pub fn remove_left(&self, m: DMatrix<f64>) -> DMatrix<f64> {
        match &self.future {
            Some(l) => oma_linalg::multiply(l, &m),
            None => m,
        }
    }
}

/// Largest condition number of a Cholesky factor: the error of L₂₁ is below ε times its square, and so below 1e-9, the
/// tolerance to which H is held (algorithms §8).
const MOST_CONDITION: f64 = 2e3;

/// Lower Cholesky factor; `None` where it cannot be trusted.
fn exact_factor(covariance: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let factor = oma_linalg::cholesky(covariance).ok()?;
    (oma_linalg::triangular_condition(&factor) <= MOST_CONDITION).then_some(factor)
}

fn check_references(weighting: Weighting, references: usize, channels: usize) -> Result<(), ModalError> {
    if weighting == Weighting::Cva && references != channels {
        return Err(ModalError::Setting(format!(
            "weighting cva needs every channel as reference, has {references} of {channels}"
        )));
    }
    Ok(())
}

/// Symmetric block Toeplitz matrix with the ridge; `upper(m)` is the block on the m-th upper diagonal.
fn toeplitz(blocks: usize, upper: impl Fn(usize) -> DMatrix<f64>) -> DMatrix<f64> {
    let diagonals: Vec<_> = (0..blocks).map(upper).collect();
    let size = diagonals[0].nrows();
    let mut matrix = DMatrix::zeros(blocks * size, blocks * size);
    for i in 0..blocks {
        for j in i..blocks {
            let block = &diagonals[j - i];
            matrix.view_mut((i * size, j * size), (size, size)).copy_from(block);
            matrix.view_mut((j * size, i * size), (size, size)).copy_from(&block.transpose());
        }
    }
    for i in 0..matrix.nrows() {
        matrix[(i, i)] *= 1.0 + RIDGE;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_transforms_equal_those_with_the_matrix() {
        for (br, l, r, columns) in [(1, 2, 1, 3), (5, 3, 2, 4), (8, 1, 1, 1), (13, 2, 3, 5)] {
            let wave = |m: usize, i: usize, j: usize| ((7 * m + 3 * i + 5 * j) as f64).sin();
            let correlations: Vec<_> = (0..2 * br).map(|m| DMatrix::from_fn(l, r, |i, j| wave(m, i, j))).collect();
            let v = DMatrix::from_fn(br * r, columns, |i, j| wave(1, i, j).cos());
            let expected = block_hankel(&correlations, br) * &v;
            let found = HankelProduct::new(&v, br).of(&correlations);
            // Transforms of 2 br points: round-off of a few ε of the norm; worst seen 1 ε.
            assert!((found - &expected).norm() <= 16.0 * f64::EPSILON * expected.norm());
        }
    }
}
