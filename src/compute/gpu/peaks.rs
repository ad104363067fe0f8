//! What an adapter can copy, and multiply and add, at most: two kernels that do nothing else, timed by the clock on the wall.

use super::Gpu;
use super::device::{Buffer, DeviceError, Use};
use super::kernels::Commands;
use super::layout::PeakParams;
use std::time::Instant;

/// What an adapter was measured to do at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Bytes a second read and written by a kernel that copies.
    pub copy_bytes: f64,
    /// Operations a second in f32 multiply-adds, two each.
    pub flops: f64,
}

/// Bytes that are copied: more than the caches of a GPU hold (H100: 50 MiB).
const COPIED: u64 = 64 << 20;

/// Threads that multiply, 64 for each of 8 192 units; steps of each, enough that the chains have come to rest.
const THREADS: usize = 1 << 19;
/// See [`THREADS`].
const STEPS: u32 = 160;

/// Chains of a thread: eight vectors of four.
const CHAINS: usize = 32;

/// Dispatches of one measurement are doubled until it takes so many seconds, a hundred times a submission's latency and far
/// below the watchdogs of desktops, or there are so many.
const LONG_ENOUGH: f64 = 0.02;
/// See [`LONG_ENOUGH`].
const MOST_DISPATCHES: usize = 256;

/// Measures both.
pub(super) fn measure(gpu: &Gpu) -> Result<Peaks, DeviceError> {
    let bytes = COPIED.min(gpu.device.largest_buffer());
    let from = gpu.device.buffer(Use::Storage, "copies", bytes)?;
    let to = gpu.device.buffer(Use::Storage, "copies", bytes)?;
    let copied = PeakParams { numbers: (bytes / 16) as u32, ..PeakParams::default() };
    let copy_s = seconds(gpu, [&from, &to], copied, true)?;
    let threads = THREADS.min((bytes / 16) as usize);
    let multiplied = PeakParams { numbers: threads as u32, steps: STEPS, ..PeakParams::default() };
    let multiply_s = seconds(gpu, [&from, &to], multiplied, false)?;
    let sums = {
        let back = gpu.device.buffer(Use::Readback, "sums", 16)?;
        let mut commands = Commands::new(gpu);
        commands.copy(&to, &back, 16);
        let (ticket, _held) = commands.submit()?;
        gpu.device.wait(&ticket)?;
        gpu.device.read(&back, 4)?
    };
    // Eight chains that have come to rest at two.
    if sums != [16.0; 4] {
        return Err(DeviceError::WrongAnswer(format!("peak_rates gave {sums:?} instead of 16")));
    }
    let operations = 2.0 * (threads * CHAINS) as f64 * f64::from(STEPS);
    Ok(Peaks { copy_bytes: 2.0 * bytes as f64 / copy_s, flops: operations / multiply_s })
}

/// Seconds of one dispatch.
fn seconds(gpu: &Gpu, buffers: [&Buffer; 2], params: PeakParams, is_copy: bool) -> Result<f64, DeviceError> {
    let run = |dispatches: usize| -> Result<f64, DeviceError> {
        let mut commands = Commands::new(gpu);
        for _ in 0..dispatches {
            commands.peak_rates(buffers, params, is_copy)?;
        }
        let start = Instant::now();
        let (ticket, _held) = commands.submit()?;
        gpu.device.wait(&ticket)?;
        Ok(start.elapsed().as_secs_f64())
    };
    // The first run compiles.
    run(1)?;
    let mut dispatches = 1;
    loop {
        let elapsed = run(dispatches)?;
        if elapsed >= LONG_ENOUGH || dispatches == MOST_DISPATCHES {
            return Ok(elapsed / dispatches as f64);
        }
        dispatches *= 2;
    }
}
