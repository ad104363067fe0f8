//! Which modes of two results are the same.
//!
//! Modes are brought together one to one by the assignment of least total distance (Munkres 1957), where the distance of two
//! modes is |Δf| / max f and 1 − MAC over the channels that both results have, each in units of its limit.

use super::indicators;
use crate::model::modes::Mode;
use nalgebra::DVector;
use pathfinding::kuhn_munkres::kuhn_munkres_min;
use pathfinding::matrix::Matrix;

/// Farthest that a frequency may move from one result to the next, as a part of it. Temperature and frost moved those of the
/// Z24 bridge by up to a tenth (Peeters & De Roeck 2001).
const MOST_CHANGE: f64 = 0.1;

/// Largest 1 − MAC of a mode with itself, beyond what the shapes' own scatter explains.
const MOST_SHAPE_CHANGE: f64 = 0.2;

/// Steps of a distance of one, for an assignment in whole numbers.
const STEPS: f64 = 1e9;

/// A mode and the names of the channels of its shape.
pub(super) type Shown<'a> = (&'a Mode, &'a [String]);

/// Two modes that may be the same.
#[derive(Clone, Copy)]
struct Pair {
    /// Over the channels of both.
    mac: f64,
    /// 0 to 2.
    distance: f64,
}

impl Pair {
    /// `None`: they are two.
    fn of(one: Shown<'_>, other: Shown<'_>) -> Option<Pair> {
        let (mode, known) = (one.0, other.0);
        let change = (mode.frequency_hz - known.frequency_hz).abs() / mode.frequency_hz.max(known.frequency_hz);
        let mac = mac_over_common(one, other);
        let loss = |mode: &Mode| mode.expected_mac_loss.unwrap_or(0.0).clamp(0.0, 1.0);
        let shape_change = (1.0 - mac) / (MOST_SHAPE_CHANGE + loss(mode) + loss(known));
        let change = change / MOST_CHANGE;
        // NaN is nothing known, and so are shapes that have nothing in common, however uncertain they are.
        let is_near = change <= 1.0 && shape_change <= 1.0 && mac > 0.0;
        is_near.then_some(Pair { mac, distance: change + shape_change })
    }
}

/// For each mode which one of `known` it is, and their MAC.
pub(super) fn assign(modes: &[Shown<'_>], known: &[Shown<'_>]) -> Vec<Option<(usize, f64)>> {
    if modes.is_empty() {
        return Vec::new();
    }
    let pairs: Vec<Vec<Option<Pair>>> =
        modes.iter().map(|&mode| known.iter().map(|&known| Pair::of(mode, known)).collect()).collect();
    // To be none of the known costs as much as the worst that is allowed; so each mode has a place of its own for that.
    let none = (2.0 * STEPS) as i64;
    let costs = Matrix::from_fn(modes.len(), known.len() + modes.len(), |(mode, k)| {
        let pair = pairs[mode].get(k).copied().flatten();
        pair.map_or(none, |pair| (pair.distance * STEPS) as i64)
    });
    let (_, places) = kuhn_munkres_min(&costs);
    let found = |(mode, k): (usize, usize)| pairs[mode].get(k).copied().flatten().map(|pair| (k, pair.mac));
    places.into_iter().enumerate().map(found).collect()
}

/// MAC over the channels that both have, by name; 0 without any.
pub(super) fn mac_over_common(a: Shown<'_>, b: Shown<'_>) -> f64 {
    // A result that somebody else wrote may have a shape of another length.
    let component = |(mode, channels): Shown<'_>, name: &String| {
        mode.shape.0.get(channels.iter().position(|other| other == name)?).copied()
    };
    let both = |name: &String| Some((component(a, name)?, component(b, name)?));
    let (a, b): (Vec<_>, Vec<_>) = a.1.iter().filter_map(both).unzip();
    indicators::mac(DVector::from_vec(a).as_view(), DVector::from_vec(b).as_view())
}
