//! Rows that are not evenly spaced, as their stamps say → rows on an even grid.
//!
//! The stamps of such a file are believed: each grid point takes the cubic through the two rows before and the two
//! behind it (Lagrange, on the stamps as they are), or the line between its two neighbours where those four are not
//! all there or lie too close together. A point between two rows that are more than [`HOLE`] intervals apart is
//! missing.

use super::IngestError;
use super::rows::{RowBlock, Rows};
use super::runs::{MAX_BACKWARDS, MAX_RUNS, Run, StampFault, UNEVEN};
use super::stamps::Nanos;
use std::collections::VecDeque;
use std::sync::Arc;

/// Two rows further apart have a missing one between them, whatever the jitter: 2.5 intervals.
const HOLE: f64 = 2.5;

/// Rows closer than this part of an interval repeat each other: the later one is left out.
const LEAST_STEP: f64 = 0.1;

/// Below this part of an interval between two of its rows a cubic makes more of the noise than of the signal.
const CUBIC_STEP: f64 = 0.4;

/// After a pause of so many intervals a new run begins, so that a year without rows takes no room.
const PAUSE: f64 = 100.0;

/// Rows over which the mean interval is compared with that of others.
const STRETCH: u64 = 1024;

/// Mean intervals of two stretches that differ by more come from two sampling rates.
const CHANGE: f64 = 0.1;

/// Rows of a block that is handed out.
const BLOCK_ROWS: usize = 4096;

/// Lets through the rows whose stamps rise: one that repeats the one before is held back, and so is one far ahead
/// of the next.
#[derive(Debug, Clone)]
struct Sieve<T> {
    interval: f64,
    last: Option<Nanos>,
    /// Waits whether the next row lies behind it.
    pending: Option<(Nanos, T)>,
    held_back: u64,
    /// Rows in a row that were held back, and the place of the first.
    in_a_row: (u64, u64),
    row: u64,
}

impl<T> Sieve<T> {
    fn new(interval: f64) -> Sieve<T> {
        Sieve { interval, last: None, pending: None, held_back: 0, in_a_row: (0, 0), row: 0 }
    }

    /// Takes the next row and returns the one that waited, if it passes.
    fn push(&mut self, stamp: Nanos, row: T) -> Option<(Nanos, T)> {
        let rises = |last: Nanos| stamp.saturating_sub(last) as f64 >= LEAST_STEP * self.interval;
        let place = self.row;
        self.row += 1;
        let waiting = self.pending.as_ref().map(|(stamp, _)| *stamp);
        match (waiting, self.last) {
            (Some(waiting), _) if rises(waiting) => {
                self.in_a_row = (0, 0);
                self.last = Some(waiting);
                return self.pending.replace((stamp, row));
            }
            // The row that waits was far ahead of its time, or else this one is behind its own.
            (Some(waiting), Some(last)) if rises(last) && (waiting - last) as f64 > PAUSE * self.interval => {
                self.pending = Some((stamp, row));
            }
            (None, None) => {
                self.pending = Some((stamp, row));
                return None;
            }
            _ => {}
        }
        self.held_back += 1;
        let (first, count) = self.in_a_row;
        self.in_a_row = (if count == 0 { place } else { first }, count + 1);
        None
    }

    fn finish(&mut self) -> Option<(Nanos, T)> {
        self.pending.take()
    }
}

/// Consecutive rows without a long pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    first: Nanos,
    last: Nanos,
}

/// Collects the stamps of one file whose rows may be unevenly spaced.
pub(crate) struct UnevenTracker {
    sieve: Sieve<()>,
    last: Option<Nanos>,
    stretches: Vec<Stretch>,
    /// Rows and time of the stretch that is measured, holes left out.
    measured: (u64, f64),
    /// Smallest and largest mean interval so far.
    range: (f64, f64),
    /// Rows and time of all steps without a hole.
    total: (u64, f64),
    holes: u64,
    rows: u64,
}

/// What the stamps of one uneven file say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnevenTimes {
    stretches: Vec<Stretch>,
    /// First guess of the interval, and its mean, ns.
    guess: f64,
    pub(crate) interval: f64,
    /// Rows that were held back.
    pub(crate) held_back: u64,
}

impl UnevenTracker {
    /// `interval`: a guess, ns.
    pub(crate) fn new(interval: f64) -> UnevenTracker {
        UnevenTracker {
            sieve: Sieve::new(interval),
            last: None,
            stretches: Vec::new(),
            measured: (0, 0.0),
            range: (f64::INFINITY, 0.0),
            total: (0, 0.0),
            holes: 0,
            rows: 0,
        }
    }

    /// Takes the stamp of the next row.
    pub(crate) fn push(&mut self, stamp: Nanos) -> Result<(), StampFault> {
        self.rows += 1;
        if let Some((stamp, ())) = self.sieve.push(stamp, ()) {
            self.keep(stamp)?;
        }
        match self.sieve.in_a_row {
            (first, count) if count > MAX_BACKWARDS => Err(StampFault::Backwards(first)),
            _ => Ok(()),
        }
    }

    fn keep(&mut self, stamp: Nanos) -> Result<(), StampFault> {
        let interval = self.sieve.interval;
        let step = self.last.map_or(f64::INFINITY, |last| stamp.saturating_sub(last) as f64);
        self.last = Some(stamp);
        if step > PAUSE * interval {
            self.stretches.push(Stretch { first: stamp, last: stamp });
            return if self.stretches.len() > MAX_RUNS { Err(StampFault::Uneven) } else { Ok(()) };
        }
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.last = stamp;
        }
        if step > HOLE * interval {
            self.holes += 1;
            return Ok(());
        }
        self.total = (self.total.0 + 1, self.total.1 + step);
        self.measured = (self.measured.0 + 1, self.measured.1 + step);
        if self.measured.0 == STRETCH {
            let mean = self.measured.1 / STRETCH as f64;
            self.range = (self.range.0.min(mean), self.range.1.max(mean));
            self.measured = (0, 0.0);
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<UnevenTimes, StampFault> {
        if let Some((stamp, ())) = self.sieve.finish() {
            self.keep(stamp)?;
        }
        let allowed = (UNEVEN * self.rows as f64) as u64;
        let changes = self.range.1 > (1.0 + CHANGE) * self.range.0;
        if self.total.0 == 0 || self.holes > allowed || self.sieve.held_back > allowed || changes {
            return Err(StampFault::Uneven);
        }
        let interval = self.total.1 / self.total.0 as f64;
        let (guess, held_back) = (self.sieve.interval, self.sieve.held_back);
        Ok(UnevenTimes { stretches: self.stretches, guess, interval, held_back })
    }
}

/// An even grid under the rows of one uneven file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    /// Of the rows, for the sieve, and of the grid.
    interval: (f64, f64),
    /// Stamp of the file that is grid point 0.
    origin: Nanos,
    /// First and last grid point of each stretch.
    stretches: Vec<(i64, i64)>,
}

impl UnevenTimes {
    /// When the first row was.
    pub(crate) fn first(&self) -> Nanos {
        self.stretches.first().map_or(0, |stretch| stretch.first)
    }

    /// Lays the grid of `interval` ns that has a point at `origin` under the file; `shift` is what is added to the
    /// file's stamps. Returns it with the even rows that it gives.
    pub(crate) fn grid(&self, interval: f64, origin: Nanos, shift: Nanos) -> (Grid, Vec<Run>) {
        let origin_of_file = origin.saturating_sub(shift);
        let place = |stamp: Nanos| stamp.saturating_sub(origin_of_file) as f64 / interval;
        let (mut stretches, mut runs, mut rows) = (Vec::new(), Vec::new(), 0);
        for stretch in &self.stretches {
            // A millionth of an interval is rounding.
            let (first, last) =
                ((place(stretch.first) - 1e-6).ceil() as i64, (place(stretch.last) + 1e-6).floor() as i64);
            if first <= last {
                let count = first.abs_diff(last) + 1;
                let time = origin.saturating_add((first as f64 * interval).round() as Nanos);
                runs.push(Run::uniform(rows, time, count, interval));
                rows += count;
                stretches.push((first, last));
            }
        }
        (Grid { interval: (self.guess, interval), origin: origin_of_file, stretches }, runs)
    }
}

/// Rows of an uneven file on an even grid.
pub(crate) struct Regridded {
    rows: Box<dyn Rows>,
    block: RowBlock,
    grid: Arc<Grid>,
    columns: usize,
    sieve: Sieve<Vec<f64>>,
    /// The place in `block` of the next row to be sieved.
    next: usize,
    ended: bool,
    /// The last rows that passed: place on the grid and values. The next point lies between the middle two.
    near: VecDeque<(f64, Vec<f64>)>,
    /// The next grid point: its stretch and its place in it, and its row.
    stretch: usize,
    point: u64,
    row: u64,
}

impl Regridded {
    pub(crate) fn new(rows: Box<dyn Rows>, grid: &Arc<Grid>, columns: usize) -> Regridded {
        let sieve = Sieve::new(grid.interval.0);
        let (block, near, grid) = (RowBlock::default(), VecDeque::new(), Arc::clone(grid));
        Regridded { rows, block, grid, columns, sieve, next: 0, ended: false, near, stretch: 0, point: 0, row: 0 }
    }

    /// The next row that passes the sieve; `false` at the end.
    fn advance(&mut self) -> Result<bool, IngestError> {
        loop {
            let passed = if self.next < self.block.stamps.len() {
                let stamp = self.block.stamps[self.next];
                let values = (0..self.columns).flat_map(|c| self.block.column(c, self.next, self.next + 1)).collect();
                self.next += 1;
                self.sieve.push(stamp, values)
            } else if self.ended {
                match self.sieve.finish() {
                    None => return Ok(false),
                    last => last,
                }
            } else {
                self.ended = !self.rows.next_rows(&mut self.block)?;
                self.next = 0;
                if self.ended {
                    self.block.stamps.clear();
                }
                None
            };
            if let Some((stamp, values)) = passed {
                if self.near.len() == 4 {
                    self.near.pop_front();
                }
                let place = stamp.saturating_sub(self.grid.origin) as f64 / self.grid.interval.1;
                self.near.push_back((place, values));
                return Ok(true);
            }
        }
    }

    /// Reads on until `at` lies before the last row but one, or the rows end.
    fn reach(&mut self, at: f64) -> Result<(), IngestError> {
        while self.near.len() < 2 || self.near[self.near.len() - 2].0 <= at {
            if !self.advance()? {
                break;
            }
        }
        Ok(())
    }

    /// Adds the values at grid point `at` to `out`.
    fn interpolate(&self, at: f64, out: &mut RowBlock) {
        const ROUNDING: f64 = 1e-6;
        let near = &self.near;
        // The last row at or before the point.
        let Some(left) = near.iter().rposition(|(place, _)| *place <= at + ROUNDING) else {
            return (0..self.columns).for_each(|_| out.push(f64::NAN));
        };
        let (from, values) = &near[left];
        if (at - from).abs() <= ROUNDING {
            return values.iter().for_each(|value| out.push(*value));
        }
        let Some((to, ahead)) = near.get(left + 1).filter(|(to, _)| to - from <= HOLE) else {
            return (0..self.columns).for_each(|_| out.push(f64::NAN));
        };
        let four = (left > 0 && left + 2 < near.len()).then(|| [left - 1, left, left + 1, left + 2]);
        let sound = |k: &[usize; 4]| k.windows(2).all(|w| (CUBIC_STEP..=HOLE).contains(&(near[w[1]].0 - near[w[0]].0)));
        let four = four.filter(sound);
        let weights = four.map(|k| lagrange(k.map(|k| near[k].0), at));
        let part = (at - from) / (to - from);
        for column in 0..self.columns {
            let line = values[column] + part * (ahead[column] - values[column]);
            let cubic = four.zip(weights).map(|(k, w)| (0..4).map(|i| w[i] * near[k[i]].1[column]).sum::<f64>());
            out.push(cubic.filter(|value| value.is_finite()).unwrap_or(line));
        }
    }
}

/// Weights of the cubic through four places at `at`.
fn lagrange(places: [f64; 4], at: f64) -> [f64; 4] {
    std::array::from_fn(|i| {
        let others = (0..4).filter(|j| *j != i);
        others.map(|j| (at - places[j]) / (places[i] - places[j])).product()
    })
}

impl Rows for Regridded {
    fn next_rows(&mut self, rows: &mut RowBlock) -> Result<bool, IngestError> {
        rows.begin(self.row, self.columns);
        for _ in 0..BLOCK_ROWS {
            let Some(&(first, last)) = self.grid.stretches.get(self.stretch) else { break };
            let at = first.saturating_add_unsigned(self.point);
            self.reach(at as f64)?;
            self.interpolate(at as f64, rows);
            (self.row, self.point) = (self.row + 1, self.point + 1);
            if at == last {
                (self.stretch, self.point) = (self.stretch + 1, 0);
            }
        }
        Ok(rows.rows() > 0)
    }

    fn skip_to(&mut self, row: u64) {
        let mut left = row;
        for (stretch, (first, last)) in self.grid.stretches.iter().enumerate() {
            let count = first.abs_diff(*last) + 1;
            if left < count {
                (self.stretch, self.point, self.row) = (stretch, left, row);
                return;
            }
            left -= count;
        }
        (self.stretch, self.point, self.row) = (self.grid.stretches.len(), 0, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lagrange_weights_are_exact_for_a_cubic() {
        let places = [-1.3, 0.2, 0.9, 2.1];
        let cubic = |x: f64| 1.0 - 2.0 * x + 0.5 * x * x - 0.25 * x * x * x;
        for at in [0.2, 0.5, 0.9] {
            let value: f64 = lagrange(places, at).iter().zip(places).map(|(w, p)| w * cubic(p)).sum();
            assert!((value - cubic(at)).abs() <= 1e-14);
        }
    }

    #[test]
    fn two_sampling_rates_are_no_jitter() {
        let mut tracker = UnevenTracker::new(1e7);
        let mut time = 0;
        for k in 0..20_000i64 {
            tracker.push(time).unwrap();
            time += if k < 10_000 { 10_000_000 } else { 15_000_000 };
        }
        assert_eq!(tracker.finish(), Err(StampFault::Uneven));
    }
}
