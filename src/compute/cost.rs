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
