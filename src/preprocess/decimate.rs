//! Decimation: an anti-alias filter to and fro, then every q-th sample.
//!
//! The filter is that of `scipy.signal.decimate` (`ftype="iir"`, zero phase): Chebyshev I of order 8 with 0.05 dB of
//! ripple and its edge at 0.8 of the new Nyquist frequency. Kept are the samples on multiples of q of the record's
//! own time axis, so that all segments stay on one uniform axis: a segment that starts on a multiple of q keeps
//! ceil(n/q) samples, as SciPy does.

use super::design::Sections;
use super::zero_phase::{ZeroPhase, ZeroPhaseStream};
use crate::model::record::{BLOCK_SAMPLES, Block, BlockSource, ReadError, Record, RecordInfo, Segment};
use rayon::prelude::*;
use std::sync::Arc;

/// A record that cannot be decimated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimateError {
    /// The factor is no factor.
    #[error("decimation_factor is {0}, must be at least 1")]
    Factor(usize),
    /// The filter of so large a factor cannot be computed in f64.
    #[error("decimation_factor {0} is too large for one step, decimate in steps")]
    TooLarge(usize),
    /// No segment is long enough for the filter.
    #[error(
        "longest gap-free segment has {longest} samples, decimation_factor {factor} needs more than {padding}: lower \
         the factor or give a longer record"
    )]
    TooShort {
        /// Samples of the longest segment.
        longest: u64,
        /// The factor.
        factor: usize,
        /// Samples by which the filter extends a segment.
        padding: usize,
    },
}

/// Order, ripple and edge of the anti-alias filter: `scipy.signal.decimate`'s.
const ORDER: usize = 8;
const RIPPLE_DB: f64 = 0.05;
const EDGE: f64 = 0.8;

/// The anti-alias filter of a factor above 1.
pub(crate) fn anti_alias(factor: usize) -> Result<Arc<ZeroPhase>, DecimateError> {
    let filter = Sections::chebyshev_low(ORDER, RIPPLE_DB, EDGE / factor as f64);
    ZeroPhase::new(filter).map(Arc::new).ok_or(DecimateError::TooLarge(factor))
}

/// What a segment becomes: its kept samples on the new axis. May be empty.
pub(crate) fn decimated_segment(segment: Segment, factor: usize) -> Segment {
    let factor = factor as u64;
    let start = segment.start.div_ceil(factor);
    Segment { start, samples: (segment.start + segment.samples).div_ceil(factor) - start }
}

/// Keeps the samples on multiples of the factor.
pub(crate) struct Selection {
    factor: usize,
    /// Samples to leave out before the next kept one.
    skip: usize,
}

impl Selection {
    /// For a segment that starts at sample `start` of the record.
    pub(crate) fn new(factor: usize, start: u64) -> Selection {
        Selection { factor, skip: (start.next_multiple_of(factor as u64) - start) as usize }
    }

    /// Takes the next samples and appends to `out` those that are kept.
    pub(crate) fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) {
        let before = out.len();
        out.extend(samples.iter().skip(self.skip).step_by(self.factor));
        let past = self.skip + (out.len() - before) * self.factor;
        self.skip = past - samples.len();
    }
}

/// One channel on its way through filter and selection.
struct Decimator {
    filter: ZeroPhaseStream,
    selection: Selection,
    filtered: Vec<f64>,
}

impl Decimator {
    /// Takes the next samples and appends to `out` those that are finished.
    fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) {
        self.filter.push(samples, &mut self.filtered);
        self.select(out);
    }

    /// Ends the segment.
    fn finish(&mut self, out: &mut Vec<f64>) {
        self.filter.finish(&mut self.filtered);
        self.select(out);
    }

    fn select(&mut self, out: &mut Vec<f64>) {
        self.selection.push(&self.filtered, out);
        self.filtered.clear();
    }
}

/// `record` at a `factor`-th of its rate: streamed through the anti-alias filter each time it is read, segment by
/// segment, in f64. Segments too short for the filter are left out ([`Decimated::dropped_segments`]).
///
/// # Errors
/// [`DecimateError`] when no segment is long enough, or the factor is no factor.
pub fn decimate(record: &dyn Record, factor: usize) -> Result<Decimated<'_>, DecimateError> {
    if factor == 0 {
        return Err(DecimateError::Factor(factor));
    }
    let filter = anti_alias(factor.max(2))?;
    let least = if factor == 1 { 1 } else { filter.least_samples() as u64 };
    let source = record.info();
    let (mut segments, mut target) = (Vec::new(), Vec::new());
    for segment in &source.segments {
        let decimated = decimated_segment(*segment, factor);
        let keep = segment.samples >= least && decimated.samples > 0;
        target.push(keep.then_some(segments.len()));
        if keep {
            segments.push(decimated);
        }
    }
    if segments.is_empty() {
        let longest = source.segments.iter().map(|s| s.samples).max().unwrap_or(0);
        return Err(DecimateError::TooShort { longest, factor, padding: least as usize - 1 });
    }
    let info = RecordInfo {
        sampling_rate_hz: source.sampling_rate_hz / factor as f64,
        start: source.start,
        channels: source.channels.clone(),
        samples: source.samples.div_ceil(factor as u64),
        segments,
    };
    Ok(Decimated { record, factor, filter, info, target })
}

/// A decimated view of a record, made by [`decimate`].
pub struct Decimated<'a> {
    record: &'a dyn Record,
    factor: usize,
    filter: Arc<ZeroPhase>,
    info: RecordInfo,
    /// For each segment of `record` the one that it becomes.
    target: Vec<Option<usize>>,
}

impl Decimated<'_> {
    /// Segments of the record that were too short for the filter.
    pub fn dropped_segments(&self) -> usize {
        self.target.iter().filter(|t| t.is_none()).count()
    }
}

impl Record for Decimated<'_> {
    fn info(&self) -> &RecordInfo {
        &self.info
    }

    fn blocks(&self) -> Result<Box<dyn BlockSource + '_>, ReadError> {
        let source = self.record.blocks()?;
        if self.factor == 1 && self.dropped_segments() == 0 {
            return Ok(source);
        }
        let lanes = Vec::new();
        Ok(Box::new(DecimatedBlocks { of: self, source, input: Block::default(), lanes, at: None, given: 0 }))
    }
}

/// One channel: its filter and what it has finished.
struct Lane {
    decimator: Decimator,
    samples: Vec<f64>,
    ready: Vec<f64>,
}

struct DecimatedBlocks<'a> {
    of: &'a Decimated<'a>,
    source: Box<dyn BlockSource + 'a>,
    input: Block,
    lanes: Vec<Lane>,
    /// The own segment that the lanes are in, and whether its end is in them.
    at: Option<(usize, bool)>,
    /// Samples of that segment that were handed out.
    given: u64,
}

impl DecimatedBlocks<'_> {
    /// Takes in one block of the source; `false` at its end.
    fn take(&mut self) -> Result<bool, ReadError> {
        if !self.source.next_block(&mut self.input)? {
            return Ok(false);
        }
        let input = &self.input;
        let Some(target) = self.of.target[input.segment] else { return Ok(true) };
        let segment = self.of.record.info().segments[input.segment];
        if input.start == 0 {
            let lane = |_| Lane {
                decimator: Decimator {
                    filter: ZeroPhaseStream::new(&self.of.filter),
                    selection: Selection::new(self.of.factor, segment.start),
                    filtered: Vec::new(),
                },
                samples: Vec::new(),
                ready: Vec::new(),
            };
            self.lanes = (0..input.channels).map(lane).collect();
            self.given = 0;
        }
        let last = input.start + input.samples as u64 == segment.samples;
        self.lanes.par_iter_mut().enumerate().for_each(|(channel, lane)| {
            lane.samples.clear();
            lane.samples.extend(input.channel(channel).iter().map(|&x| f64::from(x)));
            lane.decimator.push(&lane.samples, &mut lane.ready);
            if last {
                lane.decimator.finish(&mut lane.ready);
            }
        });
        self.at = Some((target, last));
        Ok(true)
    }
}

impl BlockSource for DecimatedBlocks<'_> {
    fn info(&self) -> &RecordInfo {
        &self.of.info
    }

    fn next_block(&mut self, block: &mut Block) -> Result<bool, ReadError> {
        loop {
            let ready = self.lanes.first().map_or(0, |lane| lane.ready.len());
            if let Some((segment, ended)) = self.at
                && (ready >= BLOCK_SAMPLES || ended && ready > 0)
            {
                let samples = ready.min(BLOCK_SAMPLES);
                block.reset(segment, self.given, self.lanes.len(), samples);
                for (channel, lane) in self.lanes.iter_mut().enumerate() {
                    let out = block.channel_mut(channel);
                    out.iter_mut().zip(lane.ready.drain(..samples)).for_each(|(o, x)| *o = x as f32);
                }
                self.given += samples as u64;
                return Ok(true);
            }
            if !self.take()? {
                return Ok(false);
            }
        }
    }
}
