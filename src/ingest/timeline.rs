//! Runs of all tracks → one uniform axis that they share.
//!
//! A track is what one clock stamped: the files of one sensor, or the files that hold all channels. The axis takes the
//! least-squares rate of all runs and the phase of the first track; each run lies on it at the sample nearest to its
//! time, its clock offset taken off (true time = stamp − offset). The rest of the rounding, at most half a sample,
//! stays: a run is never resampled, and a rest above 5 % of a sample is warned of.

use super::IngestError;
use super::runs::{PieceTimes, Run, common_interval};
use super::stamps::Nanos;

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

        // The phase of the first run of the first track.
        let first_run = tracks.iter().flat_map(|t| t.runs().map(|run| (t.offset, run))).next();
        let anchor = first_run.map_or(0, |(offset, run)| run.first.saturating_sub(offset));
        let phase = first_run.map_or(0.0, |(_, run)| phase(run, interval));
        let mut layouts = Vec::new();
        let (mut first, mut end) = (i64::MIN, i64::MAX);
        for track in tracks {
            let layout = Layout::of(track, anchor, phase, interval);
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

/// By how much a run's stamps lie behind its first one's place on average, ns. Stamps that are rounded in one way
/// have it in common, so it is compared and not taken off.
fn phase(run: &Run, interval: f64) -> f64 {
    run.sum as f64 / run.rows as f64 - interval * (run.rows - 1) as f64 / 2.0
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
    fn of(track: &TrackTimes, anchor: Nanos, anchor_phase: f64, interval: f64) -> Layout {
        let repeated = track.pieces.iter().map(|piece| piece.repeated).sum();
        let mut layout = Layout { pieces: Vec::new(), rest: 0.0, slip: 0.0, overlapping: 0, repeated };
        let mut free = i64::MIN;
        for piece in &track.pieces {
            let mut placed = Vec::new();
            for run in &piece.runs {
                let span = interval * (run.rows - 1) as f64;
                let distance = run.first.saturating_sub(track.offset).saturating_sub(anchor) as f64;
                let place = (distance + phase(run, interval) - anchor_phase) / interval;
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
