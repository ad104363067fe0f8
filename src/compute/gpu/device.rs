//! One device: what is allocated, submitted, awaited and counted on it, and everything that can go wrong there.
//!
//! No call of it panics for what a driver says: each runs inside error scopes, each wait has a bound.

use super::clock::{Clock, Stamps};
use super::disk::Disk;
use super::fault::{Fault, Faults};
use super::traffic::Counters;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Why a device cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No adapter at all, or none that was asked for.
    #[error("{0}")]
    NoAdapter(String),
    /// The driver gave the device up.
    #[error("device lost: {0}")]
    Lost(String),
    /// No memory for a buffer.
    #[error("device memory refused: {bytes} bytes for {what}")]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// Its size.
        bytes: u64,
    },
    /// The driver refused a call.
    #[error("device refused {what}: {message}")]
    Refused {
        /// The call.
        what: &'static str,
        /// What it said.
        message: String,
    },
    /// No answer in time.
    #[error("device did not answer within {0} s")]
    Hung(u64),
    /// The shaders computed something else than they should on this driver.
    #[error("self-test failed: {0}")]
    WrongAnswer(String),
}

/// A submission is cut to 100 ms; one that takes three hundred times as long will never end. Software drivers beside
/// other work need the most of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Largest buffer that is ever asked for: above, drivers and wgpu differ in what they get right (wgpu #8105, #10305).
const LARGEST_BUFFER: u64 = 1 << 30;

/// Buffers are made in sizes of 2^k·(1 + j/4), so that plans that differ a little share them.
const STEPS: u64 = 4;

/// Bytes of idle buffers that are kept for the next plan.
const MOST_IDLE: u64 = 1 << 30;

/// What a buffer is for; also the key under which it is kept for reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// Read and written by kernels.
    Storage,
    /// Sizes of a dispatch.
    Uniform,
    /// Written by the host, mapped.
    Upload,
    /// Read by the host, mapped.
    Readback,
}

impl Use {
    fn usages(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as B;
        match self {
            Use::Storage => B::STORAGE | B::COPY_DST | B::COPY_SRC,
            Use::Uniform => B::UNIFORM | B::COPY_DST,
            Use::Upload => B::MAP_WRITE | B::COPY_SRC,
            Use::Readback => B::MAP_READ | B::COPY_DST,
        }
    }
}

/// A buffer of the arena; goes back there when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    buffer: Option<wgpu::Buffer>,
    kind: Use,
    arena: Arc<Arena>,
}

impl Buffer {
    pub(super) fn raw(&self) -> &wgpu::Buffer {
        self.buffer.as_ref().expect("it is taken only when dropped")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.arena.keep(self.kind, buffer);
        }
    }
}

#[derive(Debug, Default)]
struct Arena {
    idle: Mutex<Vec<(Use, wgpu::Buffer)>>,
    counters: Arc<Counters>,
}

impl Arena {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Use, wgpu::Buffer)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, kind: Use, size: u64) -> Option<wgpu::Buffer> {
        let mut idle = self.idle();
        let at = idle.iter().position(|(k, buffer)| *k == kind && buffer.size() == size)?;
        Some(idle.swap_remove(at).1)
    }

    fn keep(&self, kind: Use, buffer: wgpu::Buffer) {
        let mut idle = self.idle();
        let kept: u64 = idle.iter().map(|(_, buffer)| buffer.size()).sum();
        if kept + buffer.size() <= MOST_IDLE {
            idle.push((kind, buffer));
        } else {
            self.counters.live_bytes.fetch_sub(buffer.size(), Ordering::Relaxed);
        }
    }
}

/// Where a submission stands in the queue.
pub(super) type Ticket = wgpu::SubmissionIndex;

/// The device and its queue.
#[derive(Debug)]
pub(super) struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    /// Bytes that one buffer may have.
    largest: AtomicU64,
    lost: Arc<Mutex<Option<String>>>,
    arena: Arc<Arena>,
    pub(super) counters: Arc<Counters>,
    pub(super) faults: Faults,
    pub(super) clock: Clock,
    pub(super) disk: Option<Disk>,
}

impl Device {
    pub(super) fn open(adapter: &wgpu::Adapter, kernels: Option<&Path>) -> Result<Device, DeviceError> {
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("oma-worker"),
            required_features: adapter.features() & (Disk::FEATURE | Clock::FEATURE),
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| DeviceError::Refused { what: "a device", message: error.to_string() })?;
        let lost = Arc::new(Mutex::new(None));
        let told = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{reason:?} {message}"));
        });
        // What no scope catches is not to end the process; the next scoped call meets it again.
        device.on_uncaptured_error(Arc::new(|error| tracing::warn!(%error, "GPU")));
        let arena = Arc::new(Arena::default());
        let counters = arena.counters.clone();
        let disk = kernels.and_then(|folder| Disk::open(&device, &adapter.get_info(), folder));
        let (faults, clock) = (Faults::default(), Clock::default());
        let largest = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(LARGEST_BUFFER);
        Ok(Device { device, queue, limits, largest: largest.into(), lost, arena, counters, faults, clock, disk })
    }

    /// Marks for the passes of a submission, where they are wanted and can be had.
    pub(super) fn stamps(&self) -> Option<Stamps> {
        let is_timed = self.clock.is_on() && self.device.features().contains(Clock::FEATURE);
        is_timed.then(|| Stamps::new(&self.device))
    }

    /// Seconds of one tick of the device's clock.
    pub(super) fn tick_s(&self) -> f64 {
        f64::from(self.queue.get_timestamp_period()) * 1e-9
    }

    pub(super) fn readback(&self, what: &'static str, bytes: u64) -> Result<Buffer, DeviceError> {
        self.buffer(Use::Readback, what, bytes)
    }

    pub(super) fn limits(&self) -> &wgpu::Limits {
        &self.limits
    }

    pub(super) fn limit_buffers(&self, bytes: u64) {
        self.largest.fetch_min(bytes, Ordering::Relaxed);
    }

    /// Bytes that one buffer may have.
    pub(super) fn largest_buffer(&self) -> u64 {
        self.largest.load(Ordering::Relaxed)
    }

    /// Runs calls of the driver and gives what they complain of.
    pub(super) fn scoped<T>(&self, what: &'static str, run: impl FnOnce(&wgpu::Device) -> T) -> Result<T, DeviceError> {
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation]
            .map(|filter| self.device.push_error_scope(filter));
        let value = run(&self.device);
        let mut error = None;
        for scope in scopes.into_iter().rev() {
            error = pollster::block_on(scope.pop()).or(error);
        }
        self.alive()?;
        match error {
            None => Ok(value),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(DeviceError::OutOfMemory { what, bytes: 0 }),
            Some(error) => Err(DeviceError::Refused { what, message: error.to_string().replace('\n', " ") }),
        }
    }

    fn alive(&self) -> Result<(), DeviceError> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(DeviceError::Lost(reason.trim().into())),
        }
    }

    /// A buffer of at least so many bytes, with whatever was in it.
    pub(super) fn buffer(&self, kind: Use, what: &'static str, bytes: u64) -> Result<Buffer, DeviceError> {
        let size = rounded(bytes.max(256)).min(self.largest_buffer());
        if let Some(buffer) = self.arena.take(kind, size) {
            return Ok(Buffer { buffer: Some(buffer), kind, arena: self.arena.clone() });
        }
        if bytes > self.largest_buffer() || self.faults.strikes(Fault::RefuseAllocation) {
            return Err(DeviceError::OutOfMemory { what, bytes });
        }
        let descriptor =
            wgpu::BufferDescriptor { label: Some(what), size, usage: kind.usages(), mapped_at_creation: false };
        let made = self.scoped(what, |device| device.create_buffer(&descriptor));
        let buffer = made.map_err(|error| match error {
            DeviceError::OutOfMemory { what, .. } => DeviceError::OutOfMemory { what, bytes },
            error => error,
        })?;
        self.counters.allocated(size);
        Ok(Buffer { buffer: Some(buffer), kind, arena: self.arena.clone() })
    }

    /// A small buffer with content: tables and sizes.
    pub(super) fn filled(&self, kind: Use, what: &'static str, bytes: &[u8]) -> Result<Buffer, DeviceError> {
        let buffer = self.buffer(kind, what, bytes.len() as u64)?;
        self.counters.tables.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.scoped(what, |_| self.queue.write_buffer(buffer.raw(), 0, bytes))?;
        Ok(buffer)
    }

    /// Hands commands to the queue.
    pub(super) fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<Ticket, DeviceError> {
        if self.faults.strikes(Fault::LoseDevice) {
            self.device.destroy();
        }
        self.counters.submissions.fetch_add(1, Ordering::Relaxed);
        let ticket = self.scoped("a submission", |_| self.queue.submit([encoder.finish()]));
        // The callback of a lost device comes with a poll.
        let _ = self.device.poll(wgpu::PollType::Poll);
        self.alive()?;
        ticket
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Waits until a submission is through.
    pub(super) fn wait(&self, ticket: &Ticket) -> Result<(), DeviceError> {
        let hung = DeviceError::Hung(PATIENCE.as_secs());
        if self.faults.strikes(Fault::Hang) {
            return Err(hung);
        }
        let poll = wgpu::PollType::Wait { submission_index: Some(ticket.clone()), timeout: Some(PATIENCE) };
        let answer = self.device.poll(poll);
        self.alive()?;
        match answer {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => Err(hung),
            // The queue never took the submission: so a device looks that was lost a moment ago.
            Err(error) => Err(DeviceError::Lost(error.to_string())),
        }
    }

    /// Maps a buffer that no submission uses any more.
    fn map(&self, buffer: &Buffer, mode: wgpu::MapMode, bytes: u64) -> Result<(), DeviceError> {
        let (send, receive) = mpsc::channel();
        self.scoped("a mapping", |_| {
            buffer.raw().map_async(mode, 0..bytes, move |answer| drop(send.send(answer)));
        })?;
        let poll = wgpu::PollType::Wait { submission_index: None, timeout: Some(PATIENCE) };
        let polled = self.device.poll(poll);
        self.alive()?;
        match (polled, receive.try_recv()) {
            (_, Ok(Ok(()))) => Ok(()),
            (Err(wgpu::PollError::Timeout), _) => Err(DeviceError::Hung(PATIENCE.as_secs())),
            (_, answer) => Err(DeviceError::Refused { what: "a mapping", message: format!("{answer:?}") }),
        }
    }

    /// An upload buffer with content.
    pub(super) fn upload(&self, what: &'static str, words: &[u32]) -> Result<Buffer, DeviceError> {
        let bytes = 4 * words.len() as u64;
        let buffer = self.buffer(Use::Upload, what, bytes)?;
        self.map(&buffer, wgpu::MapMode::Write, bytes)?;
        let view = buffer.raw().get_mapped_range_mut(0..bytes);
        let written = view.map(|mut view| view.copy_from_slice(bytemuck::cast_slice(words)));
        buffer.raw().unmap();
        written.map_err(|error| DeviceError::Refused { what, message: error.to_string() })?;
        self.counters.uploaded.fetch_add(bytes, Ordering::Relaxed);
        Ok(buffer)
    }

    /// Numbers of a readback buffer whose submission is through.
    pub(super) fn read(&self, buffer: &Buffer, count: usize) -> Result<Vec<f32>, DeviceError> {
        let bytes = 4 * count as u64;
        self.map(buffer, wgpu::MapMode::Read, bytes)?;
        let view = buffer.raw().get_mapped_range(0..bytes);
        let values = view.map(|view| bytemuck::pod_collect_to_vec(&view));
        buffer.raw().unmap();
        self.counters.read_back.fetch_add(bytes, Ordering::Relaxed);
        values.map_err(|error| DeviceError::Refused { what: "a readback", message: error.to_string() })
    }
}

fn rounded(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 2 / STEPS).max(64);
    bytes.next_multiple_of(step)
}
