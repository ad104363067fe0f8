//! The methods on a record of the shear chain, 10 minutes at 100 Hz, and the clustering of a thousand poles:
//!
//! `cargo bench --bench methods`.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use criterion::Criterion;
use nalgebra::{Complex, DVector};
use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::automatic;
use oma_worker::modal::clustering::average_linkage;
use oma_worker::modal::poles::Pole;
use oma_worker::modal::shapes::NormalShape;
use oma_worker::modal::{ModalError, fdd, spectrum};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{SsiParameters, Weighting};
use oma_worker::model::record::{MemoryRecord, Record};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::f64::consts::PI;

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    frequency_domain(&mut criterion);
    subspaces(&mut criterion);
    clusters(&mut criterion);
    criterion.final_summary();
}

fn record(channels: usize) -> MemoryRecord {
    let chain = ShearChain { dofs: channels, top_frequency_hz: 40.0 / PI, damping: Damping::Rising };
    let measurement = Measurement {
        dofs: (0..channels).collect(),
        sampling_rate_hz: 100.0,
        samples: 60_000,
        noise: 0.05,
        seed: channels as u64,
    };
    MemoryRecord::new(100.0, chain.record(&measurement))
}

fn frequency_domain(criterion: &mut Criterion) {
    let (record, control) = (record(100), Control::none());
    let spectra = || spectrum::spectral_matrices(&record, 1024, 0.5, &Cpu, &control).unwrap();
    let setting = fdd::PeakSetting { band_hz: (0.0, 50.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let matrices = spectra();
    let mut group = criterion.benchmark_group("fdd/100 channels");
    group.bench_function("spectral_matrices", |bencher| bencher.iter(spectra));
    group.bench_function("peaks", |bencher| bencher.iter(|| fdd::peaks(&matrices, &setting, &control).unwrap()));
    group.bench_function("singular_values", |bencher| {
        bencher.iter(|| spectrum::singular_values(&matrices, 3, &control).unwrap());
    });
}

fn subspaces(criterion: &mut Criterion) {
    let (record, control) = (record(32), Control::none());
    let all: Vec<usize> = (0..record.info().channels.len()).collect();
    let mut group = criterion.benchmark_group("ssi-cov/32 channels");
    for (name, uncertainty) in [("poles", false), ("poles and deviations", true)] {
        let parameters = SsiParameters {
            block_rows: Some(30),
            order_max: Some(60),
            weighting: Some(Weighting::Pc),
            uncertainty: Some(uncertainty),
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

/// Forty modes at twenty-five orders, so near to each other that no gap splits the problem.
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
            normal: NormalShape::new(&shape, &shape),
            g: None,
            shape,
            mpc: 1.0,
            mpd: 0.0,
            deviation: None,
        }
    };
    let poles: Vec<Pole> = (0..25).flat_map(|order| (0..40).map(move |mode| pole(mode, 60 + order))).collect();
    let poles: Vec<&Pole> = poles.iter().collect();
    assert_eq!(average_linkage(&poles, 0.05).len(), 40);
    criterion.bench_function("clustering/1000 poles of 32 channels", |bencher| {
        bencher.iter(|| average_linkage(&poles, 0.05));
    });
}
