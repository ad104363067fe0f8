//! The heavy sums, and the methods over them, on the CPU and on a GPU, with counted bytes and operations:
//!
//! `OMA_GPU_ADAPTER=NAME cargo bench --bench kernels`; without the variable the first real GPU, without one the CPU alone.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

#[path = "../tests/it/support/cases.rs"]
mod cases;

use cases::{Kind, LAGS, LagCase, SPECTRA, SpectraCase};
use criterion::{BenchmarkId, Criterion, Throughput};
use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::gpu::layout::{SHORTEST, Transform};
use oma_worker::compute::gpu::{Gpu, Peaks};
use oma_worker::compute::select::Backends;
use oma_worker::compute::{Averages, Backend, LagPlan, WelchPlan};
use oma_worker::modal::spectrum::Spectra;
use oma_worker::modal::{ModalError, automatic, fdd};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::SsiParameters;
use oma_worker::model::record::{BLOCK_SAMPLES, Block, MemoryRecord, Record};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::collections::BTreeMap;
use std::sync::Arc;

fn main() {
    let wanted = std::env::var("OMA_GPU_ADAPTER").ok();
    let gpu = Gpu::open(wanted.as_deref()).map_err(|error| eprintln!("GPU: {error}")).ok();
    if let Some(gpu) = &gpu {
        let (rates, peaks) = (gpu.rates(), gpu.peaks().unwrap());
        eprintln!(
            "GPU: {:?}, peaks {:.2e} FLOP/s in multiply-adds, {:.2e} B/s copied; {:.2e} B/s uploaded",
            gpu.adapter(),
            peaks.flops,
            peaks.copy_bytes,
            rates.upload_bytes
        );
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    spectra(&mut criterion, gpu.as_ref());
    lags(&mut criterion, gpu.as_ref());
    pairs(&mut criterion, gpu.as_ref());
    methods(&mut criterion, gpu.as_ref());
    criterion.final_summary();
}

fn blocks(record: Vec<Vec<f32>>) -> Vec<Block> {
    let record = MemoryRecord::new(1.0, record);
    let mut source = record.blocks().unwrap();
    let (mut all, mut block) = (Vec::new(), Block::default());
    while source.next_block(&mut block).unwrap() {
        all.push(block.clone());
    }
    assert!(all.iter().all(|block| block.samples <= BLOCK_SAMPLES));
    all
}

/// What a kernel does at the least in a job.
struct Work {
    kernel: &'static str,
    /// Operations, two of a multiply-add.
    flops: f64,
    /// Of the device's memory: each operand once, and the answer.
    bytes: f64,
}

impl Work {
    /// Its roofline beside what it took.
    fn tell(&self, name: &str, timed: &BTreeMap<&'static str, f64>, peaks: Peaks) {
        let Some(seconds) = timed.get(self.kernel) else { return };
        let (multiplied, copied) = (self.flops / peaks.flops, self.bytes / peaks.copy_bytes);
        eprintln!(
            "{name}: {} {:.3} ms, at least {:.3}: {:.1} % of the multiply-add peak, {:.1} % of the copy bandwidth",
            self.kernel,
            1e3 * seconds,
            1e3 * multiplied.max(copied),
            100.0 * multiplied / seconds,
            100.0 * copied / seconds
        );
    }
}

/// Runs a job on both backends; on the GPU it tells what went over the bus, and of each kernel how far it is from its roofline.
fn both(
    criterion: &mut Criterion,
    gpu: Option<&Arc<Gpu>>,
    (group, name, flops): (&str, &str, f64),
    kernels: &[Work],
    run: impl Fn(&dyn Backend),
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(flops as u64));
    group.bench_function(BenchmarkId::new("cpu", name), |bencher| bencher.iter(|| run(&Cpu)));
    let Some(gpu) = gpu else { return };
    let backends = Backends::over(gpu.clone());
    let before = gpu.traffic();
    run(&backends.for_run(1 << 20));
    let spent = gpu.traffic().since(before);
    let (rates, peaks) = (gpu.rates(), gpu.peaks().unwrap());
    let floor = spent.uploaded_bytes as f64 / rates.upload_bytes + flops / peaks.flops;
    eprintln!("{name}: {flops:.2e} operations, floor at the measured rates {:.2} ms, {spent:?}", 1e3 * floor);
    let timed = kernel_seconds(gpu, || run(&backends.for_run(1 << 20)));
    eprintln!(
        "{name}: {:.1} % of the multiply-add peak while kernels run, {timed:.5?} s",
        100.0 * flops / timed.values().sum::<f64>() / peaks.flops
    );
    kernels.iter().for_each(|work| work.tell(name, &timed, peaks));
    group.bench_function(BenchmarkId::new("gpu", name), |bencher| bencher.iter(|| run(&backends.for_run(1 << 20))));
}

/// Seconds of each kernel in one run, by the device's clock.
fn kernel_seconds(gpu: &Gpu, run: impl Fn()) -> BTreeMap<&'static str, f64> {
    let before = gpu.times();
    gpu.time_kernels(true);
    run();
    gpu.time_kernels(false);
    let since = |(kernel, (_, seconds)): (&'static str, (u64, f64))| {
        (kernel, seconds - before.get(kernel).map_or(0.0, |(_, before)| *before))
    };
    gpu.times().into_iter().map(since).filter(|(_, seconds)| *seconds > 0.0).collect()
}

/// Of a Welch estimate from so many segments of `n` samples and `l` channels.
fn welch_work(segments: f64, n: f64, l: f64) -> [Work; 2] {
    let (lines, pairs) = (n / 2.0 + 1.0, l * (l + 1.0) / 2.0);
    let spectra = 8.0 * lines * segments * l;
    let transforms = 2.5 * n * n.log2() * segments * l;
    [
        Work { kernel: "segment_spectra", flops: transforms, bytes: 4.0 * n * segments * l + spectra },
        Work { kernel: "cross_spectra", flops: 8.0 * segments * pairs * lines, bytes: spectra + 8.0 * pairs * lines },
    ]
}

fn spectra(criterion: &mut Criterion, gpu: Option<&Arc<Gpu>>) {
    // The project's large jobs beside those of the parity tests.
    let large = [(64, 256), (500, 64)].map(|(channels, segments)| SpectraCase {
        kind: Kind::Random,
        channels,
        segments,
        length: 1024,
    });
    let on_device = |case: &&SpectraCase| case.kind == Kind::Random && Transform::new(case.length).is_some();
    for case in SPECTRA.iter().filter(on_device).chain(&large) {
        let hop = case.length / 2;
        let record = blocks(cases::record(case.kind, case.channels, (case.segments + 1) * hop));
        let plan = WelchPlan::new(case.channels, 1.0, case.length, hop);
        let (n, l) = (case.length as f64, case.channels as f64);
        let kernels = welch_work(case.segments as f64, n, l);
        let flops = kernels.iter().map(|work| work.flops).sum();
        let name = format!("{:03}x{:04}x{:05}", case.channels, case.segments, case.length);
        both(criterion, gpu, ("cross_spectra", &name, flops), &kernels, |backend| {
            let mut sums = backend.cross_spectra(&plan);
            record.iter().for_each(|block| sums.push(block));
            std::hint::black_box(sums.finish().unwrap());
        });
    }
}

/// Transforms of lag products are as long as `compute/gpu/lags.rs` makes them: so many times the lags.
const LENGTH_PER_LAG: usize = 5;

fn lags(criterion: &mut Criterion, gpu: Option<&Arc<Gpu>>) {
    let large = LagCase { kind: Kind::Random, channels: 64, references: 8, lags: 60, samples: 100_000, blocks: 10 };
    for case in LAGS.iter().filter(|case| case.kind == Kind::Random).chain([&large]) {
        let record = cases::record(case.kind, case.channels, case.samples);
        let info = MemoryRecord::new(1.0, record.clone());
        let plan = LagPlan {
            channels: case.channels,
            references: (0..case.references).map(|j| j * case.channels / case.references).collect(),
            lags: case.lags,
            blocks: case.blocks,
            segments: info.info().segments.clone(),
        };
        let record = blocks(record);
        let flops = 2.0 * (case.channels * case.references * case.lags * case.samples) as f64;
        let name = format!("{:03}x{:02}x{:04}x{}", case.channels, case.references, case.lags, case.samples);
        let products = (case.channels * case.references * case.lags * case.blocks) as f64;
        let bytes = 4.0 * ((case.channels * case.samples) as f64 + products);
        // By transforms every pair of every block goes back once.
        let pairs = (case.channels * case.references * case.blocks) as f64;
        let n = (LENGTH_PER_LAG * case.lags).next_power_of_two().max(SHORTEST) as f64;
        let kernels = [
            Work { kernel: "lag_products", flops, bytes },
            Work {
                kernel: "correlations",
                flops: 2.5 * n * n.log2() * pairs,
                bytes: 8.0 * (n / 2.0 + 1.0) * pairs + 4.0 * products,
            },
        ];
        both(criterion, gpu, ("lag_products", &name, flops), &kernels, |backend| {
            let mut sums = backend.lag_products(&plan);
            record.iter().for_each(|block| sums.push(block));
            std::hint::black_box(sums.finish().unwrap());
        });
    }
}

/// Leading pairs of every line: of matrices at home, and of sums that stay on the device.
fn pairs(criterion: &mut Criterion, gpu: Option<&Arc<Gpu>>) {
    const COUNT: usize = 3;
    for channels in [64, 256] {
        let record = blocks(cases::record(Kind::Random, channels, 5000));
        let plan = WelchPlan { in_place: true, ..WelchPlan::new(channels, 1.0, 256, 128) };
        let averages = |backend: &dyn Backend| {
            let mut sums = backend.cross_spectra(&plan);
            record.iter().for_each(|block| sums.push(block));
            sums.finish_in_place().unwrap()
        };
        let mut group = criterion.benchmark_group("leading_pairs");
        let name = format!("{channels:03}x{COUNT}x0129");
        if let Averages::Home(matrices) = averages(&Cpu) {
            let all =
                || plan.lines.clone().map(|line| matrices.at(line).leading(COUNT, None).unwrap().0[0]).sum::<f64>();
            group.bench_function(BenchmarkId::new("cpu", &name), |bencher| bencher.iter(all));
        }
        let Some(gpu) = gpu else { continue };
        let Averages::Away(away) = averages(&Backends::over(gpu.clone()).for_run(1 << 20)) else { continue };
        let before = gpu.traffic();
        let timed = kernel_seconds(gpu, || drop(away.leading(COUNT, None, &Control::none()).unwrap()));
        let spent = gpu.traffic().since(before);
        let matrices = 4 * (channels * (channels + 1) * plan.lines.len()) as u64;
        let part = (spent.read_back_bytes + spent.uploaded_bytes) as f64 / matrices as f64;
        eprintln!("{name}: {part:.2} of the matrices' bytes up and down, {timed:.5?} s, {spent:?}");
        // Each component of a product is a sum over a row; the matrices are read once at the least.
        let components = spent.read_back_bytes as f64 / 8.0;
        let work = Work {
            kernel: "hermitian_products",
            flops: 8.0 * components * channels as f64,
            bytes: matrices as f64 + 16.0 * components,
        };
        work.tell(&name, &timed, gpu.peaks().unwrap());
        let timed = kernel_seconds(gpu, || drop(away.total(away.lines()).unwrap()));
        let totals = (channels * (channels + 1) / 2) as f64;
        let entries = totals * away.lines().len() as f64;
        let work = Work { kernel: "line_totals", flops: 2.0 * entries, bytes: 8.0 * entries + 4.0 * totals };
        work.tell(&name, &timed, gpu.peaks().unwrap());
        group.bench_function(BenchmarkId::new("gpu", &name), |bencher| {
            bencher.iter(|| away.leading(COUNT, None, &Control::none()))
        });
    }
}

/// Whole methods: FDD, of 256 channels with spectra that stay on the device, and SSI from the products with every eighth channel.
fn methods(criterion: &mut Criterion, gpu: Option<&Arc<Gpu>>) {
    const LENGTH: usize = 1024;
    let control = Control::none();
    for (channels, samples) in [(64, 60_000), (256, 20_000)] {
        let chain = ShearChain { dofs: channels, top_frequency_hz: 40.0, damping: Damping::Uniform(0.01) };
        let dofs = (0..channels).collect();
        let measurement = Measurement { dofs, sampling_rate_hz: 100.0, samples, noise: 0.05, seed: 1 };
        let record = MemoryRecord::new(100.0, chain.record(&measurement));
        let flops = WelchPlan::new(channels, 100.0, LENGTH, LENGTH / 2).operations(samples as u64);
        let segments = (samples / (LENGTH / 2) - 1) as f64;
        let kernels = welch_work(segments, LENGTH as f64, channels as f64);
        both(criterion, gpu, ("methods", &format!("fdd, {channels} channels"), flops), &kernels, |backend| {
            let spectra = Spectra::new(&record, LENGTH, 0.5, backend, &control).unwrap();
            let setting = fdd::PeakSetting { band_hz: (0.0, 50.0), overlap: 0.5, prominence: fdd::PROMINENCE };
            std::hint::black_box((fdd::peaks(&spectra, &setting).unwrap(), spectra.singular_values(3).unwrap()));
        });
        if channels > 64 {
            continue;
        }
        let references: Vec<usize> = (0..channels).step_by(8).collect();
        let (block_rows, blocks) = (20, 20);
        let parameters = SsiParameters {
            block_rows: Some(block_rows),
            order_max: Some(40),
            blocks: Some(blocks),
            uncertainty: Some(false),
            ..SsiParameters::default()
        };
        let flops = 2.0 * (channels * references.len() * 2 * block_rows * samples) as f64;
        let stays = |_: &dyn Record, _| Err(ModalError::Setting("with block_rows given there is one level".into()));
        both(criterion, gpu, ("methods", &format!("ssi-cov, {channels} channels"), flops), &[], |backend| {
            let found = automatic::identify(&record, &parameters, Some(&references), &stays, backend, &control);
            std::hint::black_box(found.unwrap());
        });
    }
}
