//! The kernels' CPU twins: what each computes, in f64, as its formula reads.

use nalgebra::Complex;
use std::f64::consts::PI;

/// One function a shader, of the same name.
pub(crate) const NAMES: &[&str] = &["segment_spectra", "cross_spectra", "correlations", "lag_products"];

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
