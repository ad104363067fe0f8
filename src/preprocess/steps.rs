//! The ordered steps that one channel of one segment goes through: calibrate → detrend → outliers → filter →
//! integrate or differentiate → decimate.

use super::PreprocessError;
use super::decimate::{Selection, anti_alias};
use super::design::{Band, Sections};
use super::fir::{Fir, FirStream};
use super::hampel::Hampel;
use super::statistics::Trends;
use super::zero_phase::{ZeroPhase, ZeroPhaseStream};
use crate::model::channel::Channel;
use crate::model::motion::Motion;
use crate::model::parameters::{DecimationFilter, Filter, FilterKind, Outliers, PreprocessingParameters};
use std::sync::Arc;

/// The steps as the parameters want them, at one sampling rate.
#[derive(Debug)]
pub(crate) struct Steps {
    outliers: Option<Outliers>,
    /// In their order.
    filters: Vec<AnyFilter>,
    factor: usize,
}

/// A filter of either kind.
#[derive(Debug)]
enum AnyFilter {
    Recursive(Arc<ZeroPhase>),
    Finite(Arc<Fir>),
}

impl Steps {
    /// Designs the filters.
    pub(crate) fn new(parameters: &PreprocessingParameters, rate_hz: f64) -> Result<Steps, PreprocessError> {
        let mut filters = Vec::new();
        if let Some(filter) = &parameters.filter {
            filters.push(AnyFilter::Recursive(design(filter, rate_hz)?));
        }
        if let Some(integration) = &parameters.integration {
            let (value_hz, nyquist_hz) = (integration.low_hz, rate_hz / 2.0);
            if !(value_hz < nyquist_hz) {
                return Err(PreprocessError::BeyondNyquist { setting: "integration.low_hz", value_hz, nyquist_hz });
            }
            // Sixteen periods of the lower edge; the limit is that of the memory of any filter.
            if value_hz * 1e7 < rate_hz {
                return Err(PreprocessError::TooLow { value_hz, rate_hz });
            }
            filters.push(AnyFilter::Finite(Arc::new(Fir::integration(integration.times, value_hz, rate_hz))));
        }
        if parameters.differentiation > 0 {
            filters.push(AnyFilter::Finite(Arc::new(Fir::differentiation(parameters.differentiation, rate_hz))));
        }
        let factor = parameters.decimation_factor;
        if factor > 1 {
            filters.push(match parameters.decimation_filter {
                DecimationFilter::Iir => AnyFilter::Recursive(anti_alias(factor)?),
                DecimationFilter::Fir => AnyFilter::Finite(Arc::new(Fir::anti_alias(factor))),
            });
        }
        Ok(Steps { outliers: parameters.outliers.clone(), filters, factor })
    }

    /// By how much the sampling rate falls.
    pub(crate) fn factor(&self) -> usize {
        self.factor
    }

    /// A shorter segment cannot go through the filters.
    pub(crate) fn least_samples(&self) -> usize {
        let least = |filter: &AnyFilter| match filter {
            AnyFilter::Recursive(filter) => filter.least_samples(),
            AnyFilter::Finite(filter) => filter.least_samples(),
        };
        self.filters.iter().map(least).max().unwrap_or(1)
    }

    /// Samples that wait in the filters for each channel, in a segment of this length.
    pub(crate) fn held_samples(&self, segment: u64) -> u64 {
        let held = |filter: &AnyFilter| match filter {
            AnyFilter::Recursive(filter) => segment.min(filter.held_samples() as u64),
            AnyFilter::Finite(filter) => filter.held_samples() as u64,
        };
        self.filters.iter().map(held).sum()
    }

    /// The way of one channel through a segment that begins at sample `start` of the record.
    pub(crate) fn lane(&self, trends: Trends, start: u64) -> Lane {
        let mut stages: Vec<Stage> =
            self.outliers.iter().map(|outliers| Stage::Outliers(Hampel::new(outliers))).collect();
        stages.extend(self.filters.iter().map(|filter| match filter {
            AnyFilter::Recursive(filter) => Stage::Recursive(ZeroPhaseStream::new(filter)),
            AnyFilter::Finite(filter) => Stage::Finite(FirStream::new(filter)),
        }));
        if self.factor > 1 {
            stages.push(Stage::Selection(Selection::new(self.factor, start)));
        }
        Lane { trends, position: 0, stages, input: Vec::new(), output: Vec::new() }
    }
}

/// One step on the way of a channel.
enum Stage {
    Outliers(Hampel),
    Recursive(ZeroPhaseStream),
    Finite(FirStream),
    Selection(Selection),
}

impl Stage {
    fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) {
        match self {
            Stage::Outliers(hampel) => hampel.push(samples, out),
            Stage::Recursive(filter) => filter.push(samples, out),
            Stage::Finite(filter) => filter.push(samples, out),
            Stage::Selection(selection) => selection.push(samples, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<f64>) {
        match self {
            Stage::Outliers(hampel) => hampel.finish(out),
            Stage::Recursive(filter) => filter.finish(out),
            Stage::Finite(filter) => filter.finish(out),
            Stage::Selection(_) => {}
        }
    }
}

/// One channel of one segment on its way.
pub(crate) struct Lane {
    trends: Trends,
    position: u64,
    stages: Vec<Stage>,
    /// Of the stage at work.
    input: Vec<f64>,
    output: Vec<f64>,
}

impl Lane {
    /// Takes the next calibrated samples, which it changes, and appends to `out` those that are finished.
    pub(crate) fn push(&mut self, samples: &mut [f64], out: &mut Vec<f64>) {
        self.trends.remove(samples, self.position);
        self.position += samples.len() as u64;
        if self.stages.is_empty() {
            return out.extend_from_slice(samples);
        }
        self.input.clear();
        self.input.extend_from_slice(samples);
        self.run(false, out);
    }

    /// Ends the segment; returns how many spikes were replaced.
    pub(crate) fn finish(mut self, out: &mut Vec<f64>) -> u64 {
        self.input.clear();
        self.run(true, out);
        let spikes = |stage: &Stage| if let Stage::Outliers(hampel) = stage { hampel.spikes } else { 0 };
        self.stages.iter().map(spikes).sum()
    }

    /// Brings `input` through all stages.
    fn run(&mut self, ends: bool, out: &mut Vec<f64>) {
        for stage in &mut self.stages {
            self.output.clear();
            stage.push(&self.input, &mut self.output);
            if ends {
                stage.finish(&mut self.output);
            }
            std::mem::swap(&mut self.input, &mut self.output);
        }
        out.extend_from_slice(&self.input);
    }
}

/// Raw value = physical value × sensitivity + offset, solved for the physical value.
pub(crate) fn calibrate(channel: &Channel, samples: &mut [f64]) {
    for sample in samples {
        *sample = (*sample - channel.offset) / channel.sensitivity;
    }
}

/// What a channel holds after `integrals` over time, negative ones being derivatives.
pub(crate) fn integrated(channel: &Channel, integrals: i32) -> Channel {
    let order = Motion::named(&channel.quantity).map(|motion| motion.order() - integrals);
    let quantity = Motion::ALL.into_iter().find(|motion| Some(motion.order()) == order);
    // Metres per second squared are metres over two seconds.
    let (base, seconds) = match channel.unit.split_once("/s") {
        Some((base, "2" | "²" | "^2")) => (base, 2),
        Some((base, "")) => (base, 1),
        _ => (channel.unit.as_str(), 0),
    };
    let unit = match seconds - integrals {
        _ if integrals == 0 || channel.unit.is_empty() => channel.unit.clone(),
        0 => base.to_owned(),
        1 => format!("{base}/s"),
        over @ 2.. => format!("{base}/s{over}"),
        -1 => format!("{base}·s"),
        times => format!("{base}·s{}", -times),
    };
    let quantity = match quantity {
        _ if integrals == 0 => channel.quantity.clone(),
        Some(motion) => motion.as_str().into(),
        None => format!("{} {} over time", channel.quantity, if integrals > 0 { "integrated" } else { "derived" }),
    };
    Channel { quantity, unit, ..channel.clone() }
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
    use super::super::statistics::LineFits;
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
            let (mut fit, mut out) = (LineFits::new(&[], 0), Vec::new());
            samples.chunks(10_007).for_each(|block| fit.push(block));
            let mut lane = steps.lane(fit.trends(parameters.detrend), 0);
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

    /// A signal in closed form through the steps, in blocks of an odd size.
    fn closed_form(parameters: &PreprocessingParameters) -> Vec<f64> {
        let signal = |k: u32| {
            let k = f64::from(k);
            (0.37 * k).sin() + 0.5 * (0.002 * k * k).cos() + 0.01 * k
        };
        let mut samples: Vec<f64> = (0..400).map(signal).collect();
        let mut fit = LineFits::new(&parameters.detrend_breakpoints, 0);
        samples.chunks(77).for_each(|block| fit.push(block));
        let steps = Steps::new(parameters, 100.0).unwrap();
        let (mut lane, mut out) = (steps.lane(fit.trends(parameters.detrend), 0), Vec::new());
        samples.chunks_mut(77).for_each(|block| lane.push(block, &mut out));
        lane.finish(&mut out);
        out
    }

    #[test]
    fn a_channel_says_what_it_holds_after_an_integration() {
        let channel =
            |quantity: &str, unit: &str| Channel { quantity: quantity.into(), unit: unit.into(), ..Channel::default() };
        for (from, integrals, to) in [
            (("acceleration", "m/s2"), 1, ("velocity", "m/s")),
            (("acceleration", "mm/s²"), 2, ("displacement", "mm")),
            (("acceleration", "g"), 1, ("velocity", "g·s")),
            (("displacement", "m"), -2, ("acceleration", "m/s2")),
            (("strain", "µm/m"), -1, ("strain derived over time", "µm/m/s")),
            (("strain", ""), 0, ("strain", "")),
        ] {
            let found = integrated(&channel(from.0, from.1), integrals);
            assert_eq!((found.quantity.as_str(), found.unit.as_str()), to);
        }
    }

    fn equals(found: &[f64], expected: &[(usize, f64)]) {
        for (place, value) in expected {
            assert!((found[*place] - value).abs() <= 1e-12, "{place}: {} {value}", found[*place]);
        }
    }

    #[test]
    fn lines_between_breakpoints_equal_scipys() {
        // scipy.signal.detrend(x, bp=[100, 250]), SciPy 1.17.
        let parameters =
            PreprocessingParameters { detrend_breakpoints: vec![250, 100], ..only(Detrend::Linear, None, 1) };
        equals(
            &closed_form(&parameters),
            &[
                (0, 0.09253055607344707),
                (99, -0.28857288795347147),
                (100, -0.4528705451652125),
                (249, -0.9020667668696545),
                (250, -0.5452067289770453),
                (399, -0.2716974853973486),
            ],
        );
    }

    #[test]
    fn decimating_by_a_finite_filter_equals_scipys() {
        // scipy.signal.decimate(x, q, ftype="fir"), SciPy 1.17.
        let through = |factor| {
            let parameters = only(Detrend::None, None, factor);
            closed_form(&PreprocessingParameters { decimation_filter: DecimationFilter::Fir, ..parameters })
        };
        let (two, five) = (through(2), through(5));
        assert_eq!((two.len(), five.len()), (200, 80));
        equals(&two, &[(0, 0.4368929686392245), (1, 1.2185178619423342), (100, 0.9593788609304804)]);
        equals(&two, &[(198, 4.924105908991489), (199, 4.447208451126072)]);
        equals(&five, &[(0, 0.5165245731043445), (1, 1.5153058779580286), (40, 1.0195462100090662)]);
        equals(&five, &[(78, 3.559982532966166), (79, 5.208853499128369)]);
    }
}
