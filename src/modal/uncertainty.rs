//! Standard deviations of poles and shapes from the scatter of H over blocks of the record.
//!
//! First-order perturbation H → O → A → μ, φ, without Kronecker products (Döhler & Mevel 2013; algorithms §3.7).
//! With D = W₁ (H_k − H̄) W₂ / √(n_b (n_b − 1)) of block k, the variance of any quantity is the sum over the blocks
//! of its squared derivative in the direction D. The weights W₁, W₂ are held fixed: their own scatter changes the
//! derivatives of frequency and damping by 2 to 4 % of themselves (automation §5).
//!
//! What depends on the size of H is done once per block, for all orders; per pole and block O(n²) is left.

use super::ModalError;
use super::hankel::HankelProduct;
use super::poles::{Deviation, Observability, Order, Pole};
use super::ssi::{Subspace, mean};
use crate::model::control::Control;
use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::{Svd, multiply, multiply_transposed};
use rayon::prelude::*;
use std::f64::consts::PI;

type C64 = Complex<f64>;

/// dO in the direction of one block, reduced to what the state and output matrices of every order need:
/// dA = R⁻¹ (B_dn − B_up A) + R⁻¹ R⁻ᵀ (E_dn − E_up A), leading n × n blocks.
#[derive(Debug, Clone)]
struct BlockDerivative {
    /// Qᵀ dO_dn.
    b_dn: DMatrix<f64>,
    /// Qᵀ dO_up.
    b_up: DMatrix<f64>,
    /// dO_upᵀ O_dn.
    e_dn: DMatrix<f64>,
    /// dO_upᵀ O_up.
    e_up: DMatrix<f64>,
    /// First block row of dO.
    d_c: DMatrix<f64>,
}

/// Derivatives in the direction of every block of the record.
#[derive(Debug, Clone)]
pub struct Derivatives<'a> {
    observability: &'a Observability,
    sampling_rate_hz: f64,
    blocks: Vec<BlockDerivative>,
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

impl<'a> Derivatives<'a> {
    /// Carries the scatter of the blocks to O. The more triplets `svd` has beyond the highest order the better: with
    /// 1.3 times the rank of the signal the truncation is below the scatter (automation §5).
    ///
    /// # Errors
    /// [`ModalError::Cancelled`].
    pub fn new(
        subspace: &Subspace,
        svd: &Svd,
        observability: &'a Observability,
        sampling_rate_hz: f64,
        control: &Control,
    ) -> Result<Derivatives<'a>, ModalError> {
        let product = HankelProduct::new(&subspace.weights.apply_right(&svd.v), subspace.block_rows);
        let all: Vec<_> = subspace.block_correlations.iter().collect();
        let mean = mean(&all);
        let count = all.len() as f64;
        let scale = 1.0 / (count * (count - 1.0)).sqrt();
        let one = |block: &&Vec<DMatrix<f64>>| -> Result<BlockDerivative, ModalError> {
            control.checkpoint()?;
            let deviation: Vec<_> = block.iter().zip(&mean).map(|(r, mean)| (r - mean) * scale).collect();
            let e = subspace.weights.apply_left(product.of(&deviation));
            let d_o = subspace.weights.remove_left(d_observability(svd, e, observability.o.ncols()));
            Ok(BlockDerivative::new(observability, &d_o))
        };
        let blocks = all.par_iter().map(one).collect::<Result<_, _>>()?;
        Ok(Derivatives { observability, sampling_rate_hz, blocks })
    }

    /// Puts the standard deviations of frequency and damping on every pole. A pole of a defective state matrix has
    /// none.
    ///
    /// # Errors
    /// [`ModalError::Cancelled`].
    pub fn attach(&self, orders: &mut [Order], control: &Control) -> Result<(), ModalError> {
        orders.par_iter_mut().try_for_each(|order| {
            let Some(left) = LeftFactors::new(order, self.observability) else { return Ok(()) };
            let right = real_columns(order);
            let mut variances = vec![(0.0, 0.0); order.poles.len()];
            for block in &self.blocks {
                control.checkpoint()?;
                let images = Images::new(block, &right);
                for (p, (pole, variance)) in order.poles.iter().zip(&mut variances).enumerate() {
                    let image = images.of(p, pole.mu);
                    let d_mu = dot(&left.y, pole.column, &image.0) + dot(&left.z, pole.column, &image.1);
                    let (df, dxi) = frequency_and_damping(pole, d_mu, self.sampling_rate_hz);
                    variance.0 += df * df;
                    variance.1 += dxi * dxi;
                }
            }
            for (pole, (f, xi)) in order.poles.iter_mut().zip(variances) {
                let finite = f.is_finite() && xi.is_finite();
                pole.deviation = finite.then(|| Deviation { frequency_hz: f.sqrt(), damping_ratio: xi.sqrt() });
            }
            Ok(())
        })
    }

    /// Derivatives of one pole with its shape, one for each block; `None` where the state matrix is defective.
    ///
    /// dψ_j = Σ_{i≠j} ψ_i (χᵢᴴ dA ψ_j)/(μ_j − μ_i); d(Cψ) = C dψ + dC ψ; then the scaling to the largest component.
    pub fn of_pole(&self, order: &Order, p: usize) -> Option<Vec<PoleDerivative>> {
        let left = LeftFactors::new(order, self.observability)?;
        let right = real_columns(order);
        let (n, l) = (order.order, self.observability.channels);
        let pole = &order.poles[p];
        let psi = order.psi.column(pole.column);
        let c = self.observability.o.view((0, 0), (l, n)).map(|x| C64::new(x, 0.0));
        let raw = &c * psi;
        let largest = (0..l).fold(0, |best, i| if raw[i].norm() > raw[best].norm() { i } else { best });
        let one = |block: &BlockDerivative| {
            let (b, e) = Images::new(block, &right).of(p, pole.mu);
            let d_a_psi = &left.y * b + &left.z * e;
            let mut d_psi = DVector::zeros(n);
            for i in (0..n).filter(|&i| i != pole.column) {
                d_psi.axpy(d_a_psi[i] / (pole.mu - order.mu[i]), &order.psi.column(i), C64::new(1.0, 0.0));
            }
            let d_c = block.d_c.columns(0, n).map(|x| C64::new(x, 0.0));
            let d_raw = &c * d_psi + d_c * psi;
            let shape = (&d_raw - raw.map(|z| z / raw[largest] * d_raw[largest])) / raw[largest];
            let (f, xi) = frequency_and_damping(pole, d_a_psi[pole.column], self.sampling_rate_hz);
            PoleDerivative { frequency_hz: f, damping_ratio: xi, shape }
        };
        Some(self.blocks.par_iter().map(one).collect())
    }
}

/// dO from E = D V, with u, σ, v the triplets and M = Uᵀ E:
/// dσ_j = M_jj; du_j = Σ_{i≠j} u_i (σ_j M_ij + σ_i M_ji)/(σ_j² − σ_i²) + (E_j − U M_j)/σ_j;
/// dO_j = u_j dσ_j/(2√σ_j) + √σ_j du_j.
fn d_observability(svd: &Svd, e: DMatrix<f64>, order: usize) -> DMatrix<f64> {
    let s = &svd.s;
    let m = multiply_transposed(&svd.u, &e);
    let coefficients = DMatrix::from_fn(s.len(), order, |i, j| {
        let root = s[j].sqrt();
        if i == j {
            // The part of U M_jj inside (E_j − U M_j)/σ_j is taken off with the others.
            return m[(j, j)] / (2.0 * root) - m[(j, j)] / root;
        }
        let gap = s[j] * s[j] - s[i] * s[i];
        // Equal singular values span one space in which no direction is preferred.
        let inside = if gap == 0.0 { 0.0 } else { (s[j] * m[(i, j)] + s[i] * m[(j, i)]) / gap };
        root * inside - m[(i, j)] / root
    });
    let mut d_o = multiply(&svd.u, &coefficients);
    for j in 0..order {
        d_o.column_mut(j).axpy(1.0 / s[j].sqrt(), &e.column(j), 1.0);
    }
    d_o
}

impl BlockDerivative {
    fn new(observability: &Observability, d_o: &DMatrix<f64>) -> BlockDerivative {
        let l = observability.channels;
        let rows = observability.o.nrows() - l;
        let (d_up, d_dn) = (d_o.rows(0, rows).into_owned(), d_o.rows(l, rows).into_owned());
        let (up, dn) = (observability.o.rows(0, rows).into_owned(), observability.o.rows(l, rows).into_owned());
        BlockDerivative {
            b_dn: multiply_transposed(&observability.q, &d_dn),
            b_up: multiply_transposed(&observability.q, &d_up),
            e_dn: multiply_transposed(&d_up, &dn),
            e_up: multiply_transposed(&d_up, &up),
            d_c: d_o.rows(0, l).into_owned(),
        }
    }
}

/// χᵢᴴ R⁻¹ and χᵢᴴ R⁻¹ R⁻ᵀ as rows: χᵢᴴ dA ψ = y_i (B_dn − μ B_up) ψ + z_i (E_dn − μ E_up) ψ.
struct LeftFactors {
    y: DMatrix<C64>,
    z: DMatrix<C64>,
}

impl LeftFactors {
    fn new(order: &Order, observability: &Observability) -> Option<LeftFactors> {
        let n = order.order;
        let chi = order.chi.as_ref()?;
        let r = observability.r.view((0, 0), (n, n)).into_owned();
        let inverse = oma_linalg::divide_upper(&r, &DMatrix::identity(n, n)).map(|x| C64::new(x, 0.0));
        let y = oma_linalg::multiply_complex(chi, &inverse);
        let z = oma_linalg::multiply_complex(&y, &inverse.transpose());
        Some(LeftFactors { y, z })
    }
}

/// Re ψ and Im ψ of every pole of an order, side by side.
fn real_columns(order: &Order) -> DMatrix<f64> {
    DMatrix::from_fn(order.order, 2 * order.poles.len(), |i, j| {
        let z = order.psi[(i, order.poles[j / 2].column)];
        if j % 2 == 0 { z.re } else { z.im }
    })
}

/// The four matrices of a block times the eigenvectors of one order.
struct Images {
    b_dn: DMatrix<f64>,
    b_up: DMatrix<f64>,
    e_dn: DMatrix<f64>,
    e_up: DMatrix<f64>,
}

impl Images {
    fn new(block: &BlockDerivative, right: &DMatrix<f64>) -> Images {
        let n = right.nrows();
        let image = |matrix: &DMatrix<f64>| multiply(&matrix.view((0, 0), (n, n)).into_owned(), right);
        Images {
            b_dn: image(&block.b_dn),
            b_up: image(&block.b_up),
            e_dn: image(&block.e_dn),
            e_up: image(&block.e_up),
        }
    }

    /// (B_dn − μ B_up) ψ and (E_dn − μ E_up) ψ of pole `p`.
    fn of(&self, p: usize, mu: C64) -> (DVector<C64>, DVector<C64>) {
        let column = |matrix: &DMatrix<f64>| -> DVector<C64> {
            matrix.column(2 * p).zip_map(&matrix.column(2 * p + 1), C64::new)
        };
        (column(&self.b_dn) - column(&self.b_up) * mu, column(&self.e_dn) - column(&self.e_up) * mu)
    }
}

/// Row times column, without conjugation.
fn dot(rows: &DMatrix<C64>, row: usize, column: &DVector<C64>) -> C64 {
    rows.row(row).iter().zip(column.iter()).map(|(a, b)| a * b).sum()
}

/// (df, dξ) from dμ: λ = fs ln μ, f = |λ|/2π, ξ = −Re λ/|λ|.
fn frequency_and_damping(pole: &Pole, d_mu: C64, sampling_rate_hz: f64) -> (f64, f64) {
    let d_lambda = d_mu / pole.mu * sampling_rate_hz;
    let modulus = pole.lambda.norm();
    let d_modulus = (pole.lambda.conj() * d_lambda).re / modulus;
    (d_modulus / (2.0 * PI), (-d_lambda.re - pole.damping_ratio * d_modulus) / modulus)
}

/// Expected 1 − MAC of a shape against the true one: the part of its scatter that is orthogonal to it.
pub fn expected_mac_loss(shape: &DVector<C64>, derivatives: &[PoleDerivative]) -> f64 {
    let norm = shape.norm_squared();
    let loss = |d: &PoleDerivative| (d.shape.norm_squared() - shape.dotc(&d.shape).norm_sqr() / norm) / norm;
    derivatives.iter().map(loss).sum()
}
