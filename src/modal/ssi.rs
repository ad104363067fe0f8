//! Stochastic subspace identification on one sampling rate: lag products → weighted block Hankel matrix → leading
//! singular triplets → model order → poles and their standard deviations.
//!
//! Driven by covariances the weights come from the record's correlations; driven by data they come from the exact
//! products of the data matrix, and with `upc` the decomposed matrix is the projection of the future on the past. Both
//! take the same lag products, so that neither holds the data matrix; only where its covariances are nearly singular is
//! it read again and decomposed column by column ([`lq`]).
//!
//! # Source
//! Van Overschee & De Moor (1996); Peeters & De Roeck (1999); order from the halves: see [`signal_rank`].

use super::ModalError;
use super::correlations::Correlations;
use super::displacement::Windows;
use super::hankel::{self, Weights};
use super::lq;
use super::poles::Observability;
use crate::model::control::Control;
use crate::model::parameters::{Drive, Weighting};
use crate::model::record::Record;
use nalgebra::DMatrix;
use oma_linalg::{NoConvergence, Svd};

/// Relative residual to which the leading singular triplets are computed: neighbours that are 1e-5 of s₁ apart still
/// have vectors, and so poles, to 1e-7. The last steps gain three digits each, a looser limit saves none.
const SVD_TOLERANCE: f64 = 1e-12;

/// The weighted block Hankel matrix of a record and its error.
#[derive(Debug, Clone)]
pub struct Subspace {
    /// Block rows.
    pub block_rows: usize,
    /// Channels.
    pub channels: usize,
    /// Channels that serve as reference.
    pub references: Vec<usize>,
    /// H, weighted.
    pub h: DMatrix<f64>,
    /// Half the difference of the H of even and of odd blocks of the record, weighted: it has the covariance of
    /// the error of H. `None` of a record in one block.
    pub half_difference: Option<DMatrix<f64>>,
    /// The weights.
    pub weights: Weights,
}

impl Subspace {
    /// Forms H from the correlations; where they say too little for SSI-data, from the record itself.
    ///
    /// # Errors
    /// [`ModalError`] if the record is shorter than 2·block_rows or its covariance cannot be inverted.
    pub fn new(
        correlations: &Correlations<'_>,
        block_rows: usize,
        (drive, weighting): (Drive, Weighting),
        record: &dyn Record,
        control: &Control,
    ) -> Result<Subspace, ModalError> {
        let windows = Windows::new(correlations, block_rows)?;
        let references = &correlations.references;
        let weights = match drive {
            Drive::Covariance => Some(Weights::new(weighting, &correlations.of_record(), references, block_rows)?),
            Drive::Data => Weights::exact(weighting, &windows)?,
        };
        let (weights, h) = match weights {
            Some(weights) => {
                let h = weights.apply(windows.hankel());
                (weights, h)
            }
            None => {
                let triangle = lq::lower_triangle(record, references, block_rows, control)?;
                Weights::of_triangle(weighting, &triangle, block_rows * references.len())?
            }
        };
        let half_difference = correlations.half_difference();
        let half_difference =
            half_difference.map(|difference| weights.apply(hankel::block_hankel(&difference, block_rows)));
        Ok(Subspace {
            block_rows,
            channels: correlations.shape().0,
            references: references.clone(),
            h,
            half_difference,
            weights,
        })
    }

    /// The largest order that O_up can carry: all of its columns independent.
    pub fn order_limit(&self) -> usize {
        ((self.block_rows - 1) * self.channels).min(self.h.ncols())
    }

    /// Leading `rank` singular triplets of H.
    ///
    /// # Errors
    /// [`ModalError::NoConvergence`].
    pub fn decompose(&self, rank: usize) -> Result<Svd, ModalError> {
        Ok(oma_linalg::leading_svd(&self.h, rank, SVD_TOLERANCE)?)
    }

    /// O = W₁^(−1) U_n S_n^(1/2) and G, decomposed for all orders up to `order`.
    pub fn observability(&self, svd: &Svd, order: usize) -> Observability {
        let mut o = svd.u.columns(0, order).into_owned();
        for (mut column, s) in o.column_iter_mut().zip(svd.s.iter()) {
            column *= s.sqrt();
        }
        // G: the first block column of the controllability matrix S^(1/2) Vᵀ W₂^(−1).
        let r = self.references.len();
        let mut g = self.weights.remove_right(&svd.v.view((0, 0), (r, order)).into_owned()).transpose();
        for (mut row, s) in g.row_iter_mut().zip(svd.s.iter()) {
            row *= s.sqrt();
        }
        Observability::new(self.weights.remove_left(o), self.channels, g, Some(self.references.clone()))
    }
}

/// A singular value of H belongs to the structure if it exceeds that of the half-difference this many times: the
/// ratio falls from above 7 to 0.9 .. 1.1 within one index (automation §1.2).
const SIGNAL_RATIO: f64 = 1.5;

/// Rank of the signal in H: how many of its singular values stand above those of the half-difference of even and
/// odd blocks, sorted against sorted. No threshold on the noise is needed. Of products in one block all of H counts.
///
/// # Errors
/// [`ModalError::NoConvergence`].
pub fn signal_rank(subspace: &Subspace) -> Result<usize, ModalError> {
    /// Up to this size all singular values are computed, in less than half a second.
    const FULL_UP_TO: usize = 800;
    let smaller = subspace.h.nrows().min(subspace.h.ncols());
    if smaller <= FULL_UP_TO {
        return above_error(subspace, oma_linalg::singular_values);
    }
    let mut rank = 128;
    loop {
        let above = above_error(subspace, |matrix| oma_linalg::leading_singular_values(matrix, rank))?;
        if above < rank || rank >= smaller {
            return Ok(above);
        }
        rank = (2 * rank).min(smaller);
    }
}

/// How many singular values of the signal stand above those of its error.
fn above_error(
    subspace: &Subspace,
    values: impl Fn(&DMatrix<f64>) -> Result<Vec<f64>, NoConvergence> + Sync,
) -> Result<usize, ModalError> {
    let Some(half_difference) = &subspace.half_difference else {
        return Ok(subspace.h.nrows().min(subspace.h.ncols()));
    };
    let (signal, error) = rayon::join(|| values(&subspace.h), || values(half_difference));
    Ok(signal?.iter().zip(error?).take_while(|(s, e)| **s > SIGNAL_RATIO * *e).count())
}
