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

/// Past references and future outputs of every window, over √N: a column for each t = 0 .. N − 1, N = samples − 2q + 1,
/// with y_ref(t+q−1−b) in block row b of the past and y(t+q+a) in block row a of the future.
pub(crate) fn data_matrices(y: &[Vec<f32>], references: &[usize], q: usize) -> (DMatrix<f64>, DMatrix<f64>) {
    let n = y[0].len() - 2 * q + 1;
    let (l, r) = (y.len(), references.len());
    let past = |row: usize, t: usize| y[references[row % r]][t + q - 1 - row / r];
    let future = |row: usize, t: usize| y[row % l][t + q + row / l];
    let scaled = |value: f32| f64::from(value) / (n as f64).sqrt();
    (DMatrix::from_fn(q * r, n, |i, t| scaled(past(i, t))), DMatrix::from_fn(q * l, n, |i, t| scaled(future(i, t))))
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
