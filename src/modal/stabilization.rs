//! The stabilization table: every pole of every order, with its verdict and the pole that it was at the order before.

use super::clustering::distance;
use super::indicators;
use super::poles::Order;
use super::selection::Verdict;
use crate::model::result::Stabilization;

/// Farthest that a pole's frequency moves from one order to the next, as a part of it: pyOMA2's limit of a stable one.
const MOST_CHANGE: f64 = 0.05;

/// Adds the poles of several orders with their verdicts to a table.
pub fn append(table: &mut Stabilization, sampling_rate_hz: f64, orders: &[Order], verdicts: &[Vec<Verdict>]) {
    let mut before: Option<&Order> = None;
    for (order, verdicts) in orders.iter().zip(verdicts) {
        let macs = before.replace(order).map_or_else(|| vec![None; order.poles.len()], |before| macs(order, before));
        for ((pole, verdict), mac) in order.poles.iter().zip(verdicts).zip(macs) {
            table.level_sampling_rate_hz.push(sampling_rate_hz);
            table.order.push(order.order);
            table.frequency_hz.push(finite(pole.frequency_hz));
            table.damping_ratio.push(finite(pole.damping_ratio));
            table.frequency_std_hz.push(pole.deviation.and_then(|d| finite(d.frequency_hz)));
            table.damping_ratio_std.push(pole.deviation.and_then(|d| finite(d.damping_ratio)));
            table.mpc.push(finite(pole.mpc));
            table.mpd.push(finite(pole.mpd));
            table.mac.push(mac);
            table.verdict.push(verdict.as_str().into());
        }
    }
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

/// MAC of each pole with its partner at another order, one to one: the nearest two are partners, then the nearest two of the
/// others, and so on. A pole that splits at a higher order has one successor and not two.
fn macs(order: &Order, other: &Order) -> Vec<Option<f64>> {
    let mut pairs = Vec::new();
    for (i, pole) in order.poles.iter().enumerate() {
        for (j, known) in other.poles.iter().enumerate() {
            let most = MOST_CHANGE * pole.frequency_hz.max(known.frequency_hz);
            if (pole.frequency_hz - known.frequency_hz).abs() <= most {
                pairs.push((distance(pole, known), i, j));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut macs, mut is_taken) = (vec![None; order.poles.len()], vec![false; other.poles.len()]);
    let mut has_partner = vec![false; order.poles.len()];
    for (_, i, j) in pairs {
        if !has_partner[i] && !is_taken[j] {
            (has_partner[i], is_taken[j]) = (true, true);
            macs[i] = finite(indicators::mac(order.poles[i].shape.as_view(), other.poles[j].shape.as_view()));
        }
    }
    macs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modal::poles::Pole;
    use nalgebra::{Complex, DMatrix, DVector};
    use std::f64::consts::PI;

    fn order(order: usize, poles: &[(f64, [f64; 2])]) -> Order {
        let pole = |&(frequency_hz, shape): &(f64, [f64; 2])| {
            let mu = (Complex::new(-0.01, 1.0) * (2.0 * PI * frequency_hz / 100.0)).exp();
            Pole::new(order, 0, mu, &DVector::from_iterator(2, shape.map(Complex::from)), 100.0)
        };
        Order { order, mu: Vec::new(), vectors: DMatrix::zeros(0, 0), poles: poles.iter().map(pole).collect() }
    }

    fn told(orders: &[Order]) -> Vec<Option<f64>> {
        let mut table = Stabilization::default();
        let verdicts: Vec<_> = orders.iter().map(|order| vec![Verdict::Stable; order.poles.len()]).collect();
        append(&mut table, 100.0, orders, &verdicts);
        table.mac.into_iter().map(|mac| mac.map(|mac| (1000.0 * mac).round() / 1000.0)).collect()
    }

    #[test]
    fn a_pole_that_splits_has_one_successor() {
        let first = order(2, &[(10.0, [1.0, 0.0])]);
        let second = order(4, &[(10.01, [1.0, 0.0]), (10.02, [1.0, 0.1])]);
        assert_eq!(told(&[first, second]), [None, Some(1.0), None]);
    }

    /// The pole that is nearest in frequency alone is the other mode.
    #[test]
    fn crossing_modes_keep_their_shapes() {
        let first = order(2, &[(10.0, [1.0, 0.0]), (10.1, [0.0, 1.0])]);
        let second = order(4, &[(10.0, [0.0, 1.0]), (10.1, [1.0, 0.0])]);
        assert_eq!(told(&[first, second]), [None, None, Some(1.0), Some(1.0)]);
    }

    #[test]
    fn what_is_far_is_new() {
        let first = order(2, &[(10.0, [1.0, 0.0])]);
        let second = order(4, &[(5.0, [1.0, 0.0]), (10.4, [1.0, 0.0])]);
        assert_eq!(told(&[first, second, order(6, &[])]), [None, None, Some(1.0)]);
    }
}
