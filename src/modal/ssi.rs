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
use super::displacement::Windows;
use super::hankel::{self, Weights};
use super::lq;
use super::poles::Observability;
use crate::compute::{Backend, LagPlan, LagProducts};
use crate::model::control::Control;
use crate::model::parameters::{Drive, Weighting};
use crate::model::record::Record;
use nalgebra::DMatrix;
use oma_linalg::{NoConvergence, Svd};

/// Relative residual to which the leading singular triplets are computed: neighbours that are 1e-5 of s₁ apart still
/// have vectors, and so poles, to 1e-7. The last steps gain three digits each, a looser limit saves none.
const SVD_TOLERANCE: f64 = 1e-12;

/// Bytes that each lag product takes: itself and as correlation, f64; each sample at both ends of a segment, too.
const BYTES: usize = 16;

/// The lag products of a record, for `lags` lags, kept in `blocks` blocks.
///
/// # Errors
/// [`ModalError`] if they would take too much memory, the record cannot be read or the run is stopped.
pub fn lag_products(
    record: &dyn Record,
    references: &[usize],
    lags: usize,
    blocks: usize,
    backend: &dyn Backend,
    control: &Control,
) -> Result<LagProducts, ModalError> {
    let info = record.info();
    control.plan_memory(
        || format!("correlations of {} channels with {} at {lags} lags", info.channels.len(), references.len()),
        &[
            lags,
            info.channels.len(),
            references.len().saturating_mul(blocks).saturating_add(info.segments.len()),
            BYTES,
        ],
        "lower block_rows or blocks or choose fewer channels",
    )?;
    let plan = LagPlan {
        channels: info.channels.len(),
        references: references.to_vec(),
        lags,
        blocks,
        segments: info.segments.clone(),
    };
    let mut sums = backend.lag_products(&plan);
    super::sum_blocks(record, "lag products", control, |block| {
        block.into_iter().for_each(|block| sums.push(block));
        sums.rewind(block.is_none())
    })?;
    Ok(sums.finish()?)
}

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
    /// the error of H. `None` if the products are kept in one block.
    pub half_difference: Option<DMatrix<f64>>,
    /// The weights.
    pub weights: Weights,
}

impl Subspace {
    /// Forms H from the lag products; where they say too little for SSI-data, from the record itself.
    ///
    /// # Errors
    /// [`ModalError`] if the record is shorter than 2·block_rows or its covariance cannot be inverted.
    pub fn new(
        products: &LagProducts,
        block_rows: usize,
        (drive, weighting): (Drive, Weighting),
        record: &dyn Record,
        control: &Control,
    ) -> Result<Subspace, ModalError> {
        let windows = Windows::new(products, block_rows)?;
        let correlations = hankel::record_correlations(products);
        let weights = match drive {
            Drive::Covariance => Some(Weights::new(weighting, &correlations, &products.references, block_rows)?),
            Drive::Data => Weights::exact(weighting, &windows)?,
        };
        let (weights, h) = match weights {
            Some(weights) => {
                let h = weights.apply(windows.hankel());
                (weights, h)
            }
            None => {
                let triangle = lq::lower_triangle(record, &products.references, block_rows, control)?;
                Weights::of_triangle(weighting, &triangle, block_rows * products.references.len())?
            }
        };
        let half = |parity: usize| hankel::mean_correlations(products.blocks.iter().skip(parity).step_by(2));
        let half_difference = (products.blocks.len() > 1).then(|| {
            let difference: Vec<_> = half(0).iter().zip(half(1)).map(|(even, odd)| (even - odd) * 0.5).collect();
            weights.apply(hankel::block_hankel(&difference, block_rows))
        });
        Ok(Subspace {
            block_rows,
            channels: correlations[0].nrows(),
            references: products.references.clone(),
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
        let square = self.references.iter().copied().eq(0..self.channels);
        Observability::new(self.weights.remove_left(o), self.channels, g, square)
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
