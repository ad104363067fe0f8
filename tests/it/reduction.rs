//! Harmonics taken off a record: nothing of them stays, and the modes are as without.

use crate::automatic::identify;
use crate::harmonics::{CHAIN, RATE_HZ, record, samples};
use crate::raw_files::result_with;
use oma_worker::modal::reduction::Reduced;
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Parameters, SsiParameters};
use oma_worker::model::record::{Block, MemoryRecord, Record, Segment};
use oma_worker::model::result::{AnalysisResult, Harmonic};
use oma_worker::model::run::RunType;
use serde_json::{Value, json};
use std::f64::consts::PI;

/// Every sample that a record hands out, one vector a channel.
fn all(record: &dyn Record) -> Vec<Vec<f32>> {
    let mut channels = vec![Vec::new(); record.info().channels.len()];
    let (mut source, mut block) = (record.blocks().unwrap(), Block::default());
    while source.next_block(&mut block).unwrap() {
        channels.iter_mut().enumerate().for_each(|(c, channel)| channel.extend_from_slice(block.channel(c)));
    }
    channels
}

fn found_at(frequency_hz: f64) -> Harmonic {
    Harmonic {
        frequency_hz,
        frequency_std_hz: 3e-4,
        damping_ratio: 0.0,
        support: None,
        strongest_row: 0,
        kurtosis: None,
        kurtosis_std: None,
        rms_parts: None,
    }
}

fn rms(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), x| (sum + x * x, count + 1.0));
    f64::sqrt(sum / count)
}

/// A record of the given segments: noise of unit rms, and a sinusoid of amplitude 2 whose phase is `phase` of time in s.
fn noisy(segments: Vec<Segment>, phase: impl Fn(f64) -> f64) -> (MemoryRecord, Vec<f32>) {
    let mut state = 1_u64;
    let noise: Vec<f32> = (0..60_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (((state >> 33) as f64 / f64::from(1 << 30) - 1.0) * f64::sqrt(3.0)) as f32
        })
        .collect();
    let sum = noise.iter().enumerate().map(|(k, y)| y + (2.0 * phase(k as f64 / RATE_HZ).cos()) as f32).collect();
    let clean = segments.iter().flat_map(|s| &noise[s.start as usize..(s.start + s.samples) as usize]).copied();
    let clean = clean.collect();
    (MemoryRecord::with_segments(RATE_HZ, vec![sum], segments), clean)
}

#[test]
fn nothing_of_a_sinusoid_stays_across_a_gap_and_where_it_drifts() {
    let whole = vec![Segment { start: 0, samples: 60_000 }];
    let gap = vec![Segment { start: 0, samples: 20_000 }, Segment { start: 21_000, samples: 39_000 }];
    let steady: fn(f64) -> f64 = |t| 2.0 * PI * 4.7 * t;
    // The phase swings by half a rad in 628 s.
    let drifting: fn(f64) -> f64 = |t| 2.0 * PI * 4.7 * t + 0.5 * (0.01 * t).sin();
    for (name, segments, phase, most) in
        [("whole", whole.clone(), steady, 0.02), ("gap", gap, steady, 0.02), ("drift", whole, drifting, 0.15)]
    {
        let (record, clean) = noisy(segments, phase);
        let reduced = Reduced::new(&record, &[found_at(4.7003)], &Control::none()).unwrap();
        let left = rms(all(&reduced)[0].iter().zip(&clean).map(|(a, b)| f64::from(a - b)));
        // Of noise goes what a handful of amplitudes hold, √(4/60000) each; of a drifting sinusoid of rms √2 some 8 %.
        assert!(left <= most, "{name}: {left} of the noise's rms is left or missing, knots {} s", reduced.knots_s);
        // √2 of √3.
        assert!((reduced.parts[0][0] - f64::sqrt(2.0 / 3.0)).abs() <= 0.01, "{name}: {:?}", reduced.parts);
    }
}

#[test]
fn the_modes_are_as_without_the_sinusoids() {
    let modes: Vec<f64> = CHAIN.modes().iter().map(|mode| mode.frequency_hz).collect();
    for seed in 0..2 {
        let without = identify(&record(seed, &[], 0.0), &SsiParameters::default()).modes;
        for (lines, part) in [(vec![modes[1] * 1.005], 0.3), (vec![31.0], 1.0)] {
            let whole = record(seed, &lines, part);
            let found = identify(&whole, &SsiParameters::default());
            assert_eq!(found.harmonics.len(), 1, "seed {seed}: {:?}", found.harmonics);
            let reduced = Reduced::new(&whole, &found.harmonics, &Control::none()).unwrap();
            let reduced = MemoryRecord::new(RATE_HZ, all(&reduced));
            let again = identify(&reduced, &SsiParameters::default());
            assert!(again.harmonics.is_empty(), "{:?}", again.harmonics);
            assert_eq!(again.modes.len(), without.len());
            for (own, expected) in again.modes.iter().zip(&without) {
                let f = (own.frequency_hz - expected.frequency_hz) / expected.frequency_std_hz.unwrap();
                let xi = own.damping_ratio.unwrap() - expected.damping_ratio.unwrap();
                let xi = xi / expected.damping_ratio_std.unwrap();
                assert!(f.abs() <= 1.0 && xi.abs() <= 1.0, "seed {seed}, {lines:?}: {f} {xi} deviations {own:?}");
            }
        }
    }
}

fn run(run_type: RunType, channels: &[Vec<f32>], part: &Value) -> AnalysisResult {
    let (fdd, ssi) = if run_type == RunType::Fdd { (part, &Value::Null) } else { (&Value::Null, part) };
    result_with(run_type, Parameters::from_parts(&Value::Null, fdd, ssi).unwrap(), RATE_HZ, channels)
}

#[test]
fn a_result_says_what_was_taken_off_and_nothing_changes_without_harmonics() {
    let (with, without) = (samples(2, &[31.0], 0.3), samples(2, &[], 0.0));
    for (run_type, name) in [(RunType::Fdd, "fdd"), (RunType::Fdd, "efdd"), (RunType::Ssi, "ssi-cov")] {
        let result = run(run_type, &with, &json!({"method": name, "reduce_harmonics": true}));
        assert_eq!((result.modes.len(), result.harmonics.len()), (5, 1), "{name}");
        // 0.3 of √1.09.
        let parts = result.harmonics[0].rms_parts.as_ref().unwrap();
        assert!(parts.len() == 5 && parts.iter().all(|part| (part - 0.287).abs() <= 0.01), "{name}: {parts:?}");
        assert!(result.harmonics[0].kurtosis.is_some_and(|kurtosis| kurtosis < 1.1), "of the record with it");
        assert!(
            result.provenance.warnings.iter().any(|warning| warning.contains("taken off") && warning.contains(" Hz (")),
            "{name}"
        );
        let plain = run(run_type, &without, &json!({"method": name}));
        let asked = run(run_type, &without, &json!({"method": name, "reduce_harmonics": true}));
        assert_eq!(serde_json::to_string(&plain.modes).unwrap(), serde_json::to_string(&asked.modes).unwrap());
        assert_eq!((plain.spectrum, plain.harmonics), (asked.spectrum, asked.harmonics), "{name}");
    }
}
