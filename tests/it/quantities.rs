//! Displacements, velocities and accelerations in one record: shapes in one quantity, as those of one kind of sensor.

use crate::raw_files::Folder;
use nalgebra::{Complex, DMatrix, DVector};
use oma_worker::compute::{LagBlock, LagProducts};
use oma_worker::modal::fdd::Peak;
use oma_worker::modal::indicators::mac;
use oma_worker::modal::merging::merge;
use oma_worker::modal::plscf::NormalEquations;
use oma_worker::modal::poles::{Observability, Pole};
use oma_worker::modal::quantities::{self, Common};
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::modes::Mode;
use oma_worker::model::motion::Motion;
use oma_worker::model::motion::Motion::{Acceleration, Displacement, Velocity};
use oma_worker::model::nodes::Nodes;
use oma_worker::model::parameters::Parameters;
use oma_worker::model::result::AnalysisResult;
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::report;
use oma_worker::simulate::{Damping, ExactMode, Measurement, ShearChain};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::f64::consts::TAU;
use std::fmt::Write as _;

type C64 = Complex<f64>;

const FS: f64 = 100.0;

/// What the sensors measure, in which unit, and that unit in SI.
const MIXED: [(Motion, &str, &str, f64); 5] = [
    (Acceleration, "acceleration", "m/s2", 1.0),
    (Velocity, "Schwinggeschwindigkeit", "mm/s", 1e-3),
    (Displacement, "displacement", "mm", 1e-3),
    (Acceleration, "Beschleunigung", "g", 9.80665),
    (Acceleration, "acceleration", "m/s²", 1.0),
];

fn chain(damping: Damping) -> ShearChain {
    ShearChain { dofs: 5, top_frequency_hz: 20.0, damping }
}

fn measurement(samples: usize, seed: u64) -> Measurement {
    Measurement { dofs: (0..5).collect(), sampling_rate_hz: FS, samples, noise: 0.02, seed }
}

/// A record of the chain by the sensors of [`MIXED`].
fn mixed(chain: ShearChain, measurement: &Measurement) -> Vec<Vec<f32>> {
    let record = chain.record_of(measurement, &MIXED.map(|own| own.0));
    let in_unit = |(samples, own): (Vec<f32>, (Motion, &str, &str, f64))| {
        samples.into_iter().map(|y| (f64::from(y) / own.3) as f32).collect()
    };
    record.into_iter().zip(MIXED).map(in_unit).collect()
}

fn channels(told: [(&str, &str); 5]) -> Vec<Channel> {
    let channel = |(name, (quantity, unit)): (char, (&str, &str))| Channel {
        quantity: quantity.into(),
        unit: unit.into(),
        ..Channel::named(&name.to_string())
    };
    ('a'..).zip(told).map(channel).collect()
}

fn text(record: &[Vec<f32>], units: &str) -> String {
    let mut text = format!("time,a,b,c,d,e\n{units}");
    for k in 0..record[0].len() {
        write!(text, "{:.4}", k as f64 / FS).unwrap();
        record.iter().for_each(|channel| write!(text, ",{}", channel[k]).unwrap());
        text.push('\n');
    }
    text
}

/// The result of a method; an empty list of channels leaves it to the file.
fn run(method: &str, content: &str, channels: &[Channel]) -> AnalysisResult {
    let part = json!({"method": method});
    let (run_type, fdd, ssi) = match method {
        "ssi-cov" | "ssi-dat" => (RunType::Ssi, Value::Null, part),
        _ => (RunType::Fdd, part, Value::Null),
    };
    let folder = Folder::new();
    let request = Request {
        parameters: Parameters::from_parts(&Value::Null, &fdd, &ssi).unwrap(),
        channels: channels.to_vec(),
        ..Request::new(run_type, vec![folder.file("record.csv", content)])
    };
    pipeline::run(&request, None, folder.path(), &Control::none()).unwrap().result
}

/// 1 − MAC of the mode nearest to each exact one; 1 where there is none within 2 %.
fn losses(result: &AnalysisResult, truth: &[ExactMode]) -> Vec<f64> {
    let loss = |exact: &ExactMode| {
        let away = |mode: &&Mode| (mode.frequency_hz - exact.frequency_hz).abs();
        let nearest = result.modes.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
        let nearest = nearest.filter(|mode| away(mode) < 0.02 * exact.frequency_hz);
        let shape: DVector<C64> = exact.shape.map(|x| C64::new(x, 0.0));
        nearest.map_or(1.0, |mode| 1.0 - mac(mode.shape.0.as_view(), shape.as_view()))
    };
    truth.iter().map(loss).collect()
}

fn about_shapes(result: &AnalysisResult) -> Vec<&String> {
    result.provenance.warnings.iter().filter(|warning| warning.contains("shapes are")).collect()
}

#[test]
fn shapes_of_mixed_sensors_are_those_of_the_structure_by_every_method() {
    let chain = chain(Damping::Rising);
    let truth = chain.modes();
    let measurement = measurement(60_000, 3);
    let (mixed, pure) = (text(&mixed(chain, &measurement), ""), text(&chain.record(&measurement), ""));
    let (told, untold) = (channels(MIXED.map(|own| (own.1, own.2))), channels([("", ""); 5]));
    for method in ["ssi-cov", "ssi-dat", "plscf", "fdd", "efdd", "fsdd"] {
        let with = run(method, &mixed, &told);
        let without = losses(&run(method, &mixed, &untold), &truth);
        let alone = run(method, &pure, &untold);
        let found = losses(&with, &truth);
        for (k, (found, alone)) in found.iter().zip(losses(&alone, &truth)).enumerate() {
            // Of equally noisy sensors: 2e-4 at most, as accelerometers alone have it within the scatter of either.
            assert!(*found <= 1e-3, "{method}, mode {k}: 1 − MAC {found:e}");
            assert!((found - alone).abs() <= 3e-4, "{method}, mode {k}: {found:e} against {alone:e}");
            assert!(without[k] >= 0.5, "{method}, mode {k}: as measured it is another shape, {without:?}");
        }
        // Real modes have real shapes again.
        assert!(with.modes.iter().all(|mode| mode.mpc >= 0.999 && mode.mpd <= 0.02), "{method}");
        let shapes = with.data.shapes.as_ref().unwrap();
        assert_eq!((shapes.quantity.as_str(), shapes.unit.as_str()), ("acceleration", "m/s²"));
        let told: Vec<_> = shapes.conversions.iter().map(|c| (c.channel.as_str(), c.derivatives, c.factor)).collect();
        assert_eq!(told, [("b", 1, 1e-3), ("c", 2, 1e-3), ("d", 0, 9.80665)]);
        assert!(shapes.as_measured.is_empty() && about_shapes(&with).is_empty());
        assert_eq!(with.validation.is_some(), method.starts_with("ssi"));
        // The validation speaks of what was measured, and the modes explain it as well as accelerations alone.
        for (own, alone) in with.validation.iter().zip(&alone.validation) {
            for (own, alone) in own.channels.iter().zip(&alone.channels) {
                assert!(own.correlation_fit >= alone.correlation_fit - 1e-3, "{own:?} {alone:?}");
                let error_db = own.spectrum_error_db.zip(alone.spectrum_error_db);
                assert!(error_db.is_some_and(|(own, alone)| own <= alone + 0.3), "{own:?} {alone:?}");
            }
        }
    }
}

#[test]
fn the_expected_loss_is_that_of_the_shape_in_the_common_quantity() {
    let chain = chain(Damping::Uniform(0.1));
    let (mut of_mixed, mut expected) = (0.0, 0.0);
    for seed in 0..3 {
        let record = text(&mixed(chain, &measurement(240_000, seed)), "");
        let found = run("ssi-cov", &record, &channels(MIXED.map(|own| (own.1, own.2))));
        let losses = losses(&found, &chain.modes());
        // A factor iω instead of λ would turn velocities by 5.7° and displacements by 11.5° here, a loss of 5e-3.
        assert!(losses[..2].iter().all(|loss| *loss <= 5e-4), "seed {seed}: {losses:?}");
        of_mixed += losses.iter().sum::<f64>();
        expected += found.modes.iter().filter_map(|mode| mode.expected_mac_loss).sum::<f64>();
    }
    // 15 losses of a few squares each: their sum is right to a factor of two.
    assert!((0.4..=2.5).contains(&(of_mixed / expected)), "{of_mixed:e} against {expected:e}");
}

/// Shape and g of a real mode as the sensors of [`MIXED`] have them: g with a phase and a scale of its own.
fn measured(shape: &DVector<f64>, lambda: C64) -> (DVector<C64>, DVector<C64>) {
    let of = |s: C64, scale: C64| {
        let component = |i: usize, _| s.powi(MIXED[i].0.order()) * scale * (shape[i] / MIXED[i].3);
        DVector::from_fn(shape.len(), component)
    };
    (of(lambda, C64::new(1.0, 0.0)), of(-lambda, C64::new(0.3, -1.7)))
}

fn common() -> Common {
    quantities::common(&channels(MIXED.map(|own| (own.1, own.2)))).0
}

/// The poles of a system that has exactly these modes, μ = exp(λ/fs) in real form.
fn exact_poles(modes: &[(C64, DVector<f64>)]) -> Vec<Pole> {
    const BLOCK_ROWS: usize = 12;
    let n = 2 * modes.len();
    let (mut a, mut c, mut g) = (DMatrix::zeros(n, n), DMatrix::zeros(5, n), DMatrix::zeros(n, 5));
    for (k, (lambda, shape)) in modes.iter().enumerate() {
        let mu = (lambda / FS).exp();
        let (phi, of_references) = measured(shape, *lambda);
        a.view_mut((2 * k, 2 * k), (2, 2)).copy_from_slice(&[mu.re, mu.im, -mu.im, mu.re]);
        for i in 0..5 {
            (c[(i, 2 * k)], c[(i, 2 * k + 1)]) = (2.0 * phi[i].re, -2.0 * phi[i].im);
            (g[(2 * k, i)], g[(2 * k + 1, i)]) = (of_references[i].re, of_references[i].im);
        }
    }
    let mut o = DMatrix::zeros(5 * BLOCK_ROWS, n);
    for row in 0..BLOCK_ROWS {
        o.rows_mut(5 * row, 5).copy_from(&c);
        c *= &a;
    }
    let observability = Observability { common: common(), ..Observability::new(o, 5, g, Some((0..5).collect())) };
    observability.order(n, FS).unwrap().poles
}

fn lambda(frequency_hz: f64, damping: f64) -> C64 {
    C64::new(-damping, (1.0 - damping * damping).sqrt()) * (TAU * frequency_hz)
}

proptest! {
    /// Whatever the damping: the conversion has no approximation.
    #[test]
    fn exact_poles_have_exact_shapes(
        damping in 0.001..0.5_f64,
        low in 1.0..10.0_f64,
        shapes in prop::array::uniform2(prop::array::uniform5(0.1..1.0_f64)),
    ) {
        let (first, second) = (DVector::from_row_slice(&shapes[0]), DVector::from_row_slice(&shapes[1]));
        let second = second.map_with_location(|i, _, x: f64| if i % 2 == 0 { x } else { -x });
        let modes = [(lambda(low, damping), first), (lambda(3.0 * low, 0.02), second)];
        for (lambda, shape) in &modes {
            let exact = shape.map(C64::from);
            let (phi, g) = measured(shape, *lambda);
            // Powers of λ, of the unit, and the sums of the MAC: a few roundings each.
            for brought in [common().bring(phi.clone(), *lambda), common().bring(g, -lambda)] {
                prop_assert!(1.0 - mac(brought.as_view(), exact.as_view()) <= 1e-12);
            }
            let there_and_back = common().as_measured(common().bring(phi.clone(), *lambda), *lambda);
            prop_assert!((&there_and_back - &phi).iter().zip(phi.iter()).all(|(d, z)| d.norm() <= 1e-12 * z.norm()));
        }
        for (pole, (lambda, shape)) in exact_poles(&modes).iter().zip(&modes) {
            let exact = shape.map(C64::from);
            prop_assert!((pole.lambda - lambda).norm() <= 1e-8 * lambda.norm());
            // The columns of O differ by the units of the sensors, 1e4: an error of 1e-16 · 1e4 in λ and φ, and squares.
            prop_assert!(1.0 - mac(pole.shape.as_view(), exact.as_view()) <= 1e-12);
            prop_assert!(1.0 - pole.mpc <= 1e-10);
            // φ and g agree: the references belong to the earlier time.
            prop_assert!(pole.normal.as_ref().is_some_and(|normal| normal.disagreement <= 1e-12));
        }
    }

    #[test]
    fn a_derivative_of_a_shape_knows_that_lambda_moves(
        parts in prop::array::uniform5((0.1..1.0_f64, -1.0..1.0_f64)),
        (re, im) in (-3.0..3.0_f64, -3.0..3.0_f64),
    ) {
        let (shape, d_shape): (DVector<C64>, DVector<C64>) = (
            DVector::from_fn(5, |i, _| C64::new(parts[i].0, parts[i].1)),
            DVector::from_fn(5, |i, _| C64::new(parts[i].1, parts[i].0)),
        );
        let (s, d_s) = (lambda(1.0, 0.1), C64::new(re, im));
        let step = C64::from(1e-4);
        let at = |by: C64| common().bring(&shape + &d_shape * by, s + d_s * by);
        let slope = (at(step) - at(-step)) / (step * 2.0);
        let found = common().derivative(&shape, d_shape.clone(), s, d_s);
        // The third derivative of a square times a line leaves 1e-8 of it.
        prop_assert!((&slope - &found).norm() <= 1e-6 * found.norm().max(shape.norm()));
    }
}

#[test]
fn exact_correlations_have_exact_shapes_by_plscf() {
    let shape = DVector::from_row_slice(&[0.3, -0.5, 1.0, 0.8, -0.6]);
    let other = DVector::from_row_slice(&[1.0, 0.8, 0.5, -0.4, 0.7]);
    let modes = [(lambda(4.0, 0.15), shape), (lambda(11.0, 0.01), other)];
    let at = |m: i32| {
        let mut sum = DMatrix::zeros(5, 2);
        for (lambda, shape) in &modes {
            let (phi, g) = measured(shape, *lambda);
            let residue = phi * g.rows(0, 2).transpose();
            sum += (residue * (lambda / FS).exp().powi(m)).map(|z| 2.0 * z.re);
        }
        // Any variance will do: it scales the channels.
        if m == 0 { sum.map(|x: f64| x.abs() + 1.0) } else { sum }
    };
    let block = LagBlock { samples: 1, products: (0..40).map(at).collect() };
    let products = LagProducts { references: vec![0, 1], blocks: vec![block], edges: Vec::new() };
    let mut equations = NormalEquations::new(&products.into(), 2, false, &Control::none()).unwrap();
    equations.common = common();
    let poles = equations.order(2, FS).unwrap().poles;
    for (lambda, shape) in &modes {
        let away = |pole: &&Pole| (pole.lambda - lambda).norm();
        let pole = poles.iter().min_by(|a, b| away(a).total_cmp(&away(b))).unwrap();
        // The normal equations have the square of the condition of the correlations: 1e-16 · 1e8, and a margin.
        let loss = 1.0 - mac(pole.shape.as_view(), shape.map(C64::from).as_view());
        assert!(away(&pole) <= 1e-5 * lambda.norm() && loss <= 1e-6, "{lambda}: {} {loss:e}", pole.lambda);
    }
}

#[test]
fn a_spectral_line_takes_its_own_frequency() {
    let exact = DVector::from_row_slice(&[0.3, -0.5, 1.0, 0.8, -0.6]);
    let (shape, _) = measured(&exact, C64::new(0.0, TAU * 7.0));
    let peak = Peak { line: 7, frequency_hz: 7.0, shape, mpc: 0.0, mpd: 0.0, prominence: 1.0 };
    let brought = peak.brought_to(&common());
    assert!((brought.shape - exact.map(C64::from)).norm() <= 1e-12);
    assert!(1.0 - brought.mpc <= 1e-12 && brought.mpd <= 1e-7);
}

#[test]
fn one_quantity_is_left_as_it_is_to_the_last_bit() {
    let record = text(&chain(Damping::Rising).record(&measurement(20_000, 5)), "");
    for method in ["ssi-cov", "plscf", "efdd"] {
        let untold = run(method, &record, &channels([("", ""); 5]));
        let silent = untold.data.shapes.as_ref().unwrap();
        assert_eq!((silent.quantity.as_str(), silent.unit.as_str()), ("", ""));
        let spellings = [("acceleration", "m/s2"), ("Acc", "m/s^2"), ("Beschleunigung", "m/s²"), ("", "m s-2")];
        let [a, b, c, d] = spellings;
        for told in [[a; 5], [("strain", "µm/m"); 5], [("velocity", "mm/s"); 5], [a, b, c, d, a]] {
            let found = run(method, &record, &channels(told));
            assert_eq!((&found.modes, &found.validation), (&untold.modes, &untold.validation), "{method} {told:?}");
            assert_eq!(found.provenance.warnings, untold.provenance.warnings);
            let shapes = found.data.shapes.unwrap();
            let told = (told[0].0, told[0].1.replace("m/s2", "m/s²"));
            assert_eq!((shapes.quantity.as_str(), shapes.unit), told);
            assert!(shapes.conversions.is_empty() && shapes.as_measured.is_empty());
        }
    }
}

#[test]
fn what_is_no_motion_stays_as_measured_and_is_told_once() {
    let record = text(&chain(Damping::Rising).record(&measurement(20_000, 5)), "");
    let a = ("acceleration", "m/s2");
    let beside = [a, ("Dehnung", "µm/m"), a, ("acceleration", "V"), ("velocity", "mm")];
    for method in ["ssi-cov", "fdd"] {
        let untold = run(method, &record, &channels([("", ""); 5]));
        let found = run(method, &record, &channels(beside));
        assert_eq!(found.modes, untold.modes, "{method}");
        assert_eq!(
            about_shapes(&found),
            ["shapes are acceleration in m/s² but for these channels: their components stay as measured: \
                 b (its quantity \"Dehnung\" is no motion), d (its unit \"V\" is not known), e (\"mm\" is no unit of velocity)"]
        );
        // And nothing is drawn of them.
        let seen: Vec<_> = Nodes::of(&found).nodes.iter().map(|node| node.channels.len()).collect();
        assert_eq!(seen, [1, 0, 1, 0, 0]);
    }
    let mixed = [("strain", "µm/m"), ("inclination", "deg"), ("temperature", ""), ("", "mV"), ("strain", "µm/m")];
    let found = run("fdd", &record, &channels(mixed));
    assert_eq!(about_shapes(&found).len(), 1);
    assert!(about_shapes(&found)[0].starts_with("shapes are not in one quantity: their components"));
    assert_eq!(Nodes::of(&found).nodes.iter().map(|node| node.channels.len()).sum::<usize>(), 5);
    let silent = [("", "V"), ("", "mV"), ("", ""), ("", "counts"), ("", "V")];
    assert!(about_shapes(&run("fdd", &record, &channels(silent))).is_empty());
    // A motion without its unit has no scale beside others.
    let found = run("fdd", &record, &channels([a, ("acceleration", ""), a, a, a]));
    assert!(about_shapes(&found)[0].ends_with("b (its unit is not given)"), "{:?}", about_shapes(&found));
}

#[test]
fn the_most_frequent_quantity_wins_and_of_equals_the_later_derivative() {
    let told = |told: [(&str, &str); 5]| {
        let shapes = quantities::common(&channels(told)).1;
        (shapes.quantity, shapes.unit, shapes.conversions.iter().map(|own| own.derivatives).collect::<Vec<_>>())
    };
    let (a, v, d, none) = (("acceleration", "m/s2"), ("velocity", "m/s"), ("displacement", "m"), ("strain", ""));
    let is = |quantity: &str, unit: &str, derivatives: &[i32]| (quantity.into(), unit.into(), derivatives.to_vec());
    assert_eq!(told([a, v, v, d, d]), is("velocity", "m/s", &[-1, 1, 1]));
    assert_eq!(told([d, d, d, v, a]), is("displacement", "m", &[-1, -2]));
    assert_eq!(told([a, none, none, none, d]), is("acceleration", "m/s²", &[2]));
    assert_eq!(quantities::common(&[]).1, Default::default());
}

#[test]
fn setups_of_different_sensors_are_merged_in_one_quantity() {
    let chain = chain(Damping::Rising);
    let by = |seed: u64, is_mixed: bool| {
        let measurement = measurement(30_000, seed);
        let a = ("acceleration", "m/s2");
        let (record, told) = match is_mixed {
            true => (mixed(chain, &measurement), MIXED.map(|own| (own.1, own.2))),
            false => (chain.record(&measurement), [a; 5]),
        };
        run("ssi-cov", &text(&record, ""), &channels(told))
    };
    let setups = [by(1, true), by(2, false)];
    let merged = merge(&setups).unwrap();
    let losses = losses(&merged, &chain.modes());
    assert!(losses.iter().all(|loss| *loss <= 1e-3), "{losses:?}");
    let shapes = merged.data.shapes.unwrap();
    assert_eq!((shapes.quantity.as_str(), shapes.unit.as_str(), shapes.conversions.len()), ("acceleration", "m/s²", 0));
    let [mut other, first] = setups;
    other.data.shapes = None;
    assert_eq!(merge(&[first, other]).unwrap().data.shapes, None);
}

#[test]
fn the_page_says_which_channels_were_brought_to_one_quantity() {
    let mixed: AnalysisResult = serde_json::from_str(include_str!("../wire/v1/mixed.json")).unwrap();
    let page = report::page("Mixed", &[], std::slice::from_ref(&mixed));
    assert!(page.contains("All in acceleration, m/s²; brought to it: b (velocity mm/s), c (Weg m)."));
    let mut one = mixed;
    one.data.shapes.as_mut().unwrap().conversions.clear();
    assert!(!report::page("One", &[], &[one]).contains("brought to it"));
}

#[test]
fn a_row_of_units_says_what_the_columns_measure() {
    let chain = chain(Damping::Rising);
    let record = mixed(chain, &measurement(30_000, 3));
    let found = run("ssi-cov", &text(&record, "s,m/s2,mm/s,mm,g,m/s2\n"), &[]);
    let losses = losses(&found, &chain.modes());
    assert!(losses.iter().all(|loss| *loss <= 1e-3), "{losses:?}");
    assert_eq!(found.data.shapes.map(|shapes| shapes.conversions.len()), Some(3));
}
