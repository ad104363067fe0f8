//! Derivatives behind the standard deviations, against central differences.

use crate::support::correlations::{blocks, lag_products};
use nalgebra::{Complex, DVector};
use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::correlations::{Correlations, of_block};
use oma_worker::modal::hankel;
use oma_worker::modal::indicators::mpc;
use oma_worker::modal::poles::{Observability, Order, Pole};
use oma_worker::modal::quantities::{self, Common};
use oma_worker::modal::ssi::Subspace;
use oma_worker::modal::uncertainty::{Derivatives, PoleDerivative};
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Drive, Weighting};
use oma_worker::model::record::MemoryRecord;
use oma_worker::simulate::{Damping, Measurement, ShearChain};

const BLOCK_ROWS: usize = 20;
const BLOCKS: usize = 14;

fn subspace(weighting: Weighting) -> (Correlations<'static>, Subspace) {
    let chain = ShearChain { dofs: 5, top_frequency_hz: 20.0, damping: Damping::Rising };
    let measurement =
        Measurement { dofs: (0..5).collect(), sampling_rate_hz: 100.0, samples: 30_000, noise: 0.05, seed: 11 };
    let record = MemoryRecord::new(100.0, chain.record(&measurement));
    let products = Correlations::from(lag_products(&record, &[0, 1, 2, 3, 4], (2 * BLOCK_ROWS, BLOCKS), &Cpu));
    let kind = (Drive::Covariance, weighting);
    let subspace = Subspace::new(&products, BLOCK_ROWS, kind, &record, &Control::none()).unwrap();
    (products, subspace)
}

fn poles(subspace: &Subspace, order: usize, common: &Common) -> Order {
    let svd = subspace.decompose(subspace.h.ncols()).unwrap();
    let observability = Observability { common: common.clone(), ..subspace.observability(&svd, order) };
    observability.order(order, 100.0).unwrap()
}

/// Nothing to be done, and sensors of three quantities.
fn commons() -> [Common; 2] {
    let units = ["m/s2", "mm/s", "mm", "g", "m/s2"].into_iter();
    let channel = |unit: &str| Channel { quantity: String::new(), unit: unit.into(), ..Channel::default() };
    [Common::default(), quantities::common(&units.map(channel).collect::<Vec<_>>()).0]
}

fn of_pole(derivatives: &Derivatives<'_>, orders: &[Order], pole: (usize, usize)) -> Vec<PoleDerivative> {
    let keep = |all: &mut Vec<PoleDerivative>, _: &Pole, one: &PoleDerivative| all.push(one.clone());
    derivatives.of_poles(orders, &[pole], &Control::none(), keep).unwrap().remove(0)
}

fn nearest<'a>(order: &'a Order, pole: &Pole) -> &'a Pole {
    let distance = |p: &Pole| (p.mu - pole.mu).norm();
    order.poles.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
}

/// H moved by ± `step` along the direction of block `k`.
fn moved((products, subspace): (&Correlations<'_>, &Subspace), k: usize, step: f64) -> Subspace {
    let count = BLOCKS as f64;
    let blocks: Vec<Vec<_>> = blocks(products).iter().map(|block| of_block(block).collect()).collect();
    let mean: Vec<_> = (0..2 * BLOCK_ROWS)
        .map(|m| blocks.iter().map(|block| &block[m]).sum::<nalgebra::DMatrix<f64>>() / count)
        .collect();
    let scale = 1.0 / (count * (count - 1.0)).sqrt();
    let deviation: Vec<_> = blocks[k].iter().zip(&mean).map(|(r, m)| (r - m) * scale).collect();
    let direction = subspace.weights.apply(hankel::block_hankel(&deviation, BLOCK_ROWS));
    let mut other = subspace.clone();
    other.h += direction * step;
    other
}

#[test]
fn derivatives_of_frequency_damping_and_shape_equal_central_differences() {
    for weighting in [Weighting::Pc, Weighting::Upc, Weighting::Cva] {
        let (products, subspace) = subspace(weighting);
        let svd = subspace.decompose(subspace.h.ncols()).unwrap();
        for (n, common) in [10, 20].into_iter().flat_map(|n| commons().map(|common| (n, common))) {
            let observability = Observability { common: common.clone(), ..subspace.observability(&svd, n) };
            let orders = observability.orders(&[n], 100.0).unwrap();
            let order = &orders[0];
            let derivatives = Derivatives::new(&subspace, &svd, &observability, &products, 100.0);
            // At order 20 triplets of the noise lie close together, so that larger steps leave the linear range; smaller
            // ones meet round-off.
            let step = 1e-4;
            for k in [0, 12] {
                let at = |step| poles(&moved((&products, &subspace), k, step), n, &common);
                let (above, below) = (at(step), at(-step));
                let physical = (0..order.poles.len()).filter(|&p| {
                    let pole = &order.poles[p];
                    let measured = common.as_measured(pole.shape.clone(), pole.lambda);
                    pole.damping_ratio > 0.0 && pole.damping_ratio < 0.01 && mpc(measured.as_view()) > 0.99
                });
                let mut compared = 0;
                for p in physical {
                    let pole = &order.poles[p];
                    let (up, down) = (nearest(&above, pole), nearest(&below, pole));
                    let slope = |f: &dyn Fn(&Pole) -> f64| (f(up) - f(down)) / (2.0 * step);
                    // Measured against the scatter over all blocks, since a single derivative may be near zero.
                    let all = of_pole(&derivatives, &orders, (0, p));
                    let found = &all[k];
                    let rms = |f: &dyn Fn(usize) -> f64| (0..BLOCKS).map(f).map(|d| d * d).sum::<f64>().sqrt();
                    let error = (slope(&|p| p.frequency_hz) - found.frequency_hz).abs();
                    assert!(error <= 1e-5 * rms(&|k| all[k].frequency_hz), "{weighting:?} {n} f {error:e}");
                    let error = (slope(&|p| p.damping_ratio) - found.damping_ratio).abs();
                    assert!(error <= 1e-5 * rms(&|k| all[k].damping_ratio), "{weighting:?} {n} ξ {error:e}");
                    let shape: DVector<Complex<f64>> = (&up.shape - &down.shape) / Complex::from(2.0 * step);
                    let error = (shape - &found.shape).norm();
                    assert!(error <= 1e-5 * rms(&|k| all[k].shape.norm()), "{weighting:?} {n} φ {error:e}");
                    compared += 1;
                }
                assert_eq!(compared, 5, "{weighting:?} order {n}: every mode has its pole");
            }
        }
    }
}

#[test]
fn standard_deviations_are_the_root_of_the_summed_squares() {
    let (products, subspace) = subspace(Weighting::Upc);
    let svd = subspace.decompose(40).unwrap();
    let observability = subspace.observability(&svd, 12);
    let mut orders = observability.orders(&[10, 12], 100.0).unwrap();
    let derivatives = Derivatives::new(&subspace, &svd, &observability, &products, 100.0);
    derivatives.attach(&mut orders, &Control::none()).unwrap();
    for (o, order) in orders.iter().enumerate() {
        for (p, pole) in order.poles.iter().enumerate() {
            let all = of_pole(&derivatives, &orders, (o, p));
            assert_eq!(all.len(), BLOCKS);
            let root = |f: &dyn Fn(usize) -> f64| (0..BLOCKS).map(f).map(|d| d * d).sum::<f64>().sqrt();
            let deviation = pole.deviation.unwrap();
            let expected = (root(&|k| all[k].frequency_hz), root(&|k| all[k].damping_ratio));
            assert!((deviation.frequency_hz - expected.0).abs() <= 1e-9 * expected.0);
            assert!((deviation.damping_ratio - expected.1).abs() <= 1e-9 * expected.1);
        }
    }
}
