//! How a computation is watched, stopped and bounded.

use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The run was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// A computation would take more memory than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} need {needed_mib} MiB, OMA_MEMORY_LIMIT_MIB is {limit_mib}: {remedy}")]
pub struct MemoryExceeded {
    /// What would take it.
    what: String,
    needed_mib: u64,
    limit_mib: u64,
    /// What to do about it.
    remedy: &'static str,
}

/// Receives the stage (`ingest`, `spectra`, `lag products`, `poles`, …) and the part of it that is done, 0 to 1.
pub type ProgressFn = dyn Fn(&str, f64) + Send + Sync;

/// The token, the progress and the limit of one run; clones share them.
#[derive(Clone)]
pub struct Control {
    token: CancellationToken,
    progress: Arc<ProgressFn>,
    memory_limit_mib: Option<u64>,
}

impl Control {
    /// A control that `token` stops and `progress` watches.
    pub fn new(token: CancellationToken, progress: Arc<ProgressFn>) -> Control {
        Control { token, progress, memory_limit_mib: None }
    }

    /// The same with a limit for what is planned by [`Control::plan_memory`].
    pub fn with_memory_limit(self, mib: Option<u64>) -> Control {
        Control { memory_limit_mib: mib, ..self }
    }

    /// A control that nobody stops or watches.
    pub fn none() -> Control {
        Control::new(CancellationToken::new(), Arc::new(|_, _| {}))
    }

    /// The token.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// To be called at least every 100 ms of work.
    ///
    /// # Errors
    /// [`Cancelled`] once the token is cancelled.
    pub fn checkpoint(&self) -> Result<(), Cancelled> {
        if self.token.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// To be called before memory is taken that grows with more than one of channels, lines, lags and rows:
    /// `factors` of bytes in all.
    ///
    /// # Errors
    /// [`MemoryExceeded`] if that is above the limit.
    pub fn plan_memory(
        &self,
        what: impl FnOnce() -> String,
        factors: &[usize],
        remedy: &'static str,
    ) -> Result<(), MemoryExceeded> {
        let Some(limit_mib) = self.memory_limit_mib else { return Ok(()) };
        match product(factors).div_ceil(1 << 20) {
            needed_mib if needed_mib > limit_mib => Err(MemoryExceeded { what: what(), needed_mib, limit_mib, remedy }),
            _ => Ok(()),
        }
    }

    /// How many of `count` equal parts, `factors` of bytes each, may be in memory at a time: all of them, if there is no
    /// limit.
    ///
    /// # Errors
    /// [`MemoryExceeded`] if the limit does not hold `least` of them.
    pub fn parts_in_memory(
        &self,
        what: impl FnOnce() -> String,
        factors: &[usize],
        (least, count): (usize, usize),
        remedy: &'static str,
    ) -> Result<usize, MemoryExceeded> {
        let least = least.min(count);
        self.plan_memory(what, &[factors, &[least]].concat(), remedy)?;
        let Some(limit_mib) = self.memory_limit_mib else { return Ok(count) };
        let parts = limit_mib.saturating_mul(1 << 20) / product(factors).max(1);
        Ok(usize::try_from(parts).unwrap_or(usize::MAX).clamp(least, count))
    }

    /// Says how far a stage is.
    pub fn progress(&self, stage: &str, fraction: f64) {
        (self.progress)(stage, fraction);
    }
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product, factor| product.saturating_mul(*factor as u64))
}
