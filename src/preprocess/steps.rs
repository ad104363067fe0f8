//! The ordered steps that one channel of one segment goes through: calibrate → detrend → filter → decimate.

use super::PreprocessError;
use super::decimate::{Decimator, anti_alias};
use super::design::{Band, Sections};
use super::statistics::Trend;
use super::zero_phase::{ZeroPhase, ZeroPhaseStream};
use crate::model::channel::Channel;
use crate::model::parameters::{Filter, FilterKind, PreprocessingParameters};
use std::sync::Arc;

/// The steps as the parameters want them, at one sampling rate.
#[derive(Debug)]
pub(crate) struct Steps {
    filter: Option<Arc<ZeroPhase>>,
    decimation: Option<(Arc<ZeroPhase>, usize)>,
}

impl Steps {
    /// Designs the filters.
    pub(crate) fn new(parameters: &PreprocessingParameters, rate_hz: f64) -> Result<Steps, PreprocessError> {
        let filter = parameters.filter.as_ref().map(|filter| design(filter, rate_hz)).transpose()?;
        let factor = parameters.decimation_factor;
        let decimation = if factor > 1 { Some((anti_alias(factor)?, factor)) } else { None };
        Ok(Steps { filter, decimation })
    }

    /// By how much the sampling rate falls.
    pub(crate) fn factor(&self) -> usize {
        self.decimation.as_ref().map_or(1, |(_, factor)| *factor)
    }

    /// A shorter segment cannot go through the filters.
    pub(crate) fn least_samples(&self) -> usize {
        self.filters().map(|filter| filter.least_samples()).max().unwrap_or(1)
    }

    /// Samples that wait in the filters for each channel, in a segment of this length.
    pub(crate) fn held_samples(&self, segment: u64) -> u64 {
        self.filters().map(|filter| segment.min(filter.held_samples() as u64)).sum()
    }

    fn filters(&self) -> impl Iterator<Item = &ZeroPhase> {
        self.filter.iter().chain(self.decimation.iter().map(|(filter, _)| filter)).map(Arc::as_ref)
    }

    /// The way of one channel through a segment that begins at sample `start` of the record.
    pub(crate) fn lane(&self, trend: Trend, start: u64) -> Lane {
        Lane {
            trend,
            position: 0,
            filter: self.filter.as_ref().map(ZeroPhaseStream::new),
            decimator: self.decimation.as_ref().map(|(filter, factor)| Decimator::new(filter, *factor, start)),
            filtered: Vec::new(),
        }
    }
}

/// One channel of one segment on its way.
pub(crate) struct Lane {
    trend: Trend,
    position: u64,
    filter: Option<ZeroPhaseStream>,
    decimator: Option<Decimator>,
    filtered: Vec<f64>,
}

impl Lane {
    /// Takes the next calibrated samples, which it changes, and appends to `out` those that are finished.
    pub(crate) fn push(&mut self, samples: &mut [f64], out: &mut Vec<f64>) {
        self.trend.remove(samples, self.position);
        self.position += samples.len() as u64;
        match (&mut self.filter, &mut self.decimator) {
            (None, None) => out.extend_from_slice(samples),
            (Some(filter), None) => filter.push(samples, out),
            (None, Some(decimator)) => decimator.push(samples, out),
            (Some(filter), Some(decimator)) => {
                filter.push(samples, &mut self.filtered);
                decimator.push(&self.filtered, out);
                self.filtered.clear();
            }
        }
    }

    /// Ends the segment.
    pub(crate) fn finish(mut self, out: &mut Vec<f64>) {
        match (&mut self.filter, &mut self.decimator) {
            (None, None) => {}
            (Some(filter), None) => filter.finish(out),
            (None, Some(decimator)) => decimator.finish(out),
            (Some(filter), Some(decimator)) => {
                filter.finish(&mut self.filtered);
                decimator.push(&self.filtered, out);
                decimator.finish(out);
            }
        }
    }
}

/// Raw value = physical value × sensitivity + offset, solved for the physical value.
pub(crate) fn calibrate(channel: &Channel, samples: &mut [f64]) {
    for sample in samples {
        *sample = (*sample - channel.offset) / channel.sensitivity;
    }
}

/// The Butterworth filter of the parameters.
fn design(filter: &Filter, rate_hz: f64) -> Result<Arc<ZeroPhase>, PreprocessError> {
    let nyquist_hz = rate_hz / 2.0;
    let edge = |setting: &'static str, value: Option<f64>| {
        let value_hz = value.unwrap_or(f64::NAN);
        // NaN, which Parameters::check keeps out, fails as well.
        if value_hz > 0.0 && value_hz < nyquist_hz {
            Ok(value_hz / nyquist_hz)
        } else {
            Err(PreprocessError::BeyondNyquist { setting, value_hz, nyquist_hz })
        }
    };
    let low = || edge("filter.low_hz", filter.low_hz);
    let high = || edge("filter.high_hz", filter.high_hz);
    let band = match filter.kind {
        FilterKind::Lowpass => Band::Low(high()?),
        FilterKind::Highpass => Band::High(low()?),
        FilterKind::Bandpass => Band::Pass(low()?, high()?),
        FilterKind::Bandstop => Band::Stop(low()?, high()?),
    };
    let unstable = PreprocessError::Unstable { order: filter.order, rate_hz };
    ZeroPhase::new(Sections::butterworth(filter.order, band)).map(Arc::new).ok_or(unstable)
}
