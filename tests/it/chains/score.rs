//! How well the modes that were found are those of a chain.

use crate::support::identifiable::Bound;
use crate::support::identifiable::coupled::TrueMode;
use oma_worker::modal::indicators::mac;
use oma_worker::model::modes::Mode;

/// 97.5 % of Student's t at the 49 degrees of freedom of 50 blocks.
pub(crate) const QUANTILE: f64 = 2.010;

/// What counts as found: MAC of the shapes.
const FOUND: f64 = 0.95;

/// Least MAC of a mode that is not spurious.
const RELATED: f64 = 0.8;

/// Expected 1 − MAC above which a mode is marked.
const MARKED: f64 = 0.02;

/// Bound of 1 − MAC below which even several times of it leave MAC above [`FOUND`] (automation §0).
const CLEAR: f64 = 0.0035;

#[derive(Debug, Default, Clone)]
pub(crate) struct Score {
    pub(crate) identifiable: usize,
    pub(crate) found: usize,
    /// Of those whose shape is clear.
    pub(crate) clear: usize,
    pub(crate) clear_found: usize,
    pub(crate) modes: usize,
    pub(crate) extra: usize,
    pub(crate) spurious: usize,
    /// Modes whose shape is not marked as uncertain, and how many of them are right.
    pub(crate) unmarked: usize,
    pub(crate) unmarked_right: usize,
    /// Sums of squared errors in units of the bound.
    pub(crate) frequency: f64,
    pub(crate) damping: f64,
    /// Intervals of 95 % that hold the truth.
    pub(crate) frequency_covered: usize,
    pub(crate) damping_covered: usize,
    /// True over expected 1 − MAC of the found ones.
    pub(crate) losses: Vec<f64>,
}

impl Score {
    /// A true mode is found by the mode within 2 % whose shape is most like it, if MAC ≥ 0.95; each mode counts once.
    /// A mode that finds nothing is extra; spurious if no true mode within 2 % has even MAC > 0.8.
    pub(crate) fn add(&mut self, truth: &[TrueMode], bounds: &[Bound], modes: &[Mode]) -> String {
        let likeness = |t: &TrueMode, found: &Mode| {
            let near = (found.frequency_hz - t.frequency_hz).abs() < 0.02 * t.frequency_hz;
            if near { mac(t.measured.as_view(), found.shape.0.as_view()) } else { 0.0 }
        };
        let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
        for (i, t) in truth.iter().enumerate() {
            pairs.extend(modes.iter().enumerate().map(|(j, found)| (likeness(t, found), i, j)));
        }
        pairs.retain(|pair| pair.0 >= FOUND);
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut of_truth, mut of_mode) = (vec![None; truth.len()], vec![None; modes.len()]);
        for (_, i, j) in pairs {
            if of_truth[i].is_none() && of_mode[j].is_none() {
                (of_truth[i], of_mode[j]) = (Some(j), Some(i));
            }
        }
        let mut story = String::new();
        for (i, bound) in bounds.iter().enumerate().filter(|(_, bound)| bound.identifiable()) {
            let clear = usize::from(bound.loss < CLEAR);
            self.identifiable += 1;
            self.clear += clear;
            let Some(j) = of_truth[i] else {
                let best = modes.iter().map(|found| likeness(&truth[i], found)).fold(0.0, f64::max);
                story += &format!(
                    "\n  missed {:.3} Hz (ξ {:.4}, loss {:.4}, damping {:.2}, best MAC {best:.3})",
                    truth[i].frequency_hz, truth[i].damping_ratio, bound.loss, bound.damping
                );
                continue;
            };
            self.found += 1;
            self.clear_found += clear;
            let found = &modes[j];
            let df = found.frequency_hz - truth[i].frequency_hz;
            let dxi = found.damping_ratio.unwrap() - truth[i].damping_ratio;
            self.frequency += (df / truth[i].frequency_hz / bound.frequency).powi(2);
            self.damping += (dxi / truth[i].damping_ratio / bound.damping).powi(2);
            self.frequency_covered += usize::from(df.abs() <= QUANTILE * found.frequency_std_hz.unwrap());
            self.damping_covered += usize::from(dxi.abs() <= QUANTILE * found.damping_ratio_std.unwrap());
        }
        self.modes += modes.len();
        for (j, found) in modes.iter().enumerate() {
            let best = truth.iter().map(|t| likeness(t, found)).fold(0.0, f64::max);
            let expected = found.expected_mac_loss.unwrap();
            if of_mode[j].is_some() {
                self.losses.push((1.0 - best) / expected);
            }
            let is_marked = expected > MARKED;
            self.unmarked += usize::from(!is_marked);
            self.unmarked_right += usize::from(!is_marked && best >= FOUND);
            if of_mode[j].is_some() {
                continue;
            }
            self.extra += 1;
            self.spurious += usize::from(best <= RELATED);
            story += &format!(
                "\n  extra{} {:.3} Hz (best MAC {best:.3}, ξ {:.4}, {} poles, support {:.2}, ρ {:.1}, loss {expected:.4}) [{j}]",
                if is_marked { " marked" } else { "" },
                found.frequency_hz,
                found.damping_ratio.unwrap(),
                found.pole_count.unwrap(),
                found.support.unwrap(),
                found.rho.unwrap(),
            );
        }
        story
    }

    /// Root of the mean squared error of frequency and damping in units of the bound.
    pub(crate) fn errors(&self) -> (f64, f64) {
        ((self.frequency / self.found as f64).sqrt(), (self.damping / self.found as f64).sqrt())
    }

    pub(crate) fn summary(&self) -> String {
        let percent = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
        let mut losses = self.losses.clone();
        losses.sort_by(f64::total_cmp);
        let at = |part: f64| losses.get((part * losses.len() as f64) as usize).copied().unwrap_or(f64::NAN);
        let (f, xi) = self.errors();
        format!(
            "found {}/{} = {:.2} % (clear {}/{} = {:.2} %), extra {}/{} = {:.2} %, spurious {} = {:.2} %, unmarked {}/{} = \
             {:.2} % right; rms error f {f:.2} ξ {xi:.2} of the bound, coverage f {:.3} ξ {:.3}, true over expected 1 − MAC: \
             median {:.2}, mean {:.2}, 95 % {:.2}, 99 % {:.2}",
            self.found,
            self.identifiable,
            percent(self.found, self.identifiable),
            self.clear_found,
            self.clear,
            percent(self.clear_found, self.clear),
            self.extra,
            self.modes,
            percent(self.extra, self.modes),
            self.spurious,
            percent(self.spurious, self.modes),
            self.unmarked_right,
            self.unmarked,
            percent(self.unmarked_right, self.unmarked),
            self.frequency_covered as f64 / self.found as f64,
            self.damping_covered as f64 / self.found as f64,
            at(0.5),
            losses.iter().sum::<f64>() / losses.len() as f64,
            at(0.95),
            at(0.99),
        )
    }
}
