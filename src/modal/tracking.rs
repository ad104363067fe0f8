//! Which mode of earlier results each mode of a result is, and how it moved.
//!
//! Results of one structure are gone through in the order of their records. What is known so far, and the modes of the next
//! result, are brought together one to one (see [`matching`]). A mode that nothing known is near enough to is a new one; what
//! is known and not met stays known, with the shape and the frequency of its latest appearance.

use super::matching::{self, Shown};
use crate::model::modes::Mode;
use crate::model::result::AnalysisResult;
use crate::model::tracking::{Missing, Sighting, Track, Tracking};

/// Earlier appearances from which on their own scatter is taken instead of the standard deviations.
const OWN_SCATTER: usize = 3;

/// Part of the earlier results in which a mode must stand to be missed.
const MISSED: f64 = 0.5;

/// A mode that was met.
struct Known<'a> {
    /// Result and mode of each appearance.
    met: Vec<(&'a AnalysisResult, usize)>,
}

impl<'a> Known<'a> {
    fn modes(&self) -> impl Iterator<Item = &'a Mode> {
        self.met.iter().map(|&(result, mode)| &result.modes[mode])
    }

    /// The latest appearance.
    fn latest(&self) -> Shown<'a> {
        let (result, mode) = self.met[self.met.len() - 1];
        (&result.modes[mode], &result.data.channels)
    }

    fn sighting(&self) -> Sighting {
        let (result, mode) = self.met[self.met.len() - 1];
        Sighting { analysis_id: result.analysis_id.clone(), created_at: result.created_at, mode }
    }
}

/// Writes into each mode of `result` which one of the `earlier` results it is, and into the result what is missing.
///
/// The earlier results may come in any order; those of later records than `result`'s count like the others.
pub fn track(result: &mut AnalysisResult, earlier: &[AnalysisResult]) {
    let mut earlier: Vec<&AnalysisResult> = earlier.iter().filter(|result| !result.modes.is_empty()).collect();
    earlier.sort_by_key(|result| (result.data.start, result.created_at));
    let mut known: Vec<Known<'_>> = Vec::new();
    for &next in &earlier {
        let found = assign(&known, next);
        for (mode, found) in found.into_iter().enumerate() {
            match found {
                Some((k, _)) => known[k].met.push((next, mode)),
                None => known.push(Known { met: vec![(next, mode)] }),
            }
        }
    }
    let found = assign(&known, result);
    let mut is_met = vec![false; known.len()];
    for (mode, found) in result.modes.iter_mut().zip(found) {
        mode.track = found.and_then(|(k, mac)| {
            is_met[k] = true;
            moved(mode, &known[k], mac)
        });
    }
    let is_missed =
        |(known, is_met): &(&Known<'_>, bool)| !is_met && known.met.len() as f64 >= MISSED * earlier.len() as f64;
    let mut missing: Vec<Missing> = known
        .iter()
        .zip(is_met)
        .filter(is_missed)
        .map(|(known, _)| Missing {
            seen: known.met.len(),
            frequency_hz: known.latest().0.frequency_hz,
            latest: known.sighting(),
        })
        .collect();
    missing.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
    result.tracking = Some(Tracking { earlier: earlier.len(), missing });
}

/// For each mode of a result which one of the known it is, and their MAC.
fn assign(known: &[Known<'_>], result: &AnalysisResult) -> Vec<Option<(usize, f64)>> {
    let modes: Vec<Shown<'_>> = result.modes.iter().map(|mode| (mode, result.data.channels.as_slice())).collect();
    let known: Vec<Shown<'_>> = known.iter().map(Known::latest).collect();
    matching::assign(&modes, &known)
}

fn moved(mode: &Mode, known: &Known<'_>, mac: f64) -> Option<Track> {
    let of = |value: fn(&Mode) -> Option<f64>, std: fn(&Mode) -> Option<f64>| {
        let earlier: Vec<(f64, Option<f64>)> = known.modes().filter_map(|m| Some((value(m)?, std(m)))).collect();
        Change::of((value(mode)?, std(mode)), &earlier)
    };
    let frequency = of(|m| Some(m.frequency_hz), |m| m.frequency_std_hz)?;
    let damping = of(|m| m.damping_ratio, |m| m.damping_ratio_std);
    Some(Track {
        latest: known.sighting(),
        mac,
        seen: known.met.len(),
        frequency_hz: frequency.mean,
        frequency_change_hz: frequency.change,
        frequency_change_sigmas: frequency.sigmas,
        damping_ratio: damping.map(|change| change.mean),
        damping_ratio_change: damping.map(|change| change.change),
        damping_ratio_change_sigmas: damping.and_then(|change| change.sigmas),
    })
}

/// A number against those before it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Change {
    mean: f64,
    change: f64,
    sigmas: Option<f64>,
}

impl Change {
    /// `now` and each of `earlier`: value and standard deviation; `None` without an earlier one.
    fn of(now: (f64, Option<f64>), earlier: &[(f64, Option<f64>)]) -> Option<Change> {
        let n = earlier.len() as f64;
        if earlier.is_empty() {
            return None;
        }
        let mean = earlier.iter().map(|(value, _)| value).sum::<f64>() / n;
        let change = now.0 - mean;
        let variance = if earlier.len() >= OWN_SCATTER {
            // The scatter from one result to the next holds that of the estimate too; the mean has its own.
            let squares: f64 = earlier.iter().map(|(value, _)| (value - mean).powi(2)).sum();
            Some(squares / (n - 1.0) * (1.0 + 1.0 / n))
        } else {
            let of_mean = earlier.iter().map(|(_, std)| std.map(|std| std * std)).sum::<Option<f64>>();
            now.1.zip(of_mean).map(|(std, of_mean)| std * std + of_mean / (n * n))
        };
        let sigmas = variance.filter(|&variance| variance > 0.0).map(|variance| change / variance.sqrt());
        Some(Change { mean, change, sigmas: sigmas.filter(|sigmas| sigmas.is_finite()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_its_own_scatter() {
        let two = Change::of((10.3, Some(0.3)), &[(10.0, Some(0.4)), (10.0, Some(0.4))]).unwrap();
        assert!((two.change - 0.3).abs() < 1e-12);
        assert!((two.sigmas.unwrap() - 0.3 / (0.09 + 2.0 * 0.16 / 4.0_f64).sqrt()).abs() < 1e-12);
        // Three have a scatter of their own: 1 around 10, and the mean that of a third.
        let three = Change::of((12.0, Some(1e-6)), &[(9.0, None), (10.0, None), (11.0, None)]).unwrap();
        assert!((three.sigmas.unwrap() - 2.0 / (4.0 / 3.0_f64).sqrt()).abs() < 1e-12);
        let unknown = Change::of((10.3, None), &[(10.0, Some(0.4))]).unwrap();
        assert_eq!(unknown.sigmas, None);
        let equal = Change::of((10.0, None), &[(10.0, None); 3]).unwrap();
        assert_eq!(equal.sigmas, None, "no scatter at all tells nothing");
        assert_eq!(Change::of((10.0, None), &[]), None);
    }
}
