//! The records of several setups as one system: PreGER and PoGER.

mod exact;
mod runs;

use crate::raw_files::noise;
use crate::support::correlations::{blocks, lag_products};
use nalgebra::{Complex, DMatrix, DVector};
use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::ModalError;
use oma_worker::modal::automatic::{self, Decimate, Identified};
use oma_worker::modal::correlations::{Correlations, of_block};
use oma_worker::modal::hankel::{Weights, block_hankel};
use oma_worker::modal::indicators::mac;
use oma_worker::modal::poles::{Observability, Order, Pole};
use oma_worker::modal::setups::{Joint, Layout, Rescaling, Roving, Rows};
use oma_worker::modal::ssi::Subspace;
use oma_worker::modal::uncertainty::{Derivatives, PoleDerivative};
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::merging::Strategy;
use oma_worker::model::parameters::{Drive, SsiParameters, Weighting};
use oma_worker::model::record::{MemoryRecord, Record};
use oma_worker::preprocess;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use rayon::prelude::*;

type C64 = Complex<f64>;

const BOTH: [Strategy; 2] = [Strategy::Preger, Strategy::Poger];

fn layout_of(setups: &[&[usize]], named: Option<&[usize]>) -> Layout {
    let setups: Vec<Vec<Channel>> = setups.iter().map(|dofs| dofs.iter().map(|&dof| channel(dof)).collect()).collect();
    let setups: Vec<&[Channel]> = setups.iter().map(Vec::as_slice).collect();
    let named: Option<Vec<String>> = named.map(|dofs| dofs.iter().map(|&dof| channel(dof).name).collect());
    Layout::new(&setups, named.as_deref()).unwrap()
}

/// Repeatable numbers, −0.5 to 0.5.
fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut values = noise(seed, 1000).into_iter();
    move || values.next().unwrap()
}

fn channel(dof: usize) -> Channel {
    Channel::named(&format!("storey {dof}"))
}

fn dof(channel: &Channel) -> usize {
    channel.name.trim_start_matches("storey ").parse().unwrap()
}

const CHAIN: ShearChain = ShearChain { dofs: 5, top_frequency_hz: 20.0, damping: Damping::Rising };
const BLOCK_ROWS: usize = 16;
const BLOCKS: usize = 8;

fn record(dofs: &[usize], seed: u64) -> MemoryRecord {
    let measurement = Measurement { dofs: dofs.to_vec(), sampling_rate_hz: 100.0, samples: 20_000, noise: 0.05, seed };
    MemoryRecord::new(100.0, CHAIN.record(&measurement))
}

fn subspace(record: &MemoryRecord, references: &[usize], weighting: Weighting) -> (Correlations<'static>, Subspace) {
    let control = Control::none();
    let products = Correlations::from(lag_products(record, references, (2 * BLOCK_ROWS, BLOCKS), &Cpu));
    let subspace = Subspace::new(&products, BLOCK_ROWS, (Drive::Covariance, weighting), record, &control).unwrap();
    (products, subspace)
}

fn poles(joint: &Joint<'_>, order: usize) -> Order {
    let svd = joint.references.decompose(joint.references.h.nrows()).unwrap();
    joint.factors(&svd, order).unwrap().observability().order(order, 100.0).unwrap()
}

#[track_caller]
fn same_poles(found: &Order, expected: &Order) {
    assert_eq!(found.poles.len(), expected.poles.len());
    for (a, b) in found.poles.iter().zip(&expected.poles) {
        // Triplets are right to 1e-12 of the largest, which the smallest of these is some thousand times smaller than.
        assert!((a.mu - b.mu).norm() <= 1e-8, "{} {}", a.mu, b.mu);
        assert!(1.0 - mac(a.shape.as_view(), b.shape.as_view()) <= 1e-8, "{:?} {:?}", a.shape, b.shape);
    }
}

/// One record in two parts that share two channels is what it is in one.
#[test]
fn a_record_that_is_split_into_setups_gives_the_poles_of_the_whole() {
    let whole = record(&[0, 1, 2, 3, 4], 5);
    let part = |dofs: &[usize]| record_part(&whole, dofs);
    for strategy in BOTH {
        // Both parts are correlated with the shared channels 1 and 4.
        let (first, second) = (part(&[4, 0, 1]), part(&[1, 2, 3, 4]));
        let layout = layout_of(&[&[4, 0, 1], &[1, 2, 3, 4]], None);
        let parts = vec![subspace(&first, &[0, 2], Weighting::Upc).1, subspace(&second, &[0, 3], Weighting::Upc).1];
        let joint = Joint::new(&layout, strategy, parts).unwrap();
        let one = Layout {
            channels: layout.channels.clone(),
            references: layout.references.clone(),
            setups: vec![Rows {
                places: [0, 1, 2, 3, 4].map(|dof| place(&layout, dof)).into(),
                references: vec![4, 1],
                roving: [0, 2, 3].map(|dof| Roving { row: dof, place: place(&layout, dof), share: 1.0 }).into(),
            }],
        };
        let alone = Joint::new(&one, strategy, vec![subspace(&whole, &[1, 4], Weighting::Upc).1]).unwrap();
        for order in [10, 14] {
            same_poles(&poles(&joint, order), &poles(&alone, order));
        }
    }
}

fn place(layout: &Layout, wanted: usize) -> usize {
    layout.channels.iter().position(|channel| dof(channel) == wanted).unwrap()
}

/// Some channels of a record.
fn record_part(whole: &MemoryRecord, rows: &[usize]) -> MemoryRecord {
    let mut channels = vec![Vec::new(); rows.len()];
    let (mut source, mut block) = (whole.blocks().unwrap(), oma_worker::model::record::Block::default());
    while source.next_block(&mut block).unwrap() {
        rows.iter().zip(&mut channels).for_each(|(&row, channel)| channel.extend_from_slice(block.channel(row)));
    }
    MemoryRecord::new(whole.info().sampling_rate_hz, channels)
}

/// Where every channel is a reference, two copies of a record are the record.
#[test]
fn setups_without_roving_sensors_are_a_plain_record() {
    let whole = record(&[0, 1, 2], 6);
    let layout = layout_of(&[&[0, 1, 2], &[2, 0, 1]], None);
    let turned = record_part(&whole, &[2, 0, 1]);
    let of_whole = subspace(&whole, &[0, 1, 2], Weighting::Upc).1;
    let parts = vec![of_whole.clone(), subspace(&turned, &[0, 1, 2], Weighting::Upc).1];
    let joint = Joint::new(&layout, Strategy::Preger, parts).unwrap();
    let svd = of_whole.decompose(of_whole.h.ncols()).unwrap();
    for order in [6, 12] {
        same_poles(&poles(&joint, order), &of_whole.observability(&svd, order).order(order, 100.0).unwrap());
    }
}

/// Every derivative, of every setup's blocks, against the poles of matrices that are moved along them.
#[test]
fn directions_equal_central_differences() {
    let dofs: [&[usize]; 2] = [&[4, 0, 2], &[3, 2, 1, 4]];
    let records: Vec<MemoryRecord> = (60..).zip(dofs).map(|(seed, dofs)| record(dofs, seed)).collect();
    let layout = layout_of(&dofs, None);
    for (strategy, weighting) in
        [(Strategy::Preger, Weighting::Upc), (Strategy::Preger, Weighting::Pc), (Strategy::Poger, Weighting::Upc)]
    {
        let all = |record: &MemoryRecord| (0..record.info().channels.len()).collect::<Vec<_>>();
        let (products, setups): (Vec<Correlations<'_>>, Vec<Subspace>) =
            records.iter().map(|record| subspace(record, &all(record), weighting)).unzip();
        let joint = Joint::new(&layout, strategy, setups.clone()).unwrap();
        let svd = joint.references.decompose(joint.references.h.nrows()).unwrap();
        const ORDER: usize = 12;
        let factors = joint.factors(&svd, ORDER).unwrap();
        let observability = factors.observability();
        let orders = observability.orders(&[ORDER], 100.0).unwrap();
        let direction = factors.directions(&products);
        let derivatives = Derivatives::along(&observability, products.iter().collect(), direction, 100.0);
        let wanted: Vec<(usize, usize)> = (0..orders[0].poles.len()).map(|p| (0, p)).collect();
        let keep = |all: &mut Vec<PoleDerivative>, _: &Pole, one: &PoleDerivative| all.push(one.clone());
        let found = derivatives.of_poles(&orders, &wanted, &Control::none(), keep).unwrap();
        assert!(found.iter().all(|all| all.len() == 2 * BLOCKS));
        // Larger steps leave the linear range, smaller ones meet round-off.
        const STEP: f64 = 1e-4;
        for k in [0, 3, BLOCKS, BLOCKS + 5] {
            let (j, block) = (k / BLOCKS, k % BLOCKS);
            let moved = |step: f64| {
                let mut setups = setups.clone();
                let deviation = deviation(&products[j], block);
                let d = setups[j].weights.apply(block_hankel(&deviation, BLOCK_ROWS));
                setups[j].h += d * step;
                poles(&Joint::new(&layout, strategy, setups).unwrap(), ORDER)
            };
            let (up, down) = (moved(STEP), moved(-STEP));
            let worst = |values: &mut dyn FnMut(&Pole, &Pole, &PoleDerivative) -> (f64, f64)| {
                let pairs = orders[0].poles.iter().zip(&found).map(|(pole, all)| {
                    let derivative = &all[k];
                    values(nearest(&up, pole), nearest(&down, pole), derivative)
                });
                let (error, size) = pairs.fold((0.0_f64, 0.0_f64), |sum, own| (sum.0.max(own.0), sum.1.max(own.1)));
                error / size
            };
            let frequency = worst(&mut |up, down, own| {
                let difference = (up.frequency_hz - down.frequency_hz) / (2.0 * STEP);
                ((own.frequency_hz - difference).abs(), difference.abs())
            });
            let damping = worst(&mut |up, down, own| {
                let difference = (up.damping_ratio - down.damping_ratio) / (2.0 * STEP);
                ((own.damping_ratio - difference).abs(), difference.abs())
            });
            let shape = worst(&mut |up, down, own| {
                let difference = (&up.shape - &down.shape) / C64::new(2.0 * STEP, 0.0);
                ((&own.shape - &difference).norm(), difference.norm())
            });
            // The step's own error is its square times the third derivative: 1e-4 of the value is generous, and a term that is
            // left out makes percents.
            for (name, error) in [("frequency", frequency), ("damping", damping), ("shape", shape)] {
                assert!(error <= 1e-4, "{strategy:?} {weighting:?} block {k}: {name} {error:e}");
            }
        }
    }
}

/// (R_m of the block − mean) / √(n (n − 1)).
fn deviation(products: &Correlations<'_>, block: usize) -> Vec<DMatrix<f64>> {
    let count = products.blocks as f64;
    of_block(&blocks(products)[block])
        .zip(products.mean())
        .map(|(r, mean)| (r - mean) / (count * (count - 1.0)).sqrt())
        .collect()
}

fn nearest<'a>(order: &'a Order, pole: &Pole) -> &'a Pole {
    let distance = |p: &Pole| (p.mu - pole.mu).norm();
    order.poles.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
}

fn identify(
    setups: &[(&[usize], MemoryRecord)],
    strategy: Strategy,
    parameters: &SsiParameters,
) -> Result<(Layout, Identified), ModalError> {
    let decimate = |record, factor| match preprocess::decimate(record, factor) {
        Ok(decimated) => Ok(Box::new(decimated) as Box<dyn Record>),
        Err(error) => Err(ModalError::Setting(error.to_string())),
    };
    let decimate: &Decimate<'_> = &decimate;
    let dofs: Vec<&[usize]> = setups.iter().map(|setup| setup.0).collect();
    let records: Vec<&dyn Record> = setups.iter().map(|setup| &setup.1 as &dyn Record).collect();
    let layout = layout_of(&dofs, None);
    let control = Control::none();
    let found = automatic::identify_setups(&records, &layout, strategy, parameters, decimate, &Cpu, &control)?;
    Ok((layout, found))
}

/// Ten minutes of each setup of a chain of eight, three sensors staying, never with the same excitation.
fn eight() -> (ShearChain, Vec<(&'static [usize], MemoryRecord)>) {
    const SETUPS: [(&[usize], f32); 3] = [(&[7, 4, 1, 0, 2], 1.0), (&[4, 1, 7, 3, 5], 30.0), (&[6, 7, 1, 4], 0.01)];
    let chain = ShearChain { dofs: 8, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let setup = |(seed, (dofs, excitation)): (u64, (&'static [usize], f32))| {
        let measurement =
            Measurement { dofs: dofs.to_vec(), sampling_rate_hz: 100.0, samples: 60_000, noise: 0.05, seed };
        let mut channels = chain.record(&measurement);
        channels.iter_mut().flatten().for_each(|sample| *sample *= excitation);
        (dofs, MemoryRecord::new(100.0, channels))
    };
    (chain, (20..).zip(SETUPS).map(setup).collect())
}

#[test]
fn setups_with_references_give_all_modes_of_the_whole_chain() {
    let (chain, mut setups) = eight();
    for strategy in BOTH {
        let mut before: Option<Vec<f64>> = None;
        // In another order they are the same but for round-off.
        for _ in 0..2 {
            setups.rotate_left(1);
            let (layout, found) = identify(&setups, strategy, &SsiParameters::default()).unwrap();
            let frequencies: Vec<f64> = found.modes.iter().map(|mode| mode.frequency_hz).collect();
            assert_eq!(found.modes.len(), 8, "{strategy:?}: {frequencies:?}");
            for (mode, exact) in found.modes.iter().zip(chain.modes()) {
                let (f, xi) = (mode.frequency_std_hz.unwrap(), mode.damping_ratio_std.unwrap());
                assert!((mode.frequency_hz - exact.frequency_hz).abs() <= 4.0 * f, "{strategy:?} {mode:?}");
                assert!((mode.damping_ratio.unwrap() - 0.01).abs() <= 4.0 * xi, "{strategy:?} {mode:?}");
                let shape = layout.channels.iter().map(|channel| C64::from(exact.shape[dof(channel)]));
                let loss = 1.0 - mac(mode.shape.0.as_view(), DVector::from_iterator(8, shape).as_view());
                // At worst all of it is the square of one normal error, which is beyond 16 times its mean in 6e-5.
                let expected = mode.expected_mac_loss.unwrap();
                assert!(
                    loss <= 16.0 * expected && loss < 0.01,
                    "{strategy:?}: 1 − MAC {loss:e}, expected {expected:e}"
                );
                assert!(mode.modal_contribution.is_some_and(|part| part > 0.0 && part <= 1.0), "{mode:?}");
            }
            if let Some(before) = before.replace(frequencies.clone()) {
                let differs = frequencies.iter().zip(before).map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max);
                assert!(differs <= 1e-7, "{strategy:?}: {differs:e}");
            }
        }
    }
}

#[test]
fn the_same_bits_with_one_and_with_two_threads() {
    let (_, setups) = eight();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (_, found) = identify(&setups, Strategy::Preger, &SsiParameters::default()).unwrap();
            serde_json::to_string(&(found.modes, found.stabilization)).unwrap()
        })
    };
    assert_eq!(with(1), with(2));
}

#[test]
fn intervals_of_preger_hold_the_truth() {
    hold_the_truth(Strategy::Preger);
}

#[test]
fn intervals_of_poger_hold_the_truth() {
    hold_the_truth(Strategy::Poger);
}

/// 100 seeds of a small chain: how often the intervals of 95 % hold the truth.
fn hold_the_truth(strategy: Strategy) {
    const SEEDS: u64 = 100;
    let chain = ShearChain { dofs: 4, top_frequency_hz: 10.0, damping: Damping::Uniform(0.01) };
    let dofs: [(&[usize], f32); 2] = [(&[3, 1, 0], 1.0), (&[1, 2, 3], 20.0)];
    let parameters = SsiParameters { block_rows: Some(20), ..SsiParameters::default() };
    let of_seed = |seed: u64| -> Vec<[bool; 2]> {
        let setup = |(k, (dofs, excitation)): (u64, (&'static [usize], f32))| {
            let measurement = Measurement {
                dofs: dofs.to_vec(),
                sampling_rate_hz: 40.0,
                samples: 20_000,
                noise: 0.05,
                seed: 1000 + 2 * seed + k,
            };
            let mut channels = chain.record(&measurement);
            channels.iter_mut().flatten().for_each(|sample| *sample *= excitation);
            (dofs, MemoryRecord::new(40.0, channels))
        };
        let setups: Vec<_> = (0..).zip(dofs).map(setup).collect();
        let (_, found) = identify(&setups, strategy, &parameters).unwrap();
        let of_mode = |exact: oma_worker::simulate::ExactMode| {
            let near = |f: f64| (f / exact.frequency_hz - 1.0).abs() < 0.02;
            let mode = found.modes.iter().find(|mode| near(mode.frequency_hz))?;
            let holds = |error: f64, std: Option<f64>| std.is_some_and(|std| error.abs() <= 1.96 * std);
            Some([
                holds(mode.frequency_hz - exact.frequency_hz, mode.frequency_std_hz),
                holds(mode.damping_ratio? - exact.damping_ratio, mode.damping_ratio_std),
            ])
        };
        chain.modes().into_iter().filter_map(of_mode).collect()
    };
    let all: Vec<[bool; 2]> = (0..SEEDS).into_par_iter().flat_map_iter(of_seed).collect();
    let part = |k: usize| all.iter().filter(|held| held[k]).count() as f64 / all.len() as f64;
    assert_eq!(all.len(), 4 * SEEDS as usize, "{strategy:?}: modes are missing");
    // Three standard deviations of 400 draws, 3 √(0.95 · 0.05 / 400) = 0.033, about 0.95.
    for (name, held) in [("f", part(0)), ("ξ", part(1))] {
        assert!((held - 0.95).abs() <= 0.033, "{strategy:?}: {name} {held}");
    }
}

#[test]
fn what_cannot_be_joined_is_said_with_what_is_needed() {
    let named = |names: &[&str]| names.iter().map(|name| Channel::named(name)).collect::<Vec<_>>();
    let fails = |setups: &[Vec<Channel>], references: Option<&[&str]>, parts: &[&str]| {
        let setups: Vec<&[Channel]> = setups.iter().map(Vec::as_slice).collect();
        let references: Option<Vec<String>> = references.map(|names| names.iter().map(|&name| name.into()).collect());
        let said = Layout::new(&setups, references.as_deref()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} is not in: {said}");
    };
    fails(&[named(&["a"])], None, &["2 setups", "not 1"]);
    fails(&[named(&["a", "b"]), named(&["b", "c"]), named(&["c", "a"])], None, &["no channel is common", "3: c, a"]);
    fails(&[named(&["a", "a"]), named(&["a"])], None, &["setup 1", "channel a twice"]);
    fails(&[named(&["a", "b"]), named(&["a", "c"])], Some(&["c"]), &["\"c\"", "every setup", "are: a"]);
    let velocity = vec![Channel { quantity: "velocity".into(), ..Channel::named("a") }];
    fails(&[named(&["a"]), velocity], None, &["channel a", "velocity in setup 2", "acceleration"]);

    let (first, second): (&[usize], &[usize]) = (&[0, 1], &[0, 2]);
    let fails = |setups: [(&[usize], MemoryRecord); 2], parameters: SsiParameters, parts: &[&str]| {
        let said = identify(&setups, Strategy::Preger, &parameters).unwrap_err().to_string();
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} is not in: {said}");
    };
    let slow = MemoryRecord::new(50.0, vec![vec![0.0; 2000]; 2]);
    let by_rule = SsiParameters::default;
    fails([(first, record(first, 1)), (second, slow)], by_rule(), &["setup 1", "100 Hz", "setup 2", "50 Hz"]);
    let cva = SsiParameters { weighting: Some(Weighting::Cva), ..by_rule() };
    fails([(first, record(first, 1)), (second, record(second, 2))], cva, &["cva", "upc"]);
    let short = MemoryRecord::new(100.0, vec![(0..90).map(|t| (t as f32).sin()).collect(); 2]);
    let rows = SsiParameters { block_rows: Some(60), ..by_rule() };
    fails([(first, record(first, 1)), (second, short)], rows, &["setup 2", "90", "block_rows 60", "120"]);
    let high = SsiParameters { block_rows: Some(10), order_max: Some(20), ..by_rule() };
    fails(
        [(first, record(first, 1)), (second, record(second, 2))],
        high,
        &["order_max is 20", "9", "references = 10·1"],
    );
}

#[test]
fn layouts_keep_the_channels_in_the_order_that_merged_results_have() {
    let layout = layout_of(&[&[7, 4, 1, 0, 2], &[4, 1, 7, 3, 2], &[6, 7, 1, 4]], None);
    assert_eq!(layout.channels.iter().map(dof).collect::<Vec<_>>(), [7, 4, 1, 0, 2, 3, 6]);
    assert_eq!(layout.references, [0, 1, 2]);
    assert_eq!(layout.setups[1].references, [2, 0, 1]);
    assert_eq!(layout.setups[1].places, [1, 2, 0, 5, 4]);
    // Storey 2 roves in two setups.
    assert_eq!(layout.setups[1].roving[1], Roving { row: 4, place: 4, share: 0.5 });
    let named = layout_of(&[&[7, 4, 1, 0, 2], &[4, 1, 7, 3, 2]], Some(&[1]));
    assert_eq!((named.references, named.setups[0].roving.len()), (vec![2], 4));
}
