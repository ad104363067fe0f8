//! One pass over the files of a track: their stamps as runs, their hashes, their numbers on disk.

use super::IngestError;
use super::columns::{Piece, Source, Track};
use super::rows::FileDigest;
use super::runs::{self, HEAD, PieceTimes, Run, StampFault, Tracker, common_interval};
use super::spool::SpoolWriter;
use super::stamps::Nanos;
use super::timeline::{RATE_TOLERANCE, TrackTimes, rounded_rate};
use super::uneven::{UnevenTimes, UnevenTracker};
use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::result::InputFile;
use std::path::Path;
use std::sync::Arc;

/// Stamps further from even times, in root mean square, are believed and the rows interpolated: at a tenth of the
/// sampling rate 5 % of an interval turn the phase by 1.8° and leave noise 30 dB below the signal.
const JITTER: f64 = 0.05;

/// Stamps that are rounded to steps of q lie q/√12 = 0.29 q beside even times, and 0.4 q where the expected time
/// follows them.
const ROUNDING: f64 = 0.4;

/// What one pass over a track's files tells.
pub(crate) struct Scan {
    pub(crate) times: TrackTimes,
    pub(crate) inputs: Vec<InputFile>,
    pub(crate) warnings: Vec<String>,
}

/// One file on its way.
struct Scanned {
    piece: Piece,
    /// `None`: the file has no stamps, its rows follow each other at the declared rate.
    stamps: Option<Followed>,
    rows: u64,
    /// What is added to the file's stamps: seconds from its start become dates where the index knows that.
    shift: Nanos,
    start: Nanos,
}

impl Scan {
    pub(crate) fn of(
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
            let (stamps, digest) = decode(&mut piece, interval, &mut spool, &mut warnings, control)?;
            let key = piece.file.key.clone();
            let known_start = piece.file.start.map(|t| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX));
            let known_start = known_start.or(piece.source.head_start());
            if piece.source.is_of_unknown_zone() && !std::mem::replace(&mut unzoned, true) {
                warnings.push(format!("{key}: times name no zone, UTC is assumed (file_format.time_zone)"));
            }
            let dated = piece.source.is_dated();
            let (mut shift, start) = match (&stamps, interval) {
                (Some(stamps), _) => (0, stamps.first()),
                (None, Some(interval)) => {
                    let start = known_start.or(end).unwrap_or(0);
                    end = Some(start.saturating_add((digest.rows as f64 * interval).round() as i64));
                    (0, start)
                }
                (None, None) => return Err(IngestError::NoRate(key)),
            };
            if let (Some(false), Some(known)) = (dated, known_start) {
                shift = known.saturating_sub(start);
            }
            let is_absolute =
                dated == Some(true) || known_start.is_some() || (dated.is_none() && absolute == Some(true));
            if absolute.is_some_and(|before| before != is_absolute) {
                return Err(IngestError::MixedClocks { absolute: track.name.clone(), relative: key });
            }
            absolute = Some(is_absolute);
            inputs.push(InputFile { key, sha256: digest.sha256, samples: digest.rows });
            scanned.push(Scanned { piece, stamps, rows: digest.rows, shift, start: start.saturating_add(shift) });
            watch();
        }
        scanned.sort_by_key(|file| file.start);
        let pieces = lay(&mut scanned, interval, declared_hz, &track.name, &mut warnings)?;
        let mut last = i64::MIN;
        for (times, file) in pieces.iter().zip(&scanned) {
            if times.runs.last().is_some_and(|run| run.last <= last) {
                return Err(IngestError::Overlap(file.piece.file.key.clone()));
            }
            last = times.runs.last().map_or(last, |run| run.last);
        }
        track.pieces = scanned.into_iter().map(|file| file.piece).collect();
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

/// The runs of each file: as its rows stand where all are even, else on one even grid under all files of the track.
fn lay(
    scanned: &mut [Scanned],
    interval: Option<f64>,
    declared_hz: Option<f64>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<PieceTimes>, IngestError> {
    let is_even = |file: &Scanned| file.stamps.as_ref().is_none_or(Followed::is_even);
    if scanned.iter().all(is_even) {
        return scanned.iter().map(|file| even(file, interval)).collect();
    }
    let uneven = |file: &Scanned| match &file.stamps {
        Some(stamps) => stamps.uneven.clone().map_err(|fault| file.error(stamps.even.clone().err().unwrap_or(fault))),
        // A file without stamps among those with uneven ones.
        None => Err(IngestError::Uneven(file.piece.file.key.clone())),
    };
    let times: Vec<UnevenTimes> = scanned.iter().map(uneven).collect::<Result<_, _>>()?;
    let found_hz = 1e9 * times.len() as f64 / times.iter().map(|t| t.interval).sum::<f64>();
    let near = declared_hz.filter(|declared| (declared - found_hz).abs() <= RATE_TOLERANCE * declared);
    let rate_hz = near.unwrap_or(rounded_rate(found_hz));
    let Some(origin) = scanned.first().zip(times.first()).map(|(file, t)| t.first().saturating_add(file.shift)) else {
        return Ok(Vec::new());
    };
    warnings.push(format!(
        "{name}: rows are not evenly spaced, they were resampled to {rate_hz} Hz by cubics through their times"
    ));
    let mut pieces = Vec::new();
    for (file, times) in scanned.iter_mut().zip(times) {
        let (grid, runs) = times.grid(1e9 / rate_hz, origin, file.shift);
        file.piece.grid = Some(Arc::new(grid));
        let jitter = file.stamps.as_ref().and_then(|s| s.even.as_ref().ok()).map_or(f64::NAN, |even| even.jitter);
        pieces.push(PieceTimes { runs, rows: file.rows, repeated: times.held_back, astray: 0, jitter });
    }
    Ok(pieces)
}

/// The runs of a file whose rows are even.
fn even(file: &Scanned, interval: Option<f64>) -> Result<PieceTimes, IngestError> {
    let Some(stamps) = &file.stamps else {
        let runs = vec![Run::uniform(0, file.start, file.rows, interval.unwrap_or(1e9))];
        return Ok(PieceTimes { runs, rows: file.rows, ..PieceTimes::default() });
    };
    let mut times = stamps.even.clone().map_err(|fault| file.error(fault))?;
    for run in &mut times.runs {
        run.first = run.first.saturating_add(file.shift);
        run.last = run.last.saturating_add(file.shift);
    }
    Ok(times)
}

impl Scanned {
    fn error(&self, fault: StampFault) -> IngestError {
        let file = self.piece.file.key.clone();
        match fault {
            StampFault::Uneven => IngestError::Uneven(file),
            StampFault::Backwards(row) => {
                let hint = match self.piece.source.is_of_unknown_zone() {
                    true => ": if the clock was set to winter time, give file_format.time_zone",
                    false => "",
                };
                IngestError::TimeBackwards { file, line: self.piece.source.head_lines() + row + 1, hint }
            }
        }
    }
}

/// Reads a file once: its stamps, its hash, its numbers into the spool where it is not read in place.
fn decode(
    piece: &mut Piece,
    interval: Option<f64>,
    spool: &mut SpoolWriter,
    warnings: &mut Vec<String>,
    control: &Control,
) -> Result<(Option<Followed>, FileDigest), IngestError> {
    let mut follower = piece.source.is_dated().map(|_| Follower::new());
    let findings = piece.source.decode(&piece.columns, control, &mut |decoded| {
        if let Some(follower) = &mut follower {
            decoded.stamps.iter().for_each(|stamp| follower.push(*stamp));
        }
        spool.push(decoded.stamps, decoded.values)
    });
    let findings = match (findings, &piece.source) {
        (Some(findings), _) => findings?,
        (None, Source::Array(array)) => return Ok((None, array.scan(control)?)),
        (None, _) => return Err(IngestError::NoRows(piece.file.key.clone())),
    };
    warnings.extend(findings.warnings);
    piece.spool = Some(spool.finish_file(findings.missing)?);
    Ok((follower.map(|follower| follower.finish(interval)), findings.digest))
}

/// Follows stamps in both ways at once: as even rows, and as uneven ones.
struct Follower {
    head: Vec<Nanos>,
    first: Option<Nanos>,
    /// The last stamp, and the first row that lies before the one above.
    last: Nanos,
    backwards: Option<u64>,
    rows: u64,
    quantum: f64,
    ways: Option<(Result<Tracker, StampFault>, Result<UnevenTracker, StampFault>)>,
}

/// What stamps say in either way.
#[derive(Debug, Clone)]
struct Followed {
    first: Nanos,
    even: Result<PieceTimes, StampFault>,
    uneven: Result<UnevenTimes, StampFault>,
    /// Largest jitter of even rows.
    allowed: f64,
}

impl Followed {
    fn first(&self) -> Nanos {
        self.first
    }

    /// Whether the rows can stand as they are: they are even, or nothing else can be made of them.
    fn is_even(&self) -> bool {
        match &self.even {
            Ok(times) => times.jitter <= self.allowed || self.uneven.is_err() && times.jitter <= 1.0,
            Err(StampFault::Backwards(_)) => true,
            Err(StampFault::Uneven) => false,
        }
    }
}

impl Follower {
    fn new() -> Follower {
        let head = Vec::with_capacity(HEAD);
        Follower { head, first: None, last: Nanos::MIN, backwards: None, rows: 0, quantum: 0.0, ways: None }
    }

    fn push(&mut self, stamp: Nanos) {
        self.first.get_or_insert(stamp);
        if stamp < self.last {
            self.backwards.get_or_insert(self.rows);
        }
        self.last = stamp;
        self.rows += 1;
        if self.ways.is_some() {
            self.follow(stamp);
            return;
        }
        self.head.push(stamp);
        if self.head.len() == HEAD {
            self.settle(None);
        }
    }

    /// `declared`: interval in ns where the stamps cannot tell it (a single row).
    fn finish(mut self, declared: Option<f64>) -> Followed {
        if self.ways.is_none() {
            self.settle(declared);
        }
        let (even, uneven) = self.ways.unwrap_or((Err(StampFault::Uneven), Err(StampFault::Uneven)));
        let (even, uneven) = (even.and_then(Tracker::finish), uneven.and_then(UnevenTracker::finish));
        // Of two reasons the one that names a row says more.
        let even = match (even, &uneven, self.backwards) {
            (Err(StampFault::Uneven), Err(StampFault::Uneven), Some(row)) => Err(StampFault::Backwards(row)),
            (even, ..) => even,
        };
        let interval = even.as_ref().ok().and_then(|times| common_interval(&times.runs)).unwrap_or(f64::INFINITY);
        let allowed = JITTER.max(ROUNDING * self.quantum / interval);
        Followed { first: self.first.unwrap_or(0), even, uneven, allowed }
    }

    /// Finds the interval in the first stamps and follows them.
    fn settle(&mut self, declared: Option<f64>) {
        let head = std::mem::take(&mut self.head);
        let guess = match runs::interval(&head) {
            Some(interval) => interval,
            None if head.len() == 1 => declared.unwrap_or(1e9),
            None => return,
        };
        self.quantum = runs::quantum(&head);
        // Once over the head with the first guess tells the interval better; then for good.
        let mut trial = Tracker::new(guess, self.quantum, 0.0);
        let followed = head.iter().try_for_each(|&stamp| trial.push(stamp)).and_then(|()| trial.finish());
        let runs = followed.map(|times| times.runs).unwrap_or_default();
        let interval = common_interval(&runs).unwrap_or(guess);
        let phase = runs.first().map_or(0.0, |run| run.phase(interval));
        self.ways = Some((Ok(Tracker::new(interval, self.quantum, phase)), Ok(UnevenTracker::new(interval))));
        head.into_iter().for_each(|stamp| self.follow(stamp));
    }

    fn follow(&mut self, stamp: Nanos) {
        let Some((even, uneven)) = &mut self.ways else { return };
        if let Ok(tracker) = even
            && let Err(fault) = tracker.push(stamp)
        {
            *even = Err(fault);
        }
        if let Ok(tracker) = uneven
            && let Err(fault) = tracker.push(stamp)
        {
            *uneven = Err(fault);
        }
    }
}

/// The rate that the index declares for a track's files, or else its channels.
fn declared_rate(track: &Track, channels: &[Channel]) -> Result<Option<f64>, IngestError> {
    let of_files = track.pieces.iter().map(|piece| (piece.file.key.clone(), piece.file.sampling_rate_hz));
    let of_channels =
        track.channels.iter().map(|&c| (format!("channel {}", channels[c].name), channels[c].sampling_rate_hz));
    let mut declared: Option<(String, f64)> = None;
    let of_heads = track
        .pieces
        .iter()
        .map(|piece| (format!("{}, by its head,", piece.file.key), piece.source.head_sampling_rate_hz()));
    for (name, rate) in of_files.chain(of_channels).chain(of_heads) {
        let Some(rate_hz) = rate else { continue };
        if !(rate_hz > 0.0 && rate_hz.is_finite()) {
            return Err(IngestError::Rate { name, rate_hz });
        }
        match &declared {
            None => declared = Some((name, rate_hz)),
            Some((other, other_hz)) if (rate_hz - other_hz).abs() > RATE_TOLERANCE * other_hz => {
                let (other, other_hz) = (other.clone(), *other_hz);
                return Err(IngestError::RatesDiffer { name, rate_hz, other, other_hz });
            }
            Some(_) => {}
        }
    }
    Ok(declared.map(|(_, rate)| rate))
}
