//! Time stamps of one file → runs of consecutive rows.
//!
//! Rows of a run are one sampling interval apart, to half an interval; between runs rows are missing. Stamps may be
//! rounded: the interval is found from many of them, and each row is compared with the time that is due, not with
//! the row before it.

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
const MAX_RUNS: usize = 100_000;

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
pub(crate) fn common_interval<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Option<f64> {
    let (mut above, mut below) = (0.0, 0.0);
    for run in runs {
        let n = run.rows as f64;
        above += run.weighted as f64 - (n - 1.0) / 2.0 * run.sum as f64;
        below += n * (n * n - 1.0) / 12.0;
    }
    (above > 0.0).then(|| above / below)
}
