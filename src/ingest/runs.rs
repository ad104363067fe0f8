//! Time stamps of one file → runs of consecutive rows.
//!
//! Rows of a run are one sampling interval apart, to half an interval or the step of the stamps' own rounding; between
//! runs rows are missing. Stamps may be rounded: the interval is found from many of them, and each row is compared
//! with the time that is due, not with the row before it. A row that does not fit waits for the next one: a single
//! stamp astray between two rows that count on is replaced by the count, a row that repeats an earlier time or lies
//! out of order is left out, and only what goes on from its new place is a gap.

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
    /// Rows `interval` ns apart.
    pub(crate) fn uniform(first_row: u64, first: Nanos, rows: u64, interval: f64) -> Run {
        let (n, last) = (rows as f64, (rows - 1) as f64);
        Run {
            first_row,
            rows,
            first,
            last: first.saturating_add((interval * last).round() as Nanos),
            sum: (interval * last * n / 2.0) as i128,
            weighted: (interval * last * n * (2.0 * n - 1.0) / 6.0) as i128,
        }
    }

    /// By how much its stamps lie behind its first one's place on average, ns. Stamps that are rounded in one way have
    /// it in common, so it is compared and not taken off.
    pub(crate) fn phase(&self, interval: f64) -> f64 {
        self.sum as f64 / self.rows as f64 - interval * (self.rows - 1) as f64 / 2.0
    }

    /// Adds the next row, `time` ns after the first one.
    fn extend(&mut self, time: i128) {
        self.sum += time;
        self.weighted += i128::from(self.rows) * time;
        self.rows += 1;
        self.last = self.first.saturating_add(i64::try_from(time).unwrap_or(i64::MAX));
    }
}

/// What the stamps of one file say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PieceTimes {
    /// Ascending.
    pub(crate) runs: Vec<Run>,
    /// Rows of the file.
    pub(crate) rows: u64,
    /// Rows left out because their time repeats an earlier one or lies out of order.
    pub(crate) repeated: u64,
    /// Rows whose stamps are astray and that took their place by count.
    pub(crate) astray: u64,
    /// Root mean square distance of the stamps from even times, in sampling intervals.
    pub(crate) jitter: f64,
}

/// Rows whose stamps settle the interval before any run is begun.
pub(super) const HEAD: usize = 4096;

/// Share of each deviation that the expected time follows: it averages about this many rounded stamps and still
/// follows a rate that the head told 1e-3 wrong within 0.03 samples.
const FOLLOW: f64 = 1.0 / 32.0;

/// Over a gap of up to so many rows the expected times go on, since the interval is known to 1e-3 or better; after a
/// longer one the first stamp alone says where the run begins, with all its rounding.
const KEEP_PHASE: f64 = 100.0;

/// More runs than this are no record with gaps but a file whose rows are not evenly spaced; it also bounds memory.
pub(super) const MAX_RUNS: usize = 100_000;

/// Share of the rows that may repeat a time, or stand alone between two gaps, before the file counts as one
/// without a constant rate. Random loss of every third row leaves a ninth of the rows alone.
pub(super) const UNEVEN: f64 = 0.1;

/// Rows in a row that may lie before the time that is due: a packet sent twice is shorter, a clock that was set back
/// is longer.
pub(super) const MAX_BACKWARDS: u64 = 100;

/// Why stamps cannot be followed; the caller adds the file and the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampFault {
    /// From this row of the file on the stamps lie before those above.
    Backwards(u64),
    /// No constant rate.
    Uneven,
}

/// A row that does not follow the last one.
#[derive(Debug, Clone, Copy)]
struct Pending {
    row: u64,
    stamp: Nanos,
    /// Its stamp minus the time that was due, ns.
    deviation: f64,
}

/// Collects the stamps of one file into runs.
pub(crate) struct Tracker {
    /// Sampling interval, ns.
    interval: f64,
    /// Deviation up to which a row is the one that is due, ns.
    tolerance: f64,
    follow: f64,
    phase: f64,
    /// Expected time of the last row, ns after `origin`.
    expected: f64,
    origin: Nanos,
    /// Whether the next row may continue the last run.
    open: bool,
    pending: Option<Pending>,
    /// The first row of those in a row that were left out, and how many.
    backwards: Option<(u64, u64)>,
    /// Squares of the deviations, and how many.
    squares: (f64, u64),
    times: PieceTimes,
}

impl Tracker {
    /// `interval`: between two rows, ns, to 1e-3; `quantum`: step of the stamps' rounding, ns; `phase`: by how much the
    /// stamps lie behind the first one's time on average, ns.
    pub(crate) fn new(interval: f64, quantum: f64, phase: f64) -> Tracker {
        // Where several rows share one rounded stamp, the stamp says no more than its own step: the first one may stand
        // for the first or the last of its rows, and the mean of the sawtooth takes a packet or two to be found.
        let coarse = quantum > 1.01 * interval;
        Tracker {
            interval,
            tolerance: 0.5 * interval + if coarse { 1.25 * quantum } else { 0.0 },
            follow: if coarse { FOLLOW * interval / quantum } else { FOLLOW },
            phase: phase.clamp(-quantum, quantum),
            expected: 0.0,
            origin: 0,
            open: false,
            pending: None,
            backwards: None,
            squares: (0.0, 0),
            times: PieceTimes::default(),
        }
    }

    /// The runs.
    pub(crate) fn finish(mut self) -> Result<PieceTimes, StampFault> {
        if let Some(pending) = self.pending.take() {
            if pending.deviation > 0.0 { self.jump(pending)? } else { self.leave_out(pending)? }
        }
        let alone = self.times.runs.iter().filter(|run| run.rows == 1).count() as f64;
        let allowed = UNEVEN * self.times.rows as f64 + 1.0;
        if alone > allowed || (self.times.repeated + self.times.astray) as f64 > allowed {
            return Err(StampFault::Uneven);
        }
        self.times.jitter = (self.squares.0 / self.squares.1.max(1) as f64).sqrt() / self.interval;
        Ok(self.times)
    }

    /// Takes the stamp of the next row.
    pub(crate) fn push(&mut self, stamp: Nanos) -> Result<(), StampFault> {
        let row = self.times.rows;
        self.times.rows += 1;
        if row == 0 {
            self.origin = stamp;
            self.begin(row, stamp);
            self.expected = self.phase;
            return Ok(());
        }
        let Some(pending) = self.pending.take() else { return self.place(row, stamp) };
        let beyond_pending = stamp.saturating_sub(pending.stamp);
        if self.deviation(stamp, 1.0).abs() <= self.tolerance {
            self.leave_out(pending)?;
        } else if self.deviation(stamp, 2.0).abs() <= self.tolerance && beyond_pending.abs() as f64 > self.tolerance {
            self.count_in(pending);
        } else if pending.deviation > 0.0 && beyond_pending >= 0 {
            self.jump(pending)?;
        } else {
            self.leave_out(pending)?;
        }
        self.place(row, stamp)
    }

    /// By how much a stamp lies behind the time that is due for the row `rows` after the last one.
    fn deviation(&self, stamp: Nanos, rows: f64) -> f64 {
        stamp.saturating_sub(self.origin) as f64 - (self.expected + rows * self.interval)
    }

    /// Continues the last run, or leaves the row for the next one to judge.
    fn place(&mut self, row: u64, stamp: Nanos) -> Result<(), StampFault> {
        let deviation = self.deviation(stamp, 1.0);
        if deviation.abs() > self.tolerance {
            self.pending = Some(Pending { row, stamp, deviation });
            return Ok(());
        }
        self.backwards = None;
        self.squares.0 += deviation * deviation;
        self.squares.1 += 1;
        self.expected += self.interval + self.follow * deviation;
        if !self.open {
            let expected = self.expected;
            self.begin(row, stamp);
            self.expected = expected;
        } else if let Some(run) = self.times.runs.last_mut() {
            run.extend(i128::from(stamp) - i128::from(run.first));
        }
        if self.times.runs.len() > MAX_RUNS { Err(StampFault::Uneven) } else { Ok(()) }
    }

    /// A stamp astray between two rows that count on: the row takes the time that is due.
    fn count_in(&mut self, pending: Pending) {
        self.times.astray += 1;
        self.expected += self.interval;
        let due = self.origin.saturating_add(self.expected.round() as Nanos);
        match self.times.runs.last_mut().filter(|_| self.open) {
            Some(run) => run.extend(i128::from(due) - i128::from(run.first)),
            None => {
                let expected = self.expected;
                self.begin(pending.row, due);
                self.expected = expected;
            }
        }
    }

    /// A row that repeats a time or lies out of order.
    fn leave_out(&mut self, pending: Pending) -> Result<(), StampFault> {
        self.times.repeated += 1;
        self.open = false;
        let (first, count) = self.backwards.map_or((pending.row, 1), |(first, count)| (first, count + 1));
        self.backwards = Some((first, count));
        if count > MAX_BACKWARDS { Err(StampFault::Backwards(first)) } else { Ok(()) }
    }

    /// Rows are missing before this one.
    fn jump(&mut self, pending: Pending) -> Result<(), StampFault> {
        let (expected, deviation) = (self.expected, pending.deviation);
        self.backwards = None;
        self.begin(pending.row, pending.stamp);
        let missing = (deviation / self.interval).round();
        if missing <= KEEP_PHASE {
            let rest = deviation - missing * self.interval;
            self.expected = expected + (missing + 1.0) * self.interval + self.follow * rest;
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
/// nothing is near the median; then the median of long spans is taken. Where most rows share a stamp with the one
/// before, it is the median step between different stamps, shared by the rows from one to the other.
pub(super) fn interval(stamps: &[Nanos]) -> Option<f64> {
    let mut steps: Vec<f64> = stamps.windows(2).map(|w| w[1].saturating_sub(w[0]) as f64).collect();
    let typical = median(&mut steps)?;
    if typical <= 0.0 {
        return shared_interval(stamps);
    }
    let near = || steps.iter().filter(|s| (*s - typical).abs() <= 0.25 * typical);
    let count = near().count();
    let found = if 5 * count >= 4 * steps.len() {
        near().sum::<f64>() / count as f64
    } else {
        let lag = (stamps.len() / 4).clamp(1, 256);
        let mut spans: Vec<f64> =
            stamps.windows(lag + 1).map(|w| w[lag].saturating_sub(w[0]) as f64 / lag as f64).collect();
        median(&mut spans)?
    };
    (found > 0.0).then_some(found)
}

/// Interval of rows of which several share one stamp.
fn shared_interval(stamps: &[Nanos]) -> Option<f64> {
    let changes: Vec<usize> = (1..stamps.len()).filter(|&k| stamps[k] > stamps[k - 1]).collect();
    let step = |k: &usize| stamps[*k].saturating_sub(stamps[*k - 1]) as f64;
    let typical = median(&mut changes.iter().map(step).collect::<Vec<f64>>())?;
    // Whole groups only, and no gap behind them.
    let groups = changes.windows(2).filter(|w| step(&w[1]) <= 1.5 * typical);
    let (rows, time) = groups.fold((0, 0.0), |(rows, time), w| (rows + w[1] - w[0], time + step(&w[1])));
    (rows > 0).then(|| time / rows as f64)
}

/// The step of the stamps' rounding, ns: what all their distances are multiples of.
pub(super) fn quantum(stamps: &[Nanos]) -> f64 {
    let divisor = |a: u64, b: u64| {
        let (mut a, mut b) = (a, b);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    stamps.windows(2).map(|w| w[1].abs_diff(w[0])).fold(0, divisor) as f64
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn followed(interval: f64, stamps: &[Nanos]) -> Result<PieceTimes, StampFault> {
        let mut tracker = Tracker::new(interval, quantum(stamps), 0.0);
        stamps.iter().try_for_each(|stamp| tracker.push(*stamp))?;
        tracker.finish()
    }

    fn places(times: &PieceTimes) -> Vec<(u64, u64, Nanos)> {
        times.runs.iter().map(|run| (run.first_row, run.rows, run.first)).collect()
    }

    /// 100 Hz.
    fn even(rows: i64) -> Vec<Nanos> {
        (0..rows).map(|k| 10 * MS * k).collect()
    }

    #[test]
    fn a_stamp_astray_is_replaced_by_the_count_forwards_and_backwards() {
        for astray in [-5_000 * MS, 0, 13 * MS, 86_400_000 * MS] {
            let mut stamps = even(100);
            stamps[50] = astray;
            let times = followed(1e7, &stamps).unwrap();
            assert_eq!((places(&times), times.astray, times.repeated), (vec![(0, 100, 0)], 1, 0), "{astray}");
        }
    }

    #[test]
    fn a_repeated_row_and_one_out_of_order_are_left_out() {
        let mut stamps = even(100);
        stamps.insert(50, stamps[49]);
        let times = followed(1e7, &stamps).unwrap();
        assert_eq!((places(&times), times.repeated), (vec![(0, 50, 0), (51, 50, 500 * MS)], 1));
        let mut stamps = even(100);
        stamps.insert(50, stamps[20]);
        assert_eq!(places(&followed(1e7, &stamps).unwrap()), [(0, 50, 0), (51, 50, 500 * MS)]);
        let mut swapped = even(100);
        swapped.swap(50, 51);
        // The row of 510 ms waits, that of 500 ms comes; what is due then is the row that was left out.
        let times = followed(1e7, &swapped).unwrap();
        assert_eq!(places(&times), [(0, 50, 0), (51, 1, 500 * MS), (52, 48, 520 * MS)]);
        assert_eq!(times.repeated, 1);
    }

    #[test]
    fn a_gap_stays_a_gap() {
        let stamps: Vec<Nanos> = even(100).into_iter().filter(|t| !(300 * MS..350 * MS).contains(t)).collect();
        let times = followed(1e7, &stamps).unwrap();
        assert_eq!((places(&times), times.repeated, times.astray), (vec![(0, 30, 0), (30, 65, 350 * MS)], 0, 0));
    }

    #[test]
    fn a_clock_that_was_set_back_is_a_fault_with_its_first_row() {
        let mut stamps = even(500);
        stamps[300..].iter_mut().for_each(|stamp| *stamp -= 2500 * MS);
        assert_eq!(followed(1e7, &stamps), Err(StampFault::Backwards(300)));
    }

    #[test]
    fn rows_that_share_a_stamp_are_told_apart_by_their_number() {
        // 2000 Hz with stamps of whole milliseconds, 12800 Hz in packets of 10 ms.
        for (rate, step) in [(2000, MS), (12_800, 10 * MS), (3000, MS)] {
            let stamps: Vec<Nanos> = (0..4096).map(|k| 1_000_000_000 * k / rate / step * step).collect();
            let interval = interval(&stamps).unwrap();
            assert!((interval * rate as f64 / 1e9 - 1.0).abs() <= 0.01, "{rate}: {interval}");
            let times = followed(1e9 / rate as f64, &stamps).unwrap();
            assert_eq!((times.runs.len(), times.runs[0].rows, times.repeated), (1, 4096, 0), "{rate}");
        }
    }
}
