//! Times of kernels on the device's own clock, where it has one and somebody wants to know.
//!
//! While it runs every submission is waited for, so that it is off but for benchmarks and where the log tells the smallest
//! things (`--verbose`). What drivers get wrong, passes that end before they begin or take no time, counts as not measured.

use super::device::{Device, DeviceError, Ticket};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Passes of one submission that are timed.
const PASSES: u32 = 256;

/// Passes of a kernel, and the seconds of all of them.
pub type Times = BTreeMap<&'static str, (u64, f64)>;

/// The sums of a device.
#[derive(Debug, Default)]
pub(super) struct Clock {
    is_on: AtomicBool,
    times: Mutex<Times>,
}

impl Clock {
    /// What is needed of the device.
    pub(super) const FEATURE: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY;

    pub(super) fn switch(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(super) fn so_far(&self) -> Times {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, kernel: &'static str, seconds: f64) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let (passes, sum) = times.entry(kernel).or_default();
        *passes += 1;
        *sum += seconds;
    }
}

/// The marks of one submission.
pub(super) struct Stamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    kernels: Vec<&'static str>,
}

impl Stamps {
    pub(super) fn new(device: &wgpu::Device) -> Stamps {
        let (label, count) = (Some("times"), 2 * PASSES);
        Stamps {
            set: device.create_query_set(&wgpu::QuerySetDescriptor { label, ty: wgpu::QueryType::Timestamp, count }),
            resolved: device.create_buffer(&wgpu::BufferDescriptor {
                label,
                size: 8 * u64::from(count),
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            kernels: Vec::new(),
        }
    }

    /// The marks of the next pass, while there is room.
    pub(super) fn next(&mut self, kernel: &'static str) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let at = 2 * self.kernels.len() as u32;
        (at < 2 * PASSES).then(|| {
            self.kernels.push(kernel);
            wgpu::ComputePassTimestampWrites {
                query_set: &self.set,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            }
        })
    }

    /// Submits the commands whose passes were marked, and adds up what they took.
    pub(super) fn submit(self, device: &Device, mut encoder: wgpu::CommandEncoder) -> Result<Ticket, DeviceError> {
        let numbers = 2 * self.kernels.len();
        let back = device.readback("times", 8 * numbers as u64)?;
        if numbers > 0 {
            encoder.resolve_query_set(&self.set, 0..numbers as u32, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, back.raw(), 0, 8 * numbers as u64);
        }
        let ticket = device.submit(encoder)?;
        device.wait(&ticket)?;
        if numbers > 0 {
            let marks: Vec<u64> = bytemuck::pod_collect_to_vec(&device.read(&back, 2 * numbers)?);
            for (kernel, marks) in self.kernels.into_iter().zip(marks.chunks_exact(2)) {
                if let Some(ticks) = marks[1].checked_sub(marks[0]).filter(|ticks| *ticks > 0) {
                    device.clock.add(kernel, ticks as f64 * device.tick_s());
                }
            }
        }
        Ok(ticket)
    }
}
