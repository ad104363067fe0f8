//! Welch segments: window, transform, cross products.

use super::super::accumulate::{Batch, PairSums, Pairs, Snapshots};
use super::super::{ComputeError, CrossSpectra, SpectralMatrices, WelchPlan, cost, hann};
use crate::model::record::Block;
use rayon::prelude::*;
use realfft::{RealFftPlanner, RealToComplex};
use std::sync::Arc;

pub(super) struct Welch {
    plan: WelchPlan,
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    /// Segment of the record that `pending` belongs to.
    segment: usize,
    /// Samples not yet transformed, one vector a channel.
    pending: Vec<Vec<f32>>,
    batch: Batch,
    sums: Sums,
    longest: u64,
    count: usize,
}

/// Sums of products of transforms, or so few transforms that they are kept.
enum Sums {
    Products(PairSums),
    Transforms(Snapshots),
}

impl Welch {
    pub(super) fn new(plan: &WelchPlan) -> Welch {
        let n = plan.segment_length;
        let sums = match plan.segments.filter(|&segments| cost::keeps_segments(segments, plan.channels)) {
            Some(segments) => Sums::Transforms(Snapshots::new(plan.lines.clone(), plan.channels, segments)),
            None => Sums::Products(PairSums::new(plan.lines.clone(), Pairs::Lower(plan.channels))),
        };
        Welch {
            plan: plan.clone(),
            window: hann(n),
            fft: RealFftPlanner::new().plan_fft_forward(n),
            segment: 0,
            pending: vec![Vec::new(); plan.channels],
            batch: Batch::new(plan.lines.clone()),
            sums,
            longest: 0,
            count: 0,
        }
    }

    /// Transforms the complete segments among the pending samples, a batch at a time.
    fn drain(&mut self) {
        let (n, hop) = (self.plan.segment_length, self.plan.hop);
        let available = self.pending.first().map_or(0, Vec::len);
        let complete = if available < n { 0 } else { (available - n) / hop + 1 };
        let most = Batch::stretches(self.plan.channels, self.plan.lines.len());
        let (fft, window) = (&self.fft, &self.window[..]);
        let room = || (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        for first in (0..complete).step_by(most) {
            let stretches = most.min(complete - first);
            let channels = self.batch.channels(self.plan.channels, stretches);
            channels.zip(&self.pending).for_each_init(room, |(input, spectrum, scratch), (mut room, channel)| {
                for s in 0..stretches {
                    windowed(&channel[(first + s) * hop..][..n], window, input);
                    fft.process_with_scratch(input, spectrum, scratch).expect("all buffers have the plan's length");
                    room.put(s, spectrum);
                }
            });
            match &mut self.sums {
                Sums::Products(sums) => sums.add(&self.batch, &self.batch),
                Sums::Transforms(kept) => kept.add(&self.batch),
            }
        }
        self.count += complete;
        self.pending.iter_mut().for_each(|channel| drop(channel.drain(..(complete * hop).min(available))));
    }
}

/// Samples without their mean, times the window.
fn windowed(samples: &[f32], window: &[f64], to: &mut [f64]) {
    /// Sums side by side, so that none waits for the one before.
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for samples in samples.chunks(LANES) {
        sums.iter_mut().zip(samples).for_each(|(sum, &y)| *sum += f64::from(y));
    }
    let mean = sums.iter().sum::<f64>() / samples.len() as f64;
    let values = samples.iter().zip(window).map(|(&y, w)| (f64::from(y) - mean) * w);
    to.iter_mut().zip(values).for_each(|(to, y)| *to = y);
}

impl CrossSpectra for Welch {
    fn push(&mut self, block: &Block) {
        if block.segment != self.segment {
            self.segment = block.segment;
            self.pending.iter_mut().for_each(Vec::clear);
        }
        self.longest = self.longest.max(block.start + block.samples as u64);
        for (c, pending) in self.pending.iter_mut().enumerate() {
            pending.extend_from_slice(block.channel(c));
        }
        self.drain();
    }

    fn finish(self: Box<Self>) -> Result<SpectralMatrices, ComputeError> {
        let n = self.plan.segment_length;
        if self.count == 0 {
            return Err(ComputeError::TooShort {
                longest: self.longest,
                setting: "segment_length",
                value: n,
                needed: n as u64,
            });
        }
        let power = self.window.iter().map(|w| w * w).sum::<f64>();
        let scale = 1.0 / (self.plan.sampling_rate_hz * power * self.count as f64);
        let one_sided = |line: usize| if line == 0 || 2 * line == n { 1.0 } else { 2.0 };
        drop(self.batch);
        let scale = |line: usize| scale * one_sided(line);
        let matrices = match self.sums {
            Sums::Products(sums) => sums.into_matrices(scale),
            Sums::Transforms(kept) => kept.into_matrices(scale),
        };
        let (line_hz, first_line) = (self.plan.sampling_rate_hz / n as f64, self.plan.lines.start);
        Ok(SpectralMatrices { line_hz, segments: self.count, first_line, matrices })
    }
}
