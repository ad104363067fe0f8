//! Raw record → preprocessed record in a cache file: calibrate → detrend → outliers → filter → integrate or
//! differentiate → decimate, and a verdict on each channel.
//!
//! [`prepare`] reads the raw files three times: for the time axis ([`crate::ingest`]), for the segments and the trend
//! of each, and to write the result. Everything is streamed in f64; the finished samples are f32. The filters are
//! zero-phase and never cross a gap (`zero_phase`); [`decimate()`] does the last step to a finished record, for the
//! methods that look at low frequencies.

pub mod decimate;
pub mod design;
mod finish;
mod fir;
mod hampel;
mod offsets;
mod quality;
mod statistics;
mod steps;
mod zero_phase;

use crate::ingest::cache::{CacheError, CachedRecord};
use crate::ingest::{IngestError, Missing, RawRecord, Stretch};
use crate::model::channel::Channel;
use crate::model::control::{Cancelled, Control, MemoryExceeded};
use crate::model::parameters::PreprocessingParameters;
use crate::model::record::RawFile;
use crate::model::record::{BLOCK_SAMPLES, Segment};
use crate::model::result::ChannelQuality;
use decimate::decimated_segment;
pub use decimate::{DecimateError, Decimated, decimate};
use jiff::Timestamp;
use offsets::Offsets;
use quality::{Inspection, lesser_fault, noise_to_peers};
use rayon::prelude::*;
use statistics::{LineFits, Moments};
use std::path::Path;
use std::time::Instant;
use steps::{Steps, calibrate};

/// More segments than this are no record to be analysed; it also bounds memory and the result document.
const MAX_SEGMENTS: usize = 20_000;

/// What may wait in the filters of one channel: one with an edge so low that it needs more belongs behind a decimation.
const FILTER_MEMORY_MIB: u64 = 1024;

/// The stage that [`Control::progress`] is told.
const STAGE: &str = "ingest";

/// Why a record cannot be preprocessed as the parameters want it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's and field's meaning is its message")]
pub enum PreprocessError {
    #[error("{setting} is {value_hz} Hz, must be above 0 and below {nyquist_hz} Hz, half the sampling rate")]
    BeyondNyquist { setting: &'static str, value_hz: f64, nyquist_hz: f64 },
    #[error("filter of order {order} is not stable at {rate_hz} Hz: lower filter.order or move its edges apart")]
    Unstable { order: usize, rate_hz: f64 },
    #[error("filter would hold {mib} MiB, at most {limit} are allowed: raise filter.low_hz or lower filter.order")]
    Memory { mib: u64, limit: u64 },
    #[error(transparent)]
    MemoryExceeded(#[from] MemoryExceeded),
    #[error(
        "longest gap-free segment has {longest} samples, filter and decimation_factor {factor} need at least {least}"
    )]
    TooShort { longest: u64, factor: usize, least: usize },
    #[error("integration.low_hz is {value_hz} Hz, must be at least 1e-7 of the sampling rate, {rate_hz} Hz")]
    TooLow { value_hz: f64, rate_hz: f64 },
    #[error("max_gap_samples is {value}, must be at most {limit}")]
    MaxGap { value: usize, limit: usize },
    #[error(
        "channel {channel:?}: sensitivity is {sensitivity} and offset {offset}, both must be finite and the first not 0"
    )]
    Calibration { channel: String, sensitivity: f64, offset: f64 },
    #[error("channel {0:?} has values beyond the range of f32, 3.4e38: check its sensitivity and offset")]
    Range(String),
    #[error(transparent)]
    Decimate(#[from] DecimateError),
}

/// Why raw files gave no preprocessed record.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The files.
    #[error(transparent)]
    Ingest(IngestError),
    /// The parameters.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The cache file.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Stopped from outside.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<IngestError> for PrepareError {
    fn from(error: IngestError) -> PrepareError {
        match error {
            IngestError::Cancelled(cancelled) => PrepareError::Cancelled(cancelled),
            other => PrepareError::Ingest(other),
        }
    }
}

impl PreprocessError {
    /// Short word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            PreprocessError::TooShort { .. } | PreprocessError::Decimate(DecimateError::TooShort { .. }) => {
                "data_too_short"
            }
            PreprocessError::Calibration { .. } | PreprocessError::Range(_) => "bad_calibration",
            PreprocessError::MemoryExceeded(_) => "too_large",
            _ => "bad_parameter",
        }
    }
}

impl PrepareError {
    /// Short word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            PrepareError::Ingest(error) => error.code(),
            PrepareError::Preprocess(error) => error.code(),
            PrepareError::Cache(_) => "cache",
            PrepareError::Cancelled(_) => "cancelled",
        }
    }

    /// Whether the same input would fail again.
    pub fn is_permanent(&self) -> bool {
        match self {
            PrepareError::Ingest(error) => error.is_permanent(),
            PrepareError::Preprocess(_) => true,
            PrepareError::Cache(_) | PrepareError::Cancelled(_) => false,
        }
    }
}

/// Makes the preprocessed record of raw files and leaves it in the cache file `out`.
///
/// `channels`: the structure's channels; empty: every column of numbers is one. `selected`: only these, by name, in
/// that order. `period`: only samples from the one to the other. The record's
/// [`Description`](crate::ingest::cache::Description) holds the quality of each channel, the files with their hashes, and
/// what was odd. A channel without variance stays in the record and has the verdict `dead`.
///
/// # Errors
/// [`PrepareError`], with a code and a sentence that names file, line, value, limit and setting.
pub fn prepare(
    files: &[RawFile],
    channels: &[Channel],
    selected: Option<&[String]>,
    period: (Option<Timestamp>, Option<Timestamp>),
    parameters: &PreprocessingParameters,
    out: &Path,
    control: &Control,
) -> Result<CachedRecord, PrepareError> {
    // The passes cost about the same.
    const PASSES: f64 = 3.0;
    let watch = |pass: f64| move |part: f64| control.progress(STAGE, (pass + part) / PASSES);
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let start = Instant::now();
    let raw = RawRecord::open(files, channels, selected, period, parameters, folder, control, &watch(0.0))?;
    tracing::debug!(seconds = start.elapsed().as_secs_f64(), "raw files decoded");
    check(&raw, parameters)?;
    let steps = Steps::new(parameters, raw.sampling_rate_hz())?;
    let survey = Survey::of(&raw, parameters, steps.least_samples() as u64, control, &watch(1.0))?;
    survey.check(&raw, &steps, control)?;
    finish::write(&raw, parameters, &steps, survey, out, control, &watch(2.0))
}

fn check(raw: &RawRecord, parameters: &PreprocessingParameters) -> Result<(), PreprocessError> {
    // An open gap is held in memory until it ends.
    if parameters.max_gap_samples > BLOCK_SAMPLES {
        return Err(PreprocessError::MaxGap { value: parameters.max_gap_samples, limit: BLOCK_SAMPLES });
    }
    let usable = |c: &&Channel| c.sensitivity.is_finite() && c.sensitivity != 0.0 && c.offset.is_finite();
    match raw.channels().iter().find(|c| !usable(c)) {
        None => Ok(()),
        Some(c) => {
            let (channel, sensitivity, offset) = (c.name.clone(), c.sensitivity, c.offset);
            Err(PreprocessError::Calibration { channel, sensitivity, offset })
        }
    }
}

/// What the second pass finds.
struct Survey {
    /// Long enough for the filters, ascending.
    segments: Vec<Segment>,
    /// Per segment and channel.
    fits: Vec<Vec<LineFits>>,
    /// Per channel.
    inspections: Vec<Inspection>,
    /// Segments and samples that are too short, and the longest of all segments.
    short: (usize, u64),
    longest: u64,
    missing: Vec<Missing>,
}

impl Survey {
    fn of(
        raw: &RawRecord,
        parameters: &PreprocessingParameters,
        least: u64,
        control: &Control,
        watch: &dyn Fn(f64),
    ) -> Result<Survey, PrepareError> {
        let inspections = vec![Inspection::new(raw.samples()); raw.channels().len()];
        let mut survey =
            Survey { segments: vec![], fits: vec![], inspections, short: (0, 0), longest: 0, missing: vec![] };
        let mut stretches = raw.stretches(parameters.max_gap_samples, control);
        stretches.each(|stretch| {
            survey.take(stretch, raw, parameters, least)?;
            watch((stretch.start + stretch.samples() as u64) as f64 / raw.samples() as f64);
            Ok::<bool, PrepareError>(true)
        })?;
        survey.close(least);
        survey.missing = stretches.missing();
        Ok(survey)
    }

    fn take(
        &mut self,
        stretch: &mut Stretch,
        raw: &RawRecord,
        parameters: &PreprocessingParameters,
        least: u64,
    ) -> Result<(), IngestError> {
        let continues = self.segments.last().is_some_and(|s| s.start + s.samples == stretch.start);
        if !continues {
            self.close(least);
            if self.segments.len() == MAX_SEGMENTS {
                return Err(IngestError::TooManyGaps(MAX_SEGMENTS));
            }
            self.segments.push(Segment { start: stretch.start, samples: 0 });
            let fits = LineFits::new(&parameters.detrend_breakpoints, stretch.start);
            self.fits.push(vec![fits; raw.channels().len()]);
        }
        if let (Some(segment), Some(fits)) = (self.segments.last_mut(), self.fits.last_mut()) {
            segment.samples += stretch.samples() as u64;
            let start = stretch.start;
            let lanes = fits.par_iter_mut().zip(&mut self.inspections);
            lanes.zip(&mut stretch.channels).zip(raw.channels()).for_each(|(((fit, inspection), samples), channel)| {
                calibrate(channel, samples);
                fit.push(samples);
                inspection.push(start, samples);
            });
        }
        Ok(())
    }

    /// Drops the last segment if it is too short.
    fn close(&mut self, least: u64) {
        let Some(last) = self.segments.last() else { return };
        self.longest = self.longest.max(last.samples);
        if last.samples < least {
            self.short.0 += 1;
            self.short.1 += last.samples;
            self.segments.pop();
            self.fits.pop();
        }
    }

    /// Whether there is anything to write.
    fn check(&self, raw: &RawRecord, steps: &Steps, control: &Control) -> Result<(), PrepareError> {
        let channels = raw.channels();
        if let Some(channel) = channels.iter().zip(&self.missing).find(|(_, m)| m.present == 0) {
            return Err(IngestError::AllMissing(channel.0.name.clone()).into());
        }
        if self.longest == 0 {
            let sparsest = self.missing.iter().zip(channels).min_by_key(|(m, _)| m.present);
            let sparsest = sparsest.map_or(String::new(), |(_, c)| c.name.clone());
            return Err(IngestError::NoStretch { channels: channels.len(), sparsest }.into());
        }
        let factor = steps.factor();
        if self.segments.iter().all(|s| decimated_segment(*s, factor).samples == 0) {
            let least = steps.least_samples();
            return Err(PreprocessError::TooShort { longest: self.longest, factor, least }.into());
        }
        Ok(self.at_a_time(channels.len(), steps, control).map(drop)?)
    }

    /// How many of so many channels may be in the filters at a time.
    fn at_a_time(&self, channels: usize, steps: &Steps, control: &Control) -> Result<usize, PreprocessError> {
        let held = steps.held_samples(self.longest);
        let of_channel = held * size_of::<f64>() as u64;
        let (mib, limit) = (of_channel.div_ceil(1 << 20), FILTER_MEMORY_MIB);
        if mib > limit {
            return Err(PreprocessError::Memory { mib, limit });
        }
        let by_rule = ((limit << 20) / of_channel.max(1)) as usize;
        let by_limit = control.parts_in_memory(
            || format!("filters that hold {held} samples of a channel"),
            &[of_channel as usize],
            (1, channels),
            "raise filter.low_hz or lower filter.order",
        )?;
        Ok(by_rule.min(by_limit))
    }

    /// What looks for clock offsets in the finished record, where that is wanted and there are two clocks.
    fn offsets(&self, raw: &RawRecord, parameters: &PreprocessingParameters, steps: &Steps) -> Option<Offsets> {
        if !parameters.estimate_clock_offsets || raw.clocks().len() < 2 {
            return None;
        }
        let finished = || self.segments.iter().map(|s| decimated_segment(*s, steps.factor()).samples);
        let samples = (finished().sum(), finished().max()?);
        Offsets::new(raw.channels().len(), raw.sampling_rate_hz() / steps.factor() as f64, samples)
    }

    fn warnings(&self, raw: &RawRecord, steps: &Steps, max_gap: usize) -> Vec<String> {
        let mut warnings = raw.warnings().to_vec();
        for (channel, missing) in raw.channels().iter().zip(&self.missing).filter(|(_, m)| m.closed > 0) {
            let (name, closed) = (&channel.name, missing.closed);
            warnings
                .push(format!("channel {name}: {closed} missing samples in gaps of at most {max_gap} closed by lines"));
        }
        if self.segments.len() + self.short.0 > 1 {
            let gaps = self.segments.len() + self.short.0 - 1;
            warnings.push(format!("{gaps} gaps of more than {max_gap} samples split the record"));
        }
        if let (count @ 1.., samples) = self.short {
            let least = steps.least_samples();
            warnings.push(format!(
                "{count} segments with {samples} samples were left out: the filter needs at least {least} samples"
            ));
        }
        warnings
    }

    /// Quality of each channel of the finished record. `spikes`: per channel, where they were looked for.
    fn quality(&self, raw: &RawRecord, moments: &[Moments], spikes: Option<&[u64]>) -> Vec<ChannelQuality> {
        let noise: Vec<Option<f64>> = self.inspections.iter().map(Inspection::noise).collect();
        let peers = noise_to_peers(raw.channels(), &noise);
        let quality = |(index, channel): (usize, &Channel)| {
            let fits = || self.fits.iter().map(|fits| &fits[index]);
            let count: f64 = fits().map(|fit| fit.mean().1).sum();
            let (moments, inspection) = (&moments[index], &self.inspections[index]);
            // A signal too small for f32 is none either.
            let dead = fits().all(|fit| !fit.varies()) || moments.rms() < f64::from(f32::MIN_POSITIVE);
            let earlier = || (0..index).find(|other| inspection.repeats(&self.inspections[*other]));
            let duplicate_of = if dead { None } else { earlier().map(|other| raw.channels()[other].name.clone()) };
            let mut quality = ChannelQuality {
                channel: channel.name.clone(),
                verdict: String::new(),
                coverage: self.missing[index].present as f64 / raw.samples() as f64,
                mean: fits().map(|fit| fit.mean().0 * (fit.mean().1 / count)).sum(),
                rms: moments.rms(),
                min: moments.min,
                max: moments.max,
                kurtosis: if dead { None } else { moments.kurtosis() },
                duplicate_of,
                stuck_fraction: inspection.stuck_fraction(),
                clipped_fraction: inspection.clipped_fraction(),
                spike_fraction: spikes.map(|spikes| spikes[index] as f64 / count),
                drift: inspection.drift(),
                noise: noise[index],
                noise_to_peers: peers[index],
            };
            quality.verdict = match (dead, &quality.duplicate_of) {
                (true, _) => "dead",
                (_, Some(_)) => "duplicated",
                _ => inspection.fault().or_else(|| lesser_fault(&quality)).unwrap_or("good"),
            }
            .into();
            quality
        };
        raw.channels().iter().enumerate().map(quality).collect()
    }
}
