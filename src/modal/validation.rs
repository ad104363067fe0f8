//! How well the identified modes reproduce the record: correlations and spectra synthesised from them, beside the measured.
//!
//! With poles λ_j and shapes φ_j as they were found, the correlations with the reference channels are
//! R(m) = Σ_j 2 Re(φ_j μ_jᵐ g_jᵀ), μ_j = exp(λ_j Δt), for lags m ≥ 1, where white noise of the sensors has no part. Only
//! the participations g_j are free, by least squares over all channels and lags: a wrong pole or shape leaves a remainder
//! that they cannot take away. What drifts is the greater part of many records and no business of the modes: within the
//! few seconds of the lags it is a parabola, which is taken off both sides. The spectrum of a reference channel is the exact expectation of the Welch estimate
//! (automation §3) of the correlation so made, above a floor for the noise.

use crate::model::modes::Mode;
use crate::model::result::{Axis, ChannelFit, Synthesis, Validation};
use nalgebra::{Complex, DMatrix, DMatrixViewMut};
use realfft::RealFftPlanner;
use std::f64::consts::{LN_10, PI};
use std::ops::Range;

type C64 = Complex<f64>;

/// Added to the diagonal of the normal equations of unit columns: modes too slow for the lags are nearly dependent.
const RIDGE: f64 = 1e-12;

/// The band in which spectra are compared goes from this part of the lowest mode's frequency …
const BELOW: f64 = 0.95;
/// … to this multiple of the highest one's: what drifts below, and filters take away above, is no business of the modes.
const ABOVE: f64 = 1.05;

/// The mean of each segment is removed, and the Hann window spreads that over the first lines.
const FIRST_LINE: usize = 2;

/// Levels further apart count as so much, dB.
const FARTHEST_DB: f64 = 60.0;

/// Correlations of a record, and the Welch spectra of its reference channels.
pub struct Measured<'a> {
    /// Channels × references for lags from 0 on.
    pub correlations: &'a [DMatrix<f64>],
    /// Rate of the lags, Hz.
    pub sampling_rate_hz: f64,
    /// Rows of the references.
    pub references: &'a [usize],
    /// One-sided autospectrum of each reference, unit²/Hz.
    pub autospectra: &'a [Vec<f64>],
    /// Samples of a Welch segment.
    pub segment_length: usize,
    /// Rate of these, Hz.
    pub spectra_rate_hz: f64,
    /// Independent averages behind each line.
    pub averages: f64,
}

/// Synthesises from `modes`, each with a damping ratio and a shape in the channels' own quantities, what was measured; `None`
/// without a mode. `names`: of all channels.
pub fn validate(modes: &[Mode], measured: &Measured<'_>, names: &[String]) -> Option<Validation> {
    let poles: Vec<C64> = modes.iter().map(pole).collect::<Option<_>>()?;
    let lags = measured.correlations.len();
    if poles.is_empty() || lags < 2 {
        return None;
    }
    let (participations, correlation) = participations(modes, &poles, measured)?;
    let synthesis = synthesis(modes, &poles, &participations, measured, names);
    let band = band(modes, measured);
    let error_db = |reference: usize| {
        let (measured, synthesised) = (&synthesis.measured[reference], &synthesis.synthesised[reference]);
        let square = |line: usize| decibels(measured[line].into(), synthesised[line].into()).powi(2);
        (!band.is_empty()).then(|| (band.clone().map(square).sum::<f64>() / band.len() as f64).sqrt())
    };
    let channel = |(row, (name, fit)): (usize, (&String, f64))| ChannelFit {
        channel: name.clone(),
        correlation_fit: fit,
        spectrum_error_db: measured.references.iter().position(|&reference| reference == row).and_then(error_db),
    };
    Some(Validation {
        lags: lags - 1,
        scatter_db: 10.0 / LN_10 / measured.averages.sqrt(),
        channels: names.iter().zip(correlation).enumerate().map(channel).collect(),
        synthesis,
    })
}

/// λ of the mode, rad/s.
pub(super) fn pole(mode: &Mode) -> Option<C64> {
    let (omega, damping) = (2.0 * PI * mode.frequency_hz, mode.damping_ratio?);
    Some(C64::new(-damping * omega, omega * (1.0 - damping * damping).max(0.0).sqrt()))
}

/// 10 lg(a/b), at most [`FARTHEST_DB`] away from 0.
fn decibels(a: f64, b: f64) -> f64 {
    let level = if a > 0.0 && b > 0.0 { 10.0 * (a / b).log10() } else { FARTHEST_DB };
    level.clamp(-FARTHEST_DB, FARTHEST_DB)
}

/// Weight of each channel, so that all count alike: one over the root of its squared correlations.
fn weights(measured: &Measured<'_>) -> Vec<f64> {
    let channels = measured.correlations[0].nrows();
    let squares = |i: usize| measured.correlations[1..].iter().map(|r| r.row(i).norm_squared()).sum::<f64>();
    (0..channels).map(|i| squares(i).sqrt()).map(|root| if root > 0.0 { 1.0 / root } else { 0.0 }).collect()
}

/// g_j of every mode with every reference, modes × references; and per channel the part of its squared correlations that
/// the modes then explain.
fn participations(modes: &[Mode], poles: &[C64], measured: &Measured<'_>) -> Option<(DMatrix<C64>, Vec<f64>)> {
    let (channels, references) = measured.correlations[0].shape();
    let lags = measured.correlations.len() - 1;
    let weights = weights(measured);
    // Each reference in its own scale.
    let scale = |c: usize| 1.0 / measured.correlations[0][(measured.references[c], c)].max(f64::MIN_POSITIVE).sqrt();
    // Row of channel i at lag m: i·lags + m − 1; columns: real and imaginary parts of the g_j.
    let mut design = DMatrix::zeros(channels * lags, 2 * modes.len());
    for (j, (mode, pole)) in modes.iter().zip(poles).enumerate() {
        let step = (pole / measured.sampling_rate_hz).exp();
        let mut power = step;
        for m in 0..lags {
            for (i, weight) in weights.iter().enumerate() {
                let value = mode.shape.0[i] * power * (2.0 * weight);
                design[(i * lags + m, 2 * j)] = value.re;
                design[(i * lags + m, 2 * j + 1)] = -value.im;
            }
            power *= step;
        }
    }
    let mut target = DMatrix::from_fn(channels * lags, references, |row, c| {
        weights[row / lags] * scale(c) * measured.correlations[row % lags + 1][(row / lags, c)]
    });
    let drift = drift(lags);
    for i in 0..channels {
        take_off(&drift, &mut design.rows_mut(i * lags, lags));
        take_off(&drift, &mut target.rows_mut(i * lags, lags));
    }
    let norms: Vec<f64> = design.column_iter().map(|column| column.norm().max(f64::MIN_POSITIVE)).collect();
    design.column_iter_mut().zip(&norms).for_each(|(mut column, norm)| column /= *norm);
    let mut normal = oma_linalg::multiply_transposed(&design, &design);
    (0..normal.nrows()).for_each(|k| normal[(k, k)] += RIDGE);
    let solved = normal.cholesky()?.solve(&oma_linalg::multiply_transposed(&design, &target));
    let rest = &target - oma_linalg::multiply(&design, &solved);
    let fit = |i: usize| {
        let part = |of: &DMatrix<f64>| of.rows(i * lags, lags).norm_squared();
        let all = part(&target);
        if all > 0.0 { 1.0 - part(&rest) / all } else { 0.0 }
    };
    let participation = |j: usize, c: usize| {
        C64::new(solved[(2 * j, c)] / norms[2 * j], solved[(2 * j + 1, c)] / norms[2 * j + 1]) / scale(c)
    };
    Some((DMatrix::from_fn(modes.len(), references, participation), (0..channels).map(fit).collect()))
}

/// Orthonormal parabolas over so many lags; none where there are too few for a parabola to leave anything.
fn drift(lags: usize) -> DMatrix<f64> {
    const TERMS: usize = 3;
    let terms = if lags > 2 * TERMS { TERMS } else { 0 };
    let centred = |m: usize| 2.0 * (m as f64 + 0.5) / lags as f64 - 1.0;
    DMatrix::from_fn(lags, terms, |m, power| centred(m).powi(power as i32)).qr().q()
}

fn take_off(drift: &DMatrix<f64>, of: &mut DMatrixViewMut<'_, f64>) {
    let parts = drift.tr_mul(of);
    of.gemm(-1.0, drift, &parts, 1.0);
}

/// The lines at which spectra are compared.
fn band(modes: &[Mode], measured: &Measured<'_>) -> Range<usize> {
    let line_hz = measured.spectra_rate_hz / measured.segment_length as f64;
    let lowest = modes.iter().map(|mode| mode.frequency_hz).fold(f64::INFINITY, f64::min);
    let highest = modes.iter().map(|mode| mode.frequency_hz).fold(0.0, f64::max);
    // Nyquist, where the spectrum is one-sided in another way, is left out.
    let end = ((ABOVE * highest / line_hz).floor() as usize + 1).min(measured.segment_length / 2);
    ((BELOW * lowest / line_hz).ceil() as usize).max(FIRST_LINE)..end
}

/// The autospectra of the references, and what the modes make of them.
fn synthesis(
    modes: &[Mode],
    poles: &[C64],
    participations: &DMatrix<C64>,
    measured: &Measured<'_>,
    names: &[String],
) -> Synthesis {
    let n = measured.segment_length;
    let band = band(modes, measured);
    let mut fft = RealFftPlanner::<f64>::new();
    let plan = fft.plan_fft_forward(n);
    let (mut values, mut lines) = (plan.make_input_vec(), plan.make_output_vec());
    // Windowed powers of the poles: real and imaginary parts side by side, so that one product gives all correlations.
    let steps: Vec<C64> = poles.iter().map(|pole| (pole / measured.spectra_rate_hz).exp()).collect();
    let window: Vec<f64> = (0..n).map(|m| 2.0 * hann_autocorrelation(m, n)).collect();
    let mut powers = DMatrix::zeros(n, 2 * poles.len());
    for (j, step) in steps.iter().enumerate() {
        let mut power = C64::new(1.0, 0.0);
        for (m, window) in window.iter().enumerate() {
            (powers[(m, 2 * j)], powers[(m, 2 * j + 1)]) = (window * power.re, -window * power.im);
            power *= *step;
        }
    }
    let residues = DMatrix::from_fn(2 * poles.len(), measured.references.len(), |k, c| {
        let residue = modes[k / 2].shape.0[measured.references[c]] * participations[(k / 2, c)];
        if k % 2 == 0 { residue.re } else { residue.im }
    });
    let correlations = oma_linalg::multiply(&powers, &residues);
    let mut of_reference = |c: usize| {
        values.copy_from_slice(correlations.column(c).as_slice());
        let at_zero = values[0];
        // The lengths are the plan's own.
        let _ = plan.process(&mut values, &mut lines);
        let one_sided = |(k, line): (usize, &C64)| {
            let sides = if k == 0 || 2 * k == n { 1.0 } else { 2.0 };
            sides * (2.0 * line.re - at_zero) / measured.spectra_rate_hz
        };
        let of_modes: Vec<f64> = lines.iter().enumerate().map(one_sided).collect();
        // The median of what stands above the modes.
        let mut above: Vec<f64> = band.clone().map(|line| measured.autospectra[c][line] - of_modes[line]).collect();
        above.sort_by(f64::total_cmp);
        let floor = above.get(above.len() / 2).map_or(0.0, |above| above.max(0.0));
        of_modes.iter().map(|level| (level + floor) as f32).collect::<Vec<f32>>()
    };
    Synthesis {
        frequency_hz: Axis {
            start: 0.0,
            step: measured.spectra_rate_hz / n as f64,
            count: measured.autospectra.first().map_or(0, Vec::len),
        },
        channels: measured.references.iter().map(|&row| names[row].clone()).collect(),
        synthesised: (0..measured.references.len()).map(&mut of_reference).collect(),
        measured: measured.autospectra.iter().map(|lines| lines.iter().map(|&x| x as f32).collect()).collect(),
    }
}

/// Autocorrelation of the periodic Hann window of n samples at lag m, 1 at lag 0 (automation §3).
fn hann_autocorrelation(m: usize, n: usize) -> f64 {
    let part = m as f64 / n as f64;
    let angle = 2.0 * PI * part;
    (1.0 - part) * (2.0 + angle.cos()) / 3.0 + angle.sin() / (2.0 * PI)
}
