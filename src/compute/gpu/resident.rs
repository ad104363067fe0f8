//! Spectral sums that stay on the device: what is asked of them is computed there, and only the answers come home.

use super::Gpu;
use super::device::{Buffer, DeviceError, Use};
use super::kernels::Commands;
use super::layout::{ProductParams, TotalParams};
use crate::compute::{SpectralSums, WelchPlan};
use nalgebra::Complex;
use std::ops::Range;
use std::sync::Arc;

type C64 = Complex<f64>;

/// Packed lower triangles of every line of a plan, f32, summed over at most 64 times 64 segments.
pub(in crate::compute) struct Resident {
    gpu: Arc<Gpu>,
    plan: WelchPlan,
    sums: Buffer,
    segments: u64,
    /// Of a sum that is counted on both sides of the spectrum.
    factor: f64,
}

impl Resident {
    pub(super) fn new(gpu: Arc<Gpu>, plan: WelchPlan, sums: Buffer, segments: u64) -> Resident {
        let factor = SpectralSums::factor(&plan, segments);
        Resident { gpu, plan, sums, segments, factor }
    }

    pub(in crate::compute) fn plan(&self) -> &WelchPlan {
        &self.plan
    }

    /// What makes two-sided averages of sums.
    pub(in crate::compute) fn two_sided_factor(&self) -> f64 {
        self.factor
    }

    /// What makes one-sided averages of the sums of a line.
    pub(in crate::compute) fn factor(&self, line: usize) -> f64 {
        if line == 0 || 2 * line == self.plan.segment_length { self.factor } else { 2.0 * self.factor }
    }

    fn pairs(&self) -> usize {
        self.plan.channels * (self.plan.channels + 1) / 2
    }

    /// The sums of some lines.
    pub(in crate::compute) fn sums(&self, lines: Range<usize>) -> Result<SpectralSums, DeviceError> {
        let numbers = 2 * self.pairs();
        let first = 4 * (numbers * (lines.start - self.plan.lines.start)) as u64;
        let values = self.ask("spectral sums", numbers * lines.len(), |commands, back, bytes| {
            commands.copy_from((&self.sums, first), back, bytes);
            Ok(())
        })?;
        let sums = values.chunks_exact(2).map(complex).collect();
        Ok(SpectralSums { segments: self.segments, sums })
    }

    /// S_ii, [line][channel].
    pub(in crate::compute) fn diagonals(&self) -> Result<Vec<f32>, DeviceError> {
        self.totals(self.plan.lines.clone(), self.plan.lines.len() * self.plan.channels, false)
    }

    /// Σ Re S over some lines, of 0 Hz and Nyquist the half, packed.
    pub(in crate::compute) fn total(&self, lines: Range<usize>) -> Result<Vec<f32>, DeviceError> {
        self.totals(lines, self.pairs(), true)
    }

    fn totals(&self, lines: Range<usize>, count: usize, is_total: bool) -> Result<Vec<f32>, DeviceError> {
        let params = TotalParams {
            rows: self.plan.channels as u32,
            pairs: self.pairs() as u32,
            first: (lines.start - self.plan.lines.start) as u32,
            lines: lines.len() as u32,
            base_line: self.plan.lines.start as u32,
            nyquist: (self.plan.segment_length / 2) as u32,
            ..TotalParams::default()
        };
        let totals = self.gpu.device.buffer(Use::Storage, "totals", 4 * count as u64)?;
        self.ask("totals", count, |commands, back, bytes| {
            commands.line_totals([&self.sums, &totals], params, is_total)?;
            commands.copy(&totals, back, bytes);
            Ok(())
        })
    }

    /// S x of some lines, by their places, for `width` vectors of each; of every line for the same vectors where none are
    /// listed. Vectors and products one line after the other, [row][vector].
    pub(in crate::compute) fn products(
        &self,
        lines: Option<&[usize]>,
        width: usize,
        vectors: &[C64],
    ) -> Result<Vec<C64>, DeviceError> {
        let device = &self.gpu.device;
        let block = self.plan.channels * width;
        let list: Vec<u32> = match lines {
            Some(lines) => lines.iter().map(|&line| line as u32).collect(),
            None => (0..self.plan.lines.len() as u32).collect(),
        };
        let params = ProductParams {
            rows: self.plan.channels as u32,
            pairs: self.pairs() as u32,
            vectors: width as u32,
            stride: if lines.is_some() { block as u32 } else { 0 },
            first: 0,
        };
        let words: Vec<u32> = vectors.iter().flat_map(|v| [(v.re as f32).to_bits(), (v.im as f32).to_bits()]).collect();
        let source = device.upload("vectors", &words)?;
        let vectors = device.buffer(Use::Storage, "vectors", 4 * words.len() as u64)?;
        let products = device.buffer(Use::Storage, "products", 8 * (block * list.len()) as u64)?;
        let listed = device.filled(Use::Storage, "lines", bytemuck::cast_slice(&list))?;
        let values = self.ask("products", 2 * block * list.len(), |commands, back, bytes| {
            commands.copy(&source, &vectors, 4 * words.len() as u64);
            commands.hermitian_products([&self.sums, &listed, &vectors, &products], params, list.len())?;
            commands.copy(&products, back, bytes);
            Ok(())
        })?;
        Ok(values.chunks_exact(2).map(complex).collect())
    }

    /// Submits commands that leave so many numbers in a buffer, and reads them.
    fn ask(
        &self,
        what: &'static str,
        count: usize,
        record: impl FnOnce(&mut Commands<'_>, &Buffer, u64) -> Result<(), DeviceError>,
    ) -> Result<Vec<f32>, DeviceError> {
        let device = &self.gpu.device;
        let bytes = 4 * count as u64;
        let back = device.buffer(Use::Readback, what, bytes)?;
        let mut commands = Commands::new(&self.gpu);
        record(&mut commands, &back, bytes)?;
        let (ticket, _held) = commands.submit()?;
        device.wait(&ticket)?;
        device.read(&back, count)
    }
}

fn complex(parts: &[f32]) -> C64 {
    C64::new(f64::from(parts[0]), f64::from(parts[1]))
}
