//! The integration tests: one binary, a module a subject.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

/// Each promise of each port, against every implementation.
mod contract;
/// One fault at a time: shutdown, panics, standstill, poison.
mod faults;
/// Two real worker processes, kill -9 at random moments.
mod processes;
/// The write protocol under every fault that there is, on a paused clock.
mod protocol;

mod support {
    /// A worker's view of the stores in which calls fail, hang, and processes die.
    pub(crate) mod flaky;
    /// All six ports in memory, on tokio's clock, with a log of everything that took effect.
    pub(crate) mod memory_stores;
    /// What must be true after any history.
    pub(crate) mod oracle;
}
