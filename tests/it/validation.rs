//! What is synthesised from the modes beside what was measured.

use crate::automatic::identify;
use nalgebra::{Complex, DMatrix, DVector};
use oma_worker::modal::validation::{Measured, validate};
use oma_worker::model::modes::{Mode, Shape};
use oma_worker::model::parameters::SsiParameters;
use oma_worker::model::record::MemoryRecord;
use oma_worker::model::result::Validation;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::f64::consts::PI;

type C64 = Complex<f64>;

const RATE_HZ: f64 = 50.0;
const LENGTH: usize = 256;
const LAGS: usize = 30;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Power of white noise in each channel, in lag 0 alone.
const NOISE: f64 = 0.4;

fn modes() -> Vec<Mode> {
    let mode = |f: f64, xi: f64, shape: [C64; 3]| Mode {
        damping_ratio: Some(xi),
        ..Mode::new(f, Shape(DVector::from_row_slice(&shape)), (1.0, 0.0))
    };
    let z = C64::new;
    vec![
        mode(4.0, 0.02, [z(1.0, 0.0), z(0.6, 0.1), z(0.3, 0.0)]),
        mode(9.0, 0.01, [z(1.0, 0.0), z(-0.7, 0.0), z(0.0, 0.2)]),
    ]
}

/// Correlations of all channels with `a` and `b`, exact for the modes, and the expectation of Welch's estimate by the
/// sum over the window's own autocorrelation.
fn measured(modes: &[Mode]) -> (Vec<DMatrix<f64>>, Vec<Vec<f64>>) {
    // Driven by white forces of their own.
    let participation = |j: usize, c: usize| modes[j].shape.0[c].conj() * (1.0 + j as f64);
    let correlation = |m: usize, i: usize, c: usize| -> f64 {
        let of_mode = |(j, mode): (usize, &Mode)| {
            let (omega, xi) = (2.0 * PI * mode.frequency_hz, mode.damping_ratio.unwrap());
            let lambda = C64::new(-xi * omega, omega * (1.0 - xi * xi).sqrt());
            2.0 * (mode.shape.0[i] * participation(j, c) * (lambda * (m as f64 / RATE_HZ)).exp()).re
        };
        modes.iter().enumerate().map(of_mode).sum::<f64>() + if m == 0 && i == c { NOISE } else { 0.0 }
    };
    let correlations = (0..=LAGS).map(|m| DMatrix::from_fn(3, 2, |i, c| correlation(m, i, c))).collect();
    let window: Vec<f64> = (0..LENGTH).map(|t| 0.5 - 0.5 * (2.0 * PI * t as f64 / LENGTH as f64).cos()).collect();
    let power: f64 = window.iter().map(|w| w * w).sum();
    let level = |c: usize, k: usize| {
        let of_lag = |m: usize| {
            let overlap: f64 = (0..LENGTH - m).map(|t| window[t] * window[t + m]).sum::<f64>() / power;
            let sides = if m == 0 { 1.0 } else { 2.0 };
            sides * overlap * correlation(m, c, c) * (2.0 * PI * (k * m) as f64 / LENGTH as f64).cos()
        };
        let sides = if k == 0 || 2 * k == LENGTH { 1.0 } else { 2.0 };
        sides / RATE_HZ * (0..LENGTH).map(of_lag).sum::<f64>()
    };
    (correlations, (0..2).map(|c| (0..=LENGTH / 2).map(|k| level(c, k)).collect()).collect())
}

fn told(modes: &[Mode]) -> Validation {
    told_beside(modes, 0.0)
}

/// What of `modes` fits to the right ones, and to a drift of so many times their power.
fn told_beside(modes: &[Mode], drift: f64) -> Validation {
    let (mut correlations, autospectra) = measured(&self::modes());
    for (m, correlation) in correlations.iter_mut().enumerate() {
        correlation.add_scalar_mut(drift * (1.0 - (m as f64 / 90.0).powi(2)));
    }
    let measured = Measured {
        correlations: &correlations,
        sampling_rate_hz: RATE_HZ,
        references: &[0, 1],
        autospectra: &autospectra,
        segment_length: LENGTH,
        spectra_rate_hz: RATE_HZ,
        averages: 30.0,
    };
    validate(modes, &measured, &NAMES.map(String::from)).unwrap()
}

#[test]
fn exact_modes_leave_nothing_and_wrong_ones_say_where() {
    let right = told(&modes());
    assert_eq!((right.lags, right.synthesis.channels.as_slice()), (LAGS, ["a".to_owned(), "b".to_owned()].as_slice()));
    for fit in &right.channels {
        // Round-off of the normal equations, and single precision of the spectra: 10 lg(1 + 6e-8).
        assert!((fit.correlation_fit - 1.0).abs() <= 1e-9, "{fit:?}");
        assert_eq!(fit.spectrum_error_db.is_some(), fit.channel != "c", "{fit:?}");
        assert!(fit.spectrum_error_db.is_none_or(|error| error <= 1e-5), "{fit:?}");
    }
    // A drift of twenty times their power takes nothing away.
    for (fit, beside) in right.channels.iter().zip(&told_beside(&modes(), 20.0).channels) {
        assert!((fit.correlation_fit - beside.correlation_fit).abs() <= 1e-9, "{beside:?}");
    }
    assert!((right.scatter_db - 10.0 / 30_f64.sqrt() / 10_f64.ln()).abs() <= 1e-12);

    // Channel c is turned the wrong way round in the first mode: its own fit tells, and most clearly.
    let mut turned = modes();
    turned[0].shape.0[2] = -turned[0].shape.0[2];
    let turned = told(&turned);
    let fits: Vec<f64> = turned.channels.iter().map(|fit| fit.correlation_fit).collect();
    assert!(fits[0].min(fits[1]) > fits[2] + 0.1 && fits[0].max(fits[1]) < 0.95, "{fits:?}");

    // A mode that is missing, and a wrong damping, are seen in the spectra.
    let missing = told(&modes()[..1]);
    let mut wrong = modes();
    wrong[1].damping_ratio = Some(0.03);
    let damped = told(&wrong);
    for (k, least) in [(0, 0.5), (1, 0.5)] {
        assert!(damped.channels[k].spectrum_error_db.unwrap() > least, "{damped:?}");
        assert!(missing.channels[k].correlation_fit < 0.9 && damped.channels[k].correlation_fit < 0.99);
    }
}

#[test]
fn the_modes_of_a_chain_reproduce_its_record_within_the_scatter() {
    let chain = ShearChain { dofs: 5, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: (0..5).collect(), sampling_rate_hz: 100.0, samples: 60_000, noise: 0.05, seed: 7 };
    let record = MemoryRecord::new(100.0, chain.record(&measurement));
    let validation = identify(&record, &SsiParameters::default()).evidence[0].validation.clone().unwrap();
    assert_eq!(validation.channels.len(), 5);
    for fit in &validation.channels {
        assert!(fit.correlation_fit > 0.95 && fit.correlation_fit <= 1.0, "{fit:?}");
        // Twice the power of the scatter: the expectation has its own.
        let error = fit.spectrum_error_db.unwrap();
        assert!(error < 2_f64.sqrt() * validation.scatter_db, "{error} dB beside {} dB", validation.scatter_db);
    }
}
