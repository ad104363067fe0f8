//! Runs of all tracks → one uniform axis that they share.
//!
//! A track is what one clock stamped: the files of one sensor, or the files that hold all channels. The axis takes the
//! rate and the phase of the longest of the slowest tracks, or the rate that was asked for. The runs of a track that
//! keeps its samples lie on it at the sample nearest to their times, the clock offset taken off (true time = stamp −
//! offset). A track of another rate, one whose clock drifts by more than a sample, and one that lies more than 5 % of
//! a sample beside the axis is laid on an axis of its own and resampled (`resample`).

use super::IngestError;
use super::resample::{ATTENUATION_DB, PASS};
use super::runs::{PieceTimes, Run, common_interval};
use super::stamps::Nanos;
use crate::model::result::Resampled;

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

    fn rows(&self) -> u64 {
        self.runs().map(|run| run.rows).sum()
    }

    /// Its own rate, which must agree with what was declared.
    fn rate_hz(&self) -> Result<f64, IngestError> {
        let found = common_interval(self.runs()).map(|interval| 1e9 / interval).or(self.declared_hz);
        let found_hz = found.ok_or_else(|| IngestError::NoRate(self.name.clone()))?;
        match self.declared_hz.filter(|declared| differ(found_hz, *declared)) {
            Some(declared_hz) => Err(IngestError::DeclaredRate { name: self.name.clone(), declared_hz, found_hz }),
            None => Ok(found_hz),
        }
    }

    /// Whether its rows are `rate` apart: within half a sample over all of them.
    fn keeps_to(&self, rate: f64, own: f64) -> bool {
        (rate - own).abs() * self.rows() as f64 <= 0.5 * own
    }

    /// Its rate as it was meant: rounded stamps leave the mean a little beside the rate that was set, so that which
    /// was declared, or the mean rounded to four digits, is taken where the rows keep to it.
    fn set_rate_hz(&self, own: f64) -> f64 {
        self.declared_hz.into_iter().chain([rounded_rate(own)]).find(|rate| self.keeps_to(*rate, own)).unwrap_or(own)
    }

    /// Time of the first row, its clock offset taken off, and its phase at an interval.
    fn begin(&self, interval: f64) -> (Nanos, f64) {
        let first = self.runs().next();
        first.map_or((0, 0.0), |run| (run.first.saturating_sub(self.offset), run.phase(interval)))
    }
}

/// A rate rounded to four digits.
pub(crate) fn rounded_rate(rate_hz: f64) -> f64 {
    let digits = 10f64.powi(3 - rate_hz.log10().floor() as i32);
    (rate_hz * digits).round() / digits
}

fn differ(rate: f64, other: f64) -> bool {
    !((rate - other).abs() <= RATE_TOLERANCE * other)
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

/// Where the samples of the axis lie among a track's own ones: sample n at `origin` + n · `step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Resampling {
    pub(crate) origin: f64,
    pub(crate) step: f64,
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
    /// Per track, per piece; on the track's own axis where it is resampled.
    pub(crate) placed: Vec<Vec<Vec<Placed>>>,
    /// Per track how it is brought to the axis, where its rows are no samples of it.
    pub(crate) resampling: Vec<Option<Resampling>>,
    /// Per track its own rate, Hz.
    pub(crate) rates_hz: Vec<f64>,
    /// What was odd.
    pub(crate) warnings: Vec<String>,
}

/// Two rates that differ by more are an error, by less the clocks' own inaccuracy.
pub(crate) const RATE_TOLERANCE: f64 = 0.01;

/// A track that lies further beside the axis than this share of a sample is resampled: at a tenth of the sampling
/// rate it would turn the phase between channels by 1.8°.
const REST_TOLERANCE: f64 = 0.05;

/// Own samples beyond both ends of the period that are read for the kernel and for gaps across the ends: the longest
/// gap that may be closed, and the kernel at each ratio of rates.
const MARGIN: f64 = 32_768.0;
const KERNEL_MARGIN: f64 = 64.0;

impl Timeline {
    /// Lays the tracks on one axis and cuts it to what all of them and `period` (ns since 1970, both ends included)
    /// share. `wanted_hz`: the axis' rate; by rule that of the slowest track.
    pub(crate) fn lay(
        tracks: &[TrackTimes],
        period: (Option<Nanos>, Option<Nanos>),
        wanted_hz: Option<f64>,
    ) -> Result<Timeline, IngestError> {
        let absolute = check_clocks(tracks, period)?;
        let rates_hz = tracks.iter().map(TrackTimes::rate_hz).collect::<Result<Vec<f64>, _>>()?;
        let lowest = rates_hz.iter().copied().fold(f64::INFINITY, f64::min);
        let slow = |track: &usize| !differ(rates_hz[*track], lowest);
        // Of equally long ones the first.
        let Some(guide) = (0..tracks.len()).rev().filter(slow).max_by_key(|&t| tracks[t].rows()) else {
            return Err(IngestError::NoFiles);
        };
        if let Some(wanted_hz) = wanted_hz.filter(|wanted| *wanted > (1.0 + RATE_TOLERANCE) * lowest) {
            let (name, lowest_hz) = (tracks[guide].name.clone(), lowest);
            return Err(IngestError::WantedRate { wanted_hz, name, lowest_hz });
        }
        let own = tracks[guide].set_rate_hz(rates_hz[guide]);
        let (anchor, phase) = tracks[guide].begin(1e9 / own);
        let rate = wanted_hz.unwrap_or(own);
        let interval = 1e9 / rate;
        let axis = Axis { anchor, phase, interval };
        let mut warnings = Vec::new();
        let mut ways = Vec::new();
        let (mut first, mut end) = (i64::MIN, i64::MAX);
        for (index, track) in tracks.iter().enumerate() {
            let way = Way::of(track, rates_hz[index], &axis, index == guide);
            warnings.extend(way.warnings(track, rates_hz[index], rate));
            let (from, to) = way.bounds().ok_or_else(|| IngestError::NoRows(track.name.clone()))?;
            first = first.max(from);
            end = end.min(to);
            ways.push(way);
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
        let (placed, resampling) = ways.into_iter().map(|way| way.cut(first, end)).unzip();
        Ok(Timeline {
            sampling_rate_hz: rate,
            start: absolute.then(|| anchor.saturating_add((first as f64 * interval).round() as Nanos)),
            samples: end.abs_diff(first),
            placed,
            resampling,
            rates_hz,
            warnings,
        })
    }

    /// How a track was brought to the axis, for the result.
    pub(crate) fn resampled(&self, track: usize) -> Option<Resampled> {
        self.resampling[track].map(|_| {
            let stop_hz = self.sampling_rate_hz.min(self.rates_hz[track]) / 2.0;
            Resampled { pass_hz: PASS * stop_hz, stop_hz, attenuation_db: ATTENUATION_DB }
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

/// A uniform axis: sample n at `anchor` + `phase` + n · `interval`, ns.
struct Axis {
    anchor: Nanos,
    phase: f64,
    interval: f64,
}

/// How a track comes to the record's axis.
enum Way {
    /// Its rows are samples of it.
    Whole(Layout),
    /// Its rows lie on an axis of their own.
    Own(Layout, Resampling),
}

impl Way {
    /// `is_guide`: whether the axis was taken from this track.
    fn of(track: &TrackTimes, own_hz: f64, axis: &Axis, is_guide: bool) -> Way {
        let rate = 1e9 / axis.interval;
        let layout = Layout::of(track, axis);
        let keeps = match is_guide {
            true => !differ(own_hz, rate) && track.keeps_to(rate, track.set_rate_hz(own_hz)),
            false => !differ(own_hz, rate) && layout.slip <= 1.0 && layout.rest <= REST_TOLERANCE,
        };
        if keeps {
            return Way::Whole(layout);
        }
        let interval = 1e9 / own_hz;
        let (anchor, phase) = track.begin(interval);
        let rough = Axis { anchor, phase, interval };
        let own = Layout::of(track, &rough).fit(track, &rough);
        let layout = Layout::of(track, &own);
        let own = layout.fit(track, &own);
        let distance = axis.anchor.saturating_sub(own.anchor) as f64;
        let origin = (distance + axis.phase - own.phase) / own.interval;
        Way::Own(layout, Resampling { origin, step: axis.interval / own.interval })
    }

    /// First sample of the axis and the one behind the last.
    fn bounds(&self) -> Option<(i64, i64)> {
        match self {
            Way::Whole(layout) => layout.bounds(),
            Way::Own(layout, Resampling { origin, step }) => {
                let (first, end) = layout.bounds()?;
                let last = end.saturating_sub(1);
                let first = ((first as f64 - origin) / step).ceil() as i64;
                Some((first, (((last as f64 - origin) / step).floor() as i64).saturating_add(1)))
            }
        }
    }

    fn warnings(&self, track: &TrackTimes, own_hz: f64, rate: f64) -> Vec<String> {
        let (name, mut warnings) = (&track.name, Vec::new());
        let (repeated, astray) =
            track.pieces.iter().fold((0, 0), |(r, a), piece| (r + piece.repeated, a + piece.astray));
        if repeated > 0 {
            warnings
                .push(format!("{name}: {repeated} rows that repeat an earlier time or lie out of order were left out"));
        }
        if astray > 0 {
            warnings.push(format!("{name}: {astray} rows with a time astray took their place by count"));
        }
        if track.offset != 0 {
            let offset = track.offset as f64 / 1e9;
            let side = if offset > 0.0 { "ahead" } else { "behind" };
            let offset = offset.abs();
            warnings.push(format!("{name}: clock is {offset} s {side} by clock_offset_s, its times were corrected"));
        }
        let layout = match self {
            Way::Whole(layout) | Way::Own(layout, _) => layout,
        };
        if layout.overlapping > 0 {
            warnings.push(format!("{name}: {} rows overlap earlier ones and were left out", layout.overlapping));
        }
        match self {
            Way::Whole(layout) if layout.rest > REST_TOLERANCE => {
                let percent = 100.0 * layout.rest;
                warnings
                    .push(format!("{name}: its pieces lie {percent:.0} % of a sample beside each other on average"));
            }
            Way::Whole(_) => {}
            Way::Own(..) => {
                let pass_hz = PASS * rate.min(own_hz) / 2.0;
                warnings.push(format!(
                    "{name}: sampled at {own_hz:.6} Hz, resampled to the record's axis of {rate:.6} Hz: flat up to \
                     {pass_hz:.4} Hz"
                ));
            }
        }
        warnings
    }

    /// Only samples `first..end` of the axis.
    fn cut(self, first: i64, end: i64) -> (Vec<Vec<Placed>>, Option<Resampling>) {
        match self {
            Way::Whole(layout) => (layout.cut(first, end), None),
            Way::Own(layout, Resampling { origin, step }) => {
                let position = |sample: i64| origin + sample as f64 * step;
                let margin = MARGIN + KERNEL_MARGIN * step;
                let from = (position(first) - margin).floor() as i64;
                let from = layout.bounds().map_or(from, |bounds| bounds.0.max(from));
                let to = (position(end) + margin).ceil() as i64;
                let origin = (position(first) - from as f64).max(0.0);
                (layout.cut(from, to), Some(Resampling { origin, step }))
            }
        }
    }
}

/// One track on an uncut axis.
struct Layout {
    /// Per piece: first row, rows, sample.
    pieces: Vec<Vec<(u64, u64, i64)>>,
    /// Rest of the rounding of the runs' places, samples: the mean over the rows.
    rest: f64,
    /// Samples by which the track's own rate leaves the axis within one run.
    slip: f64,
    /// Rows that fell on samples that earlier rows had filled.
    overlapping: u64,
}

impl Layout {
    fn of(track: &TrackTimes, axis: &Axis) -> Layout {
        let interval = axis.interval;
        let mut layout = Layout { pieces: Vec::new(), rest: 0.0, slip: 0.0, overlapping: 0 };
        let mut free = i64::MIN;
        for piece in &track.pieces {
            let mut placed = Vec::new();
            for run in &piece.runs {
                let place = axis.place(track, run);
                let sample = place.round();
                let rest = (place - sample).abs();
                layout.rest += rest * run.rows as f64;
                // By the run's own slope: rounded stamps alone shift its ends by up to a sample.
                if let Some(own) = common_interval([run]) {
                    layout.slip = layout.slip.max((own - interval).abs() / interval * (run.rows - 1) as f64);
                }
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
        layout.rest /= track.rows().max(1) as f64;
        layout
    }

    /// The least-squares axis through all rows as they were placed on `axis`.
    fn fit(&self, track: &TrackTimes, axis: &Axis) -> Axis {
        // Per run: rows, place of the first, its time after the anchor.
        let run = |run: &Run| {
            let time = run.first.saturating_sub(track.offset).saturating_sub(axis.anchor) as f64;
            (run.rows as f64, axis.place(track, run).round(), time)
        };
        let (mut rows, mut place, mut time) = (0.0, 0.0, 0.0);
        for r in track.runs() {
            let (n, k, t) = run(r);
            rows += n;
            place += n * k + n * (n - 1.0) / 2.0;
            time += n * t + r.sum as f64;
        }
        let (place, time) = (place / rows, time / rows);
        let (mut above, mut below) = (0.0, 0.0);
        for r in track.runs() {
            let (n, k, t) = run(r);
            let (k, t, ramp) = (k - place, t - time, n * (n - 1.0) / 2.0);
            above += n * k * t + k * r.sum as f64 + t * ramp + r.weighted as f64;
            below += n * k * k + 2.0 * k * ramp + ramp * (2.0 * n - 1.0) / 3.0;
        }
        let interval = if above > 0.0 && below > 0.0 { above / below } else { axis.interval };
        Axis { anchor: axis.anchor, phase: time - interval * place, interval }
    }

    fn bounds(&self) -> Option<(i64, i64)> {
        let mut runs = self.pieces.iter().flatten();
        let first = runs.next()?;
        let last = runs.next_back().unwrap_or(first);
        Some((first.2, last.2.saturating_add(last.1 as i64)))
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

impl Axis {
    /// Where a run's first row lies, in samples.
    fn place(&self, track: &TrackTimes, run: &Run) -> f64 {
        let distance = run.first.saturating_sub(track.offset).saturating_sub(self.anchor) as f64;
        (distance + run.phase(self.interval) - self.phase) / self.interval
    }
}
