//! One state space for all setups, and how the scatter of each of them moves it.
//!
//! With K_i = (V_iᵀV_i)⁻¹ the pseudo-inverse of C_i = S^(1/2) V_iᵀ is C_i⁺ = V_i K_i S^(−1/2), and each setup estimates
//! O_i = w_i H_i C_i⁺. A deviation D of the weighted H_j of one setup j moves
//!
//! - O_r as in a single record, dO_r from E = Dʳ V_j (see [`uncertainty`](crate::modal::uncertainty));
//! - C_k = O_r⁺ w_k H_kʳ of every setup k, since the state space is everyone's: with O_r⁺ = S^(−1/2) Uᵀ
//!   dC_k = −O_r⁺ dO_r C_k + S⁻¹ dO_rᵀ (I − UUᵀ) w_k H_kʳ + δ_jk O_r⁺ Dʳ;
//! - O_k, the least squares of w_k H_k by C_k with the remainder R_k = w_k H_k − O_k C_k, R_k C_kᵀ = 0:
//!   dO_k = (δ_jk D − O_k dC_k) C_k⁺ + R_k dC_kᵀ (C_k C_kᵀ)⁻¹.
//!
//! Nothing of it is held fixed but the weights W, as in a single record. D itself is never formed: it is met as D V_j and Dʳᵀ U.

use super::{Layout, Rescaling, Rows};
use crate::compute::LagBlock;
use crate::modal::ModalError;
use crate::modal::correlations::Correlations;
use crate::modal::hankel::{HankelProduct, Weights};
use crate::modal::poles::Observability;
use crate::modal::ssi::Subspace;
use crate::modal::uncertainty::{Deviations, Direction, d_observability};
use crate::model::merging::Strategy;
use nalgebra::{DMatrix, DVector};
use oma_linalg::{Svd, multiply, multiply_transposed};

/// The rows of the references of all setups side by side.
pub struct Joint<'a> {
    layout: &'a Layout,
    strategy: Strategy,
    /// H_i of every setup, weighted.
    setups: Vec<Subspace>,
    /// w_i.
    gains: Vec<f64>,
    /// \[w₁ H₁ʳ … w_s H_sʳ\] and its half-difference.
    pub references: Subspace,
}

impl<'a> Joint<'a> {
    /// From H of every setup, all of the same block rows, each weighted from the right only.
    ///
    /// # Errors
    /// [`ModalError::Setting`] for PoSER, which joins results; [`ModalError::Data`] for a setup whose references do not move.
    pub fn new(layout: &'a Layout, strategy: Strategy, setups: Vec<Subspace>) -> Result<Joint<'a>, ModalError> {
        if strategy == Strategy::Poser {
            let message = "PoSER joins the results of setups (`merge`), not their records: take preger or poger";
            return Err(ModalError::Setting(message.into()));
        }
        let mut gains = Vec::new();
        let (mut parts, mut differences) = (Vec::new(), Vec::new());
        for (number, (setup, rows)) in (1..).zip(setups.iter().zip(&layout.setups)) {
            let own = reference_rows(&setup.h, rows);
            let difference = setup.half_difference.as_ref().map(|difference| reference_rows(difference, rows));
            let gain = 1.0 / difference.as_ref().map_or_else(|| own.norm(), DMatrix::norm);
            if !gain.is_finite() {
                let message = format!("setup {number}: the correlations of its reference channels are 0 throughout");
                return Err(ModalError::Data(message));
            }
            gains.push(gain);
            parts.push(own * gain);
            differences.extend(difference.map(|difference| difference * gain));
        }
        let references = Subspace {
            block_rows: setups[0].block_rows,
            channels: layout.references.len(),
            references: (0..layout.references.len()).collect(),
            h: side_by_side(&parts),
            half_difference: (differences.len() == setups.len()).then(|| side_by_side(&differences)),
            weights: Weights::none(),
        };
        Ok(Joint { layout, strategy, setups, gains, references })
    }

    /// Part that each setup has in the decomposition, ‖w_i H_iʳ‖² over the sum of all.
    pub fn shares(&self) -> Vec<f64> {
        let square = |i: usize| self.columns(&self.references.h, i).norm_squared();
        let squares: Vec<f64> = (0..self.setups.len()).map(square).collect();
        let sum: f64 = squares.iter().sum();
        squares.into_iter().map(|square| square / sum).collect()
    }

    /// Every setup in the state space of `order` that the triplets of [`Joint::references`] span.
    ///
    /// # Errors
    /// [`ModalError::Data`] for a setup in which the state space is not excited.
    pub fn factors<'b>(&'b self, svd: &'b Svd, order: usize) -> Result<Factors<'b>, ModalError> {
        let roots = svd.s.rows(0, order).map(f64::sqrt);
        let scaled_by = |mut matrix: DMatrix<f64>, factors: &DVector<f64>| {
            matrix.column_iter_mut().zip(factors.iter()).for_each(|(mut column, factor)| column *= *factor);
            matrix
        };
        let inverse_roots = roots.map(f64::recip);
        let reference = scaled_by(svd.u.columns(0, order).into_owned(), &roots);
        let part = |(i, setup): (usize, &Subspace)| {
            let v = self.rows_of_v(svd, i).columns(0, order).into_owned();
            let gram = multiply_transposed(&v, &v);
            let inverse = gram.cholesky().map(|factor| factor.inverse()).ok_or_else(|| {
                ModalError::Data(format!(
                    "setup {} does not excite all of the {order} states that the setups have together: lower order_max \
                     or leave the setup out",
                    i + 1
                ))
            })?;
            let normaliser = scaled_by(inverse, &inverse_roots);
            let estimate = multiply(&multiply(&setup.h, &v), &normaliser) * self.gains[i];
            Ok(Part { normaliser, estimate })
        };
        let parts = self.setups.iter().enumerate().map(part).collect::<Result<Vec<_>, ModalError>>()?;
        Ok(Factors { joint: self, svd, roots, reference, parts })
    }

    /// The columns of a matrix that belong to setup `i`.
    fn columns(&self, of: &DMatrix<f64>, i: usize) -> DMatrix<f64> {
        of.columns(self.first_column(i), self.setups[i].h.ncols()).into_owned()
    }

    /// V_i, all triplets.
    fn rows_of_v(&self, svd: &Svd, i: usize) -> DMatrix<f64> {
        svd.v.rows(self.first_column(i), self.setups[i].h.ncols()).into_owned()
    }

    fn first_column(&self, i: usize) -> usize {
        self.setups[..i].iter().map(|setup| setup.h.ncols()).sum()
    }
}

/// The setups in one state space.
pub struct Factors<'a> {
    joint: &'a Joint<'a>,
    svd: &'a Svd,
    /// S^(1/2).
    roots: DVector<f64>,
    /// O_r.
    reference: DMatrix<f64>,
    parts: Vec<Part>,
}

/// One setup in the common state space.
struct Part {
    /// K_i S^(−1/2).
    normaliser: DMatrix<f64>,
    /// O_i, block_rows·channels of the setup × order.
    estimate: DMatrix<f64>,
}

/// What of a setup the directions need.
struct Moved {
    deviations: Deviations,
    /// Products with V_i.
    right: HankelProduct,
    /// Products of the transpose with U S^(−1/2).
    left: HankelProduct,
    /// (I − UUᵀ) w_i H_iʳ C_i⁺.
    outside: DMatrix<f64>,
    /// R_i.
    remainder: DMatrix<f64>,
    /// R_i w_i H_iʳᵀ (I − UUᵀ).
    crossed: DMatrix<f64>,
    /// (C_i C_iᵀ)⁻¹.
    inverse: DMatrix<f64>,
}

impl<'a> Factors<'a> {
    fn order(&self) -> usize {
        self.roots.len()
    }

    /// O, C and G of all setups: the columns of G are those of one setup after the other.
    pub fn observability(&self) -> Observability {
        let joint = self.joint;
        let g: Vec<DMatrix<f64>> = joint
            .setups
            .iter()
            .enumerate()
            .map(|(i, setup)| {
                let first =
                    joint.rows_of_v(self.svd, i).view((0, 0), (setup.references.len(), self.order())).into_owned();
                let mut g = setup.weights.remove_right(&first).transpose() / joint.gains[i];
                g.row_iter_mut().zip(self.roots.iter()).for_each(|(mut row, root)| row *= *root);
                g
            })
            .collect();
        let estimates: Vec<&DMatrix<f64>> = self.parts.iter().map(|part| &part.estimate).collect();
        let (o, c) = self.put_together(&self.reference, &estimates);
        let (g, channels) = (side_by_side(&g), c.nrows());
        match joint.strategy {
            Strategy::Poger => Observability {
                c,
                rescaling: Some(Rescaling::new(joint.layout)),
                ..Observability::new(o, joint.layout.references.len(), g, None)
            },
            _ => Observability::new(o, channels, g, None),
        }
    }

    /// O and C from O_r and every O_i, or their derivatives from those.
    fn put_together(&self, reference: &DMatrix<f64>, estimates: &[&DMatrix<f64>]) -> (DMatrix<f64>, DMatrix<f64>) {
        let layout = self.joint.layout;
        let (r, l, block_rows) = (layout.references.len(), layout.channels.len(), self.joint.references.block_rows);
        if self.joint.strategy == Strategy::Poger {
            let first = |matrix: &DMatrix<f64>, rows: usize| matrix.rows(0, rows).transpose();
            let mut blocks = vec![first(reference, r)];
            let of_setup = |(estimate, rows): (&&DMatrix<f64>, &Rows)| first(estimate, rows.places.len());
            blocks.extend(estimates.iter().zip(&layout.setups).map(of_setup));
            return (reference.clone(), side_by_side(&blocks).transpose());
        }
        let mut o = DMatrix::zeros(block_rows * l, self.order());
        for a in 0..block_rows {
            for (c, place) in layout.references.iter().enumerate() {
                o.row_mut(a * l + place).copy_from(&reference.row(a * r + c));
            }
            for (estimate, rows) in estimates.iter().zip(&layout.setups) {
                for roving in &rows.roving {
                    let own = estimate.row(a * rows.places.len() + roving.row) * roving.share;
                    let mut row = o.row_mut(a * l + roving.place);
                    row += own;
                }
            }
        }
        let c = o.rows(0, l).into_owned();
        (o, c)
    }

    /// The direction of a block of a setup. `correlations`: those that the setups' H were formed from.
    pub fn directions(
        &'a self,
        correlations: &[Correlations<'_>],
    ) -> impl Fn(usize, &LagBlock) -> Direction + Sync + use<'a> {
        let moved: Vec<Moved> = correlations.iter().enumerate().map(|(i, own)| self.moved(i, own)).collect();
        move |setup, block| self.direction(&moved, setup, block)
    }

    fn moved(&self, i: usize, correlations: &Correlations<'_>) -> Moved {
        let (joint, part, order) = (self.joint, &self.parts[i], self.order());
        let (setup, rows) = (&joint.setups[i], &joint.layout.setups[i]);
        let own = joint.columns(&joint.references.h, i);
        let u = self.svd.u.columns(0, order).into_owned();
        let v = joint.rows_of_v(self.svd, i);
        let off_u = |matrix: &DMatrix<f64>| matrix - multiply(&u, &multiply_transposed(&u, matrix));
        let mut c = v.columns(0, order).transpose();
        c.row_iter_mut().zip(self.roots.iter()).for_each(|(mut row, root)| row *= *root);
        let remainder = &setup.h * joint.gains[i] - multiply(&part.estimate, &c);
        let mut inverse = part.normaliser.clone();
        inverse.row_iter_mut().zip(self.roots.iter()).for_each(|(mut row, root)| row /= *root);
        Moved {
            deviations: Deviations::new(correlations),
            right: HankelProduct::new(&setup.weights.apply_right(&v), setup.block_rows),
            left: HankelProduct::new(&self.pseudo_inverse().transpose(), setup.block_rows),
            outside: off_u(&reference_rows(&part.estimate, rows)),
            crossed: multiply(&remainder, &off_u(&own).transpose()),
            remainder,
            inverse,
        }
    }

    /// O_r⁺ = S^(−1/2) Uᵀ.
    fn pseudo_inverse(&self) -> DMatrix<f64> {
        let mut inverse = self.svd.u.columns(0, self.order()).transpose();
        inverse.row_iter_mut().zip(self.roots.iter()).for_each(|(mut row, root)| row /= *root);
        inverse
    }

    fn direction(&self, moved: &[Moved], j: usize, block: &LagBlock) -> Direction {
        let (joint, order) = (self.joint, self.order());
        let (setup, rows) = (&joint.setups[j], &joint.layout.setups[j]);
        let deviation = moved[j].deviations.of(block);
        let d_v = moved[j].right.of(&deviation) * joint.gains[j];
        let d_reference = d_observability(self.svd, reference_rows(&d_v, rows), order);
        let pseudo_inverse = self.pseudo_inverse();
        let turned = multiply(&pseudo_inverse, &d_reference);
        // S⁻¹ dO_rᵀ
        let mut outward = d_reference.transpose();
        outward.row_iter_mut().zip(self.roots.iter()).for_each(|(mut row, root)| row /= *root * *root);
        let mut estimates: Vec<DMatrix<f64>> = Vec::new();
        for (k, (part, own)) in self.parts.iter().zip(moved).enumerate() {
            // dC_k C_k⁺ and R_k dC_kᵀ.
            let mut d_c = multiply(&outward, &own.outside) - &turned;
            let mut across = multiply(&own.crossed, &outward.transpose());
            let mut estimate = DMatrix::zeros(part.estimate.nrows(), order);
            if k == j {
                // D C_j⁺
                estimate = multiply(&d_v.columns(0, order).into_owned(), &part.normaliser);
                d_c += multiply(&pseudo_inverse, &reference_rows(&estimate, rows));
                let transposed: Vec<DMatrix<f64>> =
                    deviation.iter().map(|r| r.select_rows(&rows.references).transpose()).collect();
                // Dʳᵀ U S^(−1/2), as columns of the unweighted past.
                let back = moved[j].left.of(&transposed) * joint.gains[j];
                let back = setup.weights.apply(back.transpose()).transpose();
                across += multiply(&own.remainder, &back);
            }
            estimate -= multiply(&part.estimate, &d_c);
            estimate += multiply(&across, &own.inverse);
            estimates.push(estimate);
        }
        let estimates: Vec<&DMatrix<f64>> = estimates.iter().collect();
        let (d_o, d_c) = self.put_together(&d_reference, &estimates);
        Direction { d_o, d_c }
    }
}

/// The rows of the references in every block row of a matrix of one setup.
fn reference_rows(of: &DMatrix<f64>, rows: &Rows) -> DMatrix<f64> {
    let channels = rows.places.len();
    let block = |a: usize| rows.references.iter().map(move |row| a * channels + row);
    let all: Vec<usize> = (0..of.nrows() / channels).flat_map(block).collect();
    of.select_rows(&all)
}

fn side_by_side(parts: &[DMatrix<f64>]) -> DMatrix<f64> {
    let columns = parts.iter().map(DMatrix::ncols).sum();
    let mut all = DMatrix::zeros(parts.first().map_or(0, DMatrix::nrows), columns);
    let mut first = 0;
    for part in parts {
        all.columns_mut(first, part.ncols()).copy_from(part);
        first += part.ncols();
    }
    all
}
