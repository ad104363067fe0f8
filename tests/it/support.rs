//! What several test modules share.

pub mod naive;
pub mod real_data;
