//! The parameters of an analysis: names, aliases, defaults, checks (contract §3).
//!
//! Every parameter has a default; `null` and an absent name mean the same: by rule. Names of other packages are
//! accepted as aliases. An unknown name is an error that says the nearest known one.

use super::criteria::Criteria;
use super::file_format::FileFormat;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// No parameter has this name.
    #[error("{part}: unknown parameter {name:?}{}", nearest.as_ref().map(|n| format!(", did you mean {n:?}?")).unwrap_or_default())]
    Unknown {
        /// `preprocessing`, `fdd` or `ssi`.
        part: &'static str,
        /// As given.
        name: String,
        /// The most similar known name.
        nearest: Option<String>,
    },
    /// Two spellings of one parameter.
    #[error("{part}: {first:?} and {second:?} are the same parameter, give one")]
    Twice {
        /// The part.
        part: &'static str,
        /// One spelling.
        first: String,
        /// The other.
        second: String,
    },
    /// The value has another type than the parameter.
    #[error("{part}.{name}: {message}")]
    Type {
        /// The part.
        part: &'static str,
        /// The parameter.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The value is outside what the parameter allows.
    #[error("{part}.{name} is {value}, must be {limit}")]
    Range {
        /// The part.
        part: &'static str,
        /// The parameter.
        name: &'static str,
        /// As given.
        value: String,
        /// What is allowed.
        limit: String,
    },
}

/// Trend that is removed from each channel, segment by segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detrend {
    /// None.
    None,
    /// The mean.
    Constant,
    /// The least-squares line.
    Linear,
}

/// Which frequencies a filter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterKind {
    /// Below `high_hz`.
    Lowpass,
    /// Above `low_hz`.
    Highpass,
    /// Between the two.
    Bandpass,
    /// Outside the two.
    Bandstop,
}

/// A zero-phase Butterworth filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Which frequencies pass.
    pub kind: FilterKind,
    /// Lower edge (−3 dB of one pass), Hz.
    #[serde(default)]
    pub low_hz: Option<f64>,
    /// Upper edge (−3 dB of one pass), Hz.
    #[serde(default)]
    pub high_hz: Option<f64>,
    /// Order of the low-pass prototype.
    #[serde(default = "Filter::default_order")]
    pub order: usize,
}

impl Filter {
    fn default_order() -> usize {
        8
    }
}

/// A Hampel filter: values far from the median of their neighbours are replaced by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outliers {
    /// Neighbours to either side, samples.
    pub half_width: usize,
    /// Distance from the median in standard deviations of Gaussian noise, by the median distance.
    pub threshold: f64,
}

impl Default for Outliers {
    fn default() -> Outliers {
        // Eleven values hold five spikes; six standard deviations are met by one Gaussian sample in 5e8.
        Outliers { half_width: 5, threshold: 6.0 }
    }
}

/// Integrals over time, in frequency: X(f) / (2πif)^times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Integration {
    /// 1 from acceleration to velocity, 2 to displacement.
    pub times: usize,
    /// From here on it is exact; below half of it nothing passes, Hz.
    pub low_hz: f64,
}

/// The anti-alias filter of a decimation, both as in SciPy's `decimate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecimationFilter {
    /// Chebyshev I of order 8, to and fro.
    Iir,
    /// Hamming window of 20 q + 1 taps, symmetric.
    Fir,
}

/// What is done to the raw record before any method sees it, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreprocessingParameters {
    /// How the raw files are written, where their sensors do not say it; what is absent is found in each file.
    pub file_format: FileFormat,
    /// Rate of the record, Hz: sensors of another rate are resampled to it. By rule that of the slowest sensor.
    pub sampling_rate_hz: Option<f64>,
    /// Whether the clock offsets of the sensors are looked for in their samples; told, never taken off.
    pub estimate_clock_offsets: bool,
    /// Longest gap that is closed by linear interpolation, samples; a longer one splits the record.
    pub max_gap_samples: usize,
    /// Trend to remove.
    pub detrend: Detrend,
    /// Samples of the record's axis at which a new line begins.
    pub detrend_breakpoints: Vec<u64>,
    /// Spikes to replace, if any.
    pub outliers: Option<Outliers>,
    /// Filter, if any.
    pub filter: Option<Filter>,
    /// Integrals to take, if any.
    pub integration: Option<Integration>,
    /// Derivatives to take: multiplication by (2πif)^n, falling to nothing from 0.8 of Nyquist on.
    pub differentiation: usize,
    /// Keep every n-th sample after an anti-alias filter; 1 keeps all.
    pub decimation_factor: usize,
    /// The anti-alias filter.
    pub decimation_filter: DecimationFilter,
}

impl Default for PreprocessingParameters {
    fn default() -> PreprocessingParameters {
        PreprocessingParameters {
            file_format: FileFormat::default(),
            sampling_rate_hz: None,
            estimate_clock_offsets: false,
            // Three missing samples in a row are bridged by a line with an error far below sensor noise for
            // anything sampled well enough to be analysed; longer bridges would show as a low-pass.
            max_gap_samples: 3,
            detrend: Detrend::Linear,
            detrend_breakpoints: Vec::new(),
            outliers: None,
            filter: None,
            integration: None,
            differentiation: 0,
            decimation_factor: 1,
            decimation_filter: DecimationFilter::Iir,
        }
    }
}

impl PreprocessingParameters {
    /// The steps but the filter.
    fn check_steps(&self) -> Result<(), ParameterError> {
        const PART: &str = "preprocessing";
        if !self.detrend_breakpoints.is_empty() && self.detrend != Detrend::Linear {
            let value = format!("{:?}", self.detrend_breakpoints);
            return Err(range(PART, "detrend_breakpoints", value, "empty unless detrend is linear"));
        }
        if let Some(outliers) = &self.outliers {
            // Wider windows are medians of the signal and no longer of its neighbourhood.
            if !(1..=1000).contains(&outliers.half_width) {
                let limit = "between 1 and 1000";
                return Err(range(PART, "outliers.half_width", outliers.half_width.to_string(), limit));
            }
            if !(outliers.threshold > 0.0 && outliers.threshold.is_finite()) {
                return Err(range(PART, "outliers.threshold", outliers.threshold.to_string(), "above 0"));
            }
        }
        if let Some(integration) = &self.integration {
            if !(1..=2).contains(&integration.times) {
                return Err(range(PART, "integration.times", integration.times.to_string(), "1 or 2"));
            }
            if !(integration.low_hz > 0.0 && integration.low_hz.is_finite()) {
                return Err(range(PART, "integration.low_hz", integration.low_hz.to_string(), "above 0"));
            }
        }
        if self.differentiation > 2 || self.differentiation > 0 && self.integration.is_some() {
            let limit = "at most 2, and 0 beside an integration";
            return Err(range(PART, "differentiation", self.differentiation.to_string(), limit));
        }
        Ok(())
    }
}

/// Frequency domain decomposition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FddParameters {
    /// `fdd` by rule; `efdd` and `fsdd` also tell the damping; `plscf` fits the half spectrum.
    pub method: Option<String>,
    /// Samples of a Welch segment; by rule a power of two that leaves 40 half-overlapped segments. `plscf` fits the
    /// correlations at half as many lags.
    pub segment_length: Option<usize>,
    /// Overlap of two segments as a part of their length; 0.5 by rule.
    pub overlap: Option<f64>,
    /// Only modes from here, Hz; spectra are formed for the band and a little around it alone.
    pub band_low_hz: Option<f64>,
    /// Only modes up to here, Hz.
    pub band_high_hz: Option<f64>,
    /// Singular values that are kept of every line; 3 by rule.
    pub singular_values: Option<usize>,
    /// Least prominence of a peak of ln s₁ in units of its standard deviation × √2; 4 by rule (automation §4).
    pub peak_prominence: Option<f64>,
    /// Highest order of the polynomial (`plscf`); each has as many poles a reference. By rule 30.
    pub order_max: Option<usize>,
    /// Lowest order of the polynomial (`plscf`); by rule a third of the highest.
    pub order_min: Option<usize>,
    /// Standard deviations of every pole (`plscf`); true by rule. Without them modes are selected by MPC and support.
    pub uncertainty: Option<bool>,
    /// What poles must keep to (`plscf`).
    pub criteria: Criteria,
    /// Whether harmonics that are found are taken off the record, and the modes identified without them; false by rule.
    pub reduce_harmonics: bool,
}

/// What is done to the block Hankel matrix before its decomposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weighting {
    /// Unweighted principal component: H · R_pp^(−1/2), from correlations only.
    Upc,
    /// Principal component: H as it is, the plain `cov` of other packages.
    Pc,
    /// Canonical variate: R_ff^(−1/2) · H · R_pp^(−1/2).
    Cva,
}

/// Stochastic subspace identification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SsiParameters {
    /// `ssi-cov` (by rule) or `ssi-dat`.
    pub method: Option<String>,
    /// `upc` by rule.
    pub weighting: Option<Weighting>,
    /// Block rows; by rule half a period of the lowest spectral peak (automation §1.2).
    pub block_rows: Option<usize>,
    /// Highest model order; by rule from the two halves of the record (automation §1.2).
    pub order_max: Option<usize>,
    /// Lowest model order.
    pub order_min: Option<usize>,
    /// Only modes from here, Hz.
    pub band_low_hz: Option<f64>,
    /// Only modes up to here, Hz.
    pub band_high_hz: Option<f64>,
    /// Standard deviations of every pole; true by rule. Without them modes are selected by MPC and support.
    pub uncertainty: Option<bool>,
    /// Blocks of the record behind order and standard deviations; 50 by rule (automation §5).
    pub blocks: Option<usize>,
    /// Add levels decimated by 4 for modes that are too low for the block rows; true by rule (automation §2).
    pub decimation_levels: Option<bool>,
    /// What poles must keep to.
    pub criteria: Criteria,
    /// Whether harmonics that are found are taken off the record, and the modes identified without them; false by rule.
    pub reduce_harmonics: bool,
}

/// What subspace identification starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// Correlations of the outputs: SSI-cov.
    Covariance,
    /// The outputs themselves, projected on their past: SSI-data.
    Data,
}

impl Drive {
    /// Its name as a method.
    pub fn method(self) -> &'static str {
        match self {
            Drive::Covariance => "ssi-cov",
            Drive::Data => "ssi-dat",
        }
    }
}

impl SsiParameters {
    /// What the method starts from.
    pub fn drive(&self) -> Drive {
        if self.method.as_deref() == Some(Drive::Data.method()) { Drive::Data } else { Drive::Covariance }
    }
}

/// All three parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// Before any method.
    pub preprocessing: PreprocessingParameters,
    /// FDD.
    pub fdd: FddParameters,
    /// SSI.
    pub ssi: SsiParameters,
}

/// Part, known names, and for each the aliases it is accepted under.
type Names = &'static [(&'static str, &'static [&'static str])];

const PREPROCESSING: Names = &[
    ("file_format", &[]),
    ("sampling_rate_hz", &[]),
    ("estimate_clock_offsets", &[]),
    ("max_gap_samples", &[]),
    ("detrend", &[]),
    ("detrend_breakpoints", &["bp"]),
    ("outliers", &["hampel"]),
    ("filter", &[]),
    ("integration", &["integrate"]),
    ("differentiation", &["differentiate"]),
    ("decimation_factor", &["decimate", "q"]),
    ("decimation_filter", &["ftype"]),
];

const FDD: Names = &[
    ("method", &[]),
    ("segment_length", &["nxseg"]),
    ("overlap", &["pov"]),
    ("band_low_hz", &[]),
    ("band_high_hz", &[]),
    ("singular_values", &[]),
    ("peak_prominence", &[]),
    ("order_max", &["ordmax"]),
    ("order_min", &["ordmin"]),
    ("uncertainty", &["calc_unc"]),
    ("criteria", &["hc"]),
    ("reduce_harmonics", &[]),
];

const SSI: Names = &[
    ("method", &[]),
    ("weighting", &[]),
    ("block_rows", &["br"]),
    ("order_max", &["ordmax"]),
    ("order_min", &["ordmin"]),
    ("band_low_hz", &[]),
    ("band_high_hz", &[]),
    ("uncertainty", &["calc_unc"]),
    ("blocks", &["nb"]),
    ("decimation_levels", &[]),
    ("criteria", &["hc"]),
    ("reduce_harmonics", &[]),
];

impl Parameters {
    /// Reads the three parts of an analysis document; each may be absent or null.
    ///
    /// # Errors
    /// [`ParameterError`] naming the first parameter that cannot be used.
    pub fn from_parts(preprocessing: &Value, fdd: &Value, ssi: &Value) -> Result<Parameters, ParameterError> {
        let parameters = Parameters {
            preprocessing: read_part("preprocessing", PREPROCESSING, preprocessing)?,
            fdd: read_part("fdd", FDD, fdd)?,
            ssi: read_part("ssi", SSI, ssi)?,
        };
        parameters.check()?;
        Ok(parameters)
    }

    /// The part that a bare parameter name belongs to, for `--set name=value`: the one that knows it, the method's own
    /// part first; for a name that none knows the part with the most similar one, which makes the better error.
    pub fn part_of(name: &str, method_part: &'static str) -> &'static str {
        let mut parts = [("preprocessing", PREPROCESSING), ("fdd", FDD), ("ssi", SSI)];
        parts.sort_by_key(|(part, _)| *part != method_part);
        let knows = |names: Names| names.iter().any(|(n, aliases)| *n == name || aliases.contains(&name));
        let known = parts.iter().find(|(_, names)| knows(names));
        known.or_else(|| parts.iter().find(|(_, names)| nearest(names, name).is_some())).map_or(method_part, |p| p.0)
    }

    /// Checks what can be checked without the record.
    fn check(&self) -> Result<(), ParameterError> {
        let p = &self.preprocessing;
        at_least("preprocessing", "decimation_factor", Some(p.decimation_factor), 1)?;
        if let Some(rate) = p.sampling_rate_hz
            && !(rate > 0.0 && rate.is_finite())
        {
            return Err(range("preprocessing", "sampling_rate_hz", rate.to_string(), "above 0"));
        }
        p.check_steps()?;
        if let Some(filter) = &p.filter {
            at_least("preprocessing", "filter.order", Some(filter.order), 1)?;
            let (need_low, need_high) = match filter.kind {
                FilterKind::Lowpass => (false, true),
                FilterKind::Highpass => (true, false),
                FilterKind::Bandpass | FilterKind::Bandstop => (true, true),
            };
            for (name, needed, value) in
                [("filter.low_hz", need_low, filter.low_hz), ("filter.high_hz", need_high, filter.high_hz)]
            {
                if needed && !value.is_some_and(|v| v > 0.0 && v.is_finite()) {
                    let limit = format!("a frequency above 0 Hz for a {:?} filter", filter.kind).to_lowercase();
                    return Err(range("preprocessing", name, show(value), &limit));
                }
            }
            if need_low && need_high && filter.low_hz >= filter.high_hz {
                return Err(range("preprocessing", "filter.low_hz", show(filter.low_hz), "below filter.high_hz"));
            }
        }
        let f = &self.fdd;
        one_of("fdd", &f.method, &["fdd", "efdd", "fsdd", "plscf"])?;
        at_least("fdd", "order_max", f.order_max, 2)?;
        at_least("fdd", "order_min", f.order_min, 1)?;
        order_range("fdd", f.order_min, f.order_max)?;
        at_least("fdd", "segment_length", f.segment_length, 16)?;
        at_least("fdd", "singular_values", f.singular_values, 1)?;
        if let Some(overlap) = f.overlap
            && !(0.0..=0.95).contains(&overlap)
        {
            return Err(range("fdd", "overlap", overlap.to_string(), "between 0 and 0.95"));
        }
        if let Some(z) = f.peak_prominence
            && !(z > 0.0 && z.is_finite())
        {
            return Err(range("fdd", "peak_prominence", z.to_string(), "above 0"));
        }
        band("fdd", f.band_low_hz, f.band_high_hz)?;
        let s = &self.ssi;
        one_of("ssi", &s.method, &[Drive::Covariance.method(), Drive::Data.method()])?;
        at_least("ssi", "block_rows", s.block_rows, 2)?;
        at_least("ssi", "order_max", s.order_max, 2)?;
        at_least("ssi", "order_min", s.order_min, 1)?;
        at_least("ssi", "blocks", s.blocks, 4)?;
        order_range("ssi", s.order_min, s.order_max)?;
        keeps_to("fdd", &f.criteria)?;
        keeps_to("ssi", &s.criteria)?;
        band("ssi", s.band_low_hz, s.band_high_hz)
    }
}

fn show(value: Option<f64>) -> String {
    value.map_or("null".into(), |v| v.to_string())
}

fn range(part: &'static str, name: &'static str, value: String, limit: &str) -> ParameterError {
    ParameterError::Range { part, name, value, limit: limit.into() }
}

fn at_least(part: &'static str, name: &'static str, value: Option<usize>, least: usize) -> Result<(), ParameterError> {
    match value {
        Some(v) if v < least => Err(range(part, name, v.to_string(), &format!("at least {least}"))),
        _ => Ok(()),
    }
}

fn keeps_to(part: &'static str, criteria: &Criteria) -> Result<(), ParameterError> {
    match criteria.fault() {
        Some((name, value, f64::MAX)) => Err(range(part, name, value.to_string(), "above 0")),
        Some((name, value, most)) => {
            Err(range(part, name, value.to_string(), &format!("above 0 and at most {most:.4}")))
        }
        None => Ok(()),
    }
}

fn order_range(part: &'static str, min: Option<usize>, max: Option<usize>) -> Result<(), ParameterError> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => {
            Err(range(part, "order_min", min.to_string(), &format!("at most order_max, {max}")))
        }
        _ => Ok(()),
    }
}

fn one_of(part: &'static str, value: &Option<String>, known: &[&str]) -> Result<(), ParameterError> {
    match value {
        Some(v) if !known.contains(&v.as_str()) => {
            Err(range(part, "method", format!("{v:?}"), &format!("one of {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

fn band(part: &'static str, low: Option<f64>, high: Option<f64>) -> Result<(), ParameterError> {
    if let Some(v) = low
        && !(v >= 0.0 && v.is_finite())
    {
        return Err(range(part, "band_low_hz", v.to_string(), "a frequency of at least 0 Hz"));
    }
    if let Some(v) = high
        && !(v > low.unwrap_or(0.0) && v.is_finite())
    {
        return Err(range(part, "band_high_hz", v.to_string(), "a frequency above band_low_hz"));
    }
    Ok(())
}

fn read_part<T: Default + for<'de> Deserialize<'de>>(
    part: &'static str,
    names: Names,
    value: &Value,
) -> Result<T, ParameterError> {
    let object = match value {
        Value::Null => return Ok(T::default()),
        Value::Object(object) => object,
        other => {
            let message = format!("must be an object of parameters, is {other}");
            return Err(ParameterError::Type { part, name: "parameters".into(), message });
        }
    };
    let mut canonical = Map::new();
    let mut given_as: Map<String, Value> = Map::new();
    for (given, value) in object {
        let known = names.iter().find(|(name, aliases)| name == given || aliases.contains(&given.as_str()));
        let Some((name, _)) = known else {
            return Err(ParameterError::Unknown { part, name: given.clone(), nearest: nearest(names, given) });
        };
        if let Some(first) = given_as.insert((*name).to_owned(), Value::from(given.as_str())) {
            let first = first.as_str().unwrap_or_default().to_owned();
            return Err(ParameterError::Twice { part, first, second: given.clone() });
        }
        if !value.is_null() {
            canonical.insert((*name).to_owned(), value.clone());
        }
    }
    serde_path_to_error::deserialize(Value::Object(canonical)).map_err(|error| ParameterError::Type {
        part,
        name: error.path().to_string(),
        message: in_plain_words(&error.into_inner().to_string()),
    })
}

/// Serde names the types of Rust; the reader of the message need not know them.
fn in_plain_words(message: &str) -> String {
    message.replace("expected usize", "expected a whole number").replace("expected f64", "expected a number")
}

/// The known name most like `given`, if any is at all.
fn nearest(names: Names, given: &str) -> Option<String> {
    // Jaro-Winkler below 0.7 is no typing error any more: "frequency" against "filter" has 0.66.
    const LEAST_SIMILARITY: f64 = 0.7;
    let spellings = names.iter().flat_map(|(name, aliases)| std::iter::once(name).chain(aliases.iter()));
    let rated = spellings.map(|known| (strsim::jaro_winkler(known, given), *known));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LEAST_SIMILARITY).then(|| best.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_finds_its_part_and_a_wrong_one_the_most_similar() {
        assert_eq!(Parameters::part_of("band_low_hz", "fdd"), "fdd");
        assert_eq!(Parameters::part_of("band_low_hz", "ssi"), "ssi");
        assert_eq!(Parameters::part_of("decimation_factor", "ssi"), "preprocessing");
        assert_eq!(Parameters::part_of("blok_rows", "fdd"), "ssi");
        assert_eq!(Parameters::part_of("zzz", "fdd"), "fdd");
    }
}
