//! From the poles of several orders to modes: variance instead of hard criteria, clusters, support.
//!
//! No random start anywhere; ties go to the lower frequency or order. The constants are those of automation §1.3
//! and §1.4, frozen there before the records that judged them were made.

use super::clustering::{average_linkage, medoid};
use super::poles::{Order, Pole};
use crate::model::criteria::Criteria;
use std::f64::consts::PI;

/// Damping ratios of structures lie below; the usual hard criterion (pyOMA2).
const DAMPING_LIMIT: f64 = 0.2;

/// Largest standard deviation of the frequency of a core pole in units of the best possible one, √(ξ/(2π f T)).
/// 90 % of physical poles have less than 44, half less than 1.75; 6 to 25 gave the same modes.
const CORE_RHO: f64 = 12.0;

/// With one channel MAC says nothing, so the variance must say more (automation §1.6).
const CORE_RHO_ONE_CHANNEL: f64 = 6.0;
const DAMPING_LIMIT_ONE_CHANNEL: f64 = 0.1;

/// Largest σ_ξ/ξ of a core pole.
const CORE_DAMPING_DEVIATION: f64 = 0.6;

/// Part of Nyquist above which no mode is believed.
const NYQUIST_PART: f64 = 0.98;

/// Distance at which average linkage is cut; 0.03 to 0.15 differ little.
const CUT: f64 = 0.05;

/// Least part of the orders with a core pole of the cluster, and least number of core poles …
const CORE_PART: f64 = 0.15;
const CORE_COUNT: usize = 3;

/// … or two core poles, one of them this precise.
pub(super) const PRECISE_RHO: f64 = 3.0;

/// Least part of the orders in which some pole supports the mode, and what supports it: a strong mode's pole is
/// often accompanied by a noise pole at over-specified orders and then fails the core's variance there.
const SUPPORT_PART: f64 = 0.5;
const SUPPORT_RHO: f64 = 100.0;
const SUPPORT_DAMPING_FACTOR: f64 = 4.0;
const SUPPORT_MAC: f64 = 0.9;

/// Two clusters that are both present in this part of the smaller one's orders are two modes.
const COEXISTENCE: f64 = 0.5;

/// Without standard deviations: pyOMA2's hard criteria on the shape, and more orders in the cluster.
const HARD_MPC: f64 = 0.5;
const HARD_MPD: f64 = 0.5;
const HARD_CORE_PART: f64 = 0.3;

/// What became of a pole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// In the cluster of a mode.
    Stable,
    /// Damping not above 0 or not below the limit.
    Damping,
    /// Outside the band that is asked for, or too near to Nyquist.
    Band,
    /// Standard deviation of the frequency too large.
    FrequencyDeviation,
    /// Standard deviation of the damping too large.
    DampingDeviation,
    /// Standard deviation unknown: the state matrix is defective.
    NoDeviation,
    /// Phases scattered.
    Complexity,
    /// Too few poles of other orders agree.
    NoCluster,
    /// A more precise pole of the same order stands for the cluster.
    SecondInOrder,
    /// The cluster lacks support in the other orders.
    Support,
    /// The shape is not determined: the modes around cannot be told apart.
    Shape,
    /// The decimation level is not responsible for the frequency.
    OtherLevel,
}

impl Verdict {
    /// The word in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Stable => "stable",
            Verdict::Damping => "damping",
            Verdict::Band => "band",
            Verdict::FrequencyDeviation => "frequency_deviation",
            Verdict::DampingDeviation => "damping_deviation",
            Verdict::NoDeviation => "no_deviation",
            Verdict::Complexity => "complexity",
            Verdict::NoCluster => "no_cluster",
            Verdict::SecondInOrder => "second_in_order",
            Verdict::Support => "support",
            Verdict::Shape => "shape",
            Verdict::OtherLevel => "other_level",
        }
    }
}

/// What the selection needs to know beside the poles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Hz.
    pub sampling_rate_hz: f64,
    /// Length of the record, s.
    pub duration_s: f64,
    /// Lowest frequency that is asked for, Hz.
    pub band_low_hz: f64,
    /// Highest frequency that is asked for, Hz.
    pub band_high_hz: f64,
    /// Whether the poles carry standard deviations.
    pub deviations: bool,
    /// What poles must keep to, where the rules do not say it.
    pub criteria: Criteria,
}

/// The criteria with every rule filled in; what stays absent is not asked for.
pub fn criteria_in_force(given: &Criteria, channels: usize, deviations: bool) -> Criteria {
    let one_channel = channels == 1;
    let by_rule = |given: Option<f64>, applies: bool, rule: f64| given.or(applies.then_some(rule));
    let damping = if one_channel { DAMPING_LIMIT_ONE_CHANNEL } else { DAMPING_LIMIT };
    let rho = if one_channel { CORE_RHO_ONE_CHANNEL } else { CORE_RHO };
    Criteria {
        damping_max: by_rule(given.damping_max, true, damping),
        mpc_min: by_rule(given.mpc_min, !deviations, HARD_MPC),
        mpd_max: by_rule(given.mpd_max, !deviations, HARD_MPD),
        frequency_cov_max: given.frequency_cov_max,
        rho_max: by_rule(given.rho_max, deviations, rho),
        damping_cov_max: by_rule(given.damping_cov_max, deviations, CORE_DAMPING_DEVIATION),
    }
}

/// A mode as a choice among poles; a pole is (index into the orders, index into the order's poles).
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The medoid of the cluster.
    pub representative: (usize, usize),
    /// One pole an order, ascending in order.
    pub members: Vec<(usize, usize)>,
    /// Part of the orders that support the mode.
    pub support: f64,
}

/// Modes and the verdict on every pole, `verdicts[order][pole]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Ascending in frequency.
    pub modes: Vec<Selected>,
    /// In the order of the poles.
    pub verdicts: Vec<Vec<Verdict>>,
}

/// Standard deviation of the frequency in units of the best that `duration_s` allows at high signal-to-noise ratio,
/// σ_f/f = √(ξ/(2π f T)); `None` without deviation or damping.
pub fn rho(pole: &Pole, duration_s: f64) -> Option<f64> {
    let deviation = pole.deviation?;
    let best = (pole.damping_ratio / (2.0 * PI * pole.frequency_hz * duration_s)).sqrt();
    (best > 0.0).then(|| deviation.frequency_hz / pole.frequency_hz / best)
}

/// Chooses the modes among the poles of `orders`.
pub fn select(orders: &[Order], setting: &Setting) -> Selection {
    let channels = orders.iter().flat_map(|order| &order.poles).next().map_or(0, |pole| pole.shape.len());
    let criteria = criteria_in_force(&setting.criteria, channels, setting.deviations);
    let judge = |pole: &Pole| judge(pole, setting, &criteria);
    let mut verdicts: Vec<Vec<Verdict>> = orders.iter().map(|o| o.poles.iter().map(judge).collect()).collect();
    let core: Vec<(usize, usize)> = positions(orders).filter(|&(o, p)| verdicts[o][p] == Verdict::Stable).collect();
    let poles: Vec<&Pole> = core.iter().map(|&(o, p)| &orders[o].poles[p]).collect();
    let least = if setting.deviations { CORE_PART } else { HARD_CORE_PART };
    let least = CORE_COUNT.max((least * orders.len() as f64).ceil() as usize);
    let mut candidates = Vec::new();
    for cluster in average_linkage(&poles, CUT) {
        let one_per_order = best_of_each_order(&poles, &cluster);
        for &i in cluster.iter().filter(|i| !one_per_order.contains(i)) {
            verdicts[core[i].0][core[i].1] = Verdict::SecondInOrder;
        }
        let precise = |&i: &usize| rho(poles[i], setting.duration_s).is_some_and(|rho| rho < PRECISE_RHO);
        let enough = one_per_order.len() >= least || (one_per_order.len() >= 2 && one_per_order.iter().any(precise));
        if enough {
            candidates.push(one_per_order);
        } else {
            one_per_order.iter().for_each(|&i| verdicts[core[i].0][core[i].1] = Verdict::NoCluster);
        }
    }
    let mut modes = Vec::new();
    for (representative, members) in merge(&poles, candidates) {
        let support = support(orders, poles[representative], setting);
        if support < SUPPORT_PART {
            members.iter().for_each(|&i| verdicts[core[i].0][core[i].1] = Verdict::Support);
            continue;
        }
        let members = members.iter().map(|&i| core[i]).collect();
        modes.push(Selected { representative: core[representative], members, support });
    }
    let frequency = |mode: &Selected| orders[mode.representative.0].poles[mode.representative.1].frequency_hz;
    modes.sort_by(|a, b| frequency(a).total_cmp(&frequency(b)));
    Selection { modes, verdicts }
}

fn positions(orders: &[Order]) -> impl Iterator<Item = (usize, usize)> + '_ {
    orders.iter().enumerate().flat_map(|(o, order)| (0..order.poles.len()).map(move |p| (o, p)))
}

/// The verdict on a pole alone; [`Verdict::Stable`] if it may be in a core. NaN keeps to nothing.
fn judge(pole: &Pole, setting: &Setting, criteria: &Criteria) -> Verdict {
    let below = |value: f64, most: Option<f64>| most.is_none_or(|most| value < most);
    let top = (NYQUIST_PART * setting.sampling_rate_hz / 2.0).min(setting.band_high_hz);
    if !(pole.damping_ratio > 0.0 && below(pole.damping_ratio, criteria.damping_max)) {
        return Verdict::Damping;
    }
    if !(pole.frequency_hz < top && pole.frequency_hz >= setting.band_low_hz) {
        return Verdict::Band;
    }
    let collinear = criteria.mpc_min.is_none_or(|least| pole.mpc >= least);
    if !(collinear && criteria.mpd_max.is_none_or(|most| pole.mpd <= most)) {
        return Verdict::Complexity;
    }
    if !setting.deviations {
        return Verdict::Stable;
    }
    let (Some(rho), Some(deviation)) = (rho(pole, setting.duration_s), pole.deviation) else {
        return Verdict::NoDeviation;
    };
    if !(below(rho, criteria.rho_max) && below(deviation.frequency_hz / pole.frequency_hz, criteria.frequency_cov_max))
    {
        Verdict::FrequencyDeviation
    } else if !below(deviation.damping_ratio / pole.damping_ratio, criteria.damping_cov_max) {
        Verdict::DampingDeviation
    } else {
        Verdict::Stable
    }
}

/// Of each order the member with the smallest deviation (without deviations: the highest MPC).
fn best_of_each_order(poles: &[&Pole], cluster: &[usize]) -> Vec<usize> {
    let badness = |i: usize| poles[i].deviation.map_or(-poles[i].mpc, |d| d.frequency_hz);
    let mut sorted = cluster.to_vec();
    sorted.sort_by(|&a, &b| poles[a].order.cmp(&poles[b].order).then(badness(a).total_cmp(&badness(b))));
    sorted.dedup_by_key(|i| poles[*i].order);
    sorted
}

/// Joins clusters that are one mode seen in different orders; each comes with its medoid.
fn merge(poles: &[&Pole], clusters: Vec<Vec<usize>>) -> Vec<(usize, Vec<usize>)> {
    let with_medoid = |members: Vec<usize>| (medoid(poles, &members), members);
    let mut clusters: Vec<(usize, Vec<usize>)> = clusters.into_iter().map(with_medoid).collect();
    let same = |(first, a): &(usize, Vec<usize>), (second, b): &(usize, Vec<usize>)| {
        let (first, second) = (poles[*first], poles[*second]);
        let deviation = |p: &Pole| p.deviation.map_or(0.0, |d| d.frequency_hz);
        let sigma = deviation(first).max(deviation(second));
        let half_width =
            (first.damping_ratio * first.frequency_hz).max(second.damping_ratio * second.frequency_hz) / 2.0;
        let near = (first.frequency_hz - second.frequency_hz).abs() < half_width.max(3.0 * sigma);
        let alike = || first.likeness(second) > SUPPORT_MAC;
        let both = || a.iter().filter(|&&i| b.iter().any(|&j| poles[i].order == poles[j].order)).count();
        near && alike() && (both() as f64) < COEXISTENCE * a.len().min(b.len()) as f64
    };
    'again: loop {
        for a in 0..clusters.len() {
            for b in a + 1..clusters.len() {
                if same(&clusters[a], &clusters[b]) {
                    let (_, other) = clusters.remove(b);
                    let joined: Vec<usize> = clusters[a].1.iter().chain(&other).copied().collect();
                    clusters[a] = with_medoid(best_of_each_order(poles, &joined));
                    continue 'again;
                }
            }
        }
        return clusters;
    }
}

/// Part of the orders in which some pole supports the mode.
fn support(orders: &[Order], mode: &Pole, setting: &Setting) -> f64 {
    let sigma = mode.deviation.map_or(0.0, |d| d.frequency_hz);
    let reach = (mode.damping_ratio * mode.frequency_hz / 2.0).max(3.0 * sigma);
    let supports = |pole: &Pole| {
        let ratio = pole.damping_ratio / mode.damping_ratio;
        let sure = !setting.deviations || rho(pole, setting.duration_s).is_some_and(|rho| rho < SUPPORT_RHO);
        sure && (pole.frequency_hz - mode.frequency_hz).abs() < reach
            && ratio > 1.0 / SUPPORT_DAMPING_FACTOR
            && ratio < SUPPORT_DAMPING_FACTOR
            && pole.likeness(mode) > SUPPORT_MAC
    };
    let supporting = orders.iter().filter(|order| order.poles.iter().any(supports)).count();
    supporting as f64 / orders.len().max(1) as f64
}
