//! The preprocessed channels in small, to be looked at: extremes of equal stretches and autospectra.

use super::PipelineError;
use crate::compute::{Backend, CrossSpectra, WelchPlan};
use crate::modal::{ModalError, spectrum};
use crate::model::control::Control;
use crate::model::record::{Block, Record};
use crate::model::result::{Axis, ChannelSignals};
use rayon::prelude::*;

/// Stretches of the time histories of all channels together: a hundred channels of 200 take no more room on a page than
/// the stabilization diagram.
const STRETCHES: usize = 20_000;
/// Samples of the Welch segments of all channels together: for each twice as many as it has stretches, and so about as
/// many lines as stretches.
const SEGMENT_SAMPLES: usize = 2 * STRETCHES;

/// Stretches of each of so many channels, and samples of its Welch segments at most. 200 stretches show the course of a
/// record, and more than 1000 cannot be told apart on a screen.
fn detail(channels: usize) -> (usize, usize) {
    let channels = channels.max(1);
    let segment = (SEGMENT_SAMPLES / channels).clamp(512, 4096);
    ((STRETCHES / channels).clamp(200, 1000), 1 << segment.ilog2())
}

/// One channel while the record streams by.
struct Lane {
    min: Vec<Option<f32>>,
    max: Vec<Option<f32>>,
    spectrum: Box<dyn CrossSpectra>,
    block: Block,
}

/// Reads the record once.
///
/// # Errors
/// [`PipelineError`] if it cannot be read or the run is stopped.
pub(super) fn of(
    record: &dyn Record,
    backend: &dyn Backend,
    control: &Control,
) -> Result<ChannelSignals, PipelineError> {
    let info = record.info();
    let (stretches, longest_segment) = detail(info.channels.len());
    let samples_each = info.samples.div_ceil(stretches as u64).max(1);
    let count = info.samples.div_ceil(samples_each) as usize;
    let segment_length = spectrum::segment_length_by_rule(info).min(longest_segment);
    let plan = WelchPlan::new(1, info.sampling_rate_hz, segment_length, segment_length / 2);
    let lane = || Lane {
        min: vec![None; count],
        max: vec![None; count],
        spectrum: backend.cross_spectra(&plan),
        block: Block::default(),
    };
    let mut lanes: Vec<Lane> = std::iter::repeat_with(lane).take(info.channels.len()).collect();
    let mut source = record.blocks().map_err(ModalError::from)?;
    let (mut block, mut done) = (Block::default(), 0);
    while source.next_block(&mut block).map_err(ModalError::from)? {
        control.checkpoint()?;
        let start = info.segments[block.segment].start + block.start;
        lanes.par_iter_mut().enumerate().for_each(|(row, lane)| lane.push(&block, row, start, samples_each));
        done += block.samples as u64;
        control.progress("signals", done as f64 / info.valid_samples().max(1) as f64);
    }
    let mut signals = ChannelSignals {
        time_s: Axis { start: 0.0, step: samples_each as f64 / info.sampling_rate_hz, count },
        units: info.channels.iter().map(|channel| channel.unit.clone()).collect(),
        min: Vec::new(),
        max: Vec::new(),
        frequency_hz: Axis { start: 0.0, step: info.sampling_rate_hz / segment_length as f64, count: 0 },
        psd: Vec::new(),
    };
    for lane in lanes {
        signals.min.push(lane.min);
        signals.max.push(lane.max);
        // Too short a record for a spectrum is one without lines: its samples can be looked at all the same.
        let psd = lane.spectrum.finish().map(|spectra| spectra.matrices.iter().map(|g| g.at(0, 0).re as f32).collect());
        signals.psd.push(psd.unwrap_or_default());
    }
    signals.frequency_hz.count = signals.psd.first().map_or(0, Vec::len);
    Ok(signals)
}

impl Lane {
    /// Takes one row of a block whose first sample is sample `start` of the record.
    fn push(&mut self, block: &Block, row: usize, start: u64, samples_each: u64) {
        self.block.reset(block.segment, block.start, 1, block.samples);
        self.block.channel_mut(0).copy_from_slice(block.channel(row));
        self.spectrum.push(&self.block);
        let mut rest = block.channel(row);
        let mut position = start;
        while !rest.is_empty() {
            let stretch = (position / samples_each) as usize;
            let left = (samples_each - position % samples_each) as usize;
            let (these, others) = rest.split_at(left.min(rest.len()));
            for &value in these {
                self.min[stretch] = Some(self.min[stretch].map_or(value, |least| least.min(value)));
                self.max[stretch] = Some(self.max[stretch].map_or(value, |most| most.max(value)));
            }
            position += these.len() as u64;
            rest = others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_channels_are_shown_finely_and_many_take_no_more_room() {
        assert_eq!(detail(1), (1000, 4096));
        assert_eq!(detail(32), (625, 1024));
        assert_eq!(detail(100), (200, 512));
        assert_eq!(detail(5000), (200, 512));
    }
}
