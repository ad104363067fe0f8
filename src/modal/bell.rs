//! Frequency and damping from the spectrum of one mode: a fit of what the Welch estimate is expected to be.
//!
//! The window smears the bell of a lightly damped mode over its neighbours, so that a fit of the bell itself, or the
//! decay of its inverse transform, finds too much damping the shorter the segments are. The expectation of the estimate
//! is known exactly, and with it the damping no longer depends on the segment length.
//!
//! # Model
//! A correlation Re(A μ^|m|), A = a + jb of any phase (acceleration or velocity, skirts of neighbours), and a flat floor
//! c give E[P(f)] = Re[(a + jb) K(f)] + c, where K(f) = ½ h(μz) + ½ h(μ/z) − ½, z = e^(−j2πf/fs), and
//! h(x) = Σ_{m<N} w(m) x^m with the autocorrelation w of the Hann window (automation §3). Whittle's likelihood
//! Σ ln M + P/M over ln f, ln ξ, a, b, c, by Fisher scoring.

use nalgebra::{Complex, Matrix3, SMatrix, SVector, Vector3};
use std::f64::consts::PI;

type C64 = Complex<f64>;
type Parameters = SVector<f64, 5>;
type Information = SMatrix<f64, 5, 5>;

/// Starting damping ratios, evenly in their logarithm …
const LEAST_DAMPING: f64 = 0.0015;
const MOST_DAMPING: f64 = 0.10;
const DAMPINGS: usize = 10;

/// … and starting frequencies around the peak, up to so many lines away.
const REACH_LINES: f64 = 0.6;
const FREQUENCIES: usize = 7;

/// Starts that are refined.
const STARTS: usize = 3;

/// First the bell's neighbourhood: so many lines or this part of the frequency …
const FIRST_LINES: f64 = 10.0;
const FIRST_PART: f64 = 0.05;

/// … then so many half-power half-widths, or so many lines.
const WIDTHS: f64 = 8.0;
const LINES: f64 = 6.0;

/// Fewest lines on each side: nine for five unknowns.
const FEWEST_LINES: usize = 4;

const STEPS: usize = 60;

/// Where the scoring has arrived: no parameter moves by more than this part of its standard deviation.
const ARRIVED: f64 = 1e-4;

/// The spectrum of one mode: estimates on consecutive lines.
#[derive(Debug, Clone, Copy)]
pub struct ModalSpectrum<'a> {
    /// Welch estimates from half-overlapped or other Hann segments, any unit of power, line 0 first.
    pub power: &'a [f64],
    /// Samples of a segment.
    pub segment_length: usize,
    /// Hz.
    pub sampling_rate_hz: f64,
    /// Samples of the record over those of a segment.
    pub averages: f64,
}

/// What the fit found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bell {
    /// Undamped natural frequency, Hz.
    pub frequency_hz: f64,
    /// Damping ratio.
    pub damping_ratio: f64,
    /// Standard deviation of the frequency from the likelihood's information, Hz.
    pub frequency_std_hz: f64,
    /// Standard deviation of the damping ratio.
    pub damping_ratio_std: f64,
}

impl ModalSpectrum<'_> {
    /// Fits the bell at `peak_hz`, looking no further than the lines `between`. `None` where too few lines are left, or
    /// the likelihood has no maximum at a damping ratio that a structure can have.
    pub fn fit(&self, peak_hz: f64, between: (usize, usize)) -> Option<Bell> {
        let line_hz = self.sampling_rate_hz / self.segment_length as f64;
        let band = |centre_hz: f64, half_hz: f64| {
            let line = (centre_hz / line_hz).round() as usize;
            let half = ((half_hz / line_hz).ceil() as usize).max(FEWEST_LINES);
            let (low, high) = (line.saturating_sub(half).max(between.0), line.saturating_add(half).min(between.1));
            let are_enough = high.checked_sub(low).is_some_and(|lines| lines >= 2 * FEWEST_LINES);
            (high < self.power.len() && are_enough).then_some((low, high))
        };
        let first = self.refine(peak_hz, band(peak_hz, (FIRST_LINES * line_hz).max(FIRST_PART * peak_hz))?)?;
        let (f, xi) = (first[0].exp(), first[1].exp());
        let (low, high) = band(f, (WIDTHS * xi * f).max(LINES * line_hz))?;
        let fitted = self.refine(f, (low, high))?;
        let (f, xi) = (fitted[0].exp(), fitted[1].exp());
        let within = f > low as f64 * line_hz && f < high as f64 * line_hz && xi > 0.0 && xi < 1.0;
        let covariance = self.slope(&fitted, (low, high)).1.try_inverse()? / self.averages;
        let deviation = |i: usize| (covariance[(i, i)] > 0.0).then(|| covariance[(i, i)].sqrt());
        within.then_some(Bell {
            frequency_hz: f,
            damping_ratio: xi,
            frequency_std_hz: f * deviation(0)?,
            damping_ratio_std: xi * deviation(1)?,
        })
    }

    /// The most likely parameters: from a grid of starts, the best and two others that are not its neighbours.
    fn refine(&self, centre_hz: f64, band: (usize, usize)) -> Option<Parameters> {
        let line_hz = self.sampling_rate_hz / self.segment_length as f64;
        let mut starts: Vec<(f64, (usize, usize), Parameters)> = Vec::new();
        for i in 0..FREQUENCIES {
            let offset = REACH_LINES * (2.0 * i as f64 / (FREQUENCIES - 1) as f64 - 1.0);
            let f = centre_hz + offset * line_hz;
            for j in 0..DAMPINGS {
                let xi = LEAST_DAMPING * (MOST_DAMPING / LEAST_DAMPING).powf(j as f64 / (DAMPINGS - 1) as f64);
                if let Some(start) = self.amplitudes(f, xi, band)
                    && let Some(cost) = self.cost(&start, band)
                {
                    starts.push((cost, (i, j), start));
                }
            }
        }
        starts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut chosen: Vec<((usize, usize), Parameters)> = Vec::new();
        for (_, place, start) in starts {
            let near = |other: (usize, usize)| place.0.abs_diff(other.0) <= 1 && place.1.abs_diff(other.1) <= 1;
            if chosen.len() < STARTS && !chosen.iter().any(|(other, _)| near(*other)) {
                chosen.push((place, start));
            }
        }
        let arrived = chosen.into_iter().filter_map(|(_, start)| self.scoring(start, band));
        arrived.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, parameters)| parameters)
    }

    /// Least squares for a, b and c, every line weighted by 1/P.
    fn amplitudes(&self, f: f64, xi: f64, band: (usize, usize)) -> Option<Parameters> {
        let (mut normal, mut right) = (Matrix3::zeros(), Vector3::zeros());
        for line in band.0..=band.1 {
            let p = self.power[line];
            if !(p > 0.0) {
                return None;
            }
            let k = self.kernel(f, xi, line);
            let row = Vector3::new(k.re, -k.im, 1.0) / p;
            normal += row * row.transpose();
            right += row;
        }
        let solved = normal.try_inverse()? * right;
        let start = Parameters::from([f.ln(), xi.ln(), solved[0], solved[1], solved[2]]);
        start.iter().all(|x| x.is_finite()).then_some(start)
    }

    /// Fisher scoring with Levenberg's damping; the cost and where it is least.
    fn scoring(&self, start: Parameters, band: (usize, usize)) -> Option<(f64, Parameters)> {
        let mut at = start;
        let mut cost = self.cost(&at, band)?;
        let mut damping = 1e-3;
        for _ in 0..STEPS {
            let (slope, information) = self.slope(&at, band);
            let mut damped = information;
            (0..5).for_each(|i| damped[(i, i)] *= 1.0 + damping);
            let step = damped.try_inverse()? * slope;
            let next = at + step;
            match self.cost(&next, band) {
                Some(lower) if lower <= cost => {
                    let moved = (step.transpose() * information * step)[0].max(0.0).sqrt();
                    (at, cost, damping) = (next, lower, damping / 10.0);
                    if moved <= ARRIVED {
                        return Some((cost, at));
                    }
                }
                _ if damping > 1e8 => return Some((cost, at)),
                _ => damping *= 10.0,
            }
        }
        Some((cost, at))
    }

    /// Σ ln M + P/M; `None` where M is not positive.
    fn cost(&self, parameters: &Parameters, band: (usize, usize)) -> Option<f64> {
        let (f, xi) = (parameters[0].exp(), parameters[1].exp());
        let mut sum = 0.0;
        for line in band.0..=band.1 {
            let m = expected(parameters, self.kernel(f, xi, line));
            if !(m > 0.0) {
                return None;
            }
            sum += m.ln() + self.power[line] / m;
        }
        sum.is_finite().then_some(sum)
    }

    /// The downward slope of the cost, and the information: of one average, Σ ∂M ∂Mᵀ / M².
    fn slope(&self, parameters: &Parameters, band: (usize, usize)) -> (Parameters, Information) {
        /// Of ln f and ln ξ in central differences: f enters by f − f_line over the width ξf, so its step shrinks with ξ.
        const STEP: f64 = 1e-5;
        let (f, xi) = (parameters[0].exp(), parameters[1].exp());
        let h = STEP * xi;
        let (mut slope, mut information) = (Parameters::zeros(), Information::zeros());
        for line in band.0..=band.1 {
            let k = self.kernel(f, xi, line);
            let m = expected(parameters, k);
            let along = |above: C64, below: C64, step: f64| {
                let difference = (above - below) / (2.0 * step);
                parameters[2] * difference.re - parameters[3] * difference.im
            };
            let by_f = along(self.kernel(f * h.exp(), xi, line), self.kernel(f * (-h).exp(), xi, line), h);
            let by_xi = along(self.kernel(f, xi * STEP.exp(), line), self.kernel(f, xi * (-STEP).exp(), line), STEP);
            let row = Parameters::from([by_f, by_xi, k.re, -k.im, 1.0]) / m;
            slope += row * (self.power[line] / m - 1.0);
            information += row * row.transpose();
        }
        (slope, information)
    }

    /// K at a line.
    fn kernel(&self, f: f64, xi: f64, line: usize) -> C64 {
        let angle = 2.0 * PI * f / self.sampling_rate_hz;
        let mu = C64::from_polar((-xi * angle).exp(), (1.0 - xi * xi).max(0.0).sqrt() * angle);
        let z = C64::from_polar(1.0, -2.0 * PI * line as f64 / self.segment_length as f64);
        (windowed(mu * z, self.segment_length) + windowed(mu / z, self.segment_length)) * 0.5 - 0.5
    }
}

/// Re[(a + jb) K] + c.
fn expected(parameters: &Parameters, k: C64) -> f64 {
    parameters[2] * k.re - parameters[3] * k.im + parameters[4]
}

/// h(x) = Σ_{m<N} w(m) x^m with the autocorrelation of the periodic Hann window, w(m) =
/// (1 − m/N)(2/3 + cos(2πm/N)/3) + sin(2πm/N)/(2π), in closed form.
fn windowed(x: C64, n: usize) -> C64 {
    let length = n as f64;
    let e = C64::from_polar(1.0, 2.0 * PI / length);
    // (Σ x^m, Σ m x^m), m < N.
    let sums = |x: C64| {
        let one = C64::new(1.0, 0.0);
        let (gap, power) = (one - x, x.powu(n as u32));
        let plain = (one - power) / gap;
        (plain, (x - power * length + x * power * (length - 1.0)) / (gap * gap))
    };
    let triangle = |(plain, ramp): (C64, C64)| plain - ramp / length;
    let (middle, above, below) = (sums(x), sums(x * e), sums(x / e));
    triangle(middle) * (2.0 / 3.0)
        + (triangle(above) + triangle(below)) / 6.0
        + (above.0 - below.0) / C64::new(0.0, 4.0 * PI)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// E[Welch] of the correlation Re(A μ^|m|) plus a white floor, by the sum over the window's own autocorrelation.
    fn expectation(n: usize, f: f64, xi: f64, amplitude: C64, floor: f64) -> Vec<f64> {
        let window: Vec<f64> = (0..n).map(|t| 0.5 - 0.5 * (2.0 * PI * t as f64 / n as f64).cos()).collect();
        let power: f64 = window.iter().map(|w| w * w).sum();
        let angle = 2.0 * PI * f / 100.0;
        let mu = C64::from_polar((-xi * angle).exp(), (1.0 - xi * xi).sqrt() * angle);
        let correlation: Vec<f64> = (0..n)
            .map(|m| {
                let overlap: f64 = (0..n - m).map(|t| window[t] * window[t + m]).sum::<f64>() / power;
                overlap * ((amplitude * mu.powu(m as u32)).re + if m == 0 { floor } else { 0.0 })
            })
            .collect();
        let at = |line: usize| {
            let w = 2.0 * PI * line as f64 / n as f64;
            correlation[0] + 2.0 * (1..n).map(|m| correlation[m] * (w * m as f64).cos()).sum::<f64>()
        };
        (0..=n / 2).map(at).collect()
    }

    #[test]
    fn an_exact_bell_gives_its_damping_at_any_segment_length() {
        for n in [512, 1024, 4096] {
            for f in [2.23, 12.3] {
                for xi in [0.005, 0.01, 0.02, 0.05] {
                    let power = expectation(n, f, xi, C64::new(1.0, -xi), 1e-3);
                    let spectrum =
                        ModalSpectrum { power: &power, segment_length: n, sampling_rate_hz: 100.0, averages: 40.0 };
                    let peak = (1..power.len() - 1).max_by(|a, b| power[*a].total_cmp(&power[*b])).unwrap();
                    let bell = spectrum.fit(peak as f64 * 100.0 / n as f64, (1, n / 2 - 1)).unwrap();
                    // The scoring arrives within 1e-4 of a standard deviation; seen: 6e-10 and 1e-11.
                    assert!((bell.damping_ratio / xi - 1.0).abs() <= 1e-6, "{n} {f} {xi}: {bell:?}");
                    assert!((bell.frequency_hz / f - 1.0).abs() <= 1e-8, "{n} {f} {xi}: {bell:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        let fit = |power: &[f64], between| {
            ModalSpectrum { power, segment_length: 256, sampling_rate_hz: 100.0, averages: 40.0 }.fit(10.0, between)
        };
        assert_eq!(fit(&[0.0; 129], (1, 127)), None);
        assert_eq!(fit(&[f64::NAN; 129], (1, 127)), None);
        assert_eq!(fit(&[1.0; 129], (24, 27)), None);
    }

    #[test]
    fn what_is_no_spectrum_has_no_bell_or_a_finite_one() {
        for value in [0.0, 1.0, 1e308, f64::INFINITY, f64::NAN] {
            let power = vec![value; 129];
            let spectrum =
                ModalSpectrum { power: &power, segment_length: 256, sampling_rate_hz: 100.0, averages: 10.0 };
            for peak_hz in [10.0, 0.0, f64::INFINITY, f64::NAN] {
                let found = spectrum.fit(peak_hz, (2, 126));
                assert!(found.is_none_or(|bell| bell.frequency_hz.is_finite() && bell.damping_ratio_std.is_finite()));
            }
        }
    }
}
