//! Lagged products by block transforms: exact linear correlations in O(log) instead of O(lags) per sample.
//!
//! A stretch of B reference samples, zero-padded, and the B + lags − 1 response samples from the same start are
//! transformed at length L ≥ B + lags − 1; the inverse transform of Y conj(Y_ref), summed over the stretches of a
//! block, is P_0 .. P_{lags−1} of the block, without wrap-around (algorithms §3.5, "FFT correlations").

use super::super::accumulate::{Batch, PairSums, Pairs, Room};
use super::super::edges::Edges;
use super::super::{ComputeError, LagAccumulator, LagBlock, LagPlan, LagProducts};
use crate::model::record::Block;
use nalgebra::{Complex, DMatrix};
use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Transform length over lags: at 5 four fifths of each transform are new samples, and longer ones gain little.
const LENGTH_PER_LAG: usize = 5;

pub(in super::super) struct Lags {
    plan: LagPlan,
    /// Reference samples of a full stretch, B.
    stretch: usize,
    /// Transform length, L.
    length: usize,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    /// Segment of the record that `pending` belongs to.
    segment: usize,
    /// Samples not yet used as reference, one vector a channel.
    pending: Vec<Vec<f64>>,
    /// Reference samples that went into finished stretches, over the whole record.
    used: u64,
    /// Stretches that are worth a batch.
    most: usize,
    /// Stretches waiting for transforms: start within `pending`, reference samples.
    waiting: Vec<(usize, usize)>,
    /// Transforms of responses and references.
    spectra: [Batch; 2],
    sums: PairSums,
    /// Complete blocks, and those of them that wait to be taken.
    closed: usize,
    blocks: Vec<LagBlock>,
    edges: Edges,
}

impl Lags {
    pub(in super::super) fn new(plan: &LagPlan) -> Lags {
        let length = (LENGTH_PER_LAG * plan.lags).next_power_of_two().max(256);
        let mut planner = RealFftPlanner::new();
        let references = plan.references.len();
        Lags {
            plan: plan.clone(),
            stretch: length - plan.lags + 1,
            length,
            forward: planner.plan_fft_forward(length),
            inverse: planner.plan_fft_inverse(length),
            segment: 0,
            pending: vec![Vec::new(); plan.channels],
            used: 0,
            most: Batch::stretches(plan.channels + references, length / 2 + 1),
            waiting: Vec::new(),
            spectra: std::array::from_fn(|_| Batch::new(0..length / 2 + 1)),
            sums: PairSums::new(0..length / 2 + 1, Pairs::All(plan.channels, references)),
            closed: 0,
            blocks: Vec::new(),
            edges: Edges::new(plan),
        }
    }

    /// Goes on after the first `closed` blocks, of which another backend formed the products; `blocks`: those of them that
    /// wait to be taken.
    pub(in super::super) fn resume(plan: &LagPlan, closed: usize, blocks: Vec<LagBlock>, segment: usize) -> Lags {
        Lags { used: plan.block_start(closed), closed, blocks, segment, ..Lags::new(plan) }
    }

    /// Cuts the pending samples into stretches; at the end of a segment (`last`) down to the last sample.
    fn cut(&mut self, last: bool) {
        let mut at = 0;
        loop {
            let available = self.pending.first().map_or(0, |c| c.len() - at);
            let block_end = self.plan.block_start(self.closed + 1);
            let to_block_end = (block_end - self.used) as usize;
            let count = self.stretch.min(to_block_end).min(available);
            // Responses reach lags − 1 samples past the last reference sample.
            if available == 0 || (!last && available < self.stretch.min(to_block_end) + self.plan.lags - 1) {
                break;
            }
            self.waiting.push((at, count));
            self.used += count as u64;
            at += count;
            if self.waiting.len() == self.most {
                self.transform();
            }
            // Empty blocks (more blocks than samples) end at once, too.
            while self.closed < self.plan.blocks && self.used == self.plan.block_start(self.closed + 1) {
                self.close_block();
            }
        }
        self.transform();
        self.pending.iter_mut().for_each(|channel| drop(channel.drain(..at)));
    }

    /// Adds the products of the waiting stretches.
    fn transform(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (lags, pending, waiting) = (self.plan.lags, &self.pending, &self.waiting[..]);
        let forward = &self.forward;
        let buffers = || (forward.make_input_vec(), forward.make_output_vec(), forward.make_scratch_vec());
        // Transforms of what each stretch has of a channel, up to `more` samples behind its end.
        type Buffers = (Vec<f64>, Vec<Complex<f64>>, Vec<Complex<f64>>);
        let transform = |(input, spectrum, scratch): &mut Buffers, mut room: Room<'_>, row: usize, more: usize| {
            for (stretch, &(at, count)) in waiting.iter().enumerate() {
                let samples = &pending[row][at..(at + count + more).min(pending[row].len())];
                let (taken, padding) = input.split_at_mut(samples.len());
                taken.copy_from_slice(samples);
                padding.fill(0.0);
                forward.process_with_scratch(input, spectrum, scratch).expect("all buffers have the plan's length");
                room.put(stretch, spectrum);
            }
        };
        let [responses, references] = &mut self.spectra;
        let channels = responses.channels(pending.len(), waiting.len()).enumerate();
        channels.for_each_init(buffers, |buffers, (row, room)| transform(buffers, room, row, lags - 1));
        let rows = references.channels(self.plan.references.len(), waiting.len()).zip(&self.plan.references);
        rows.for_each_init(buffers, |buffers, (room, &row)| transform(buffers, room, row, 0));
        self.sums.add(responses, references);
        self.waiting.clear();
    }

    fn close_block(&mut self) {
        self.transform();
        let (l, r, lags) = (self.plan.channels, self.plan.references.len(), self.plan.lags);
        let inverse = &self.inverse;
        let room = || (inverse.make_input_vec(), inverse.make_output_vec(), inverse.make_scratch_vec());
        let correlations: Vec<Vec<f64>> = (0..l * r)
            .into_par_iter()
            .map_init(room, |(spectrum, output, scratch), pair| {
                spectrum.iter_mut().zip(self.sums.pair(pair / r, pair % r)).for_each(|(to, sum)| *to = sum);
                // Both lines are real up to round-off; the inverse transform insists on exactly.
                spectrum[0] = Complex::new(spectrum[0].re, 0.0);
                let last = spectrum.len() - 1;
                spectrum[last] = Complex::new(spectrum[last].re, 0.0);
                inverse.process_with_scratch(spectrum, output, scratch).expect("all buffers have the plan's length");
                output[..lags].to_vec()
            })
            .collect();
        let scale = 1.0 / self.length as f64;
        let product = |m: usize| DMatrix::from_fn(l, r, |i, j| correlations[i * r + j][m] * scale);
        let samples = self.plan.block_start(self.closed + 1) - self.plan.block_start(self.closed);
        self.blocks.push(LagBlock { samples, products: (0..lags).map(product).collect() });
        self.closed += 1;
        self.sums.clear();
    }
}

impl LagAccumulator for Lags {
    fn push(&mut self, block: &Block) {
        if block.segment != self.segment {
            self.cut(true);
            self.segment = block.segment;
        }
        for (c, pending) in self.pending.iter_mut().enumerate() {
            pending.extend(block.channel(c).iter().map(|&y| f64::from(y)));
        }
        self.edges.push(block);
        self.cut(false);
    }

    fn take_blocks(&mut self) -> Vec<LagBlock> {
        std::mem::take(&mut self.blocks)
    }

    fn finish(mut self: Box<Self>) -> Result<LagProducts, ComputeError> {
        self.cut(true);
        Ok(LagProducts { edges: self.edges.finish(), references: self.plan.references, blocks: self.blocks })
    }
}
