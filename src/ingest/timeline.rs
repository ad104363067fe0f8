//! Time stamps → runs of consecutive rows → one uniform axis that all tracks share.
//!
//! A track is what one clock stamped: the files of one sensor, or the files that hold all channels. Its rows form
//! runs: rows one sampling interval apart, to half an interval. Between runs rows are missing. The axis takes the
//! least-squares rate of all runs and the phase of the first track; each run lies on it at the sample nearest to its time,
//! its clock offset taken off (true time = stamp − offset). The rest of the rounding, at most half a sample, stays:
//! a run is never resampled, and a rest above 5 % of a sample is warned of.

use super::IngestError;
use super::stamps::Nanos;

/// Rows one sampling interval apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its first row in the file.
    pub(crate) first_row: u64,
    /// How many.
    pub(crate) rows: u64,
    /// Stamp of the first row.
    pub(crate) first: Nanos,
    /// Stamp of the last row.
    pub(crate) last: Nanos,
    /// Sum of the stamps counted from `first`: its mean tells the run's place better than one rounded stamp.
    pub(crate) sum: i128,
    /// Sum of the same times the row's place in the run, 0, 1, …: with `sum` it gives the least-squares interval.
    pub(crate) weighted: i128,
}

impl Run {
    /// The rows of a file without stamps, `interval` ns apart.
    pub(crate) fn uniform(first: Nanos, rows: u64, interval: f64) -> Run {
        let (n, last) = (rows as f64, (rows - 1) as f64);
        Run {
            first_row: 0,
            rows,
            first,
            last: first.saturating_add((interval * last).round() as Nanos),
            sum: (interval * last * n / 2.0) as i128,
            weighted: (interval * last * n * (2.0 * n - 1.0) / 6.0) as i128,
        }
    }
}

/// What the stamps of one file say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PieceTimes {
    /// Ascending.
    pub(crate) runs: Vec<Run>,
    /// Rows of the file.
    pub(crate) rows: u64,
    /// Rows left out because their time lies before that of the row that is due.
    pub(crate) repeated: u64,
}

/// Rows whose stamps settle the interval before any run is begun.
const HEAD: usize = 4096;

/// Share of each deviation that the expected time follows: it averages about this many rounded stamps and still
/// follows a rate that the head told 1e-3 wrong within 0.03 samples.
const FOLLOW: f64 = 1.0 / 32.0;

/// Over a gap of up to so many rows the expected times go on, since the interval is known to 1e-3 or better; after a
/// longer one the first stamp alone says where the run begins, with all its rounding.
const KEEP_PHASE: f64 = 100.0;

/// More runs than this are no record with gaps but a file whose rows are not evenly spaced; it also bounds memory.
pub(crate) const MAX_RUNS: usize = 100_000;

/// Share of the rows that may repeat a time, or stand alone between two gaps, before the file counts as one
/// without a constant rate. Random loss of every third row leaves a ninth of the rows alone.
const UNEVEN: f64 = 0.1;

/// Why stamps cannot be followed; the caller adds the file and the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampFault {
    /// The stamp lies before that of the row above.
    Backwards,
    /// No constant rate.
    Uneven,
}

/// Collects the stamps of one file into runs.
pub(crate) struct Tracker {
    head: Vec<Nanos>,
    /// Sampling interval, ns; 0 while the head fills.
    interval: f64,
    /// Expected time of the last row, ns after `origin`.
    expected: f64,
    origin: Nanos,
    previous: Option<Nanos>,
    /// Whether the next row may continue the last run.
    open: bool,
    times: PieceTimes,
}

impl Tracker {
    pub(crate) fn new() -> Tracker {
        Tracker {
            head: Vec::new(),
            interval: 0.0,
            expected: 0.0,
            origin: 0,
            previous: None,
            open: false,
            times: PieceTimes::default(),
        }
    }

    /// Takes the stamp of the next row.
    pub(crate) fn push(&mut self, stamp: Nanos) -> Result<(), StampFault> {
        if self.previous.is_some_and(|previous| stamp < previous) {
            return Err(StampFault::Backwards);
        }
        self.previous = Some(stamp);
        if self.interval > 0.0 {
            return self.place(stamp);
        }
        self.head.push(stamp);
        if self.head.len() == HEAD { self.settle() } else { Ok(()) }
    }

    /// The runs; `declared`: interval in ns where the stamps cannot tell it (a single row).
    pub(crate) fn finish(mut self, declared: Option<f64>) -> Result<PieceTimes, StampFault> {
        if self.interval == 0.0 && !self.head.is_empty() {
            self.settle_with(declared)?;
        }
        let alone = self.times.runs.iter().filter(|run| run.rows == 1).count() as f64;
        let allowed = UNEVEN * self.times.rows as f64 + 1.0;
        if alone > allowed || self.times.repeated as f64 > allowed {
            return Err(StampFault::Uneven);
        }
        Ok(self.times)
    }

    fn settle(&mut self) -> Result<(), StampFault> {
        self.settle_with(None)
    }

    fn settle_with(&mut self, declared: Option<f64>) -> Result<(), StampFault> {
        self.interval = match interval(&self.head) {
            Some(interval) => interval,
            None if self.head.len() == 1 => declared.unwrap_or(1e9),
            None => return Err(StampFault::Uneven),
        };
        // Once over the head with the first guess tells the interval better; then for good.
        let head = std::mem::take(&mut self.head);
        let mut trial = Tracker { interval: self.interval, ..Tracker::new() };
        head.iter().try_for_each(|&stamp| trial.place(stamp))?;
        if let Some(interval) = common_interval(&trial.times.runs) {
            self.interval = interval;
        }
        head.iter().try_for_each(|&stamp| self.place(stamp))
    }

    fn place(&mut self, stamp: Nanos) -> Result<(), StampFault> {
        let row = self.times.rows;
        self.times.rows += 1;
        if row == 0 {
            self.origin = stamp;
            self.begin(row, stamp);
            return Ok(());
        }
        let deviation = stamp.saturating_sub(self.origin) as f64 - (self.expected + self.interval);
        if deviation < -self.interval / 2.0 {
            self.times.repeated += 1;
            self.open = false;
            return Ok(());
        }
        if deviation <= self.interval / 2.0 {
            self.expected += self.interval + FOLLOW * deviation;
            if !self.open {
                let expected = self.expected;
                self.begin(row, stamp);
                self.expected = expected;
            } else if let Some(run) = self.times.runs.last_mut() {
                let time = i128::from(stamp) - i128::from(run.first);
                run.sum += time;
                run.weighted += i128::from(run.rows) * time;
                run.rows += 1;
                run.last = stamp;
            }
            return Ok(());
        }
        let expected = self.expected;
        self.begin(row, stamp);
        let missing = (deviation / self.interval).round();
        if missing <= KEEP_PHASE {
            let rest = deviation - missing * self.interval;
            self.expected = expected + (missing + 1.0) * self.interval + FOLLOW * rest;
        }
        if self.times.runs.len() > MAX_RUNS { Err(StampFault::Uneven) } else { Ok(()) }
    }

    fn begin(&mut self, row: u64, stamp: Nanos) {
        self.times.runs.push(Run { first_row: row, rows: 1, first: stamp, last: stamp, sum: 0, weighted: 0 });
        self.expected = stamp.saturating_sub(self.origin) as f64;
        self.open = true;
    }
}

/// Sampling interval of a file's first stamps, ns: the median interval, made finer.
///
/// Where the stamps are rounded (7 and 8 ms for 128 Hz) the median itself is wrong by up to the rounding, but the
/// mean of all intervals near it is not. Where they are rounded to more than the interval (1 and 2 ms for 800 Hz)
/// nothing is near the median; then the median of long spans is taken.
fn interval(stamps: &[Nanos]) -> Option<f64> {
    let mut steps: Vec<f64> = stamps.windows(2).map(|w| w[1].saturating_sub(w[0]) as f64).collect();
    let median = median(&mut steps)?;
    let near = || steps.iter().filter(|s| (*s - median).abs() <= 0.25 * median);
    let count = near().count();
    let found = if 5 * count >= 4 * steps.len() {
        near().sum::<f64>() / count as f64
    } else {
        let lag = (stamps.len() / 4).clamp(1, 256);
        let mut spans: Vec<f64> =
            stamps.windows(lag + 1).map(|w| w[lag].saturating_sub(w[0]) as f64 / lag as f64).collect();
        self::median(&mut spans)?
    };
    (found > 0.0).then_some(found)
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// Least-squares interval that all runs have in common, each with a place of its own, ns. Over n rounded stamps the
/// rounding falls with n^1.5, where that of last minus first falls with n.
fn common_interval<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Option<f64> {
    let (mut above, mut below) = (0.0, 0.0);
    for run in runs {
        let n = run.rows as f64;
        above += run.weighted as f64 - (n - 1.0) / 2.0 * run.sum as f64;
        below += n * (n * n - 1.0) / 12.0;
    }
    (above > 0.0).then(|| above / below)
}

/// One clock's files as the axis needs them.
#[derive(Debug, Clone)]
pub(crate) struct TrackTimes {
    /// For messages.
    pub(crate) name: String,
    /// Whether the stamps count from 1970.
    pub(crate) absolute: bool,
    /// The clock minus true time, ns.
    pub(crate) offset: Nanos,
    /// Declared rate, Hz.
    pub(crate) declared_hz: Option<f64>,
    /// In the order of their time.
    pub(crate) pieces: Vec<PieceTimes>,
}

impl TrackTimes {
    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.pieces.iter().flat_map(|piece| &piece.runs)
    }

    fn rate_hz(&self) -> Option<f64> {
        common_interval(self.runs()).map(|interval| 1e9 / interval).or(self.declared_hz)
    }
}

/// Rows of one file on the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// First row in the file.
    pub(crate) first_row: u64,
    /// How many.
    pub(crate) rows: u64,
    /// Sample of the axis that the first row is.
    pub(crate) sample: u64,
}

/// The common axis and where each file lies on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// Hz.
    pub(crate) sampling_rate_hz: f64,
    /// Time of sample 0, ns since 1970, where it is known.
    pub(crate) start: Option<Nanos>,
    /// Length of the common period in samples.
    pub(crate) samples: u64,
    /// Per track, per piece.
    pub(crate) placed: Vec<Vec<Vec<Placed>>>,
    /// What was odd.
    pub(crate) warnings: Vec<String>,
}

/// Two rates that differ by more are an error, by less the clocks' own inaccuracy.
pub(crate) const RATE_TOLERANCE: f64 = 0.01;

/// A rest of the rounding to whole samples above this share of a sample is warned of: at a tenth of the sampling
/// rate it turns the phase between channels by 1.8°.
const REST_TOLERANCE: f64 = 0.05;

impl Timeline {
    /// Lays the tracks on one axis and cuts it to what all of them and `period` (ns since 1970, both ends included)
    /// share.
    pub(crate) fn lay(tracks: &[TrackTimes], period: (Option<Nanos>, Option<Nanos>)) -> Result<Timeline, IngestError> {
        let absolute = check_clocks(tracks, period)?;
        let rate = common_rate(tracks)?;
        let interval = 1e9 / rate;
        let mut warnings = Vec::new();

        // The phase of the first run of the first track; differences of i64 first, so that nothing is rounded.
        let anchor =
            tracks.iter().flat_map(|t| t.runs().map(|run| run.first.saturating_sub(t.offset))).next().unwrap_or(0);
        let mut layouts = Vec::new();
        let (mut first, mut end) = (i64::MIN, i64::MAX);
        for track in tracks {
            let layout = Layout::of(track, anchor, interval);
            warnings.extend(layout.warnings(track, rate));
            let bounds = layout.bounds();
            let (from, to) = bounds.ok_or_else(|| IngestError::NoRows(track.name.clone()))?;
            first = first.max(from);
            end = end.min(to);
            layouts.push(layout);
        }
        if first >= end {
            return Err(IngestError::NoCommonPeriod);
        }
        // A stamp on the very edge of the period belongs to it in spite of rounding: a millionth of a sample.
        const EDGE: f64 = 1e-6;
        if let Some(from) = period.0 {
            first = first.max((from.saturating_sub(anchor) as f64 / interval - EDGE).ceil() as i64);
        }
        if let Some(to) = period.1 {
            end = end.min(((to.saturating_sub(anchor) as f64 / interval + EDGE).floor() as i64).saturating_add(1));
        }
        if first >= end {
            return Err(IngestError::EmptyPeriod);
        }
        Ok(Timeline {
            sampling_rate_hz: rate,
            start: absolute.then(|| anchor.saturating_add((first as f64 * interval).round() as Nanos)),
            samples: end.abs_diff(first),
            placed: layouts.into_iter().map(|layout| layout.cut(first, end)).collect(),
            warnings,
        })
    }
}

/// Whether the stamps are absolute: all or none.
fn check_clocks(tracks: &[TrackTimes], period: (Option<Nanos>, Option<Nanos>)) -> Result<bool, IngestError> {
    let absolute = tracks.iter().find(|t| t.absolute);
    let relative = tracks.iter().find(|t| !t.absolute);
    match (absolute, relative) {
        (Some(a), Some(r)) => Err(IngestError::MixedClocks { absolute: a.name.clone(), relative: r.name.clone() }),
        (None, Some(r)) if period != (None, None) => Err(IngestError::PeriodWithoutTime(r.name.clone())),
        _ => Ok(absolute.is_some()),
    }
}

/// The mean rate of all tracks, which must agree with each other and with what was declared.
fn common_rate(tracks: &[TrackTimes]) -> Result<f64, IngestError> {
    let mut rates = Vec::new();
    for track in tracks {
        let rate = track.rate_hz().ok_or_else(|| IngestError::NoRate(track.name.clone()))?;
        let differs = |other: f64| (rate - other).abs() > RATE_TOLERANCE * other;
        if let Some(declared_hz) = track.declared_hz.filter(|d| differs(*d)) {
            return Err(IngestError::DeclaredRate { name: track.name.clone(), declared_hz, found_hz: rate });
        }
        if let Some((name, first_hz)) = rates.first().filter(|(_, first)| differs(*first)) {
            let (name, other) = (String::clone(name), track.name.clone());
            return Err(IngestError::RatesDiffer { name, rate_hz: *first_hz, other, other_hz: rate });
        }
        rates.push((track.name.clone(), rate));
    }
    let mean = common_interval(tracks.iter().flat_map(TrackTimes::runs)).map_or(rates[0].1, |interval| 1e9 / interval);
    // Rounded stamps leave the mean a little beside the rate that was set. A declared rate, or the mean rounded to
    // four digits, is taken where it stays within half a sample of the stamps over the longest track.
    let longest = tracks.iter().map(|t| t.runs().map(|run| run.rows).sum::<u64>()).max().unwrap_or(0);
    let fits = |candidate: &f64| (candidate - mean).abs() * longest as f64 <= 0.5 * mean;
    let digits = 10f64.powi(3 - mean.log10().floor() as i32);
    let rounded = (mean * digits).round() / digits;
    Ok(tracks.iter().filter_map(|t| t.declared_hz).chain([rounded]).find(fits).unwrap_or(mean))
}

/// One track on the uncut axis.
struct Layout {
    /// Per piece: first row, rows, sample.
    pieces: Vec<Vec<(u64, u64, i64)>>,
    /// Largest rest of the rounding of a run's place, samples.
    rest: f64,
    /// Samples by which the track's own rate leaves the axis within one run.
    slip: f64,
    /// Rows that fell on samples that earlier rows had filled.
    overlapping: u64,
    repeated: u64,
}

impl Layout {
    fn of(track: &TrackTimes, anchor: Nanos, interval: f64) -> Layout {
        let repeated = track.pieces.iter().map(|piece| piece.repeated).sum();
        let mut layout = Layout { pieces: Vec::new(), rest: 0.0, slip: 0.0, overlapping: 0, repeated };
        let mut free = i64::MIN;
        for piece in &track.pieces {
            let mut placed = Vec::new();
            for run in &piece.runs {
                let span = interval * (run.rows - 1) as f64;
                let middle = run.sum as f64 / run.rows as f64 - span / 2.0;
                let place = (run.first.saturating_sub(track.offset).saturating_sub(anchor) as f64 + middle) / interval;
                let sample = place.round();
                layout.rest = layout.rest.max((place - sample).abs());
                layout.slip = layout.slip.max((run.last.saturating_sub(run.first) as f64 - span).abs() / interval);
                let sample = sample as i64;
                let skip = if free > sample { (free.saturating_sub(sample) as u64).min(run.rows) } else { 0 };
                layout.overlapping += skip;
                if skip < run.rows {
                    placed.push((run.first_row + skip, run.rows - skip, sample.saturating_add(skip as i64)));
                    free = sample.saturating_add(run.rows as i64);
                }
            }
            layout.pieces.push(placed);
        }
        layout
    }

    fn bounds(&self) -> Option<(i64, i64)> {
        let mut runs = self.pieces.iter().flatten();
        let first = runs.next()?;
        let last = runs.next_back().unwrap_or(first);
        Some((first.2, last.2.saturating_add(last.1 as i64)))
    }

    fn warnings(&self, track: &TrackTimes, rate: f64) -> Vec<String> {
        let (name, mut warnings) = (&track.name, Vec::new());
        if self.repeated > 0 {
            warnings.push(format!("{name}: {} rows that repeat an earlier time were left out", self.repeated));
        }
        if self.overlapping > 0 {
            warnings.push(format!("{name}: {} rows overlap earlier ones and were left out", self.overlapping));
        }
        if self.rest > REST_TOLERANCE {
            let percent = 100.0 * self.rest;
            warnings.push(format!(
                "{name}: lies {percent:.0} % of a sample beside the record's axis; whole samples are shifted only"
            ));
        }
        // Rounded stamps alone may differ by up to a sample over a run.
        if self.slip > 1.0 {
            let (own, slip) = (track.rate_hz().unwrap_or(rate), self.slip);
            warnings.push(format!(
                "{name}: sampled at {own:.6} Hz, the record has {rate:.6} Hz: up to {slip:.1} samples of slip"
            ));
        }
        warnings
    }

    fn cut(self, first: i64, end: i64) -> Vec<Vec<Placed>> {
        let cut = |&(row, rows, sample): &(u64, u64, i64)| {
            let (from, to) = (sample.max(first), sample.saturating_add(rows as i64).min(end));
            (from < to).then(|| Placed {
                first_row: row + from.abs_diff(sample),
                rows: to.abs_diff(from),
                sample: from.abs_diff(first),
            })
        };
        self.pieces.iter().map(|piece| piece.iter().filter_map(cut).collect()).collect()
    }
}
