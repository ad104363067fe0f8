//! Which of two ways costs less.
//!
//! `cargo bench --bench methods -- crossover` measures both sides of each choice: a rule is wrong where the side that it takes
//! is the slower one. Those of the decompositions stand in `linalg/src/cost.rs`.

/// Whether so many segments are kept as they are, channels × segments at every line, instead of their sum over the segments,
/// channels × channels: below half as many segments as channels they take less memory than the half of the sum that is kept,
/// and their leading pairs, of a matrix of segments × segments, less time.
pub fn keeps_segments(segments: usize, channels: usize) -> bool {
    2 * segments < channels
}

/// Whether less crosses the bus when the spectral matrices of so many channels stay on the device that summed them.
///
/// A matrix is 4 n (n + 1) bytes, a product with a vector 16 n. A method asks for one pair of every line and for three, 7 and 21
/// products where there is structure and up to 64 each where there is none, for a few forms, and for the matrices around the
/// peaks (`tests/it/pairs.rs` counts them): at 256 channels a third of the matrices comes home, and half of their bytes cross in
/// both directions together; with half of the channels nothing would be saved.
pub fn stays_on_device(channels: usize) -> bool {
    channels >= 256
}
