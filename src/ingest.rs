//! Raw files → rows on one uniform time axis, in gap-free stretches.
//!
//! [`RawRecord::open`] reads the heads of the files, finds the channels in them (`columns`), reads every file once
//! for its time stamps and its hash, and lays all on one axis (`runs`, `timeline`). [`RawRecord::stretches`] then reads the
//! numbers, as often as it is called, in windows of the axis (`assemble`), closes short gaps and splits at long
//! ones (`gaps`). Values are raw and f64; memory does not depend on the length of the record.
//! [`cache`] holds the finished record.

mod array;
mod assemble;
pub mod cache;
mod columns;
mod csv;
mod gaps;
mod rows;
mod runs;
mod stamps;
mod timeline;

use crate::model::channel::Channel;
use crate::model::control::{Cancelled, Control};
use crate::model::record::RawFile;
use crate::model::result::InputFile;
use columns::{Piece, Plan, Source, Track};
pub use gaps::{Missing, Stretch, Stretches};
use jiff::Timestamp;
use rayon::prelude::*;
use runs::{PieceTimes, Run, StampFault, Tracker};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use timeline::{Timeline, TrackTimes};

/// Why raw files give no record.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's and field's meaning is its message")]
pub enum IngestError {
    #[error("no raw file covers the period")]
    NoFiles,
    #[error("{0}: no such file")]
    Missing(String),
    #[error("{file}: cannot be read: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file}: {source}")]
    Io { file: String, source: io::Error },
    #[error("{0}: file is empty")]
    Empty(String),
    #[error("{0}: file has a header and no rows")]
    HeaderOnly(String),
    #[error("{0}: file is no text, expected CSV or NPY")]
    Binary(String),
    #[error("{file}: first line is {line:?}, expected a header that names the columns")]
    NoHeader { file: String, line: String },
    #[error("{file}, line {line}: {found} cells, the header has {expected}")]
    Ragged { file: String, line: u64, found: usize, expected: usize },
    #[error("{file}, line {line}, column {column:?}: {value:?} is no number")]
    Text { file: String, line: u64, column: String, value: String },
    #[error("{file}, line {line}: {value:?} is no time")]
    Time { file: String, line: u64, value: String },
    #[error("{file}, line {line}: time goes back")]
    TimeBackwards { file: String, line: u64 },
    #[error("{0}: rows are not evenly spaced in time, a record needs one sampling rate")]
    Uneven(String),
    #[error("{file}: array {reason}")]
    Array { file: String, reason: String },
    #[error("{name}: sampling rate is {rate_hz} Hz, must be above 0")]
    Rate { name: String, rate_hz: f64 },
    #[error("{0}: has no time column and no sampling rate, give one")]
    NoRate(String),
    #[error("{name}: sampled at {found_hz:.4} Hz by its time column, declared are {declared_hz} Hz")]
    DeclaredRate { name: String, found_hz: f64, declared_hz: f64 },
    #[error("{name} is sampled at {rate_hz:.4} Hz, {other} at {other_hz:.4} Hz: one record has one rate")]
    RatesDiffer { name: String, rate_hz: f64, other: String, other_hz: f64 },
    #[error("{absolute} has dates in its time column, {relative} has seconds: they cannot be joined")]
    MixedClocks { absolute: String, relative: String },
    #[error("{0}: has no dates, so a period cannot be cut out of it")]
    PeriodWithoutTime(String),
    #[error("{0}: repeats the time of the file before it, there is no sample left in it")]
    Overlap(String),
    #[error("{0}: no row with a usable time")]
    NoRows(String),
    #[error("sensors have no period in common")]
    NoCommonPeriod,
    #[error("no sample lies within the period")]
    EmptyPeriod,
    #[error("no active channel")]
    NoActiveChannel,
    #[error("channel {channel:?} is unknown{}", nearest_is(nearest))]
    UnknownChannel { channel: String, nearest: Option<String> },
    #[error("channel {0:?} is not active")]
    InactiveChannel(String),
    #[error("channel {channel:?}: clock offset is {offset_s} s, must be finite")]
    ClockOffset { channel: String, offset_s: f64 },
    #[error("channel {channel:?} has no column in {file}{}", nearest_is(nearest))]
    NoColumn { channel: String, file: String, nearest: Option<String> },
    #[error("channel {0:?} has no raw file in the period")]
    NoFileOf(String),
    #[error("channel {0:?}: every value in the period is empty or no number")]
    AllMissing(String),
    #[error("no moment at which all {channels} channels have a value; the sparsest is {sparsest:?}")]
    NoStretch { channels: usize, sparsest: String },
    #[error("{0} gaps longer than max_gap_samples: raise it, or leave the broken channel out")]
    TooManyGaps(usize),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn nearest_is(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(", the nearest name is {n:?}")).unwrap_or_default()
}

impl IngestError {
    /// A system error about a file: missing, unreadable, or a fault of the machine.
    fn io(file: &str, source: io::Error) -> IngestError {
        use io::ErrorKind as Kind;
        let file = file.to_owned();
        match source.kind() {
            Kind::NotFound => IngestError::Missing(file),
            Kind::PermissionDenied | Kind::IsADirectory | Kind::UnexpectedEof | Kind::InvalidData => {
                IngestError::Unreadable { file, reason: source.to_string() }
            }
            _ => IngestError::Io { file, source },
        }
    }

    /// Short word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            IngestError::NoFiles | IngestError::NoFileOf(_) => "no_raw_file",
            IngestError::Missing(_) => "missing_file",
            IngestError::Unreadable { .. } | IngestError::Binary(_) | IngestError::Array { .. } => "unreadable_file",
            IngestError::Io { .. } => "io",
            IngestError::Empty(_) | IngestError::HeaderOnly(_) => "empty_file",
            IngestError::NoHeader { .. } => "no_header",
            IngestError::Ragged { .. } => "ragged_rows",
            IngestError::Text { .. } => "text_in_numbers",
            IngestError::Time { .. }
            | IngestError::TimeBackwards { .. }
            | IngestError::Uneven(_)
            | IngestError::MixedClocks { .. }
            | IngestError::Overlap(_)
            | IngestError::ClockOffset { .. }
            | IngestError::NoRows(_) => "bad_time",
            IngestError::Rate { .. }
            | IngestError::NoRate(_)
            | IngestError::DeclaredRate { .. }
            | IngestError::RatesDiffer { .. } => "bad_sampling_rate",
            IngestError::PeriodWithoutTime(_) | IngestError::NoCommonPeriod | IngestError::EmptyPeriod => "bad_period",
            IngestError::NoActiveChannel => "no_active_channel",
            IngestError::UnknownChannel { .. } | IngestError::InactiveChannel(_) | IngestError::NoColumn { .. } => {
                "unknown_channel"
            }
            IngestError::AllMissing(_) | IngestError::NoStretch { .. } | IngestError::TooManyGaps(_) => "no_samples",
            IngestError::Cancelled(_) => "cancelled",
        }
    }

    /// Whether the same files would fail again.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, IngestError::Io { .. } | IngestError::Cancelled(_))
    }
}

/// Raw files laid on one axis, ready to be read.
#[derive(Debug)]
pub struct RawRecord {
    channels: Vec<Channel>,
    tracks: Vec<Track>,
    timeline: Timeline,
    inputs: Vec<InputFile>,
    warnings: Vec<String>,
}

impl RawRecord {
    /// Finds the channels in the files and reads all time stamps: one pass over the files.
    ///
    /// `channels`: the structure's channels; empty: every column of numbers is one. `selected`: only these, by name.
    /// `period`: only samples from the one to the other, both included. `watch` gets the part that is done.
    ///
    /// # Errors
    /// [`IngestError`] naming file, line and value.
    pub fn open(
        files: &[RawFile],
        channels: &[Channel],
        selected: Option<&[String]>,
        period: (Option<Timestamp>, Option<Timestamp>),
        control: &Control,
        watch: &(dyn Fn(f64) + Sync),
    ) -> Result<RawRecord, IngestError> {
        let Plan { channels, mut tracks, mut warnings } = columns::plan(files, channels, selected)?;
        let total: usize = tracks.iter().map(|t| t.pieces.len()).sum();
        let done = AtomicU64::new(0);
        let scan = |track: &mut Track| {
            Scan::of(track, &channels, control, &|| {
                watch((done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / total as f64);
            })
        };
        // In parallel, then judged in order: the first track's error is the one that is told, on any machine.
        let scans: Vec<Result<Scan, IngestError>> = tracks.par_iter_mut().map(scan).collect();
        let mut times = Vec::new();
        let mut inputs: Vec<InputFile> = Vec::new();
        for result in scans {
            let scan = result?;
            times.push(scan.times);
            warnings.extend(scan.warnings);
            for input in scan.inputs {
                if inputs.iter().all(|known| known.key != input.key) {
                    inputs.push(input);
                }
            }
        }
        let nanos = |t: Option<Timestamp>| t.map(|t| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX));
        let timeline = Timeline::lay(&times, (nanos(period.0), nanos(period.1)))?;
        warnings.extend(timeline.warnings.iter().cloned());
        Ok(RawRecord { channels, tracks, timeline, inputs, warnings })
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

/// What one pass over a track's files tells.
struct Scan {
    times: TrackTimes,
    inputs: Vec<InputFile>,
    warnings: Vec<String>,
}

impl Scan {
    fn of(
        track: &mut Track,
        channels: &[Channel],
        control: &Control,
        watch: &(dyn Fn() + Sync),
    ) -> Result<Scan, IngestError> {
        let first = &channels[track.channels[0]];
        let declared_hz = declared_rate(track, channels)?;
        let interval = declared_hz.map(|rate| 1e9 / rate);
        let (mut scanned, mut inputs, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let (mut absolute, mut end) = (None, None);
        for piece in std::mem::take(&mut track.pieces) {
            let (mut times, digest) = scan_stamps(&piece, interval, control)?;
            let key = piece.file.key.clone();
            let stamp = match &piece.source {
                Source::Csv(csv) => csv.stamp.map(|(_, format)| format),
                Source::Array(_) => None,
            };
            let known_start = piece.file.start.map(|t| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX));
            match (stamp, interval) {
                (Some(format), _) => {
                    if matches!(format, stamps::StampFormat::Iso { zoned: false }) && scanned.is_empty() {
                        warnings.push(format!("{key}: times name no zone, UTC is assumed"));
                    }
                    // Seconds from the start of the file become dates where the index knows the start.
                    if let (false, Some(start), Some(run)) = (format.is_absolute(), known_start, times.runs.first()) {
                        let shift = start.saturating_sub(run.first);
                        times.runs.iter_mut().for_each(|run| {
                            run.first = run.first.saturating_add(shift);
                            run.last = run.last.saturating_add(shift);
                        });
                    }
                }
                (None, Some(interval)) => {
                    let start = known_start.or(end).unwrap_or(0);
                    times.runs = vec![Run::uniform(start, digest.rows, interval)];
                    end = Some(start.saturating_add((digest.rows as f64 * interval).round() as i64));
                }
                (None, None) => return Err(IngestError::NoRate(key)),
            }
            let is_absolute = stamp.is_some_and(|f| f.is_absolute())
                || known_start.is_some()
                || (stamp.is_none() && absolute == Some(true));
            if absolute.is_some_and(|before| before != is_absolute) {
                return Err(IngestError::MixedClocks { absolute: track.name.clone(), relative: key });
            }
            absolute = Some(is_absolute);
            inputs.push(InputFile { key, sha256: digest.sha256, samples: digest.rows });
            scanned.push((times, piece));
            watch();
        }
        scanned.sort_by_key(|(times, _)| times.runs.first().map(|run| run.first));
        let mut last = i64::MIN;
        for (times, piece) in &scanned {
            if times.runs.last().is_some_and(|run| run.last <= last) {
                return Err(IngestError::Overlap(piece.file.key.clone()));
            }
            last = times.runs.last().map_or(last, |run| run.last);
        }
        let (pieces, files) = scanned.into_iter().unzip();
        track.pieces = files;
        let times = TrackTimes {
            name: track.name.clone(),
            absolute: absolute.unwrap_or(false),
            offset: (first.clock_offset_s * 1e9).round() as i64,
            declared_hz,
            pieces,
        };
        Ok(Scan { times, inputs, warnings })
    }
}

fn scan_stamps(
    piece: &Piece,
    interval: Option<f64>,
    control: &Control,
) -> Result<(PieceTimes, rows::FileDigest), IngestError> {
    let key = &piece.file.key;
    let csv = match &piece.source {
        Source::Csv(csv) => csv,
        Source::Array(array) => return Ok((PieceTimes::default(), array.scan(control)?)),
    };
    let mut tracker = Tracker::new();
    let fault = |fault, line| match fault {
        StampFault::Backwards => IngestError::TimeBackwards { file: key.clone(), line },
        StampFault::Uneven => IngestError::Uneven(key.clone()),
    };
    let digest = csv.scan(control, |stamp, line| tracker.push(stamp).map_err(|f| fault(f, line)))?;
    Ok((tracker.finish(interval).map_err(|f| fault(f, 0))?, digest))
}

/// The rate that the index declares for a track's files, or else its channels.
fn declared_rate(track: &Track, channels: &[Channel]) -> Result<Option<f64>, IngestError> {
    let of_files = track.pieces.iter().map(|piece| (piece.file.key.clone(), piece.file.sampling_rate_hz));
    let of_channels =
        track.channels.iter().map(|&c| (format!("channel {}", channels[c].name), channels[c].sampling_rate_hz));
    let mut declared: Option<(String, f64)> = None;
    for (name, rate) in of_files.chain(of_channels) {
        let Some(rate_hz) = rate else { continue };
        if !(rate_hz > 0.0 && rate_hz.is_finite()) {
            return Err(IngestError::Rate { name, rate_hz });
        }
        match &declared {
            None => declared = Some((name, rate_hz)),
            Some((other, other_hz)) if (rate_hz - other_hz).abs() > timeline::RATE_TOLERANCE * other_hz => {
                let (other, other_hz) = (other.clone(), *other_hz);
                return Err(IngestError::RatesDiffer { name, rate_hz, other, other_hz });
            }
            Some(_) => {}
        }
    }
    Ok(declared.map(|(_, rate)| rate))
}
