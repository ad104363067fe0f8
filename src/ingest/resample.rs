//! Rows at a clock's own rate → samples of the record's axis: a windowed sinc.
//!
//! A sensor of another rate, one whose clock drifts, or one that lies a part of a sample beside the axis is brought to
//! it by y(p) = Σ x(k)·h(p − k), h a sinc with its edge at 0.9 of the lower of both Nyquist frequencies under a
//! Kaiser window: the band up to 0.8 of it passes, from 1.0 on 100 dB are stopped (Oppenheim & Schafer, Discrete-Time
//! Signal Processing, § 7.5; band-limited interpolation after Smith & Gossett 1984). Short gaps are closed at the own
//! rate beforehand; at the ends of a gap-free stretch the signal goes on as its point reflection.

use super::IngestError;
use super::assemble::TrackReader;
use super::timeline::Resampling;
use crate::model::control::Control;
use std::f64::consts::PI;

/// Up to here everything passes, in parts of the lower Nyquist frequency: the edge of the decimation filter.
pub(crate) const PASS: f64 = 0.8;

/// Attenuation of what would fold back, dB: below the 16 bits and a half of the best loggers.
pub(crate) const ATTENUATION_DB: f64 = 100.0;

/// Points of the kernel's table per sample: with lines between them its error is (π/1024)²/8 ≈ 1e-6 of the peak,
/// below the stop band.
const TABLE: usize = 1024;

/// Own samples that are held at once and channel, beside the kernel's length: half a MiB.
const CHUNK: f64 = 65_536.0;

/// The kernel for one ratio of rates.
struct Kernel {
    /// Own samples to either side.
    half: usize,
    /// h at 0, 1/TABLE, 2/TABLE, … own samples.
    table: Vec<f64>,
}

impl Kernel {
    /// `step`: own samples per sample of the axis.
    fn new(step: f64) -> Kernel {
        let nyquist = (1.0 / step).min(1.0);
        let edge = nyquist * (1.0 + PASS) / 2.0;
        // Kaiser's formulas for β and the length at a transition from PASS to 1.
        let beta = 0.1102 * (ATTENUATION_DB - 8.7);
        let half = ((ATTENUATION_DB - 7.95) / (2.0 * 2.285 * PI * nyquist * (1.0 - PASS))).ceil();
        let value = |k: usize| {
            let u = k as f64 / TABLE as f64;
            let sinc = if k == 0 { 1.0 } else { (PI * edge * u).sin() / (PI * edge * u) };
            edge * sinc * bessel_i0(beta * (1.0 - (u / half).powi(2)).max(0.0).sqrt()) / bessel_i0(beta)
        };
        let half = half as usize;
        Kernel { half, table: (0..=half * TABLE + 1).map(value).collect() }
    }

    /// Weights of the samples `first..` for position `position`; their sum is 1.
    fn weights(&self, position: f64, weights: &mut Vec<f64>) -> i64 {
        let first = position.floor() as i64 - self.half as i64 + 1;
        weights.clear();
        weights.extend((0..2 * self.half as i64).map(|k| {
            let at = (position - (first + k) as f64).abs() * TABLE as f64;
            let (low, part) = (at as usize, at.fract());
            self.table.get(low + 1).map_or(0.0, |high| self.table[low] + part * (high - self.table[low]))
        }));
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        first
    }
}

/// I₀, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > 1e-17 * sum {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

/// A track on its way to the axis.
pub(super) struct Resampler<'a> {
    reader: TrackReader<'a>,
    kernel: Kernel,
    resampling: Resampling,
    max_gap: usize,
    lanes: Vec<Lane>,
    /// Own sample that is the first of the lanes.
    start: i64,
    /// The next sample of the axis.
    next: u64,
}

/// One channel at its own rate.
#[derive(Default)]
struct Lane {
    samples: Vec<f64>,
    /// Where the search for gaps goes on.
    searched: usize,
    closed: u64,
    out: Vec<f64>,
}

impl<'a> Resampler<'a> {
    pub(super) fn new(reader: TrackReader<'a>, resampling: Resampling, channels: usize, max_gap: usize) -> Self {
        let lanes = std::iter::repeat_with(Lane::default).take(channels).collect();
        let kernel = Kernel::new(resampling.step);
        Resampler { reader, kernel, resampling, max_gap, lanes, start: 0, next: 0 }
    }

    fn position(&self, sample: u64) -> f64 {
        self.resampling.origin + sample as f64 * self.resampling.step
    }

    fn end(&self) -> i64 {
        self.start + self.lanes.first().map_or(0, |lane| lane.samples.len() as i64)
    }

    /// The next sample of the axis that this track may have.
    pub(super) fn next_sample(&self) -> Option<u64> {
        let sample_of = |own: f64| ((own - self.resampling.origin) / self.resampling.step).ceil().max(0.0) as u64;
        let held = self.lanes.first().is_some_and(|lane| {
            let from = (self.position(self.next).floor() as i64 - self.start).max(0) as usize;
            lane.samples.len() > from
        });
        match self.reader.next_sample() {
            _ if held => Some(self.next),
            Some(own) => Some(self.next.max(sample_of(own as f64))),
            None => None,
        }
    }

    /// Samples of one channel that were closed by lines: of its own rate, and of the axis.
    pub(super) fn closed(&self, channel: usize) -> (u64, u64) {
        let own = self.lanes[channel].closed;
        (own, (own as f64 / self.resampling.step).round() as u64)
    }

    pub(super) fn out(&self, channel: usize) -> &[f64] {
        &self.lanes[channel].out
    }

    /// Makes samples `start` and the following of the axis.
    pub(super) fn fill(&mut self, start: u64, length: usize, control: &Control) -> Result<(), IngestError> {
        self.lanes.iter_mut().for_each(|lane| lane.out.clear());
        let chunk = ((CHUNK / self.resampling.step) as u64).max(1);
        let (mut from, end) = (start, start + length as u64);
        while from < end {
            let to = end.min(from + chunk);
            self.read(from, to, control)?;
            self.make(from, to);
            from = to;
        }
        self.next = end;
        Ok(())
    }

    /// Holds the own samples behind samples `from..to` of the axis, their short gaps closed.
    fn read(&mut self, from: u64, to: u64, control: &Control) -> Result<(), IngestError> {
        let half = self.kernel.half as i64;
        let first = self.position(from).floor() as i64 - half - self.max_gap as i64;
        let drop = usize::try_from(first - self.start).unwrap_or(0);
        if drop > 0 {
            self.start = first;
            self.lanes.iter_mut().for_each(|lane| lane.drop_front(drop));
        }
        // A gap may end so much later, and only then is known to be short.
        let last = self.position(to - 1).ceil() as i64 + half + self.max_gap as i64 + 1;
        let begin = self.end();
        if last > begin {
            self.reader.fill(begin.unsigned_abs(), usize::try_from(last - begin).unwrap_or(0), control)?;
            for (channel, lane) in self.lanes.iter_mut().enumerate() {
                lane.samples.extend_from_slice(self.reader.window(channel));
            }
        }
        self.lanes.iter_mut().for_each(|lane| lane.close_gaps(self.max_gap));
        Ok(())
    }

    fn make(&mut self, from: u64, to: u64) {
        let (mut weights, mut stretches) = (Vec::new(), vec![(0, 0); self.lanes.len()]);
        for sample in from..to {
            let position = self.position(sample) - self.start as f64;
            let first = self.kernel.weights(position, &mut weights);
            for (lane, stretch) in self.lanes.iter_mut().zip(&mut stretches) {
                lane.out.push(lane.value(position, first, &weights, stretch));
            }
        }
    }
}

impl Lane {
    fn drop_front(&mut self, count: usize) {
        self.samples.drain(..count.min(self.samples.len()));
        self.searched = self.searched.saturating_sub(count);
    }

    fn close_gaps(&mut self, max_gap: usize) {
        let length = self.samples.len();
        let mut from = self.searched;
        while let Some(hole) = (from..length).find(|t| self.samples[*t].is_nan()) {
            let Some(end) = (hole..length).find(|t| self.samples[*t].is_finite()) else {
                self.searched = if length - hole <= max_gap { hole } else { length };
                return;
            };
            if hole > 0 && end - hole <= max_gap && self.samples[hole - 1].is_finite() {
                let (left, right) = (self.samples[hole - 1], self.samples[end]);
                let step = (right - left) / (end - hole + 1) as f64;
                for (k, sample) in self.samples[hole..end].iter_mut().enumerate() {
                    *sample = left + step * (k + 1) as f64;
                }
                self.closed += (end - hole) as u64;
            }
            from = end;
        }
        self.searched = length;
    }

    /// The value at `position`, NaN in a gap. `stretch`: the gap-free one that the last position lay in.
    fn value(&self, position: f64, first: i64, weights: &[f64], stretch: &mut (usize, usize)) -> f64 {
        let (low, high) = (position.floor(), position.ceil());
        let sound = |at: f64| at >= 0.0 && self.samples.get(at as usize).is_some_and(|x| x.is_finite());
        if !sound(low) || !sound(high) {
            return f64::NAN;
        }
        let (low, high) = (low as usize, high as usize);
        let reach = (first.max(0) as usize, (first + weights.len() as i64).max(0) as usize);
        // Its bounds, as far as the kernel reaches.
        let (begin, end) = stretch;
        if !(*begin <= low && high < *end) {
            *begin = low;
            *end = high + 1;
        }
        while *begin > reach.0 && self.samples[*begin - 1].is_finite() {
            *begin -= 1;
        }
        while *end < reach.1.min(self.samples.len()) && self.samples[*end].is_finite() {
            *end += 1;
        }
        let (begin, last) = (*begin as i64, *end as i64 - 1);
        if first >= begin && first + weights.len() as i64 - 1 <= last {
            let samples = &self.samples[first as usize..];
            return weights.iter().zip(samples).map(|(w, x)| w * x).sum();
        }
        let at = |k: i64| self.samples[k.clamp(begin, last) as usize];
        let reflected = |k: i64| match k {
            k if k < begin => 2.0 * at(begin) - at(2 * begin - k),
            k if k > last => 2.0 * at(last) - at(2 * last - k),
            k => at(k),
        };
        weights.iter().zip(first..).map(|(w, k)| w * reflected(k)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Magnitude of the kernel at a frequency in parts of the own Nyquist frequency.
    fn response(kernel: &Kernel, frequency: f64) -> f64 {
        let mut weights = Vec::new();
        let first = kernel.weights(0.0, &mut weights);
        weights.iter().zip(first..).map(|(w, k)| w * (PI * frequency * k as f64).cos()).sum::<f64>().abs()
    }

    #[test]
    fn the_kernel_passes_and_stops_what_it_promises() {
        for step in [1.0, 1.003, 2.0, 4.265, 10.0] {
            let kernel = Kernel::new(step);
            for k in 0..=100 {
                let pass = response(&kernel, PASS / step * f64::from(k) / 100.0);
                // 100 dB of ripple as well, the table's 1e-6, and the sum that is set to 1.
                assert!((pass - 1.0).abs() <= 3e-5, "{step}: {pass}");
                let stop = response(&kernel, (1.0 / step + (1.0 - 1.0 / step) * f64::from(k) / 100.0).min(1.0));
                assert!(stop <= 3e-5, "{step}: {stop}");
            }
        }
    }
}
