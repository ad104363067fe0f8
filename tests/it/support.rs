//! What several test modules share.

pub mod identifiable;
pub mod naive;
pub mod real_data;

/// A worker's view of the stores in which calls fail, hang, and processes die.
pub(crate) mod flaky;
/// All six ports in memory, on tokio's clock, with a log of everything that took effect.
pub(crate) mod memory_stores;
/// What must be true after any history.
pub(crate) mod oracle;
