//! Welch averages on the device: segments of all channels → spectra → products, summed over up to 64 segments a
//! submission and 64 submissions on the device, then at home in f64; or, where they may stay, 64 of these on the device.
//!
//! All sums are f32 sums of 64 terms, whose rounding is some 1e-7 of √(S_ii S_jj) a level. In f64 on the device, where an
//! adapter can (`SHADER_F64`), only the last level could be: a level's terms come from the level below, and products in f64
//! run at half the rate at best. It would halve what is a fifth of the tolerance for twice the memory; so it is not done.

use super::bands::Bands;
use super::device::{Buffer, DeviceError, Ticket, Use};
use super::kernels::{Commands, Sides, tiles, twiddles};
use super::layout::{self, SegmentParams, Tile, Transform};
use super::resident::Resident;
use super::upload::{room, upload};
use super::{Gpu, Place};
use crate::compute::{SpectralSums, WelchPlan, hann};
use crate::model::record::Block;
use std::sync::Arc;

/// Segments of one submission at most, submissions that are summed on the device, and such sums that are summed there once
/// more where all may stay: f32 sums of 64 terms each.
const SEGMENTS: usize = 64;
/// See [`SEGMENTS`].
const SUBMISSIONS: usize = 64;
/// See [`SEGMENTS`].
const GATHERED: usize = 64;

/// Submissions that are on their way at a time: one computes while the next is filled.
const IN_FLIGHT: usize = 2;

/// Why this plan is none for the device.
pub(in crate::compute) fn unfit(gpu: &Gpu, plan: &WelchPlan) -> Option<String> {
    let n = plan.segment_length;
    let Some(shape) = Transform::new(n) else {
        return Some(format!("segment_length {n} is no power of two from {} to {}", layout::SHORTEST, layout::LONGEST));
    };
    let limits = gpu.device.limits();
    let threads = limits.max_compute_invocations_per_workgroup as usize;
    let bytes = limits.max_compute_workgroup_storage_size as usize;
    if shape.threads() > threads || shape.workgroup_bytes() > bytes {
        return Some(format!(
            "segment_length {n} takes {} threads and {} bytes of workgroup memory, the adapter has {threads} and {bytes}",
            shape.threads(),
            shape.workgroup_bytes()
        ));
    }
    let bytes = Bands::line_bytes(plan).max(spectra_bytes(plan, 1));
    let most = gpu.device.largest_buffer();
    (bytes > most)
        .then(|| format!("sums of a line, or spectra of a segment, of {bytes} bytes exceed a buffer of {most}"))
}

fn spectra_bytes(plan: &WelchPlan, segments: usize) -> u64 {
    8 * (plan.channels.next_multiple_of(layout::PAD) * segments * (plan.segment_length / 2 + 1)) as u64
}

/// The accumulator; see [`SpectralSums`] for what comes out.
pub(in crate::compute) struct Welch {
    gpu: Arc<Gpu>,
    plan: WelchPlan,
    shape: Transform,
    tile: Tile,
    tile_count: usize,
    /// Segments of a submission.
    chunk: usize,
    twiddles: Buffer,
    window: Buffer,
    channels: Buffer,
    tiles: Buffer,
    spectra: Buffer,
    sums: Bands,
    /// Sums of so many times as many submissions as are summed at once, where they may stay.
    gathered: Option<(Bands, usize)>,
    /// Samples of the submissions on their way, with what each holds.
    flight: Vec<(Ticket, Vec<Buffer>)>,
    pending: Vec<Vec<f32>>,
    /// How many of these were on the device.
    known: usize,
    /// Whether sums came home before.
    was_home: bool,
    /// Place of the first pending sample.
    at: Place,
    /// Submissions since sums were gathered or went home, and segments since they went home.
    submissions: usize,
    segments: u64,
    home: SpectralSums,
    /// From where on nothing is at home.
    safe: Place,
}

impl Welch {
    pub(in crate::compute) fn new(gpu: &Arc<Gpu>, plan: &WelchPlan) -> Result<Welch, DeviceError> {
        let refused = |message: String| DeviceError::Refused { what: "the plan", message };
        if let Some(reason) = unfit(gpu, plan) {
            return Err(refused(reason));
        }
        let shape = Transform::new(plan.segment_length).ok_or_else(|| refused("length".into()))?;
        let (n, l) = (plan.segment_length, plan.channels);
        let tile = Tile::new(l);
        let list = tiles(tile, l, l, true);
        let most = gpu.device.largest_buffer();
        let fits = |segments: &usize| {
            spectra_bytes(plan, *segments) <= most && room(l, (*segments - 1) * plan.hop + n) <= most
        };
        let chunk = (1..=SEGMENTS).rev().find(fits).unwrap_or(1);
        let device = &gpu.device;
        let window: Vec<f32> = hann(n).into_iter().map(|w| w as f32).collect();
        let rows: Vec<u32> = (0..l as u32).collect();
        Ok(Welch {
            shape,
            tile,
            tile_count: list.len() / 2,
            chunk,
            twiddles: device.filled(Use::Storage, "twiddles", bytemuck::cast_slice(&twiddles(n)))?,
            window: device.filled(Use::Storage, "window", bytemuck::cast_slice(&window))?,
            channels: device.filled(Use::Storage, "channels", bytemuck::cast_slice(&rows))?,
            tiles: device.filled(Use::Storage, "tiles", bytemuck::cast_slice(&list))?,
            spectra: device.buffer(Use::Storage, "spectra", spectra_bytes(plan, chunk))?,
            sums: Bands::new(gpu, plan)?,
            gathered: None,
            flight: Vec::new(),
            pending: vec![Vec::new(); l],
            known: 0,
            was_home: false,
            at: Place::default(),
            submissions: 0,
            segments: 0,
            home: SpectralSums::default(),
            safe: Place::default(),
            gpu: gpu.clone(),
            plan: plan.clone(),
        })
    }

    pub(in crate::compute) fn push(&mut self, block: &Block) -> Result<(), DeviceError> {
        if block.segment != self.at.segment {
            self.drain(true)?;
            self.pending.iter_mut().for_each(Vec::clear);
            self.known = 0;
            self.at = Place { segment: block.segment, start: block.start };
        }
        for (c, pending) in self.pending.iter_mut().enumerate() {
            pending.extend_from_slice(block.channel(c));
        }
        self.drain(false)
    }

    /// The sums that are at home, and where the record goes on.
    pub(in crate::compute) fn safe(&mut self) -> (SpectralSums, Place) {
        (std::mem::take(&mut self.home), self.safe)
    }

    /// Brings everything home; of a plan whose averages may stay only what does not fit on the device.
    pub(in crate::compute) fn settle(&mut self) -> Result<(), DeviceError> {
        self.drain(true)?;
        if self.is_away() {
            for (ticket, _held) in self.flight.drain(..) {
                self.gpu.device.wait(&ticket)?;
            }
            return if self.gathered.is_some() { self.gather() } else { Ok(()) };
        }
        self.bring_home()
    }

    /// Whether all of the sums are on the device, and may stay there.
    fn is_away(&self) -> bool {
        self.may_stay() && self.home.segments == 0 && self.segments > 0
    }

    fn may_stay(&self) -> bool {
        self.plan.in_place && self.plan.channels <= layout::PRODUCT_ROWS
    }

    /// The sums where they are, once [`Welch::settle`] left them there.
    pub(in crate::compute) fn away(self) -> Result<Resident, Box<Welch>> {
        if !self.is_away() {
            return Err(Box::new(self));
        }
        let sums = self.gathered.map_or(self.sums, |(gathered, _)| gathered);
        Ok(Resident::new(self.gpu, self.plan, sums, self.segments))
    }

    /// Submits the complete segments, whole chunks of them or (`rest`) all.
    fn drain(&mut self, rest: bool) -> Result<(), DeviceError> {
        let (n, hop) = (self.plan.segment_length, self.plan.hop);
        let available = self.pending.first().map_or(0, Vec::len);
        let complete = if available < n { 0 } else { (available - n) / hop + 1 };
        let mut done = 0;
        while complete - done >= if rest { 1 } else { self.chunk } {
            let segments = self.chunk.min(complete - done);
            self.submit(done * hop, segments)?;
            done += segments;
        }
        // Segments further apart than they are long leave samples that none holds.
        let used = (done * hop).min(available);
        self.pending.iter_mut().for_each(|channel| drop(channel.drain(..used)));
        self.known = self.known.saturating_sub(used);
        Ok(())
    }

    fn submit(&mut self, from: usize, segments: usize) -> Result<(), DeviceError> {
        let (n, hop, l) = (self.plan.segment_length, self.plan.hop, self.plan.channels);
        let gpu = self.gpu.clone();
        let samples = upload(&gpu, &self.pending, from..from + (segments - 1) * hop + n, &mut self.known)?;
        let on_device = gpu.device.buffer(Use::Storage, "samples", room(l, (self.chunk - 1) * hop + n))?;
        let stretches: Vec<u32> = (0..segments).flat_map(|s| [(s * hop) as u32, n as u32]).collect();
        let stretches = gpu.device.filled(Use::Storage, "stretches", bytemuck::cast_slice(&stretches))?;
        let mut commands = Commands::new(&gpu);
        commands.copy(&samples.source, &on_device, samples.bytes);
        let params = SegmentParams {
            stride: samples.stride,
            rows: l as u32,
            padded: l.next_multiple_of(layout::PAD) as u32,
            stretches: segments as u32,
            packed: samples.packed,
            centre: 1,
            ..SegmentParams::default()
        };
        let buffers = [&on_device, &self.twiddles, &self.window, &stretches, &self.channels, &self.spectra];
        commands.segment_spectra(self.shape, buffers, params)?;
        let sides = Sides { left: (&self.spectra, l), right: (&self.spectra, l), is_lower: true };
        let tiles = (self.tile, &self.tiles, self.tile_count);
        for band in &self.sums.bands {
            let size = (band.lines.clone(), segments);
            commands.cross_spectra(&sides, &band.sums, tiles, size, self.submissions == 0)?;
        }
        [samples.source, on_device, stretches].into_iter().for_each(|buffer| commands.hold(buffer));
        let sent = commands.submit()?;
        self.flight.push(sent);
        if self.flight.len() == IN_FLIGHT {
            let (ticket, _held) = self.flight.remove(0);
            gpu.device.wait(&ticket)?;
        }
        self.submissions += 1;
        self.segments += segments as u64;
        self.at.start += (segments * hop) as u64;
        match &self.gathered {
            _ if self.submissions < SUBMISSIONS => Ok(()),
            Some((_, GATHERED..)) => self.bring_home(),
            _ if self.may_stay() && self.home.segments == 0 => self.gather(),
            _ => self.bring_home(),
        }
    }

    /// Adds the sums to those that were gathered, and begins new ones.
    fn gather(&mut self) -> Result<(), DeviceError> {
        if self.submissions > 0 {
            match &mut self.gathered {
                Some((gathered, count)) => {
                    gathered.add(&self.gpu, &self.sums)?;
                    *count += 1;
                }
                None => {
                    let fresh = Bands::new(&self.gpu, &self.plan)?;
                    self.gathered = Some((std::mem::replace(&mut self.sums, fresh), 1));
                }
            }
            self.submissions = 0;
        }
        Ok(())
    }

    /// Brings the sums of what was submitted home.
    pub(in crate::compute) fn bring_home(&mut self) -> Result<(), DeviceError> {
        if self.segments > 0 {
            if self.home.segments == 0 {
                self.home = SpectralSums::new(self.plan.channels, self.plan.lines.len());
            }
            let gathered = self.gathered.take().map(|(gathered, _)| gathered);
            let fresh = (self.submissions > 0).then_some(&self.sums);
            // All of it before anything is added: what a failure interrupts is summed again from the last place at home.
            let mut levels = Vec::new();
            for sums in gathered.iter().chain(fresh) {
                let values = sums.read(&self.gpu)?;
                if !std::mem::replace(&mut self.was_home, true) {
                    self.gpu.device.counters.output(4 * values.len());
                }
                levels.push(values);
            }
            for values in levels {
                for (sum, value) in self.home.sums.iter_mut().zip(values.chunks_exact(2)) {
                    *sum += nalgebra::Complex::new(f64::from(value[0]), f64::from(value[1]));
                }
            }
            self.flight.clear();
            self.home.segments += self.segments;
            (self.submissions, self.segments) = (0, 0);
        }
        self.safe = self.at;
        Ok(())
    }
}
