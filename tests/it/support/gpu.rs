//! The device of the tests, records for it, and the one comparator.

use nalgebra::{Complex, DMatrix};
use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::gpu::Gpu;
use oma_worker::compute::select::{Backends, RunBackend};
use oma_worker::compute::{Backend, LagPlan, LagProducts, SpectralMatrices, WelchPlan};
use oma_worker::model::record::{Block, Segment};
use std::sync::Arc;

/// |ΔS_ij| over √(S_ii S_jj), |ΔR| over √(R0_ii R0_jj): transforms of 2e-7 on both sides, sums of 64 times 64 in f32 of
/// 1.2e-7, rounded up to the next power of ten.
pub(crate) const TOLERANCE: f64 = 1e-6;

/// |Δs| and ‖G v − s v‖ of leading pairs over s₁: residuals up to 2e-6, and what the f32 sums and products add to it; see
/// `compute/leading.rs`.
pub(crate) const VALUES: f64 = 5e-6;

/// Opens the software driver, or the adapter that `OMA_TEST_GPU_ADAPTER` names. A driver that is missing fails the test.
pub(crate) fn open() -> Arc<Gpu> {
    let name = std::env::var("OMA_TEST_GPU_ADAPTER").unwrap_or_else(|_| "llvmpipe".into());
    let gpu = Gpu::open(Some(&name)).unwrap_or_else(|e| panic!("{e}; scripts/test installs mesa-vulkan-drivers"));
    eprintln!("{:?}", gpu.adapter());
    gpu
}

/// A result, and who made it.
pub(crate) struct Stamped<T> {
    pub(crate) backend: &'static str,
    pub(crate) value: T,
}

pub(crate) fn on_cpu<T>(value: T) -> Stamped<T> {
    Stamped { backend: Cpu.name(), value }
}

/// Pushes a record in blocks of uneven size, as a source would.
pub(crate) fn blocks(channels: &[Vec<f32>], segments: &[Segment], sizes: &[usize]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    for (index, segment) in segments.iter().enumerate() {
        let mut at = 0;
        while at < segment.samples as usize {
            let samples = sizes.next().unwrap().min(segment.samples as usize - at);
            let mut block = Block::default();
            block.reset(index, at as u64, channels.len(), samples);
            for (c, y) in channels.iter().enumerate() {
                let from = segment.start as usize + at;
                block.channel_mut(c).copy_from_slice(&y[from..from + samples]);
            }
            blocks.push(block);
            at += samples;
        }
    }
    blocks
}

pub(crate) fn backend(gpu: &Arc<Gpu>) -> RunBackend {
    Backends::over(gpu.clone()).for_run(1 << 20)
}

pub(crate) fn spectra(gpu: &Arc<Gpu>, plan: &WelchPlan, blocks: &[Block]) -> [Stamped<SpectralMatrices>; 2] {
    let run = |backend: &dyn Backend| {
        let mut sums = backend.cross_spectra(plan);
        blocks.iter().for_each(|block| sums.push(block));
        sums.finish().unwrap()
    };
    let device = backend(gpu);
    let value = run(&device);
    [Stamped { backend: device.name(), value }, on_cpu(run(&Cpu))]
}

pub(crate) fn products(gpu: &Arc<Gpu>, plan: &LagPlan, blocks: &[Block]) -> [Stamped<LagProducts>; 2] {
    let run = |backend: &dyn Backend| {
        let mut sums = backend.lag_products(plan);
        blocks.iter().for_each(|block| sums.push(block));
        sums.finish().unwrap()
    };
    let device = backend(gpu);
    let value = run(&device);
    [Stamped { backend: device.name(), value }, on_cpu(run(&Cpu))]
}

/// Largest error of a matrix in units of its tolerance; NaN where there is one.
fn worst<T: Copy>(
    g: &DMatrix<T>,
    e: &DMatrix<T>,
    difference: impl Fn(T, T) -> f64,
    scale: impl Fn(usize, usize) -> f64,
) -> f64 {
    let ratio = |i: usize, j: usize| {
        let error = difference(g[(i, j)], e[(i, j)]);
        // Where there is no power at all both must be zero.
        if error == 0.0 { 0.0 } else { error / (TOLERANCE * scale(i, j)) }
    };
    let ratios = (0..e.nrows()).flat_map(|i| (0..e.ncols()).map(move |j| (i, j))).map(|(i, j)| ratio(i, j));
    ratios.fold(0.0, |a: f64, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })
}

fn different<T>([gpu, cpu]: &[Stamped<T>; 2]) -> Result<(), String> {
    match (gpu.backend, cpu.backend) {
        ("gpu", "cpu") => Ok(()),
        other => Err(format!("{other:?} are not gpu and cpu")),
    }
}

/// Compares the device's spectra with the CPU's; the worst error in units of the tolerance.
pub(crate) fn compare_spectra(both: &[Stamped<SpectralMatrices>; 2]) -> Result<f64, String> {
    different(both)?;
    let [gpu, cpu] = both.each_ref().map(|stamped| &stamped.value);
    if (gpu.segments, gpu.matrices.len()) != (cpu.segments, cpu.matrices.len()) {
        return Err(format!("{} segments, should be {}", gpu.segments, cpu.segments));
    }
    // The transforms' error is 5e-7 of a channel's whole amplitude, spread over the lines: half a tolerance of its rms.
    let channels = cpu.matrices[0].size();
    let power = |i: usize| cpu.matrices.iter().map(|g| g.at(i, i).re).sum::<f64>() / cpu.matrices.len() as f64;
    let floor: Vec<f64> = (0..channels).map(|i| 0.5 * power(i).sqrt()).collect();
    let mut all: f64 = 0.0;
    for (line, (g, e)) in gpu.matrices.iter().zip(&cpu.matrices).enumerate() {
        if g.size() != e.size() {
            return Err(format!("{} channels, should be {}", g.size(), e.size()));
        }
        let own = |i: usize| e.at(i, i).re.sqrt();
        let beside = |i: usize, j: usize| own(i) * floor[j] + floor[i] * own(j) + floor[i] * floor[j];
        let scale = |i: usize, j: usize| (own(i) * own(j)).max(beside(i, j));
        let found = worst(&g.matrix(), &e.matrix(), |a: Complex<f64>, b| (a - b).norm(), scale);
        if !(found <= 1.0) {
            return Err(format!("line {line}: {found:.2e} tolerances"));
        }
        all = all.max(found);
    }
    Ok(all)
}

/// The same for lag products; `powers[block][channel]` is the sum of squares.
pub(crate) fn compare_products(both: &[Stamped<LagProducts>; 2], powers: &[Vec<f64>]) -> Result<f64, String> {
    different(both)?;
    let [gpu, cpu] = both.each_ref().map(|stamped| &stamped.value);
    let counts = |p: &LagProducts| p.blocks.iter().map(|b| (b.samples, b.products.len())).collect::<Vec<_>>();
    if counts(gpu) != counts(cpu) || gpu.edges != cpu.edges || gpu.references != cpu.references {
        return Err(format!("blocks {:?}, should be {:?}, or edges differ", counts(gpu), counts(cpu)));
    }
    let mut all: f64 = 0.0;
    for (k, (g, e)) in gpu.blocks.iter().zip(&cpu.blocks).enumerate() {
        // Responses reach into the next block.
        let power = |i: usize| powers[k][i] + powers.get(k + 1).map_or(0.0, |next| next[i]);
        let scale = |i: usize, j: usize| (power(i) * powers[k][cpu.references[j]]).sqrt();
        for (m, (g, e)) in g.products.iter().zip(&e.products).enumerate() {
            if g.shape() != e.shape() {
                return Err(format!("shape {:?}, should be {:?}", g.shape(), e.shape()));
            }
            let found = worst(g, e, |a: f64, b| (a - b).abs(), scale);
            if !(found <= 1.0) {
                return Err(format!("block {k}, lag {m}: {found:.2e} tolerances"));
            }
            all = all.max(found);
        }
    }
    Ok(all)
}

/// Sums of squares of every channel in every block of a record without gaps.
pub(crate) fn powers(record: &[Vec<f32>], blocks: usize) -> Vec<Vec<f64>> {
    let n = record[0].len();
    let part = |k: usize| n * k / blocks..n * (k + 1) / blocks;
    let power = |y: &[f32]| y.iter().map(|y| f64::from(*y).powi(2)).sum();
    (0..blocks).map(|k| record.iter().map(|y| power(&y[part(k)])).collect()).collect()
}
