//! Raw files → rows on one uniform time axis, in gap-free stretches.
//!
//! [`RawRecord::open`] reads the heads of the files, tells how each is written (`bytes`, `layout`), finds the channels
//! in them (`columns`), decodes every file once into rows on disk (`scan`: `csv`, `parquet_table`, `uff` → `spool`;
//! an `array` is read in place), follows their stamps (`runs`, or `uneven` where the rows are not evenly spaced), and
//! lays all on one axis (`timeline`). [`RawRecord::stretches`] then reads the numbers, as often as it is called, in
//! windows of the axis (`assemble`; `resample` for a clock of another rate), closes short gaps and splits at long ones
//! (`gaps`). Values are raw and f64; memory does not depend on the length of the record.
//! [`cache`] holds the finished record.

mod array;
mod assemble;
mod bytes;
pub mod cache;
mod calendar;
mod cells;
mod columns;
mod csv;
mod decimal;
mod error;
mod gaps;
mod layout;
mod local_time;
mod parquet_thrift;

mod parquet_guard;
mod parquet_table;
mod preamble;
mod resample;
mod rows;
mod runs;
mod scan;
mod sentinels;
mod spool;
mod stamps;
mod time_columns;
mod timeline;
mod uff;
mod uneven;

use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::parameters::PreprocessingParameters;
use crate::model::record::RawFile;
use crate::model::result::{Clock, InputFile};
use columns::{Plan, Track};
pub use error::IngestError;
pub use gaps::{Missing, Stretch, Stretches};
use jiff::Timestamp;
use runs::PieceTimes;
use scan::Scan;
use std::path::Path;
use timeline::{Timeline, TrackTimes};

/// Raw files laid on one axis, ready to be read.
#[derive(Debug)]
pub struct RawRecord {
    channels: Vec<Channel>,
    tracks: Vec<Track>,
    timeline: Timeline,
    inputs: Vec<InputFile>,
    clocks: Vec<Clock>,
    warnings: Vec<String>,
}

impl RawRecord {
    /// Finds the channels in the files and decodes them: one pass over the files.
    ///
    /// `parameters`: how files are written whose sensor does not say it, and the rate that is wanted; `folder`: for
    /// the decoded rows.
    /// `channels`: the structure's channels; empty: every column of numbers is one. `selected`: only these, by name.
    /// `period`: only samples from the one to the other, both included. `watch` gets the part that is done.
    ///
    /// # Errors
    /// [`IngestError`] naming file, line and value.
    #[expect(clippy::too_many_arguments, reason = "each is another part of one request, and there is one caller")]
    pub fn open(
        files: &[RawFile],
        channels: &[Channel],
        selected: Option<&[String]>,
        period: (Option<Timestamp>, Option<Timestamp>),
        parameters: &PreprocessingParameters,
        folder: &Path,
        control: &Control,
        watch: &dyn Fn(f64),
    ) -> Result<RawRecord, IngestError> {
        let Plan { channels, mut tracks, mut warnings } =
            columns::plan(files, channels, selected, &parameters.file_format)?;
        let total: usize = tracks.iter().map(|t| t.pieces.len()).sum();
        let mut done = 0;
        let mut times = Vec::new();
        let mut inputs: Vec<InputFile> = Vec::new();
        // One file after the other: each is parsed by all threads, and memory does not grow with their number.
        for track in &mut tracks {
            let scan = Scan::of(track, &channels, folder, control, &mut || {
                done += 1;
                watch(f64::from(done) / total as f64);
            })?;
            times.push(scan.times);
            warnings.extend(scan.warnings);
            for input in scan.inputs {
                if inputs.iter().all(|known| known.key != input.key) {
                    inputs.push(input);
                }
            }
        }
        let nanos = |t: Option<Timestamp>| t.map(|t| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX));
        let wanted = parameters.sampling_rate_hz;
        let timeline = Timeline::lay(&times, (nanos(period.0), nanos(period.1)), wanted)?;
        warnings.extend(timeline.warnings.iter().cloned());
        let clock = |(index, times): (usize, &TrackTimes)| {
            let sum = |of: fn(&PieceTimes) -> u64| times.pieces.iter().map(of).sum();
            let jitter = times.pieces.iter().map(|piece| piece.jitter).fold(0.0, f64::max);
            Clock {
                name: times.name.clone(),
                channels: tracks[index].channels.iter().map(|&c| channels[c].name.clone()).collect(),
                sampling_rate_hz: timeline.rates_hz[index],
                clock_offset_s: times.offset as f64 / 1e9,
                estimated_offset: None,
                jitter: Some(jitter).filter(|j| j.is_finite()),
                interpolated: tracks[index].pieces.iter().any(|piece| piece.grid.is_some()),
                rows_left_out: sum(|piece| piece.repeated),
                rows_astray: sum(|piece| piece.astray),
                resampled: timeline.resampled(index),
            }
        };
        let clocks = times.iter().enumerate().map(clock).collect();
        Ok(RawRecord { channels, tracks, timeline, inputs, clocks, warnings })
    }

    /// The channels, in the order of a stretch's rows.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Hz.
    pub fn sampling_rate_hz(&self) -> f64 {
        self.timeline.sampling_rate_hz
    }

    /// Time of the first sample of the axis, where it is known.
    pub fn start(&self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(self.timeline.start?)).ok()
    }

    /// Samples of the axis, gaps included.
    pub fn samples(&self) -> u64 {
        self.timeline.samples
    }

    /// The files that were read.
    pub fn inputs(&self) -> &[InputFile] {
        &self.inputs
    }

    /// What was found of each sensor's times.
    pub fn clocks(&self) -> &[Clock] {
        &self.clocks
    }

    /// What was odd.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Reads the numbers from the start. Gaps of up to `max_gap_samples` are closed by a line, longer ones end a
    /// stretch, in whatever channel they are.
    pub fn stretches<'a>(&'a self, max_gap_samples: usize, control: &'a Control) -> Stretches<'a> {
        Stretches::new(self, max_gap_samples, control)
    }
}
