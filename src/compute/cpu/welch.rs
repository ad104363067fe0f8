//! Welch segments: window, transform, cross products.

use super::super::accumulate::{Batch, PairSums, Pairs};
use super::super::{ComputeError, CrossSpectra, SpectralMatrices, WelchPlan, hann};
use crate::model::record::Block;
use nalgebra::Complex;
use rayon::prelude::*;
use realfft::{RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Segments that are transformed before their products are summed: enough to reuse a loaded accumulator tile,
/// few enough that the transforms of a hundred channels at 1024 points stay at 13 MiB.
const BATCH: usize = 16;

pub(super) struct Welch {
    plan: WelchPlan,
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    /// Segment of the record that `pending` belongs to.
    segment: usize,
    /// Samples not yet transformed, one vector a channel.
    pending: Vec<Vec<f32>>,
    sums: PairSums,
    longest: u64,
    count: usize,
}

impl Welch {
    pub(super) fn new(plan: &WelchPlan) -> Welch {
        let n = plan.segment_length;
        Welch {
            plan: plan.clone(),
            window: hann(n),
            fft: RealFftPlanner::new().plan_fft_forward(n),
            segment: 0,
            pending: vec![Vec::new(); plan.channels],
            sums: PairSums::new(n / 2 + 1, Pairs::Lower(plan.channels)),
            longest: 0,
            count: 0,
        }
    }

    /// Transforms the complete segments among the pending samples, `BATCH` at a time.
    fn drain(&mut self) {
        let (n, hop) = (self.plan.segment_length, self.plan.hop);
        let available = self.pending.first().map_or(0, Vec::len);
        let complete = if available < n { 0 } else { (available - n) / hop + 1 };
        for first in (0..complete).step_by(BATCH) {
            let stretches = BATCH.min(complete - first);
            let room = || (self.fft.make_input_vec(), self.fft.make_scratch_vec());
            let transform = |(input, scratch): &mut (Vec<f64>, Vec<_>), channel: &Vec<f32>| {
                let start = |s: usize| (first + s) * hop;
                (0..stretches).map(|s| self.transform(&channel[start(s)..start(s) + n], input, scratch)).collect()
            };
            let batch: Batch = self.pending.par_iter().map_init(room, transform).collect();
            self.sums.add(&batch, &batch, stretches);
        }
        self.count += complete;
        self.pending.iter_mut().for_each(|channel| drop(channel.drain(..(complete * hop).min(available))));
    }

    /// `input` and `scratch` are room for the transform.
    fn transform(&self, samples: &[f32], input: &mut [f64], scratch: &mut [Complex<f64>]) -> Vec<Complex<f64>> {
        let mean = samples.iter().map(|&y| f64::from(y)).sum::<f64>() / samples.len() as f64;
        let windowed = samples.iter().zip(&self.window).map(|(&y, w)| (f64::from(y) - mean) * w);
        input.iter_mut().zip(windowed).for_each(|(to, y)| *to = y);
        let mut output = self.fft.make_output_vec();
        self.fft.process_with_scratch(input, &mut output, scratch).expect("all buffers have the plan's length");
        output
    }
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
        let matrices = self.sums.into_matrices(|line| scale * one_sided(line));
        Ok(SpectralMatrices { line_hz: self.plan.sampling_rate_hz / n as f64, segments: self.count, matrices })
    }
}
