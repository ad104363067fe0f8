//! Two modes half a per cent apart among others, their shapes more or less alike.

use crate::support::identifiable::coupled::TrueMode;
use crate::support::identifiable::{Bound, Forces, bounds};
use nalgebra::{Complex, DVector};
use oma_worker::modal::indicators::mac;
use oma_worker::simulate::{Damping, ExactMode, Measurement, ShearChain};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

const RATE_HZ: f64 = 40.0;
const CHANNELS: usize = 6;
const NOISE: f64 = 0.05;

/// Frequencies in Hz and damping ratios; the pair is the second and the third.
const MODES: [(f64, f64); 5] = [(2.1, 0.01), (5.0, 0.005), (5.025, 0.005), (9.3, 0.01), (14.0, 0.01)];

/// The modes, those of the pair with a MAC of `likeness`.
fn modes(likeness: f64) -> Vec<ExactMode> {
    let bending = ShearChain { dofs: CHANNELS, top_frequency_hz: 1.0, damping: Damping::Rising }.modes();
    let mut shapes: Vec<DVector<f64>> = bending.into_iter().map(|mode| mode.shape).collect();
    shapes[2] = &shapes[1] * likeness.sqrt() + &shapes[2] * (1.0 - likeness).sqrt();
    let mode = |((frequency_hz, damping_ratio), shape)| ExactMode { frequency_hz, damping_ratio, shape };
    MODES.into_iter().zip(shapes).map(mode).collect()
}

/// The modes, a record of half an hour of them, each under a force of its own, and the Cramér–Rao bounds.
pub(crate) fn record(likeness: f64, seed: u64) -> (Vec<TrueMode>, Vec<Vec<f32>>, Vec<Bound>) {
    let samples = (1800.0 * RATE_HZ) as usize;
    let modes = modes(likeness);
    let motion = |(i, mode): (usize, &ExactMode)| {
        // Of one mass on a spring f is half of the frequency √k / π.
        let damping = Damping::Uniform(mode.damping_ratio);
        let chain = ShearChain { dofs: 1, top_frequency_hz: 2.0 * mode.frequency_hz, damping };
        let seed = 10 * seed + i as u64;
        chain.record(&Measurement { dofs: vec![0], sampling_rate_hz: RATE_HZ, samples, noise: 0.0, seed }).remove(0)
    };
    let motions: Vec<Vec<f32>> = modes.iter().enumerate().map(motion).collect();
    let mut random = ChaCha12Rng::seed_from_u64(10 * seed + modes.len() as u64);
    let channel = |c: usize| -> Vec<f32> {
        let at = |t: usize| modes.iter().zip(&motions).map(|(mode, q)| mode.shape[c] as f32 * q[t]).sum::<f32>();
        let own: Vec<f32> = (0..samples).map(at).collect();
        let rms = (own.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>() / samples as f64).sqrt();
        let noisy = |y| {
            let e: f64 = StandardNormal.sample(&mut random);
            y + (NOISE * rms * e) as f32
        };
        own.into_iter().map(noisy).collect()
    };
    let channels = (0..CHANNELS).map(channel).collect();
    let dofs = (0..CHANNELS).collect();
    let measurement = Measurement { dofs, sampling_rate_hz: RATE_HZ, samples, noise: NOISE, seed };
    let bounds = bounds(&modes, &Forces::white(CHANNELS), &measurement);
    let seen = |mode: ExactMode| {
        let measured = mode.shape.map(|x| Complex::new(x, 0.0));
        // Each mode has a force of its own.
        let participation = DVector::zeros(0);
        TrueMode { frequency_hz: mode.frequency_hz, damping_ratio: mode.damping_ratio, measured, participation }
    };
    let truth: Vec<TrueMode> = modes.into_iter().map(seen).collect();
    let alike = mac(truth[1].measured.as_view(), truth[2].measured.as_view());
    assert!((alike - likeness).abs() <= 1e-12, "{alike}");
    (truth, channels, bounds)
}
