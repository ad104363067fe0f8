//! Raw files → rows on one uniform time axis, in gap-free stretches.
//!
//! [`RawRecord::open`] reads the heads of the files, tells how each is written (`bytes`, `layout`), finds the channels
//! in them (`columns`), decodes every file once into rows on disk (`csv`, `spool`), and lays all on one axis (`runs`,
//! `timeline`). [`RawRecord::stretches`] then reads the numbers, as often as it is called, in windows of the axis
//! (`assemble`), closes short gaps and splits at long ones (`gaps`). Values are raw and f64; memory does not depend on the length of the record.
//! [`cache`] holds the finished record.

mod array;
mod assemble;
mod bytes;
pub mod cache;
mod cells;
mod columns;
mod csv;
mod error;
mod gaps;
mod layout;
mod local_time;
mod preamble;
mod rows;
mod runs;
mod sentinels;
mod spool;
mod stamps;
mod time_columns;
mod timeline;

use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::file_format::FileFormat;
use crate::model::record::RawFile;
use crate::model::result::InputFile;
use columns::{Piece, Plan, Source, Track};
pub use error::IngestError;
pub use gaps::{Missing, Stretch, Stretches};
use jiff::Timestamp;
use runs::{PieceTimes, Run, StampFault, Tracker};
use spool::SpoolWriter;
use std::path::Path;
use timeline::{Timeline, TrackTimes};

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
    /// Finds the channels in the files and decodes them: one pass over the files.
    ///
    /// `format`: how files are written whose sensor does not say it; `folder`: for the decoded rows.
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
        format: &FileFormat,
        folder: &Path,
        control: &Control,
        watch: &dyn Fn(f64),
    ) -> Result<RawRecord, IngestError> {
        let Plan { channels, mut tracks, mut warnings } = columns::plan(files, channels, selected, format)?;
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
        folder: &Path,
        control: &Control,
        watch: &mut dyn FnMut(),
    ) -> Result<Scan, IngestError> {
        let first = &channels[track.channels[0]];
        let declared_hz = declared_rate(track, channels)?;
        let interval = declared_hz.map(|rate| 1e9 / rate);
        let (mut scanned, mut inputs, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let (mut absolute, mut end, mut unzoned) = (None, None, false);
        let mut spool = SpoolWriter::create(folder, track.channels.len())?;
        for mut piece in std::mem::take(&mut track.pieces) {
            let (mut times, digest) = decode(&mut piece, interval, &mut spool, &mut warnings, control)?;
            let key = piece.file.key.clone();
            let known_start = piece.file.start.map(|t| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX));
            let (stamp, known_start) = match &piece.source {
                Source::Csv(csv) => {
                    if csv.is_of_unknown_zone() && !std::mem::replace(&mut unzoned, true) {
                        warnings.push(format!("{key}: times name no zone, UTC is assumed (file_format.time_zone)"));
                    }
                    (csv.layout.time.as_ref().map(|time| time.format), known_start.or(csv.head_start()))
                }
                Source::Array(_) => (None, known_start),
            };
            match (stamp, interval) {
                (Some(format), _) => {
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

/// Reads a file once: its stamps as runs, its hash, its numbers into the spool where they are text.
fn decode(
    piece: &mut Piece,
    interval: Option<f64>,
    spool: &mut SpoolWriter,
    warnings: &mut Vec<String>,
    control: &Control,
) -> Result<(PieceTimes, rows::FileDigest), IngestError> {
    let csv = match &piece.source {
        Source::Csv(csv) => csv,
        Source::Array(array) => return Ok((PieceTimes::default(), array.scan(control)?)),
    };
    let key = &piece.file.key;
    let fault = |fault, line| match fault {
        StampFault::Backwards => IngestError::TimeBackwards {
            file: key.clone(),
            line,
            hint: if csv.is_of_unknown_zone() {
                ": if the clock was set to winter time, give file_format.time_zone"
            } else {
                ""
            },
        },
        StampFault::Uneven => IngestError::Uneven(key.clone()),
    };
    let stamped = csv.layout.time.is_some();
    let (mut tracker, mut row) = (Tracker::new(), csv.layout.head_lines);
    let findings = csv.decode(&piece.columns, control, &mut |decoded| {
        for stamp in decoded.stamps.iter().filter(|_| stamped) {
            row += 1;
            tracker.push(*stamp).map_err(|f| fault(f, row))?;
        }
        spool.push(decoded.stamps, decoded.values)
    })?;
    let times = tracker.finish(interval).map_err(|f| fault(f, row))?;
    warnings.extend(findings.warnings);
    piece.spool = Some(spool.finish_file(findings.missing)?);
    Ok((times, findings.digest))
}

/// The rate that the index declares for a track's files, or else its channels.
fn declared_rate(track: &Track, channels: &[Channel]) -> Result<Option<f64>, IngestError> {
    let of_files = track.pieces.iter().map(|piece| (piece.file.key.clone(), piece.file.sampling_rate_hz));
    let of_channels =
        track.channels.iter().map(|&c| (format!("channel {}", channels[c].name), channels[c].sampling_rate_hz));
    let mut declared: Option<(String, f64)> = None;
    let of_heads = track.pieces.iter().filter_map(|piece| match &piece.source {
        Source::Csv(csv) => Some((format!("{}, by its head,", piece.file.key), csv.layout.preamble.sampling_rate_hz)),
        Source::Array(_) => None,
    });
    for (name, rate) in of_files.chain(of_channels).chain(of_heads) {
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
