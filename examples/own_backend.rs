//! A backend of one's own: `cargo run --example own_backend`.
//!
//! A [`Backend`] makes accumulators; a method pushes every block of the record into them once and takes the sums. This
//! one computes nothing itself: it counts the samples that pass by and hands them on to the CPU. A device would take
//! them to its memory instead.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use oma_worker::compute::cpu::Cpu;
use oma_worker::compute::{
    Backend, ComputeError, CrossSpectra, LagAccumulator, LagPlan, LagProducts, SpectralMatrices, WelchPlan,
};
use oma_worker::modal::fdd;
use oma_worker::modal::spectrum::Spectra;
use oma_worker::model::control::Control;
use oma_worker::model::record::{Block, MemoryRecord};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The CPU, and how many samples it was given.
#[derive(Default)]
struct Counting {
    samples: Arc<AtomicUsize>,
}

impl Backend for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn cross_spectra(&self, plan: &WelchPlan) -> Box<dyn CrossSpectra> {
        Box::new(Counted { inner: Cpu.cross_spectra(plan), samples: self.samples.clone() })
    }

    fn lag_products(&self, plan: &LagPlan) -> Box<dyn LagAccumulator> {
        Box::new(Counted { inner: Cpu.lag_products(plan), samples: self.samples.clone() })
    }
}

struct Counted<A: ?Sized> {
    samples: Arc<AtomicUsize>,
    inner: Box<A>,
}

impl CrossSpectra for Counted<dyn CrossSpectra> {
    fn push(&mut self, block: &Block) {
        self.samples.fetch_add(block.data.len(), Ordering::Relaxed);
        self.inner.push(block);
    }

    fn finish(self: Box<Self>) -> Result<SpectralMatrices, ComputeError> {
        self.inner.finish()
    }
}

impl LagAccumulator for Counted<dyn LagAccumulator> {
    fn push(&mut self, block: &Block) {
        self.samples.fetch_add(block.data.len(), Ordering::Relaxed);
        self.inner.push(block);
    }

    fn finish(self: Box<Self>) -> Result<LagProducts, ComputeError> {
        self.inner.finish()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let frame = ShearChain { dofs: 4, top_frequency_hz: 20.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: vec![0, 1, 2, 3], sampling_rate_hz: 100.0, samples: 60_000, noise: 0.05, seed: 1 };
    let record = MemoryRecord::new(100.0, frame.record(&measurement));
    let backend = Counting::default();
    let control = Control::none();
    let spectra = Spectra::new(&record, 4096, 0.5, &backend, &control)?;
    let setting = fdd::PeakSetting { band_hz: (0.0, 50.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    for peak in fdd::peaks(&spectra, &setting)? {
        println!("{:8.4} Hz", peak.frequency_hz);
    }
    println!("{} samples went through {}", backend.samples.load(Ordering::Relaxed), backend.name());
    Ok(())
}
