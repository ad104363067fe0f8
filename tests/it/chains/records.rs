//! Chains of the mix of automation §0, and records of them under white or coloured forces, with real or complex modes.

use crate::support::identifiable::coupled::{self, TrueMode};
use crate::support::identifiable::{Bound, Forces, bounds};
use nalgebra::{Complex, DMatrix, DVector};
use oma_worker::simulate::{Damping, ExactMode, Measurement, ShearChain};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::PI;

type C64 = Complex<f64>;

const RATE_HZ: f64 = 100.0;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 3 to 30 DOF, white forces, real modes.
    White,
    /// The same with 60 DOF.
    Sixty,
    /// 3 to 30 DOF; the force on each DOF has a first-order spectrum and an intensity of its own.
    Coloured,
    /// 3 to 30 DOF; dampers between some of the masses.
    Complex,
}

/// A chain and how it is measured.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    kind: Kind,
    pub(crate) chain: ShearChain,
    pub(crate) measurement: Measurement,
    forces: Forces,
    /// Storeys with a damper, and how much damping they would give the top mode if all had one.
    dampers: Vec<usize>,
    damper_ratio: f64,
}

impl Case {
    /// Top mode at 12, 20 or 40 Hz, damping rising or uniform 0.4 to 3 %, in 40 % of the cases only some DOF measured,
    /// noise 1 to 30 %, 5 to 60 min.
    pub(crate) fn draw(kind: Kind, seed: u64) -> Case {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let mut uniform = move || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let pick = |values: &[f64], u: f64| values[(u * values.len() as f64) as usize];
        let dofs = pick(&[3.0, 5.0, 8.0, 12.0, 20.0, 30.0], uniform()) as usize;
        let dofs = if kind == Kind::Sixty { 60 } else { dofs };
        let damping = if uniform() < 0.5 {
            Damping::Rising
        } else {
            Damping::Uniform(0.004 * (0.03_f64 / 0.004).powf(uniform()))
        };
        let top = pick(&[12.0, 20.0, 40.0], uniform());
        let chain = ShearChain { dofs, top_frequency_hz: top, damping };
        let mut measured: Vec<usize> = (0..dofs).collect();
        let count = if uniform() < 0.4 { 3 + (uniform() * (dofs - 2) as f64) as usize } else { dofs };
        while measured.len() > count {
            measured.remove((uniform() * measured.len() as f64) as usize);
        }
        let minutes = pick(&[5.0, 10.0, 20.0, 30.0, 60.0], uniform());
        let noise = pick(&[0.01, 0.03, 0.1, 0.3], uniform());
        let samples = (minutes * 60.0 * RATE_HZ) as usize;
        let mut forces = Forces::white(dofs);
        let (mut dampers, mut damper_ratio) = (Vec::new(), 0.0);
        if kind == Kind::Coloured {
            // Time constants of a sample to a fifth of a second, intensities within a factor of 4.
            forces.memory = (0..dofs).map(|_| 0.95 * uniform()).collect();
            forces.power = (0..dofs).map(|_| 4.0_f64.powf(uniform() - 0.5)).collect();
        }
        if kind == Kind::Complex {
            dampers = (0..dofs).filter(|_| uniform() < 1.0 / 3.0).collect();
            damper_ratio = 0.01 + 0.04 * uniform();
        }
        let seed = seed + 1_000_000;
        let measurement = Measurement { dofs: measured, sampling_rate_hz: RATE_HZ, samples, noise, seed };
        Case { kind, chain, measurement, forces, dampers, damper_ratio }
    }

    /// The Cramér–Rao bounds of the modes. Where modes are real and forces white that counts as known, so that the forces on
    /// different modes are uncorrelated. Of the other structures nobody says that shapes are real, nor how the forces on modes are
    /// correlated, nor what colours they have where they have any.
    pub(crate) fn bounds(&self, truth: &[TrueMode]) -> Vec<Bound> {
        let (forces, measurement) = (&self.forces, &self.measurement);
        match self.kind {
            Kind::White | Kind::Sixty => bounds(&self.chain.modes(), forces, measurement),
            Kind::Coloured => coupled::bounds(truth, false, forces, measurement),
            Kind::Complex => coupled::bounds(truth, true, forces, measurement),
        }
    }

    /// The modes, ascending in frequency, and a record of them.
    ///
    /// x' = A x + B p with x = (q, q') is taken apart into its modes, which are stepped exactly under forces that are
    /// constant within a step.
    pub(crate) fn simulate(&self) -> (Vec<TrueMode>, Vec<Vec<f32>>) {
        let n = self.chain.dofs;
        let a = self.system();
        let (lambda, vectors) = oma_linalg::eigen(&a).expect("eigenvalues of a chain");
        let left = oma_linalg::inverse(&vectors).expect("a chain has as many modes as DOF");
        let columns: Vec<usize> = (0..2 * n).filter(|&j| lambda[j].im > 0.0).collect();
        assert_eq!(columns.len(), n, "no mode is overdamped");
        let component = |j: usize, d: usize| C64::new(vectors[(d, j)], vectors[(d, j + 1)]);
        let dofs = &self.measurement.dofs;
        let mode = |&j: &usize| {
            let measured = DVector::from_iterator(dofs.len(), dofs.iter().map(|&d| component(j, d)));
            let participation = DVector::from_fn(n, |d, _| C64::new(left[(j, n + d)], -left[(j + 1, n + d)]) / 2.0);
            let omega = lambda[j].norm();
            TrueMode { frequency_hz: omega / (2.0 * PI), damping_ratio: -lambda[j].re / omega, measured, participation }
        };
        let mut truth: Vec<TrueMode> = columns.iter().map(mode).collect();
        truth.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));

        // q'' = Σ 2 Re(φ λ² z) + p
        let mut output = DMatrix::zeros(dofs.len(), 2 * n);
        for (place, &j) in columns.iter().enumerate() {
            for (row, &d) in dofs.iter().enumerate() {
                let c = component(j, d) * lambda[j] * lambda[j];
                (output[(row, 2 * place)], output[(row, 2 * place + 1)]) = (2.0 * c.re, -2.0 * c.im);
            }
        }
        let input = DMatrix::from_fn(2 * n, n, |row, d| {
            let (j, part) = (columns[row / 2], row % 2);
            if part == 0 { left[(j, n + d)] / 2.0 } else { -left[(j + 1, n + d)] / 2.0 }
        });
        let steps: Vec<(C64, C64)> = columns
            .iter()
            .map(|&j| ((lambda[j] / RATE_HZ).exp(), ((lambda[j] / RATE_HZ).exp() - 1.0) / lambda[j]))
            .collect();
        (truth, self.record(&input, &steps, &output))
    }

    /// A of x' = A x + B p.
    fn system(&self) -> DMatrix<f64> {
        let n = self.chain.dofs;
        let modes = self.chain.modes();
        let omega = |mode: &ExactMode| 2.0 * PI * mode.frequency_hz;
        let phi = DMatrix::from_columns(&modes.iter().map(|mode| mode.shape.clone()).collect::<Vec<_>>());
        let of_modes = |f: &dyn Fn(&ExactMode) -> f64| {
            &phi * DMatrix::from_diagonal(&DVector::from_iterator(n, modes.iter().map(f))) * phi.transpose()
        };
        let stiffness = of_modes(&|mode| omega(mode).powi(2));
        let mut damping = of_modes(&|mode| 2.0 * mode.damping_ratio * omega(mode));
        let spring = (PI * self.chain.top_frequency_hz).powi(2);
        let damper = spring * 2.0 * self.damper_ratio / (2.0 * PI * self.chain.top_frequency_hz);
        for &storey in &self.dampers {
            damping[(storey, storey)] += damper;
            if storey > 0 {
                damping[(storey - 1, storey - 1)] += damper;
                damping[(storey, storey - 1)] -= damper;
                damping[(storey - 1, storey)] -= damper;
            }
        }
        let mut a = DMatrix::zeros(2 * n, 2 * n);
        a.view_mut((0, n), (n, n)).fill_with_identity();
        a.view_mut((n, 0), (n, n)).copy_from(&-stiffness);
        a.view_mut((n, n), (n, n)).copy_from(&-damping);
        a
    }

    /// `input`: from forces to the real and imaginary part of those on the modes; `steps`: how each mode moves in a step, by
    /// itself and under its force; `output`: from the modes to the channels.
    fn record(&self, input: &DMatrix<f64>, steps: &[(C64, C64)], output: &DMatrix<f64>) -> Vec<Vec<f32>> {
        const TOGETHER: usize = 2000;
        let (n, Measurement { dofs, samples, noise, seed, .. }) = (self.chain.dofs, &self.measurement);
        // The slowest motion decays to e⁻⁵ first.
        let slowest = steps.iter().map(|(own, _)| -own.norm().ln()).fold(f64::INFINITY, f64::min);
        let run_in = (5.0 / slowest) as usize;
        let mut random = ChaCha12Rng::seed_from_u64(*seed);
        let mut forces = vec![0.0; n];
        let mut states = vec![C64::new(0.0, 0.0); steps.len()];
        let mut channels = vec![Vec::with_capacity(*samples); dofs.len()];
        let mut first = 0;
        while first < run_in + samples {
            let count = TOGETHER.min(run_in + samples - first);
            let mut applied = DMatrix::zeros(n, count);
            for mut column in applied.column_iter_mut() {
                for (d, force) in forces.iter_mut().enumerate() {
                    let e: f64 = StandardNormal.sample(&mut random);
                    *force = self.forces.memory[d] * *force + self.forces.innovation(d) * e;
                    column[d] = *force;
                }
            }
            let mut moved = oma_linalg::multiply(input, &applied);
            for mut column in moved.column_iter_mut() {
                for (j, (state, (own, forced))) in states.iter_mut().zip(steps).enumerate() {
                    let force = C64::new(column[2 * j], column[2 * j + 1]);
                    (column[2 * j], column[2 * j + 1]) = (state.re, state.im);
                    *state = own * *state + forced * force;
                }
            }
            let seen = oma_linalg::multiply(output, &moved);
            for (row, channel) in channels.iter_mut().enumerate() {
                let kept = run_in.saturating_sub(first).min(count)..count;
                channel.extend(kept.map(|k| seen[(row, k)] + applied[(dofs[row], k)]));
            }
            first += count;
        }
        let with_noise = |channel: Vec<f64>| {
            let mean_square = channel.iter().map(|y| y * y).sum::<f64>() / channel.len() as f64;
            let noise = noise * mean_square.sqrt();
            let noisy = |y| {
                let e: f64 = StandardNormal.sample(&mut random);
                (y + noise * e) as f32
            };
            channel.into_iter().map(noisy).collect()
        };
        channels.into_iter().map(with_noise).collect()
    }
}
