//! What is asked of spectral matrices that stay on the device, against the same of those on the CPU.

use crate::support::cases::{self, Kind};
use crate::support::gpu::{self, VALUES, backend};
use nalgebra::{Complex, DMatrix, DVector};
use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::gpu::{Fault, Gpu};
use oma_worker::compute::{Averages, AwaySpectra, Backend, ComputeError, SpectralMatrices, WelchPlan, cost};
use oma_worker::modal::efdd::{self, ModalFilter};
use oma_worker::modal::fdd::{self, Peak, PeakSetting};
use oma_worker::modal::indicators::mac;
use oma_worker::modal::spectrum::Spectra;
use oma_worker::model::control::{Cancelled, Control};
use oma_worker::model::record::{Block, MemoryRecord, Segment};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const LENGTH: usize = 256;

/// Three motions of all channels, and noise.
fn record(channels: usize, segments: usize) -> Vec<Vec<f32>> {
    let samples = (segments + 1) * LENGTH / 2;
    let chain = ShearChain { dofs: 3, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let dofs = (0..3).collect();
    let motions = chain.record(&Measurement { dofs, sampling_rate_hz: 50.0, samples, noise: 0.0, seed: 3 });
    let part = |c: usize, d: usize| ((7 * c * c + 13 * d + c * d) as f32).sin();
    let rms = (motions[2].iter().map(|y| y * y).sum::<f32>() / samples as f32).sqrt();
    let noise = cases::record(Kind::Random, channels, samples).into_iter().enumerate();
    let channel = |(c, noise): (usize, Vec<f32>)| -> Vec<f32> {
        let at =
            |(t, noise): (usize, &f32)| 0.1 * noise + (0..3).map(|d| part(c, d) * motions[d][t]).sum::<f32>() / rms;
        noise.iter().enumerate().map(at).collect()
    };
    noise.map(channel).collect()
}

fn blocks(record: &[Vec<f32>]) -> Vec<Block> {
    gpu::blocks(record, &[Segment { start: 0, samples: record[0].len() as u64 }], &[1000, 77])
}

fn away(device: &Arc<Gpu>, plan: &WelchPlan, blocks: &[Block]) -> Box<dyn AwaySpectra> {
    let mut sums = backend(device).cross_spectra(&WelchPlan { in_place: true, ..plan.clone() });
    blocks.iter().for_each(|block| sums.push(block));
    match sums.finish_in_place().unwrap() {
        Averages::Away(away) => away,
        Averages::Home(_) => panic!("the matrices came home"),
    }
}

fn home(plan: &WelchPlan, blocks: &[Block]) -> SpectralMatrices {
    let mut sums = Cpu.cross_spectra(plan);
    blocks.iter().for_each(|block| sums.push(block));
    sums.finish().unwrap()
}

/// The CPU's matrices, and what the transforms' error adds to a channel's √G_ii: half a tolerance of its rms over all lines,
/// see [`gpu::compare_spectra`].
struct Truth {
    home: SpectralMatrices,
    floor: Vec<f64>,
}

impl Truth {
    fn new(plan: &WelchPlan, blocks: &[Block]) -> Truth {
        let all = home(&WelchPlan { lines: 0..LENGTH / 2 + 1, ..plan.clone() }, blocks).matrices;
        let mean = |i: usize| all.iter().map(|g| g.at(i, i).re).sum::<f64>() / all.len() as f64;
        Truth { floor: (0..plan.channels).map(|i| 0.5 * mean(i).sqrt()).collect(), home: home(plan, blocks) }
    }

    fn own(&self, line: usize, i: usize) -> f64 {
        self.home.at(line).at(i, i).re.sqrt()
    }

    /// |ΔG_ij| is at most [`gpu::TOLERANCE`] times those of i and j.
    fn amplitude(&self, line: usize, i: usize) -> f64 {
        self.own(line, i) + self.floor[i]
    }

    /// What an eigenvalue of D G D may be off by: [`VALUES`], and the norm of a aᵀ − o oᵀ, o the channels' own amplitudes.
    fn of_values(&self, line: usize, largest: f64, scale: impl Fn(usize) -> f64) -> f64 {
        let norm = |of: &dyn Fn(usize) -> f64| DVector::from_fn(self.floor.len(), |i, _| scale(i) * of(i)).norm();
        let (own, floor) = (norm(&|i| self.own(line, i)), norm(&|i| self.floor[i]));
        VALUES * largest + gpu::TOLERANCE * (2.0 * own * floor + floor.powi(2))
    }
}

/// Pairs of G, or of D G D, of every line: values to their tolerance, and vectors by what the CPU's matrix makes of them.
fn pairs_agree(away: &dyn AwaySpectra, truth: &Truth, count: usize, scale: Option<&[f64]>) {
    let found = away.leading(count, scale, &Control::none()).unwrap();
    assert_eq!(found.len(), truth.home.matrices.len());
    for (line, (values, vectors)) in away.lines().zip(&found) {
        let (exact, _) = truth.home.at(line).leading(count, scale).unwrap();
        let mut matrix = truth.home.at(line).matrix();
        if let Some(scale) = scale {
            (0..matrix.nrows()).for_each(|i| (0..matrix.ncols()).for_each(|j| matrix[(i, j)] *= scale[i] * scale[j]));
        }
        assert_eq!((values.len(), vectors.shape()), (exact.len(), (matrix.nrows(), exact.len())));
        let tolerance = truth.of_values(line, exact[0], |i| scale.map_or(1.0, |scale| scale[i]));
        for (j, value) in values.iter().enumerate() {
            let error = (value - exact[j]).abs();
            assert!(error <= tolerance, "{count}, line {line}, value {j}: {value} for {}", exact[j]);
            let residual = &matrix * vectors.column(j) - vectors.column(j) * Complex::from(*value);
            assert!(residual.norm() <= tolerance, "{count}, line {line}, vector {j}");
            assert!((vectors.column(j).norm() - 1.0).abs() <= 1e-9);
        }
    }
}

fn answers_agree(device: &Arc<Gpu>, channels: usize, segments: usize, plan: &WelchPlan) {
    let blocks = blocks(&record(channels, segments));
    let (away, truth) = (away(device, plan, &blocks), Truth::new(plan, &blocks));
    assert_eq!(away.lines(), plan.lines);
    let scale: Vec<f64> = (0..channels).map(|c| 10.0_f64.powi(c as i32 % 5 - 2)).collect();
    pairs_agree(&*away, &truth, 1, Some(&scale));
    pairs_agree(&*away, &truth, 3, None);

    let part = |v: usize, i: usize| Complex::new(((i + v) as f64).sin(), ((i * v) as f64).cos());
    // More than go in one block.
    let vectors: Vec<_> = (0..6).map(|v| DVector::from_fn(channels, |i, _| part(v, i))).collect();
    let (forms, spectra) = (away.forms(&vectors, &Control::none()).unwrap(), away.autospectra().unwrap());
    let mut total = DMatrix::<f64>::zeros(channels, channels);
    let mut amplitudes = vec![0.0; channels];
    for ((line, forms), spectra) in plan.lines.clone().zip(&forms).zip(&spectra) {
        let g = truth.home.at(line).matrix();
        total += g.map(|g| g.re);
        for (i, found) in spectra.iter().enumerate() {
            let amplitude = truth.amplitude(line, i).powi(2);
            amplitudes[i] += amplitude;
            assert!((found - g[(i, i)].re).abs() <= gpu::TOLERANCE * amplitude, "line {line}, channel {i}");
        }
        for (w, found) in vectors.iter().zip(forms) {
            // |wᴴ ΔG w| ≤ τ (Σ_i |w_i| a_i)².
            let bound: f64 = w.iter().enumerate().map(|(i, w)| w.norm() * truth.amplitude(line, i)).sum();
            let error = (found - truth.home.at(line).quadratic_form(w)).abs();
            assert!(error <= gpu::TOLERANCE * bound.powi(2), "line {line}: {found}");
        }
    }
    let pairs = || (0..channels).flat_map(|i| (0..channels).map(move |j| (i, j)));
    let found = away.total(plan.lines.clone()).unwrap();
    for (i, j) in pairs() {
        // Σ_k a_i a_j is no more than the product of the roots.
        let scale = (amplitudes[i] * amplitudes[j]).sqrt();
        assert!((found[(i, j)] - total[(i, j)]).abs() <= gpu::TOLERANCE * scale, "total of {i} and {j}");
    }
    // Two of the lines, as they come home from passes and peaks.
    let lines = plan.lines.end - 2..plan.lines.end;
    let some = away.matrices(lines.clone()).unwrap();
    assert_eq!((some.first_line, some.matrices.len(), some.segments), (lines.start, 2, segments));
    for line in lines {
        for (i, j) in pairs() {
            let error = (some.at(line).at(i, j) - truth.home.at(line).at(i, j)).norm();
            let scale = truth.amplitude(line, i) * truth.amplitude(line, j);
            assert!(error <= gpu::TOLERANCE * scale, "line {line}: {i}, {j}");
        }
    }
}

/// Channels that divide no tile, fewer and more segments than channels.
#[test]
fn answers_are_those_of_the_cpu() {
    let device = gpu::open();
    for (channels, segments) in [(1, 3), (2, 9), (7, 65), (31, 40), (33, 2), (64, 63), (65, 70)] {
        answers_agree(&device, channels, segments, &WelchPlan::new(channels, 50.0, LENGTH, LENGTH / 2));
    }
}

/// How many there are decides from how many channels on spectra stay on the device (`compute/leading.rs`).
#[test]
fn leading_pairs_take_few_products() {
    let device = gpu::open();
    let plan = WelchPlan::new(130, 50.0, LENGTH, LENGTH / 2);
    let blocks = blocks(&record(130, 200));
    let away = away(&device, &plan, &blocks);
    for (count, most) in [(1, 24), (2, 36), (3, 48)] {
        let before = device.traffic();
        away.leading(count, None, &Control::none()).unwrap();
        let spent = device.traffic().since(before);
        let products = spent.read_back_bytes as f64 / (8 * 130 * plan.lines.len()) as f64;
        eprintln!("{count}: {products:.1} products a line, {spent:?}");
        assert!(products <= f64::from(most), "{count}: {products}");
        // Values and vectors as f32: what leads to them is neither input nor output.
        let pairs = 4 * count * (1 + 2 * 130) * plan.lines.len();
        assert_eq!((spent.input_bytes, spent.output_bytes), (0, pairs as u64));
    }
}

/// Of what is read back, the answers count as outputs, and a matrix once however it is asked for.
#[test]
fn answers_are_counted_as_outputs() {
    let device = gpu::open();
    let plan = WelchPlan::new(33, 50.0, LENGTH, LENGTH / 2);
    let before = device.traffic();
    let away = away(&device, &plan, &blocks(&record(33, 9)));
    let summed = device.traffic().since(before);
    assert_eq!((summed.input_bytes, summed.read_back_bytes, summed.output_bytes), (4 * 33 * 10 * 128, 0, 0));
    let numbers = |ask: &dyn Fn()| {
        let before = device.traffic();
        ask();
        let spent = device.traffic().since(before);
        (spent.output_bytes / 4, spent.read_back_bytes / 4)
    };
    let (lines, triangle) = (129, 33 * 34 / 2);
    let vectors = vec![DVector::from_element(33, Complex::new(1.0, 0.5)); 2];
    assert_eq!(numbers(&|| drop(away.autospectra().unwrap())), (33 * lines, 33 * lines));
    assert_eq!(numbers(&|| drop(away.total(plan.lines.clone()).unwrap())), (triangle, triangle));
    assert_eq!(numbers(&|| drop(away.matrices(7..9).unwrap())), (4 * triangle, 4 * triangle));
    // The products with the vectors come home, of which the forms are one number each.
    let forms = numbers(&|| drop(away.forms(&vectors, &Control::none()).unwrap()));
    assert_eq!(forms, (2 * lines, 2 * 2 * 33 * lines));
}

/// From 0 Hz, to Nyquist, and in between.
#[test]
fn answers_of_some_of_the_lines_are_those_of_the_cpu() {
    let device = gpu::open();
    for lines in [0..20, 7..40, 100..129] {
        answers_agree(&device, 40, 60, &WelchPlan { lines, ..WelchPlan::new(40, 50.0, LENGTH, LENGTH / 2) });
    }
}

/// Sums of 129 lines in nine buffers, products of all lines in two pieces; and more than 64 times 64 segments, which are
/// summed in three levels.
#[test]
fn answers_from_several_buffers_and_of_many_segments_are_those_of_the_cpu() {
    let device = gpu::open();
    answers_agree(&device, 3, 4200, &WelchPlan::new(3, 50.0, LENGTH, LENGTH / 2));
    // 6 560 bytes a line, 960 of the products with three vectors.
    device.limit_buffers(100 << 10);
    for lines in [0..129, 7..80] {
        answers_agree(&device, 40, 60, &WelchPlan { lines, ..WelchPlan::new(40, 50.0, LENGTH, LENGTH / 2) });
    }
}

#[test]
fn averages_stay_only_where_the_plan_says_so_and_all_sums_are_there() {
    let device = gpu::open();
    let blocks = blocks(&record(5, 4200));
    let plan = WelchPlan::new(5, 50.0, LENGTH, LENGTH / 2);
    let summed = |plan: &WelchPlan| {
        let mut sums = backend(&device).cross_spectra(plan);
        blocks.iter().for_each(|block| sums.push(block));
        sums
    };
    let stays = WelchPlan { in_place: true, ..plan.clone() };
    assert!(matches!(summed(&plan).finish_in_place().unwrap(), Averages::Home(_)));
    assert!(matches!(summed(&stays).finish_in_place().unwrap(), Averages::Away(_)));
    // What was gathered on the device comes home where it is asked for.
    let truth = Truth::new(&plan, &blocks);
    for found in [summed(&plan).finish().unwrap(), summed(&stays).finish().unwrap()] {
        assert_eq!((found.segments, found.matrices.len()), (4200, truth.home.matrices.len()));
        for line in plan.lines.clone() {
            for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
                let error = (found.at(line).at(i, j) - truth.home.at(line).at(i, j)).norm();
                assert!(error <= gpu::TOLERANCE * truth.amplitude(line, i) * truth.amplitude(line, j), "{line}");
            }
        }
    }
    let mut none = backend(&device).cross_spectra(&WelchPlan { in_place: true, ..WelchPlan::new(5, 1.0, 8192, 1) });
    none.push(&blocks[0]);
    assert!(matches!(none.finish_in_place(), Err(ComputeError::TooShort { .. })));
}

const CHANNELS: usize = 256;

struct Found {
    singular_values: Vec<Vec<f64>>,
    peaks: Vec<Peak>,
    damping: Vec<Option<f64>>,
    total: DMatrix<f64>,
}

/// All that a method asks of the spectra.
fn find(record: &MemoryRecord, on: &dyn Backend, control: &Control) -> Found {
    let spectra = Spectra::new(record, LENGTH, 0.5, on, control).unwrap();
    let setting = PeakSetting { band_hz: (0.0, 25.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let peaks = fdd::peaks(&spectra, &setting).unwrap();
    let bells = efdd::bells(&spectra, &peaks, ModalFilter::Inverse, LENGTH, 20.0).unwrap();
    Found {
        singular_values: spectra.singular_values(3).unwrap(),
        damping: bells.into_iter().map(|bell| bell.map(|bell| bell.damping_ratio)).collect(),
        total: spectra.total().unwrap(),
        peaks,
    }
}

fn found_agrees(found: &Found, exact: &Found) {
    let first = &exact.singular_values[0];
    for (found, exact) in found.singular_values.iter().zip(&exact.singular_values) {
        for (k, (value, s)) in found.iter().zip(exact).enumerate() {
            assert!((value - s).abs() <= VALUES * first[k], "line {k}: {value} for {s}");
        }
    }
    assert_eq!(found.peaks.len(), exact.peaks.len());
    for (f, e) in found.peaks.iter().zip(&exact.peaks) {
        assert_eq!(f.line, e.line);
        assert!((f.frequency_hz - e.frequency_hz).abs() <= 1e-5 * e.frequency_hz);
        assert!(mac(f.shape.as_view(), e.shape.as_view()) >= 1.0 - 1e-6);
    }
    for (f, e) in found.damping.iter().zip(&exact.damping) {
        assert_eq!(f.is_some(), e.is_some());
        f.iter().zip(e).for_each(|(f, e)| assert!((f - e).abs() <= 5e-3 * e, "damping {f} for {e}"));
    }
    assert!((&found.total - &exact.total).norm() <= gpu::TOLERANCE * exact.total.trace());
}

/// Of so many channels the matrices stay; and what does come home is less than they are, in one pass and in several.
#[test]
fn spectra_of_a_large_structure_stay_on_the_device() {
    assert!(cost::stays_on_device(CHANNELS) && !cost::stays_on_device(CHANNELS / 2));
    let device = gpu::open();
    let record = MemoryRecord::new(50.0, record(CHANNELS, 40));
    let exact = find(&record, &Cpu, &Control::none());
    assert!(exact.peaks.len() >= 3 && exact.damping.iter().flatten().count() >= 2, "{}", exact.peaks.len());
    let before = device.traffic();
    let run = backend(&device);
    found_agrees(&find(&record, &run, &Control::none()), &exact);
    let (told, spent) = (run.told(), device.traffic().since(before));
    assert_eq!((told.backend(), told.fallback_reason), ("gpu", None));
    let matrices = 8 * (CHANNELS * (CHANNELS + 1) / 2 * (LENGTH / 2 + 1)) as u64;
    eprintln!("{:.2} of the matrices came home, {spent:?}", spent.read_back_bytes as f64 / matrices as f64);
    assert!(spent.read_back_bytes < matrices);
}

/// As many lines at a time as a limit leaves, on the device each time.
#[test]
fn a_limit_makes_the_device_go_in_passes_with_the_same_answers() {
    let device = gpu::open();
    let record = MemoryRecord::new(50.0, record(CHANNELS, 20));
    let exact = find(&record, &Cpu, &Control::none());
    // A line of twenty kept segments takes 80 KiB: 25 of 129 lines.
    let limited = Control::none().with_memory_limit(Some(2));
    let run = backend(&device);
    found_agrees(&find(&record, &run, &limited), &exact);
    assert_eq!((run.told().backend(), run.told().fallback_reason), ("gpu", None));
    assert!(Spectra::new(&record, LENGTH, 0.5, &run, &limited).unwrap().whole().is_none());
}

/// At the first question, and at one in between: the record is summed again, on the CPU.
#[test]
fn a_device_that_fails_while_it_is_asked_leaves_the_answers_of_the_cpu() {
    let record = MemoryRecord::new(50.0, record(CHANNELS, 3));
    let exact = find(&record, &Cpu, &Control::none());
    for (fault, after) in [(Fault::LoseDevice, 2), (Fault::Hang, 9)] {
        let device = gpu::open();
        let run = backend(&device);
        device.inject(fault, after);
        let found = find(&record, &run, &Control::none());
        let told = run.told();
        assert!(told.is_failed && told.backend() == "cpu" && told.fallback_reason.is_some(), "{told:?}");
        found_agrees(&found, &exact);
    }
}

#[test]
fn a_run_that_is_stopped_asks_the_device_for_no_more_products() {
    let plan = WelchPlan { lines: 60..64, ..WelchPlan::new(9, 50.0, LENGTH, LENGTH / 2) };
    let device = gpu::open();
    let away = away(&device, &plan, &blocks(&record(9, 20)));
    let token = CancellationToken::new();
    let control = Control::new(token.clone(), Arc::new(|_, _| {}));
    let ask = || {
        let before = device.traffic().dispatches;
        let vectors = [DVector::from_element(9, Complex::from(1.0))];
        let answers = [away.leading(2, None, &control).err(), away.forms(&vectors, &control).err()];
        (answers, device.traffic().dispatches - before)
    };
    let (answers, dispatches) = ask();
    assert!(answers == [None, None] && dispatches > 0);
    token.cancel();
    assert_eq!(ask(), ([const { Some(ComputeError::Cancelled(Cancelled)) }; 2], 0));
}

/// At every occasion of a few channels the answers are an error, and nothing else.
#[test]
fn every_question_to_a_lost_device_is_an_error() {
    const FEW: usize = 9;
    let plan = WelchPlan { lines: 60..64, ..WelchPlan::new(FEW, 50.0, LENGTH, LENGTH / 2) };
    let blocks = blocks(&record(FEW, 20));
    for fault in [Fault::LoseDevice, Fault::Hang, Fault::RefuseAllocation] {
        for after in 0.. {
            let device = gpu::open();
            let away = away(&device, &plan, &blocks);
            device.inject(fault, after);
            let vectors = [DVector::from_element(FEW, Complex::from(1.0))];
            let answers = [
                away.autospectra().err(),
                away.leading(1, None, &Control::none()).err(),
                away.forms(&vectors, &Control::none()).err(),
                away.total(60..64).err(),
                away.matrices(61..63).err(),
            ];
            let errors: Vec<_> = answers.into_iter().flatten().collect();
            assert!(errors.iter().all(|error| matches!(error, ComputeError::Device(_))), "{errors:?}");
            if errors.is_empty() {
                assert!(after > 0, "{fault:?}: no occasion");
                break;
            }
        }
    }
}
