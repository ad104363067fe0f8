//! The step of pLSCF: half spectra at the lags of half a segment, poles of all orders, modes by the rules of SSI.

use super::PipelineError;
use super::methods::{self, OVERLAP, SINGULAR_VALUES, check_band};
use crate::compute::Backend;
use crate::modal::automatic::{choose_references, mode_of};
use crate::modal::correlations::Correlations;
use crate::modal::fdd::{self, PeakSetting};
use crate::modal::plscf::NormalEquations;
use crate::modal::selection::{self, Selected, Setting};
use crate::modal::spectrum::Spectra;
use crate::modal::{harmonics, line_width, quantities, spectrum, stabilization};
use crate::model::control::Control;
use crate::model::modes::Shape;
use crate::model::parameters::FddParameters;
use crate::model::record::Record;
use crate::model::result::{AnalysisResult, SpectrumSummary, Stabilization};
use serde_json::json;

/// Its name as a method.
pub(super) const METHOD: &str = "plscf";

/// Highest order of the polynomial by rule, and that over the lowest: below, no mode beside the strongest is seen.
const ORDER_MAX: usize = 30;
const ORDER_RATIO: usize = 3;

/// References that are chosen by rule among more channels: an order has as many poles for each of them, and its
/// eigenproblem stays below 200 × 200.
const REFERENCES: usize = 6;

/// Most lags by rule, because the work grows with them: at 100 Hz a mode of 3 Hz with 1 % damping has fallen to 1/e after
/// half of these.
const LAGS: usize = 1024;

/// Blocks of the record behind the deviations, at least as many as Student's t takes for normal, and each this many
/// times as long as the lags, so that blocks are independent.
const BLOCKS: usize = 50;
const FEWEST_BLOCKS: usize = 10;
const BLOCK_LENGTH: u64 = 2;

/// pLSCF on the half spectrum (`plscf`).
pub(super) fn plscf(
    result: &mut AnalysisResult,
    parameters: &FddParameters,
    record: &dyn Record,
    references: Option<&[usize]>,
    backend: &dyn Backend,
    control: &Control,
) -> Result<(), PipelineError> {
    let info = record.info();
    check_band("fdd", parameters.band_low_hz, parameters.band_high_hz, info)?;
    let by_rule = spectrum::segment_length_by_rule(info);
    let segment_length = parameters.segment_length.unwrap_or(by_rule);
    let lags = parameters.segment_length.map_or((by_rule / 2).min(LAGS), |given| given / 2);
    let overlap = parameters.overlap.unwrap_or(OVERLAP);
    let band_hz = (parameters.band_low_hz.unwrap_or(0.0), parameters.band_high_hz.unwrap_or(f64::INFINITY));
    let spectra = Spectra::of_band(record, band_hz, segment_length, overlap, backend, control)?;
    let channels = info.channels.len();
    let references = match references {
        Some(given) => given.to_vec(),
        None if channels <= REFERENCES => (0..channels).collect(),
        None => {
            let warning = format!("{REFERENCES} of {channels} channels serve as reference, by rule");
            result.provenance.warnings.push(warning);
            choose_references(&spectra.total()?, REFERENCES)
        }
    };
    let count = parameters.singular_values.unwrap_or(SINGULAR_VALUES).min(channels);
    let singular_values = spectra.singular_values(count)?;
    result.spectrum = Some(SpectrumSummary { frequency_hz: methods::axis(&spectra), singular_values });

    let uncertainty = parameters.uncertainty.unwrap_or(true);
    let blocks = (info.valid_samples() / (BLOCK_LENGTH * lags as u64)).clamp(FEWEST_BLOCKS as u64, BLOCKS as u64);
    // Of its normal equations the condition is that of the correlations, squared.
    let exact = backend.in_f64(METHOD).unwrap_or(backend);
    let correlations = Correlations::new(record, &references, (lags, blocks as usize), exact, control)?;
    let order_max = parameters.order_max.unwrap_or_else(|| ORDER_MAX.min(lags / 2));
    let order_min = parameters.order_min.unwrap_or(order_max.div_ceil(ORDER_RATIO)).min(order_max);
    let mut equations = NormalEquations::new(&correlations, order_max, uncertainty, control)?;
    equations.common = quantities::common(&info.channels).0;
    let orders: Vec<usize> = (order_min..=order_max).collect();
    let found = equations.orders(&orders, info.sampling_rate_hz, control)?;
    control.progress("poles", 1.0);
    let setting = Setting {
        sampling_rate_hz: info.sampling_rate_hz,
        duration_s: info.duration_s(),
        band_low_hz: band_hz.0,
        band_high_hz: band_hz.1,
        deviations: uncertainty,
        criteria: parameters.criteria,
    };
    // A sinusoid's poles are told by their deviations, without those by the width of its line.
    result.harmonics = if uncertainty {
        harmonics::among(found.iter())
    } else {
        let setting = PeakSetting { band_hz: (0.0, info.sampling_rate_hz / 2.0), overlap, prominence: fdd::PROMINENCE };
        let peaks = fdd::peaks(&spectra, &setting)?;
        let of_peaks = line_width::among(&spectra, &peaks, (segment_length, overlap), info.duration_s())?;
        of_peaks.into_iter().flatten().collect()
    };
    let selection = selection::select(&found, &setting);
    let mut table = Stabilization::default();
    stabilization::append(&mut table, info.sampling_rate_hz, &found, &selection.verdicts);

    result.method = METHOD.into();
    result.parameters["fdd"] = json!({
        "method": METHOD,
        "segment_length": segment_length,
        "lags": lags,
        "overlap": overlap,
        "band_low_hz": parameters.band_low_hz,
        "band_high_hz": parameters.band_high_hz,
        "singular_values": count,
        "order_min": order_min,
        "order_max": order_max,
        "uncertainty": uncertainty,
        "blocks": blocks,
        "criteria": selection::criteria_in_force(&parameters.criteria, channels, uncertainty),
        "reference_channels": references.iter().map(|&row| info.channels[row].name.as_str()).collect::<Vec<_>>(),
    });
    let mode = |selected: &Selected| {
        let (o, p) = selected.representative;
        mode_of(selected, Shape(found[o].poles[p].shape.clone()), &found, &setting)
    };
    result.modes = selection.modes.iter().map(mode).collect();
    if result.modes.is_empty() {
        let poles = table.order.len();
        result.no_modes_reason = Some(format!("none of {poles} poles is stable; each pole says why"));
    }
    result.stabilization = Some(table);
    Ok(())
}
