//! Sums on the GPU that go on on the CPU where the device fails, from the last sums that are at home.

use super::cpu::{Cpu, lags};
use super::edges::Edges;
use super::gpu::{DeviceError, Lags, Resident, Welch, layout};
use super::hermitian::entries;
use super::{
    Averages, AwaySpectra, Backend, ComputeError, CrossSpectra, LagAccumulator, LagBlock, LagPlan, LagProducts, Place,
    SpectralMatrices, SpectralSums, WelchPlan, leading,
};
use crate::model::control::Control;
use crate::model::record::Block;
use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::Pairs;
use std::ops::Range;
use std::sync::Arc;

type C64 = Complex<f64>;

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

    fn finish_in_place(mut self: Box<Self>) -> Result<Averages, ComputeError> {
        self.attempt(Welch::settle);
        match self.gpu.take().map(|gpu| gpu.away()) {
            Some(Ok(resident)) => Ok(Averages::Away(Box::new(Away { resident, on_failure: self.on_failure }))),
            Some(Err(gpu)) => {
                self.gpu = Some(gpu);
                self.finish().map(Averages::Home)
            }
            None => self.finish().map(Averages::Home),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<SpectralMatrices, ComputeError> {
        self.attempt(|gpu| {
            gpu.settle()?;
            gpu.bring_home()
        });
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

/// Averages on the device.
struct Away {
    resident: Resident,
    on_failure: OnFailure,
}

impl Away {
    /// Averages of some lines.
    fn read(&self, lines: Range<usize>) -> Result<SpectralMatrices, ComputeError> {
        let sums = self.attempt(self.resident.sums(lines.clone()))?;
        Ok(sums.average(&WelchPlan { lines, ..self.resident.plan().clone() }))
    }

    /// Tells of a failure.
    fn attempt<T>(&self, answer: Result<T, DeviceError>) -> Result<T, ComputeError> {
        answer.map_err(|error| {
            (self.on_failure)(&error);
            ComputeError::Device(error.to_string())
        })
    }
}

impl AwaySpectra for Away {
    fn lines(&self) -> Range<usize> {
        self.resident.plan().lines.clone()
    }

    fn matrices(&self, lines: Range<usize>) -> Result<SpectralMatrices, ComputeError> {
        self.resident.output(2 * entries(self.resident.plan().channels) * lines.len());
        self.read(lines)
    }

    fn autospectra(&self) -> Result<Vec<DVector<f64>>, ComputeError> {
        let sums = self.attempt(self.resident.diagonals())?;
        self.resident.output(sums.len());
        let of_line = |(line, sums): (usize, &[f32])| {
            let factor = self.resident.factor(line);
            DVector::from_iterator(sums.len(), sums.iter().map(|&sum| f64::from(sum) * factor))
        };
        Ok(self.lines().zip(sums.chunks_exact(self.resident.plan().channels)).map(of_line).collect())
    }

    fn leading(&self, count: usize, scale: Option<&[f64]>, control: &Control) -> Result<Vec<Pairs>, ComputeError> {
        let (first, rows) = (self.lines().start, self.resident.plan().channels);
        let products = |lines: &[usize], width: usize, vectors: &[C64]| -> Result<Vec<C64>, ComputeError> {
            control.checkpoint()?;
            let factor = |at: usize| scale.map_or(1.0, |scale| scale[at / width % rows]);
            let scaled = |(at, v): (usize, &C64)| v * factor(at);
            let vectors: Vec<C64> = vectors.iter().enumerate().map(scaled).collect();
            let images = self.attempt(self.resident.products(Some(lines), width, &vectors))?;
            Ok(images.iter().enumerate().map(scaled).collect())
        };
        let found = leading::leading(rows, self.lines().len(), count, layout::PRODUCT_VECTORS, products)?;
        let missing = |(line, pairs): (usize, Option<Pairs>)| match pairs {
            Some((values, vectors)) => {
                let factor = self.resident.factor(line);
                Ok((values.into_iter().map(|s| s * factor).collect(), vectors))
            }
            None => Ok(self.read(line..line + 1)?.at(line).leading(count, scale)?),
        };
        // Each a value and a complex vector.
        self.resident.output(found.len() * count.min(rows) * (1 + 2 * rows));
        found.into_iter().enumerate().map(|(at, pairs)| missing((first + at, pairs))).collect()
    }

    fn forms(&self, vectors: &[DVector<C64>], control: &Control) -> Result<Vec<Vec<f64>>, ComputeError> {
        let (rows, lines) = (self.resident.plan().channels, self.lines());
        let mut forms = vec![Vec::with_capacity(vectors.len()); lines.len()];
        self.resident.output(lines.len() * vectors.len());
        for vectors in vectors.chunks(layout::PRODUCT_VECTORS) {
            control.checkpoint()?;
            let block: Vec<C64> = (0..rows).flat_map(|i| vectors.iter().map(move |w| w[i])).collect();
            let images = self.attempt(self.resident.products(None, vectors.len(), &block))?;
            for ((line, forms), images) in lines.clone().zip(&mut forms).zip(images.chunks_exact(block.len())) {
                let factor = self.resident.factor(line);
                let form = |v: usize| -> f64 {
                    let terms = block.iter().zip(images).skip(v).step_by(vectors.len());
                    terms.map(|(w, image)| (w.conj() * image).re).sum::<f64>() * factor
                };
                forms.extend((0..vectors.len()).map(form));
            }
        }
        Ok(forms)
    }

    fn total(&self, lines: Range<usize>) -> Result<DMatrix<f64>, ComputeError> {
        let sums = self.attempt(self.resident.total(lines))?;
        self.resident.output(sums.len());
        // Twice: the sums take half of 0 Hz and Nyquist, which are not one-sided.
        let factor = 2.0 * self.resident.two_sided_factor();
        let rows = self.resident.plan().channels;
        let packed = |i: usize, j: usize| sums[i * (i + 1) / 2 + j] * factor;
        Ok(DMatrix::from_fn(rows, rows, |i, j| packed(i.max(j), i.min(j))))
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
