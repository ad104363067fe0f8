//! Backends: the heavy sums of FDD and SSI over a record, as accumulators.
//!
//! A method makes a plan, pushes every block of the record once and takes the sums: one hour and one month cost
//! the same memory. What goes in is f32 samples, what comes out is f64. The CPU backend is the definition.

pub mod cpu;

pub mod gpu;

pub mod select;

mod accumulate;

mod averages;

pub mod cost;

mod edges;

mod fallback;

mod hermitian;

mod leading;

mod spectral_sums;

pub use averages::{Averages, AwaySpectra};
pub use hermitian::Hermitian;

pub(crate) use spectral_sums::{SpectralSums, hann};

use crate::model::control::Cancelled;
use crate::model::record::{Block, Segment};
use nalgebra::DMatrix;
use std::ops::Range;

/// A plan that cannot be carried out, or a device that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ComputeError {
    /// No segment of the record is long enough.
    #[error("longest gap-free stretch of the record has {longest} samples, {setting} {value} needs at least {needed}")]
    TooShort {
        /// Samples of the longest segment.
        longest: u64,
        /// The setting that asks for more.
        setting: &'static str,
        /// Its value.
        value: usize,
        /// What it needs.
        needed: u64,
    },
    /// A device failed, and the caller did not go back to where [`Place`] asked it to.
    #[error("GPU: {0}")]
    Device(String),
    /// A decomposition did not converge.
    #[error(transparent)]
    NoConvergence(#[from] oma_linalg::NoConvergence),
    /// Stopped from outside.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A sample of the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of its segment.
    pub segment: usize,
    /// Its position in that segment.
    pub start: u64,
}

/// Welch's averaged cross-periodograms.
#[derive(Debug, Clone, PartialEq)]
pub struct WelchPlan {
    /// Rows of every block.
    pub channels: usize,
    /// Hz.
    pub sampling_rate_hz: f64,
    /// Samples of a segment, N.
    pub segment_length: usize,
    /// Samples from the start of a segment to the start of the next.
    pub hop: usize,
    /// Lines that are wanted, of 0 ..= N/2.
    pub lines: Range<usize>,
    /// Segments that there will be, where that is known: few ones may be kept as they are.
    pub segments: Option<usize>,
    /// The averages may stay on the device that sums them, see [`CrossSpectra::finish_in_place`].
    pub in_place: bool,
}

impl WelchPlan {
    /// Averages of every line and of any number of segments, at home in the end.
    pub fn new(channels: usize, sampling_rate_hz: f64, segment_length: usize, hop: usize) -> WelchPlan {
        let lines = 0..segment_length / 2 + 1;
        WelchPlan { channels, sampling_rate_hz, segment_length, hop, lines, segments: None, in_place: false }
    }

    /// Operations that the averages of so many samples a channel take: transforms of 2.5·N·log₂N for each channel, the lower
    /// triangle of products, 8 each.
    pub fn operations(&self, samples: u64) -> f64 {
        let (l, n, segments) = (self.channels as f64, self.segment_length as f64, samples as f64 / self.hop as f64);
        segments * (2.5 * n * n.log2() * l + 4.0 * l * (l + 1.0) * self.lines.len() as f64)
    }
}

/// One-sided cross-spectral density matrices G(f_k), k = 0..=N/2, f_k = k·fs/N, unit²/Hz.
///
/// G(f_k) = c_k / (fs Σw²) · mean over segments of Y Yᴴ, with Y the transform of the mean-removed, Hann-windowed
/// (periodic) segment and c_k = 2 except 1 at DC and Nyquist: scaling as `scipy.signal.csd(scaling="density")`.
#[derive(Debug, Clone, PartialEq)]
pub struct SpectralMatrices {
    /// Hz between lines.
    pub line_hz: f64,
    /// Segments that were averaged.
    pub segments: usize,
    /// Line of the first matrix.
    pub first_line: usize,
    /// One channels × channels matrix a line.
    pub matrices: Vec<Hermitian>,
}

impl SpectralMatrices {
    /// G of a line.
    ///
    /// # Panics
    /// If it is none of these.
    pub fn at(&self, line: usize) -> &Hermitian {
        &self.matrices[line - self.first_line]
    }
}

/// Accumulates [`SpectralMatrices`].
pub trait CrossSpectra: Send {
    /// Takes the next block of the record.
    fn push(&mut self, block: &Block);

    /// To be asked after every block, and once more after the last one (`at_end`): a place from which the record has to
    /// be pushed again, because a device failed and took with it what it had summed since; then it goes on on the CPU.
    fn rewind(&mut self, at_end: bool) -> Option<Place> {
        let _ = at_end;
        None
    }

    /// The averages.
    ///
    /// # Errors
    /// [`ComputeError::TooShort`] if no segment was complete.
    fn finish(self: Box<Self>) -> Result<SpectralMatrices, ComputeError>;

    /// The averages; on the device that summed them, if there is one, the plan allows it and all of the sums are still there:
    /// of a record of up to 4 096 segments.
    ///
    /// # Errors
    /// As [`CrossSpectra::finish`].
    fn finish_in_place(self: Box<Self>) -> Result<Averages, ComputeError> {
        Ok(Averages::Home(self.finish()?))
    }
}

/// Lagged products of every channel with the reference channels, kept by block of the record.
#[derive(Debug, Clone, PartialEq)]
pub struct LagPlan {
    /// Rows of every block.
    pub channels: usize,
    /// Rows that serve as reference, ascending.
    pub references: Vec<usize>,
    /// Lags 0 .. lags − 1 are wanted; SSI with `block_rows` b takes 2b.
    pub lags: usize,
    /// Blocks of equal length into which the valid samples are divided.
    pub blocks: usize,
    /// The record's gap-free stretches.
    pub segments: Vec<Segment>,
}

impl LagPlan {
    /// First reference sample of block `k`, counted over the valid samples of the record.
    pub(crate) fn block_start(&self, k: usize) -> u64 {
        let total: u64 = self.segments.iter().map(|s| s.samples).sum();
        // u128: a month at 10 kHz times 50 blocks still fits, but nobody should have to check.
        (u128::from(total) * k as u128 / self.blocks as u128) as u64
    }
}

/// Sums over one block of the record.
#[derive(Debug, Clone, PartialEq)]
pub struct LagBlock {
    /// Reference samples in the block.
    pub samples: u64,
    /// P_m = Σ_t y(t+m) y_ref(t)ᵀ for m = 0 .. lags − 1, channels × references, over the t in this block whose
    /// t + m is in the same segment of the record.
    pub products: Vec<DMatrix<f64>>,
}

/// First and last samples of one segment: what the exact block Hankel matrix leaves out of the full sums.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentEdges {
    /// Samples in the segment.
    pub samples: u64,
    /// Its first `lags` samples, channels × lags (fewer columns if it is shorter).
    pub head: DMatrix<f64>,
    /// Its last `lags` samples, channels × lags (fewer columns if it is shorter).
    pub tail: DMatrix<f64>,
}

/// All lagged products of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct LagProducts {
    /// The plan's reference rows.
    pub references: Vec<usize>,
    /// One entry a block of the record, in the order of time.
    pub blocks: Vec<LagBlock>,
    /// One entry a segment.
    pub edges: Vec<SegmentEdges>,
}

/// Accumulates [`LagProducts`].
pub trait LagAccumulator: Send {
    /// Takes the next block of the record.
    fn push(&mut self, block: &Block);

    /// To be asked after every block, and once more after the last one (`at_end`): a place from which the record has to
    /// be pushed again, because a device failed and took with it what it had summed since; then it goes on on the CPU.
    fn rewind(&mut self, at_end: bool) -> Option<Place> {
        let _ = at_end;
        None
    }

    /// The blocks of the record that are complete by now and were not taken before, in the order of time;
    /// [`LagAccumulator::finish`] gives what is left. Who takes none gets all of them there.
    fn take_blocks(&mut self) -> Vec<LagBlock> {
        Vec::new()
    }

    /// The sums.
    ///
    /// # Errors
    /// [`ComputeError`] if the device failed.
    fn finish(self: Box<Self>) -> Result<LagProducts, ComputeError>;
}

/// Something that computes; all of them compute the same.
pub trait Backend: Send + Sync {
    /// `cpu` or `gpu`, for the provenance.
    fn name(&self) -> &'static str;

    /// Starts Welch averages.
    fn cross_spectra(&self, plan: &WelchPlan) -> Box<dyn CrossSpectra>;

    /// Starts lagged products.
    fn lag_products(&self, plan: &LagPlan) -> Box<dyn LagAccumulator>;

    /// What sums in f64 throughout, for `what` divides by the sums and so enlarges their errors; `None`: this backend does.
    fn in_f64(&self, what: &str) -> Option<&dyn Backend> {
        let _ = what;
        None
    }
}

/// Numbers that look like noise, the same everywhere; for measurements and self-tests.
fn noise(channels: usize, samples: usize) -> Block {
    let mut block = Block::default();
    block.reset(0, 0, channels, samples);
    let mut state = 1_u32;
    for value in &mut block.data {
        // Numerical Recipes' linear congruence.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
    }
    block
}
