//! Spectral sums that stay on the device: what is asked of them is computed there, and only the answers come home.

use super::Gpu;
use super::bands::{Band, Bands};
use super::device::{Buffer, DeviceError, Use};
use super::kernels::Commands;
use super::layout::{ProductParams, TotalParams};
use crate::compute::hermitian::entries;
use crate::compute::{SpectralSums, WelchPlan};
use nalgebra::Complex;
use std::ops::Range;
use std::sync::Arc;

type C64 = Complex<f64>;

/// Packed lower triangles of every line of a plan, f32, summed in blocks of 64, of 64 of these, and of 64 of those.
pub(in crate::compute) struct Resident {
    gpu: Arc<Gpu>,
    plan: WelchPlan,
    sums: Bands,
    segments: u64,
    /// Of a sum that is counted on both sides of the spectrum.
    factor: f64,
}

impl Resident {
    pub(super) fn new(gpu: Arc<Gpu>, plan: WelchPlan, sums: Bands, segments: u64) -> Resident {
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

    /// Counts so many numbers as asked for, for [`Traffic`](super::Traffic): what an iteration reads back is no output.
    pub(in crate::compute) fn output(&self, numbers: usize) {
        self.gpu.device.counters.output(4 * numbers);
    }

    fn pairs(&self) -> usize {
        entries(self.plan.channels)
    }

    /// The sums of some lines.
    pub(in crate::compute) fn sums(&self, lines: Range<usize>) -> Result<SpectralSums, DeviceError> {
        let numbers = 2 * self.pairs();
        let mut sums = Vec::with_capacity(self.pairs() * lines.len());
        for (band, lines) in self.sums.of(lines) {
            let first = 4 * (numbers * (lines.start - band.lines.start)) as u64;
            let values = self.ask("spectral sums", numbers * lines.len(), |commands, back, bytes| {
                commands.copy_from((&band.sums, first), back, bytes);
                Ok(())
            })?;
            sums.extend(values.chunks_exact(2).map(complex));
        }
        Ok(SpectralSums { segments: self.segments, sums })
    }

    /// S_ii, [line][channel].
    pub(in crate::compute) fn diagonals(&self) -> Result<Vec<f32>, DeviceError> {
        let mut all = Vec::with_capacity(self.plan.lines.len() * self.plan.channels);
        for (band, lines) in self.sums.of(self.plan.lines.clone()) {
            let count = lines.len() * self.plan.channels;
            all.append(&mut self.totals(band, lines, count, "diagonals")?);
        }
        Ok(all)
    }

    /// Σ Re S over some lines, of 0 Hz and Nyquist the half, packed.
    pub(in crate::compute) fn total(&self, lines: Range<usize>) -> Result<Vec<f64>, DeviceError> {
        let mut total = vec![0.0; self.pairs()];
        for (band, lines) in self.sums.of(lines) {
            let of_band = self.totals(band, lines, total.len(), "main")?;
            total.iter_mut().zip(of_band).for_each(|(total, sum)| *total += f64::from(sum));
        }
        Ok(total)
    }

    fn totals(
        &self,
        band: &Band,
        lines: Range<usize>,
        count: usize,
        entry: &'static str,
    ) -> Result<Vec<f32>, DeviceError> {
        let params = TotalParams {
            rows: self.plan.channels as u32,
            pairs: self.pairs() as u32,
            first: (lines.start - band.lines.start) as u32,
            lines: lines.len() as u32,
            base_line: band.lines.start as u32,
            nyquist: (self.plan.segment_length / 2) as u32,
            ..TotalParams::default()
        };
        let totals = self.gpu.device.buffer(Use::Storage, "totals", 4 * count as u64)?;
        self.ask("totals", count, |commands, back, bytes| {
            commands.line_totals([&band.sums, &totals], params, entry)?;
            commands.copy(&totals, back, bytes);
            Ok(())
        })
    }

    /// S x of some lines, by their places, ascending, for `width` vectors of each; of every line for the same vectors where
    /// none are listed. Vectors and products one line after the other, [row][vector].
    pub(in crate::compute) fn products(
        &self,
        lines: Option<&[usize]>,
        width: usize,
        vectors: &[C64],
    ) -> Result<Vec<C64>, DeviceError> {
        let all: Vec<usize> = (0..self.plan.lines.len()).collect();
        let block = self.plan.channels * width;
        let (mut rest, mut products) = (lines.unwrap_or(&all), Vec::new());
        let mut vectors = vectors;
        for band in &self.sums.bands {
            let place = |line: usize| line - self.plan.lines.start;
            let here;
            (here, rest) = rest.split_at(rest.partition_point(|line| *line < place(band.lines.end)));
            let of_here;
            (of_here, vectors) =
                if lines.is_some() { vectors.split_at(here.len() * block) } else { (vectors, vectors) };
            // A piece is as many lines as vectors and products have room for.
            let most = (self.gpu.device.largest_buffer() / (8 * block) as u64).max(1) as usize;
            for (k, here) in here.chunks(most).enumerate() {
                let list: Vec<u32> = here.iter().map(|line| (line - place(band.lines.start)) as u32).collect();
                let own = if lines.is_some() { &of_here[k * most * block..][..here.len() * block] } else { of_here };
                products.append(&mut self.products_of(band, &list, (lines.is_some(), width), own)?);
            }
        }
        Ok(products)
    }

    /// Those of one band: lines by their places in it, each with vectors of its own (`is_each`) or all with the same.
    fn products_of(
        &self,
        band: &Band,
        list: &[u32],
        (is_each, width): (bool, usize),
        vectors: &[C64],
    ) -> Result<Vec<C64>, DeviceError> {
        let device = &self.gpu.device;
        let block = self.plan.channels * width;
        let params = ProductParams {
            rows: self.plan.channels as u32,
            pairs: self.pairs() as u32,
            vectors: width as u32,
            stride: if is_each { block as u32 } else { 0 },
            first: 0,
        };
        let words: Vec<u32> = vectors.iter().flat_map(|v| [(v.re as f32).to_bits(), (v.im as f32).to_bits()]).collect();
        let source = device.upload("vectors", &words)?;
        let vectors = device.buffer(Use::Storage, "vectors", 4 * words.len() as u64)?;
        let products = device.buffer(Use::Storage, "products", 8 * (block * list.len()) as u64)?;
        let listed = device.filled(Use::Storage, "lines", bytemuck::cast_slice(list))?;
        let values = self.ask("products", 2 * block * list.len(), |commands, back, bytes| {
            commands.copy(&source, &vectors, 4 * words.len() as u64);
            commands.hermitian_products([&band.sums, &listed, &vectors, &products], params, list.len())?;
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
