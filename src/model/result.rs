//! The result document (contract §3): what is stored, and what `analyze --output` writes.

use super::geometry::Geometry;
use super::merging::Merging;
use super::modes::Mode;
use super::quantities::ShapeQuantity;
use super::record::Segment;
use super::run::RunType;
use super::tracking::Tracking;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the document's layout.
pub const SCHEMA_VERSION: u32 = 1;

/// Parts of a result that only plots show; each may be absent.
pub const PLOTTED: [&str; 7] =
    ["spectrum", "stabilization", "validation", "by_setup", "channel_quality", "channel_signals", "geometry"];

/// One result, whatever the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The analysis it belongs to; absent for `analyze`.
    pub analysis_id: Option<String>,
    /// The kind of run.
    #[serde(rename = "type")]
    pub run_type: RunType,
    /// `preprocessing`, `fdd`, `efdd`, `fsdd`, `plscf`, `ssi-cov`, `ssi-dat`.
    pub method: String,
    /// When it was made, UTC.
    pub created_at: jiff::Timestamp,
    /// The effective parameters, every default and rule filled in.
    pub parameters: serde_json::Value,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What it was made of.
    pub data: DataSummary,
    /// The modes, ascending in frequency; empty for PREPROCESSING.
    #[serde(default)]
    pub modes: Vec<Mode>,
    /// Why there is no mode, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_modes_reason: Option<String>,
    /// Singular values of the spectral matrix (FDD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectrum: Option<SpectrumSummary>,
    /// Every pole of every order (SSI, pLSCF).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stabilization: Option<Stabilization>,
    /// Sinusoids of machines among the poles, ascending in frequency (SSI with standard deviations).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub harmonics: Vec<Harmonic>,
    /// How well the modes reproduce the record (SSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// What each setup's own record says, in the order of the setups, where they were identified together (PreGER, PoGER).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_setup: Vec<RecordEvidence>,
    /// How the modes stand to those of earlier results, where some were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<Tracking>,
    /// How it came from those of several setups, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merging: Option<Merging>,
    /// Per-channel statistics and verdicts (PREPROCESSING).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_quality: Option<Vec<ChannelQuality>>,
    /// Their time histories and spectra in small (PREPROCESSING).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_signals: Option<ChannelSignals>,
    /// Where the channels sit; absent where nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<Geometry>,
    /// The cached record that the run left or used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
    /// The page that the worker left beside the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<StoredReport>,
}

/// A page in the bucket of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReport {
    /// Its key.
    pub key: String,
    /// Its content's SHA-256, hexadecimal.
    pub sha256: String,
}

/// Who computed it, from what, how long it took and what was odd.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of this crate.
    pub worker_version: String,
    /// `cpu` or `gpu`.
    pub backend: String,
    /// The GPU adapter, if one was used.
    pub adapter: Option<String>,
    /// Its driver and the driver's version.
    #[serde(default)]
    pub driver: Option<String>,
    /// Why the CPU was taken, for all or a part, although a GPU was wanted or possible.
    pub fallback_reason: Option<String>,
    /// The raw files.
    pub inputs: Vec<InputFile>,
    /// Seconds by stage. The only part of a result that differs from one run to the next.
    pub seconds: BTreeMap<String, f64>,
    /// What a careful reader should know.
    pub warnings: Vec<String>,
}

/// One raw file of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its key in the bucket, or its path.
    pub key: String,
    /// Its content's SHA-256, hexadecimal.
    pub sha256: String,
    /// Samples per channel in it.
    pub samples: u64,
}

/// The record that the method saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSummary {
    /// Time of the first sample, where the files know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<jiff::Timestamp>,
    /// Hz.
    pub sampling_rate_hz: f64,
    /// Samples from first to last, gaps included.
    pub samples: u64,
    /// Seconds from first to last sample, gaps included.
    pub duration_s: f64,
    /// Channel names in the order of every shape.
    pub channels: Vec<String>,
    /// Per channel: valid part of the samples, 0 to 1.
    pub coverage: Vec<f64>,
    /// Gap-free stretches.
    pub segments: Vec<Segment>,
    /// What was found of each sensor's times and done about them.
    #[serde(default)]
    pub clocks: Vec<Clock>,
    /// What the components of every shape are; absent in a result of PREPROCESSING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapes: Option<ShapeQuantity>,
}

/// The times of one sensor, or of the files that hold every channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// The sensor, or the first file.
    pub name: String,
    /// Its channels.
    pub channels: Vec<String>,
    /// Rate of its rows, Hz.
    pub sampling_rate_hz: f64,
    /// The clock minus true time that was taken off, s.
    pub clock_offset_s: f64,
    /// What the samples say of the offset that is left against the first clock, where they were asked; never taken off.
    #[serde(default)]
    pub estimated_offset: Option<OffsetEstimate>,
    /// Root mean square distance of its stamps from even times, in sampling intervals.
    pub jitter: Option<f64>,
    /// Whether its rows stood unevenly and were interpolated at even times.
    pub interpolated: bool,
    /// Rows left out because their time repeats an earlier one or lies out of order.
    pub rows_left_out: u64,
    /// Rows with a time astray that took their place by count.
    pub rows_astray: u64,
    /// The filter by which it was brought to the record's axis, where its rows are no samples of it.
    pub resampled: Option<Resampled>,
}

/// A clock offset by the phase between the samples of two sensors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OffsetEstimate {
    /// The clock minus the first one, s.
    pub offset_s: f64,
    /// Its standard deviation by the coherence, s.
    pub std_s: f64,
    /// Part of the lines' weight that agrees on it, up to 1.
    pub agreement: f64,
}

/// A windowed sinc.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Resampled {
    /// Up to here it is flat, Hz.
    pub pass_hz: f64,
    /// From here on it stops, Hz.
    pub stop_hz: f64,
    /// By so much, dB.
    pub attenuation_db: f64,
}

/// A uniform axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// First value.
    pub start: f64,
    /// Distance of two values.
    pub step: f64,
    /// How many.
    pub count: usize,
}

impl Axis {
    /// The value at an index.
    pub fn at(&self, index: usize) -> f64 {
        self.start + self.step * index as f64
    }
}

/// Singular values of the one-sided spectral matrix, power units u²/Hz.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectrumSummary {
    /// The lines.
    pub frequency_hz: Axis,
    /// One array a singular value, largest first.
    pub singular_values: Vec<Vec<f64>>,
}

/// Every pole with positive frequency of every order, in columns. `null` where a number does not exist.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stabilization {
    /// Sampling rate of the decimation level that the pole belongs to, Hz.
    pub level_sampling_rate_hz: Vec<f64>,
    /// Model order.
    pub order: Vec<usize>,
    /// Hz.
    pub frequency_hz: Vec<Option<f64>>,
    /// Fraction of critical.
    pub damping_ratio: Vec<Option<f64>>,
    /// Hz.
    pub frequency_std_hz: Vec<Option<f64>>,
    /// Fraction of critical.
    pub damping_ratio_std: Vec<Option<f64>>,
    /// Modal phase collinearity.
    pub mpc: Vec<Option<f64>>,
    /// Mean phase deviation, rad.
    pub mpd: Vec<Option<f64>>,
    /// MAC of the shape with that of the pole's partner at the order before, on the same level, one to one; `null` where it
    /// has none.
    #[serde(default)]
    pub mac: Vec<Option<f64>>,
    /// `stable`: in the cluster of a mode; otherwise the rule that rejected the pole.
    pub verdict: Vec<String>,
}

/// How well the modes reproduce the record (SSI): correlations and spectra synthesised from them, beside the measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Lags that are compared, from 1 on.
    pub lags: usize,
    /// What the scatter of the measured spectra alone leaves of [`ChannelFit::spectrum_error_db`], dB.
    pub scatter_db: f64,
    /// One entry a channel.
    pub channels: Vec<ChannelFit>,
    /// The spectra.
    pub synthesis: Synthesis,
}

/// What one record says of the modes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordEvidence {
    /// Its largest singular value.
    pub spectrum: SpectrumSummary,
    /// How well the modes reproduce it; absent without a mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
}

/// How well the modes reproduce one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelFit {
    /// Its name.
    pub channel: String,
    /// Part of its squared correlations with the references, less a parabola over the lags, that the modes explain; at most
    /// 1, below 0 they make it worse.
    pub correlation_fit: f64,
    /// Root mean square distance of its autospectrum from the modes', between the lowest mode and the highest, dB; of
    /// reference channels only.
    pub spectrum_error_db: Option<f64>,
}

/// Autospectra of the reference channels, one-sided, unit²/Hz, one array a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Synthesis {
    /// The lines.
    pub frequency_hz: Axis,
    /// The reference channels.
    pub channels: Vec<String>,
    /// Welch's estimate.
    pub measured: Vec<Vec<f32>>,
    /// Its expectation by the modes, above a floor for the noise.
    pub synthesised: Vec<Vec<f32>>,
}

/// A sinusoid in the record: a machine, not the structure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Harmonic {
    /// Hz.
    pub frequency_hz: f64,
    /// Its standard deviation, Hz.
    pub frequency_std_hz: f64,
    /// Of its pole, or by the width of its line; nearly none, of either sign.
    pub damping_ratio: f64,
    /// Part of the orders that have its pole, 0 to 1; `None` where it was told by the width of its line.
    #[serde(default)]
    pub support: Option<f64>,
    /// Place of the channel in which it is strongest, among the channels of [`DataSummary`].
    pub strongest_row: usize,
    /// Kurtosis of the band around it there, a second opinion: 1 for a sinusoid alone, 2 for noise.
    pub kurtosis: Option<f64>,
    /// Its standard deviation.
    pub kurtosis_std: Option<f64>,
    /// Part of each channel's rms that it carried, in the order of the channels, where it was taken off the record before
    /// the modes were identified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rms_parts: Option<Vec<f64>>,
}

/// The preprocessed channels in small: enough to look at, whatever the length of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelSignals {
    /// Beginnings of the equal stretches into which the record is divided, s from its first sample.
    pub time_s: Axis,
    /// Unit of each channel; empty where it is not known.
    #[serde(default)]
    pub units: Vec<String>,
    /// Smallest sample of each stretch, one array a channel; `null` where the stretch lies in a gap.
    pub min: Vec<Vec<Option<f32>>>,
    /// Largest sample of each stretch, likewise.
    pub max: Vec<Vec<Option<f32>>>,
    /// The lines of the autospectra; without any where no gap-free stretch is long enough.
    pub frequency_hz: Axis,
    /// One-sided power spectral density by Welch's method, u²/Hz, one array a channel.
    pub psd: Vec<Vec<f32>>,
}

/// What PREPROCESSING found in one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelQuality {
    /// Its name.
    pub channel: String,
    /// `good`, or the fault: `dead`, `duplicated` (both are left out of every method), `stuck`, `clipped`, `sparse`,
    /// `spiky` (where outliers are looked for), `noisy`, `drifting`.
    pub verdict: String,
    /// Valid part of the samples, 0 to 1.
    pub coverage: f64,
    /// Mean of the calibrated raw signal, its unit.
    pub mean: f64,
    /// Root mean square of the preprocessed signal.
    pub rms: f64,
    /// Smallest value of the preprocessed signal.
    pub min: f64,
    /// Largest value of the preprocessed signal.
    pub max: f64,
    /// Kurtosis of the preprocessed signal, 3 for a Gaussian; absent for a dead channel.
    pub kurtosis: Option<f64>,
    /// The channel before it that has the same signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
    /// Part of the samples that stand still for long, 0 to 1.
    #[serde(default)]
    pub stuck_fraction: f64,
    /// Part of the samples that are cut off at the largest or smallest value, 0 to 1.
    #[serde(default)]
    pub clipped_fraction: f64,
    /// Part of the samples that were spikes and were replaced, 0 to 1; absent where none were looked for.
    #[serde(default)]
    pub spike_fraction: Option<f64>,
    /// By how much the means of the tenths of the record differ, in standard deviations of the signal within them.
    #[serde(default)]
    pub drift: Option<f64>,
    /// Standard deviation of white noise with the same second differences, the channel's unit.
    #[serde(default)]
    pub noise: Option<f64>,
    /// That noise by the median of the channels of the same quantity and unit.
    #[serde(default)]
    pub noise_to_peers: Option<f64>,
}
