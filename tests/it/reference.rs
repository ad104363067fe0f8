//! The CPU backend against the textbook forms, and SSI against what other packages found.

use crate::raw_files::{Folder, untouched};
use crate::support::correlations::lag_products;
use crate::support::{naive, real_data};
use nalgebra::{Complex, DMatrix, DVector};
use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::{Backend, LagPlan, WelchPlan};
use oma_worker::modal::correlations::Correlations;
use oma_worker::modal::displacement::Windows;
use oma_worker::modal::hankel::Weights;
use oma_worker::modal::indicators;
use oma_worker::modal::lq::lower_triangle;
use oma_worker::modal::ssi;
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Drive, Filter, FilterKind, PreprocessingParameters, Weighting};
use oma_worker::model::record::{Block, MemoryRecord, RawFile, Record, Segment};
use oma_worker::simulate::{Damping, Measurement, ShearChain};

/// Round-off of sums of `terms` products in f64 through transforms: 16 ε √terms of the norm, a random walk with the
/// transforms' log factor; worst seen 0.2 of it.
fn sum_tolerance(terms: usize) -> f64 {
    16.0 * f64::EPSILON * (terms as f64).sqrt()
}

fn noise(channels: usize, samples: usize, seed: u64) -> Vec<Vec<f32>> {
    let chain = ShearChain { dofs: channels, top_frequency_hz: 20.0, damping: Damping::Uniform(0.02) };
    let dofs = (0..channels).collect();
    chain.record(&Measurement { dofs, sampling_rate_hz: 100.0, samples, noise: 0.1, seed })
}

fn blocks_of(record: &MemoryRecord, size: usize) -> Vec<Block> {
    let mut source = record.blocks().unwrap();
    let (mut block, mut all) = (Block::default(), Vec::new());
    while source.next_block(&mut block).unwrap() {
        for from in (0..block.samples).step_by(size) {
            let samples = size.min(block.samples - from);
            let mut part = Block::default();
            part.reset(block.segment, block.start + from as u64, block.channels, samples);
            for c in 0..block.channels {
                part.channel_mut(c).copy_from_slice(&block.channel(c)[from..from + samples]);
            }
            all.push(part);
        }
    }
    all
}

fn relative(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    (a - b).norm() / b.norm()
}

#[test]
fn lag_products_equal_the_direct_sums_in_every_block_and_cross_no_gap() {
    let y = noise(3, 1000, 1);
    let segments = vec![Segment { start: 0, samples: 333 }, Segment { start: 400, samples: 600 }];
    let record = MemoryRecord::with_segments(100.0, y.clone(), segments.clone());
    for (lags, count, size) in [(8, 5, 1000), (40, 4, 97), (61, 1, 7)] {
        let plan = LagPlan { channels: 3, references: vec![0, 2], lags, blocks: count, segments: segments.clone() };
        let mut sums = Cpu.lag_products(&plan);
        blocks_of(&record, size).iter().for_each(|block| sums.push(block));
        let products = sums.finish().unwrap();
        assert_eq!(products.blocks.len(), count);
        for (k, block) in products.blocks.iter().enumerate() {
            // Block borders count valid samples; every segment contributes its part of the block.
            let (from, to) = (933 * k / count, 933 * (k + 1) / count);
            assert_eq!(block.samples as usize, to - from);
            for m in 0..lags {
                let mut expected = DMatrix::zeros(3, 2);
                let mut before = 0;
                for s in &segments {
                    let (start, length) = (s.start as usize, s.samples as usize);
                    let low = from.clamp(before, before + length) - before + start;
                    let high = to.clamp(before, before + length) - before + start;
                    expected += naive::lag_product(&y, &[0, 2], m, low, high, start + length);
                    before += length;
                }
                let scale = naive::lag_product(&y, &[0, 2], 0, 0, 1000, 1000).norm();
                let error = (&block.products[m] - &expected).norm() / scale;
                assert!(error <= sum_tolerance(1000), "lags {lags} block {k} lag {m}: {error:e}");
            }
        }
    }
}

#[test]
fn products_by_displacement_equal_those_of_the_data_matrix() {
    let y = noise(3, 700, 2);
    let record = MemoryRecord::new(100.0, y.clone());
    let q = 9;
    for references in [vec![1, 2], vec![0, 1, 2]] {
        let products = Correlations::from(lag_products(&record, &references, (2 * q, 7), &Cpu));
        let windows = Windows::new(&products, q).unwrap();
        let (past, future) = naive::data_matrices(&y, &references, q);
        let mut pairs =
            vec![(windows.hankel(), &future * past.transpose()), (windows.past(), &past * past.transpose())];
        if references.len() == 3 {
            pairs.push((windows.future(), &future * future.transpose()));
        }
        for (found, expected) in pairs {
            let error = relative(&found, &expected);
            assert!(error <= sum_tolerance(700), "{error:e}");
        }
    }
}

#[test]
fn the_triangle_of_the_data_matrix_is_that_of_its_covariances() {
    let y = noise(2, 900, 5);
    let segments = vec![Segment { start: 0, samples: 300 }, Segment { start: 320, samples: 580 }];
    let record = MemoryRecord::with_segments(100.0, y, segments);
    let q = 7;
    let products = Correlations::from(lag_products(&record, &[0, 1], (2 * q, 3), &Cpu));
    let windows = Windows::new(&products, q).unwrap();
    let triangle = lower_triangle(&record, &[0, 1], q, &Control::none()).unwrap();
    let square = &triangle * triangle.transpose();
    let (past, future) = (2 * q, 2 * q);
    for (found, expected) in [
        (square.view((0, 0), (past, past)), windows.past()),
        (square.view((past, 0), (future, past)), windows.hankel()),
        (square.view((past, past), (future, future)), windows.future()),
    ] {
        let error = relative(&found.into_owned(), &expected);
        assert!(error <= sum_tolerance(900), "{error:e}");
    }
    assert!(triangle.diagonal().iter().all(|pivot| *pivot >= 0.0));
    for weighting in [Weighting::Upc, Weighting::Cva] {
        let weights = Weights::exact(weighting, &windows).unwrap().unwrap();
        let (_, projection) = Weights::of_triangle(weighting, &triangle, past).unwrap();
        let error = relative(&projection, &weights.apply(windows.hankel()));
        assert!(error <= 1e4 * sum_tolerance(900), "{error:e}");
    }
}

#[test]
fn products_of_two_segments_are_the_mean_over_the_windows_of_both() {
    let y = noise(2, 500, 3);
    let cut = |from: usize, to: usize| -> Vec<Vec<f32>> { y.iter().map(|c| c[from..to].to_vec()).collect() };
    let q = 6;
    // The middle segment is too short for one window of 2q samples and must not count.
    let segments = [(0, 200), (210, 217), (230, 500)];
    let described = segments.iter().map(|&(a, b)| Segment { start: a as u64, samples: (b - a) as u64 }).collect();
    let record = MemoryRecord::with_segments(100.0, y.clone(), described);
    let products = Correlations::from(lag_products(&record, &[0, 1], (2 * q, 3), &Cpu));
    let windows = Windows::new(&products, q).unwrap();
    let parts = [cut(0, 200), cut(230, 500)].map(|part| naive::data_matrices(&part, &[0, 1], q));
    type PastAndFuture = (DMatrix<f64>, DMatrix<f64>);
    let mean = |product: &dyn Fn(&PastAndFuture) -> DMatrix<f64>| {
        let count = |part: &PastAndFuture| part.0.ncols() as f64;
        let sum = product(&parts[0]) * count(&parts[0]) + product(&parts[1]) * count(&parts[1]);
        sum / (count(&parts[0]) + count(&parts[1]))
    };
    for (found, expected) in [
        (windows.hankel(), mean(&|(past, future)| future * past.transpose())),
        (windows.past(), mean(&|(past, _)| past * past.transpose())),
        (windows.future(), mean(&|(_, future)| future * future.transpose())),
    ] {
        let error = relative(&found, &expected);
        assert!(error <= sum_tolerance(500), "{error:e}");
    }
}

#[test]
fn cross_spectra_equal_the_definition_for_any_block_size() {
    let y = noise(3, 700, 4);
    let record = MemoryRecord::new(50.0, y.clone());
    for (n, hop, size) in [(64, 32, 700), (100, 50, 33), (45, 20, 1)] {
        let mut sums = Cpu.cross_spectra(&WelchPlan::new(3, 50.0, n, hop));
        blocks_of(&record, size).iter().for_each(|block| sums.push(block));
        let spectra = sums.finish().unwrap();
        assert_eq!(spectra.segments, (700 - n) / hop + 1);
        assert_eq!(spectra.matrices.len(), n / 2 + 1);
        let scale = spectra.matrices.iter().map(|g| g.matrix().norm()).fold(0.0, f64::max);
        for (k, g) in spectra.matrices.iter().enumerate() {
            let error = (g.matrix() - naive::welch_line(&y, 50.0, n, hop, k)).norm() / scale;
            assert!(error <= sum_tolerance(700), "length {n} line {k}: {error:e}");
        }
    }
}

/// Four segments of nine channels are kept as they are, where it is known that there will be no more.
#[test]
fn few_segments_make_the_same_matrices_whether_summed_or_kept() {
    let y = noise(9, 160, 6);
    let record = MemoryRecord::new(50.0, y.clone());
    for lines in [0..33, 5..6, 30..33] {
        let known = |segments| WelchPlan { lines: lines.clone(), segments, ..WelchPlan::new(9, 50.0, 64, 32) };
        let [summed, kept] = [None, Some(4)].map(|segments| {
            let mut sums = Cpu.cross_spectra(&known(segments));
            blocks_of(&record, 31).iter().for_each(|block| sums.push(block));
            sums.finish().unwrap()
        });
        assert_eq!((summed.segments, kept.segments, kept.first_line), (4, 4, lines.start));
        assert_ne!(summed.matrices, kept.matrices, "one is kept as triangle, the other as factor");
        let scale = summed.matrices.iter().map(|g| g.matrix().norm()).fold(0.0, f64::max);
        for line in lines.clone() {
            let expected = naive::welch_line(&y, 50.0, 64, 32, line);
            for spectra in [&summed, &kept] {
                let error = (spectra.at(line).matrix() - &expected).norm() / scale;
                assert!(error <= sum_tolerance(160), "line {line}: {error:e}");
            }
        }
    }
}

/// H, its singular values and every well separated pole as pyOMA2 1.4.3 has them, at all listed orders: `cov`, and
/// `dat` where it is listed.
fn parity(name: &str, record: &dyn Record) {
    let reference = real_data::json(&format!("reference/{name}.json"));
    assert_eq!(Some(record.info().sampling_rate_hz), reference["fs"].as_f64());
    parity_of(name, record, &reference["raw_cov"], Drive::Covariance, Weighting::Pc);
    if reference["raw_dat"].is_object() {
        parity_of(name, record, &reference["raw_dat"], Drive::Data, Weighting::Upc);
    }
}

fn parity_of(name: &str, record: &dyn Record, cov: &serde_json::Value, drive: Drive, weighting: Weighting) {
    let name = format!("{name} {}", drive.method());
    let fs = record.info().sampling_rate_hz;
    let br = cov["br"].as_u64().unwrap() as usize;
    let references: Vec<usize> = (0..record.info().channels.len()).collect();
    let products = Correlations::from(lag_products(record, &references, (2 * br, 10), &Cpu));
    let subspace = ssi::Subspace::new(&products, br, (drive, weighting), record, &Control::none()).unwrap();
    let norm = cov["H_fro"].as_f64().unwrap();
    let error = (subspace.h.norm() - norm).abs() / norm;
    assert!(error <= 1e-9, "{name}: norm of H {error:e}");
    for i in 0..3 {
        for (j, expected) in real_data::numbers(&cov["H_00"][i]).into_iter().enumerate() {
            // The columns of L₂₁ have the signs that a QR decomposition happens to give them.
            let own = subspace.h[(i, j)];
            let error =
                (own - if drive == Drive::Data { own.signum() * expected.abs() } else { expected }).abs() / norm;
            assert!(error <= 1e-9, "{name}: H[{i},{j}] {error:e}");
        }
    }
    let values = real_data::numbers(&cov["sv"]);
    let svd = subspace.decompose(subspace.h.nrows()).unwrap();
    for (j, expected) in values.iter().enumerate() {
        let error = (svd.s[j] - expected).abs() / values[0];
        assert!(error <= 1e-9, "{name}: singular value {j} {error:e}");
    }
    let mut compared = 0;
    for (order, expected) in cov["orders"].as_object().unwrap() {
        let order: usize = order.parse().unwrap();
        let found = subspace.observability(&svd, order).order(order, fs).unwrap();
        let frequencies = real_data::numbers(&expected["f_hz"]);
        for (i, (f, xi)) in frequencies.iter().zip(real_data::numbers(&expected["xi"])).enumerate() {
            // Well separated: no other pole within 2 %, and damping of a structure, not of noise; a real negative
            // eigenvalue, which the reference lists at or above Nyquist, is no pole of ours.
            let alone = frequencies.iter().enumerate().all(|(j, g)| j == i || (f - g).abs() > 0.02 * f);
            let of_a_structure = xi > 0.0 && xi < 0.1 && *f < fs / 2.0;
            if !(alone && of_a_structure) {
                continue;
            }
            let near = |p: &&oma_worker::modal::poles::Pole| (p.frequency_hz - f).abs();
            let pole = found.poles.iter().min_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
            let error = (pole.frequency_hz - f).abs() / f;
            assert!(error <= 1e-6, "{name}: order {order}, {f} Hz: {error:e}");
            let error = (pole.damping_ratio - xi).abs() / xi;
            assert!(error <= 1e-6 / xi.min(1.0), "{name}: order {order}, {f} Hz, damping: {error:e}");
            compared += 1;
        }
    }
    assert!(compared >= 10, "{name}: only {compared} poles compared");
}

#[test]
fn hankel_and_poles_equal_pyoma2_on_the_chain_of_real_data() {
    parity("chain05_10min", &real_data::record("data/chain05_10min.npy", 100.0));
}

#[test]
fn hankel_and_poles_equal_pyoma2_on_five_dofs_of_real_data() {
    parity("pyoma2_5dof", &real_data::record("data/pyoma2_5dof_sim_f32.npy", 100.0));
}

#[test]
fn hankel_and_poles_equal_pyoma2_on_the_shear_frame_of_real_data() {
    parity("koma_shearframe", &real_data::record("data/koma_shearframe.npy", 12.0));
}

#[test]
fn hankel_and_poles_equal_pyoma2_on_the_bridge_of_real_data() {
    parity("cheynet_bridge", &real_data::record("data/cheynet_bridge_rz_f32.npy", 15.0));
}

/// The raw file through our own preprocessing: high-pass 0.1 Hz of order 8 and decimation by 5, both to and fro.
#[test]
fn hankel_and_poles_equal_pyoma2_on_the_palisaden_building_of_real_data() {
    let folder = Folder::new();
    let raw = std::fs::read(real_data::path("data/pyoma2_palisaden_raw30min_f32.npy")).unwrap();
    let file = RawFile { sampling_rate_hz: Some(100.0), ..folder.file("raw.npy", raw) };
    let highpass = Filter { kind: FilterKind::Highpass, low_hz: Some(0.1), high_hz: None, order: 8 };
    let parameters = PreprocessingParameters { filter: Some(highpass), decimation_factor: 5, ..untouched() };
    parity("pyoma2_palisaden", &folder.prepare_with(&[file], &[], &parameters).unwrap());
}

/// Shapes of poles as pyOMA2 lists them, with its MPC and MPD.
fn listed_shapes(name: &str) -> Vec<(DVector<Complex<f64>>, f64, f64)> {
    let reference = real_data::json(&format!("reference/{name}.json"));
    let mut all = Vec::new();
    for (_, order) in reference["raw_cov"]["orders"].as_object().unwrap() {
        let (mpc, mpd) = (real_data::numbers(&order["mpc"]), real_data::numbers(&order["mpd"]));
        for (i, (mpc, mpd)) in mpc.into_iter().zip(mpd).enumerate() {
            let part = |part: &str| real_data::numbers(&order["phi"][part][i]);
            let components = part("re").into_iter().zip(part("im")).map(|(re, im)| Complex::new(re, im));
            all.push((DVector::from_vec(components.collect()), mpc, mpd));
        }
    }
    all
}

/// pyOMA2 1.4.3 removes the mean from the components before its MPC: it is not a number for a rigid shape, and 1 for any
/// two channels. Ours of the components without their mean is theirs; that of the shape itself is right where theirs is
/// wrong. Its MPD is the same. Neither a MAC of two listed shapes nor the MCF is in the files.
#[test]
fn mpd_and_mpc_without_the_mean_equal_pyoma2_on_its_shapes_of_real_data() {
    let mut compared = 0;
    for name in ["chain05_10min", "pyoma2_5dof", "koma_shearframe", "cheynet_bridge", "pyoma2_palisaden"] {
        for (shape, their_mpc, their_mpd) in listed_shapes(name) {
            // Theirs is an arc cosine, which near 1 has up to the root of twice the round-off, 2e-8; seen: 8e-11.
            let error = (indicators::mpd(shape.as_view()) - their_mpd).abs();
            assert!(error <= 2e-8, "{name}: MPD {error:e}");
            let mean = shape.sum() / Complex::from(shape.len() as f64);
            let centred = shape.map(|z| z - mean);
            let error = (indicators::mpc(centred.as_view()) - their_mpc).abs();
            // Over the part of the shape that is not its mean: that is what round-off is of; seen: 7e-11.
            let tolerance = 1e-9 * (shape.norm() / centred.norm()).powi(2).max(1.0);
            assert!(error <= tolerance, "{name}: MPC {error:e} of {tolerance:e}");
            compared += 1;
        }
    }
    assert!(compared >= 200, "only {compared} shapes compared");
    let rigid = DVector::from_element(4, Complex::new(0.3, 0.4));
    let turned = DVector::from_vec(vec![Complex::new(1.0, 0.0), Complex::from_polar(1.0, 0.25 * std::f64::consts::PI)]);
    assert!((indicators::mpc(rigid.as_view()) - 1.0).abs() <= 1e-12);
    // Moments 3/2, 1/2, 1/2: (1 + 1)/4.
    assert!((indicators::mpc(turned.as_view()) - 0.5).abs() <= 1e-12);
}
