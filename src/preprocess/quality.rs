//! What is wrong with a channel: sums over its calibrated samples, and a verdict from them.

use std::array;

/// Random sums by which equal channels are found. Two channels of correlation ρ differ in each by √(2(1 − ρ)) on
/// average; eight of them leave no pair undetected by chance.
const SUMS: usize = 8;

/// Channels that differ by less in every sum are one signal: 1 − ρ < 5e-7, where the noise of two real sensors, at
/// best −100 dB of their signal, leaves 1e-5 between them even on one bolt.
const SAME: f64 = 1e-3;

/// Equal values in a row from which a sensor counts as stuck there: at ten samples a period of anything that is
/// analysed, five periods without a change.
const STUCK_RUN: u64 = 50;

/// Share of stuck samples above which the channel is.
const STUCK: f64 = 0.05;

/// Equal values at the largest or smallest value from which a signal was cut there and did not just turn.
const CLIPPED_RUN: u64 = 3;

/// Share of cut samples above which the channel is clipped: a thousandth of the samples, where a Gaussian signal has
/// its tops beyond three standard deviations.
const CLIPPED: f64 = 1e-3;

/// Sums over one channel.
#[derive(Debug, Clone)]
pub(crate) struct Inspection {
    count: u64,
    /// The first value; sums are of values minus this one.
    origin: f64,
    sum: f64,
    squares: f64,
    signed: [f64; SUMS],
    signs: [f64; SUMS],
    last: f64,
    run: u64,
    stuck: u64,
    top: Extreme,
    bottom: Extreme,
}

/// The largest value so far and how often it stood there in a row.
#[derive(Debug, Clone, Copy)]
struct Extreme {
    value: f64,
    run: u64,
    cut: u64,
}

impl Extreme {
    fn push(&mut self, value: f64) {
        if value > self.value {
            *self = Extreme { value, run: 1, cut: 0 };
        } else if value == self.value {
            self.run += 1;
            self.cut += match self.run {
                CLIPPED_RUN => CLIPPED_RUN,
                run if run > CLIPPED_RUN => 1,
                _ => 0,
            };
        } else {
            self.run = 0;
        }
    }
}

impl Inspection {
    pub(crate) fn new() -> Inspection {
        let extreme = Extreme { value: f64::NEG_INFINITY, run: 0, cut: 0 };
        Inspection {
            count: 0,
            origin: 0.0,
            sum: 0.0,
            squares: 0.0,
            signed: [0.0; SUMS],
            signs: [0.0; SUMS],
            last: f64::NAN,
            run: 0,
            stuck: 0,
            top: extreme,
            bottom: extreme,
        }
    }

    /// Takes the next samples; `start`: the first one's place on the record's axis.
    pub(crate) fn push(&mut self, start: u64, samples: &[f64]) {
        if self.count == 0 {
            self.origin = samples.first().copied().unwrap_or(0.0);
        }
        for (at, &sample) in (start..).zip(samples) {
            self.run = if sample == self.last { self.run + 1 } else { 1 };
            self.last = sample;
            self.stuck += match self.run {
                STUCK_RUN => STUCK_RUN,
                run if run > STUCK_RUN => 1,
                _ => 0,
            };
            self.top.push(sample);
            self.bottom.push(-sample);
            let value = sample - self.origin;
            self.sum += value;
            self.squares += value * value;
            let bits = mix(at);
            for k in 0..SUMS {
                let sign = if bits >> k & 1 == 1 { 1.0 } else { -1.0 };
                self.signed[k] += sign * value;
                self.signs[k] += sign;
            }
        }
        self.count += samples.len() as u64;
    }

    /// Part of the samples that stand still for [`STUCK_RUN`] samples or more.
    pub(crate) fn stuck_fraction(&self) -> f64 {
        self.stuck as f64 / self.count as f64
    }

    /// Part of the samples that are cut off at the largest or smallest value.
    pub(crate) fn clipped_fraction(&self) -> f64 {
        (self.top.cut + self.bottom.cut) as f64 / self.count as f64
    }

    /// The channel's fault, if these sums show one.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match (self.stuck_fraction() > STUCK, self.clipped_fraction() > CLIPPED) {
            (true, _) => Some("stuck"),
            (_, true) => Some("clipped"),
            _ => None,
        }
    }

    /// Whether the other channel is the same signal, perhaps of other scale, offset and sign.
    pub(crate) fn repeats(&self, other: &Inspection) -> bool {
        let (Some(a), Some(b)) = (self.marks(), other.marks()) else { return false };
        let same = |sign: f64| a.iter().zip(&b).all(|(a, b)| (a - sign * b).abs() <= SAME);
        self.count == other.count && (same(1.0) || same(-1.0))
    }

    /// The random sums of the standardised signal; `None` without variance.
    fn marks(&self) -> Option<[f64; SUMS]> {
        let n = self.count as f64;
        let mean = self.sum / n;
        let deviation = (self.squares / n - mean * mean).sqrt();
        let mark = |k: usize| (self.signed[k] - mean * self.signs[k]) / (deviation * n.sqrt());
        Some(array::from_fn(mark)).filter(|_| deviation > 0.0)
    }
}

/// Bits that look random for every place: the finaliser of SplitMix64 (Steele, Lea & Flood 2014).
fn mix(place: u64) -> u64 {
    let mut z = place.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(samples: impl Iterator<Item = f64>) -> Inspection {
        let samples: Vec<f64> = samples.collect();
        let mut inspection = Inspection::new();
        let (left, right) = samples.split_at(samples.len() / 3);
        inspection.push(0, left);
        inspection.push(left.len() as u64, right);
        inspection
    }

    fn noise(k: u64) -> f64 {
        mix(k ^ 0xabcdef) as f64 / u64::MAX as f64 - 0.5
    }

    #[test]
    fn a_copy_of_any_scale_is_found_and_a_noisy_one_is_not() {
        let a = inspected((0..5000).map(noise));
        assert!(a.repeats(&inspected((0..5000).map(|k| 100.0 - 3.0 * noise(k)))));
        assert!(!a.repeats(&inspected((0..5000).map(|k| noise(k) + 0.01 * noise(k + 7777)))));
        assert!(!a.repeats(&inspected((0..5000).map(|k| noise(k + 1)))));
        assert!(!a.repeats(&inspected((0..5000).map(|_| 1.0))));
    }

    #[test]
    fn a_sensor_that_stands_still_or_is_cut_is_told() {
        let stuck = inspected((0..5000).map(|k| if (1000..1400).contains(&k) { 0.1 } else { noise(k) }));
        assert_eq!((stuck.fault(), stuck.stuck_fraction()), (Some("stuck"), 0.08));
        let sine = |k: u64| (k as f64 * 0.07).sin();
        assert_eq!(inspected((0..5000).map(|k| sine(k).clamp(-0.8, 0.8))).fault(), Some("clipped"));
        assert_eq!(inspected((0..5000).map(sine)).fault(), None);
    }
}
