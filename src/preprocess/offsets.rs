//! What the samples say of the sensors' clocks: the slope of the phase between sensors over frequency.
//!
//! Two places on one structure move in phase or in counterphase, so the squared cross-spectrum has no phase but that of
//! a clock offset o: arg G² = 4πfo. The offset is where Σ w Re (G/|G|)² e^(−4πifo), over the lines and the pairs of
//! channels of the two sensors, is largest, w the information of a line's phase by its coherence (Bendat & Piersol,
//! Random Data, table 9.6: the variance of the phase is (1 − γ²)/(2 n γ²)); the place of the maximum is refined by the
//! weighted least-squares slope around it. It is told and never taken off.

use crate::compute::cpu::Cpu;
use crate::compute::{Backend, CrossSpectra, SpectralMatrices, WelchPlan};
use crate::model::record::{BLOCK_SAMPLES, Block};
use crate::model::result::{Clock, OffsetEstimate};
use nalgebra::Complex;
use std::f64::consts::PI;

/// Segments that are averaged at least, by their rule of half-overlapped ones: the coherence of independent signals
/// is then below 0.03 on average.
const SEGMENTS: u64 = 40;
const SHORTEST_SEGMENT: usize = 256;
const LONGEST_SEGMENT: usize = 8192;

/// Offsets are looked for up to this part of a segment: what two segments have in common falls with the offset, by a
/// fifth here.
const LARGEST_OFFSET: f64 = 0.125;

/// Steps of the search per sampling interval.
const STEPS: f64 = 8.0;

/// Coherence of a line, as a multiple of its mean for independent signals, from which its phase says anything.
const COHERENT: f64 = 4.0;

/// Part of the lines' weight that must agree on an offset before it is one.
const AGREEMENT: f64 = 0.5;

/// Averages the cross-spectra of a record while it is written.
pub(super) struct Offsets {
    spectra: Box<dyn CrossSpectra>,
    rate_hz: f64,
    segment_length: usize,
}

impl Offsets {
    /// `samples`: all valid ones, and those of the longest segment; both of the finished record.
    pub(super) fn new(channels: usize, rate_hz: f64, (valid, longest): (u64, u64)) -> Option<Offsets> {
        let fitting = (2 * valid / (SEGMENTS + 1)).min(longest).min(LONGEST_SEGMENT as u64) as usize;
        let segment_length = 1 << fitting.checked_ilog2()?;
        if segment_length < SHORTEST_SEGMENT {
            return None;
        }
        let plan = WelchPlan::new(channels, rate_hz, segment_length, segment_length / 2);
        Some(Offsets { spectra: Cpu.cross_spectra(&plan), rate_hz, segment_length })
    }

    /// Takes the next samples of all channels; `start`: their place in their segment.
    pub(super) fn push(&mut self, segment: usize, start: u64, channels: &[&[f32]]) {
        let length = channels.first().map_or(0, |channel| channel.len());
        let mut block = Block::default();
        for from in (0..length).step_by(BLOCK_SAMPLES) {
            let to = length.min(from + BLOCK_SAMPLES);
            block.reset(segment, start + from as u64, channels.len(), to - from);
            for (row, channel) in channels.iter().enumerate() {
                block.channel_mut(row).copy_from_slice(&channel[from..to]);
            }
            self.spectra.push(&block);
        }
    }

    /// Tells each clock its offset against the first one. `rows`: per clock its channels that are worth anything.
    pub(super) fn finish(self, clocks: &mut [Clock], rows: &[Vec<usize>]) -> Vec<String> {
        let Ok(spectra) = self.spectra.finish() else { return Vec::new() };
        let limit = LARGEST_OFFSET * self.segment_length as f64 / self.rate_hz;
        let mut warnings = Vec::new();
        for index in 1..clocks.len() {
            let lines = Line::of(&spectra, &rows[0], &rows[index]);
            let found = offset(&lines, limit, 1.0 / (STEPS * self.rate_hz));
            if let Some(found) = found.filter(|f| f.offset_s.abs() > (3.0 * f.std_s).max(0.05 / self.rate_hz)) {
                let side = if found.offset_s > 0.0 { "ahead of" } else { "behind" };
                warnings.push(format!(
                    "{}: by its samples its clock is {:.4} ± {:.4} s {side} that of {}; nothing was corrected",
                    clocks[index].name,
                    found.offset_s.abs(),
                    found.std_s,
                    clocks[0].name
                ));
            }
            clocks[index].estimated_offset = found;
        }
        warnings
    }
}

/// What one line of one pair of channels says.
struct Line {
    hz: f64,
    /// (G/|G|)².
    turn: Complex<f64>,
    /// One over the variance of the phase of G.
    weight: f64,
}

impl Line {
    fn of(spectra: &SpectralMatrices, first: &[usize], second: &[usize]) -> Vec<Line> {
        let mut lines = Vec::new();
        let averages = spectra.segments as f64;
        for (k, matrix) in spectra.matrices.iter().enumerate().skip(1) {
            for (a, b) in first.iter().flat_map(|a| second.iter().map(move |b| (*a, *b))) {
                let cross = matrix.at(a, b);
                let coherence = cross.norm_sqr() / (matrix.at(a, a).re * matrix.at(b, b).re);
                if coherence * averages > COHERENT && coherence < 1.0 {
                    let unit = cross / cross.norm();
                    let weight = 2.0 * averages * coherence / (1.0 - coherence);
                    lines.push(Line { hz: k as f64 * spectra.line_hz, turn: unit * unit, weight });
                }
            }
        }
        lines
    }
}

/// The offset that most of the lines' weight agrees on.
fn offset(lines: &[Line], limit: f64, step: f64) -> Option<OffsetEstimate> {
    let all: f64 = lines.iter().map(|line| line.weight).sum();
    let agreement = |offset: f64| {
        let part = |line: &Line| {
            let angle = -4.0 * PI * line.hz * offset;
            line.weight * (line.turn * Complex::new(angle.cos(), angle.sin())).re
        };
        lines.iter().map(part).sum::<f64>() / all
    };
    let steps = (limit / step) as i64;
    let candidates = (-steps..=steps).map(|k| k as f64 * step);
    let rated = candidates.map(|offset| (agreement(offset), offset));
    let (_, mut offset_s) = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let mut information = 0.0;
    // The slope of what is left of the phase; twice, since the search is coarse.
    for _ in 0..2 {
        let (mut above, mut below) = (0.0, 0.0);
        for line in lines {
            let (slope, angle) = (4.0 * PI * line.hz, -4.0 * PI * line.hz * offset_s);
            let rest = (line.turn * Complex::new(angle.cos(), angle.sin())).arg();
            // A line beyond a quarter of a turn belongs to something else.
            if rest.abs() < PI / 2.0 {
                above += line.weight * slope * rest;
                below += line.weight * slope * slope;
            }
        }
        if !(below > 0.0) {
            return None;
        }
        offset_s += above / below;
        // The phase of G² has four times the variance of that of G.
        information = below / 4.0;
    }
    let agreement = agreement(offset_s);
    (agreement > AGREEMENT).then_some(OffsetEstimate { offset_s, std_s: information.sqrt().recip(), agreement })
}
