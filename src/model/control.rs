//! How a computation is watched and stopped.

use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The run was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Receives the stage (`ingest`, `spectra`, `lag products`, `poles`, …) and the part of it that is done, 0 to 1.
pub type ProgressFn = dyn Fn(&str, f64) + Send + Sync;

/// The token and the progress of one run; clones share both.
#[derive(Clone)]
pub struct Control {
    token: CancellationToken,
    progress: Arc<ProgressFn>,
}

impl Control {
    /// A control that `token` stops and `progress` watches.
    pub fn new(token: CancellationToken, progress: Arc<ProgressFn>) -> Control {
        Control { token, progress }
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

    /// Says how far a stage is.
    pub fn progress(&self, stage: &str, fraction: f64) {
        (self.progress)(stage, fraction);
    }
}
