//! What crosses the bus and what is done on the device, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running counts of a device.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) uploaded: AtomicU64,
    pub(super) inputs: AtomicU64,
    pub(super) tables: AtomicU64,
    pub(super) read_back: AtomicU64,
    pub(super) outputs: AtomicU64,
    pub(super) dispatches: AtomicU64,
    pub(super) submissions: AtomicU64,
    pub(super) allocations: AtomicU64,
    pub(super) live_bytes: AtomicU64,
    pub(super) peak_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn allocated(&self, bytes: u64) {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        let live = self.live_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak_bytes.fetch_max(live, Ordering::Relaxed);
    }

    /// Counts samples that were not on the device before.
    pub(super) fn input(&self, bytes: usize) {
        self.inputs.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts what was asked for, however often parts of it, or what leads to it, are read back.
    pub(super) fn output(&self, bytes: usize) {
        self.outputs.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts from here on; what lives, lives on.
    pub(super) fn restart(&self) {
        let all = [&self.uploaded, &self.inputs, &self.tables, &self.read_back, &self.outputs];
        let all = all.into_iter().chain([&self.dispatches, &self.submissions, &self.allocations]);
        all.for_each(|counter| counter.store(0, Ordering::Relaxed));
        self.peak_bytes.store(self.live_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            uploaded_bytes: read(&self.uploaded),
            input_bytes: read(&self.inputs),
            table_bytes: read(&self.tables),
            read_back_bytes: read(&self.read_back),
            output_bytes: read(&self.outputs),
            dispatches: read(&self.dispatches),
            submissions: read(&self.submissions),
            allocations: read(&self.allocations),
            peak_bytes: read(&self.peak_bytes),
        }
    }
}

/// Counts since a device was opened and tested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Samples, and vectors of an iteration, that went to the device.
    pub uploaded_bytes: u64,
    /// Samples of the record, each once, in the form in which they went there.
    pub input_bytes: u64,
    /// Twiddles, windows, lists and sizes that went there.
    pub table_bytes: u64,
    /// Sums, and products of an iteration, that came back.
    pub read_back_bytes: u64,
    /// Sums, or leading pairs, totals and forms of those that stay on the device, each once, as f32.
    pub output_bytes: u64,
    /// Kernels that were started.
    pub dispatches: u64,
    /// Lots of commands.
    pub submissions: u64,
    /// Buffers that were made.
    pub allocations: u64,
    /// Most bytes of buffers at one time.
    pub peak_bytes: u64,
}

impl Traffic {
    /// What came since `earlier`; the peak stays.
    pub fn since(self, earlier: Traffic) -> Traffic {
        Traffic {
            uploaded_bytes: self.uploaded_bytes - earlier.uploaded_bytes,
            input_bytes: self.input_bytes - earlier.input_bytes,
            table_bytes: self.table_bytes - earlier.table_bytes,
            read_back_bytes: self.read_back_bytes - earlier.read_back_bytes,
            output_bytes: self.output_bytes - earlier.output_bytes,
            dispatches: self.dispatches - earlier.dispatches,
            submissions: self.submissions - earlier.submissions,
            allocations: self.allocations - earlier.allocations,
            peak_bytes: self.peak_bytes,
        }
    }

    /// All that went up, tables too, over the least: inputs once.
    pub fn uploads_over_least(&self) -> f64 {
        (self.uploaded_bytes + self.table_bytes) as f64 / self.input_bytes.max(1) as f64
    }

    /// All that came back over the least: outputs once.
    pub fn readbacks_over_least(&self) -> f64 {
        self.read_back_bytes as f64 / self.output_bytes.max(1) as f64
    }
}
