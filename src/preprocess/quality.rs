//! What is wrong with a channel: sums over its calibrated samples, and a verdict from them.

use super::statistics::sums;
use crate::model::channel::Channel;
use crate::model::result::ChannelQuality;
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

/// Parts of the record whose means are compared.
const PARTS: usize = 10;

/// Wander of the mean from part to part, in standard deviations of the signal within the parts, above which the
/// channel drifts. A still building on a good sensor shows up to 3 over half an hour, from the warming of both.
const DRIFTING: f64 = 5.0;

/// Noise of a channel by the median of its peers above which it is noisy: 20 dB.
const NOISY: f64 = 10.0;

/// Channels of one quantity and unit below which there are no peers to be compared with.
const PEERS: usize = 3;

/// Share of replaced samples above which a channel is spiky: a thousandth, far beyond what chance replaces.
const SPIKY: f64 = 1e-3;

/// Share of the record below which the own samples of a channel are sparse.
const SPARSE: f64 = 0.9;

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
    /// Samples of the whole record.
    total: u64,
    /// Per part of the record the number of values, their sum and that of their squares.
    parts: [(f64, f64, f64); PARTS],
    /// The last two values of an unbroken row, and where the next one lies.
    before: [f64; 2],
    next: u64,
    /// Squares of the second differences, and how many.
    bends: (f64, f64),
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
    /// `total`: samples of the whole record.
    pub(crate) fn new(total: u64) -> Inspection {
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
            total,
            parts: [(0.0, 0.0, 0.0); PARTS],
            before: [f64::NAN; 2],
            next: 0,
            bends: (0.0, 0.0),
        }
    }

    /// Takes the next samples; `start`: the first one's place on the record's axis.
    pub(crate) fn push(&mut self, start: u64, samples: &[f64]) {
        if self.count == 0 {
            self.origin = samples.first().copied().unwrap_or(0.0);
        }
        self.bend(start, samples);
        self.spread(start, samples);
        for &sample in samples {
            self.run = if sample == self.last { self.run + 1 } else { 1 };
            self.last = sample;
            self.stuck += match self.run {
                STUCK_RUN => STUCK_RUN,
                run if run > STUCK_RUN => 1,
                _ => 0,
            };
            self.top.push(sample);
            self.bottom.push(-sample);
        }
        let origin = self.origin;
        let [sum, squares] = sums(samples, |_, sample| [sample - origin, (sample - origin) * (sample - origin)]);
        (self.sum, self.squares) = (self.sum + sum, self.squares + squares);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || self.project(start, samples),
        );
        self.count += samples.len() as u64;
    }

    /// Adds the samples with random signs.
    #[inline(always)]
    fn project(&mut self, start: u64, samples: &[f64]) {
        let (mut signed, mut positive) = (self.signed, [0u64; SUMS]);
        for (at, sample) in (start..).zip(samples) {
            let (value, bits) = ((sample - self.origin).to_bits(), mix(at));
            for k in 0..SUMS {
                signed[k] += f64::from_bits(value ^ !(bits >> k) << 63);
                positive[k] += bits >> k & 1;
            }
        }
        self.signed = signed;
        let count = samples.len() as f64;
        self.signs.iter_mut().zip(positive).for_each(|(signs, positive)| *signs += 2.0 * positive as f64 - count);
    }

    /// Adds the second differences of unbroken samples.
    fn bend(&mut self, start: u64, samples: &[f64]) {
        let before = if start == self.next { self.before } else { [f64::NAN; 2] };
        // The first two look back at the block before.
        let back = |k: usize, by: usize| if k < by { before[k + 2 - by] } else { samples[k - by] };
        let [squares, count] = sums(samples, |k, sample| {
            let bend = sample - 2.0 * back(k, 1) + back(k, 2);
            if bend.is_finite() { [bend * bend, 1.0] } else { [0.0; 2] }
        });
        self.bends = (self.bends.0 + squares, self.bends.1 + count);
        self.before = [back(samples.len(), 2), back(samples.len(), 1)];
        self.next = start + samples.len() as u64;
    }

    /// Adds the samples to the parts of the record that they lie in.
    fn spread(&mut self, start: u64, samples: &[f64]) {
        let total = u128::from(self.total.max(1));
        let mut rest = samples;
        while !rest.is_empty() {
            let at = u128::from(start) + (samples.len() - rest.len()) as u128;
            let part = ((at * PARTS as u128 / total) as usize).min(PARTS - 1);
            let end = ((part as u128 + 1) * total).div_ceil(PARTS as u128);
            let count = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).clamp(1, rest.len());
            let count = if part == PARTS - 1 { rest.len() } else { count };
            let (own, others) = rest.split_at(count);
            let origin = self.origin;
            let [sum, squares] = sums(own, |_, sample| [sample - origin, (sample - origin) * (sample - origin)]);
            let part = &mut self.parts[part];
            *part = (part.0 + count as f64, part.1 + sum, part.2 + squares);
            rest = others;
        }
    }

    /// Part of the samples that stand still for [`STUCK_RUN`] samples or more.
    pub(crate) fn stuck_fraction(&self) -> f64 {
        self.stuck as f64 / self.count as f64
    }

    /// Part of the samples that are cut off at the largest or smallest value.
    pub(crate) fn clipped_fraction(&self) -> f64 {
        (self.top.cut + self.bottom.cut) as f64 / self.count as f64
    }

    /// By how much the means of the tenths of the record differ, in standard deviations of the signal within them;
    /// `None` where nothing varies within them.
    pub(crate) fn drift(&self) -> Option<f64> {
        let parts = || self.parts.iter().filter(|part| part.0 > 0.0);
        let means = || parts().map(|(n, sum, _)| sum / n);
        let within: f64 = parts().map(|(n, sum, squares)| squares - sum * sum / n).sum();
        let deviation = (within / self.count as f64).sqrt();
        let range = means().fold(f64::NEG_INFINITY, f64::max) - means().fold(f64::INFINITY, f64::min);
        Some(range / deviation).filter(|drift| drift.is_finite())
    }

    /// Standard deviation of the white noise that would have the same second differences: an upper bound of the noise
    /// of a signal that is sampled well above its own band.
    pub(crate) fn noise(&self) -> Option<f64> {
        // The weights 1, −2, 1 have the squares 6.
        Some((self.bends.0 / self.bends.1 / 6.0).sqrt()).filter(|noise| noise.is_finite())
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

/// The verdict on a channel from its numbers, where the sums of [`Inspection::fault`] show nothing.
pub(crate) fn lesser_fault(quality: &ChannelQuality) -> Option<&'static str> {
    if quality.coverage < SPARSE {
        Some("sparse")
    } else if quality.spike_fraction.is_some_and(|part| part > SPIKY) {
        Some("spiky")
    } else if quality.noise_to_peers.is_some_and(|ratio| ratio > NOISY) {
        Some("noisy")
    } else if quality.drift.is_some_and(|drift| drift > DRIFTING) {
        Some("drifting")
    } else {
        None
    }
}

/// A sentence about a channel that is used in spite of its verdict.
pub(crate) fn warning(quality: &ChannelQuality) -> Option<String> {
    let percent = |part: f64| format!("{:.3} %", 100.0 * part);
    let why = match quality.verdict.as_str() {
        "stuck" => format!("stands still for {} of its samples", percent(quality.stuck_fraction)),
        "clipped" => format!("is cut off in {} of its samples", percent(quality.clipped_fraction)),
        "sparse" => format!("has values for {} of the record only", percent(quality.coverage)),
        "spiky" => format!("had spikes in {} of its samples", percent(quality.spike_fraction.unwrap_or(0.0))),
        "noisy" => format!("has {:.0} times the noise of its peers", quality.noise_to_peers.unwrap_or(0.0)),
        "drifting" => format!("drifts by {:.1} standard deviations of its signal", quality.drift.unwrap_or(0.0)),
        _ => return None,
    };
    Some(format!("channel {}: {why}", quality.channel))
}

/// Per channel its noise by the median of those with the same quantity and unit, where those are enough.
pub(crate) fn noise_to_peers(channels: &[Channel], noise: &[Option<f64>]) -> Vec<Option<f64>> {
    let ratio = |(channel, own): (&Channel, &Option<f64>)| {
        let is_peer = |other: &Channel| other.quantity == channel.quantity && other.unit == channel.unit;
        let peers = channels.iter().zip(noise).filter(|(other, _)| is_peer(other)).filter_map(|(_, noise)| *noise);
        let mut peers: Vec<f64> = peers.filter(|noise| *noise > 0.0).collect();
        peers.sort_unstable_by(f64::total_cmp);
        let median = peers.get(peers.len().checked_sub(1)? / 2)?;
        (peers.len() >= PEERS).then_some((*own)? / median)
    };
    channels.iter().zip(noise).map(ratio).collect()
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
        let mut inspection = Inspection::new(samples.len() as u64);
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
    fn drift_and_noise_are_told_in_numbers() {
        let still = inspected((0..50_000).map(|k| 1e6 + noise(k)));
        // Uniform noise of width 1 has a standard deviation of 1/√12.
        assert!((still.noise().unwrap() * 12f64.sqrt() - 1.0).abs() <= 0.02);
        assert!(still.drift().unwrap() <= 0.1);
        let wandering = inspected((0..50_000).map(|k| noise(k) + k as f64 * 1e-4));
        // Nine tenths of 5, over the noise and a tenth of the ramp.
        let expected = 4.5 / (1.0 / 12.0 + 0.25 / 12.0f64).sqrt();
        assert!((wandering.drift().unwrap() / expected - 1.0).abs() <= 0.02, "{:?}", wandering.drift());
        let channels = vec![Channel::default(); 4];
        let ratios = noise_to_peers(&channels, &[Some(1.0), Some(1.1), Some(0.9), Some(30.0)]);
        assert!(ratios[3].unwrap() > NOISY && ratios[0].unwrap() <= 1.0);
        assert_eq!(noise_to_peers(&channels[..2], &[Some(1.0), Some(30.0)]), [None, None]);
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
