//! Faults on purpose, so that tests can see what a run makes of them.

use std::sync::Mutex;
use std::sync::PoisonError;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device is destroyed just before a submission.
    LoseDevice,
    /// A buffer is refused.
    RefuseAllocation,
    /// A wait ends without an answer.
    Hang,
}

/// The fault that is armed, and how many of its occasions go by before it strikes.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Option<(Fault, u64)>>);

impl Faults {
    pub(super) fn arm(&self, fault: Fault, after: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((fault, after));
    }

    pub(super) fn strikes(&self, occasion: Fault) -> bool {
        let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *armed {
            Some((fault, 0)) if *fault == occasion => {
                *armed = None;
                true
            }
            Some((fault, left)) if *fault == occasion => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }
}
