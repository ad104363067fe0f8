//! What several test modules share.

/// Chromium.
pub(crate) mod browser;
/// Jobs of parity tests and benchmarks.
pub(crate) mod cases;
/// The lag products of a record, all blocks of it.
pub(crate) mod correlations;
/// A worker's view of the stores in which calls fail, hang, and processes die.
pub(crate) mod flaky;
/// The device of the tests, and what compares it with the CPU.
pub(crate) mod gpu;
/// The Cramér–Rao bounds of a chain's modes.
pub(crate) mod identifiable;
/// All six ports in memory, on tokio's clock, with a log of everything that took effect.
pub(crate) mod memory_stores;
/// Textbook forms.
pub(crate) mod naive;
/// What must be true after any history.
pub(crate) mod oracle;
/// Real servers that belong to one test.
pub(crate) mod own_servers;
/// What the platform does around a worker.
pub(crate) mod platform;
/// The change stream of a queue.
pub(crate) mod queue_watch;
/// Measured and simulated records outside the project.
pub(crate) mod real_data;
/// A way to an S3 store on which answers go wrong.
pub(crate) mod s3_proxy;
/// The real servers, each test with names of its own on them.
pub(crate) mod servers;
/// The shaders' CPU twins.
pub(crate) mod twins;
/// Slow ways, and ways that open late.
pub(crate) mod way;
