//! The results of several setups that share channels are one result.

use crate::raw_files::result_of_named;
use nalgebra::{Complex, DVector};
use oma_worker::modal::indicators::mac;
use oma_worker::modal::merging::merge;
use oma_worker::model::geometry::{Geometry, Place, Wireframe};
use oma_worker::model::merging::Member;
use oma_worker::model::modes::{Confidence, Doubt, Mode, Shape};
use oma_worker::model::result::AnalysisResult;
use oma_worker::model::run::RunType;
use oma_worker::report;
use oma_worker::simulate::{Damping, ExactMode, Measurement, ShearChain};

const CHAIN: ShearChain = ShearChain { dofs: 8, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };

/// Degrees of freedom of the sensors: three stay, the others rove. The excitation is never the same.
const SETUPS: [(&[usize], f32); 3] = [(&[7, 4, 1, 0, 2], 1.0), (&[4, 1, 7, 3, 5], 30.0), (&[6, 7, 1, 4], 0.01)];

/// Ten minutes of each setup.
fn measured(run_type: RunType) -> Vec<AnalysisResult> {
    let setup = |(seed, (dofs, amplitude)): (u64, (&[usize], f32))| {
        let measurement =
            Measurement { dofs: dofs.to_vec(), sampling_rate_hz: 100.0, samples: 60_000, noise: 0.05, seed };
        let mut channels = CHAIN.record(&measurement);
        channels.iter_mut().flatten().for_each(|sample| *sample *= amplitude);
        let names: Vec<String> = dofs.iter().map(|dof| format!("storey {dof}")).collect();
        result_of_named(run_type, 100.0, &names, &channels)
    };
    (20..).zip(SETUPS).map(setup).collect()
}

/// The exact shape at the channels of a result.
fn exact_shape(mode: &ExactMode, result: &AnalysisResult) -> DVector<Complex<f64>> {
    let dof = |name: &String| name.trim_start_matches("storey ").parse::<usize>().unwrap();
    let channels = &result.data.channels;
    DVector::from_iterator(channels.len(), channels.iter().map(|name| Complex::from(mode.shape[dof(name)])))
}

#[test]
fn setups_with_references_give_the_shapes_of_the_whole_chain() {
    let setups = measured(RunType::Ssi);
    let merged = merge(&setups).unwrap();
    let names = [7, 4, 1, 0, 2, 3, 5, 6].map(|dof| format!("storey {dof}"));
    assert_eq!(merged.data.channels, names);
    assert_eq!((merged.data.samples, merged.data.sampling_rate_hz), (180_000, 100.0));
    assert_eq!((merged.method.as_str(), merged.modes.len()), ("ssi-cov", 8));
    let told = merged.merging.as_ref().unwrap();
    assert_eq!((told.setups.len(), told.modes.len()), (3, 8));
    let (mut losses, mut own_losses) = (0.0, 0.0);
    for ((mode, members), exact) in merged.modes.iter().zip(&told.modes).zip(CHAIN.modes()) {
        assert_eq!(members.iter().map(|member| member.setup).collect::<Vec<_>>(), [0, 1, 2]);
        let std = mode.frequency_std_hz.unwrap();
        assert!((mode.frequency_hz - exact.frequency_hz).abs() <= 5.0 * std, "{mode:?}");
        assert!((mode.damping_ratio.unwrap() - 0.01).abs() <= 5.0 * mode.damping_ratio_std.unwrap(), "{mode:?}");
        let loss = 1.0 - mac(mode.shape.0.as_view(), exact_shape(&exact, &merged).as_view());
        // At worst all of it is the square of one normal error, which is beyond 16 times its mean in 6e-5.
        let expected = mode.expected_mac_loss.unwrap();
        assert!(loss <= 16.0 * expected && loss < 0.01, "1 − MAC {loss:e}, expected {expected:e}, {mode:?}");
        losses += loss / expected / 8.0;
        for member in members {
            let (setup, own) = (&setups[member.setup], &setups[member.setup].modes[member.mode]);
            let own_expected = own.expected_mac_loss.unwrap();
            // What the setup errs itself and what the merged shape does, each at worst as above.
            assert!(1.0 - member.mac.unwrap() <= 16.0 * (own_expected + expected), "{member:?}");
            own_losses +=
                (1.0 - mac(own.shape.0.as_view(), exact_shape(&exact, setup).as_view())) / own_expected / 24.0;
        }
    }
    // The merged shapes hold what is expected of them as well as those that they are made of: these are known to some 25 %, and
    // eight modes with some four degrees of freedom each scatter by √(2 / 32) = 0.25.
    assert!((losses / own_losses - 1.0).abs() <= 4.0 * 0.25_f64.hypot(0.25), "{losses}, of the setups {own_losses}");
}

#[test]
fn merging_serves_fdd_too() {
    let merged = merge(&measured(RunType::Fdd)).unwrap();
    let segment_length = merged.parameters["merging"]["setups"][0]["fdd"]["segment_length"].as_f64().unwrap();
    for exact in CHAIN.modes() {
        // A peak is as wide as its damping makes it, 2 ξ f, and no finer than a line of the spectrum.
        let width = 2.0 * exact.damping_ratio * exact.frequency_hz + 100.0 / segment_length;
        let shape = exact_shape(&exact, &merged);
        let is_found = merged.modes.iter().any(|mode| {
            (mode.frequency_hz - exact.frequency_hz).abs() <= width
                && mac(mode.shape.0.as_view(), shape.as_view()) > 0.99
        });
        assert!(is_found, "{exact:?} is not among {:?}", merged.modes);
    }
    assert!(merged.modes.iter().all(|mode| mode.damping_ratio.is_none() && mode.expected_mac_loss.is_none()));
}

/// A result with these modes: frequency, and components of the named channels.
fn result(channels: &[&str], modes: &[(f64, &[f64])]) -> AnalysisResult {
    let mut result: AnalysisResult = serde_json::from_str(include_str!("../wire/v1/ssi.json")).unwrap();
    result.provenance.warnings.clear();
    result.data.channels = channels.iter().map(|&name| name.into()).collect();
    let shape = |values: &[f64]| Shape(DVector::from_iterator(values.len(), values.iter().map(|&x| Complex::from(x))));
    result.modes = modes.iter().map(|&(f, values)| Mode::new(f, shape(values), (1.0, 0.0))).collect();
    result
}

/// Setup and place of each mode.
fn places(modes: &[Vec<Member>]) -> Vec<Vec<(usize, usize)>> {
    modes.iter().map(|members| members.iter().map(|member| (member.setup, member.mode)).collect()).collect()
}

#[test]
fn modes_that_change_places_are_told_by_their_shapes_and_what_a_setup_lacks_is_left_out() {
    let setups = [
        result(&["x", "y", "p"], &[(5.0, &[1.0, 1.0, 2.0]), (5.2, &[1.0, -0.8, 3.0]), (9.0, &[1.0, 0.5, 1.0])]),
        result(&["x", "y", "q"], &[(5.05, &[-2.0, 1.6, 8.0]), (5.15, &[3.0, 3.0, 15.0])]),
    ];
    let merged = merge(&setups).unwrap();
    let told = merged.merging.as_ref().unwrap();
    assert_eq!(places(&told.modes), [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]);
    assert_eq!(places(&told.left_out), [[(0, 2)]]);
    assert_eq!((told.left_out[0][0].frequency_hz, told.left_out[0][0].mac), (9.0, None));
    // Plain means, and each part in the scale of the references.
    let exact = [(5.075, [1.0, 1.0, 2.0, 5.0]), (5.125, [1.0, -0.8, 3.0, -4.0])];
    for (mode, (frequency, values)) in merged.modes.iter().zip(exact) {
        assert!((mode.frequency_hz - frequency).abs() < 1e-12 && mode.frequency_std_hz.is_none());
        let largest = values.iter().copied().max_by(|a: &f64, b| a.abs().total_cmp(&b.abs())).unwrap();
        for (component, value) in mode.shape.0.iter().zip(values) {
            assert!((component - value / largest).norm() < 1e-12, "{:?}", mode.shape);
        }
    }
    let warnings = &merged.provenance.warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("9.0000 Hz") && warnings[0].contains("setup 1 only") && warnings[0].ends_with(" q"));
    let page = report::page("Bridge", &[], std::slice::from_ref(&merged));
    assert!(page.contains("Setup by setup") && page.contains("Left out"));
    assert!(report::mode_table(&merged).contains("2 setups, 4 channels"));
}

#[test]
fn setups_that_are_tied_by_way_of_others_are_joined_in_any_order() {
    let shape = [1.0, 0.8, -0.5, 0.3, 0.9, -0.7, 0.4, 0.2];
    let part = |names: &[&str], places: &[usize], scale: f64| {
        let values: Vec<f64> = places.iter().map(|&place| shape[place] * scale).collect();
        result(names, &[(5.0, &values)])
    };
    let mut setups = vec![
        part(&["a", "b", "c", "d"], &[0, 1, 2, 3], 1.0),
        part(&["g", "h", "e", "f"], &[6, 7, 4, 5], -0.1),
        part(&["c", "d", "e", "f"], &[2, 3, 4, 5], 7.0),
    ];
    for _ in 0..3 {
        setups.rotate_left(1);
        let merged = merge(&setups).unwrap();
        let places = merged.data.channels.iter().map(|name| usize::from(name.as_bytes()[0] - b'a'));
        let exact = DVector::from_iterator(8, places.map(|place| Complex::from(shape[place])));
        assert!(1.0 - mac(merged.modes[0].shape.0.as_view(), exact.as_view()) <= 1e-12);
        assert_eq!(merged.provenance.warnings, Vec::<String>::new());
    }
}

#[test]
fn what_the_setups_say_of_a_mode_is_weighted_kept_or_left_away() {
    let mode = |frequency: f64, std: f64, confidence: Confidence, code: Option<&str>| Mode {
        frequency_std_hz: Some(std),
        damping_ratio: Some(0.01),
        damping_ratio_std: Some(0.001),
        expected_mac_loss: Some(1e-4),
        support: Some(1.0),
        order: Some(20),
        confidence: Some(confidence),
        doubts: code.iter().map(|&code| Doubt { code: code.into(), message: "because".into() }).collect(),
        ..Mode::new(frequency, Shape(DVector::from_element(3, Complex::from(1.0))), (1.0, 0.0))
    };
    let with = |names: [&str; 3], mode: Mode| {
        let mut result = result(&names, &[]);
        result.modes = vec![mode];
        result.provenance.warnings = vec!["is warm".into()];
        result
    };
    let setups = [
        with(["a", "b", "c"], mode(5.0, 0.01, Confidence::High, None)),
        with(["a", "b", "d"], mode(5.3, 0.03, Confidence::Moderate, Some("imprecise"))),
    ];
    let merged = merge(&setups).unwrap();
    let [mode] = &merged.modes[..] else { panic!("{:?}", merged.modes) };
    // Weights 9 and 1; χ² = 0.03² / 0.01² + 0.27² / 0.03² = 90 grows 0.01 √0.9 by √90.
    assert!((mode.frequency_hz - 5.03).abs() < 1e-12);
    assert!((mode.frequency_std_hz.unwrap() - 0.09).abs() < 1e-12);
    assert!((mode.damping_ratio_std.unwrap() - 0.001 / 2.0_f64.sqrt()).abs() < 1e-12);
    assert_eq!((mode.support, mode.order, mode.confidence), (None, None, Some(Confidence::Moderate)));
    assert_eq!(mode.doubts, [Doubt { code: "imprecise".into(), message: "setup 2: because".into() }]);
    assert_eq!(merged.provenance.warnings, ["setup 1: is warm", "setup 2: is warm"]);
    assert_eq!(merged.provenance.inputs, setups[0].provenance.inputs, "the same file once");

    // A component of variance 1e-4 · 3 / 2 = 1.5e-4: a and b stand twice, c and d once, and a quarter of it all lies along the
    // shape. The two scales differ by an error of the same variance, which moves c and d by half of it, one up and one down.
    let components = 1.5e-4 * (0.5 + 0.5 + 1.0 + 1.0) * 0.75;
    let scale = 1.5e-4 * (0.25 + 0.25);
    assert!((mode.expected_mac_loss.unwrap() - (components + scale) / 4.0).abs() < 1e-3 * 1e-4, "{mode:?}");
}

#[test]
fn places_and_lines_of_all_setups_draw_the_whole_structure() {
    let line = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    let lines = vec![line("ground", "node a"), line("node a", "node b"), line("node b", "node c")];
    let placed = |names: [&str; 2]| {
        let mut result = result(&names, &[(5.0, &[1.0, 1.0])]);
        let place = |name: &str| Place {
            node: format!("node {name}"),
            position: [0.0, 0.0, f64::from(name.as_bytes()[0])],
            direction: [1.0, 0.0, 0.0],
        };
        let wireframe =
            Wireframe { points: [("ground".to_owned(), [0.0; 3])].into(), lines: lines.clone(), surfaces: Vec::new() };
        let geometry = Geometry { channels: names.map(place).into(), wireframe };
        result.provenance.warnings.extend(geometry.warning());
        result.geometry = Some(geometry);
        result
    };
    let setups = [placed(["a", "b"]), placed(["b", "c"])];
    assert_eq!(setups[0].provenance.warnings.len(), 1, "one setup cannot draw all");
    let merged = merge(&setups).unwrap();
    let geometry = merged.geometry.unwrap();
    assert_eq!(geometry.wireframe.lines, lines);
    let nodes: Vec<&str> = geometry.channels.iter().map(|place| place.node.as_str()).collect();
    assert_eq!(nodes, ["node a", "node b", "node c"]);
    let warnings = merged.provenance.warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("shares only the channel b"), "{warnings:?}");

    let [first, mut second] = setups;
    second.geometry = None;
    assert_eq!(merge(&[first, second]).unwrap().geometry, None);
}

#[track_caller]
fn fails(setups: &[AnalysisResult], parts: &[&str]) {
    let said = merge(setups).unwrap_err().to_string();
    assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} is not in: {said}");
}

#[test]
fn what_cannot_be_merged_is_said_with_what_is_needed() {
    let one = result(&["a", "b", "c"], &[(5.0, &[1.0, 2.0, 3.0])]);
    fails(&[], &["2 setups", "0"]);
    fails(std::slice::from_ref(&one), &["2 setups", "1"]);
    let alone = result(&["x", "y"], &[(5.0, &[1.0, 2.0])]);
    let near = result(&["b", "c", "d"], &[(5.0, &[2.0, 3.0, 1.0])]);
    fails(&[one.clone(), alone, near.clone()], &["setup 2 (x, y)", "shares no channel"]);
    let fdd: AnalysisResult = serde_json::from_str(include_str!("../wire/v1/fdd.json")).unwrap();
    fails(&[one.clone(), fdd], &["setup 1 is by ssi-cov", "setup 2 by fdd"]);
    let record: AnalysisResult = serde_json::from_str(include_str!("../wire/v1/preprocessing.json")).unwrap();
    fails(&[record.clone(), record], &["setup 1", "preprocessing"]);
    fails(&[one.clone(), result(&["a", "b"], &[(5.0, &[1.0, 2.0, 3.0])])], &["setup 2", "2 channels", "3 components"]);
    fails(&[one.clone(), result(&["a", "a"], &[])], &["setup 2", "channel a twice"]);

    let none = merge(&[one.clone(), result(&["c", "d", "a"], &[])]).unwrap();
    assert!(none.modes.is_empty() && none.no_modes_reason.unwrap().contains("all 4 channels"));
    let same = merge(&[one.clone(), one]).unwrap();
    assert!(same.modes.len() == 1 && same.provenance.warnings[0].contains("setup 2 has no channel"));
}
