//! Poly-reference least squares complex frequency (pLSCF) on the half spectrum: poles of every order from one build.
//!
//! The half spectrum S⁺(z) = R₀/2 + Σ_{m≥1} R_m z^(−m), channels × references, holds the positive lags alone and so every
//! mode once, with the poles of the structure. It is fitted by the right matrix fraction B(z) A(z)^(−1), A = Σ α_i zⁱ,
//! B = Σ β_i zⁱ, i = 0 .. n, in the least squares of S⁺ A − B. With lines over the whole circle Parseval's theorem turns
//! the sums over lines into sums over lags: B takes the powers z⁰ .. zⁿ whole, and what is left is the powers z^(−p),
//!
//! Σ_p w_p² ‖Σ_i R_{p+i} α_i‖² = αᵀ M α,  M_ij = Σ_p w_p² R_{p+i}ᵀ R_{p+j},  p = 1 .. P.
//!
//! So the reduced normal equations of order n are the leading block of those of the highest order; R₀, where sensor
//! noise is, has no part in them; and a lag is used only where all of its equation was measured, so that no lag window
//! has to be taken off the damping again. The weights w_p = 0.01^(p/P) let the lags count less in which the modes have
//! died away; they are weights of equations, and do not shift poles.
//!
//! α₀ = I: poles of the noise then lie outside the unit circle, without positive damping, and the diagram is clear.
//!
//! # Source
//! Peeters, Van der Auweraer, Guillaume & Leuridan (2004); Cauberghe (2004) for the constraint; half spectra:
//! Peeters & Van der Auweraer (2005). Standard deviations: first-order perturbation as in
//! [`uncertainty`](super::uncertainty), by blocks of the record.

use super::correlations::Correlations;
use super::poles::{Deviation, Order, Pole, lambda};
use super::quantities::Common;
use super::{ModalError, correlations};
use crate::compute::LagBlock;
use crate::model::control::Control;
use nalgebra::{Complex, DMatrix, DVector};
use rayon::prelude::*;
use std::f64::consts::PI;

type C64 = Complex<f64>;

/// Weight of the last lag against the first, as the usual exponential window of a correlogram (pyOMA2 `cor`).
const LAST_WEIGHT: f64 = 0.01;

/// Rows of the stacked correlations that are multiplied at a time: memory stays at some MiB.
const CHUNK: usize = 4096;

/// The reduced normal equations of the highest order, and those of every block's difference.
#[derive(Debug, Clone)]
pub struct NormalEquations {
    references: usize,
    /// R_0, R_1, … of the record, every channel and reference scaled to unit variance.
    correlations: Vec<DMatrix<f64>>,
    /// Standard deviations of the channels, which the shapes take back.
    scale: DVector<f64>,
    m: DMatrix<f64>,
    /// First-order change of M in the direction of each block: the sum of squares of a derivative is a variance.
    changes: Vec<DMatrix<f64>>,
    /// What the shapes of poles are brought to one quantity with; nothing by rule.
    pub common: Common,
}

impl NormalEquations {
    /// Forms M for orders up to `order_max`, from lags 1 to the last; `deviations`: also the blocks' changes.
    ///
    /// # Errors
    /// [`ModalError::Setting`] if there are not more equations than unknowns; [`ModalError::Data`] if a channel has no
    /// variance; [`ModalError::Cancelled`].
    pub fn new(
        of: &Correlations<'_>,
        order_max: usize,
        deviations: bool,
        control: &Control,
    ) -> Result<NormalEquations, ModalError> {
        let mut correlations = of.of_record();
        let (channels, references) = correlations[0].shape();
        let lags = correlations.len();
        if lags <= order_max + 1 || (lags - 1 - order_max) * channels < order_max * references {
            return Err(ModalError::Setting(format!(
                "order_max {order_max} with {references} references and {channels} channels needs more than {} lags, \
                 segment_length gives {lags}",
                order_max + (order_max * references).div_ceil(channels)
            )));
        }
        let own = of.references.iter().enumerate();
        let mut scale = DVector::from_element(channels, 1.0);
        for (column, &row) in own {
            scale[row] = correlations[0][(row, column)].sqrt();
        }
        // A channel that is no reference has no R₀ of its own here; its largest correlation serves.
        for row in (0..channels).filter(|row| !of.references.contains(row)) {
            let largest =
                |(column, &reference): (usize, &usize)| correlations[0][(row, column)].abs() / scale[reference];
            scale[row] = of.references.iter().enumerate().map(largest).fold(0.0, f64::max);
        }
        if let Some(row) = (0..channels).find(|&row| !(scale[row] > 0.0 && scale[row].is_finite())) {
            return Err(ModalError::Data(format!("channel {} has no correlation with the references", row + 1)));
        }
        let to_unit = |list: &mut Vec<DMatrix<f64>>| {
            for r in list {
                *r = DMatrix::from_fn(channels, references, |i, j| r[(i, j)] / (scale[i] * scale[of.references[j]]));
            }
        };
        to_unit(&mut correlations);
        let m = gram(&correlations, &correlations, order_max, control)?;
        let mut changes = Vec::new();
        if deviations {
            let mut mean = of.mean();
            to_unit(&mut mean);
            let count = of.blocks as f64;
            let root = (count * (count - 1.0)).sqrt();
            let mut change = |block: &LagBlock| -> Result<(), ModalError> {
                let mut block = correlations::of_block(block).collect();
                to_unit(&mut block);
                let difference: Vec<_> = block.iter().zip(&mean).map(|(r, mean)| (r - mean) / root).collect();
                let half = gram(&correlations, &difference, order_max, control)?;
                changes.push(&half + half.transpose());
                control.progress("poles", 0.5 * changes.len() as f64 / count);
                Ok(())
            };
            of.for_each_handful(|handful| handful.iter().try_for_each(&mut change))?;
        }
        Ok(NormalEquations { references, correlations, scale, m, changes, common: Common::default() })
    }

    /// The poles of one order, ascending in frequency; deviations where blocks were kept.
    ///
    /// # Errors
    /// [`ModalError::Data`] if the normal equations are singular; [`ModalError::NoConvergence`].
    pub fn order(&self, order: usize, sampling_rate_hz: f64) -> Result<Order, ModalError> {
        let r = self.references;
        let (free, size) = (order * r, (order + 1) * r);
        let block = |m: &DMatrix<f64>| m.view((r, r), (free, free)).into_owned();
        let factor = oma_linalg::cholesky(&block(&self.m)).map_err(|_| {
            ModalError::Data(format!(
                "normal equations of order {order} are singular: {r} references depend on each other, or order_max is \
                 too high"
            ))
        })?;
        let solve =
            |b: &DMatrix<f64>| oma_linalg::divide_upper(&factor.transpose(), &oma_linalg::divide_lower(&factor, b));
        let alpha = -solve(&self.m.view((r, 0), (free, r)).into_owned());
        let mut whole = DMatrix::identity(size, r);
        whole.rows_mut(r, free).copy_from(&alpha);
        let changes: Vec<DMatrix<f64>> = self
            .changes
            .iter()
            .map(|change| {
                let residual = change.view((r, 0), (free, size)) * &whole;
                -solve(&residual)
            })
            .collect();
        // A(z) w^n with w = 1/z is monic: wⁿ + α₁ w^(n−1) + … + α_n.
        let mut companion = DMatrix::zeros(free, free);
        for i in 0..order {
            if i + 1 < order {
                companion.view_mut((i * r, (i + 1) * r), (r, r)).fill_with_identity();
            }
            companion.view_mut((free - r, i * r), (r, r)).copy_from(&-whole.rows((order - i) * r, r));
        }
        let (inverse, vectors) = oma_linalg::eigen(&companion)?;
        let fraction = Fraction { equations: self, order, alpha: &whole, changes: &changes };
        let mut poles: Vec<Pole> = (0..free)
            .filter(|&column| inverse[column].im > 0.0)
            .map(|column| {
                // 1/w of the conjugate pole has the positive imaginary part.
                let mu = inverse[column].conj().inv();
                let block = (0..order).map(|i| vector(&vectors, i * r, r, column));
                let of_one = block.reduce(|best, v| if v.norm() > best.norm() { v } else { best });
                fraction.pole(column, mu, &of_one.unwrap_or_else(|| DVector::zeros(r)), sampling_rate_hz)
            })
            .collect();
        poles.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
        let mu = inverse.iter().map(|w| w.inv()).collect();
        Ok(Order { order, mu, vectors, poles })
    }

    /// The poles of several orders, in parallel.
    ///
    /// # Errors
    /// As [`NormalEquations::order`]; [`ModalError::Cancelled`].
    pub fn orders(&self, orders: &[usize], sampling_rate_hz: f64, control: &Control) -> Result<Vec<Order>, ModalError> {
        let one = |&order: &usize| {
            control.checkpoint()?;
            self.order(order, sampling_rate_hz)
        };
        orders.par_iter().map(one).collect()
    }
}

/// Conjugate of the part of a companion's eigenvector that begins at `row`.
fn vector(vectors: &DMatrix<f64>, row: usize, rows: usize, column: usize) -> DVector<C64> {
    DVector::from_fn(rows, |i, _| C64::new(vectors[(row + i, column)], -vectors[(row + i, column + 1)]))
}

/// Σ_p w_p² A_{p+i}ᵀ B_{p+j} as a block matrix, i, j = 0 .. order.
fn gram(a: &[DMatrix<f64>], b: &[DMatrix<f64>], order: usize, control: &Control) -> Result<DMatrix<f64>, ModalError> {
    let (l, r) = a[0].shape();
    let (last, size) = (a.len() - 1 - order, (order + 1) * r);
    let mut sum = DMatrix::zeros(size, size);
    let step = (CHUNK / l).max(1);
    for first in (1..=last).step_by(step) {
        control.checkpoint()?;
        let count = step.min(last + 1 - first);
        let stack = |list: &[DMatrix<f64>]| {
            let mut stacked = DMatrix::zeros(count * l, size);
            for (k, i) in (0..count).flat_map(|k| (0..=order).map(move |i| (k, i))) {
                let weight = LAST_WEIGHT.powf((first + k) as f64 / last as f64);
                stacked.view_mut((k * l, i * r), (l, r)).copy_from(&(&list[first + k + i] * weight));
            }
            stacked
        };
        sum += oma_linalg::multiply_transposed(&stack(a), &stack(b));
    }
    Ok(sum)
}

/// A(z) of one order, and its changes by block.
struct Fraction<'a> {
    equations: &'a NormalEquations,
    order: usize,
    /// α₀ .. α_n, one above the other.
    alpha: &'a DMatrix<f64>,
    /// Of α₁ .. α_n.
    changes: &'a [DMatrix<f64>],
}

impl Fraction<'_> {
    /// The pole at `mu`, where A(μ) v = 0: its shape is B(μ) v.
    fn pole(&self, column: usize, mu: C64, v: &DVector<C64>, sampling_rate_hz: f64) -> Pole {
        let r = self.equations.references;
        let powers: Vec<C64> =
            std::iter::successors(Some(C64::new(1.0, 0.0)), |power| Some(power * mu)).take(self.order + 1).collect();
        let times = |matrix: &DMatrix<f64>, i: usize| matrix.rows(i * r, r).map(|x| C64::new(x, 0.0)) * v;
        // B(μ) v = Σ_q μ^q Σ_{i ≥ q} R_{i−q} α_i v; the part of R₀ is A(μ) v = 0.
        let mut shape = DVector::zeros(self.equations.scale.len());
        for i in 1..=self.order {
            let turned = times(self.alpha, i);
            for m in 1..=i {
                let correlation = self.equations.correlations[m].map(|x| C64::new(x, 0.0));
                shape += correlation * (&turned * powers[i - m]);
            }
        }
        let shape = shape.zip_map(&self.equations.scale, |z, scale| z * scale);
        let shape = self.equations.common.bring(shape, lambda(mu, sampling_rate_hz));
        let mut pole = Pole::new(self.order, column, mu, &shape, sampling_rate_hz);
        if !self.changes.is_empty() {
            pole.deviation = self.deviation(&pole, &powers, v, sampling_rate_hz);
        }
        pole
    }

    /// dμ = −uᴴ dA(μ) v / (uᴴ A'(μ) v) with uᴴ A(μ) = 0, for every block; `None` where the pole is not simple.
    fn deviation(&self, pole: &Pole, powers: &[C64], v: &DVector<C64>, sampling_rate_hz: f64) -> Option<Deviation> {
        let r = self.equations.references;
        let block = |i: usize| self.alpha.rows(i * r, r).map(|x| C64::new(x, 0.0));
        let mut at_pole = DMatrix::zeros(r, r);
        let mut derivative = DVector::zeros(r);
        for (i, power) in powers.iter().enumerate() {
            at_pole += block(i) * *power;
            if i > 0 {
                derivative += block(i) * v * (powers[i - 1] * i as f64);
            }
        }
        // A P = Q R with pivots: the last row of R is zero, so u is the last column of Q. (Not by nalgebra's complex SVD:
        // its left vectors of singular matrices, as this is one, may be far from zero in uᴴ A.)
        let left = at_pole.col_piv_qr().q().column(r - 1).into_owned();
        let slope = left.dotc(&derivative);
        let lambda = pole.lambda;
        let (mut of_frequency, mut of_damping) = (0.0, 0.0);
        for change in self.changes {
            let mut moved = C64::new(0.0, 0.0);
            for (i, power) in powers[1..].iter().enumerate() {
                let part = change.rows(i * r, r).map(|x| C64::new(x, 0.0)) * v;
                moved += left.dotc(&part) * power;
            }
            let d_lambda = -moved / slope / pole.mu * sampling_rate_hz;
            let along = (lambda.conj() * d_lambda).re / lambda.norm();
            of_frequency += (along / (2.0 * PI)).powi(2);
            of_damping += ((lambda.re * along / lambda.norm() - d_lambda.re) / lambda.norm()).powi(2);
        }
        let deviation = Deviation { frequency_hz: of_frequency.sqrt(), damping_ratio: of_damping.sqrt() };
        (deviation.frequency_hz.is_finite() && deviation.damping_ratio.is_finite()).then_some(deviation)
    }
}
