//! Welch spectra of a record and their singular values.

use super::ModalError;
use crate::compute::{Backend, SpectralMatrices, WelchPlan};
use crate::model::control::Control;
use crate::model::record::{Record, RecordInfo};
use rayon::prelude::*;

/// Half-overlapped segments that the rule leaves: the standard deviation of ln s₁ is then below 0.2.
const SEGMENTS: u64 = 40;
const SHORTEST_SEGMENT: usize = 256;
const LONGEST_SEGMENT: usize = 16384;

/// Bytes that each entry of a spectral matrix takes: a complex f64, and its half of the sums behind it.
const BYTES: usize = 24;

/// Segment length where none is given: the power of two that leaves at least 40 half-overlapped segments,
/// at least 256 and at most 16384 (automation §4); a record shorter than 256 samples takes what fits.
pub fn segment_length_by_rule(info: &RecordInfo) -> usize {
    let fitting = (2 * info.valid_samples() / (SEGMENTS + 1)) as usize;
    let longest = info.segments.iter().map(|s| s.samples).max().unwrap_or(0) as usize;
    let floor_to_power = |n: usize| if n == 0 { 0 } else { 1 << n.ilog2() };
    floor_to_power(fitting).clamp(SHORTEST_SEGMENT, LONGEST_SEGMENT).min(floor_to_power(longest)).max(2)
}

/// Averages the cross-periodograms of a record.
///
/// # Errors
/// [`ModalError`] if no gap-free stretch holds a segment, the matrices would take too much memory, the record cannot be
/// read or the run is stopped.
pub fn spectral_matrices(
    record: &dyn Record,
    segment_length: usize,
    overlap: f64,
    backend: &dyn Backend,
    control: &Control,
) -> Result<SpectralMatrices, ModalError> {
    let info = record.info();
    let plan = WelchPlan {
        channels: info.channels.len(),
        sampling_rate_hz: info.sampling_rate_hz,
        segment_length,
        hop: (segment_length - (segment_length as f64 * overlap) as usize).max(1),
    };
    let (channels, lines) = (plan.channels, segment_length / 2 + 1);
    control.plan_memory(
        || format!("spectral matrices of {channels} channels at {lines} lines"),
        &[lines, channels, channels, BYTES],
        "lower segment_length or choose fewer channels",
    )?;
    let mut sums = backend.cross_spectra(&plan);
    super::sum_blocks(record, "spectra", control, |block| {
        block.into_iter().for_each(|block| sums.push(block));
        sums.rewind(block.is_none())
    })?;
    Ok(sums.finish()?)
}

/// The largest `count` singular values of every line, largest first, power units: `values[j][k]` is s_j at line k.
///
/// # Errors
/// [`ModalError::NoConvergence`], [`ModalError::Cancelled`].
pub fn singular_values(
    spectra: &SpectralMatrices,
    count: usize,
    control: &Control,
) -> Result<Vec<Vec<f64>>, ModalError> {
    let by_line: Vec<Vec<f64>> = spectra
        .matrices
        .par_iter()
        .map(|g| -> Result<Vec<f64>, ModalError> {
            control.checkpoint()?;
            // Round-off may leave a zero eigenvalue of the positive semidefinite matrix slightly negative.
            let (values, _) = oma_linalg::leading_hermitian(g, count)?;
            Ok(values.into_iter().map(|s| s.max(0.0)).collect())
        })
        .collect::<Result<_, _>>()?;
    let channels = spectra.matrices[0].nrows();
    Ok((0..count.min(channels)).map(|j| by_line.iter().map(|values| values[j]).collect()).collect())
}
