//! Samples on their way to the device.

use super::Gpu;
use super::device::{Buffer, DeviceError};
use std::ops::Range;

/// A stretch of all channels in a device buffer.
pub(super) struct Uploaded {
    /// Mapped memory that the copy comes from.
    pub(super) source: Buffer,
    /// Bytes to copy.
    pub(super) bytes: u64,
    /// Samples from one channel to the next; even, so that two 16-bit samples never share a word across channels.
    pub(super) stride: u32,
    /// 1: 16-bit integers, two a word; 0: f32.
    pub(super) packed: u32,
}

/// Bytes of the device buffer for so many samples of each channel, whatever their form.
pub(super) fn room(channels: usize, samples: usize) -> u64 {
    4 * (channels * samples.next_multiple_of(2)) as u64
}

/// Uploads samples `range` of every channel: as 16-bit integers where all of them are whole numbers that fit (raw codes
/// of a converter), as f32 otherwise. Codes of 24 bits are exact in f32 and take the same four bytes. The first `known` samples
/// of the channels had been on the device before.
pub(super) fn upload(
    gpu: &Gpu,
    channels: &[Vec<f32>],
    range: Range<usize>,
    known: &mut usize,
) -> Result<Uploaded, DeviceError> {
    let stride = range.len().next_multiple_of(2);
    let is_code = |y: &f32| y.trunc() == *y && (-32768.0..=32767.0).contains(y);
    let packed = channels.iter().all(|channel| channel[range.clone()].iter().all(is_code));
    let mut words: Vec<u32> = Vec::with_capacity(channels.len() * stride);
    for channel in channels {
        let samples = &channel[range.clone()];
        if packed {
            let code = |y: f32| u32::from(y as i16 as u16);
            words.extend(samples.chunks(2).map(|pair| code(pair[0]) | code(*pair.get(1).unwrap_or(&0.0)) << 16));
        } else {
            words.extend(samples.iter().map(|y| y.to_bits()));
            words.extend((samples.len()..stride).map(|_| 0));
        }
    }
    let source = gpu.device.upload("samples", &words)?;
    let fresh = channels.len() * (range.end - (*known).clamp(range.start, range.end));
    gpu.device.counters.input(if packed { 2 } else { 4 } * fresh);
    *known = range.end.max(*known);
    Ok(Uploaded { source, bytes: 4 * words.len() as u64, stride: stride as u32, packed: u32::from(packed) })
}
