//! Sinusoids of machines among the peaks of a spectrum: told by the width of their lines, and nothing else so.

use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::spectrum::Spectra;
use oma_worker::modal::{fdd, line_width};
use oma_worker::model::control::Control;
use oma_worker::model::record::{MemoryRecord, Record};
use oma_worker::model::result::Harmonic;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::f64::consts::PI;

const RATE_HZ: f64 = 100.0;
/// Ten minutes.
const SAMPLES: usize = 60_000;

fn chain(damping: f64) -> ShearChain {
    ShearChain { dofs: 5, top_frequency_hz: 20.0, damping: Damping::Uniform(damping) }
}

fn samples(chain: &ShearChain, samples: usize, seed: u64) -> Vec<Vec<f32>> {
    chain.record(&Measurement { dofs: (0..5).collect(), sampling_rate_hz: RATE_HZ, samples, noise: 0.05, seed })
}

/// With sinusoids, each of this part of each channel's rms, another phase in each.
fn with_lines(mut channels: Vec<Vec<f32>>, lines_hz: &[f64], part: f64) -> MemoryRecord {
    for (row, channel) in channels.iter_mut().enumerate() {
        let power = channel.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / channel.len() as f64;
        let amplitude = part * (2.0 * power).sqrt();
        for (k, sample) in channel.iter_mut().enumerate() {
            let line = |f: &f64| (2.0 * PI * f * k as f64 / RATE_HZ + (row * row) as f64 + f).sin();
            *sample += (amplitude * lines_hz.iter().map(line).sum::<f64>()) as f32;
        }
    }
    MemoryRecord::new(RATE_HZ, channels)
}

fn harmonics(record: &MemoryRecord, segment_length: usize) -> Vec<Harmonic> {
    let control = Control::none();
    let spectra = Spectra::new(record, segment_length, 0.5, &Cpu, &control).unwrap();
    let setting = fdd::PeakSetting { band_hz: (0.0, 50.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let peaks = fdd::peaks(&spectra, &setting).unwrap();
    let duration_s = record.info().duration_s();
    let found = line_width::among(&spectra, &peaks, (segment_length, 0.5), duration_s).unwrap();
    found.into_iter().flatten().collect()
}

/// On a line, between two, and above all modes.
fn places(segment_length: usize) -> [f64; 3] {
    let line_hz = RATE_HZ / segment_length as f64;
    [
        (4.7 / line_hz).round() * line_hz,
        ((10.5 / line_hz).floor() + 0.5) * line_hz,
        ((31.0 / line_hz).floor() + 0.3) * line_hz,
    ]
}

#[test]
fn sinusoids_are_told_with_the_right_deviation_at_every_segment_length() {
    let clean: Vec<_> = (0..3).map(|seed| samples(&chain(0.01), SAMPLES, seed)).collect();
    let (mut asked, mut told, mut squares) = (0, 0, 0.0);
    for segment_length in [512, 1024, 2048, 4096, 8192] {
        for part in [0.1, 0.3, 1.0] {
            for line_hz in places(segment_length) {
                for channels in &clean {
                    asked += 1;
                    for harmonic in harmonics(&with_lines(channels.clone(), &[line_hz], part), segment_length) {
                        let error = (harmonic.frequency_hz - line_hz) / harmonic.frequency_std_hz;
                        // 135 numbers: beyond 4.5 with a chance of 0.1 % if normal; any other peak is farther off.
                        assert!(error.abs() <= 4.5, "{segment_length}, {part}, {line_hz} Hz: {harmonic:?}");
                        (told, squares) = (told + 1, squares + error * error);
                    }
                }
            }
        }
    }
    eprintln!("{told} of {asked}, rms error {} deviations", f64::sqrt(squares / f64::from(told)));
    assert!(f64::from(told) >= 0.9 * f64::from(asked), "{told} of {asked}");
    // The same noise stands behind the three amplitudes: of 45 normal numbers the root of the mean square is 1 ± 0.11.
    let rms = f64::sqrt(squares / f64::from(told));
    assert!((0.7..=1.4).contains(&rms), "errors are {rms} of their standard deviations");
}

#[test]
fn a_sinusoid_on_the_shoulder_of_a_mode_is_told_where_the_lines_are_narrow() {
    let chain = chain(0.01);
    let line_hz = chain.modes()[1].frequency_hz * 1.005;
    for seed in 0..2 {
        let found = harmonics(&with_lines(samples(&chain, SAMPLES, seed), &[line_hz], 0.3), 8192);
        assert_eq!(found.len(), 1, "seed {seed}: {found:?}");
        let error = (found[0].frequency_hz - line_hz).abs();
        assert!(error <= 4.5 * found[0].frequency_std_hz, "seed {seed}: {found:?}");
    }
}

#[test]
fn no_mode_is_told_as_a_machine() {
    for (minutes, damping) in [(3, 0.004), (10, 0.004), (10, 0.01), (10, 0.03), (30, 0.003)] {
        for seed in 0..3 {
            let record = MemoryRecord::new(RATE_HZ, samples(&chain(damping), minutes * 6000, 100 + seed));
            for segment_length in [512, 1024, 2048, 4096, 8192] {
                let found = harmonics(&record, segment_length);
                assert_eq!(found, [], "{minutes} min, ξ {damping}, seed {seed}, {segment_length}");
            }
        }
    }
}
