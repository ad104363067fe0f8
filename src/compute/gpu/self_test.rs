//! A small known job for each kernel, held to the CPU, and two measured rates.

use super::{DeviceError, Form, Gpu, Lags, Welch};
use crate::compute::cpu::Cpu;
use crate::compute::{Backend, Hermitian, LagPlan, SpectralMatrices, WelchPlan, noise};
use crate::model::record::{Block, Segment};
use nalgebra::{Complex, DMatrix};
use std::sync::Arc;
use std::time::Instant;

/// What an adapter was measured to do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Operations a second of `cross_spectra`, the kernel that most of the work of large jobs is in.
    pub flops: f64,
    /// Bytes a second from the host through upload, transform and back into device memory.
    pub upload_bytes: f64,
    /// Seconds that a submission takes that has nothing to do.
    pub latency_s: f64,
}

/// Part of √(G_ii G_jj), and of √(P_ii(0) P_jj(0)): three times the f32 sums' 1.2e-7 with the transforms' 2e-7.
const TOLERANCE: f64 = 1e-6;

const CHANNELS: usize = 5;
const SAMPLES: usize = 4096;

/// Tests every kernel.
pub(super) fn run(gpu: &Arc<Gpu>) -> Result<(), DeviceError> {
    let block = noise(CHANNELS, SAMPLES);
    let plan = WelchPlan::new(CHANNELS, 1.0, 256, 128);
    let mut cpu = Cpu.cross_spectra(&plan);
    cpu.push(&block);
    let expected = cpu.finish().map_err(|error| DeviceError::WrongAnswer(error.to_string()))?;
    let mut sums = Welch::new(gpu, &plan)?;
    sums.push(&block)?;
    sums.settle()?;
    let found = sums.safe().0.average(&plan);
    for (g, e) in found.matrices.iter().zip(&expected.matrices) {
        for (i, j) in (0..CHANNELS).flat_map(|i| (0..CHANNELS).map(move |j| (i, j))) {
            let error = (g.at(i, j) - e.at(i, j)).norm();
            agrees("cross_spectra", error, (e.at(i, i).re * e.at(j, j).re).sqrt())?;
        }
    }
    of_resident(gpu, &plan, &block, &expected)?;
    let plan = LagPlan {
        channels: CHANNELS,
        references: (0..CHANNELS).collect(),
        lags: 24,
        blocks: 2,
        segments: vec![Segment { start: 0, samples: SAMPLES as u64 }],
    };
    let mut cpu = Cpu.lag_products(&plan);
    cpu.push(&block);
    let expected = cpu.finish().map_err(|error| DeviceError::WrongAnswer(error.to_string()))?;
    let shape = super::layout::Transform::new(super::layout::SHORTEST).map(Form::Transforms);
    for form in [Some(Form::Direct), shape].into_iter().flatten() {
        let mut sums = Lags::new(gpu, &plan, form)?;
        sums.push(&block)?;
        sums.settle()?;
        for (g, e) in sums.take_blocks().iter().zip(&expected.blocks) {
            let power = |i: usize| block.channel(i).iter().map(|y| f64::from(*y).powi(2)).sum::<f64>();
            for (g, e) in g.products.iter().zip(&e.products) {
                for (i, j) in (0..CHANNELS).flat_map(|i| (0..CHANNELS).map(move |j| (i, j))) {
                    let scale = (power(i) * power(j)).sqrt();
                    agrees("lag_products", (g[(i, j)] - e[(i, j)]).abs(), scale)?;
                }
            }
        }
    }
    Ok(())
}

/// What is asked of sums that stay on the device: diagonals, total and products.
fn of_resident(
    gpu: &Arc<Gpu>,
    plan: &WelchPlan,
    block: &Block,
    expected: &SpectralMatrices,
) -> Result<(), DeviceError> {
    let mut sums = Welch::new(gpu, &WelchPlan { in_place: true, ..plan.clone() })?;
    sums.push(block)?;
    sums.settle()?;
    let Ok(resident) = sums.away() else {
        return Err(DeviceError::WrongAnswer("spectral sums did not stay on the device".into()));
    };
    let vector = |j: usize| Complex::new(1.0 + j as f64, -0.5 * j as f64);
    let vectors: Vec<_> = (0..CHANNELS).map(vector).collect();
    let (products, diagonals) = (resident.products(None, 1, &vectors)?, resident.diagonals()?);
    let total = resident.total(plan.lines.clone())?;
    let mut expected_total = DMatrix::<f64>::zeros(CHANNELS, CHANNELS);
    for (line, e) in expected.matrices.iter().map(Hermitian::matrix).enumerate() {
        let factor = resident.factor(line);
        let own = |i: usize| e[(i, i)].re.sqrt();
        let spread: f64 = vectors.iter().enumerate().map(|(j, x)| x.norm() * own(j)).sum();
        for i in 0..CHANNELS {
            let exact: Complex<f64> = vectors.iter().enumerate().map(|(j, x)| e[(i, j)] * x).sum();
            let error = (products[line * CHANNELS + i] * factor - exact).norm();
            agrees("hermitian_products", error, own(i) * spread)?;
            let error = (f64::from(diagonals[line * CHANNELS + i]) * factor - e[(i, i)].re).abs();
            agrees("line_totals", error, e[(i, i)].re)?;
        }
        expected_total += e.map(|g| g.re);
    }
    for (i, j) in (0..CHANNELS).flat_map(|i| (0..=i).map(move |j| (i, j))) {
        let found = 2.0 * resident.two_sided_factor() * total[i * (i + 1) / 2 + j];
        let scale = (expected_total[(i, i)] * expected_total[(j, j)]).sqrt();
        agrees("line_totals", (found - expected_total[(i, j)]).abs(), scale)?;
    }
    Ok(())
}

fn agrees(kernel: &str, error: f64, scale: f64) -> Result<(), DeviceError> {
    if error <= TOLERANCE * scale {
        return Ok(());
    }
    Err(DeviceError::WrongAnswer(format!("{kernel} is off by {error:.1e} of {scale:.1e}, may be by {TOLERANCE:.0e}")))
}

/// Times two jobs that differ in nothing but the number of channels: the products grow with its square.
pub(super) fn measure(gpu: &Arc<Gpu>) -> Result<Rates, DeviceError> {
    let run = |channels: usize| -> Result<f64, DeviceError> {
        let plan = WelchPlan::new(channels, 1.0, 256, 256);
        let block = noise(channels, SAMPLES);
        let mut sums = Welch::new(gpu, &plan)?;
        // The first run compiles.
        sums.push(&block)?;
        sums.settle()?;
        let start = Instant::now();
        sums.push(&block)?;
        sums.settle()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (few, many) = (run(4)?, run(64)?);
    // 129 lines, 16 segments, tiles of 64 × 64.
    let flops = 8.0 * 129.0 * 16.0 * 64.0 * 64.0;
    let bytes = 4.0 * 64.0 * SAMPLES as f64;
    Ok(Rates { flops: flops / many, upload_bytes: bytes / many, latency_s: few })
}
