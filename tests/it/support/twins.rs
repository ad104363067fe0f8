//! The kernels' CPU twins: what each computes, in f64, as its formula reads.

use nalgebra::Complex;
use std::f64::consts::PI;

/// One function a shader, of the same name.
pub(crate) const NAMES: &[&str] = &[
    "segment_spectra",
    "cross_spectra",
    "correlations",
    "lag_products",
    "hermitian_products",
    "line_totals",
    "peak_rates",
];

/// X[k] = Σ_t w(t) (x(t) − x̄) exp(−2πi k t / N), k = 0 .. N/2, N the window's length; x̄ only where `centre`.
pub(crate) fn segment_spectra(x: &[f64], window: &[f64], centre: bool) -> Vec<Complex<f64>> {
    let n = window.len();
    let mean = if centre { x.iter().sum::<f64>() / n as f64 } else { 0.0 };
    let term =
        |k: usize, t: usize| Complex::from_polar(window[t] * (x[t] - mean), -2.0 * PI * (k * t % n) as f64 / n as f64);
    (0..=n / 2).map(|k| (0..x.len()).map(|t| term(k, t)).sum()).collect()
}

/// G_ij(k) = Σ_s A_i(k, s) B*_j(k, s) at one line; `a[i][s]`.
pub(crate) fn cross_spectra(a: &[Complex<f64>], b: &[Complex<f64>]) -> Complex<f64> {
    a.iter().zip(b).map(|(a, b)| a * b.conj()).sum()
}

/// P(m) = (1/N) Σ_k S[k] exp(+2πi k m / N) over all N lines, S[N−k] = S*[k].
pub(crate) fn correlations(spectrum: &[Complex<f64>], lags: usize) -> Vec<f64> {
    let n = 2 * (spectrum.len() - 1);
    let line = |k: usize| if k <= n / 2 { spectrum[k] } else { spectrum[n - k].conj() };
    let term = |k: usize, m: usize| (line(k) * Complex::from_polar(1.0, 2.0 * PI * (k * m % n) as f64 / n as f64)).re;
    (0..lags).map(|m| (0..n).map(|k| term(k, m)).sum::<f64>() / n as f64).collect()
}

/// P(m) = Σ_t y(t + m) r(t) over `count` reference samples, where t + m is inside `y`.
pub(crate) fn lag_products(y: &[f64], r: &[f64], count: usize, lags: usize) -> Vec<f64> {
    let term = |t: usize, m: usize| y.get(t + m).map_or(0.0, |y| y * r[t]);
    (0..lags).map(|m| (0..count).map(|t| term(t, m)).sum()).collect()
}

/// y_i = Σ_j G_ij x_j, of G the lower triangle at i(i+1)/2 + j.
pub(crate) fn hermitian_products(packed: &[Complex<f64>], x: &[Complex<f64>]) -> Vec<Complex<f64>> {
    let entry =
        |i: usize, j: usize| if j <= i { packed[i * (i + 1) / 2 + j] } else { packed[j * (j + 1) / 2 + i].conj() };
    (0..x.len()).map(|i| (0..x.len()).map(|j| entry(i, j) * x[j]).sum()).collect()
}

/// T_ij = Σ_k c_k Re S_ij(k) over all lines 0 ..= N/2 of one pair, c_k = 1, except 1/2 at 0 Hz and Nyquist. The other entry
/// points are S_ii and S' + S as they stand.
pub(crate) fn line_totals(of_pair: &[Complex<f64>]) -> f64 {
    let is_edge = |k: usize| k == 0 || k + 1 == of_pair.len();
    of_pair.iter().enumerate().map(|(k, s)| if is_edge(k) { 0.5 * s.re } else { s.re }).sum()
}

/// y ← y/2 + 1, `steps` times.
pub(crate) fn peak_rates(y: f64, steps: usize) -> f64 {
    (0..steps).fold(y, |y, _| 0.5 * y + 1.0)
}
