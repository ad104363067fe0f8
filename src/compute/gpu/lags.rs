//! Lag products on the device, kept by block of the record, in the cheaper of two forms: directly for few references, by
//! transforms (segment spectra → cross-spectra → correlations) for many.

use super::device::{Buffer, DeviceError, Use};
use super::kernels::{Commands, Sides, tiles, twiddles};
use super::layout::{self, LagParams, SegmentParams, Tile, Transform};
use super::upload::{Uploaded, room, upload};
use super::{Gpu, Place};
use crate::compute::{LagBlock, LagPlan};
use crate::model::record::Block;
use nalgebra::DMatrix;
use std::sync::Arc;

/// Reference samples of one submission at most: the overlap of `lags` samples that the next one uploads again stays
/// below a twentieth for 800 lags, the uploaded samples of 500 channels below 70 MiB.
const SAMPLES: usize = 1 << 15;

/// Stretches, or slabs, of one submission at most, and submissions whose sums stay on the device: f32 sums of 64 and 64.
const STRETCHES: usize = 64;
/// See [`STRETCHES`].
const SUBMISSIONS: usize = 64;

/// Reference samples of a slab of the direct form: four tiles.
const SLAB: usize = 4 * layout::TIME_TILE;

/// Transform length over lags; see the CPU's `lags.rs`.
const LENGTH_PER_LAG: usize = 5;

/// First sample of an uploaded part, and samples.
type Stretch = (usize, usize);

/// How the products are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compute) enum Form {
    /// Products at every lag.
    Direct,
    /// By transforms of that length.
    Transforms(Transform),
}

impl Form {
    /// Operations a reference sample of all channels: 2·n·r·K directly; by transforms 2.5·L·log₂L for each of n + r
    /// rows and 8·n·r·L/2 for the products, over L − K + 1 samples. The latter run against memory, so they count twice.
    pub(in crate::compute) fn flops(self, plan: &LagPlan) -> f64 {
        let (n, r, k) = (plan.channels as f64, plan.references.len() as f64, plan.lags as f64);
        match self {
            Form::Direct => 2.0 * n * r * k,
            Form::Transforms(shape) => {
                let length = 2.0 * shape.points as f64;
                2.0 * (2.5 * length * length.log2() * (n + r) + 4.0 * n * r * length) / (length - k + 1.0)
            }
        }
    }

    /// The cheaper one.
    pub(in crate::compute) fn cheapest(plan: &LagPlan) -> Form {
        let length = (LENGTH_PER_LAG * plan.lags).next_power_of_two().max(layout::SHORTEST);
        match Transform::new(length).map(Form::Transforms) {
            Some(form) if form.flops(plan) < Form::Direct.flops(plan) => form,
            _ => Form::Direct,
        }
    }

    /// The cheaper one that the adapter can do.
    pub(in crate::compute) fn of(gpu: &Gpu, plan: &LagPlan) -> Form {
        let limits = gpu.device.limits();
        match Form::cheapest(plan) {
            Form::Transforms(shape)
                if shape.threads() > limits.max_compute_invocations_per_workgroup as usize
                    || shape.workgroup_bytes() > limits.max_compute_workgroup_storage_size as usize =>
            {
                Form::Direct
            }
            form => form,
        }
    }
}

/// Why this plan is none for the device.
pub(in crate::compute) fn unfit(gpu: &Gpu, plan: &LagPlan) -> Option<String> {
    let largest = Sizes::new(plan, Form::of(gpu, plan)).largest();
    let most = gpu.device.largest_buffer();
    (largest > most).then(|| format!("lag products take a buffer of {largest} bytes, the limit is {most}"))
}

/// Bytes of the buffers of a plan.
struct Sizes {
    samples: u64,
    /// Partial products, or spectra of the channels.
    partials: u64,
    /// Products of spectra.
    sums: u64,
    products: u64,
}

impl Sizes {
    fn new(plan: &LagPlan, form: Form) -> Sizes {
        let (l, r) = (plan.channels, plan.references.len());
        let products = 4 * (l * r * plan.lags) as u64;
        let samples = room(l, SAMPLES + plan.lags);
        match form {
            Form::Direct => Sizes { samples, partials: products * STRETCHES as u64, sums: 0, products },
            Form::Transforms(shape) => {
                let lines = shape.points + 1;
                let partials = 8 * (l.next_multiple_of(layout::PAD) * STRETCHES * lines) as u64;
                Sizes { samples, partials, sums: 8 * (l * r * lines) as u64, products }
            }
        }
    }

    fn largest(&self) -> u64 {
        self.samples.max(self.partials).max(self.sums).max(self.products)
    }
}

/// What the transforms need beside the samples.
struct Spectral {
    shape: Transform,
    tile: Tile,
    tile_count: usize,
    twiddles: Buffer,
    /// Ones: nothing is windowed.
    window: Buffer,
    channels: Buffer,
    tiles: Buffer,
    references: Buffer,
    sums: Buffer,
}

/// The accumulator of the blocks' products.
pub(in crate::compute) struct Lags {
    gpu: Arc<Gpu>,
    plan: LagPlan,
    spectral: Option<Spectral>,
    /// Samples of a stretch or slab.
    stretch: usize,
    references: Buffer,
    partials: Buffer,
    products: Buffer,
    pending: Vec<Vec<f32>>,
    /// How many of these were on the device.
    known: usize,
    /// Whether products of the open block came home before.
    was_home: bool,
    at: Place,
    /// Reference samples that were submitted, over the whole record.
    used: u64,
    submissions: usize,
    /// Products of the open block that are at home already, [channel · references + reference][lag].
    home: Vec<f64>,
    /// Complete blocks, and those of them that wait to be taken.
    closed: usize,
    blocks: Vec<LagBlock>,
    /// Where the block after the last closed one begins.
    safe: Place,
}

impl Lags {
    pub(in crate::compute) fn new(gpu: &Arc<Gpu>, plan: &LagPlan, form: Form) -> Result<Lags, DeviceError> {
        if let Some(message) = unfit(gpu, plan) {
            return Err(DeviceError::Refused { what: "the plan", message });
        }
        let device = &gpu.device;
        let (l, r) = (plan.channels, plan.references.len());
        let sizes = Sizes::new(plan, form);
        let rows: Vec<u32> = plan.references.iter().map(|&row| row as u32).collect();
        let spectral = |shape: Transform| -> Result<Spectral, DeviceError> {
            let (tile, length) = (Tile::new(l), 2 * shape.points);
            let list = tiles(tile, l, r, false);
            let all: Vec<u32> = (0..l as u32).collect();
            let of_references = 8 * (r.next_multiple_of(layout::PAD) * STRETCHES * (shape.points + 1)) as u64;
            Ok(Spectral {
                shape,
                tile,
                tile_count: list.len() / 2,
                twiddles: device.filled(Use::Storage, "twiddles", bytemuck::cast_slice(&twiddles(length)))?,
                window: device.filled(Use::Storage, "window", bytemuck::cast_slice(&vec![1.0_f32; length]))?,
                channels: device.filled(Use::Storage, "channels", bytemuck::cast_slice(&all))?,
                tiles: device.filled(Use::Storage, "tiles", bytemuck::cast_slice(&list))?,
                references: device.buffer(Use::Storage, "reference spectra", of_references)?,
                sums: device.buffer(Use::Storage, "spectral sums", sizes.sums)?,
            })
        };
        let (spectral, stretch) = match form {
            Form::Direct => (None, SLAB),
            Form::Transforms(shape) => (Some(spectral(shape)?), 2 * shape.points - plan.lags + 1),
        };
        Ok(Lags {
            spectral,
            stretch,
            references: device.filled(Use::Storage, "references", bytemuck::cast_slice(&rows))?,
            partials: device.buffer(Use::Storage, "partial sums", sizes.partials)?,
            products: device.buffer(Use::Storage, "products", sizes.products)?,
            known: 0,
            was_home: false,
            pending: vec![Vec::new(); l],
            at: Place::default(),
            used: 0,
            submissions: 0,
            home: vec![0.0; l * r * plan.lags],
            closed: 0,
            blocks: Vec::new(),
            safe: Place::default(),
            gpu: gpu.clone(),
            plan: plan.clone(),
        })
    }

    pub(in crate::compute) fn push(&mut self, block: &Block) -> Result<(), DeviceError> {
        if block.segment != self.at.segment {
            self.cut(true)?;
            self.at = Place { segment: block.segment, start: block.start };
        }
        for (c, pending) in self.pending.iter_mut().enumerate() {
            pending.extend_from_slice(block.channel(c));
        }
        self.cut(false)
    }

    /// The blocks that are complete and were not taken before.
    pub(in crate::compute) fn take_blocks(&mut self) -> Vec<LagBlock> {
        std::mem::take(&mut self.blocks)
    }

    /// How many blocks are complete, and where the record goes on.
    pub(in crate::compute) fn safe(&self) -> (usize, Place) {
        (self.closed, self.safe)
    }

    /// Brings everything home.
    pub(in crate::compute) fn settle(&mut self) -> Result<(), DeviceError> {
        self.cut(true)
    }

    /// Submits reference samples whose responses are there, whole submissions or blocks of the record; at the end of a
    /// segment (`last`) down to the last sample.
    fn cut(&mut self, last: bool) -> Result<(), DeviceError> {
        let most = SAMPLES.min(self.stretch * STRETCHES);
        let mut at = 0;
        loop {
            while self.closed < self.plan.blocks && self.used == self.plan.block_start(self.closed + 1) {
                self.close_block()?;
            }
            let available = self.pending.first().map_or(0, |channel| channel.len() - at);
            let to_block_end = (self.plan.block_start(self.closed + 1) - self.used) as usize;
            let wanted = most.min(to_block_end);
            if available == 0 || (!last && available < wanted + self.plan.lags - 1) {
                break;
            }
            let count = wanted.min(available);
            let responses = (count + self.plan.lags - 1).min(available);
            self.submit(at, count, responses)?;
            self.used += count as u64;
            self.at.start += count as u64;
            at += count;
        }
        self.pending.iter_mut().for_each(|channel| drop(channel.drain(..at)));
        self.known = self.known.saturating_sub(at);
        Ok(())
    }

    fn submit(&mut self, at: usize, count: usize, responses: usize) -> Result<(), DeviceError> {
        let gpu = self.gpu.clone();
        let samples = upload(&gpu, &self.pending, at..at + responses, &mut self.known)?;
        let room = Sizes::new(&self.plan, Form::Direct).samples;
        let on_device = gpu.device.buffer(Use::Storage, "samples", room)?;
        let mut commands = Commands::new(&gpu);
        commands.copy(&samples.source, &on_device, samples.bytes);
        let starts: Vec<usize> = (0..count).step_by(self.stretch).collect();
        let reach =
            |from: usize| (self.stretch.min(count - from), (self.stretch + self.plan.lags - 1).min(responses - from));
        match &self.spectral {
            None => {
                let slab = |&from: &usize| {
                    let (own, reached) = reach(from);
                    [from as u32, own as u32, reached as u32, 0]
                };
                let slabs: Vec<u32> = starts.iter().flat_map(slab).collect();
                let slabs = gpu.device.filled(Use::Storage, "slabs", bytemuck::cast_slice(&slabs))?;
                let params = LagParams {
                    stride: samples.stride,
                    channels: self.plan.channels as u32,
                    references: self.plan.references.len() as u32,
                    lags: self.plan.lags as u32,
                    slabs: starts.len() as u32,
                    packed: samples.packed,
                    start: u32::from(self.submissions == 0),
                    lag_groups: self.plan.lags.div_ceil(layout::LAG_TILE) as u32,
                };
                let buffers = [&on_device, &slabs, &self.references, &self.partials, &self.products];
                commands.lag_products(buffers, params)?;
                commands.hold(slabs);
            }
            Some(spectral) => {
                let reached = starts.iter().map(|&from| (from, reach(from).1)).collect::<Vec<_>>();
                let own = starts.iter().map(|&from| (from, reach(from).0)).collect::<Vec<_>>();
                self.spectra(&mut commands, spectral, (&samples, &on_device), [&reached, &own])?;
            }
        }
        commands.hold(samples.source);
        commands.hold(on_device);
        let (ticket, _held) = commands.submit()?;
        gpu.device.wait(&ticket)?;
        self.submissions += 1;
        if self.submissions == SUBMISSIONS { self.bring_home() } else { Ok(()) }
    }

    /// Spectra of responses and references, and their products added to the sums.
    fn spectra(
        &self,
        commands: &mut Commands<'_>,
        spectral: &Spectral,
        (samples, on_device): (&Uploaded, &Buffer),
        [responses, references]: [&[Stretch]; 2],
    ) -> Result<(), DeviceError> {
        let (l, r) = (self.plan.channels, self.plan.references.len());
        let mut transform = |stretches: &[Stretch], rows: usize, channels: &Buffer, out: &Buffer| {
            let list: Vec<u32> = stretches.iter().flat_map(|&(from, count)| [from as u32, count as u32]).collect();
            let list = self.gpu.device.filled(Use::Storage, "stretches", bytemuck::cast_slice(&list))?;
            let params = SegmentParams {
                stride: samples.stride,
                rows: rows as u32,
                padded: rows.next_multiple_of(layout::PAD) as u32,
                stretches: stretches.len() as u32,
                packed: samples.packed,
                centre: 0,
                ..SegmentParams::default()
            };
            let buffers = [on_device, &spectral.twiddles, &spectral.window, &list, channels, out];
            commands.segment_spectra(spectral.shape, buffers, params)?;
            commands.hold(list);
            Ok::<(), DeviceError>(())
        };
        transform(responses, l, &spectral.channels, &self.partials)?;
        transform(references, r, &self.references, &spectral.references)?;
        let sides = Sides { left: (&self.partials, l), right: (&spectral.references, r), is_lower: false };
        let tiles = (spectral.tile, &spectral.tiles, spectral.tile_count);
        let size = (0..spectral.shape.points + 1, responses.len());
        commands.cross_spectra(&sides, &spectral.sums, tiles, size, self.submissions == 0)
    }

    /// Adds what is on the device to the products at home.
    fn bring_home(&mut self) -> Result<(), DeviceError> {
        if self.submissions == 0 {
            return Ok(());
        }
        let gpu = self.gpu.clone();
        let count = self.home.len();
        let back = gpu.device.buffer(Use::Readback, "products", 4 * count as u64)?;
        let mut commands = Commands::new(&gpu);
        if let Some(spectral) = &self.spectral {
            let pairs = self.plan.channels * self.plan.references.len();
            let buffers = [&spectral.sums, &spectral.twiddles, &self.products];
            commands.correlations(spectral.shape, buffers, (pairs, self.plan.lags))?;
        }
        commands.copy(&self.products, &back, 4 * count as u64);
        let (ticket, _held) = commands.submit()?;
        gpu.device.wait(&ticket)?;
        let values = gpu.device.read(&back, count)?;
        if !std::mem::replace(&mut self.was_home, true) {
            gpu.device.counters.output(4 * count);
        }
        self.home.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
        self.submissions = 0;
        Ok(())
    }

    fn close_block(&mut self) -> Result<(), DeviceError> {
        self.bring_home()?;
        self.was_home = false;
        let (l, r, lags) = (self.plan.channels, self.plan.references.len(), self.plan.lags);
        let product = |m: usize| DMatrix::from_fn(l, r, |i, j| self.home[(i * r + j) * lags + m]);
        let products = (0..lags).map(product).collect();
        let samples = self.plan.block_start(self.closed + 1) - self.plan.block_start(self.closed);
        self.blocks.push(LagBlock { samples, products });
        self.closed += 1;
        self.home.fill(0.0);
        self.safe = self.at;
        Ok(())
    }
}
