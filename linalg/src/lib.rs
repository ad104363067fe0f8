//! Decompositions.
