//! What crosses the bus and what is done on the device, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running counts of a device.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) uploaded: AtomicU64,
    pub(super) uploaded_again: AtomicU64,
    pub(super) tables: AtomicU64,
    pub(super) read_back: AtomicU64,
    pub(super) read_again: AtomicU64,
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

    /// Counts what was read back of sums of which parts were (`again`), or were not yet.
    pub(super) fn read_in_parts(&self, bytes: usize, again: bool) {
        self.read_again.fetch_add(if again { bytes as u64 } else { 0 }, Ordering::Relaxed);
    }

    /// Counts from here on; what lives, lives on.
    pub(super) fn restart(&self) {
        let all = [&self.uploaded, &self.uploaded_again, &self.tables, &self.read_back, &self.read_again];
        let all = all.into_iter().chain([&self.dispatches, &self.submissions, &self.allocations]);
        all.for_each(|counter| counter.store(0, Ordering::Relaxed));
        self.peak_bytes.store(self.live_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            uploaded_bytes: read(&self.uploaded),
            uploaded_again_bytes: read(&self.uploaded_again),
            table_bytes: read(&self.tables),
            read_back_bytes: read(&self.read_back),
            read_again_bytes: read(&self.read_again),
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
    /// Samples that went to the device.
    pub uploaded_bytes: u64,
    /// Those of them that had been there before.
    pub uploaded_again_bytes: u64,
    /// Twiddles, windows, lists and sizes that went there.
    pub table_bytes: u64,
    /// Sums that came back.
    pub read_back_bytes: u64,
    /// Those of them that came back in parts, beyond once.
    pub read_again_bytes: u64,
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
            uploaded_again_bytes: self.uploaded_again_bytes - earlier.uploaded_again_bytes,
            table_bytes: self.table_bytes - earlier.table_bytes,
            read_back_bytes: self.read_back_bytes - earlier.read_back_bytes,
            read_again_bytes: self.read_again_bytes - earlier.read_again_bytes,
            dispatches: self.dispatches - earlier.dispatches,
            submissions: self.submissions - earlier.submissions,
            allocations: self.allocations - earlier.allocations,
            peak_bytes: self.peak_bytes,
        }
    }

    /// What went up, samples and tables, over the least: every sample once. Vectors of an iteration count as samples.
    pub fn uploads_over_least(&self) -> f64 {
        let least = self.uploaded_bytes - self.uploaded_again_bytes;
        (self.uploaded_bytes + self.table_bytes) as f64 / least.max(1) as f64
    }

    /// What came back over the least: every sum once. Products of an iteration count as sums.
    pub fn readbacks_over_least(&self) -> f64 {
        self.read_back_bytes as f64 / (self.read_back_bytes - self.read_again_bytes).max(1) as f64
    }
}
