//! Spikes: values far from the median of their neighbours, replaced by it.
//!
//! The filter of Hampel (1974; Pearson 2002): a value further than `threshold` · 1.4826 · MAD from the median of
//! itself and `half_width` neighbours on either side is a spike, MAD the median distance from that median; 1.4826
//! makes it the standard deviation of Gaussian noise. Neighbours are taken as they were measured; at the ends of a
//! segment those that are there.

use crate::model::parameters::Outliers;

/// Standard deviation of Gaussian noise by its MAD: 1/Φ⁻¹(3/4).
const GAUSSIAN: f64 = 1.482_602_218_505_602;

/// One channel of one segment on its way.
pub(crate) struct Hampel {
    half: usize,
    threshold: f64,
    /// The values behind and ahead of the next one to be judged.
    near: Vec<f64>,
    /// Place in `near` of the next one to be judged.
    at: usize,
    sorted: Vec<f64>,
    /// Values that were replaced.
    pub(crate) spikes: u64,
}

impl Hampel {
    pub(crate) fn new(outliers: &Outliers) -> Hampel {
        let (near, sorted) = (Vec::new(), Vec::new());
        Hampel { half: outliers.half_width, threshold: outliers.threshold, near, at: 0, sorted, spikes: 0 }
    }

    /// Takes the next samples and appends to `out` those that are judged.
    pub(crate) fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) {
        self.near.extend_from_slice(samples);
        while self.at + self.half < self.near.len() {
            let value = self.judge();
            out.push(value);
        }
        let past = self.at.saturating_sub(self.half);
        self.near.drain(..past);
        self.at -= past;
    }

    /// Ends the segment.
    pub(crate) fn finish(&mut self, out: &mut Vec<f64>) {
        while self.at < self.near.len() {
            let value = self.judge();
            out.push(value);
        }
    }

    fn judge(&mut self) -> f64 {
        let value = self.near[self.at];
        let window = self.at.saturating_sub(self.half)..self.near.len().min(self.at + self.half + 1);
        self.at += 1;
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.near[window]);
        let middle = median(&mut self.sorted);
        self.sorted.iter_mut().for_each(|v| *v = (*v - middle).abs());
        if (value - middle).abs() > self.threshold * GAUSSIAN * median(&mut self.sorted) {
            self.spikes += 1;
            return middle;
        }
        value
    }
}

/// The median; of an even number the mean of the middle two.
fn median(values: &mut [f64]) -> f64 {
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(values.len() / 2, f64::total_cmp);
    let upper = *upper;
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if even { (lower + upper) / 2.0 } else { upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_are_replaced_by_the_median_and_nothing_else_is_touched_whatever_the_blocks() {
        let clean = |k: usize| (0.05 * k as f64).sin() + 0.01 * ((k * 7919 % 101) as f64 / 101.0);
        let mut samples: Vec<f64> = (0..1000).map(clean).collect();
        for at in [0, 300, 301, 999] {
            samples[at] += 50.0;
        }
        let outliers = Outliers { half_width: 5, threshold: 8.0 };
        let run = |block: usize| {
            let (mut hampel, mut out) = (Hampel::new(&outliers), Vec::new());
            samples.chunks(block).for_each(|piece| hampel.push(piece, &mut out));
            hampel.finish(&mut out);
            (out, hampel.spikes)
        };
        let (out, spikes) = run(1000);
        assert_eq!((out.len(), spikes), (1000, 4));
        // Over five samples the sine moves by a quarter at most.
        assert!((0..1000).all(|k| (out[k] - clean(k)).abs() <= 0.26));
        assert_eq!((0..1000).filter(|k| out[*k] != samples[*k]).count(), 4);
        assert!([1, 7, 64].iter().all(|block| run(*block).0 == out));
    }
}
