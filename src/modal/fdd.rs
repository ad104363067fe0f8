//! Frequency domain decomposition: peaks of the first singular value of the spectral matrix are modes, its vector
//! there is the shape.
//!
//! # Source
//! Brincker, Zhang & Andersen (2001); automatic peaks by prominence: automation §4.

use super::ModalError;
use super::indicators::{mac, mpc, mpd, scaled_to_largest};
use super::quantities::Common;
use super::spectrum::Spectra;
use crate::compute::SpectralMatrices;
use nalgebra::{Complex, DVector};
use oma_linalg::Entries;
use std::collections::BTreeMap;
use std::f64::consts::TAU;

type C64 = Complex<f64>;

/// How peaks are picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeakSetting {
    /// Lowest and highest frequency, Hz.
    pub band_hz: (f64, f64),
    /// Overlap of the Welch segments.
    pub overlap: f64,
    /// Least prominence of ln s₁ in units of its standard deviation × √2.
    pub prominence: f64,
}

/// [`PeakSetting::prominence`] by rule: 3 gives 6 to 24 % extra peaks, 5 loses some (automation §4).
pub const PROMINENCE: f64 = 4.0;

/// Independent averages per half-overlapped Hann segment, for the standard deviation 1/√K of ln s₁ (automation §4).
const INDEPENDENT: f64 = 0.75;

/// Least part of the peak's vector in the space of the two leading vectors of each neighbouring line; with few
/// channels two vectors span too much to say anything, there one counts.
const COHERENCE: f64 = 0.9;
const COHERENCE_FEW_CHANNELS: f64 = 0.8;
const FEW_CHANNELS: usize = 4;

/// One picked peak.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// Its spectral line.
    pub line: usize,
    /// Frequency between the lines, Hz.
    pub frequency_hz: f64,
    /// Leading singular vector of the peak line and its neighbours, largest component 1.
    pub shape: DVector<C64>,
    /// Modal phase collinearity of the shape.
    pub mpc: f64,
    /// Mean phase deviation of the shape, rad.
    pub mpd: f64,
    /// Prominence of ln s₁, nepers.
    pub prominence: f64,
}

impl Peak {
    /// With the shape in the common quantity: of the spectral matrices it is in those that were measured.
    pub fn brought_to(self, common: &Common) -> Peak {
        if common.is_nothing() {
            return self;
        }
        let shape = common.bring(self.shape, C64::new(0.0, TAU * self.frequency_hz));
        let (mpc, mpd) = (mpc(shape.as_view()), mpd(shape.as_view()));
        Peak { shape: scaled_to_largest(shape.as_view()), mpc, mpd, ..self }
    }
}

/// Picks the peaks of a record's spectrum, ascending in frequency.
///
/// # Errors
/// As [`Spectra::each`].
pub fn peaks(spectra: &Spectra<'_>, setting: &PeakSetting) -> Result<Vec<Peak>, ModalError> {
    let scaled = UnitVariance::new(spectra)?;
    let first = spectra.leading_values(1, Some(&scaled.0))?;
    // Of the lines that there are.
    let of_lines: Vec<f64> = first.iter().map(|values| values[0].max(f64::MIN_POSITIVE).ln()).collect();
    let averages = independent_averages(spectra.segments, setting.overlap);
    let least = setting.prominence * (2.0 / averages).sqrt();
    let log = |line: usize| of_lines[line - spectra.lines.start];
    // The mean of each segment is removed, and the Hann window spreads that over the first lines.
    let first = 2.max((setting.band_hz.0 / spectra.line_hz).ceil() as usize).max(spectra.lines.start + 1);
    let last = (spectra.lines.end - 1).min((setting.band_hz.1 / spectra.line_hz).floor() as usize);
    let stands_out = |line: usize| {
        let is_highest = log(line) > log(line - 1) && log(line) >= log(line + 1);
        let band = &of_lines[first - 1 - spectra.lines.start..=last - spectra.lines.start];
        let prominence = || topographic_prominence(band, line - (first - 1));
        is_highest.then(prominence).filter(|prominence| *prominence >= least).map(|prominence| (line, prominence))
    };
    let prominences: BTreeMap<usize, f64> = (first..last).filter_map(stands_out).collect();
    let found = spectra.each(&prominences.keys().copied().collect::<Vec<_>>(), |matrices, line| {
        if !scaled.is_coherent(matrices, line)? {
            return Ok(None);
        }
        let [before, own, after] = [line - 1, line, line + 1].map(|line| matrices.at(line).matrix());
        let sum = before + own + after;
        let (_, vectors) = oma_linalg::leading_hermitian(Entries::All(&sum), 1)?;
        let shape = vectors.column(0);
        Ok(Some(Peak {
            line,
            frequency_hz: (line as f64 + parabola([line - 1, line, line + 1].map(log))) * spectra.line_hz,
            shape: scaled_to_largest(shape.as_view()),
            mpc: mpc(shape.as_view()),
            mpd: mpd(shape.as_view()),
            prominence: prominences[&line],
        }))
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// How many independent averages overlapped segments are worth.
pub(super) fn independent_averages(segments: usize, overlap: f64) -> f64 {
    segments as f64 * (2.0 * INDEPENDENT * (1.0 - overlap)).min(1.0)
}

/// What scales the channels to unit variance over the lines that there are, so that a channel's unit does not decide what is a peak.
struct UnitVariance(Vec<f64>);

impl UnitVariance {
    fn new(spectra: &Spectra<'_>) -> Result<UnitVariance, ModalError> {
        let power = |spectrum: &Vec<f64>| spectrum.iter().sum::<f64>() * spectra.line_hz;
        let scale = |power: f64| if power > 0.0 { 1.0 / power.sqrt() } else { 0.0 };
        Ok(UnitVariance(spectra.autospectra()?.iter().map(power).map(scale).collect()))
    }

    /// Whether the leading vectors of the neighbouring lines hold the one of this line.
    fn is_coherent(&self, matrices: &SpectralMatrices, line: usize) -> Result<bool, ModalError> {
        let leading = |line: usize, count: usize| matrices.at(line).leading(count, Some(&self.0));
        let (_, own) = leading(line, 1)?;
        let few = own.nrows() < FEW_CHANNELS;
        let least = if few { COHERENCE_FEW_CHANNELS } else { COHERENCE };
        for neighbour in [line - 1, line + 1] {
            let (_, others) = leading(neighbour, if few { 1 } else { 2 })?;
            let part: f64 = others.column_iter().map(|other| mac(own.column(0), other)).sum();
            if !(part >= least) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Height of a peak above the higher of the two lowest points that separate it from higher ground; the ends of the
/// band count as separation.
fn topographic_prominence(values: &[f64], peak: usize) -> f64 {
    let height = values[peak];
    let lowest =
        |side: &mut dyn Iterator<Item = &f64>| side.take_while(|v| **v <= height).copied().fold(height, f64::min);
    let left = lowest(&mut values[..peak].iter().rev());
    let right = lowest(&mut values[peak + 1..].iter());
    height - left.max(right)
}

/// Offset of the vertex of the parabola through three neighbouring values from the middle one, in lines.
fn parabola(values: [f64; 3]) -> f64 {
    let curvature = values[0] - 2.0 * values[1] + values[2];
    if curvature < 0.0 { (0.5 * (values[0] - values[2]) / curvature).clamp(-0.5, 0.5) } else { 0.0 }
}

/// Highest frequency with signal, Hz: the last line whose mean of s₁ over five lines is above ten times the 10 %
/// quantile of s₁ (automation §2).
pub fn highest_signal_hz(first_singular_values: &[f64], line_hz: f64) -> f64 {
    const ABOVE_FLOOR: f64 = 10.0;
    let mut sorted = first_singular_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let floor = sorted[sorted.len() / 10];
    let mean = |window: &[f64]| window.iter().sum::<f64>() / window.len() as f64;
    let last = first_singular_values.windows(5).rposition(|window| mean(window) > ABOVE_FLOOR * floor);
    last.map_or(0.0, |k| (k + 2) as f64 * line_hz)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prominence_is_measured_from_the_higher_saddle() {
        let values = [0.0, 3.0, 1.0, 5.0, 2.0, 4.0, -1.0];
        assert_eq!(topographic_prominence(&values, 3), 5.0);
        assert_eq!(topographic_prominence(&values, 1), 2.0);
        assert_eq!(topographic_prominence(&values, 5), 2.0);
    }

    #[test]
    fn parabola_finds_the_vertex_between_lines() {
        let at = |x: f64| 2.0 - (x - 0.3).powi(2);
        assert!((parabola([at(-1.0), at(0.0), at(1.0)]) - 0.3).abs() <= 1e-12);
    }

    #[test]
    fn highest_signal_ignores_the_floor() {
        let mut values = vec![1.0; 100];
        values[60] = 1000.0;
        let highest = highest_signal_hz(&values, 0.5);
        assert!((30.0..=31.0).contains(&highest), "{highest}");
    }
}
