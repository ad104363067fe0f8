//! Welch spectra of a record and their singular values, in as much memory as there may be.

use super::ModalError;
use crate::compute::{Averages, AwaySpectra, Backend, ComputeError, SpectralMatrices, WelchPlan, cost};
use crate::model::control::Control;
use crate::model::record::{Record, RecordInfo};
use nalgebra::{Complex, DMatrix, DVector};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

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
/// lines at a time, each time from the record. Those that a device summed stay there where less comes home so
/// ([`cost::stays_on_device`]); should it fail, the record is summed again.
pub struct Spectra<'a> {
    record: &'a dyn Record,
    backend: &'a dyn Backend,
    control: &'a Control,
    plan: WelchPlan,
    /// Lines that may be in memory at a time.
    width: usize,
    whole: Option<Averages>,
    /// The whole once it was on a device and had to come home.
    home: OnceLock<Averages>,
    /// Hz between lines.
    pub line_hz: f64,
    /// The lines that there are, line k at k · `line_hz`: from 0 Hz to Nyquist, or those of a band and its surroundings.
    pub lines: Range<usize>,
    /// Segments that are averaged.
    pub segments: usize,
}

/// A line and its neighbours.
const NEIGHBOURS: usize = 3;

/// Lines on either side of a band that belong to bells inside: as many as the fit of a bell takes first …
const MARGIN_LINES: usize = 10;
/// … or the eight half-widths that it takes then, for a mode of 2 % damping at the edge, as a part of the edge's frequency.
const MARGIN_PART: f64 = 0.16;

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
        Spectra::of_band(record, (0.0, f64::INFINITY), segment_length, overlap, backend, control)
    }

    /// The same of the lines in a band alone, lowest and highest frequency in Hz, and of those around it that bells of its
    /// peaks reach into.
    ///
    /// # Errors
    /// As [`Spectra::new`].
    pub fn of_band(
        record: &'a dyn Record,
        band_hz: (f64, f64),
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
        let line_hz = info.sampling_rate_hz / segment_length as f64;
        let lines = around_band(band_hz, line_hz, plan.lines.end);
        let in_place = cost::stays_on_device(channels);
        let plan = WelchPlan { segments: Some(segments), in_place, lines: lines.clone(), ..plan };
        let columns = if cost::keeps_segments(segments, channels) { segments } else { channels };
        let width = control.parts_in_memory(
            || format!("spectral matrices of {channels} channels at {} lines", NEIGHBOURS.min(lines.len())),
            &[channels, columns, BYTES],
            (NEIGHBOURS, lines.len()),
            "choose fewer channels",
        )?;
        let mut spectra = Spectra {
            record,
            backend,
            control,
            width,
            whole: None,
            home: OnceLock::new(),
            line_hz,
            lines: lines.clone(),
            segments,
            plan,
        };
        if width == lines.len() {
            spectra.whole = Some(spectra.sum(lines)?);
        }
        Ok(spectra)
    }

    /// Channels, the size of every matrix.
    pub fn channels(&self) -> usize {
        self.plan.channels
    }

    /// All of the matrices, where they are in memory.
    pub fn whole(&self) -> Option<&SpectralMatrices> {
        match self.averages()? {
            Averages::Home(matrices) => Some(matrices),
            Averages::Away(_) => None,
        }
    }

    fn averages(&self) -> Option<&Averages> {
        self.home.get().or(self.whole.as_ref())
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
        self.sweep(lines, |averages, lines| {
            let mut these = Vec::with_capacity(lines.len());
            match averages {
                Averages::Home(matrices) => these = self.at_home(matrices, lines, &of_line)?,
                Averages::Away(away) => {
                    // Neighbours come home together.
                    for lines in lines.chunk_by(|line, next| next - line <= NEIGHBOURS) {
                        let matrices = away.matrices(around(lines, &self.lines))?;
                        these.append(&mut self.at_home(&matrices, lines, &of_line)?);
                    }
                }
            }
            all.append(&mut these);
            Ok(())
        })?;
        Ok(all)
    }

    fn at_home<T: Send>(
        &self,
        matrices: &SpectralMatrices,
        lines: &[usize],
        of_line: impl Fn(&SpectralMatrices, usize) -> Result<T, ModalError> + Sync,
    ) -> Result<Vec<T>, ModalError> {
        let of_line = |line: &usize| -> Result<T, ModalError> {
            self.control.checkpoint()?;
            of_line(matrices, *line)
        };
        lines.par_iter().map(of_line).collect()
    }

    /// The same, by `of_line` where the matrices are at home, by `of_all` where they are on a device; that one answers for every
    /// line that it has.
    fn every<T: Send + Clone>(
        &self,
        lines: &[usize],
        of_all: impl Fn(&dyn AwaySpectra) -> Result<Vec<T>, ComputeError>,
        of_line: impl Fn(&SpectralMatrices, usize) -> Result<T, ModalError> + Sync,
    ) -> Result<Vec<T>, ModalError> {
        let mut all = Vec::with_capacity(lines.len());
        self.sweep(lines, |averages, lines| {
            match averages {
                Averages::Home(matrices) => all.append(&mut self.at_home(matrices, lines, &of_line)?),
                Averages::Away(away) => {
                    self.control.checkpoint()?;
                    let (answers, first) = (of_all(&**away)?, away.lines().start);
                    all.extend(lines.iter().map(|line| answers[line - first].clone()));
                }
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// G_ii of every channel at every line, `[channel][k]` at the k-th of the lines.
    ///
    /// # Errors
    /// As [`Spectra::new`].
    pub fn autospectra(&self) -> Result<Vec<Vec<f64>>, ModalError> {
        let of_line = |matrices: &SpectralMatrices, line| Ok(DVector::from_vec(matrices.at(line).diagonal()));
        let lines: Vec<usize> = self.lines.clone().collect();
        let by_line = self.every(&lines, |away| away.autospectra(), of_line)?;
        Ok((0..self.channels()).map(|i| by_line.iter().map(|powers| powers[i]).collect()).collect())
    }

    /// Σ Re G over the lines.
    ///
    /// # Errors
    /// As [`Spectra::new`].
    pub fn total(&self) -> Result<DMatrix<f64>, ModalError> {
        let mut total = DMatrix::zeros(self.channels(), self.channels());
        self.sweep(&self.lines.clone().collect::<Vec<_>>(), |averages, lines| {
            match averages {
                Averages::Home(matrices) => {
                    for line in lines {
                        total.zip_apply(&matrices.at(*line).matrix(), |sum, g| *sum += g.re);
                    }
                }
                Averages::Away(away) => total += away.total(lines[0]..lines[0] + lines.len())?,
            }
            Ok(())
        })?;
        Ok(total)
    }

    /// The largest `count` eigenvalues of every line's G, descending; of D G D where `scale`, the diagonal of D, is given.
    ///
    /// # Errors
    /// As [`Spectra::each`].
    pub fn leading_values(&self, count: usize, scale: Option<&[f64]>) -> Result<Vec<Vec<f64>>, ModalError> {
        self.every(
            &self.lines.clone().collect::<Vec<_>>(),
            |away| Ok(away.leading(count, scale, self.control)?.into_iter().map(|(values, _)| values).collect()),
            |matrices, line| Ok(matrices.at(line).leading_values(count, scale)?),
        )
    }

    /// wᴴ G w of each of the vectors at lines of its own, `[vector][k]` at the k-th of them.
    ///
    /// # Errors
    /// As [`Spectra::each`].
    pub fn forms(&self, vectors: &[DVector<Complex<f64>>], own: &[Range<usize>]) -> Result<Vec<Vec<f64>>, ModalError> {
        let asking = |line: usize| (0..vectors.len()).filter(move |&v| own[v].contains(&line));
        let of_line = |matrices: &SpectralMatrices, line: usize| {
            let g = matrices.at(line);
            Ok(asking(line).map(|v| g.quadratic_form(&vectors[v])).collect::<Vec<f64>>())
        };
        let of_all = |away: &dyn AwaySpectra| {
            let forms = away.lines().zip(away.forms(vectors, self.control)?);
            Ok(forms.map(|(line, forms)| asking(line).map(|v| forms[v]).collect()).collect())
        };
        let lines: Vec<usize> = self.lines.clone().filter(|line| asking(*line).next().is_some()).collect();
        let mut forms = vec![Vec::new(); vectors.len()];
        for (line, of_line) in lines.iter().zip(self.every(&lines, of_all, of_line)?) {
            asking(*line).zip(of_line).for_each(|(v, form)| forms[v].push(form));
        }
        Ok(forms)
    }

    /// The largest `count` singular values of every line, largest first, power units: `values[j][k]` is s_j at the k-th of the lines.
    ///
    /// # Errors
    /// As [`Spectra::each`].
    pub fn singular_values(&self, count: usize) -> Result<Vec<Vec<f64>>, ModalError> {
        let by_line = self.leading_values(count, None)?;
        // Round-off may leave a zero eigenvalue of the positive semidefinite matrix slightly negative.
        let of_all = |j: usize| by_line.iter().map(|values| values[j].max(0.0)).collect();
        Ok((0..count.min(self.channels())).map(of_all).collect())
    }

    /// Visits the averages of `lines` and of their neighbours, as many lines at a time as may be in memory. A visit that a
    /// device's failure ended is made once more, of sums on the CPU; until then it must have changed nothing.
    fn sweep(
        &self,
        lines: &[usize],
        mut visit: impl FnMut(&Averages, &[usize]) -> Result<(), ModalError>,
    ) -> Result<(), ModalError> {
        let is_lost =
            |answer: &Result<(), ModalError>| matches!(answer, Err(ModalError::Compute(ComputeError::Device(_))));
        if let Some(averages) = self.averages() {
            let answer = visit(averages, lines);
            if matches!(averages, Averages::Home(_)) || !is_lost(&answer) {
                return answer;
            }
            let again = self.sum(self.lines.clone())?;
            return visit(self.home.get_or_init(|| again), lines);
        }
        let mut rest = lines;
        while let Some(first) = rest.first() {
            let from = first.saturating_sub(1).max(self.lines.start);
            let these;
            (these, rest) = rest.split_at(rest.partition_point(|line| line + 1 < from + self.width));
            let range = from..around(these, &self.lines).end;
            let averages = self.sum(range.clone())?;
            let answer = visit(&averages, these);
            if matches!(averages, Averages::Home(_)) || !is_lost(&answer) {
                answer?;
            } else {
                drop(averages);
                visit(&self.sum(range)?, these)?;
            }
        }
        Ok(())
    }

    fn sum(&self, lines: Range<usize>) -> Result<Averages, ModalError> {
        let mut sums = self.backend.cross_spectra(&WelchPlan { lines, ..self.plan.clone() });
        super::sum_blocks(self.record, "spectra", self.control, |block| {
            block.into_iter().for_each(|block| sums.push(block));
            sums.rewind(block.is_none())
        })?;
        Ok(sums.finish_in_place()?)
    }
}

/// Lines from the one before the first to the one behind the last, as far as there are `all`.
fn around(lines: &[usize], all: &Range<usize>) -> Range<usize> {
    match lines {
        [] => 0..0,
        [first, ..] => first.saturating_sub(1).max(all.start)..all.end.min(lines[lines.len() - 1] + 2),
    }
}

/// The lines of a band and its surroundings, of so many from 0 Hz on.
fn around_band((low_hz, high_hz): (f64, f64), line_hz: f64, count: usize) -> Range<usize> {
    // A frequency that no line can have saturates.
    let margin = |edge: usize| MARGIN_LINES.max((MARGIN_PART * edge as f64).ceil() as usize);
    let (low, high) = ((low_hz / line_hz).floor() as usize, (high_hz / line_hz).ceil().min(count as f64) as usize);
    let end = (high + margin(high) + 1).min(count);
    low.saturating_sub(margin(low)).min(end.saturating_sub(1))..end
}
