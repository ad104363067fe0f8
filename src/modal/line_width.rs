//! Harmonics of machines among the peaks of a spectrum, told by their width.
//!
//! In a Welch spectrum a sinusoid is the lobe of the window and nothing else; a mode is wider by its damping. The lines
//! around a peak are fitted by p (L₀(k − κ) + γ L₁(k − κ)) + c(k): the lobe L₀ = |W|²/Σw² at the place κ, its first change
//! L₁ with the half-width γ = ξκ of a bell, both in lines, and a smooth floor, a parabola. A peak is told as a machine's by
//! the rule of [`harmonics`](super::harmonics): ξ is none and known to be none. A mode that the record is too short to tell
//! from one, because few independent amplitudes of it were seen, or too coarse, because its width is nothing beside the
//! lobe's, is not told.
//!
//! # Statistics
//! A segment's transform is S + n, the sinusoid's √p W(k − κ)/√Σw² e^(iφ) and the floor's. Averaged over K segments |S + n|²
//! scatters by 2 Re S* n̄, n̄ = Σ e^(−iφ_s) n_s / K, and by the scatter of |n|². Both are correlated from line to line and
//! from segment to segment through the window, by r_m(d) = Σ w(t) w(t + m·hop) e^(−2πidt/N) / Σw²:
//!
//! - E n̄(k) n̄(l)* = √(c_k c_l) Σ_m (1 − |m|/K) e^(2πi m·hop (l − κ)/N) r_m(k − l) / K,
//! - cov of |n|² at k and l = c_k c_l Σ_m (1 − |m|/K) |r_m(k − l)|² / K.
//!
//! With this covariance the least squares are generalized ones, their χ² says whether a sinusoid and a floor are all there is,
//! and the standard deviations are those of the sinusoid's strong lines too, where the first part rules.

use super::ModalError;
use super::efdd::{ModalFilter, modal_powers, own_lines};
use super::fdd::Peak;
use super::harmonics::{DAMPING, DAMPING_DEVIATION, FREQUENCY_DEVIATION};
use super::spectrum::Spectra;
use crate::model::result::Harmonic;
use nalgebra::{Complex, DMatrix, DVector, SMatrix, SVector};
use rayon::prelude::*;
use std::f64::consts::PI;
use std::ops::Range;

type C64 = Complex<f64>;

/// κ, p, pγ and the three coefficients of the floor.
const UNKNOWNS: usize = 6;

/// Lines on each side of the peak: the lobe has two, and four beyond show a bell's skirts; where a neighbour's peak leaves
/// fewer, at least four, so that three lines are left to judge by.
const LINES: usize = 6;
const FEWEST_LINES: usize = 4;

/// Least top of the lobe over the middle one of the lines. Of ten averages the highest of 10⁴ lines of noise stands 3 times above its mean.
const ABOVE_FLOOR: f64 = 10.0;

/// Standard deviations of the two-sided interval of 95 % whose upper end the damping must keep below the limit.
const SURE: f64 = 1.96;

/// A lobe narrower than the window's own by more standard deviations than this is none.
const NARROWER: f64 = 4.0;

/// Least number of cycles of a record in which a structure's damping shows. The best estimate of ξ scatters by √(ξ/2πfT)
/// (automation §0); of ξ = 0.3 %, the least that is taken for a structure's (automation §1.6), four times that
/// reach down to 0.1 % at 1900.
const CYCLES: f64 = 1900.0;

/// Most χ², in standard deviations of a normal number, so 45 of seven degrees of freedom: a floor that is no parabola adds
/// to it (up to 30 in simulated chains), a mode under the sinusoid, too wide for the lines, gave 78 and more.
const MISFIT: f64 = 5.0;

const STEPS: usize = 30;

/// The fit has arrived where κ moves by less than this part of its standard deviation.
const ARRIVED: f64 = 1e-3;

/// Most that κ moves in a step, lines.
const STRIDE: f64 = 0.25;

/// The sinusoids among the peaks: one entry a peak, `None` where it is none or the data cannot tell.
///
/// `segment_length`, `overlap`: of the Welch segments; `duration_s`: of the record.
///
/// # Errors
/// As [`Spectra::each`].
pub fn among(
    spectra: &Spectra<'_>,
    peaks: &[Peak],
    (segment_length, overlap): (usize, f64),
    duration_s: f64,
) -> Result<Vec<Option<Harmonic>>, ModalError> {
    let hop = (segment_length - (segment_length as f64 * overlap) as usize).max(1);
    let fit = LobeFit::new(segment_length, hop, spectra.segments);
    let near = |i: usize| {
        let (own, line) = (own_lines(spectra, peaks, i), peaks[i].line);
        own.start.max(line.saturating_sub(LINES))..own.end.min(line + LINES + 1)
    };
    let lines: Vec<Range<usize>> = (0..peaks.len()).map(near).collect();
    let powers = modal_powers(spectra, peaks, ModalFilter::Shape, &lines)?;
    let one = |i: usize| {
        // One line more than the top can be off by.
        if (peaks[i].line + 2) as f64 * spectra.line_hz * duration_s < CYCLES {
            return None;
        }
        let lobe = fit.lobe_at(&powers[i], peaks[i].line, &lines[i])?;
        let is_seen = lobe.line * spectra.line_hz * duration_s >= CYCLES;
        (is_seen && lobe.is_sinusoid()).then(|| Harmonic {
            frequency_hz: lobe.line * spectra.line_hz,
            frequency_std_hz: lobe.line_std * spectra.line_hz,
            damping_ratio: lobe.damping_ratio,
            support: None,
            strongest_row: peaks[i].shape.icamax(),
            kurtosis: None,
            kurtosis_std: None,
            rms_parts: None,
        })
    };
    Ok((0..peaks.len()).into_par_iter().map(one).collect())
}

/// What the lines around a peak say if it is a sinusoid's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lobe {
    /// Its place, lines.
    line: f64,
    /// Standard deviation of the place.
    line_std: f64,
    /// ξ = γ/κ; nearly none, of either sign.
    damping_ratio: f64,
    /// Its standard deviation.
    damping_ratio_std: f64,
    /// Top of the lobe over the middle one of the lines.
    above_floor: f64,
    /// χ² of the fit.
    misfit: f64,
    /// Its degrees of freedom.
    freedom: usize,
}

impl Lobe {
    /// Whether the lines are those of a sinusoid and cannot be those of a mode.
    fn is_sinusoid(&self) -> bool {
        // Wilson & Hilferty (1931).
        let part = 2.0 / (9.0 * self.freedom as f64);
        let most = self.freedom as f64 * (1.0 - part + MISFIT * part.sqrt()).powi(3);
        let (damping, std) = (self.damping_ratio, self.damping_ratio_std);
        self.misfit <= most
            && self.above_floor >= ABOVE_FLOOR
            && self.line_std < FREQUENCY_DEVIATION * self.line
            && std < DAMPING_DEVIATION
            && damping > -NARROWER * std
            && damping + SURE * std < DAMPING
    }
}

/// How K segments average, and what the window makes of it.
#[derive(Debug, Clone)]
struct LobeFit {
    segment_length: usize,
    hop: usize,
    segments: f64,
    /// r_m(d) and r_−m(d), `[m][d]`, m and d from 0; of −d they are conjugate.
    overlaps: Vec<Vec<[C64; 2]>>,
    /// 2πu and the weight of the window's autocorrelation at u, the lag as a part of the segment.
    lags: Vec<(f64, f64)>,
}

/// Points of the integral over the lags of the window's autocorrelation: right to 1e-7 of 0.07 at the lobe's top.
const POINTS: usize = 96;

impl LobeFit {
    /// Of `segments` Hann segments, each `hop` samples behind the one before.
    fn new(segment_length: usize, hop: usize, segments: usize) -> LobeFit {
        let n = segment_length;
        let window: Vec<f64> = (0..n).map(|t| 0.5 - 0.5 * (2.0 * PI * t as f64 / n as f64).cos()).collect();
        let power: f64 = window.iter().map(|w| w * w).sum();
        let turn = |t: usize| C64::from_polar(1.0, -2.0 * PI * (t % n) as f64 / n as f64);
        let overlap = |m: usize, d: usize| -> [C64; 2] {
            let common = (0..n - m * hop).map(|t| turn(d * t) * (window[t] * window[t + m * hop]));
            let later = common.sum::<C64>() / power;
            [later, later * turn(d * m * hop)]
        };
        let overlaps = (0..n.div_ceil(hop)).map(|m| (0..=2 * LINES).map(|d| overlap(m, d)).collect()).collect();
        let lag = |i: usize| {
            let u = (i as f64 + 0.5) / POINTS as f64;
            let window = (1.0 - u) * (2.0 + (2.0 * PI * u).cos()) / 3.0 + (2.0 * PI * u).sin() / (2.0 * PI);
            (2.0 * PI * u, u * window / POINTS as f64)
        };
        let lags = (0..POINTS).map(lag).collect();
        LobeFit { segment_length, hop, segments: segments.max(1) as f64, overlaps, lags }
    }

    /// e^(2πi·lines·hop/N).
    fn turn(&self, lines: f64) -> C64 {
        C64::from_polar(1.0, 2.0 * PI * lines * self.hop as f64 / self.segment_length as f64)
    }

    /// W(x)/√Σw² of the periodic Hann window, x in lines.
    fn transform(&self, x: f64) -> C64 {
        let n = self.segment_length as f64;
        let dirichlet = |x: f64| {
            let sine = (PI * x / n).sin();
            let ratio = if sine.abs() < 1e-12 { n } else { (PI * x).sin() / sine };
            C64::from_polar(1.0, -PI * x * (n - 1.0) / n) * ratio
        };
        let power = 3.0 * n / 8.0;
        (dirichlet(x) * 0.5 - (dirichlet(x - 1.0) + dirichlet(x + 1.0)) * 0.25) / power.sqrt()
    }

    /// L₀(x) and L₁(x), x in lines.
    fn lobe(&self, x: f64) -> (f64, f64) {
        let sum: f64 = self.lags.iter().map(|(angle, weight)| weight * (angle * x).cos()).sum();
        // The midpoints' sum lacks h²/24 of the slope at the integral's lower end, which is 1 (Euler & Maclaurin).
        let integral = sum - 1.0 / (24.0 * (POINTS * POINTS) as f64);
        (self.transform(x).norm_sqr(), -4.0 * PI * self.segment_length as f64 * integral)
    }

    /// Covariance of the estimates at `lines` that a sinusoid of power `p` at `kappa` and the floor make.
    fn covariance(&self, lines: &[usize], kappa: f64, p: f64, floor: &[f64]) -> DMatrix<f64> {
        let signal: Vec<C64> = lines.iter().map(|k| self.transform(*k as f64 - kappa) * p.max(0.0).sqrt()).collect();
        let turns: Vec<C64> = lines.iter().map(|k| self.turn(*k as f64 - kappa)).collect();
        DMatrix::from_fn(lines.len(), lines.len(), |i, j| {
            let d = lines[i].abs_diff(lines[j]);
            let (mut crossed, mut own, mut turn) = (C64::new(0.0, 0.0), 0.0, C64::new(1.0, 0.0));
            for (m, overlaps) in self.overlaps.iter().enumerate() {
                let part = (1.0 - m as f64 / self.segments).max(0.0);
                let [later, earlier] = overlaps[d].map(|r| if lines[i] < lines[j] { r.conj() } else { r });
                if m == 0 {
                    crossed += later * part;
                    own += later.norm_sqr() * part;
                } else {
                    turn *= turns[j];
                    crossed += (turn * later + turn.conj() * earlier) * part;
                    own += 2.0 * later.norm_sqr() * part;
                }
            }
            let both = (floor[i] * floor[j]).sqrt();
            (2.0 * both * (signal[i].conj() * signal[j] * crossed).re + both * both * own) / self.segments
        })
    }

    /// Fits the lobe at the line `peak` of the estimates `power`, of which it looks at `lines`. `None` where these are too few, or
    /// the fit does not arrive.
    fn lobe_at(&self, power: &[f64], peak: usize, lines: &Range<usize>) -> Option<Lobe> {
        if lines.start + FEWEST_LINES > peak || peak + FEWEST_LINES >= lines.end {
            return None;
        }
        let lines: Vec<usize> = lines.clone().collect();
        let own = DVector::from_iterator(lines.len(), lines.iter().map(|k| power[*k]));
        if !own.iter().all(|p| *p > 0.0 && p.is_finite()) {
            return None;
        }
        let mut sorted: Vec<f64> = own.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        // Where the parabola of the floor falls below half of its lowest lines, these weigh.
        let least = 0.5 * (sorted[0] + sorted[1] + sorted[2]) / 3.0;
        // More than half of the lines are beside the lobe.
        let middle = sorted[lines.len() / 2];
        // Between two lines a lobe has 0.72 of its top.
        if power[peak] < 0.5 * ABOVE_FLOOR * middle {
            return None;
        }
        let place = |k: usize| (k as f64 - peak as f64) / LINES as f64;
        let floor_at = |of: &SVector<f64, UNKNOWNS>, k: usize| of[3] + place(k) * (of[4] + place(k) * of[5]);
        let kappa = peak as f64 + between_lines(power[peak - 1], power[peak], power[peak + 1]);
        let top = self.lobe(peak as f64 - kappa).0;
        let mut at = SVector::<f64, UNKNOWNS>::zeros();
        (at[0], at[1], at[3]) = (kappa, power[peak] / top, sorted[lines.len() / 3]);
        for _ in 0..STEPS {
            let floor: Vec<f64> = lines.iter().map(|k| floor_at(&at, *k).max(least)).collect();
            let factor = self.covariance(&lines, at[0], at[1], &floor).cholesky()?;
            let mut design = DMatrix::zeros(lines.len(), UNKNOWNS);
            let mut residual = own.clone();
            for (i, &k) in lines.iter().enumerate() {
                /// Of κ in central differences, lines.
                const STEP: f64 = 1e-4;
                let x = k as f64 - at[0];
                let (narrow, wider) = self.lobe(x);
                let slope = (self.transform(x - STEP).norm_sqr() - self.transform(x + STEP).norm_sqr()) / (2.0 * STEP);
                let row = [at[1] * slope, narrow, wider, 1.0, place(k), place(k).powi(2)];
                row.iter().enumerate().for_each(|(j, value)| design[(i, j)] = *value);
                residual[i] -= at[1] * narrow + at[2] * wider + floor_at(&at, k);
            }
            let white = factor.l().solve_lower_triangular(&design)?;
            let white_residual = factor.l().solve_lower_triangular(&residual)?;
            let normal: SMatrix<f64, UNKNOWNS, UNKNOWNS> = (white.transpose() * &white).fixed_view::<6, 6>(0, 0).into();
            // Unknowns of very different size: scaled to a unit diagonal.
            let scale = normal.diagonal().map(|x| 1.0 / x.sqrt());
            let scaled = SMatrix::from_diagonal(&scale) * normal * SMatrix::from_diagonal(&scale);
            let inverse = SMatrix::from_diagonal(&scale) * scaled.try_inverse()? * SMatrix::from_diagonal(&scale);
            let right = white.transpose() * &white_residual;
            let step = inverse * SVector::<f64, UNKNOWNS>::from_iterator(right.iter().copied());
            let left = &white_residual - &white * DVector::from_iterator(UNKNOWNS, step.iter().copied());
            at += step;
            at[0] = at[0].clamp(at[0] - step[0] - STRIDE, at[0] - step[0] + STRIDE);
            if !((at[0] - peak as f64).abs() <= 1.0 && at[1] > 0.0) {
                return None;
            }
            if step[0].abs() <= ARRIVED * inverse[(0, 0)].sqrt() {
                return self.described(&at, &inverse, left.norm_squared(), middle, lines.len());
            }
        }
        None
    }

    fn described(
        &self,
        at: &SVector<f64, UNKNOWNS>,
        covariance: &SMatrix<f64, UNKNOWNS, UNKNOWNS>,
        misfit: f64,
        floor: f64,
        lines: usize,
    ) -> Option<Lobe> {
        let (kappa, p, gamma) = (at[0], at[1], at[2] / at[1]);
        // Of the ratio pγ/p.
        let variance = covariance[(2, 2)] - 2.0 * gamma * covariance[(1, 2)] + gamma * gamma * covariance[(1, 1)];
        let lobe = Lobe {
            line: kappa,
            line_std: covariance[(0, 0)].sqrt(),
            damping_ratio: gamma / kappa,
            damping_ratio_std: variance.sqrt() / (p * kappa),
            above_floor: p * self.lobe(0.0).0 / floor,
            misfit,
            freedom: lines - UNKNOWNS,
        };
        [lobe.line_std, lobe.damping_ratio_std, lobe.misfit].iter().all(|x| x.is_finite()).then_some(lobe)
    }
}

/// Place of a Hann lobe's top between lines from the three highest estimates, in lines from the middle one: of amplitudes
/// in the ratio α the offset is (2α − 1)/(α + 1).
fn between_lines(before: f64, own: f64, after: f64) -> f64 {
    let ratio = (before.max(after) / own).sqrt();
    ((2.0 * ratio - 1.0) / (ratio + 1.0)).clamp(0.0, 0.5) * if after >= before { 1.0 } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lobe of a bell of half-width γ is Σ a(τ) e^(−2πγ|τ|/N) cos(2πxτ/N) / Σw², a the window's autocorrelation.
    #[test]
    fn a_bell_a_little_wide_is_the_lobe_and_its_first_change() {
        const N: usize = 256;
        let window: Vec<f64> = (0..N).map(|t| 0.5 - 0.5 * (2.0 * PI * t as f64 / N as f64).cos()).collect();
        let power: f64 = window.iter().map(|w| w * w).sum();
        let autocorrelation = |lag: usize| (0..N - lag).map(|t| window[t] * window[t + lag]).sum::<f64>();
        let autocorrelation: Vec<f64> = (0..N).map(autocorrelation).collect();
        let bell = |x: f64, gamma: f64| {
            let term = |lag: usize| {
                let both = if lag == 0 { 1.0 } else { 2.0 };
                let u = 2.0 * PI * lag as f64 / N as f64;
                both * autocorrelation[lag] * (-gamma * u).exp() * (x * u).cos() / power
            };
            (0..N).map(term).sum::<f64>()
        };
        let fit = LobeFit::new(N, N / 2, 40);
        let (top, steepest) = fit.lobe(0.0);
        for x in [-4.5, -2.0, -1.3, -0.5, 0.0, 0.2, 1.0, 1.7, 3.0] {
            let (narrow, wider) = fit.lobe(x);
            assert!((narrow - bell(x, 0.0)).abs() <= 1e-12 * top, "{x}");
            // The second change is 2π as large in units of γ at most; the window's integral has steps of 1/N.
            let slope = (bell(x, 1e-4) - bell(x, 0.0)) / 1e-4;
            assert!((wider - slope).abs() <= 1e-3 * steepest.abs(), "{x}: {wider} for {slope}");
        }
    }
}
