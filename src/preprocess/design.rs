//! Filters as second-order sections: Butterworth of any order and band, Chebyshev I low-pass.
//!
//! The way is the classical one: poles of the analog low-pass prototype → frequency transformation with pre-warped
//! edges → bilinear transformation → sections, the poles nearest the unit circle last, the whole gain in the first.
//! The coefficients equal those of `scipy.signal.butter` and `cheby1` with `output="sos"`, up to the pairing of
//! zeros in band filters, which the product does not see.

use nalgebra::{Complex, DMatrix};
use std::f64::consts::PI;

/// One section: (b0 + b1 z⁻¹ + b2 z⁻²) / (1 + a1 z⁻¹ + a2 z⁻²).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Section {
    /// b0, b1, b2.
    pub b: [f64; 3],
    /// a1, a2.
    pub a: [f64; 2],
}

/// A filter as a cascade of second-order sections.
#[derive(Debug, Clone, PartialEq)]
pub struct Sections(Vec<Section>);

/// What a filter lets through; edges in parts of the Nyquist frequency, between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Band {
    /// Below the edge.
    Low(f64),
    /// Above the edge.
    High(f64),
    /// Between the edges.
    Pass(f64, f64),
    /// Outside the edges.
    Stop(f64, f64),
}

/// State of one section in transposed direct form II.
pub(crate) type State = [f64; 2];

/// A start state is forgotten once its part of the output is below this: the precision of f64, so that a block
/// warmed up on that many samples equals the whole record to round-off.
const FORGOTTEN: f64 = 1e-16;

/// Longest memory that is looked for: 2^31 samples. A filter that remembers longer has its poles on the unit
/// circle as far as f64 can tell.
const MEMORY_DOUBLINGS: usize = 31;

/// The poles of one section in the s-plane.
#[derive(Debug, Clone, Copy)]
enum Poles {
    /// A complex one and its conjugate.
    Pair(Complex<f64>),
    /// Two real ones.
    Reals(f64, f64),
    /// One real one.
    Single(f64),
}

impl Sections {
    /// Butterworth: −3 dB at the edges. `order` is that of the low-pass prototype.
    pub fn butterworth(order: usize, band: Band) -> Sections {
        let prototype = upper_angles(order).map(|angle| -Complex::from_polar(1.0, angle));
        Self::from_prototype(prototype, band, 1.0)
    }

    /// Chebyshev I low-pass: `ripple_db` of ripple up to `edge`, a part of the Nyquist frequency.
    pub fn chebyshev_low(order: usize, ripple_db: f64, edge: f64) -> Sections {
        let ripple = (10f64.powf(0.1 * ripple_db) - 1.0).sqrt();
        let mu = (1.0 / ripple).asinh() / order as f64;
        let prototype = upper_angles(order).map(|angle| -Complex::new(mu, angle).sinh());
        // An even order starts at the bottom of its ripple.
        let gain = if order.is_multiple_of(2) { 1.0 / (1.0 + ripple * ripple).sqrt() } else { 1.0 };
        Self::from_prototype(prototype, Band::Low(edge), gain)
    }

    /// `gain`: magnitude in the middle of the pass band (0, Nyquist or the centre).
    fn from_prototype(prototype: impl Iterator<Item = Complex<f64>>, band: Band, gain: f64) -> Sections {
        let mut sections: Vec<Section> =
            prototype.flat_map(|pole| transform(pole, band)).map(|p| section(p, band)).collect();
        sections.sort_by(|x, y| x.radius().total_cmp(&y.radius()));
        let mut filter = Sections(sections);
        let middle = match band {
            Band::Low(_) | Band::Stop(..) => 0.0,
            Band::High(_) => 1.0,
            Band::Pass(low, high) => centre(low, high),
        };
        let scale = gain / filter.response(middle).norm();
        filter.0[0].b = filter.0[0].b.map(|b| b * scale);
        filter
    }

    /// The sections, in the order in which they are applied.
    pub fn sections(&self) -> &[Section] {
        &self.0
    }

    /// H at a frequency given as a part of the Nyquist frequency.
    pub fn response(&self, frequency: f64) -> Complex<f64> {
        let inverse = Complex::from_polar(1.0, -PI * frequency);
        self.0.iter().fold(Complex::new(1.0, 0.0), |h, s| {
            let numerator = s.b[0] + inverse * (s.b[1] + inverse * s.b[2]);
            h * numerator / (1.0 + inverse * (s.a[0] + inverse * s.a[1]))
        })
    }

    /// Samples by which a record is extended at each end before it is filtered to and fro: three times the number of
    /// taps, `scipy.signal.sosfiltfilt`'s rule. A record must be longer than that.
    pub fn padding(&self) -> usize {
        let without = |zero: fn(&Section) -> bool| self.0.iter().filter(|s| zero(s)).count();
        3 * (2 * self.0.len() + 1 - without(|s| s.b[2] == 0.0).min(without(|s| s.a[1] == 0.0)))
    }

    /// The states in which a constant input of 1 leaves a constant output: `scipy.signal.sosfilt_zi`.
    pub(crate) fn steady_state(&self) -> Vec<State> {
        let mut input = 1.0;
        let states = self.0.iter().map(|s| {
            let output = input * s.b.iter().sum::<f64>() / (1.0 + s.a[0] + s.a[1]);
            let second = s.b[2] * input - s.a[1] * output;
            let first = s.b[1] * input - s.a[0] * output + second;
            input = output;
            [first, second]
        });
        states.collect()
    }

    /// One sample through all sections.
    #[inline(always)]
    pub(crate) fn step(&self, states: &mut [State], sample: f64) -> f64 {
        let mut x = sample;
        for (s, z) in self.0.iter().zip(states) {
            let y = s.b[0] * x + z[0];
            z[0] = s.b[1] * x - s.a[0] * y + z[1];
            z[1] = s.b[2] * x - s.a[1] * y;
            x = y;
        }
        x
    }

    /// Samples after which the filter has forgotten any start state; `None` if it never does within
    /// 2³¹ samples: its poles are on the unit circle as far as f64 can tell.
    ///
    /// It is the smallest n (to the monotony of the norm) with ‖Aⁿ‖∞ ≤ 1e-16, A the transition matrix of all states.
    pub fn memory(&self) -> Option<usize> {
        let size = 2 * self.0.len();
        let mut transition = DMatrix::zeros(size, size);
        for column in 0..size {
            let mut states = vec![[0.0; 2]; self.0.len()];
            states[column / 2][column % 2] = 1.0;
            self.step(&mut states, 0.0);
            for (row, value) in states.as_flattened().iter().enumerate() {
                transition[(row, column)] = *value;
            }
        }
        let mut powers = vec![transition];
        while norm(powers.last()?) > FORGOTTEN {
            if powers.len() > MEMORY_DOUBLINGS {
                return None;
            }
            let last = powers.last()?;
            powers.push(last * last);
        }
        let (mut reached, mut length) = (DMatrix::identity(size, size), 0usize);
        for (exponent, power) in powers.iter().enumerate().rev() {
            let next = &reached * power;
            if norm(&next) > FORGOTTEN {
                reached = next;
                length += 1 << exponent;
            }
        }
        Some(length + 1)
    }
}

impl Section {
    /// Largest modulus of its poles; a smaller bound where both are real and of one sign, for ordering only.
    fn radius(&self) -> f64 {
        let discriminant = self.a[0] * self.a[0] / 4.0 - self.a[1];
        if discriminant < 0.0 { self.a[1].sqrt() } else { self.a[0].abs() / 2.0 + discriminant.sqrt() }
    }
}

fn norm(matrix: &DMatrix<f64>) -> f64 {
    // NaN must not look small.
    matrix.row_iter().map(|row| row.iter().map(|v| v.abs()).sum::<f64>()).fold(0.0, |m, v| if v <= m { m } else { v })
}

/// Angles of the prototype's poles from the negative real axis, 0 ≤ angle < π/2: one of each conjugate pair.
fn upper_angles(order: usize) -> impl Iterator<Item = f64> {
    let first = if order.is_multiple_of(2) { 1 } else { 0 };
    (first..order).step_by(2).map(move |m| PI * m as f64 / (2 * order) as f64)
}

/// Pre-warped edge for the bilinear transformation s = 2·(z − 1)/(z + 1).
fn warp(edge: f64) -> f64 {
    2.0 * (PI * edge / 2.0).tan()
}

/// The frequency that a band transformation maps to 0: the geometric mean of the warped edges.
fn centre(low: f64, high: f64) -> f64 {
    2.0 / PI * ((warp(low) * warp(high)).sqrt() / 2.0).atan()
}

/// Analog poles of the band filter that one prototype pole (and its conjugate) becomes.
fn transform(pole: Complex<f64>, band: Band) -> Vec<Poles> {
    let real = pole.im == 0.0;
    let single = |p: Complex<f64>| vec![if real { Poles::Single(p.re) } else { Poles::Pair(p) }];
    let (half, product) = match band {
        Band::Low(edge) => return single(pole * warp(edge)),
        Band::High(edge) => return single(warp(edge) / pole),
        Band::Pass(low, high) => (pole * ((warp(high) - warp(low)) / 2.0), warp(low) * warp(high)),
        Band::Stop(low, high) => ((warp(high) - warp(low)) / 2.0 / pole, warp(low) * warp(high)),
    };
    // The two roots of s² − 2·half·s + product; the smaller one by the product, free of cancellation.
    let root = (half * half - product).sqrt();
    let large = if (half + root).norm() >= (half - root).norm() { half + root } else { half - root };
    let small = product / large;
    match (real, half.re * half.re > product) {
        (false, _) => vec![Poles::Pair(large), Poles::Pair(small)],
        (true, true) => vec![Poles::Reals(large.re, small.re)],
        (true, false) => vec![Poles::Pair(large)],
    }
}

/// The digital section of analog poles; its gain is still open.
fn section(poles: Poles, band: Band) -> Section {
    let real = |p: f64| (2.0 + p) / (2.0 - p);
    let a = match poles {
        Poles::Pair(p) => {
            let z = (2.0 + p) / (2.0 - p);
            [-2.0 * z.re, z.norm_sqr()]
        }
        Poles::Reals(p, q) => [-(real(p) + real(q)), real(p) * real(q)],
        Poles::Single(p) => [-real(p), 0.0],
    };
    let b = match (band, poles) {
        (Band::Low(_), Poles::Single(_)) => [1.0, 1.0, 0.0],
        (Band::Low(_), _) => [1.0, 2.0, 1.0],
        (Band::High(_), Poles::Single(_)) => [1.0, -1.0, 0.0],
        (Band::High(_), _) => [1.0, -2.0, 1.0],
        (Band::Pass(..), _) => [1.0, 0.0, -1.0],
        (Band::Stop(low, high), _) => [1.0, -2.0 * (PI * centre(low, high)).cos(), 1.0],
    };
    Section { b, a }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANDS: [Band; 5] =
        [Band::Low(0.3), Band::High(0.02), Band::Pass(0.1, 0.4), Band::Stop(0.2, 0.25), Band::Pass(0.001, 0.9)];

    /// |H|² of an analog Butterworth filter at the warped frequency.
    fn analytic(order: usize, band: Band, frequency: f64) -> f64 {
        let w = warp(frequency);
        let ratio = match band {
            Band::Low(edge) => w / warp(edge),
            Band::High(edge) => warp(edge) / w,
            Band::Pass(low, high) => (w * w - warp(low) * warp(high)) / (w * (warp(high) - warp(low))),
            Band::Stop(low, high) => w * (warp(high) - warp(low)) / (w * w - warp(low) * warp(high)),
        };
        1.0 / (1.0 + ratio.powi(2 * order as i32))
    }

    #[test]
    fn butterworth_has_its_analytic_magnitude_at_every_order_and_band() {
        for band in BANDS {
            for order in 1..=12 {
                let filter = Sections::butterworth(order, band);
                for k in 1..200 {
                    let f = k as f64 / 200.0;
                    let (found, exact) = (filter.response(f).norm_sqr(), analytic(order, band, f));
                    // A pole at distance d from the unit circle carries a relative error of eps/d into H; the
                    // smallest d here is 1e-3·sin(π/24), raised by the 12 poles of the largest order.
                    assert!((found - exact).abs() <= 1e-9, "{band:?} order {order} at {f}: {found} {exact}");
                }
            }
        }
    }

    #[test]
    fn every_pole_lies_inside_the_unit_circle_and_the_memory_is_found() {
        for band in BANDS {
            for order in 1..=12 {
                let filter = Sections::butterworth(order, band);
                assert!(filter.sections().iter().all(|s| s.radius() < 1.0), "{band:?} {order}");
                assert!(filter.memory().is_some(), "{band:?} {order}");
            }
        }
    }

    #[test]
    fn chebyshev_ripples_between_its_bounds_and_ends_at_the_ripple() {
        let filter = Sections::chebyshev_low(8, 0.05, 0.16);
        let bottom = 10f64.powf(-0.005);
        for k in 0..=1000 {
            let h = filter.response(0.16 * k as f64 / 1000.0).norm_sqr();
            assert!(h <= 1.0 + 1e-10 && h >= bottom * bottom - 1e-10, "{k} {h}");
        }
        assert!((filter.response(0.16).norm() - 10f64.powf(-0.05 / 20.0)).abs() <= 1e-12);
    }

    #[test]
    fn a_first_order_low_pass_has_its_textbook_coefficients() {
        let filter = Sections::butterworth(1, Band::Low(0.5));
        // tan(π/4) = 1: H = (1 + z⁻¹)/2.
        let Section { b, a } = filter.sections()[0];
        assert!((b[0] - 0.5).abs() <= 1e-15 && (b[1] - 0.5).abs() <= 1e-15 && b[2] == 0.0);
        assert!(a[0].abs() <= 1e-15 && a[1] == 0.0);
        assert_eq!(filter.padding(), 6);
    }

    #[test]
    fn a_step_into_the_steady_state_stays_constant() {
        for band in BANDS {
            let filter = Sections::butterworth(5, band);
            let mut states = filter.steady_state();
            let gain = filter.response(0.0).re;
            for _ in 0..100 {
                assert!((filter.step(&mut states, 1.0) - gain).abs() <= 1e-9, "{band:?}");
            }
        }
    }

    #[test]
    fn a_filter_with_poles_on_the_unit_circle_has_no_memory_length() {
        let filter = Sections(vec![Section { b: [1.0, 0.0, 0.0], a: [0.0, 1.0] }]);
        assert_eq!(filter.memory(), None);
    }
}
