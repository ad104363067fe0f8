//! Textbook forms, O(n²), that read like the formula.

use nalgebra::{Complex, DMatrix, DVector};
use std::f64::consts::PI;

/// P_m = Σ_t y(t+m) y_ref(t)ᵀ for t in `from..to`, t + m below `end`.
pub(crate) fn lag_product(
    y: &[Vec<f32>],
    references: &[usize],
    m: usize,
    from: usize,
    to: usize,
    end: usize,
) -> DMatrix<f64> {
    DMatrix::from_fn(y.len(), references.len(), |i, j| {
        let product = |t: usize| f64::from(y[i][t + m]) * f64::from(y[references[j]][t]);
        (from..to).filter(|t| t + m < end).map(product).sum()
    })
}

/// H_ab = (1/N) Σ_t y(t+q+a) y_ref(t+q−1−b)ᵀ, N = samples − 2q + 1.
pub(crate) fn hankel(y: &[Vec<f32>], references: &[usize], q: usize) -> DMatrix<f64> {
    let n = y[0].len() - 2 * q + 1;
    let (l, r) = (y.len(), references.len());
    DMatrix::from_fn(q * l, q * r, |row, column| {
        let (a, i, b, j) = (row / l, row % l, column / r, references[column % r]);
        (0..n).map(|t| f64::from(y[i][t + q + a]) * f64::from(y[j][t + q - 1 - b])).sum::<f64>() / n as f64
    })
}

/// One-sided cross-spectral density matrix at line `k` by the definition of the transform.
pub(crate) fn welch_line(y: &[Vec<f32>], fs: f64, n: usize, hop: usize, k: usize) -> DMatrix<Complex<f64>> {
    let window: Vec<f64> = (0..n).map(|t| 0.5 - 0.5 * (2.0 * PI * t as f64 / n as f64).cos()).collect();
    let power: f64 = window.iter().map(|w| w * w).sum();
    let starts: Vec<usize> = (0..).map(|s| s * hop).take_while(|s| s + n <= y[0].len()).collect();
    let transform = |channel: &Vec<f32>, start: usize| -> Complex<f64> {
        let part = &channel[start..start + n];
        let mean = part.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        let term = |t: usize| {
            Complex::from_polar((f64::from(part[t]) - mean) * window[t], -2.0 * PI * (k * t % n) as f64 / n as f64)
        };
        (0..n).map(term).sum()
    };
    let mut g = DMatrix::zeros(y.len(), y.len());
    for &start in &starts {
        let x = DVector::from_iterator(y.len(), y.iter().map(|channel| transform(channel, start)));
        g += &x * x.adjoint();
    }
    let one_sided = if k == 0 || 2 * k == n { 1.0 } else { 2.0 };
    g * Complex::from(one_sided / (fs * power * starts.len() as f64))
}
