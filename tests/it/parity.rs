//! The GPU's sums against the CPU's, the formula's and exact ones, on a software driver.

use crate::support::cases::{self, Kind, LAGS, SPECTRA};
use crate::support::gpu::{self, Stamped, compare_products, compare_spectra, powers};
use nalgebra::Complex;
use oma_worker::compute::gpu::layout::Transform;
use oma_worker::compute::{Hermitian, LagPlan, SpectralMatrices, WelchPlan};
use oma_worker::model::record::Segment;

fn whole(samples: usize) -> Vec<Segment> {
    vec![Segment { start: 0, samples: samples as u64 }]
}

/// Blocks of sizes that divide nothing.
const SIZES: &[usize] = &[1000, 1, 4097, 77, 16384];

#[test]
fn spectra_are_those_of_the_cpu_in_every_case() {
    let device = gpu::open();
    let mut failed = Vec::new();
    for case in SPECTRA {
        let hop = case.length / 2;
        let samples = (case.segments - 1) * hop + case.length + hop / 3;
        let record = cases::record(case.kind, case.channels, samples);
        let plan = WelchPlan::new(case.channels, 50.0, case.length, hop);
        let blocks = gpu::blocks(&record, &whole(samples), SIZES);
        let both = gpu::spectra(&device, &plan, &blocks);
        assert_eq!(both[1].value.segments, case.segments);
        if Transform::new(case.length).is_none() {
            // The same bits, and `a_length_without_a_kernel_goes_to_the_cpu_and_says_so` holds it to the reason.
            assert!(both[0].backend == "cpu" && both[0].value == both[1].value, "{case:?}");
            continue;
        }
        match compare_spectra(&both) {
            Ok(worst) => eprintln!("{case:?}: {worst:.2} tolerances"),
            Err(error) => failed.push(format!("{case:?}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// From 0 Hz, to Nyquist, and a single one.
#[test]
fn some_of_the_lines_are_those_of_the_cpu() {
    let device = gpu::open();
    let blocks = gpu::blocks(&cases::record(Kind::Random, 5, 5000), &whole(5000), SIZES);
    for lines in [0..20, 7..40, 100..129, 64..65] {
        let both =
            gpu::spectra(&device, &WelchPlan { lines: lines.clone(), ..WelchPlan::new(5, 50.0, 256, 128) }, &blocks);
        assert_eq!((both[0].value.first_line, both[0].value.matrices.len()), (lines.start, lines.len()));
        compare_spectra(&both).unwrap_or_else(|error| panic!("{lines:?}: {error}"));
    }
}

#[test]
fn lag_products_are_those_of_the_cpu_in_every_case() {
    let device = gpu::open();
    let mut failed = Vec::new();
    for case in LAGS {
        let record = cases::record(case.kind, case.channels, case.samples);
        let plan = LagPlan {
            channels: case.channels,
            references: (0..case.references).map(|j| j * case.channels / case.references).collect(),
            lags: case.lags,
            blocks: case.blocks,
            segments: whole(case.samples),
        };
        let both = gpu::products(&device, &plan, &gpu::blocks(&record, &plan.segments, SIZES));
        match compare_products(&both, &powers(&record, case.blocks)) {
            Ok(worst) => eprintln!("{case:?}: {worst:.2} tolerances"),
            Err(error) => failed.push(format!("{case:?}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Buffers of the arena hold what the last job left, here ones and infinities' neighbours.
#[test]
fn what_a_job_left_behind_changes_no_bit_of_the_next() {
    let device = gpu::open();
    let segments = whole(5000);
    let small = gpu::blocks(&cases::record(Kind::Random, 5, 5000), &segments, SIZES);
    let huge: Vec<Vec<f32>> = vec![vec![3e18; 5000]; 6];
    let huge = gpu::blocks(&huge, &segments, SIZES);
    let welch = |channels| WelchPlan::new(channels, 1.0, 512, 256);
    for lags in [8, 40] {
        let lagged =
            |channels| LagPlan { channels, references: vec![0, 2], lags, blocks: 3, segments: segments.clone() };
        let [first, _] = gpu::spectra(&device, &welch(5), &small);
        let [first_lags, _] = gpu::products(&device, &lagged(5), &small);
        gpu::spectra(&device, &welch(6), &huge);
        gpu::products(&device, &lagged(6), &huge);
        let [again, _] = gpu::spectra(&device, &welch(5), &small);
        let [again_lags, _] = gpu::products(&device, &lagged(5), &small);
        assert!(first.value == again.value && first_lags.value == again_lags.value, "{lags} lags");
    }
}

#[test]
fn sums_cross_no_gap() {
    let device = gpu::open();
    let record = cases::record(Kind::Random, 4, 9000);
    let parts = [(0, 3333), (3400, 20), (3500, 5500)];
    let segments: Vec<_> = parts.iter().map(|&(start, samples)| Segment { start, samples }).collect();
    let blocks = gpu::blocks(&record, &segments, SIZES);
    let plan = WelchPlan::new(4, 1.0, 256, 100);
    compare_spectra(&gpu::spectra(&device, &plan, &blocks)).unwrap();
    for lags in [6, 48] {
        let plan = LagPlan { channels: 4, references: vec![1], lags, blocks: 5, segments: segments.clone() };
        let total: f64 = record[1].iter().map(|y| f64::from(*y).powi(2)).sum();
        // A twentieth of the record's power is less than any of five blocks of like noise holds.
        compare_products(&gpu::products(&device, &plan, &blocks), &vec![vec![total / 20.0; 4]; 5]).unwrap();
    }
}

/// A sine on a line, under the periodic Hann window, has exactly three lines: amplitude²/(2·1.5·Δf), and a quarter of it.
#[test]
fn a_sine_on_a_line_has_its_exact_spectrum() {
    let device = gpu::open();
    let (n, line, amplitude) = (1024, 100, 3.0);
    let sine = |t: usize| amplitude * (2.0 * std::f64::consts::PI * (line * t % n) as f64 / n as f64).sin();
    let record = vec![(0..4 * n).map(|t| sine(t) as f32).collect::<Vec<_>>()];
    let plan = WelchPlan::new(1, 1.0, n, n / 2);
    let [found, _] = gpu::spectra(&device, &plan, &gpu::blocks(&record, &whole(4 * n), SIZES));
    let peak = amplitude.powi(2) / 2.0 * n as f64 / 1.5;
    for (k, g) in found.value.matrices.iter().enumerate() {
        let exact = match k.abs_diff(line) {
            0 => peak,
            1 => peak / 4.0,
            _ => 0.0,
        };
        assert!((g.at(0, 0).re - exact).abs() <= gpu::TOLERANCE * peak, "line {k}: {} for {exact}", g.at(0, 0).re);
    }
}

/// y(t) = x(t − 3): the products are those of x with itself, three lags later.
#[test]
fn a_delay_is_found_at_its_lag() {
    let device = gpu::open();
    let mut impulses = vec![vec![0.0_f32; 4000]; 2];
    for t in (0..4000 - 3).step_by(997) {
        impulses[0][t] = 2.0;
        impulses[1][t + 3] = 5.0;
    }
    for lags in [6, 60] {
        let plan = LagPlan { channels: 2, references: vec![0], lags, blocks: 1, segments: whole(4000) };
        let [found, _] = gpu::products(&device, &plan, &gpu::blocks(&impulses, &plan.segments, SIZES));
        for (m, product) in found.value.blocks[0].products.iter().enumerate() {
            let exact = [if m == 0 { 5.0 * 4.0 } else { 0.0 }, if m == 3 { 5.0 * 10.0 } else { 0.0 }];
            for (i, exact) in exact.into_iter().enumerate() {
                assert!((product[(i, 0)] - exact).abs() <= gpu::TOLERANCE * 50.0, "lag {m}, channel {i}");
            }
        }
    }
}

#[test]
fn a_length_without_a_kernel_goes_to_the_cpu_and_says_so() {
    use oma_worker::compute::Backend;
    let device = gpu::open();
    for length in [1000, 128, 32768] {
        let backend = gpu::backend(&device);
        backend.cross_spectra(&WelchPlan::new(1, 1.0, length, 500));
        let told = backend.told();
        assert_eq!((told.backend(), told.adapter), ("cpu", None));
        let reason = told.fallback_reason.unwrap();
        assert!(reason.contains(&length.to_string()) && reason.contains("256 to 16384"), "{reason}");
    }
}

/// The comparator itself: what it lets pass, and what it must not.
#[test]
fn the_comparator_refuses_errors_nan_other_shapes_and_itself() {
    let one = Complex::new(1.0, 0.0);
    let matrix = |own: f64, beside: Complex<f64>| Hermitian::of_triangle(2, vec![Complex::from(own), beside, one]);
    let matrices = || vec![matrix(1.0, one); 4];
    let spectra = || SpectralMatrices { line_hz: 1.0, segments: 3, first_line: 0, matrices: matrices() };
    let off = |by: f64| one + Complex::new(0.0, by * gpu::TOLERANCE);
    let compare = |change: &dyn Fn(&mut SpectralMatrices)| {
        let mut value = spectra();
        change(&mut value);
        compare_spectra(&[Stamped { backend: "gpu", value }, gpu::on_cpu(spectra())])
    };
    assert_eq!(compare(&|_| ()), Ok(0.0));
    assert!(compare(&|s| s.matrices[2] = matrix(1.0, one + 0.5 * gpu::TOLERANCE)).is_ok());
    assert!(compare(&|s| s.matrices[2] = matrix(1.0, off(4.0))).is_err());
    assert!(compare(&|s| s.matrices[3] = matrix(f64::NAN, one)).is_err());
    assert!(compare(&|s| drop(s.matrices.pop())).is_err());
    assert!(compare(&|s| s.matrices[0] = Hermitian::of_triangle(1, vec![one])).is_err());
    assert!(compare(&|s| s.segments = 4).is_err());
    assert!(compare_spectra(&[gpu::on_cpu(spectra()), gpu::on_cpu(spectra())]).is_err());
}
