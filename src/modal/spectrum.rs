//! Welch spectra of a record and their singular values, in as much memory as there may be.

use super::ModalError;
use crate::compute::{Backend, SpectralMatrices, WelchPlan, cost};
use crate::model::control::Control;
use crate::model::record::{Record, RecordInfo};
use nalgebra::DMatrix;
use rayon::prelude::*;
use std::ops::Range;

/// Half-overlapped segments that the rule leaves: the standard deviation of ln s₁ is then below 0.2.
const SEGMENTS: u64 = 40;
const SHORTEST_SEGMENT: usize = 256;
const LONGEST_SEGMENT: usize = 16384;

/// Bytes that each entry of a spectral matrix takes, half a complex f64 and as much of the sums behind it, or each transform
/// that is kept.
const BYTES: usize = 16;

/// Segment length where none is given: the power of two that leaves at least 40 half-overlapped segments,
/// at least 256 and at most 16384 (automation §4); a record shorter than 256 samples takes what fits.
pub fn segment_length_by_rule(info: &RecordInfo) -> usize {
    let fitting = (2 * info.valid_samples() / (SEGMENTS + 1)) as usize;
    let longest = info.segments.iter().map(|s| s.samples).max().unwrap_or(0) as usize;
    let floor_to_power = |n: usize| if n == 0 { 0 } else { 1 << n.ilog2() };
    floor_to_power(fitting).clamp(SHORTEST_SEGMENT, LONGEST_SEGMENT).min(floor_to_power(longest)).max(2)
}

/// The spectral matrices of a record: all of them at once, or, where they would take more memory than there may be, some
/// lines at a time, each time from the record.
pub struct Spectra<'a> {
    record: &'a dyn Record,
    backend: &'a dyn Backend,
    control: &'a Control,
    plan: WelchPlan,
    /// Lines that may be in memory at a time.
    width: usize,
    whole: Option<SpectralMatrices>,
    /// Hz between lines.
    pub line_hz: f64,
    /// Lines from 0 Hz to Nyquist.
    pub lines: usize,
    /// Segments that are averaged.
    pub segments: usize,
}

/// A line and its neighbours.
const NEIGHBOURS: usize = 3;

impl<'a> Spectra<'a> {
    /// Averages the cross-periodograms of a record.
    ///
    /// # Errors
    /// [`ModalError`] if no gap-free stretch holds a segment, the matrices of three lines would take too much memory, the
    /// record cannot be read or the run is stopped.
    pub fn new(
        record: &'a dyn Record,
        segment_length: usize,
        overlap: f64,
        backend: &'a dyn Backend,
        control: &'a Control,
    ) -> Result<Spectra<'a>, ModalError> {
        let info = record.info();
        let channels = info.channels.len();
        let hop = (segment_length - (segment_length as f64 * overlap) as usize).max(1);
        let of_stretch = |samples: u64| (samples + hop as u64).saturating_sub(segment_length as u64) / hop as u64;
        let segments = info.segments.iter().map(|stretch| of_stretch(stretch.samples)).sum::<u64>() as usize;
        let plan = WelchPlan::new(channels, info.sampling_rate_hz, segment_length, hop);
        let plan = WelchPlan { segments: Some(segments), ..plan };
        let lines = plan.lines.len();
        let columns = if cost::keeps_segments(segments, channels) { segments } else { channels };
        let width = control.parts_in_memory(
            || format!("spectral matrices of {channels} channels at {} lines", NEIGHBOURS.min(lines)),
            &[channels, columns, BYTES],
            (NEIGHBOURS, lines),
            "choose fewer channels",
        )?;
        let mut spectra = Spectra {
            record,
            backend,
            control,
            width,
            whole: None,
            line_hz: info.sampling_rate_hz / segment_length as f64,
            lines,
            segments,
            plan,
        };
        if width == lines {
            spectra.whole = Some(spectra.sum(0..lines)?);
        }
        Ok(spectra)
    }

    /// Channels, the size of every matrix.
    pub fn channels(&self) -> usize {
        self.plan.channels
    }

    /// All of the matrices, where they are in memory.
    pub fn whole(&self) -> Option<&SpectralMatrices> {
        self.whole.as_ref()
    }

    /// What `of_line` makes of each of `lines`, ascending; it is given the matrices of the line and its neighbours.
    ///
    /// # Errors
    /// As [`Spectra::new`], and those of `of_line`.
    pub fn each<T: Send>(
        &self,
        lines: &[usize],
        of_line: impl Fn(&SpectralMatrices, usize) -> Result<T, ModalError> + Sync,
    ) -> Result<Vec<T>, ModalError> {
        let mut all = Vec::with_capacity(lines.len());
        self.sweep(lines, |matrices, lines| {
            let of_line = |line: &usize| -> Result<T, ModalError> {
                self.control.checkpoint()?;
                of_line(matrices, *line)
            };
            all.append(&mut lines.par_iter().map(of_line).collect::<Result<Vec<T>, ModalError>>()?);
            Ok(())
        })?;
        Ok(all)
    }

    /// The same of every line.
    ///
    /// # Errors
    /// As [`Spectra::each`].
    pub fn every<T: Send>(
        &self,
        of_line: impl Fn(&SpectralMatrices, usize) -> Result<T, ModalError> + Sync,
    ) -> Result<Vec<T>, ModalError> {
        self.each(&(0..self.lines).collect::<Vec<_>>(), of_line)
    }

    /// G_ii of every channel at every line, [channel][line].
    ///
    /// # Errors
    /// As [`Spectra::new`].
    pub fn autospectra(&self) -> Result<Vec<Vec<f64>>, ModalError> {
        let by_line = self.every(|matrices, line| Ok(matrices.at(line).diagonal()))?;
        Ok((0..self.channels()).map(|i| by_line.iter().map(|powers| powers[i]).collect()).collect())
    }

    /// Σ Re G over the lines.
    ///
    /// # Errors
    /// As [`Spectra::new`].
    pub fn total(&self) -> Result<DMatrix<f64>, ModalError> {
        let mut total = DMatrix::zeros(self.channels(), self.channels());
        self.sweep(&(0..self.lines).collect::<Vec<_>>(), |matrices, lines| {
            for line in lines {
                total.zip_apply(&matrices.at(*line).matrix(), |sum, g| *sum += g.re);
            }
            Ok(())
        })?;
        Ok(total)
    }

    /// The largest `count` singular values of every line, largest first, power units: `values[j][k]` is s_j at line k.
    ///
    /// # Errors
    /// As [`Spectra::each`].
    pub fn singular_values(&self, count: usize) -> Result<Vec<Vec<f64>>, ModalError> {
        let by_line = self.every(|matrices, line| {
            // Round-off may leave a zero eigenvalue of the positive semidefinite matrix slightly negative.
            let (values, _) = matrices.at(line).leading(count, None)?;
            Ok(values.into_iter().map(|s| s.max(0.0)).collect::<Vec<f64>>())
        })?;
        Ok((0..count.min(self.channels())).map(|j| by_line.iter().map(|values| values[j]).collect()).collect())
    }

    /// Visits the matrices of `lines` and of their neighbours, as many lines at a time as may be in memory.
    fn sweep(
        &self,
        lines: &[usize],
        mut visit: impl FnMut(&SpectralMatrices, &[usize]) -> Result<(), ModalError>,
    ) -> Result<(), ModalError> {
        if let Some(whole) = &self.whole {
            return visit(whole, lines);
        }
        let mut rest = lines;
        while let Some(first) = rest.first() {
            let from = first.saturating_sub(1);
            let these;
            (these, rest) = rest.split_at(rest.partition_point(|line| line + 1 < from + self.width));
            let until = these.last().map_or(from, |last| self.lines.min(last + 2));
            visit(&self.sum(from..until)?, these)?;
        }
        Ok(())
    }

    fn sum(&self, lines: Range<usize>) -> Result<SpectralMatrices, ModalError> {
        let mut sums = self.backend.cross_spectra(&WelchPlan { lines, ..self.plan.clone() });
        super::sum_blocks(self.record, "spectra", self.control, |block| {
            block.into_iter().for_each(|block| sums.push(block));
            sums.rewind(block.is_none())
        })?;
        Ok(sums.finish()?)
    }
}
