//! Spectral sums on the device, in as many buffers as their lines take.

use super::Gpu;
use super::device::{Buffer, DeviceError, Use};
use super::kernels::Commands;
use super::layout::TotalParams;
use crate::compute::WelchPlan;
use crate::compute::hermitian::entries;
use std::ops::Range;

/// Consecutive lines whose sums are in one buffer, packed lower triangles in f32.
pub(super) struct Band {
    pub(super) lines: Range<usize>,
    pub(super) sums: Buffer,
}

/// All lines of a plan.
pub(super) struct Bands {
    pub(super) bands: Vec<Band>,
    pairs: usize,
}

impl Bands {
    /// Bytes of the sums of one line, which has to fit into a buffer.
    pub(super) fn line_bytes(plan: &WelchPlan) -> u64 {
        8 * entries(plan.channels) as u64
    }

    pub(super) fn new(gpu: &Gpu, plan: &WelchPlan) -> Result<Bands, DeviceError> {
        let line_bytes = Bands::line_bytes(plan);
        let most = (gpu.device.largest_buffer() / line_bytes).max(1) as usize;
        let mut bands = Vec::new();
        for first in plan.lines.clone().step_by(most) {
            let lines = first..plan.lines.end.min(first.saturating_add(most));
            let sums = gpu.device.buffer(Use::Storage, "spectral sums", line_bytes * lines.len() as u64)?;
            bands.push(Band { lines, sums });
        }
        Ok(Bands { bands, pairs: entries(plan.channels) })
    }

    /// Each band that has some of `lines`, with those of them.
    pub(super) fn of(&self, lines: Range<usize>) -> impl Iterator<Item = (&Band, Range<usize>)> {
        let common = move |band: &Band| lines.start.max(band.lines.start)..lines.end.min(band.lines.end);
        self.bands.iter().map(move |band| (band, common(band))).filter(|(_, lines)| !lines.is_empty())
    }

    /// Adds the sums of others, of the same plan.
    pub(super) fn add(&self, gpu: &Gpu, others: &Bands) -> Result<(), DeviceError> {
        for (band, other) in self.bands.iter().zip(&others.bands) {
            let params =
                TotalParams { pairs: self.pairs as u32, lines: band.lines.len() as u32, ..TotalParams::default() };
            let mut commands = Commands::new(gpu);
            commands.line_totals([&other.sums, &band.sums], params, "gather")?;
            let (ticket, _held) = commands.submit()?;
            gpu.device.wait(&ticket)?;
        }
        Ok(())
    }

    /// All of the numbers, re and im in turn.
    pub(super) fn read(&self, gpu: &Gpu) -> Result<Vec<f32>, DeviceError> {
        let mut all = Vec::new();
        for band in &self.bands {
            let count = 2 * self.pairs * band.lines.len();
            let back = gpu.device.buffer(Use::Readback, "spectral sums", 4 * count as u64)?;
            let mut commands = Commands::new(gpu);
            commands.copy(&band.sums, &back, 4 * count as u64);
            let (ticket, _held) = commands.submit()?;
            gpu.device.wait(&ticket)?;
            all.append(&mut gpu.device.read(&back, count)?);
        }
        Ok(all)
    }
}
