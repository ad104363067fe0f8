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

#[cfg(test)]
mod tests {
    use super::super::statistics::LineFit;
    use super::*;
    use crate::model::parameters::Detrend;
    use serde_json::Value;
    use std::path::PathBuf;

    fn folder() -> PathBuf {
        std::env::var_os("OMA_REAL_DATA").expect("OMA_REAL_DATA names the folder of measured data").into()
    }

    /// Every channel of chain05 through the steps, in blocks of an odd size: channels × samples.
    fn chain(parameters: &PreprocessingParameters) -> Vec<Vec<f64>> {
        let file = std::fs::File::open(folder().join("data/chain05_10min.npy")).unwrap();
        let values: Vec<f32> = npyz::NpyFile::new(std::io::BufReader::new(file)).unwrap().into_vec().unwrap();
        let steps = Steps::new(parameters, 100.0).unwrap();
        let channel = |c: usize| {
            let mut samples: Vec<f64> = values.iter().skip(c).step_by(5).map(|&v| f64::from(v)).collect();
            let (mut fit, mut out) = (LineFit::default(), Vec::new());
            samples.chunks(10_007).for_each(|block| fit.push(block));
            let mut lane = steps.lane(fit.trend(parameters.detrend), 0);
            samples.chunks_mut(7001).for_each(|block| lane.push(block, &mut out));
            lane.finish(&mut out);
            out
        };
        (0..5).map(channel).collect()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// Compares with an entry of the reference: the first, middle and last five rows and the standard deviation.
    fn matches_reference(name: &str, parameters: &PreprocessingParameters) {
        let text = std::fs::read_to_string(folder().join("reference/preprocessing.json")).unwrap();
        let reference: Value = serde_json::from_str(&text).unwrap();
        let expected = &reference["ops"][name];
        let found = chain(parameters);
        let samples = found[0].len();
        assert_eq!(expected["shape"], serde_json::json!([samples, 5]), "{name}");
        let scales = numbers(&expected["rms"]);
        for (part, from) in [("first5", 0), ("mid5", samples / 2), ("last5", samples - 5)] {
            for (k, row) in expected[part].as_array().unwrap().iter().enumerate() {
                for (c, value) in numbers(row).into_iter().enumerate() {
                    let error = (found[c][from + k] - value).abs() / scales[c];
                    assert!(error <= 1e-9, "{name} {part} row {k} channel {c}: {error}");
                }
            }
        }
        for (c, scale) in scales.into_iter().enumerate() {
            let n = samples as f64;
            let mean = found[c].iter().sum::<f64>() / n;
            let deviation = (found[c].iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!((deviation - scale).abs() <= 1e-9 * scale, "{name} channel {c}: {deviation} {scale}");
        }
    }

    fn only(detrend: Detrend, filter: Option<Filter>, decimation_factor: usize) -> PreprocessingParameters {
        PreprocessingParameters { detrend, filter, decimation_factor, ..Default::default() }
    }

    fn filter(kind: FilterKind, low_hz: Option<f64>, high_hz: Option<f64>, order: usize) -> PreprocessingParameters {
        only(Detrend::None, Some(Filter { kind, low_hz, high_hz, order }), 1)
    }

    #[test]
    fn detrending_real_data_equals_scipy() {
        matches_reference("detrend_linear", &only(Detrend::Linear, None, 1));
        matches_reference("detrend_const", &only(Detrend::Constant, None, 1));
    }

    #[test]
    fn decimating_real_data_equals_scipy() {
        matches_reference("decimate5", &only(Detrend::None, None, 5));
    }

    #[test]
    fn filtering_real_data_equals_scipy() {
        matches_reference("lowpass20_o8", &filter(FilterKind::Lowpass, None, Some(20.0), 8));
        matches_reference("highpass05_o8", &filter(FilterKind::Highpass, Some(0.5), None, 8));
        matches_reference("bandpass_1_15_o4", &filter(FilterKind::Bandpass, Some(1.0), Some(15.0), 4));
        matches_reference("bandstop_9_11_o4", &filter(FilterKind::Bandstop, Some(9.0), Some(11.0), 4));
    }

    #[test]
    fn sections_against_real_data_reference_have_scipys_coefficients() {
        let text = std::fs::read_to_string(folder().join("reference/preprocessing.json")).unwrap();
        let reference: Value = serde_json::from_str(&text).unwrap();
        let designs = [
            ("sos_cheby1_8_decimate5", Sections::chebyshev_low(8, 0.05, 0.8 / 5.0)),
            ("sos_butter8_low20", Sections::butterworth(8, Band::Low(0.4))),
        ];
        for (name, design) in designs {
            for (row, section) in reference["ops"][name].as_array().unwrap().iter().zip(design.sections()) {
                let [b0, b1, b2] = section.b;
                for (value, found) in numbers(row).into_iter().zip([b0, b1, b2, 1.0, section.a[0], section.a[1]]) {
                    assert!((found - value).abs() <= 1e-13 * value.abs(), "{name}: {found} {value}");
                }
            }
        }
    }
}
