//! How far a computation is: shown on the analysis, and watched for standing still.

use crate::model::control::ProgressFn;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// The progress of one computation; clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    now: Arc<Mutex<(String, f64)>>,
    moved: Arc<watch::Sender<Instant>>,
}

impl Progress {
    /// Starts now.
    pub(crate) fn new() -> Progress {
        Progress { now: Arc::default(), moved: Arc::new(watch::Sender::new(Instant::now())) }
    }

    /// What the computation reports to. Saying the same again is no progress.
    pub(crate) fn reporter(&self) -> Arc<ProgressFn> {
        let this = self.clone();
        Arc::new(move |stage, fraction| {
            let mut now = this.now.lock().unwrap_or_else(PoisonError::into_inner);
            if now.0 != stage || now.1.to_bits() != fraction.to_bits() {
                *now = (stage.to_owned(), fraction);
                this.moved.send_replace(Instant::now());
            }
        })
    }

    /// Stage and the part of it that is done.
    pub(crate) fn current(&self) -> (String, f64) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When it moved last.
    pub(crate) fn moved_at(&self) -> Instant {
        *self.moved.borrow()
    }
}
