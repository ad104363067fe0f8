//! Rows of all tracks → windows of the common axis, NaN where there is nothing.

use super::columns::{Piece, Source, Track};
use super::resample::Resampler;
use super::rows::{RowBlock, Rows};
use super::timeline::{Placed, Resampling};
use super::uneven::Regridded;
use super::{IngestError, RawRecord};
use crate::model::control::Control;
use crate::model::record::BLOCK_SAMPLES;
use rayon::prelude::*;

/// Reads a record window by window, all channels at once.
pub(crate) struct Assembler<'a> {
    tracks: Vec<Aligned<'a>>,
    /// For each channel its track and its place in it.
    lanes: Vec<(usize, usize)>,
    samples: u64,
    position: u64,
    control: &'a Control,
}

impl<'a> Assembler<'a> {
    /// `max_gap`: samples of a gap that is closed before a track is resampled.
    pub(crate) fn new(record: &'a RawRecord, max_gap: usize, control: &'a Control) -> Assembler<'a> {
        let timeline = &record.timeline;
        let tracks = record.tracks.iter().zip(&timeline.placed).zip(&timeline.resampling);
        let tracks = tracks.map(|((track, placed), resampling)| Aligned::new(track, placed, *resampling, max_gap));
        let tracks: Vec<Aligned> = tracks.collect();
        let mut lanes = vec![(0, 0); record.channels.len()];
        for (t, track) in record.tracks.iter().enumerate() {
            for (place, &channel) in track.channels.iter().enumerate() {
                lanes[channel] = (t, place);
            }
        }
        Assembler { tracks, lanes, samples: record.timeline.samples, position: 0, control }
    }

    /// Reads the next window and returns its first sample; `None` at the end of the axis. A stretch of the axis of
    /// which no track has anything is left out.
    pub(crate) fn next_window(&mut self) -> Result<Option<u64>, IngestError> {
        let next = self.tracks.iter().filter_map(Aligned::next_sample).min();
        let Some(next) = next else { return Ok(None) };
        let start = self.position.max(next);
        let length = (self.samples - start).min(BLOCK_SAMPLES as u64);
        if length == 0 {
            return Ok(None);
        }
        let fill = |track: &mut Aligned| track.fill(start, length as usize, self.control);
        let results: Vec<Result<(), IngestError>> = self.tracks.par_iter_mut().map(fill).collect();
        results.into_iter().collect::<Result<(), IngestError>>()?;
        self.position = start + length;
        Ok(Some(start))
    }

    /// One channel of the window.
    pub(crate) fn channel(&self, channel: usize) -> &[f64] {
        let (track, place) = self.lanes[channel];
        match &self.tracks[track] {
            Aligned::Sampled(reader) => reader.window(place),
            Aligned::Resampled(resampler) => resampler.out(place),
        }
    }

    /// What of a channel was closed by lines before it was resampled: own samples, and samples of the axis.
    pub(crate) fn closed(&self, channel: usize) -> (u64, u64) {
        let (track, place) = self.lanes[channel];
        match &self.tracks[track] {
            Aligned::Sampled(_) => (0, 0),
            Aligned::Resampled(resampler) => resampler.closed(place),
        }
    }
}

/// A track whose rows are samples of the axis as they are, or are brought to it.
enum Aligned<'a> {
    Sampled(TrackReader<'a>),
    Resampled(Box<Resampler<'a>>),
}

impl<'a> Aligned<'a> {
    fn new(track: &'a Track, placed: &'a [Vec<Placed>], resampling: Option<Resampling>, max_gap: usize) -> Aligned<'a> {
        let reader = TrackReader::new(track, placed);
        match resampling {
            None => Aligned::Sampled(reader),
            Some(how) => Aligned::Resampled(Box::new(Resampler::new(reader, how, track.channels.len(), max_gap))),
        }
    }

    fn next_sample(&self) -> Option<u64> {
        match self {
            Aligned::Sampled(reader) => reader.next_sample(),
            Aligned::Resampled(resampler) => resampler.next_sample(),
        }
    }

    fn fill(&mut self, start: u64, length: usize, control: &Control) -> Result<(), IngestError> {
        match self {
            Aligned::Sampled(reader) => reader.fill(start, length, control),
            Aligned::Resampled(resampler) => resampler.fill(start, length, control),
        }
    }
}

/// Reads one track's files one after the other.
pub(super) struct TrackReader<'a> {
    pieces: Vec<(&'a Piece, &'a [Placed])>,
    /// The piece that is being read.
    piece: usize,
    /// The run of it that comes next, and how many of its rows were taken.
    run: usize,
    taken: u64,
    source: Option<Box<dyn Rows>>,
    rows: RowBlock,
    window: Vec<Vec<f64>>,
}

impl<'a> TrackReader<'a> {
    fn new(track: &'a Track, placed: &'a [Vec<Placed>]) -> TrackReader<'a> {
        let pieces = track.pieces.iter().zip(placed.iter().map(Vec::as_slice));
        // A file outside the period is not opened again.
        let pieces = pieces.filter(|(_, runs)| !runs.is_empty()).collect();
        let window = vec![Vec::new(); track.channels.len()];
        TrackReader { pieces, piece: 0, run: 0, taken: 0, source: None, rows: RowBlock::default(), window }
    }

    /// One channel of the window.
    pub(super) fn window(&self, place: usize) -> &[f64] {
        &self.window[place]
    }

    /// The next sample of the axis that this track has.
    pub(super) fn next_sample(&self) -> Option<u64> {
        self.pieces.get(self.piece).map(|(_, runs)| runs[self.run].sample + self.taken)
    }

    pub(super) fn fill(&mut self, start: u64, length: usize, control: &Control) -> Result<(), IngestError> {
        for column in &mut self.window {
            column.clear();
            column.resize(length, f64::NAN);
        }
        let end = start + length as u64;
        while let Some(sample) = self.next_sample().filter(|sample| *sample < end) {
            let (piece, runs) = self.pieces[self.piece];
            let run = runs[self.run];
            if sample < start {
                // Nobody wants it.
                self.advance((start - sample).min(run.rows - self.taken), run, runs.len());
                continue;
            }
            let row = run.first_row + self.taken;
            let available = self.read_to(piece, row, control)?;
            let count = available.min(run.rows - self.taken).min(end - sample) as usize;
            let (from, at) = ((row - self.rows.first_row) as usize, (sample - start) as usize);
            for (place, column) in self.window.iter_mut().enumerate() {
                let values = self.rows.column(place, from, from + count);
                column[at..at + count].iter_mut().zip(values).for_each(|(cell, value)| *cell = value);
            }
            self.advance(count as u64, run, runs.len());
        }
        Ok(())
    }

    /// Reads on until the block holds `row`; how many rows it has from there on.
    fn read_to(&mut self, piece: &Piece, row: u64, control: &Control) -> Result<u64, IngestError> {
        if self.source.is_none() {
            let mut source: Box<dyn Rows> = match (&piece.spool, &piece.source) {
                (Some(spool), _) => Box::new(spool.rows()?),
                (None, Source::Array(array)) => array.rows(&piece.columns)?,
                (None, _) => return Err(IngestError::NoRows(piece.file.key.clone())),
            };
            if let Some(grid) = &piece.grid {
                source = Box::new(Regridded::new(source, grid, piece.columns.len()));
            }
            source.skip_to(row);
            self.source = Some(source);
            self.rows.begin(0, piece.columns.len());
        }
        let changed =
            || IngestError::Unreadable { file: piece.file.key.clone(), reason: "it changed while it was read".into() };
        let source = self.source.as_mut().ok_or_else(changed)?;
        loop {
            control.checkpoint()?;
            let end = self.rows.first_row + self.rows.rows() as u64;
            if row < end {
                return Ok(end - row);
            }
            if !source.next_rows(&mut self.rows)? {
                return Err(changed());
            }
        }
    }

    fn advance(&mut self, count: u64, run: Placed, runs: usize) {
        self.taken += count;
        if self.taken < run.rows {
            return;
        }
        self.taken = 0;
        self.run += 1;
        if self.run == runs {
            (self.run, self.piece, self.source) = (0, self.piece + 1, None);
        }
    }
}
