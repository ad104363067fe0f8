//! Sums of products of spectra in f64, before they are averaged.

use super::hermitian::entries;
use super::{Hermitian, SpectralMatrices, WelchPlan};
use nalgebra::Complex;
use std::f64::consts::PI;

/// The periodic Hann window.
pub(crate) fn hann(n: usize) -> Vec<f64> {
    (0..n).map(|t| 0.5 - 0.5 * (2.0 * PI * t as f64 / n as f64).cos()).collect()
}

/// Σ_s Y_i(s) Y*_j(s) at every line, for j ≤ i.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpectralSums {
    /// Segments that were summed.
    pub(crate) segments: u64,
    /// [line][i(i+1)/2 + j], the lines that are wanted.
    pub(crate) sums: Vec<Complex<f64>>,
}

impl SpectralSums {
    pub(crate) fn new(channels: usize, lines: usize) -> SpectralSums {
        SpectralSums { segments: 0, sums: vec![Complex::default(); entries(channels) * lines] }
    }

    /// What makes a two-sided average of so many segments' sum, 1 / (fs Σw² segments).
    pub(crate) fn factor(plan: &WelchPlan, segments: u64) -> f64 {
        let power: f64 = hann(plan.segment_length).iter().map(|w| w * w).sum();
        1.0 / (plan.sampling_rate_hz * power * segments.max(1) as f64)
    }

    /// The averages of [`SpectralMatrices`].
    pub(crate) fn average(self, plan: &WelchPlan) -> SpectralMatrices {
        let (n, l) = (plan.segment_length, plan.channels);
        let scale = SpectralSums::factor(plan, self.segments);
        let matrix = |(line, sums): (usize, &[Complex<f64>])| {
            let line = plan.lines.start + line;
            let one_sided = if line == 0 || 2 * line == n { scale } else { 2.0 * scale };
            Hermitian::of_triangle(l, sums.iter().map(|sum| sum * one_sided).collect())
        };
        SpectralMatrices {
            line_hz: plan.sampling_rate_hz / n as f64,
            segments: self.segments as usize,
            first_line: plan.lines.start,
            matrices: self.sums.chunks(entries(l)).enumerate().map(matrix).collect(),
        }
    }
}
