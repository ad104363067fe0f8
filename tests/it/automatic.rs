//! Automatic modes on records with known truth.

use crate::raw_files::noise;
use crate::support::real_data;
use nalgebra::{Complex, DVector};
use oma_worker::compute::Backend;
use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::automatic::{self, Decimate, Identified};
use oma_worker::modal::indicators::mac;
use oma_worker::modal::spectrum::{self, Spectra};
use oma_worker::modal::{ModalError, fdd};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Parameters, SsiParameters};
use oma_worker::model::record::{MemoryRecord, Record};
use oma_worker::preprocess;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use serde_json::{Value, json};

pub(crate) fn identify(record: &MemoryRecord, parameters: &SsiParameters) -> Identified {
    identify_on(record, parameters, &Cpu)
}

pub(crate) fn identify_on(record: &MemoryRecord, parameters: &SsiParameters, backend: &dyn Backend) -> Identified {
    let decimate = |record, factor| match preprocess::decimate(record, factor) {
        Ok(decimated) => Ok(Box::new(decimated) as Box<dyn Record>),
        Err(error) => Err(ModalError::Setting(error.to_string())),
    };
    let decimate: &Decimate<'_> = &decimate;
    automatic::identify(record, parameters, None, decimate, backend, &Control::none()).unwrap()
}

fn fdd_peaks(record: &MemoryRecord) -> Vec<fdd::Peak> {
    let length = spectrum::segment_length_by_rule(record.info());
    let control = Control::none();
    let spectra = Spectra::new(record, length, 0.5, &Cpu, &control).unwrap();
    let band_hz = (0.0, record.info().sampling_rate_hz / 2.0);
    let setting = fdd::PeakSetting { band_hz, overlap: 0.5, prominence: fdd::PROMINENCE };
    fdd::peaks(&spectra, &setting).unwrap()
}

/// Frequencies and, row by row, real shapes of a truth file.
fn truth(name: &str, frequencies: &str) -> (Vec<f64>, Vec<DVector<Complex<f64>>>) {
    let file = real_data::json(&format!("data/{name}.json"));
    let frequencies = real_data::numbers(&file[frequencies]);
    let rows = file.as_object().unwrap().iter().find(|(key, _)| key.starts_with("phi_rows")).unwrap().1;
    let rows: Vec<Vec<f64>> = rows.as_array().unwrap().iter().map(real_data::numbers).collect();
    let shape = |i: usize| DVector::from_iterator(rows.len(), rows.iter().map(|row| Complex::new(row[i], 0.0)));
    let shapes = (0..frequencies.len()).map(shape).collect();
    (frequencies, shapes)
}

/// All modes and no other, by SSI within `ssi` and by FDD within `fdd` of the frequency, MAC above 0.99.
fn finds_exactly(record: &MemoryRecord, truth: (Vec<f64>, Vec<DVector<Complex<f64>>>), ssi: f64, fdd: f64) {
    let (frequencies, shapes) = truth;
    let modes = identify(record, &SsiParameters::default()).modes;
    let found: Vec<f64> = modes.iter().map(|mode| mode.frequency_hz).collect();
    assert_eq!(found.len(), frequencies.len(), "SSI: {found:?}");
    for (i, mode) in modes.iter().enumerate() {
        let error = (mode.frequency_hz - frequencies[i]).abs() / frequencies[i];
        assert!(error <= ssi, "SSI: {} Hz, {error:e}", frequencies[i]);
        let likeness = mac(mode.shape.0.as_view(), shapes[i].as_view());
        assert!(likeness >= 0.99, "SSI: {} Hz, MAC {likeness}", frequencies[i]);
    }
    let peaks = fdd_peaks(record);
    let found: Vec<f64> = peaks.iter().map(|peak| peak.frequency_hz).collect();
    assert_eq!(found.len(), frequencies.len(), "FDD: {found:?}");
    for (i, peak) in peaks.iter().enumerate() {
        let error = (peak.frequency_hz - frequencies[i]).abs() / frequencies[i];
        assert!(error <= fdd, "FDD: {} Hz, {error:e}", frequencies[i]);
        let likeness = mac(peak.shape.as_view(), shapes[i].as_view());
        assert!(likeness >= 0.98, "FDD: {} Hz, MAC {likeness}", frequencies[i]);
    }
}

#[test]
fn all_five_modes_and_no_other_of_the_chain_of_real_data() {
    finds_exactly(&real_data::record("data/chain05_10min.npy", 100.0), truth("chain05_10min", "f_hz"), 0.003, 0.005);
}

#[test]
fn all_five_modes_and_no_other_of_the_frame_of_real_data() {
    let record = real_data::record("data/pyoma2_5dof_sim_f32.npy", 100.0);
    finds_exactly(&record, truth("pyoma2_5dof_truth", "f_hz"), 0.01, 0.01);
}

#[test]
fn five_of_five_modes_of_the_koma_frame_of_real_data() {
    // Row 0 of the truth's shapes is the top; the record's channels have the same order.
    let record = real_data::record("data/koma_shearframe.npy", 12.0);
    finds_exactly(&record, truth("koma_shearframe_truth", "f_hz_effective"), 0.01, 0.01);
}

#[test]
fn six_of_six_modes_of_the_bridge_of_real_data() {
    let record = real_data::record("data/cheynet_bridge_rz_f32.npy", 15.0);
    finds_exactly(&record, truth("cheynet_bridge_truth", "f_hz_effective"), 0.005, 0.005);
}

#[test]
fn published_modes_of_the_palisaden_building_of_real_data() {
    let record = real_data::record("data/pyoma2_palisaden_raw30min_f32.npy", 100.0);
    let modes: Vec<f64> =
        identify(&record, &SsiParameters::default()).modes.iter().map(|mode| mode.frequency_hz).collect();
    let peaks: Vec<f64> = fdd_peaks(&record).iter().map(|peak| peak.frequency_hz).collect();
    // Published with two decimals as selection values.
    for expected in [1.88, 2.42, 2.68] {
        for (method, found) in [("SSI", &modes), ("FDD", &peaks)] {
            let error = found.iter().map(|f| (f - expected).abs() / expected).fold(f64::INFINITY, f64::min);
            assert!(error <= 0.01, "{method}: {expected} Hz, {error:e} in {found:?}");
        }
    }
}

fn chain(dofs: usize, top_frequency_hz: f64) -> ShearChain {
    ShearChain { dofs, top_frequency_hz, damping: Damping::Uniform(0.01) }
}

fn record_of(chain: &ShearChain, samples: usize, seed: u64) -> Vec<Vec<f32>> {
    let dofs = (0..chain.dofs).collect();
    chain.record(&Measurement { dofs, sampling_rate_hz: 100.0, samples, noise: 0.03, seed })
}

#[test]
fn the_same_bits_with_one_and_with_two_threads() {
    let record = MemoryRecord::new(100.0, record_of(&chain(6, 20.0), 30_000, 5));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let found = identify(&record, &SsiParameters::default());
            let peaks = format!("{:?}", fdd_peaks(&record));
            (serde_json::to_string(&found.modes).unwrap(), serde_json::to_string(&found.stabilization).unwrap(), peaks)
        })
    };
    assert_eq!(with(1), with(2));
}

#[test]
fn modes_two_decades_below_the_others_are_found_on_a_decimated_level() {
    let (slow, fast) = (chain(3, 0.3), chain(3, 30.0));
    let mut channels = record_of(&slow, 360_000, 6);
    for (channel, other) in channels.iter_mut().zip(record_of(&fast, 360_000, 7)) {
        channel.iter_mut().zip(other).for_each(|(a, b)| *a += b);
    }
    let found = identify(&MemoryRecord::new(100.0, channels), &SsiParameters::default());
    let expected: Vec<f64> = slow.modes().iter().chain(&fast.modes()).map(|mode| mode.frequency_hz).collect();
    let frequencies: Vec<f64> = found.modes.iter().map(|mode| mode.frequency_hz).collect();
    assert!(found.levels.len() >= 2, "{:?}", found.levels);
    assert_eq!(frequencies.len(), expected.len(), "{frequencies:?}");
    for (f, expected) in frequencies.iter().zip(expected) {
        // Five standard deviations of the slowest mode at best: 5 √(0.01 / (2π · 0.067 · 3600)) = 1.3 %.
        assert!((f - expected).abs() <= 0.013 * expected, "{f} {expected}");
    }
}

#[test]
fn without_standard_deviations_the_chain_has_its_modes_too() {
    let chain = chain(4, 20.0);
    let record = MemoryRecord::new(100.0, record_of(&chain, 60_000, 8));
    let parameters =
        SsiParameters { uncertainty: Some(false), block_rows: Some(20), order_max: Some(20), ..Default::default() };
    let modes = identify(&record, &parameters).modes;
    for exact in chain.modes() {
        let near = |f: f64| (f - exact.frequency_hz).abs() <= 0.01 * exact.frequency_hz;
        assert!(modes.iter().any(|mode| near(mode.frequency_hz)), "{} Hz", exact.frequency_hz);
    }
    assert!(modes.iter().all(|mode| mode.frequency_std_hz.is_none()));
}

/// Verdict of every pole of a chain of five under these criteria.
fn verdicts(criteria: Value, uncertainty: bool) -> Vec<String> {
    let chain = ShearChain { dofs: 5, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: (0..5).collect(), sampling_rate_hz: 100.0, samples: 30_000, noise: 0.05, seed: 4 };
    let ssi = json!({"criteria": criteria, "uncertainty": uncertainty});
    let parameters = Parameters::from_parts(&Value::Null, &Value::Null, &ssi).unwrap();
    let found = identify(&MemoryRecord::new(100.0, chain.record(&measurement)), &parameters.ssi);
    found.stabilization.verdict
}

#[test]
fn each_criterion_refuses_poles_by_its_own_verdict() {
    for uncertainty in [true, false] {
        let by_rule = verdicts(json!({}), uncertainty);
        assert!(by_rule.iter().any(|verdict| verdict == "stable"));
        // pyOMA2's names, and limits that no pole keeps to; the rest of the rules goes on.
        let all = [
            ("damping_max", 1e-9, "damping"),
            ("xi_max", 1e-9, "damping"),
            ("mpc_min", 1.0, "complexity"),
            ("mpd_lim", 1e-12, "complexity"),
            ("CoV_max", 1e-12, "frequency_deviation"),
            ("rho_max", 1e-9, "frequency_deviation"),
            ("damping_cov_max", 1e-9, "damping_deviation"),
        ];
        for (name, limit, expected) in all {
            let refused = verdicts(json!({ name: limit }), uncertainty);
            if !uncertainty && expected.ends_with("deviation") {
                assert_eq!(refused, by_rule, "{name}: nothing is known to keep to it");
                continue;
            }
            assert!(!refused.iter().any(|verdict| verdict == "stable"), "{name}");
            assert!(by_rule.iter().zip(&refused).all(|(rule, own)| rule != "stable" || own == expected), "{name}");
        }
        // A limit that every pole keeps to changes nothing.
        assert_eq!(verdicts(json!({"damping_max": 0.2, "frequency_cov_max": 1e9}), uncertainty), by_rule);
    }
}

#[test]
fn a_criterion_that_makes_no_sense_is_named_with_its_limit() {
    let error = |criteria: Value| {
        let ssi = json!({ "hc": criteria });
        Parameters::from_parts(&Value::Null, &Value::Null, &ssi).unwrap_err().to_string()
    };
    let too_far = error(json!({"mpc_min": 1.5}));
    assert!(too_far.contains("criteria.mpc_min is 1.5") && too_far.contains("at most 1"), "{too_far}");
    assert!(error(json!({"rho_max": -1.0})).contains("criteria.rho_max is -1, must be above 0"));
    let unknown = error(json!({"xi": 0.1}));
    assert!(unknown.contains("xi") && unknown.contains("damping_max"), "{unknown}");
}

#[test]
fn where_nothing_stands_above_the_scatter_the_result_says_so() {
    let channels = (0..4).map(|seed| noise(seed, 6000).into_iter().map(|x| x as f32).collect()).collect();
    let found = identify(&MemoryRecord::new(100.0, channels), &SsiParameters::default());
    assert_eq!((found.modes.len(), found.levels[0].signal_rank), (0, Some(0)));
    let told = "at 100 Hz no part of the correlations stands above";
    assert!(found.warnings.iter().any(|warning| warning.starts_with(told)), "{:?}", found.warnings);
}
