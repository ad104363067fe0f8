//! The methods on a record of the shear chain, 10 minutes at 100 Hz; the way there from a file; the clustering of poles;
//! and the crossovers that the cost models rest on:
//!
//! `cargo bench --bench methods`.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use criterion::{BenchmarkId, Criterion};
use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::Entries;
use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::{Backend, LagPlan, WelchPlan};
use oma_worker::modal::clustering::average_linkage;
use oma_worker::modal::poles::Pole;
use oma_worker::modal::shapes::{self, NormalShape};
use oma_worker::modal::spectrum::Spectra;
use oma_worker::modal::{ModalError, automatic, fdd};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Drive, SsiParameters, Weighting};
use oma_worker::model::record::{Block, MemoryRecord, RawFile, Record};
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::f64::consts::PI;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    frequency_domain(&mut criterion);
    subspaces(&mut criterion);
    from_a_file(&mut criterion);
    clusters(&mut criterion);
    crossovers(&mut criterion);
    criterion.final_summary();
}

fn samples(channels: usize) -> Vec<Vec<f32>> {
    let chain = ShearChain { dofs: channels, top_frequency_hz: 40.0 / PI, damping: Damping::Rising };
    chain.record(&Measurement {
        dofs: (0..channels).collect(),
        sampling_rate_hz: 100.0,
        samples: 60_000,
        noise: 0.05,
        seed: channels as u64,
    })
}

fn record(channels: usize) -> MemoryRecord {
    MemoryRecord::new(100.0, samples(channels))
}

fn frequency_domain(criterion: &mut Criterion) {
    for channels in [32, 100] {
        let (record, control) = (record(channels), Control::none());
        let spectra = || Spectra::new(&record, 1024, 0.5, &Cpu, &control).unwrap();
        let setting = fdd::PeakSetting { band_hz: (0.0, 50.0), overlap: 0.5, prominence: fdd::PROMINENCE };
        let matrices = spectra();
        let mut group = criterion.benchmark_group(format!("fdd/{channels} channels"));
        group.bench_function("spectra", |bencher| bencher.iter(spectra));
        group.bench_function("peaks", |bencher| bencher.iter(|| fdd::peaks(&matrices, &setting).unwrap()));
        group.bench_function("singular_values", |bencher| {
            bencher.iter(|| matrices.singular_values(3).unwrap());
        });
    }
}

/// Every channel a reference, poles at every order.
fn subspaces(criterion: &mut Criterion) {
    let pc = (Drive::Covariance, Weighting::Pc);
    let rows = [
        ("cov, 8 channels", 8, 30, 60, pc, false),
        ("cov, 32 channels", 32, 30, 60, pc, false),
        ("cov, 100 channels", 100, 20, 100, pc, false),
        ("dat, 32 channels", 32, 30, 60, (Drive::Data, Weighting::Upc), false),
        ("cov, 32 channels, deviations from 50 blocks", 32, 30, 60, (Drive::Covariance, Weighting::Upc), true),
    ];
    let mut group = criterion.benchmark_group("ssi");
    for (name, channels, block_rows, order_max, (drive, weighting), uncertainty) in rows {
        let (record, control) = (record(channels), Control::none());
        let all: Vec<usize> = (0..channels).collect();
        let parameters = SsiParameters {
            method: Some(drive.method().into()),
            block_rows: Some(block_rows),
            order_max: Some(order_max),
            weighting: Some(weighting),
            uncertainty: Some(uncertainty),
            blocks: Some(50),
            ..SsiParameters::default()
        };
        let stays = |_: &dyn Record, _| Err(ModalError::Setting("with block_rows given there is one level".into()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                automatic::identify(&record, &parameters, Some(&all), &stays, &Cpu, &control).unwrap();
            });
        });
    }
}

/// Text to modes, and preprocessed record to modes.
fn from_a_file(criterion: &mut Criterion) {
    const CHANNELS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record.csv");
    write_csv(&path, &samples(CHANNELS));
    let file = RawFile::new("record.csv", path);
    let run = |kind: RunType, cached: Option<&Path>| {
        let request = Request::new(kind, vec![file.clone()]);
        pipeline::run(&request, cached, folder.path(), &Control::none()).unwrap().cache_file
    };
    let cached = folder.path().join("cached.parquet");
    std::fs::rename(run(RunType::Preprocessing, None).unwrap(), &cached).unwrap();
    let mut group = criterion.benchmark_group(format!("pipeline/{CHANNELS} channels"));
    for (name, kind) in [("fdd", RunType::Fdd), ("ssi", RunType::Ssi)] {
        group.bench_function(format!("csv to {name}"), |bencher| bencher.iter(|| run(kind, None)));
        group.bench_function(format!("cache to {name}"), |bencher| bencher.iter(|| run(kind, Some(&cached))));
    }
}

fn write_csv(path: &Path, channels: &[Vec<f32>]) {
    let mut text = String::from("time");
    (1..=channels.len()).for_each(|k| text += &format!(",ch{k}"));
    for t in 0..channels[0].len() {
        text += &format!("\n{}.{:02}", t / 100, t % 100);
        channels.iter().for_each(|channel| text += &format!(",{:.6e}", channel[t]));
    }
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Forty modes, so near to each other that no gap between frequencies splits the problem.
fn clusters(criterion: &mut Criterion) {
    const CHANNELS: usize = 32;
    let pole = |mode: usize, order: usize| {
        let scatter = |k: usize| 1e-3 * (1.0 + (7 * mode + 13 * order + 29 * k) as f64).sin();
        let frequency_hz = 2.0 * 1.03_f64.powi(mode as i32) * (1.0 + scatter(0));
        let shape = DVector::from_fn(CHANNELS, |k, _| {
            Complex::new((PI * (mode + 1) as f64 * (k + 1) as f64 / 65.0).sin() + scatter(k), scatter(k + 1))
        });
        let lambda = Complex::new(-0.01, 1.0) * (2.0 * PI * frequency_hz);
        Pole {
            order,
            column: 2 * mode,
            mu: (lambda / 100.0).exp(),
            lambda,
            frequency_hz,
            damping_ratio: 0.01,
            normal: shapes::real(&shape).map(|real| NormalShape::new(&real, &real, 0.0)),
            g: None,
            shape,
            mpc: 1.0,
            mpd: 0.0,
            deviation: None,
        }
    };
    let mut group = criterion.benchmark_group("clustering, 32 channels");
    for orders in [25, 1250] {
        let poles: Vec<Pole> = (0..orders).flat_map(|order| (0..40).map(move |mode| pole(mode, 60 + order))).collect();
        let poles: Vec<&Pole> = poles.iter().collect();
        group.bench_function(BenchmarkId::new("poles", poles.len()), |bencher| {
            bencher.iter(|| assert_eq!(average_linkage(&poles, 0.05).len(), 40));
        });
    }
}

/// Both sides of every choice, from where one wins to where the other does.
fn crossovers(criterion: &mut Criterion) {
    leading_against_all_triplets(criterion);
    leading_against_all_pairs(criterion);
    transforms_against_direct_sums(criterion);
    kept_against_summed_segments(criterion);
}

/// `leading_svd` takes all triplets up to 280 rows, and where rank + rank/2 + 16 is above half of the rows: there the
/// two must be alike, below it must be the quicker. Beyond the rank of the signal, 64, it tells what a trial in vain costs on
/// top of the full decomposition.
fn leading_against_all_triplets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crossover/singular triplets");
    for size in [240, 320, 480, 960] {
        // A signal of rank 64 above a floor, as a Hankel matrix has it.
        let part = |seed: usize, i: usize, j: usize| ((seed + 7 * i * i + 13 * j + i * j) as f64).sin();
        let factor = |seed: usize| DMatrix::from_fn(size, 64, |i, j| part(seed, i, j));
        let a = oma_linalg::multiply(&factor(1), &factor(2).transpose());
        let a = a + DMatrix::from_fn(size, size, |i, j| 0.1 * part(3, i, j));
        group.bench_function(format!("{size}/all"), |bencher| bencher.iter(|| oma_linalg::svd(&a).unwrap()));
        for rank in [16, 64, 128, 192] {
            group.bench_function(format!("{size}/leading {rank}"), |bencher| {
                bencher.iter(|| oma_linalg::leading_svd(&a, rank, 1e-12).unwrap());
            });
        }
    }
}

/// Matrices of up to 24 channels are decomposed whole. Most of these lines are of noise alone, whose leading values the steps
/// find last; vectors are asked for at peaks only, where they are found in a fifth of the time.
fn leading_against_all_pairs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crossover/Hermitian pairs");
    for channels in [16, 24, 32, 100] {
        let (record, control) = (record(channels), Control::none());
        let spectra = Spectra::new(&record, 1024, 0.5, &Cpu, &control).unwrap();
        let some: Vec<_> = spectra.whole().unwrap().matrices.iter().skip(100).step_by(40).map(|g| g.matrix()).collect();
        let mut bench = |name: &str, work: &dyn Fn(&DMatrix<Complex<f64>>)| {
            group.bench_function(format!("{channels}/{name}"), |bencher| bencher.iter(|| some.iter().for_each(work)));
        };
        bench("all", &|g| drop(black_box(oma_linalg::hermitian_eigen(g).unwrap())));
        bench("all values", &|g| drop(black_box(oma_linalg::hermitian_values(g).unwrap())));
        for count in [1, 3] {
            let leading =
                |g: &DMatrix<_>| drop(black_box(oma_linalg::leading_hermitian(Entries::All(g), count).unwrap()));
            bench(&format!("leading {count}"), &leading);
            let values = |g: &DMatrix<_>| {
                drop(black_box(oma_linalg::leading_hermitian_values(Entries::All(g), count).unwrap()));
            };
            bench(&format!("leading {count} values"), &values);
        }
    }
}

/// Lag products always go by transforms: even as matrix products direct sums win only below the fewest lags that are
/// asked for.
fn transforms_against_direct_sums(criterion: &mut Criterion) {
    const SAMPLES: usize = 60_000;
    let mut group = criterion.benchmark_group("crossover/lag products");
    for channels in [2, 32] {
        let record = record(channels);
        let mut source = record.blocks().unwrap();
        let (mut blocks, mut block) = (Vec::new(), Block::default());
        while source.next_block(&mut block).unwrap() {
            blocks.push(block.clone());
        }
        let y = DMatrix::from_fn(SAMPLES, channels, |t, c| {
            let block = &blocks[t / blocks[0].samples];
            f64::from(block.channel(c)[t - block.start as usize])
        });
        for lags in [4, 12, 24, 60] {
            let plan = LagPlan {
                channels,
                references: (0..channels).collect(),
                lags,
                blocks: 1,
                segments: record.info().segments.clone(),
            };
            group.bench_function(format!("{channels}/{lags}/transforms"), |bencher| {
                bencher.iter(|| {
                    let mut sums = Cpu.lag_products(&plan);
                    blocks.iter().for_each(|block| sums.push(block));
                    sums.finish().unwrap()
                });
            });
            group.bench_function(format!("{channels}/{lags}/direct"), |bencher| {
                bencher.iter(|| {
                    let shifted = |m: usize| y.rows(m, SAMPLES - m).into_owned();
                    let first = |m: usize| y.rows(0, SAMPLES - m).into_owned();
                    (0..lags).map(|m| oma_linalg::multiply_transposed(&shifted(m), &first(m))).collect::<Vec<_>>()
                });
            });
        }
    }
}

/// Segments are kept as they are where there are fewer than half as many as channels: to the leading pair of every line.
fn kept_against_summed_segments(criterion: &mut Criterion) {
    const CHANNELS: usize = 96;
    const LENGTH: usize = 512;
    let whole = samples(CHANNELS);
    let mut group = criterion.benchmark_group("crossover/segments");
    for segments in [12, 24, 48, 96] {
        let count = LENGTH / 2 * (segments + 1);
        let channels = whole.iter().map(|channel| channel[..count].to_vec()).collect();
        let record = MemoryRecord::new(100.0, channels);
        // Whoever hears of a single one keeps it, and those that come.
        for (name, told) in [("kept", Some(1)), ("summed", None)] {
            let plan = WelchPlan { segments: told, ..WelchPlan::new(CHANNELS, 100.0, LENGTH, LENGTH / 2) };
            group.bench_function(format!("{segments}/{name}"), |bencher| {
                bencher.iter(|| {
                    let (mut sums, mut block) = (Cpu.cross_spectra(&plan), Block::default());
                    let mut source = record.blocks().unwrap();
                    while source.next_block(&mut block).unwrap() {
                        sums.push(&block);
                    }
                    let spectra = sums.finish().unwrap();
                    spectra.matrices.iter().for_each(|g| drop(black_box(g.leading(1, None).unwrap())));
                });
            });
        }
    }
}
