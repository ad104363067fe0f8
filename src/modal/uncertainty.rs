//! Standard deviations of poles and shapes from the scatter of H over blocks of the record.
//!
//! First-order perturbation H → O → A → μ, φ, without Kronecker products (Döhler & Mevel 2013; algorithms §3.7).
//! With D = W₁ (H_k − H̄) W₂ / √(n_b (n_b − 1)) of block k, the variance of any quantity is the sum over the blocks
//! of its squared derivative in the direction D. The weights W₁, W₂ are held fixed: their own scatter changes the
//! derivatives of frequency and damping by 2 to 4 % of themselves (automation §5).

use super::ModalError;
use super::hankel;
use super::poles::{Deviation, Observability, Order, Pole};
use super::ssi::{Subspace, mean};
use crate::model::control::Control;
use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::Svd;
use rayon::prelude::*;
use std::f64::consts::PI;

type C64 = Complex<f64>;

/// The directions in which the record's blocks disturb H, ready to be carried to O.
pub struct Perturbations<'a> {
    subspace: &'a Subspace,
    svd: &'a Svd,
    /// W₂ V, past outputs × triplets.
    right: DMatrix<f64>,
    mean: Vec<DMatrix<f64>>,
    /// Columns of O that are wanted.
    order: usize,
}

impl<'a> Perturbations<'a> {
    /// Prepares the directions for orders up to `order`. The more triplets `svd` has beyond `order` the better: with
    /// 1.3 times the rank of the signal the truncation is below the scatter (automation §5).
    pub fn new(subspace: &'a Subspace, svd: &'a Svd, order: usize) -> Perturbations<'a> {
        let all: Vec<_> = subspace.block_correlations.iter().collect();
        Perturbations { subspace, svd, right: subspace.weights.apply_right(&svd.v), mean: mean(&all), order }
    }

    /// Number of blocks.
    pub fn count(&self) -> usize {
        self.subspace.block_correlations.len()
    }

    /// Derivative of O in the direction of block `k`, block_rows·channels × order.
    pub fn observability(&self, k: usize) -> DMatrix<f64> {
        let count = self.count() as f64;
        let scale = 1.0 / (count * (count - 1.0)).sqrt();
        let block = &self.subspace.block_correlations[k];
        let deviation: Vec<_> = block.iter().zip(&self.mean).map(|(r, mean)| (r - mean) * scale).collect();
        let h = hankel::block_hankel(&deviation, self.subspace.block_rows);
        self.derivative(self.subspace.weights.apply_left(oma_linalg::multiply(&h, &self.right)))
    }

    /// dO from E = D V, with u, σ, v the triplets and M = Uᵀ E:
    /// dσ_j = M_jj; du_j = Σ_{i≠j} u_i (σ_j M_ij + σ_i M_ji)/(σ_j² − σ_i²) + (E_j − U M_j)/σ_j;
    /// dO_j = u_j dσ_j/(2√σ_j) + √σ_j du_j.
    fn derivative(&self, e: DMatrix<f64>) -> DMatrix<f64> {
        let (u, s) = (&self.svd.u, &self.svd.s);
        let m = oma_linalg::multiply_transposed(u, &e);
        let coefficients = DMatrix::from_fn(s.len(), self.order, |i, j| {
            let root = s[j].sqrt();
            if i == j {
                // The part of U M_jj inside (E_j − U M_j)/σ_j is taken off with the others below.
                return m[(j, j)] / (2.0 * root) - m[(j, j)] / root;
            }
            let gap = s[j] * s[j] - s[i] * s[i];
            // Equal singular values span one space in which no direction is preferred.
            let inside = if gap == 0.0 { 0.0 } else { (s[j] * m[(i, j)] + s[i] * m[(j, i)]) / gap };
            root * inside - m[(i, j)] / root
        });
        let mut d_o = oma_linalg::multiply(u, &coefficients);
        for j in 0..self.order {
            d_o.column_mut(j).axpy(1.0 / s[j].sqrt(), &e.column(j), 1.0);
        }
        self.subspace.weights.remove_left(d_o)
    }
}

/// What turns dO into derivatives of one order's eigenvalues: χᵢᴴ dA ψ = w_iᴴ (dO_dn − μ dO_up) ψ + z_iᴴ dO_upᵀ r
/// with w_iᴴ = χᵢᴴ O_up⁺, z_iᴴ = χᵢᴴ (O_upᵀ O_up)^(−1) and the residual r = (O_dn − μ O_up) ψ.
struct LeftFactors {
    /// w_iᴴ as rows, n × (block_rows − 1)·channels.
    w: DMatrix<C64>,
    /// z_iᴴ as rows, n × n.
    z: DMatrix<C64>,
}

impl LeftFactors {
    fn new(order: &Order, observability: &Observability) -> Option<LeftFactors> {
        let n = order.order;
        let chi = order.chi.as_ref()?;
        let r = observability.r.view((0, 0), (n, n)).into_owned();
        let inverse = oma_linalg::divide_upper(&r, &DMatrix::identity(n, n));
        // Real and imaginary part apart: every factor on the right is real.
        let parts = |f: &dyn Fn(&DMatrix<f64>) -> DMatrix<f64>| {
            let (re, im) = (f(&chi.map(|x| x.re)), f(&chi.map(|x| x.im)));
            re.zip_map(&im, C64::new)
        };
        let q_t = observability.q.columns(0, n).transpose();
        let w = parts(&|x| oma_linalg::multiply(&oma_linalg::multiply(x, &inverse), &q_t));
        let z = parts(&|x| oma_linalg::multiply(&oma_linalg::multiply(x, &inverse), &inverse.transpose()));
        Some(LeftFactors { w, z })
    }
}

/// (O_dn − μ O_up) ψ.
fn residual(observability: &Observability, order: &Order, pole: &Pole) -> DVector<C64> {
    let product =
        real_times_complex(&observability.o.columns(0, order.order).into_owned(), order.psi.column(pole.column));
    let rows = observability.o.nrows() - observability.channels;
    product.rows(observability.channels, rows) - product.rows(0, rows) * pole.mu
}

fn real_times_complex(a: &DMatrix<f64>, x: nalgebra::DVectorView<'_, C64>) -> DVector<C64> {
    let (re, im) = (a * x.map(|z| z.re), a * x.map(|z| z.im));
    re.zip_map(&im, C64::new)
}

/// One order's poles as four real columns each: dμ = aᵀ dO ψ + r̃ᵀ dO z with a the shifted w and r̃ the residual.
struct Directions {
    /// block_rows·channels × 4·poles: Re a, Im a, Re r̃, Im r̃ of each pole.
    columns: DMatrix<f64>,
    /// Rows of z, one a pole.
    z: Vec<DVector<C64>>,
}

impl Directions {
    fn new(order: &Order, observability: &Observability) -> Option<Directions> {
        let left = LeftFactors::new(order, observability)?;
        let (l, rows) = (observability.channels, observability.o.nrows());
        let mut columns = DMatrix::zeros(rows, 4 * order.poles.len());
        let mut z = Vec::new();
        for (p, pole) in order.poles.iter().enumerate() {
            let residual = residual(observability, order, pole);
            for i in 0..rows {
                let down = if i >= l { left.w[(pole.column, i - l)] } else { C64::new(0.0, 0.0) };
                let inside = i < rows - l;
                let up = if inside { left.w[(pole.column, i)] } else { C64::new(0.0, 0.0) };
                let a = down - pole.mu * up;
                let r = if inside { residual[i] } else { C64::new(0.0, 0.0) };
                (columns[(i, 4 * p)], columns[(i, 4 * p + 1)]) = (a.re, a.im);
                (columns[(i, 4 * p + 2)], columns[(i, 4 * p + 3)]) = (r.re, r.im);
            }
            z.push(left.z.row(pole.column).transpose());
        }
        Some(Directions { columns, z })
    }

    /// dμ of every pole for one dO.
    fn derivatives(&self, order: &Order, d_o: &DMatrix<f64>) -> Vec<C64> {
        let products = oma_linalg::multiply_transposed(&d_o.columns(0, order.order).into_owned(), &self.columns);
        let dot = |column: usize, vector: &dyn Fn(usize) -> C64| -> C64 {
            let (re, im) = (products.column(column), products.column(column + 1));
            (0..order.order).map(|c| C64::new(re[c], im[c]) * vector(c)).sum()
        };
        let one = |(p, pole): (usize, &Pole)| {
            dot(4 * p, &|c| order.psi[(c, pole.column)]) + dot(4 * p + 2, &|c| self.z[p][c])
        };
        order.poles.iter().enumerate().map(one).collect()
    }
}

/// (df, dξ) from dμ: λ = fs ln μ, f = |λ|/2π, ξ = −Re λ/|λ|.
fn frequency_and_damping(pole: &Pole, d_mu: C64, sampling_rate_hz: f64) -> (f64, f64) {
    let d_lambda = d_mu / pole.mu * sampling_rate_hz;
    let modulus = pole.lambda.norm();
    let d_modulus = (pole.lambda.conj() * d_lambda).re / modulus;
    (d_modulus / (2.0 * PI), (-d_lambda.re - pole.damping_ratio * d_modulus) / modulus)
}

/// Puts the standard deviations of frequency and damping on every pole. A pole of a defective state matrix has none.
///
/// # Errors
/// [`ModalError::Cancelled`].
pub fn attach(
    orders: &mut [Order],
    observability: &Observability,
    perturbations: &Perturbations<'_>,
    sampling_rate_hz: f64,
    control: &Control,
) -> Result<(), ModalError> {
    let directions: Vec<_> = orders.par_iter().map(|order| Directions::new(order, observability)).collect();
    let one_block = |k: usize| -> Result<Vec<Vec<(f64, f64)>>, ModalError> {
        control.checkpoint()?;
        let d_o = perturbations.observability(k);
        let one_order = |(order, directions): (&Order, &Option<Directions>)| -> Result<Vec<(f64, f64)>, ModalError> {
            control.checkpoint()?;
            let Some(directions) = directions else { return Ok(Vec::new()) };
            let d_mu = directions.derivatives(order, &d_o);
            let derivative = |(pole, d_mu)| frequency_and_damping(pole, d_mu, sampling_rate_hz);
            Ok(order.poles.iter().zip(d_mu).map(derivative).collect())
        };
        orders.iter().zip(&directions).map(one_order).collect()
    };
    let blocks: Vec<_> = (0..perturbations.count()).into_par_iter().map(one_block).collect::<Result<_, _>>()?;
    for (o, order) in orders.iter_mut().enumerate() {
        for (p, pole) in order.poles.iter_mut().enumerate() {
            // Summed block by block in their order, whatever thread was first.
            let squares = blocks.iter().filter_map(|block| block[o].get(p));
            let (f, xi) = squares.fold((0.0, 0.0), |(f, xi), (df, dxi)| (f + df * df, xi + dxi * dxi));
            let known = directions[o].is_some() && f.is_finite() && xi.is_finite();
            pole.deviation = known.then(|| Deviation { frequency_hz: f.sqrt(), damping_ratio: xi.sqrt() });
        }
    }
    Ok(())
}

/// Derivatives of one pole in one direction.
#[derive(Debug, Clone)]
pub struct PoleDerivative {
    /// Of the frequency, Hz.
    pub frequency_hz: f64,
    /// Of the damping ratio.
    pub damping_ratio: f64,
    /// Of the shape scaled to its largest component.
    pub shape: DVector<C64>,
}

/// Derivatives of several poles of one order, each for every direction of `perturbations`.
///
/// dψ_j = Σ_{i≠j} ψ_i (χᵢᴴ dA ψ_j)/(μ_j − μ_i); d(Cψ) = C dψ + dC ψ; then the scaling to the largest component.
/// `None` where the state matrix is defective.
pub fn derivatives(
    order: &Order,
    observability: &Observability,
    perturbations: &Perturbations<'_>,
    poles: &[usize],
    sampling_rate_hz: f64,
) -> Option<Vec<Vec<PoleDerivative>>> {
    let left = LeftFactors::new(order, observability)?;
    let (n, l) = (order.order, observability.channels);
    let rows = observability.o.nrows() - l;
    let c = observability.o.view((0, 0), (l, n)).into_owned();
    let by_block = |k: usize| {
        let d_o = perturbations.observability(k).columns(0, n).into_owned();
        let one = |&p: &usize| {
            let pole = &order.poles[p];
            let psi = order.psi.column(pole.column);
            let product = real_times_complex(&d_o, psi);
            let step = product.rows(l, rows) - product.rows(0, rows) * pole.mu;
            let r = residual(observability, order, pole);
            let d_up = d_o.rows(0, rows).transpose();
            let d_a_psi = &left.w * step + &left.z * real_times_complex(&d_up, r.as_view());
            let mut d_psi = DVector::zeros(n);
            for i in (0..n).filter(|&i| i != pole.column) {
                d_psi.axpy(d_a_psi[i] / (pole.mu - order.mu[i]), &order.psi.column(i), C64::new(1.0, 0.0));
            }
            let d_c = d_o.rows(0, l).into_owned();
            let raw = real_times_complex(&c, psi);
            let d_raw = real_times_complex(&c, d_psi.as_view()) + real_times_complex(&d_c, psi);
            let largest = (0..l).fold(0, |best, i| if raw[i].norm() > raw[best].norm() { i } else { best });
            let shape = (&d_raw - raw.map(|z| z / raw[largest] * d_raw[largest])) / raw[largest];
            let (f, xi) = frequency_and_damping(pole, d_a_psi[pole.column], sampling_rate_hz);
            PoleDerivative { frequency_hz: f, damping_ratio: xi, shape }
        };
        poles.iter().map(one).collect::<Vec<_>>()
    };
    let blocks: Vec<_> = (0..perturbations.count()).into_par_iter().map(by_block).collect();
    Some((0..poles.len()).map(|p| blocks.iter().map(|block| block[p].clone()).collect()).collect())
}

/// Expected 1 − MAC of a shape against the true one: the part of its scatter that is orthogonal to it.
pub fn expected_mac_loss(shape: &DVector<C64>, derivatives: &[PoleDerivative]) -> f64 {
    let norm = shape.norm_squared();
    let loss = |d: &PoleDerivative| (d.shape.norm_squared() - shape.dotc(&d.shape).norm_sqr() / norm) / norm;
    derivatives.iter().map(loss).sum()
}
