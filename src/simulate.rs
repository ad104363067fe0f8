//! Structures whose modes are known in closed form, and records of them without integration error.
//!
//! A fixed-free shear chain of unit masses and equal springs k under independent white forces on every degree of
//! freedom. In closed form (M = I):
//!
//! - f_i = f_top · sin((2i − 1)π / (4n + 2)), i = 1..n, with f_top = √k / π;
//! - φ_i(j) = sin((2i − 1) j π / (2n + 1)), j = 1..n, orthogonal, hence modal forces are independent and white too.
//!
//! Damping is modal, so the modes stay real. Every mode is discretised by zero-order hold, which is exact for
//! piecewise constant forces: the poles of the sampled system are exactly exp(λ_i Δt).

use crate::model::motion::Motion;
use nalgebra::DVector;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::PI;

/// Damping ratios of the chain's modes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damping {
    /// ξ_i = min(0.005 + 0.0005 i, 0.02), i = 1..n.
    Rising,
    /// The same for every mode.
    Uniform(f64),
}

/// A fixed-free shear chain; degree of freedom 0 is next to the support.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShearChain {
    /// Number of masses, and of modes.
    pub dofs: usize,
    /// The frequency that the modes approach from below, √k / π, Hz.
    pub top_frequency_hz: f64,
    /// Modal damping.
    pub damping: Damping,
}

/// A mode in closed form.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactMode {
    /// Natural frequency, Hz.
    pub frequency_hz: f64,
    /// Damping ratio.
    pub damping_ratio: f64,
    /// Shape at all degrees of freedom, of unit norm.
    pub shape: DVector<f64>,
}

/// How a record of the chain is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Degrees of freedom with an accelerometer, in the order of the channels.
    pub dofs: Vec<usize>,
    /// Hz.
    pub sampling_rate_hz: f64,
    /// Samples per channel.
    pub samples: usize,
    /// Standard deviation of the white sensor noise over the channel's own.
    pub noise: f64,
    /// Equal seeds give equal records on every machine.
    pub seed: u64,
}

/// Time that passes before the record begins, s: 60 s are more than five decay times of any mode above 0.3 Hz
/// with 1 % damping, so that the record is stationary.
const RUN_IN_S: f64 = 60.0;

impl ShearChain {
    /// The modes, ascending in frequency.
    pub fn modes(&self) -> Vec<ExactMode> {
        let n = self.dofs as f64;
        let mode = |i: usize| {
            let odd = (2 * i - 1) as f64;
            let shape = DVector::from_fn(self.dofs, |j, _| (odd * (j + 1) as f64 * PI / (2.0 * n + 1.0)).sin());
            ExactMode {
                frequency_hz: self.top_frequency_hz * (odd * PI / (4.0 * n + 2.0)).sin(),
                damping_ratio: match self.damping {
                    Damping::Rising => (0.005 + 0.0005 * i as f64).min(0.02),
                    Damping::Uniform(ratio) => ratio,
                },
                shape: shape.normalize(),
            }
        };
        (1..=self.dofs).map(mode).collect()
    }

    /// Accelerations, one vector a channel.
    pub fn record(&self, measurement: &Measurement) -> Vec<Vec<f32>> {
        self.record_of(measurement, &vec![Motion::Acceleration; measurement.dofs.len()])
    }

    /// What each channel's sensor measures at the same moments of the same motion, in SI units: one of `motions` a channel.
    pub fn record_of(&self, measurement: &Measurement, motions: &[Motion]) -> Vec<Vec<f32>> {
        let modes = self.modes();
        let dt = 1.0 / measurement.sampling_rate_hz;
        let run_in = (RUN_IN_S * measurement.sampling_rate_hz).round() as usize;
        let mut oscillators: Vec<_> = modes.iter().map(|mode| Oscillator::new(mode, dt)).collect();
        let mut random = ChaCha12Rng::seed_from_u64(measurement.seed);
        let mut channels = vec![vec![0.0_f64; measurement.samples]; measurement.dofs.len()];
        // Displacement, velocity and acceleration of each mode.
        let mut moved = vec![[0.0; 3]; modes.len()];
        for step in 0..run_in + measurement.samples {
            for (oscillator, moved) in oscillators.iter_mut().zip(&mut moved) {
                let [q, v] = oscillator.state;
                *moved = [q, v, oscillator.step(StandardNormal.sample(&mut random))];
            }
            if step >= run_in {
                for ((channel, &dof), motion) in channels.iter_mut().zip(&measurement.dofs).zip(motions) {
                    let place = motion.order() as usize;
                    let parts = modes.iter().zip(&moved).map(|(mode, moved)| mode.shape[dof] * moved[place]);
                    channel[step - run_in] = parts.sum();
                }
            }
        }
        let with_noise = |channel: Vec<f64>| {
            let mean_square = channel.iter().map(|y| y * y).sum::<f64>() / channel.len().max(1) as f64;
            let noise = measurement.noise * mean_square.sqrt();
            let noisy = |y| {
                let e: f64 = StandardNormal.sample(&mut random);
                (y + noise * e) as f32
            };
            channel.into_iter().map(noisy).collect()
        };
        channels.into_iter().map(with_noise).collect()
    }
}

/// q'' + 2ξω q' + ω² q = p, stepped exactly under a force that is constant within a step.
struct Oscillator {
    state: [f64; 2],
    transition: [[f64; 2]; 2],
    input: [f64; 2],
    stiffness: f64,
    damping: f64,
}

impl Oscillator {
    fn new(mode: &ExactMode, dt: f64) -> Oscillator {
        let omega = 2.0 * PI * mode.frequency_hz;
        let decay = mode.damping_ratio * omega;
        let damped = omega * (1.0 - mode.damping_ratio * mode.damping_ratio).sqrt();
        let (stiffness, damping) = (omega * omega, 2.0 * decay);
        let e = (-decay * dt).exp();
        let (c, s) = (e * (damped * dt).cos(), e * (damped * dt).sin() / damped);
        // exp(A dt) = e^{-ξω dt} [cos(ω_d dt) I + sin(ω_d dt)/ω_d (A + ξω I)]
        let transition = [[c + s * decay, s], [-s * stiffness, c - s * decay]];
        // ∫ exp(A τ) dτ B = A^{-1} (exp(A dt) − I) [0, 1]^T
        let input = [(1.0 - transition[1][1] - damping * transition[0][1]) / stiffness, transition[0][1]];
        Oscillator { state: [0.0; 2], transition, input, stiffness, damping }
    }

    /// The acceleration at the start of the step under this step's force.
    fn step(&mut self, force: f64) -> f64 {
        let [q, v] = self.state;
        let acceleration = force - self.stiffness * q - self.damping * v;
        let [[a, b], [c, d]] = self.transition;
        self.state = [a * q + b * v + self.input[0] * force, c * q + d * v + self.input[1] * force];
        acceleration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_equals_many_small_steps_under_the_same_force() {
        let mode = ExactMode { frequency_hz: 3.0, damping_ratio: 0.02, shape: DVector::zeros(1) };
        let mut coarse = Oscillator::new(&mode, 0.01);
        let mut fine = Oscillator::new(&mode, 0.001);
        for force in [1.0, -2.0, 0.5] {
            coarse.step(force);
            for _ in 0..10 {
                fine.step(force);
            }
        }
        for (a, b) in coarse.state.iter().zip(fine.state) {
            assert!((a - b).abs() <= 1e-12 * b.abs(), "{a} {b}");
        }
    }

    #[test]
    fn shapes_are_orthonormal() {
        let modes = ShearChain { dofs: 7, top_frequency_hz: 20.0, damping: Damping::Rising }.modes();
        for (i, a) in modes.iter().enumerate() {
            for (j, b) in modes.iter().enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((a.shape.dot(&b.shape) - expected).abs() <= 1e-12);
            }
        }
    }
}
