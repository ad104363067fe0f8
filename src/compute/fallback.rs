//! Sums on the GPU that go on on the CPU where the device fails, from the last sums that are at home.

use super::cpu::{Cpu, lags};
use super::edges::Edges;
use super::gpu::{DeviceError, Lags, Welch};
use super::{
    Backend, ComputeError, CrossSpectra, LagAccumulator, LagBlock, LagPlan, LagProducts, Place, SpectralMatrices,
    SpectralSums, WelchPlan,
};
use crate::model::record::Block;
use std::sync::Arc;

/// Called once with the reason when a device fails.
pub(super) type OnFailure = Arc<dyn Fn(&DeviceError) + Send + Sync>;

/// Spectra; exactly one of `gpu` and `cpu` is there.
pub(super) struct Spectra {
    plan: WelchPlan,
    gpu: Option<Box<Welch>>,
    cpu: Option<Box<dyn CrossSpectra>>,
    home: SpectralSums,
    rewind: Option<Place>,
    longest: u64,
    on_failure: OnFailure,
}

impl Spectra {
    pub(super) fn new(gpu: Welch, plan: &WelchPlan, on_failure: OnFailure) -> Spectra {
        Spectra {
            plan: plan.clone(),
            gpu: Some(Box::new(gpu)),
            cpu: None,
            home: SpectralSums::default(),
            rewind: None,
            longest: 0,
            on_failure,
        }
    }

    /// Does something on the device, if it is still there.
    fn attempt(&mut self, step: impl FnOnce(&mut Welch) -> Result<(), DeviceError>) {
        let Some(gpu) = &mut self.gpu else { return };
        if let Err(error) = step(gpu) {
            let (home, place) = gpu.safe();
            (self.home, self.rewind) = (home, Some(place));
            self.gpu = None;
            self.cpu = Some(Cpu.cross_spectra(&self.plan));
            (self.on_failure)(&error);
        }
    }
}

impl CrossSpectra for Spectra {
    fn push(&mut self, block: &Block) {
        self.longest = self.longest.max(block.start + block.samples as u64);
        match &mut self.cpu {
            Some(cpu) => cpu.push(block),
            None => self.attempt(|gpu| gpu.push(block)),
        }
    }

    fn rewind(&mut self, at_end: bool) -> Option<Place> {
        if at_end {
            self.attempt(Welch::settle);
        }
        self.rewind.take()
    }

    fn finish(mut self: Box<Self>) -> Result<SpectralMatrices, ComputeError> {
        self.attempt(Welch::settle);
        if self.rewind.is_some() {
            return Err(ComputeError::Device("the record was not pushed again after a failure".into()));
        }
        if let Some(gpu) = &mut self.gpu {
            self.home = gpu.safe().0;
        }
        let rest = match self.cpu.take().map(CrossSpectra::finish) {
            Some(Err(error)) if self.home.segments == 0 => return Err(error),
            None if self.home.segments == 0 => {
                let n = self.plan.segment_length;
                let setting = "segment_length";
                return Err(ComputeError::TooShort { longest: self.longest, setting, value: n, needed: n as u64 });
            }
            Some(Ok(rest)) => rest,
            // The device had summed every segment before it failed.
            None | Some(Err(_)) => return Ok(self.home.average(&self.plan)),
        };
        if self.home.segments == 0 {
            return Ok(rest);
        }
        let mut all = self.home.average(&self.plan);
        let segments = all.segments + rest.segments;
        let part = |count: usize| count as f64 / segments as f64;
        for (sum, more) in all.matrices.iter_mut().zip(&rest.matrices) {
            *sum = sum.sum(part(all.segments), more, part(rest.segments));
        }
        all.segments = segments;
        Ok(all)
    }
}

/// Lag products; exactly one of `gpu` and `cpu` is there.
pub(super) struct LagSums {
    plan: LagPlan,
    gpu: Option<Box<Lags>>,
    cpu: Option<Box<lags::Lags>>,
    /// Of the whole record, whoever sums it; up to `seen`.
    edges: Edges,
    seen: Place,
    rewind: Option<Place>,
    on_failure: OnFailure,
}

impl LagSums {
    pub(super) fn new(gpu: Lags, plan: &LagPlan, on_failure: OnFailure) -> LagSums {
        LagSums {
            plan: plan.clone(),
            gpu: Some(Box::new(gpu)),
            cpu: None,
            edges: Edges::new(plan),
            seen: Place::default(),
            rewind: None,
            on_failure,
        }
    }

    fn attempt(&mut self, step: impl FnOnce(&mut Lags) -> Result<(), DeviceError>) {
        let Some(gpu) = &mut self.gpu else { return };
        if let Err(error) = step(gpu) {
            let ((closed, place), blocks) = (gpu.safe(), gpu.take_blocks());
            self.rewind = Some(place);
            self.gpu = None;
            self.cpu = Some(Box::new(lags::Lags::resume(&self.plan, closed, blocks, place.segment)));
            (self.on_failure)(&error);
        }
    }
}

impl LagAccumulator for LagSums {
    fn push(&mut self, block: &Block) {
        let place = Place { segment: block.segment, start: block.start };
        if place >= self.seen {
            self.edges.push(block);
            self.seen = Place { start: block.start + block.samples as u64, ..place };
        }
        match &mut self.cpu {
            Some(cpu) => cpu.push(block),
            None => self.attempt(|gpu| gpu.push(block)),
        }
    }

    fn rewind(&mut self, at_end: bool) -> Option<Place> {
        if at_end {
            self.attempt(Lags::settle);
        }
        self.rewind.take()
    }

    fn take_blocks(&mut self) -> Vec<LagBlock> {
        match (&mut self.cpu, &mut self.gpu) {
            (Some(cpu), _) => cpu.take_blocks(),
            (None, Some(gpu)) => gpu.take_blocks(),
            (None, None) => Vec::new(),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<LagProducts, ComputeError> {
        self.attempt(Lags::settle);
        if self.rewind.is_some() {
            return Err(ComputeError::Device("the record was not pushed again after a failure".into()));
        }
        let blocks = match (self.cpu, &mut self.gpu) {
            (Some(cpu), _) => cpu.finish()?.blocks,
            (None, Some(gpu)) => gpu.take_blocks(),
            (None, None) => Vec::new(),
        };
        Ok(LagProducts { references: self.plan.references, blocks, edges: self.edges.finish() })
    }
}
