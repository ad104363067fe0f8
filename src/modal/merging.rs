//! The results of several setups of one structure as one.
//!
//! Where a structure has more places than there are sensors it is measured in setups: some sensors stay, the references, and
//! the others rove. Each setup is analysed by itself, and the modes are joined afterwards (PoSER: post-separate-estimation
//! re-scaling). Excitation and length may differ from setup to setup; what a channel measures is told by its name alone.
//!
//! Setups join one after the other. Their modes are brought together with those joined so far one to one (see
//! [`matching`]), by frequency and by the MAC over the channels that both have. The shapes of one mode are brought to one
//! scale by all channels that two or more of them share, together and by what each of them errs. What reaches every channel
//! is a mode of the merged result; the rest is left out and told.

mod shape;

use self::shape::Part;
use super::confidence::{self, Evidence};
use super::matching::{self, Shown};
use super::{ModalError, indicators};
use crate::model::geometry::{Geometry, Wireframe};
use crate::model::merging::{Member, Merging, Setup, Strategy};
use crate::model::modes::{Doubt, Mode, Shape};
use crate::model::quantities::{AsMeasured, ShapeQuantity};
use crate::model::result::{AnalysisResult, DataSummary, InputFile, Provenance, SCHEMA_VERSION};
use crate::model::run::RunType;
use serde_json::json;
use std::collections::HashSet;

/// Joins the results of two or more setups of one structure, made by one method.
///
/// - Frequency and damping ratio are means weighted by 1/σ²; their standard deviation grows by the Birge ratio where the
///   setups scatter more than they say themselves. Where one of them says nothing they are plain means without one.
/// - Shapes have the channels of all setups, in the order of their first appearance; each component is the mean over the
///   setups that have it, in the common scale, weighted by the variance of a component. `expected_mac_loss` holds what the
///   components err and what the scale of each setup does.
/// - MPC and MPD are those of the merged shape. Doubts are those of the merged mode and of each setup's, the confidence is the
///   lowest of all. What belongs to one record alone (order, poles, support, …) is absent.
/// - `data`: the earliest start, the lowest sampling rate, samples and duration in sum, of each channel the least coverage;
///   segments and clocks stand in [`Merging::setups`].
///
/// # Errors
/// [`ModalError::Setting`] for less than two results or results of different methods; [`ModalError::Data`] for a setup that
/// shares no channel with the others or whose document contradicts itself.
///
/// # Source
/// Reynders, Magalhães, De Roeck & Cunha (2009), "Merging strategies for multi-setup operational modal analysis"; Birge
/// (1932) for the ratio. `src/modal/merging/shape.rs` derives scale and expected loss.
pub fn merge(setups: &[AnalysisResult]) -> Result<AnalysisResult, ModalError> {
    check(setups)?;
    let channels = union(setups.iter().flat_map(|setup| &setup.data.channels));
    let mut warnings = warnings_of(setups);
    let mut groups: Vec<Group> = Vec::new();
    for setup in joining_order(setups, &mut warnings)? {
        let AnalysisResult { modes, data, .. } = &setups[setup];
        let modes: Vec<Shown<'_>> = modes.iter().map(|mode| (mode, data.channels.as_slice())).collect();
        let known: Vec<Shown<'_>> = groups.iter().map(Group::shown).collect();
        for (mode, found) in matching::assign(&modes, &known).into_iter().enumerate() {
            match found {
                Some((k, _)) => {
                    let mut members = std::mem::take(&mut groups[k].members);
                    members.push((setup, mode));
                    groups[k] = Group::of(members, setups, &channels)?;
                }
                None => groups.push(Group::of(vec![(setup, mode)], setups, &channels)?),
            }
        }
    }
    groups.sort_by(|a, b| a.mode.frequency_hz.total_cmp(&b.mode.frequency_hz));
    let (whole, left_out): (Vec<Group>, Vec<Group>) =
        groups.into_iter().partition(|group| group.channels.len() == channels.len());
    warnings.extend(left_out.iter().map(|group| group.warning(&channels)));
    let mut merged = without_modes(setups, &channels, Strategy::Poser);
    warnings.extend(merged.geometry.as_ref().and_then(Geometry::warning));
    merged.provenance.warnings = warnings;
    if let Some(merging) = &mut merged.merging {
        merging.modes = whole.iter().map(|group| group.told(setups, true)).collect();
        merging.left_out = left_out.iter().map(|group| group.told(setups, false)).collect();
    }
    let reason = || format!("no mode was found at all {} channels", channels.len());
    merged.no_modes_reason = whole.is_empty().then(reason);
    merged.modes = whole.into_iter().map(|group| group.mode).collect();
    Ok(merged)
}

/// What several setups are together, before any mode: with `channels`, the names of all of theirs, and without a warning.
///
/// # Panics
/// Without a setup.
pub fn without_modes(setups: &[AnalysisResult], channels: &[String], strategy: Strategy) -> AnalysisResult {
    let merging =
        Merging { strategy, setups: setups.iter().map(described).collect(), modes: Vec::new(), left_out: Vec::new() };
    AnalysisResult {
        schema_version: SCHEMA_VERSION,
        analysis_id: None,
        run_type: setups[0].run_type,
        method: setups[0].method.clone(),
        created_at: jiff::Timestamp::now(),
        parameters: json!({"merging": {"setups": setups.iter().map(|setup| &setup.parameters).collect::<Vec<_>>()}}),
        provenance: Provenance {
            worker_version: env!("CARGO_PKG_VERSION").into(),
            backend: "cpu".into(),
            inputs: inputs(setups),
            ..Provenance::default()
        },
        data: data(setups, channels),
        no_modes_reason: None,
        modes: Vec::new(),
        spectrum: None,
        stabilization: None,
        harmonics: Vec::new(),
        validation: None,
        by_setup: Vec::new(),
        tracking: None,
        merging: Some(merging),
        channel_quality: None,
        channel_signals: None,
        geometry: geometry(setups, channels),
        cache_key: None,
        report: None,
    }
}

/// The same mode in one or more setups.
struct Group {
    /// Setup and place among its modes.
    members: Vec<(usize, usize)>,
    /// What they say together.
    mode: Mode,
    /// The channels of its shape.
    channels: Vec<String>,
}

impl Group {
    /// `union`: the channels of all setups.
    fn of(mut members: Vec<(usize, usize)>, setups: &[AnalysisResult], union: &[String]) -> Result<Group, ModalError> {
        members.sort_unstable();
        let modes: Vec<&Mode> = members.iter().map(|&(setup, mode)| &setups[setup].modes[mode]).collect();
        let of_member = |&(setup, _): &(usize, usize)| &setups[setup].data.channels;
        let reached: HashSet<&String> = members.iter().flat_map(of_member).collect();
        let channels: Vec<String> = union.iter().filter(|name| reached.contains(name)).cloned().collect();
        let place = |name: &String| channels.iter().position(|channel| channel == name);
        let part = |(member, mode): (&(usize, usize), &&Mode)| Part {
            places: of_member(member).iter().filter_map(place).collect(),
            components: mode.shape.0.clone(),
            expected_mac_loss: mode.expected_mac_loss,
        };
        let parts: Vec<Part> = members.iter().zip(&modes).map(part).collect();
        let (shape, expected_mac_loss) = shape::join(&parts, channels.len())?;
        let complexity = (indicators::mpc(shape.as_view()), indicators::mpd(shape.as_view()));
        let shape = Shape(indicators::scaled_to_largest(shape.as_view()));
        let frequencies: Vec<Estimate> = modes.iter().map(|mode| (mode.frequency_hz, mode.frequency_std_hz)).collect();
        let dampings: Option<Vec<Estimate>> =
            modes.iter().map(|mode| Some((mode.damping_ratio?, mode.damping_ratio_std))).collect();
        let (frequency_hz, frequency_std_hz) = mean(&frequencies);
        let damping = dampings.as_deref().map(mean);
        let mut mode = Mode {
            damping_ratio: damping.map(|(ratio, _)| ratio),
            frequency_std_hz,
            damping_ratio_std: damping.and_then(|(_, std)| std),
            expected_mac_loss,
            ..Mode::new(frequency_hz, shape, complexity)
        };
        confidence::judge(&mut mode, Evidence { harmonics: &[], duration_s: 0.0 });
        for (&(setup, _), member) in members.iter().zip(&modes) {
            let doubt =
                |doubt: &Doubt| Doubt { message: format!("setup {}: {}", setup + 1, doubt.message), ..doubt.clone() };
            mode.doubts.extend(member.doubts.iter().map(doubt));
        }
        mode.confidence = modes.iter().filter_map(|member| member.confidence).chain(mode.confidence).min();
        Ok(Group { members, mode, channels })
    }

    fn shown(&self) -> Shown<'_> {
        (&self.mode, &self.channels)
    }

    /// Why it is no mode of the merged result.
    fn warning(&self, union: &[String]) -> String {
        let known: HashSet<&String> = self.channels.iter().collect();
        let missing: Vec<&str> = union.iter().filter(|name| !known.contains(name)).map(String::as_str).collect();
        let setups: Vec<String> = self.members.iter().map(|(setup, _)| (setup + 1).to_string()).collect();
        let (word, setups) = (if setups.len() == 1 { "setup" } else { "setups" }, setups.join(", "));
        format!(
            "the mode at {:.4} Hz is left out: found in {word} {setups} only, it has no shape at {}",
            self.mode.frequency_hz,
            missing.join(", ")
        )
    }

    fn told(&self, setups: &[AnalysisResult], is_merged: bool) -> Vec<Member> {
        let member = |&(setup, place): &(usize, usize)| {
            let mode = &setups[setup].modes[place];
            let mac = || matching::mac_over_common((mode, &setups[setup].data.channels), self.shown());
            Member {
                setup,
                mode: place,
                frequency_hz: mode.frequency_hz,
                frequency_std_hz: mode.frequency_std_hz,
                damping_ratio: mode.damping_ratio,
                damping_ratio_std: mode.damping_ratio_std,
                mac: is_merged.then(mac),
            }
        };
        self.members.iter().map(member).collect()
    }
}

/// A number and its standard deviation.
type Estimate = (f64, Option<f64>);

/// Mean weighted by 1/σ², and its standard deviation √(1/Σ 1/σ²) times the Birge ratio √(χ²/(n − 1)) where that is above 1:
/// the estimates then differ by more than they say, with the temperature for instance. A plain mean where a σ is missing.
fn mean(estimates: &[Estimate]) -> Estimate {
    let n = estimates.len() as f64;
    let weight = |(_, std): &Estimate| std.map(|std| (std * std).recip()).filter(|w| *w > 0.0 && w.is_finite());
    let Some(weights) = estimates.iter().map(weight).collect::<Option<Vec<f64>>>() else {
        return (estimates.iter().map(|(value, _)| value).sum::<f64>() / n, None);
    };
    let pairs = || estimates.iter().map(|(value, _)| value).zip(&weights);
    let sum: f64 = weights.iter().sum();
    let mean = pairs().map(|(value, weight)| value * weight).sum::<f64>() / sum;
    let chi_squared: f64 = pairs().map(|(value, weight)| weight * (value - mean).powi(2)).sum();
    // One estimate alone has χ² = 0.
    let birge = (chi_squared / (n - 1.0).max(1.0)).sqrt().max(1.0);
    (mean, Some(birge / sum.sqrt()))
}

fn check(setups: &[AnalysisResult]) -> Result<(), ModalError> {
    let [first, _, ..] = setups else {
        return Err(ModalError::Setting(format!(
            "merging needs the results of 2 setups or more, not {}",
            setups.len()
        )));
    };
    for (number, setup) in (1..).zip(setups) {
        if setup.run_type == RunType::Preprocessing {
            let message = format!("setup {number} is a result of preprocessing: merging needs results with modes");
            return Err(ModalError::Setting(message));
        }
        if setup.method != first.method {
            let message = format!(
                "setup 1 is by {}, setup {number} by {}: merging needs the results of one method",
                first.method, setup.method
            );
            return Err(ModalError::Setting(message));
        }
        let channels = &setup.data.channels;
        let mut known = HashSet::new();
        if let Some(twice) = channels.iter().find(|name| !known.insert(*name)) {
            return Err(ModalError::Data(format!("setup {number} has the channel {twice} twice")));
        }
        if let Some(mode) = setup.modes.iter().find(|mode| mode.shape.0.len() != channels.len()) {
            return Err(ModalError::Data(format!(
                "setup {number} has {} channels, and its mode at {:.4} Hz a shape of {} components",
                channels.len(),
                mode.frequency_hz,
                mode.shape.0.len()
            )));
        }
    }
    Ok(())
}

/// Each name once, in the order of its first appearance.
fn union<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut known = HashSet::new();
    names.filter(|name| known.insert(*name)).cloned().collect()
}

/// The first setup, then always the one that shares most channels with those before it.
fn joining_order(setups: &[AnalysisResult], warnings: &mut Vec<String>) -> Result<Vec<usize>, ModalError> {
    let mut known: HashSet<&String> = setups[0].data.channels.iter().collect();
    let mut order = vec![0];
    let mut waiting: Vec<usize> = (1..setups.len()).collect();
    while !waiting.is_empty() {
        let shared = |setup: usize| setups[setup].data.channels.iter().filter(|name| known.contains(name));
        // Of equals the first one given.
        waiting.sort_by_key(|&setup| (std::cmp::Reverse(shared(setup).count()), setup));
        let next = waiting.remove(0);
        match shared(next).collect::<Vec<_>>()[..] {
            [] => {
                return Err(ModalError::Data(format!(
                    "setup {} ({}) shares no channel with the other setups: without one its shapes have no scale",
                    next + 1,
                    setups[next].data.channels.join(", ")
                )));
            }
            [only] => warnings.push(format!(
                "setup {} shares only the channel {only} with the setups before it: its modes are told by frequency alone",
                next + 1
            )),
            ref all if all.len() == setups[next].data.channels.len() => warnings.push(format!(
                "setup {} has no channel that the setups before it lack: where its sensors sit elsewhere, name them otherwise",
                next + 1
            )),
            _ => {}
        }
        known.extend(&setups[next].data.channels);
        order.push(next);
    }
    Ok(order)
}

/// What each setup warns of, but for the parts of the structure that it cannot draw: another one may.
pub fn warnings_of(setups: &[AnalysisResult]) -> Vec<String> {
    let of_setup = |(number, setup): (usize, &AnalysisResult)| {
        let undrawn = setup.geometry.as_ref().and_then(Geometry::warning);
        let own = setup.provenance.warnings.iter().filter(move |&warning| Some(warning) != undrawn.as_ref());
        own.map(move |warning| format!("setup {number}: {warning}")).collect::<Vec<_>>()
    };
    (1..).zip(setups).flat_map(of_setup).collect()
}

fn described(setup: &AnalysisResult) -> Setup {
    Setup {
        analysis_id: setup.analysis_id.clone(),
        created_at: setup.created_at,
        data: setup.data.clone(),
        files: setup.provenance.inputs.iter().map(|input| input.key.clone()).collect(),
        share: None,
    }
}

fn inputs(setups: &[AnalysisResult]) -> Vec<InputFile> {
    let mut inputs: Vec<InputFile> = Vec::new();
    for input in setups.iter().flat_map(|setup| &setup.provenance.inputs) {
        if !inputs.contains(input) {
            inputs.push(input.clone());
        }
    }
    inputs
}

fn data(setups: &[AnalysisResult], channels: &[String]) -> DataSummary {
    let all = || setups.iter().map(|setup| &setup.data);
    let coverage = |name: &String| {
        let of_setup =
            |data: &DataSummary| data.coverage.get(data.channels.iter().position(|channel| channel == name)?).copied();
        all().filter_map(of_setup).fold(1.0, f64::min)
    };
    DataSummary {
        start: all().filter_map(|data| data.start).min(),
        sampling_rate_hz: all().map(|data| data.sampling_rate_hz).fold(f64::INFINITY, f64::min),
        samples: all().map(|data| data.samples).fold(0, u64::saturating_add),
        duration_s: all().map(|data| data.duration_s).sum(),
        channels: channels.to_vec(),
        coverage: channels.iter().map(coverage).collect(),
        segments: Vec::new(),
        clocks: Vec::new(),
        shapes: shape_quantity(setups),
    }
}

/// That of every setup, where it is one: a setup's factor λᵏ goes into its scale. `merging.setups` has the conversions.
fn shape_quantity(setups: &[AnalysisResult]) -> Option<ShapeQuantity> {
    let own = |setup: &AnalysisResult| setup.data.shapes.clone();
    let first = own(setups.first()?)?;
    let all = setups.iter().map(own).collect::<Option<Vec<_>>>()?;
    if all.iter().any(|other| (&other.quantity, &other.unit) != (&first.quantity, &first.unit)) {
        return None;
    }
    let mut as_measured: Vec<AsMeasured> = all.into_iter().flat_map(|own| own.as_measured).collect();
    as_measured.sort_by(|a, b| a.channel.cmp(&b.channel));
    as_measured.dedup_by(|a, b| a.channel == b.channel);
    Some(ShapeQuantity { conversions: Vec::new(), as_measured, ..first })
}

/// Of each channel the place that the first setup gives it; none where a channel has none. The wireframes of all setups
/// together.
fn geometry(setups: &[AnalysisResult], channels: &[String]) -> Option<Geometry> {
    let placed = || setups.iter().filter_map(|setup| Some((&setup.data.channels, setup.geometry.as_ref()?)));
    let place = |name: &String| {
        let of_setup = |(names, geometry): (&Vec<String>, &Geometry)| {
            geometry.channels.get(names.iter().position(|other| other == name)?).cloned()
        };
        placed().find_map(of_setup)
    };
    let channels = channels.iter().map(place).collect::<Option<Vec<_>>>()?;
    let mut wireframe = Wireframe::default();
    for (_, Geometry { wireframe: own, .. }) in placed() {
        wireframe.points.extend(own.points.clone());
        wireframe
            .lines
            .extend(own.lines.iter().filter(|line| !wireframe.lines.contains(line)).cloned().collect::<Vec<_>>());
        let new: Vec<_> =
            own.surfaces.iter().filter(|surface| !wireframe.surfaces.contains(surface)).cloned().collect();
        wireframe.surfaces.extend(new);
    }
    Some(Geometry { channels, wireframe })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_weighted_and_errs_by_what_the_estimates_say_or_show() {
        // Within what they say: 1/σ² = 4 and 1.
        let (value, std) = mean(&[(10.0, Some(0.5)), (10.5, Some(1.0))]);
        assert!((value - 10.1).abs() <= 1e-14);
        assert!((std.unwrap() - 0.2_f64.sqrt()).abs() <= 1e-15);
        // 10 standard deviations apart: χ² = 50, one degree of freedom, and σ/√2 √50 is half the distance.
        let (value, std) = mean(&[(10.0, Some(0.1)), (11.0, Some(0.1))]);
        assert!((value - 10.5).abs() <= 1e-14);
        assert!((std.unwrap() - 0.5).abs() <= 1e-14);
        assert_eq!(mean(&[(10.0, Some(0.1)), (11.0, None), (12.0, Some(0.1))]), (11.0, None));
        assert_eq!(mean(&[(10.0, Some(0.0)), (11.0, Some(0.1))]), (10.5, None), "no scatter is none that is known");
        assert_eq!(mean(&[(10.0, Some(0.5))]), (10.0, Some(0.5)));
    }
}
