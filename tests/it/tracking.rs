//! Each mode of a result says which mode of earlier ones it is.

use crate::raw_files::result_of;
use nalgebra::{Complex, DVector};
use oma_worker::modal::tracking::track;
use oma_worker::model::modes::{Mode, Shape};
use oma_worker::model::result::AnalysisResult;
use oma_worker::model::run::RunType;
use oma_worker::simulate::{Damping, Measurement, ShearChain};

/// Ten minutes of a chain of five.
fn chain(top_frequency_hz: f64, seed: u64) -> AnalysisResult {
    let chain = ShearChain { dofs: 5, top_frequency_hz, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: (0..5).collect(), sampling_rate_hz: 100.0, samples: 60_000, noise: 0.05, seed };
    result_of(RunType::Ssi, 100.0, &chain.record(&measurement))
}

#[test]
fn a_softer_structure_is_told_mode_by_mode_and_an_unchanged_one_is_not() {
    let earlier: Vec<AnalysisResult> = (0..4).map(|seed| chain(20.0, seed)).collect();
    let mut same = chain(20.0, 10);
    track(&mut same, &earlier);
    let mut softer = chain(19.6, 11);
    track(&mut softer, &earlier);
    // One earlier result has no scatter: the standard deviations speak.
    let mut beside_one = chain(19.6, 11);
    track(&mut beside_one, &earlier[..1]);
    assert_eq!((same.modes.len(), softer.modes.len()), (5, 5));
    for (k, ((same, softer), beside_one)) in same.modes.iter().zip(&softer.modes).zip(&beside_one.modes).enumerate() {
        let [same, softer, beside_one] = [same, softer, beside_one].map(|mode| mode.track.as_ref().unwrap());
        assert_eq!([same, softer, beside_one].map(|track| (track.latest.mode, track.seen)), [(k, 4), (k, 4), (k, 1)]);
        assert!([same, softer, beside_one].iter().all(|track| track.mac > 0.99));
        // Four earlier results leave Student's t of three degrees of freedom: beyond 10 in 0.2 %.
        assert!(same.frequency_change_sigmas.is_some_and(|sigmas| sigmas.abs() < 10.0), "{same:?}");
        let part = softer.frequency_change_hz / softer.frequency_hz;
        assert!((part + 0.02).abs() < 0.003, "{softer:?}");
        assert!(beside_one.frequency_change_sigmas.is_some_and(|sigmas| sigmas < -5.0), "{beside_one:?}");
        assert!(softer.damping_ratio.is_some_and(|damping| (damping - 0.01).abs() < 0.003));
        assert!(softer.damping_ratio_change_sigmas.is_some());
    }
    assert_eq!(softer.tracking.map(|tracking| (tracking.earlier, tracking.missing)), Some((4, vec![])));
}

/// A result with these modes: frequency, and components of the named channels.
fn result(minute: usize, channels: &[&str], modes: &[(f64, &[f64])]) -> AnalysisResult {
    let mut result: AnalysisResult = serde_json::from_str(include_str!("../wire/v1/ssi.json")).unwrap();
    result.created_at = format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap();
    result.data.start = None;
    result.data.channels = channels.iter().map(|&name| name.into()).collect();
    let shape = |values: &[f64]| Shape(DVector::from_iterator(values.len(), values.iter().map(|&x| Complex::from(x))));
    result.modes = modes.iter().map(|&(f, values)| Mode::new(f, shape(values), (1.0, 0.0))).collect();
    result
}

/// Per mode the minute and place of its latest appearance and how often it was seen.
fn tracks(result: &AnalysisResult) -> Vec<Option<(String, usize, usize)>> {
    let told = |mode: &Mode| mode.track.as_ref().map(|t| (t.latest.created_at.to_string(), t.latest.mode, t.seen));
    result.modes.iter().map(told).collect()
}

fn at(minute: usize, mode: usize, seen: usize) -> Option<(String, usize, usize)> {
    Some((format!("2026-01-01T00:{minute:02}:00Z"), mode, seen))
}

#[test]
fn modes_that_cross_keep_their_shapes_whatever_order_the_results_come_in() {
    let (a, b): (&[f64], &[f64]) = (&[1.0, 1.0, 0.0], &[1.0, -1.0, 0.0]);
    let c: &[f64] = &[0.0, 0.0, 1.0];
    let names = ["x", "y", "z"];
    let mut earlier = vec![
        result(1, &names, &[(5.0, a), (5.2, b), (9.0, c)]),
        result(2, &names, &[(5.1, a), (5.12, b)]),
        result(3, &names, &[(5.1, b), (5.15, a)]),
    ];
    for _ in 0..3 {
        earlier.rotate_left(1);
        let mut now = result(4, &names, &[(5.05, b), (5.2, a), (9.3, c)]);
        track(&mut now, &earlier);
        assert_eq!(tracks(&now), [at(3, 0, 3), at(3, 1, 3), at(1, 2, 1)]);
    }
}

#[test]
fn each_earlier_mode_is_at_most_one_and_the_nearer_pair_wins() {
    let shape: &[f64] = &[1.0, 0.5];
    let near: &[f64] = &[1.0, 0.6];
    let earlier = [result(1, &["x", "y"], &[(5.0, shape)])];
    let mut now = result(2, &["x", "y"], &[(5.01, near), (5.02, shape), (20.0, shape)]);
    track(&mut now, &earlier);
    // 0.2 % and 1 − MAC = 0.006 are farther away than 0.4 % alone; four times the frequency is another mode.
    assert_eq!(tracks(&now), [None, at(1, 0, 1), None]);

    // Alike in shape, and each within reach of both: the least total distance keeps their order.
    let earlier = [result(1, &["x", "y"], &[(5.0, shape), (5.2, shape)])];
    let mut both = result(2, &["x", "y"], &[(5.25, shape), (5.05, shape)]);
    track(&mut both, &earlier);
    assert_eq!(tracks(&both), [at(1, 1, 1), at(1, 0, 1)]);
}

#[test]
fn what_most_earlier_results_have_is_missed() {
    let (a, b): (&[f64], &[f64]) = (&[1.0, 1.0], &[1.0, -1.0]);
    let names = ["x", "y"];
    let earlier = [
        result(1, &names, &[(5.0, a), (7.0, b)]),
        result(2, &names, &[(5.0, a), (7.1, b)]),
        result(3, &names, &[(5.0, a), (30.0, b)]),
    ];
    let mut now = result(4, &names, &[(5.0, a)]);
    track(&mut now, &earlier);
    let missing = now.tracking.unwrap().missing;
    let told: Vec<_> = missing.iter().map(|m| (m.frequency_hz, m.seen, m.latest.mode)).collect();
    assert_eq!(told, [(7.1, 2, 1)]);
    // Without any mode all are missing.
    let mut none = result(4, &names, &[]);
    track(&mut none, &earlier);
    assert_eq!(none.tracking.unwrap().missing.len(), 2);
}

#[test]
fn shapes_are_compared_over_the_channels_that_both_have() {
    let earlier = [result(1, &["x", "y", "z"], &[(5.0, &[1.0, 2.0, 3.0]), (5.1, &[1.0, -2.0, 3.0])])];
    let mut now = result(2, &["new", "z", "y"], &[(5.05, &[9.0, 3.0, -2.0])]);
    track(&mut now, &earlier);
    assert_eq!(tracks(&now), [at(1, 1, 1)]);
    let mut strange = result(2, &["p", "q"], &[(5.0, &[1.0, 2.0])]);
    track(&mut strange, &earlier);
    assert_eq!(tracks(&strange), [None]);
    // A document by hand, with a shape of one component too few and a frequency that is none.
    let mut broken = result(2, &["x", "y", "z"], &[(5.0, &[1.0, 2.0]), (f64::NAN, &[1.0, 2.0, 3.0])]);
    broken.modes[0].expected_mac_loss = Some(-0.2 + 1e-17);
    track(&mut broken, &earlier);
    assert_eq!(tracks(&broken), [at(1, 0, 1), None]);
}
