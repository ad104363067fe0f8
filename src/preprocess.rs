//! preprocess

pub mod design;

mod zero_phase;

pub mod decimate;
