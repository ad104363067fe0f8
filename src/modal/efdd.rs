//! Enhanced frequency domain decomposition: the spectrum of each peak's mode alone, and the bell fitted to it.
//!
//! # Source
//! Brincker, Ventura & Andersen (2001), "Damping estimation by frequency domain decomposition"; Zhang, Wang & Tamura
//! (2010) for the filter by the shape itself (FSDD); the fit: [`bell`](super::bell).

use super::ModalError;
use super::bell::{Bell, ModalSpectrum};
use super::fdd::Peak;
use super::spectrum::Spectra;
use nalgebra::{Complex, DMatrix, DVector};
use rayon::prelude::*;
use std::ops::Range;

type C64 = Complex<f64>;

/// How the spectrum of one mode is taken out of the spectral matrices: P = w G wᴴ with w φ = 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModalFilter {
    /// w is the row of the pseudo-inverse of the shapes around: what other modes add vanishes (EFDD).
    Inverse,
    /// w = φᴴ/|φ|²: other modes add by their MAC (FSDD).
    Shape,
}

/// A filter that lets this many times more noise through than w = φᴴ/|φ|² says nothing of the mode: the shapes are nearly
/// dependent, and the shape itself serves.
const MOST_NOISE: f64 = 5.0;

/// The mean of each segment is removed, and the Hann window spreads that over the first lines.
pub(super) const FIRST_LINE: usize = 2;

/// A fit that leaves its peak by more lines than this has gone to another bell.
const NEAR_LINES: f64 = 2.0;

/// The bells of the peaks of a spectrum, one a peak; `None` where the fit found none.
///
/// `segment_length`: samples of a Welch segment; `averages`: samples of the record over those of a segment.
///
/// # Errors
/// As [`Spectra::each`].
pub fn bells(
    spectra: &Spectra<'_>,
    peaks: &[Peak],
    filter: ModalFilter,
    segment_length: usize,
    averages: f64,
) -> Result<Vec<Option<Bell>>, ModalError> {
    let own: Vec<_> = (0..peaks.len()).map(|i| own_lines(spectra, peaks, i)).collect();
    let powers = modal_powers(spectra, peaks, filter, &own)?;
    let bells = (0..peaks.len())
        .into_par_iter()
        .map(|i| {
            let spectrum = ModalSpectrum {
                power: &powers[i],
                segment_length,
                sampling_rate_hz: spectra.line_hz * segment_length as f64,
                averages,
            };
            let bell = spectrum.fit(peaks[i].frequency_hz, (own[i].start, own[i].end.saturating_sub(1)));
            bell.filter(|bell| {
                let reach = (NEAR_LINES * spectra.line_hz).max(bell.damping_ratio * bell.frequency_hz);
                (bell.frequency_hz - peaks[i].frequency_hz).abs() <= reach
            })
        })
        .collect();
    Ok(bells)
}

/// The lines that may be peak `i`'s: none of a neighbour's half, and not Nyquist, whose estimate has half the averages.
pub(super) fn own_lines(spectra: &Spectra<'_>, peaks: &[Peak], i: usize) -> Range<usize> {
    let lines = &spectra.lines;
    let low = if i == 0 { FIRST_LINE } else { (peaks[i - 1].line + peaks[i].line).div_ceil(2) };
    let high = peaks.get(i + 1).map_or(lines.end - 2, |next| (peaks[i].line + next.line) / 2);
    low.max(lines.start)..high.min(lines.end - 2) + 1
}

/// The spectrum of each peak's mode alone at lines of its `own`, `[peak][line]` from 0 Hz on, zeros elsewhere.
pub(super) fn modal_powers(
    spectra: &Spectra<'_>,
    peaks: &[Peak],
    filter: ModalFilter,
    own: &[Range<usize>],
) -> Result<Vec<Vec<f64>>, ModalError> {
    let rows: Vec<DVector<C64>> = (0..peaks.len()).map(|i| row(peaks, i, filter)).collect();
    // w as a column holds wᴴ.
    let forms = spectra.forms(&rows, own)?;
    let placed = |(own, forms): (&Range<usize>, Vec<f64>)| {
        let mut power = vec![0.0; spectra.lines.end];
        power[own.start..own.start + forms.len()].copy_from_slice(&forms);
        power
    };
    Ok(own.iter().zip(forms).map(placed).collect())
}

/// wᴴ of peak `i` as a column.
fn row(peaks: &[Peak], i: usize, filter: ModalFilter) -> DVector<C64> {
    let shape = &peaks[i].shape;
    let own = shape / C64::from(shape.norm_squared());
    if filter == ModalFilter::Shape {
        return own;
    }
    // As many shapes as there are channels, the nearest in frequency.
    let mut near: Vec<usize> = (0..peaks.len()).collect();
    near.sort_by_key(|&j| peaks[j].line.abs_diff(peaks[i].line));
    near.truncate(shape.len());
    let shapes = DMatrix::from_columns(&near.iter().map(|&j| peaks[j].shape.normalize()).collect::<Vec<_>>());
    let filter =
        shapes.pseudo_inverse(f64::EPSILON).ok().map(|inverse| inverse.row(0).adjoint() / C64::from(shape.norm()));
    filter.filter(|w| w.norm() <= MOST_NOISE * own.norm()).unwrap_or(own)
}
