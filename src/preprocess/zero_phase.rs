//! Filtering to and fro without phase shift, in one stream of blocks.
//!
//! The definition is `scipy.signal.sosfiltfilt`: the record is extended at both ends by its point reflection, the
//! filter runs forward from the steady state of the first value, then backward from that of the last one.
//! The forward pass streams as it is. The backward pass runs over chunks, each warmed up on so many later samples
//! that the start state is forgotten to the precision of f64 ([`Sections::memory`]); a record shorter than that is
//! done as a whole. Chunks have one length whatever the blocks pushed, so the result does not depend on them.

use super::design::{Sections, State};
use crate::model::record::BLOCK_SAMPLES;
use std::sync::Arc;

/// A filter with what its use needs.
#[derive(Debug)]
pub(crate) struct ZeroPhase {
    filter: Sections,
    steady: Vec<State>,
    padding: usize,
    memory: usize,
}

impl ZeroPhase {
    /// `None` if the filter never forgets ([`Sections::memory`]).
    pub(crate) fn new(filter: Sections) -> Option<ZeroPhase> {
        let memory = filter.memory()?;
        Some(ZeroPhase { steady: filter.steady_state(), padding: filter.padding(), filter, memory })
    }

    /// Least samples of a segment.
    pub(crate) fn least_samples(&self) -> usize {
        self.padding + 1
    }

    /// Samples of one channel that are held at most.
    pub(crate) fn held_samples(&self) -> usize {
        self.chunk() + self.memory
    }

    /// As long as the warm-up, so that the backward pass costs at most twice the forward pass.
    fn chunk(&self) -> usize {
        self.memory.max(BLOCK_SAMPLES)
    }

    fn state_for(&self, value: f64) -> Vec<State> {
        self.steady.iter().map(|z| z.map(|v| v * value)).collect()
    }
}

/// One channel of one segment on its way through a [`ZeroPhase`].
pub(crate) struct ZeroPhaseStream {
    filter: Arc<ZeroPhase>,
    /// The first inputs, until there are enough for the extension at the start.
    head: Vec<f64>,
    /// The last inputs, for the extension at the end.
    tail: Vec<f64>,
    /// Of the forward pass; empty before its start.
    state: Vec<State>,
    /// Output of the forward pass that waits for the backward pass.
    forward: Vec<f64>,
}

impl ZeroPhaseStream {
    pub(crate) fn new(filter: &Arc<ZeroPhase>) -> ZeroPhaseStream {
        let (head, tail, state, forward) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        ZeroPhaseStream { filter: Arc::clone(filter), head, tail, state, forward }
    }

    /// Takes the next samples and appends to `out` those that are finished.
    pub(crate) fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) {
        self.remember(samples);
        if !self.state.is_empty() {
            self.run_forward(samples);
        } else {
            self.head.extend_from_slice(samples);
            if self.head.len() < self.filter.least_samples() {
                return;
            }
            let head = std::mem::take(&mut self.head);
            let reflected: Vec<f64> = (1..=self.filter.padding).rev().map(|k| 2.0 * head[0] - head[k]).collect();
            self.state = self.filter.state_for(reflected.first().copied().unwrap_or(head[0]));
            self.run_forward(&reflected);
            // The backward pass never comes to the extension at the start.
            self.forward.clear();
            self.run_forward(&head);
        }
        let (chunk, memory) = (self.filter.chunk(), self.filter.memory);
        while self.forward.len() >= chunk + memory {
            self.run_backward(chunk + memory, chunk, out);
            self.forward.drain(..chunk);
        }
    }

    /// Ends the segment: appends what is left and is ready for the next one. A segment shorter than
    /// [`ZeroPhase::least_samples`] gives nothing; callers leave those out beforehand.
    pub(crate) fn finish(&mut self, out: &mut Vec<f64>) {
        if !self.state.is_empty() {
            let last = self.tail[self.filter.padding];
            let reflected: Vec<f64> = self.tail[..self.filter.padding].iter().rev().map(|x| 2.0 * last - x).collect();
            let wanted = self.forward.len();
            self.run_forward(&reflected);
            self.run_backward(self.forward.len(), wanted, out);
        }
        *self = ZeroPhaseStream::new(&self.filter);
    }

    fn remember(&mut self, samples: &[f64]) {
        let keep = self.filter.least_samples();
        self.tail.extend_from_slice(&samples[samples.len().saturating_sub(keep)..]);
        let surplus = self.tail.len().saturating_sub(keep);
        self.tail.drain(..surplus);
    }

    fn run_forward(&mut self, samples: &[f64]) {
        let (filter, state) = (&self.filter.filter, &mut self.state);
        self.forward.extend(samples.iter().map(|&x| filter.step(state, x)));
    }

    /// Runs back from sample `from` of the forward output and appends the first `wanted` samples to `out`.
    fn run_backward(&mut self, from: usize, wanted: usize, out: &mut Vec<f64>) {
        let mut state = self.filter.state_for(self.forward[from - 1]);
        for &x in self.forward[wanted..from].iter().rev() {
            self.filter.filter.step(&mut state, x);
        }
        let first = out.len();
        out.resize(first + wanted, 0.0);
        for (y, &x) in out[first..].iter_mut().zip(&self.forward[..wanted]).rev() {
            *y = self.filter.filter.step(&mut state, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::design::Band;
    use super::*;

    /// The definition, all at once.
    fn whole(filter: &Sections, x: &[f64]) -> Vec<f64> {
        let (pad, last) = (filter.padding(), x.len() - 1);
        let mut y: Vec<f64> = (1..=pad).rev().map(|k| 2.0 * x[0] - x[k]).collect();
        y.extend(x);
        y.extend((1..=pad).map(|k| 2.0 * x[last] - x[last - k]));
        for _ in 0..2 {
            let mut state: Vec<State> = filter.steady_state().iter().map(|z| z.map(|v| v * y[0])).collect();
            y.iter_mut().for_each(|v| *v = filter.step(&mut state, *v));
            y.reverse();
        }
        y[pad..pad + x.len()].to_vec()
    }

    fn streamed(filter: &Sections, x: &[f64], block: usize) -> Vec<f64> {
        let filter = Arc::new(ZeroPhase::new(filter.clone()).unwrap());
        let (mut stream, mut out) = (ZeroPhaseStream::new(&filter), Vec::new());
        x.chunks(block).for_each(|piece| stream.push(piece, &mut out));
        stream.finish(&mut out);
        out
    }

    /// Noise with an offset and a drift, from a linear congruential generator.
    fn signal(samples: usize) -> Vec<f64> {
        let mut seed = 1u64;
        let next = |k: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 11) as f64 / (1u64 << 53) as f64 - 0.5 + 3.0 + 1e-5 * k as f64
        };
        (0..samples).map(next).collect()
    }

    fn rms(x: &[f64]) -> f64 {
        (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64).sqrt()
    }

    #[test]
    fn a_stream_equals_the_whole_record_for_any_block_size() {
        let x = signal(100_003);
        let filters = [
            Sections::butterworth(8, Band::Low(0.4)),
            Sections::butterworth(5, Band::High(0.01)),
            Sections::butterworth(4, Band::Pass(0.02, 0.3)),
            Sections::butterworth(3, Band::Stop(0.18, 0.22)),
            Sections::chebyshev_low(8, 0.05, 0.16),
        ];
        for filter in filters {
            let (expected, scale) = (whole(&filter, &x), rms(&whole(&filter, &x)));
            let first = streamed(&filter, &x, 16_384);
            assert_eq!(first.len(), x.len());
            let worst = first.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst <= 1e-12 * scale, "{worst} of {scale}");
            for block in [1, 7, 1009, 100_003] {
                assert!(streamed(&filter, &x, block) == first, "block {block} changes the result");
            }
        }
    }

    #[test]
    fn a_record_shorter_than_the_memory_is_done_whole() {
        let filter = Sections::butterworth(8, Band::High(0.002));
        let x = signal(filter.padding() + 1);
        assert!(x.len() < filter.memory().unwrap());
        assert!(streamed(&filter, &x, 5) == whole(&filter, &x));
    }

    #[test]
    fn a_sine_keeps_its_phase_and_gets_the_squared_gain() {
        let filter = Sections::butterworth(4, Band::Low(0.3));
        let frequency = 0.25;
        let sine = |k: usize| (std::f64::consts::PI * frequency * k as f64 + 0.3).sin();
        let y = streamed(&filter, &(0..4000).map(sine).collect::<Vec<_>>(), 999);
        let gain = filter.response(frequency).norm_sqr();
        // In the middle nothing is left of the ends: the memory of this filter is below 1000 samples.
        for (k, y) in y.iter().enumerate().take(2100).skip(1900) {
            assert!((y - gain * sine(k)).abs() <= 1e-12, "{k}");
        }
    }

    #[test]
    fn the_response_to_a_pulse_is_symmetric() {
        let filter = Sections::butterworth(6, Band::Pass(0.1, 0.3));
        let mut x = vec![0.0; 20_001];
        x[10_000] = 1.0;
        let y = streamed(&filter, &x, 4096);
        assert!((1..2000).all(|k| (y[10_000 - k] - y[10_000 + k]).abs() <= 1e-14));
    }

    #[test]
    fn two_segments_through_one_stream_do_not_see_each_other() {
        let filter = Arc::new(ZeroPhase::new(Sections::butterworth(4, Band::Low(0.2))).unwrap());
        let (a, b) = (signal(500), signal(700));
        let (mut stream, mut both) = (ZeroPhaseStream::new(&filter), Vec::new());
        for segment in [&a, &b] {
            stream.push(segment, &mut both);
            stream.finish(&mut both);
        }
        assert_eq!(both[500..], streamed(&filter.filter, &b, 700));
    }
}
