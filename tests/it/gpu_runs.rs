//! Runs on the GPU: faults in the middle, traffic, and the modes that come out.

use crate::automatic::identify_on;
use crate::raw_files::Folder;
use crate::support::cases::{self, Kind};
use crate::support::correlations::lag_products;
use crate::support::gpu::{self, Stamped, backend, compare_products, compare_spectra, on_cpu, powers};
use crate::support::real_data;
use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::gpu::{Fault, Gpu};
use oma_worker::compute::select::{Backends, Choice, Told};
use oma_worker::compute::{Backend, LagProducts, SpectralMatrices, WelchPlan};
use oma_worker::modal::indicators::mac;
use oma_worker::modal::spectrum::Spectra;
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Drive, SsiParameters};
use oma_worker::model::record::{MemoryRecord, Record, Segment};
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::sync::Arc;

const LENGTH: usize = 256;
const BLOCKS: usize = 3;

/// Spectra and lag products of a record, with products formed directly and by transforms.
fn sums(record: &dyn Record, on: &dyn Backend) -> (SpectralMatrices, Vec<LagProducts>) {
    let control = Control::none();
    let spectra = Spectra::new(record, LENGTH, 0.5, on, &control).unwrap().whole().cloned().unwrap();
    let of_lags = |&lags: &usize| lag_products(record, &[0, 2], (lags, BLOCKS), on);
    (spectra, [6, 40].iter().map(of_lags).collect())
}

/// The sums agree with the CPU's, whoever formed them in the end.
fn agree(told: &Told, found: (SpectralMatrices, Vec<LagProducts>), record: &[Vec<f32>], of: &MemoryRecord) {
    assert_eq!(told.backend(), if told.is_failed { "cpu" } else { "gpu" });
    let (spectra, products) = sums(of, &Cpu);
    // The stamp says who began; `told` says who ended.
    compare_spectra(&[Stamped { backend: "gpu", value: found.0 }, on_cpu(spectra)]).unwrap();
    for (found, expected) in found.1.into_iter().zip(products) {
        compare_products(&[Stamped { backend: "gpu", value: found }, on_cpu(expected)], &powers(record, BLOCKS))
            .unwrap();
    }
}

/// A fault at its first occasion, its second, … until a run has none left.
fn every_occasion(fault: Fault, least: u64, words: &str) {
    let channels = cases::record(Kind::Random, 3, 20_000);
    let record = MemoryRecord::new(50.0, channels.clone());
    for after in 0.. {
        let device = gpu::open();
        let run = backend(&device);
        device.inject(fault, after);
        let found = sums(&record, &run);
        let told = run.told();
        agree(&told, found, &channels, &record);
        if !told.is_failed {
            assert!(after >= least, "only {after} occasions");
            assert_eq!(told.fallback_reason, None);
            return;
        }
        let reason = told.fallback_reason.unwrap();
        assert!(reason.contains(words) && told.adapter.is_some() && told.driver.is_some(), "{reason}");
    }
}

#[test]
fn a_device_lost_at_any_submission_leaves_the_sums_of_the_cpu() {
    every_occasion(Fault::LoseDevice, 10, "lost");
}

#[test]
fn memory_refused_at_any_allocation_leaves_the_sums_of_the_cpu() {
    every_occasion(Fault::RefuseAllocation, 5, "refused");
}

#[test]
fn a_device_that_hangs_at_any_wait_leaves_the_sums_of_the_cpu() {
    every_occasion(Fault::Hang, 10, "did not answer");
}

#[test]
fn after_a_loss_the_blocks_that_were_complete_are_not_computed_again() {
    let channels = cases::record(Kind::Random, 3, 200_000);
    let segments = vec![Segment { start: 0, samples: 90_000 }, Segment { start: 90_100, samples: 99_900 }];
    let record = MemoryRecord::with_segments(50.0, channels, segments);
    let device = gpu::open();
    let run = backend(&device);
    let whole = lag_products(&record, &[0], (40, 5), &run);
    device.inject(Fault::LoseDevice, 9);
    let run = backend(&device);
    let broken = lag_products(&record, &[0], (40, 5), &run);
    assert!(run.told().is_failed);
    // The same bits where the device had brought the block home, the CPU's afterwards.
    let same: Vec<bool> = whole.blocks.iter().zip(&broken.blocks).map(|(a, b)| a == b).collect();
    assert!(same[0] && !same[4], "{same:?}");
    let cpu = lag_products(&record, &[0], (40, 5), &Cpu);
    assert_eq!(cpu.edges, broken.edges);
    let samples = |products: &LagProducts| products.blocks.iter().map(|b| b.samples).collect::<Vec<_>>();
    assert_eq!(samples(&cpu), samples(&broken));
}

#[test]
fn peaks_are_measured_and_kernels_are_timed() {
    let device = gpu::open();
    let peaks = device.peaks().unwrap();
    // A memory of 10 MB/s or a processor of 10 MFLOP/s is none, nor are a thousand times the largest.
    assert!((1e7..1e16).contains(&peaks.copy_bytes) && (1e7..1e17).contains(&peaks.flops), "{peaks:?}");
    assert!(device.times().is_empty(), "nobody wanted to know");
    let before = device.traffic();
    device.time_kernels(true);
    traffic(&device, Kind::Random, 1);
    device.time_kernels(false);
    let times = device.times();
    let passes: u64 = times.values().map(|(passes, _)| passes).sum();
    assert_eq!(passes, device.traffic().since(before).dispatches);
    assert!(times["segment_spectra"].1 > 0.0 && times["cross_spectra"].1 > 0.0, "{times:?}");
    eprintln!("{peaks:?}, {times:?}");
}

/// Whatever is in its place.
#[test]
fn compiled_kernels_are_kept_where_the_driver_can() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = folder.path().join("kernels");
    let name = gpu::open().adapter().name.clone();
    let open = |kernels: &std::path::Path| drop(Gpu::open_keeping(Some(&name), Some(kernels)).unwrap());
    open(&kernels);
    let files: Vec<_> = std::fs::read_dir(&kernels).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let written = std::fs::read(&files[0]).unwrap();
    open(&kernels);
    for content in [&written[..written.len() / 2], &[7; 4096]] {
        std::fs::write(&files[0], content).unwrap();
        open(&kernels);
        assert_ne!(std::fs::read(&files[0]).unwrap(), content, "it is written anew");
    }
    // A folder that cannot be.
    open(&files[0]);
}

fn traffic(device: &Arc<Gpu>, kind: Kind, chunks: usize) -> (f64, u64, u64, u64) {
    let samples = chunks * 64 * LENGTH / 2 + LENGTH / 2;
    let record = MemoryRecord::new(50.0, cases::record(kind, 64, samples));
    let before = device.traffic();
    Spectra::new(&record, LENGTH, 0.5, &backend(device), &Control::none()).unwrap();
    let spent = device.traffic().since(before);
    let bytes = if kind == Kind::Codes { 2 } else { 4 };
    assert_eq!(spent.input_bytes, (bytes * 64 * samples) as u64);
    let uploaded = spent.uploaded_bytes as f64 / (64 * samples) as f64;
    (uploaded, spent.read_back_bytes, spent.dispatches, spent.peak_bytes)
}

#[test]
fn a_record_goes_up_once_and_its_sums_come_back_once() {
    let device = gpu::open();
    let triangle = 8 * (64 * 65 / 2 * (LENGTH / 2 + 1)) as u64;
    let (uploaded, back, dispatches, peak) = traffic(&device, Kind::Random, 3);
    assert!(uploaded <= 1.05 * 4.0, "{uploaded} bytes a sample");
    assert_eq!(back, triangle);
    // One for the spectra, at most eight bands of lines for the products.
    assert!(dispatches <= 3 * 9, "{dispatches}");
    // A longer record takes no more memory.
    let (_, back, _, longer) = traffic(&device, Kind::Random, 5);
    assert_eq!((back, longer), (triangle, peak));
    let (packed, ..) = traffic(&device, Kind::Codes, 2);
    assert!(packed <= 1.05 * 2.0, "{packed} bytes a sample of 16 bits");
    let record = MemoryRecord::new(50.0, cases::record(Kind::Random, 64, 60_000));
    let before = device.traffic();
    lag_products(&record, &[0, 20], (24, 2), &backend(&device));
    let spent = device.traffic().since(before);
    assert!(spent.uploaded_bytes as f64 <= 1.05 * 4.0 * 64.0 * 60_000.0, "{spent:?}");
    // Half of the f64 products of both blocks.
    assert_eq!(spent.read_back_bytes, 2 * 4 * 64 * 2 * 24);
    // Responses reach 47 samples beyond the references of each submission.
    assert_eq!(spent.input_bytes, 4 * 64 * 60_000);
    assert!(spent.uploaded_bytes > spent.input_bytes && spent.uploads_over_least() <= 1.05, "{spent:?}");
    assert_eq!((spent.output_bytes, spent.readbacks_over_least()), (spent.read_back_bytes, 1.0));
    eprintln!("{spent:?}");
}

/// `--verbose` tells what went over the bus, as a multiple of the least.
#[test]
fn what_went_over_the_bus_is_told_where_it_is_asked_for() {
    let folder = Folder::new();
    let chain = ShearChain { dofs: 3, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let measured =
        chain.record(&Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 64.0, samples: 8000, noise: 0.05, seed: 9 });
    let row = |t: usize| format!("{},{},{}\n", measured[0][t], measured[1][t], measured[2][t]);
    let file = folder.file("record.csv", "a,b,c\n".to_owned() + &(0..8000).map(row).collect::<String>());
    let adapter = std::env::var("OMA_TEST_GPU_ADAPTER").unwrap_or_else(|_| "llvmpipe".into());
    let said = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_oma-worker"));
        command.args(["analyze", "--method", "fdd", "--fs", "64", "--backend", "gpu", "--gpu-adapter", &adapter]);
        let output = command.args(more).arg(&file.path).env_remove("OMA_LOG").env("NO_COLOR", "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    assert!(!said(&[]).contains("over_least"));
    let said = said(&["--verbose"]);
    let number = |name: &str| -> f64 {
        let (_, rest) = said.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{name} is missing: {said}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    // Tables of the transform weigh more beside three short channels than beside a large record.
    assert!((1.0..2.0).contains(&number("uploads_over_least")), "{said}");
    // Six entries of eight bytes on each of 129 lines; two stamps of eight bytes come home with the time of each of the two kernels.
    let (outputs, stamps) = (129.0 * 6.0 * 8.0, if said.contains("kernels={}") { 0.0 } else { 2.0 * 2.0 * 8.0 });
    assert_eq!(number("readbacks_over_least"), (outputs + stamps) / outputs, "{said}");
}

/// Modes of a record on both backends: the same number, frequencies within 1e-5, damping within 0.5 %, MAC 1 − 1e-6.
fn modes_agree(record: &MemoryRecord, drive: Drive) -> usize {
    let device = gpu::open();
    let run = backend(&device);
    let method = Some(drive.method().to_owned());
    let parameters = SsiParameters { method, decimation_levels: Some(false), ..SsiParameters::default() };
    let (gpu, cpu) = (identify_on(record, &parameters, &run), identify_on(record, &parameters, &Cpu));
    let told = run.told();
    let reason = told.fallback_reason.as_ref().map(|reason| reason.contains("ssi-dat") && reason.contains("f64"));
    assert_eq!((told.backend(), reason), ("gpu", (drive == Drive::Data).then_some(true)));
    assert_eq!(gpu.modes.len(), cpu.modes.len());
    for (g, c) in gpu.modes.iter().zip(&cpu.modes) {
        let (f, xi) = (c.frequency_hz, c.damping_ratio.unwrap());
        assert!((g.frequency_hz - f).abs() <= 1e-5 * f, "{f} Hz: {}", g.frequency_hz);
        assert!((g.damping_ratio.unwrap() - xi).abs() <= 5e-3 * xi, "{f} Hz: damping");
        assert!(mac(g.shape.0.as_view(), c.shape.0.as_view()) >= 1.0 - 1e-6, "{f} Hz: shape");
    }
    cpu.modes.len()
}

#[test]
fn modes_are_those_of_the_cpu() {
    let chain = ShearChain { dofs: 5, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let dofs = (0..5).collect();
    let measured = chain.record(&Measurement { dofs, sampling_rate_hz: 50.0, samples: 20_000, noise: 0.05, seed: 7 });
    let record = MemoryRecord::new(50.0, measured.clone());
    assert_eq!([Drive::Covariance, Drive::Data].map(|drive| modes_agree(&record, drive)), [5, 5]);
    // A drift of ten thousand times the motion's power: covariances that are nearly singular.
    let drift = |(t, y): (usize, &f32)| y + 3.0 * (t as f32 * 2e-4).sin();
    let drifting = measured.iter().map(|channel| channel.iter().enumerate().map(drift).collect()).collect();
    assert!(modes_agree(&MemoryRecord::new(50.0, drifting), Drive::Data) > 0);
}

/// The normal equations of pLSCF are formed of sums in f64: poles and modes are the CPU's to the last bit, and it is told why.
#[test]
fn half_spectra_are_fitted_on_sums_in_f64() {
    let folder = Folder::new();
    let chain = ShearChain { dofs: 3, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let measured =
        chain.record(&Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 64.0, samples: 8000, noise: 0.05, seed: 8 });
    let row =
        |t: usize| measured.iter().fold(format!("{}", t as f64 / 64.0), |row, y| row + &format!(",{}", y[t])) + "\n";
    let file = folder.file("record.csv", "time,a,b,c\n".to_owned() + &(0..8000).map(row).collect::<String>());
    let on = |backends: Arc<Backends>| {
        let mut request = Request::new(RunType::Fdd, vec![file.clone()]);
        request.parameters.fdd.method = Some("plscf".into());
        request.backends = backends;
        pipeline::run(&request, None, folder.path(), &Control::none()).unwrap().result
    };
    let (gpu, cpu) = (on(Backends::over(gpu::open())), on(Backends::cpu()));
    assert_eq!((gpu.modes.len(), &gpu.modes), (3, &cpu.modes));
    assert_eq!(gpu.stabilization, cpu.stabilization);
    let reason = gpu.provenance.fallback_reason.unwrap();
    assert!(gpu.provenance.backend == "gpu" && reason.contains("plscf") && reason.contains("f64"), "{reason}");
}

#[test]
fn modes_of_real_data_are_those_of_the_cpu() {
    let records = [
        ("chain05_10min", 100.0),
        ("pyoma2_5dof_sim_f32", 100.0),
        ("koma_shearframe", 12.0),
        ("cheynet_bridge_rz_f32", 15.0),
        ("pyoma2_palisaden_raw30min_f32", 100.0),
    ];
    for (name, rate) in records {
        let record = real_data::record(&format!("data/{name}.npy"), rate);
        for drive in [Drive::Covariance, Drive::Data] {
            let found = modes_agree(&record, drive);
            eprintln!("{name}: {found} modes by {}", drive.method());
            assert!(found > 0, "{name}");
        }
    }
}

#[test]
fn software_is_taken_only_by_name_and_a_small_job_not_at_all() {
    let plan = WelchPlan::new(2, 1.0, 256, 128);
    let reason = |choice, adapter: Option<&str>, samples| {
        let backends = Backends::new(choice, adapter.map(str::to_owned));
        let run = backends.for_run(samples);
        run.cross_spectra(&plan);
        let told = run.told();
        assert_eq!(told.backend(), "cpu");
        (told.fallback_reason, backends.check())
    };
    let (told, check) = reason(Choice::Auto, None, 1000);
    assert!(told.unwrap().contains("too small for a GPU") && check.is_ok());
    let (told, check) = reason(Choice::Gpu, Some("no such thing"), 1000);
    assert!(told.unwrap().contains("no such thing") && check.unwrap_err().contains("OMA_GPU_ADAPTER"));
    assert_eq!(reason(Choice::Cpu, None, 1 << 40), (None, Ok(())));
}

/// Each kernel's twin against what the project computes by the fast way, and so against the kernels.
#[test]
fn twins_read_like_the_formula_and_agree_with_the_cpu() {
    use crate::support::twins;
    let y: Vec<f64> = cases::noise(1, 64).into_iter().map(f64::from).collect();
    let r: Vec<f64> = cases::noise(2, 50).into_iter().map(f64::from).collect();
    // Zero-padded to 128, fifteen lags wrap nowhere.
    let ones = vec![1.0; 128];
    let (a, b) = (twins::segment_spectra(&y, &ones, false), twins::segment_spectra(&r, &ones, false));
    let product: Vec<_> = a.iter().zip(&b).map(|(a, b)| twins::cross_spectra(&[*a], &[*b])).collect();
    let direct = twins::lag_products(&y, &r, 50, 15);
    for (found, exact) in twins::correlations(&product, 15).into_iter().zip(direct) {
        // Sums of 128 terms below 1e3, twice.
        assert!((found - exact).abs() <= 1e-10, "{found} for {exact}");
    }
    let window: Vec<f64> = (0..64).map(|t| 0.5 - 0.5 * (std::f64::consts::PI * t as f64 / 32.0).cos()).collect();
    let x = twins::segment_spectra(&y, &window, true);
    let plan = WelchPlan::new(1, 1.0, 64, 64);
    let mut cpu = Cpu.cross_spectra(&plan);
    let single = vec![y.iter().map(|y| *y as f32).collect::<Vec<_>>()];
    let whole = [Segment { start: 0, samples: 64 }];
    gpu::blocks(&single, &whole, &[64]).iter().for_each(|block| cpu.push(block));
    // Of 2 × 2: [2, 1 + i; 1 − i, 3] times (1, i), and a line between the ends counts whole.
    let complex = nalgebra::Complex::new;
    let packed = [complex(2.0, 0.0), complex(1.0, -1.0), complex(3.0, 0.0)];
    let product = twins::hermitian_products(&packed, &[complex(1.0, 0.0), complex(0.0, 1.0)]);
    assert_eq!(product, [complex(1.0, 1.0), complex(1.0, 2.0)]);
    assert_eq!(twins::line_totals(&[complex(2.0, 0.0), complex(5.0, 7.0), complex(4.0, 0.0)]), 8.0);
    assert_eq!(twins::peak_rates(1e9, 160), 2.0);
    let power: f64 = window.iter().map(|w| w * w).sum();
    for (k, g) in cpu.finish().unwrap().matrices.iter().enumerate() {
        let one_sided = if k == 0 || k == 32 { 1.0 } else { 2.0 };
        assert!((g.at(0, 0).re - one_sided * x[k].norm_sqr() / power).abs() <= 1e-10, "line {k}");
    }
}
