//! Sinusoids of machines among the modes: told from them, and the modes as without.

use crate::automatic::identify;
use crate::raw_files::result_of;
use oma_worker::modal::kurtosis;
use oma_worker::model::control::Control;
use oma_worker::model::modes::Confidence;
use oma_worker::model::parameters::SsiParameters;
use oma_worker::model::record::{MemoryRecord, Segment};
use oma_worker::model::run::RunType;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::f64::consts::PI;

pub(crate) const CHAIN: ShearChain = ShearChain { dofs: 5, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
pub(crate) const RATE_HZ: f64 = 100.0;

/// Ten minutes; a sinusoid has this part of each channel's rms, another phase and sign in each.
pub(crate) fn samples(seed: u64, lines_hz: &[f64], part: f64) -> Vec<Vec<f32>> {
    let measurement =
        Measurement { dofs: (0..5).collect(), sampling_rate_hz: RATE_HZ, samples: 60_000, noise: 0.05, seed };
    let mut channels = CHAIN.record(&measurement);
    for (row, channel) in channels.iter_mut().enumerate() {
        let power = channel.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / channel.len() as f64;
        let amplitude = part * (2.0 * power).sqrt();
        for (k, sample) in channel.iter_mut().enumerate() {
            let line = |f: &f64| (2.0 * PI * f * k as f64 / RATE_HZ + (row * row) as f64 + f).sin();
            *sample += (amplitude * lines_hz.iter().map(line).sum::<f64>()) as f32;
        }
    }
    channels
}

pub(crate) fn record(seed: u64, lines_hz: &[f64], part: f64) -> MemoryRecord {
    MemoryRecord::new(RATE_HZ, samples(seed, lines_hz, part))
}

#[test]
fn sinusoids_are_found_and_the_modes_are_as_without() {
    // One on its own, one half a per cent beside a mode, and one above all modes.
    let modes: Vec<f64> = CHAIN.modes().iter().map(|mode| mode.frequency_hz).collect();
    let lines = [4.1, modes[1] * 1.005, 31.0];
    for seed in 0..4 {
        let found = identify(&record(seed, &lines, 0.3), &SsiParameters::default());
        let seen: Vec<f64> = found.harmonics.iter().map(|harmonic| harmonic.frequency_hz).collect();
        assert_eq!(seen.len(), 3, "seed {seed}: {seen:?}");
        // automation §6: 2e-4 at a tenth of the rms.
        assert!(seen.iter().zip(&lines).all(|(seen, line)| (seen - line).abs() <= 2e-4 * line), "{seen:?}");
        let found: Vec<f64> = found.modes.iter().map(|mode| mode.frequency_hz).collect();
        assert_eq!(found.len(), 5, "seed {seed}: {found:?}");
        assert!(found.iter().zip(&modes).all(|(found, mode)| (found - mode).abs() <= 0.005 * mode), "{found:?}");
    }
}

#[test]
fn where_there_is_none_none_is_found() {
    for seed in 0..6 {
        let found = identify(&record(seed, &[], 0.0), &SsiParameters::default());
        assert_eq!(found.harmonics, [], "seed {seed}");
    }
}

#[test]
fn the_kurtosis_is_that_of_noise_and_of_a_sinusoid() {
    let record = record(1, &[4.1], 0.3);
    let mut bands = vec![(4.1, 2), (0.001, 2), (49.999, 2)];
    bands.extend(CHAIN.modes().iter().map(|mode| (mode.frequency_hz, 4)));
    bands.push((26.0, 0));
    let found = kurtosis::of_bands(&record, &bands, &Control::none()).unwrap();
    let line = found[0].unwrap();
    assert!(line.is_sinusoid() && line.value < 1.1, "{line:?}");
    assert_eq!((found[1], found[2]), (None, None), "at 0 and at Nyquist there is no band");
    for (kurtosis, band) in found[3..].iter().zip(&bands[3..]) {
        let kurtosis = kurtosis.unwrap();
        assert!(
            !kurtosis.is_sinusoid() && (kurtosis.value - 2.0).abs() <= 4.0 * kurtosis.std,
            "{band:?}: {kurtosis:?}"
        );
    }
    // Sensor noise alone: 400 independent values scatter by 2/√400, half-overlapped ones no more.
    let noise = found.last().unwrap().unwrap();
    assert!(noise.std > 0.03 && noise.std < 0.2, "{noise:?}");
    let short = MemoryRecord::new(RATE_HZ, vec![vec![1.0; 9_000]]);
    assert_eq!(kurtosis::of_bands(&short, &[(4.1, 0)], &Control::none()).unwrap(), [None]);
}

#[test]
fn no_window_of_the_kurtosis_crosses_a_gap() {
    // The phase leaps by half a turn where a piece is missing: a window across it would see another amplitude.
    // Half a window, 70 samples, divides no stretch: of each a good part of a window is left over.
    let samples = |k| if k % 2 == 0 { 540 } else { 595 };
    let segments = (0..100).map(|k| Segment { start: 600 * k, samples: samples(k) }).collect();
    let channels = (0..60_000).map(|k| (2.0 * PI * 4.1 * k as f64 / RATE_HZ).sin() as f32).collect();
    let record = MemoryRecord::with_segments(RATE_HZ, vec![channels], segments);
    let kurtosis = kurtosis::of_bands(&record, &[(4.1, 0)], &Control::none()).unwrap()[0].unwrap();
    assert!((kurtosis.value - 1.0).abs() <= 1e-6, "{kurtosis:?}");
}

#[test]
fn a_result_says_which_peak_is_a_machine() {
    let channels = samples(2, &[31.0], 0.3);
    let fdd = result_of(RunType::Fdd, RATE_HZ, &channels);
    assert_eq!(fdd.modes.len(), 6, "five modes and the line");
    for mode in &fdd.modes {
        let is_line = (mode.frequency_hz - 31.0).abs() < 0.1;
        let expected = if is_line { Some(Confidence::Low) } else { None };
        assert_eq!(mode.confidence, expected, "{} Hz: {:?}", mode.frequency_hz, mode.doubts);
        assert_eq!(mode.doubts.iter().any(|doubt| doubt.code == "harmonic"), is_line);
    }
    let [line] = fdd.harmonics.as_slice() else { panic!("{:?}", fdd.harmonics) };
    assert!((line.frequency_hz - 31.0).abs() <= 4.5 * line.frequency_std_hz && line.support.is_none(), "{line:?}");
    let ssi = result_of(RunType::Ssi, RATE_HZ, &channels);
    assert_eq!((ssi.modes.len(), ssi.harmonics.len()), (5, 1));
    assert!(ssi.harmonics[0].kurtosis.is_some_and(|kurtosis| kurtosis < 1.1), "{:?}", ssi.harmonics);
    for mode in &ssi.modes {
        assert_eq!((mode.confidence, mode.doubts.len()), (Some(Confidence::High), 0), "{mode:?}");
    }
}
