//! From blocks of samples to modes: pure, synchronous mathematics over a [`Backend`](crate::compute::Backend).
//!
//! [`spectrum`] and [`fdd`] are the frequency domain; [`hankel`] → [`ssi`] → [`poles`] → [`uncertainty`] →
//! [`selection`] → [`automatic`] the subspace method; [`indicators`] and [`clustering`] serve both.

pub mod indicators;

pub mod spectrum;

pub mod fdd;

pub mod hankel;

pub mod ssi;

pub mod poles;

pub mod uncertainty;

pub mod clustering;

pub mod selection;

pub mod automatic;

use crate::compute::ComputeError;
use crate::model::control::Cancelled;
use crate::model::record::ReadError;

/// Why a method gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModalError {
    /// Stopped from outside.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The record could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The sums could not be formed.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// A setting and the record do not fit.
    #[error("{0}")]
    Setting(String),
    /// The record itself forbids an answer.
    #[error("{0}")]
    Data(String),
    /// A decomposition did not converge.
    #[error(transparent)]
    NoConvergence(#[from] oma_linalg::NoConvergence),
}
