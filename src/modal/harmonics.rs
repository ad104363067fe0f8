//! Harmonics of machines among the poles of subspace identification and of pLSCF.
//!
//! A sinusoid has a pole far more precise than that of any mode that noise drives: hardly any damping, hardly any scatter,
//! at every order. Its frequency is right to 2e-4 where the sinusoid has a tenth of the record's rms; below about a
//! twentieth it is not seen, and does not harm the modes either. None was seen in 121 records without one (automation §6).

use super::poles::{Order, Pole};
use crate::model::result::Harmonic;

/// Largest |ξ|, σ_ξ and σ_f/f of a sinusoid's pole (automation §6).
pub(super) const DAMPING: f64 = 1e-3;
pub(super) const DAMPING_DEVIATION: f64 = 5e-4;
pub(super) const FREQUENCY_DEVIATION: f64 = 1e-3;

/// Poles of one sinusoid lie within so many standard deviations of each other.
const REACH: f64 = 3.0;

/// Least part of the orders with such a pole.
const SUPPORT: f64 = 0.5;

/// The sinusoids among the poles, ascending in frequency. `orders`: those that are no lower than the signal needs, their
/// poles with standard deviations; without any there is no answer.
pub fn among<'a>(orders: impl Iterator<Item = &'a Order>) -> Vec<Harmonic> {
    let mut sharp: Vec<&Pole> = Vec::new();
    let mut count = 0;
    for order in orders {
        count += 1;
        sharp.extend(order.poles.iter().filter(|pole| is_sharp(pole)));
    }
    sharp.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
    let near = |a: &&Pole, b: &&Pole| b.frequency_hz - a.frequency_hz <= REACH * scatter(a).max(scatter(b));
    let groups = sharp.chunk_by(near);
    groups.filter_map(|group| harmonic(group, count)).collect()
}

fn scatter(pole: &Pole) -> f64 {
    pole.deviation.map_or(f64::INFINITY, |deviation| deviation.frequency_hz)
}

fn is_sharp(pole: &Pole) -> bool {
    pole.damping_ratio.abs() < DAMPING
        && pole.deviation.is_some_and(|deviation| {
            deviation.damping_ratio < DAMPING_DEVIATION
                && deviation.frequency_hz < FREQUENCY_DEVIATION * pole.frequency_hz
        })
}

/// The sinusoid of a group of poles, if enough of `count` orders have one.
fn harmonic(group: &[&Pole], count: usize) -> Option<Harmonic> {
    let mut orders: Vec<usize> = group.iter().map(|pole| pole.order).collect();
    orders.sort_unstable();
    orders.dedup();
    let support = orders.len() as f64 / count as f64;
    let best = group.iter().min_by(|a, b| scatter(a).total_cmp(&scatter(b)))?;
    let strongest = best.shape.icamax();
    (support >= SUPPORT).then(|| Harmonic {
        frequency_hz: best.frequency_hz,
        frequency_std_hz: scatter(best),
        damping_ratio: best.damping_ratio,
        support: Some(support),
        strongest_row: strongest,
        kurtosis: None,
        kurtosis_std: None,
        rms_parts: None,
    })
}
