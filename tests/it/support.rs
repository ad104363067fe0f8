//! What several test modules share.

pub mod identifiable;
pub mod naive;
pub mod real_data;
