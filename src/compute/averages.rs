//! What is asked of spectral matrices: of those at home line by line, of those on a device for all lines at once.

use super::{ComputeError, SpectralMatrices};
use crate::model::control::Control;
use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::Pairs;
use std::ops::Range;

type C64 = Complex<f64>;

/// Averages where they are.
pub enum Averages {
    /// In this process' memory.
    Home(SpectralMatrices),
    /// On the device that summed them.
    Away(Box<dyn AwaySpectra>),
}

/// Spectral matrices that stay on the device that summed them: what is asked of them comes home, they do not.
///
/// What comes home agrees with that of the matrices on the CPU as they do: values to 5e-6 of the line's largest eigenvalue,
/// the rest to 1e-6 √(G_ii G_jj).
///
/// # Errors
/// All of its functions end with [`ComputeError::Device`] if the device fails. The matrices are lost then; the backend sums
/// on the CPU from there on.
pub trait AwaySpectra: Send + Sync {
    /// Lines of which there are matrices.
    fn lines(&self) -> Range<usize>;

    /// The matrices of some of the lines.
    ///
    /// # Errors
    /// See [`AwaySpectra`].
    fn matrices(&self, lines: Range<usize>) -> Result<SpectralMatrices, ComputeError>;

    /// G_ii of every channel, one vector a line.
    ///
    /// # Errors
    /// See [`AwaySpectra`].
    fn autospectra(&self) -> Result<Vec<DVector<f64>>, ComputeError>;

    /// [`Hermitian::leading`](super::Hermitian::leading) of every line.
    ///
    /// # Errors
    /// See [`AwaySpectra`]; [`ComputeError::NoConvergence`], [`ComputeError::Cancelled`].
    fn leading(&self, count: usize, scale: Option<&[f64]>, control: &Control) -> Result<Vec<Pairs>, ComputeError>;

    /// [`Hermitian::quadratic_form`](super::Hermitian::quadratic_form) of every line and each of the vectors, `[line][vector]`.
    ///
    /// # Errors
    /// See [`AwaySpectra`]; [`ComputeError::Cancelled`].
    fn forms(&self, vectors: &[DVector<C64>], control: &Control) -> Result<Vec<Vec<f64>>, ComputeError>;

    /// Σ Re G over some of the lines.
    ///
    /// # Errors
    /// See [`AwaySpectra`].
    fn total(&self, lines: Range<usize>) -> Result<DMatrix<f64>, ComputeError>;
}
