//! What the spectrum says before any subspace is formed: block rows, references and decimation follow from it.

use super::FEWEST_BLOCK_ROWS;
use crate::compute::Backend;
use crate::modal::fdd::{self, PeakSetting};
use crate::modal::spectrum::Spectra;
use crate::modal::{ModalError, spectrum};
use crate::model::control::Control;
use crate::model::parameters::{SsiParameters, Weighting};
use crate::model::record::Record;
use crate::model::result::{Axis, SpectrumSummary};
use nalgebra::DMatrix;

/// Channels that all serve as reference; above, this many are chosen (automation §1.1).
pub(super) const REFERENCES: usize = 20;

/// Overlap of the Welch segments.
const OVERLAP: f64 = 0.5;

/// What the spectrum says before any subspace is formed.
pub(super) struct Survey {
    /// Lowest peak, for block rows by rule.
    pub(super) lowest_hz: f64,
    pub(super) highest_hz: f64,
    pub(super) references: Vec<usize>,
    pub(super) spectrum: SpectrumSummary,
    /// One-sided, of each reference.
    pub(super) autospectra: Vec<Vec<f64>>,
    pub(super) segment_length: usize,
    pub(super) averages: f64,
    pub(super) warnings: Vec<String>,
}

impl Survey {
    pub(super) fn new(
        record: &dyn Record,
        parameters: &SsiParameters,
        references: Option<&[usize]>,
        backend: &dyn Backend,
        control: &Control,
    ) -> Result<Survey, ModalError> {
        let info = record.info();
        let mut warnings = Vec::new();
        let segment_length = spectrum::segment_length_by_rule(info);
        let spectra = Spectra::new(record, segment_length, OVERLAP, backend, control)?;
        let nyquist = info.sampling_rate_hz / 2.0;
        let first = spectra.singular_values(1)?.remove(0);
        let mut lowest = None;
        if parameters.block_rows.is_none() {
            let setting = PeakSetting { band_hz: (0.0, nyquist), overlap: OVERLAP, prominence: fdd::PROMINENCE };
            let peaks = fdd::peaks(&spectra, &setting)?;
            lowest = peaks.iter().map(|p| p.frequency_hz).find(|f| *f >= parameters.band_low_hz.unwrap_or(0.0));
            if lowest.is_none() {
                let least = FEWEST_BLOCK_ROWS;
                warnings.push(format!("spectrum has no clear peak: block_rows by rule is the least, {least}"));
            }
        }
        let all = (0..info.channels.len()).collect::<Vec<_>>();
        let references = match references {
            Some(given) => given.to_vec(),
            None if all.len() <= REFERENCES || parameters.weighting == Some(Weighting::Cva) => all,
            None => {
                warnings.push(format!("{REFERENCES} of {} channels serve as reference, by rule", all.len()));
                choose_references(&spectra.total()?, REFERENCES)
            }
        };
        let autospectra = spectra.autospectra()?;
        Ok(Survey {
            autospectra: references.iter().map(|&row| autospectra[row].clone()).collect(),
            segment_length,
            averages: fdd::independent_averages(spectra.segments, OVERLAP),
            lowest_hz: lowest.unwrap_or(nyquist / FEWEST_BLOCK_ROWS as f64),
            highest_hz: fdd::highest_signal_hz(&first, spectra.line_hz),
            references,
            spectrum: SpectrumSummary {
                frequency_hz: Axis { start: 0.0, step: spectra.line_hz, count: first.len() },
                singular_values: vec![first],
            },
            warnings,
        })
    }
}

/// The channels that together carry most: pivoted Cholesky of the correlation matrix (the spectra summed over the
/// lines, channels scaled to unit variance) takes, one by one, the channel that the others so far predict least.
///
/// `total`: Σ Re G over the lines.
pub(crate) fn choose_references(total: &DMatrix<f64>, count: usize) -> Vec<usize> {
    let n = total.nrows();
    let scale: Vec<f64> = (0..n).map(|i| 1.0 / total[(i, i)].max(f64::MIN_POSITIVE).sqrt()).collect();
    let mut c = DMatrix::from_fn(n, n, |i, j| total[(i, j)] * scale[i] * scale[j]);
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        let free = (0..n).filter(|i| !chosen.contains(i));
        let Some(next) = free.reduce(|best, i| if c[(i, i)] > c[(best, best)] { i } else { best }) else { break };
        let pivot = c[(next, next)];
        chosen.push(next);
        if pivot > 0.0 {
            let column = c.column(next).into_owned();
            c -= &column * column.transpose() / pivot;
        }
    }
    chosen.sort_unstable();
    chosen
}

/// Decimation of the first level: none unless Nyquist is five times the highest signal (automation §2).
pub(super) fn first_factor(sampling_rate_hz: f64, highest_hz: f64) -> usize {
    const OVERSAMPLED: f64 = 5.0;
    if highest_hz > 0.0 && sampling_rate_hz / 2.0 >= OVERSAMPLED * highest_hz {
        ((sampling_rate_hz / (OVERSAMPLED * highest_hz)).floor() as usize).max(1)
    } else {
        1
    }
}
