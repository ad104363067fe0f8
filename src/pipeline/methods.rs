//! Each method with its parameters filled in, and its part of the result document.

use super::PipelineError;
use crate::compute::Backend;
use crate::modal::automatic::{self, Identified};
use crate::modal::bell::Bell;
use crate::modal::confidence::{self, Evidence};
use crate::modal::efdd::{self, ModalFilter};
use crate::modal::fdd::{self, Peak, PeakSetting};
use crate::modal::spectrum::Spectra;
use crate::modal::{ModalError, kurtosis, line_width, quantities, selection, spectrum};
use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::modes::{Mode, Shape};
use crate::model::parameters::{FddParameters, SsiParameters};
use crate::model::record::{Record, RecordInfo};
use crate::model::result::{AnalysisResult, Axis, Harmonic, RecordEvidence, SpectrumSummary};
use crate::preprocess;
use serde_json::json;

/// Overlap of Welch segments by rule.
pub(super) const OVERLAP: f64 = 0.5;

/// Singular values that are kept by rule: more than three modes seldom meet at one line.
pub(super) const SINGULAR_VALUES: usize = 3;

/// Frequency domain decomposition, plain (`fdd`) or with damping (`efdd`, `fsdd`).
pub(super) fn fdd(
    result: &mut AnalysisResult,
    parameters: &FddParameters,
    record: &dyn Record,
    backend: &dyn Backend,
    control: &Control,
) -> Result<(), PipelineError> {
    let info = record.info();
    check_band("fdd", parameters.band_low_hz, parameters.band_high_hz, info)?;
    let nyquist = info.sampling_rate_hz / 2.0;
    let segment_length = parameters.segment_length.unwrap_or_else(|| spectrum::segment_length_by_rule(info));
    let overlap = parameters.overlap.unwrap_or(OVERLAP);
    let count = parameters.singular_values.unwrap_or(SINGULAR_VALUES).min(info.channels.len());
    let band_hz = (parameters.band_low_hz.unwrap_or(0.0), parameters.band_high_hz.unwrap_or(nyquist));
    let spectra = Spectra::of_band(record, band_hz, segment_length, overlap, backend, control)?;
    let setting = PeakSetting { band_hz, overlap, prominence: parameters.peak_prominence.unwrap_or(fdd::PROMINENCE) };
    control.progress("peaks", 0.0);
    let peaks = fdd::peaks(&spectra, &setting)?;
    let harmonics = line_width::among(&spectra, &peaks, (segment_length, overlap), info.duration_s())?;
    let singular_values = spectra.singular_values(count)?;
    control.progress("peaks", 1.0);
    let method = parameters.method.as_deref().unwrap_or("fdd");
    let bells = match method {
        "efdd" => Some(ModalFilter::Inverse),
        "fsdd" => Some(ModalFilter::Shape),
        _ => None,
    }
    .map(|filter| {
        let averages = 1.0 + (spectra.segments.saturating_sub(1)) as f64 * (1.0 - overlap);
        efdd::bells(&spectra, &peaks, filter, segment_length, averages)
    })
    .transpose()?;
    result.method = method.into();
    result.parameters["fdd"] = json!({
        "method": method,
        "segment_length": segment_length,
        "segments": spectra.segments,
        "overlap": overlap,
        "band_low_hz": setting.band_hz.0,
        "band_high_hz": setting.band_hz.1,
        "singular_values": count,
        "peak_prominence": setting.prominence,
    });
    if spectra.segments < info.channels.len() {
        result.provenance.warnings.push(format!(
            "spectral matrices have rank {} at most, below {} channels: segment_length {segment_length} leaves only {} \
             segments",
            spectra.segments,
            info.channels.len(),
            spectra.segments
        ));
    }
    let unfitted = bells.iter().flat_map(|bells| peaks.iter().zip(bells).zip(&harmonics));
    for ((peak, _), _) in unfitted.filter(|((_, bell), harmonic)| bell.is_none() && harmonic.is_none()) {
        result.provenance.warnings.push(format!(
            "no bell can be fitted to the peak at {:.4} Hz: its damping is not known",
            peak.frequency_hz
        ));
    }
    let bells = bells.unwrap_or_else(|| vec![None; peaks.len()]);
    let (common, _) = quantities::common(&info.channels);
    let peaks = peaks.into_iter().map(|peak| peak.brought_to(&common));
    let found = peaks.zip(bells).zip(&harmonics);
    result.modes = found.map(|((peak, bell), harmonic)| mode_of_peak(peak, bell, harmonic.as_ref())).collect();
    result.harmonics = harmonics.into_iter().flatten().collect();
    result.modes.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
    if result.modes.is_empty() {
        let reason = "no peak of the first singular value stands out of its scatter";
        result.no_modes_reason = Some(format!("{reason} ({} segments)", spectra.segments));
    }
    result.spectrum = Some(SpectrumSummary { frequency_hz: axis(&spectra), singular_values });
    Ok(())
}

/// The lines of the spectra.
pub(super) fn axis(spectra: &Spectra<'_>) -> Axis {
    let (lines, step) = (&spectra.lines, spectra.line_hz);
    Axis { start: lines.start as f64 * step, step, count: lines.len() }
}

/// A peak as it was picked, or as the bell fitted to it; where it is a sinusoid's, which has no damping, as the lobe.
fn mode_of_peak(peak: Peak, bell: Option<Bell>, harmonic: Option<&Harmonic>) -> Mode {
    if let Some(harmonic) = harmonic {
        let mode = Mode::new(harmonic.frequency_hz, Shape(peak.shape), (peak.mpc, peak.mpd));
        return Mode { frequency_std_hz: Some(harmonic.frequency_std_hz), ..mode };
    }
    Mode {
        damping_ratio: bell.map(|bell| bell.damping_ratio),
        frequency_std_hz: bell.map(|bell| bell.frequency_std_hz),
        damping_ratio_std: bell.map(|bell| bell.damping_ratio_std),
        ..Mode::new(bell.map_or(peak.frequency_hz, |bell| bell.frequency_hz), Shape(peak.shape), (peak.mpc, peak.mpd))
    }
}

/// Stochastic subspace identification, driven by covariances (`ssi-cov`) or by data (`ssi-dat`).
pub(super) fn ssi(
    result: &mut AnalysisResult,
    parameters: &SsiParameters,
    record: &dyn Record,
    references: Option<&[usize]>,
    backend: &dyn Backend,
    control: &Control,
) -> Result<(), PipelineError> {
    check_band("ssi", parameters.band_low_hz, parameters.band_high_hz, record.info())?;
    let mut found = automatic::identify(record, parameters, references, &decimate, backend, control)?;
    if let Some(RecordEvidence { spectrum, validation }) = found.evidence.pop() {
        (result.spectrum, result.validation) = (Some(spectrum), validation);
    }
    fill(result, parameters, found, &record.info().channels);
    Ok(())
}

/// The record with every `factor`-th sample.
pub(super) fn decimate<'a>(record: &'a dyn Record, factor: usize) -> Result<Box<dyn Record + 'a>, ModalError> {
    match preprocess::decimate(record, factor) {
        Ok(decimated) => Ok(Box::new(decimated)),
        Err(error) => Err(ModalError::Setting(error.to_string())),
    }
}

/// What automatic SSI found, but for the evidence, in the result; `channels`: those of every shape.
pub(super) fn fill(result: &mut AnalysisResult, parameters: &SsiParameters, found: Identified, channels: &[Channel]) {
    result.method = parameters.drive().method().into();
    result.parameters["ssi"] = effective(parameters, &found, channels);
    result.provenance.warnings.extend(found.warnings);
    result.modes = found.modes;
    result.harmonics = found.harmonics;
    if result.modes.is_empty() {
        let poles = found.stabilization.order.len();
        result.no_modes_reason = Some(format!("none of {poles} poles is stable; each pole says why"));
    }
    result.stabilization = Some(found.stabilization);
}

fn effective(parameters: &SsiParameters, found: &Identified, channels: &[Channel]) -> serde_json::Value {
    let names: Vec<_> = found.references.iter().map(|&row| channels[row].name.as_str()).collect();
    let uncertainty = parameters.uncertainty.unwrap_or(true);
    json!({
        "method": parameters.drive().method(),
        "weighting": found.weighting,
        "reference_channels": names,
        "uncertainty": uncertainty,
        "criteria": selection::criteria_in_force(&parameters.criteria, channels.len(), uncertainty),
        "decimation_levels": parameters.decimation_levels.unwrap_or(true) && parameters.block_rows.is_none(),
        "band_low_hz": parameters.band_low_hz,
        "band_high_hz": parameters.band_high_hz,
        "levels": found.levels,
    })
}

pub(super) fn check_band(
    part: &str,
    low: Option<f64>,
    high: Option<f64>,
    info: &RecordInfo,
) -> Result<(), PipelineError> {
    let nyquist = info.sampling_rate_hz / 2.0;
    for (name, value, inside) in
        [("band_low_hz", low, low < Some(nyquist)), ("band_high_hz", high, high <= Some(nyquist))]
    {
        if let (Some(value), false) = (value, inside) {
            let message = format!("{part}.{name} is {value} Hz, beyond Nyquist, {nyquist} Hz");
            return Err(PipelineError::permanent("bad_parameter", message));
        }
    }
    Ok(())
}

/// What the envelope of each mode and harmonic says of it, in the channel that moves most, and how sure each mode is.
///
/// `records`: one, or that of each setup, with the place of each of its rows in a shape. The first that has the channel is asked.
pub(super) fn judge(
    result: &mut AnalysisResult,
    records: &[(&dyn Record, Vec<usize>)],
    control: &Control,
) -> Result<(), PipelineError> {
    let bands = result.modes.iter().map(|mode| (mode.frequency_hz, mode.shape.0.icamax()));
    let bands = bands.chain(result.harmonics.iter().map(|harmonic| (harmonic.frequency_hz, harmonic.strongest_row)));
    let mut found = vec![(None, 0.0); result.modes.len() + result.harmonics.len()];
    let mut of_record = vec![Vec::new(); records.len()];
    for (band, (frequency_hz, place)) in bands.enumerate() {
        let row = |(_, places): &(&dyn Record, Vec<usize>)| places.iter().position(|own| *own == place);
        if let Some((k, row)) = records.iter().enumerate().find_map(|(k, record)| Some((k, row(record)?))) {
            of_record[k].push((band, (frequency_hz, row)));
        }
    }
    for ((record, _), own) in records.iter().zip(of_record) {
        let bands: Vec<(f64, usize)> = own.iter().map(|(_, band)| *band).collect();
        let values = if bands.is_empty() { Vec::new() } else { kurtosis::of_bands(*record, &bands, control)? };
        let duration_s = record.info().duration_s();
        own.iter().zip(values).for_each(|((band, _), value)| found[*band] = (value, duration_s));
    }
    let of_harmonics = found.split_off(result.modes.len());
    for (harmonic, (found, _)) in result.harmonics.iter_mut().zip(of_harmonics) {
        harmonic.kurtosis = found.map(|found| found.value);
        harmonic.kurtosis_std = found.map(|found| found.std);
    }
    for (mode, (found, duration_s)) in result.modes.iter_mut().zip(found) {
        mode.kurtosis = found.map(|found| found.value);
        mode.kurtosis_std = found.map(|found| found.std);
        confidence::judge(mode, Evidence { harmonics: &result.harmonics, duration_s });
    }
    Ok(())
}
