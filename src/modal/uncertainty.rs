//! Standard deviations of poles and shapes from the scatter of H over blocks of the record.
//!
//! First-order perturbation H → O → A → μ, φ, without Kronecker products (Döhler & Mevel 2013; algorithms §3.7).
//! With D = W₁ (H_k − H̄) W₂ / √(n_b (n_b − 1)) of block k, the variance of any quantity is the sum over the blocks
//! of its squared derivative in the direction D. The weights W₁, W₂ are held fixed: their own scatter changes the
//! derivatives of frequency and damping by 2 to 4 % of themselves (automation §5).
//!
//! What depends on the size of H is done once per block, for all orders; per pole and block O(n²) is left. A few
//! blocks are in hand at a time, so that memory does not grow with their number.

use super::ModalError;
use super::hankel::{self, HankelProduct};
use super::poles::{Deviation, Observability, Order, Pole};
use super::ssi::Subspace;
use crate::compute::LagBlock;
use crate::model::control::Control;
use nalgebra::{Complex, DMatrix, DMatrixView, DVector};
use oma_linalg::{Svd, multiply, multiply_transposed};
use rayon::prelude::*;
use std::f64::consts::PI;

type C64 = Complex<f64>;

/// Blocks that are in hand at a time: what an order needs for all of them is made anew for each handful.
const HANDFUL: usize = 10;

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
pub struct Derivatives<'a> {
    subspace: &'a Subspace,
    svd: &'a Svd,
    observability: &'a Observability,
    blocks: &'a [LagBlock],
    sampling_rate_hz: f64,
    /// H times the weighted right singular vectors.
    product: HankelProduct,
    /// Correlations of the record as the mean of its blocks.
    mean: Vec<DMatrix<f64>>,
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
    /// The more triplets `svd` has beyond the highest order the better: with 1.3 times the rank of the signal the
    /// truncation is below the scatter (automation §5). `blocks`: the lag products that `subspace` was formed from.
    pub fn new(
        subspace: &'a Subspace,
        svd: &'a Svd,
        observability: &'a Observability,
        blocks: &'a [LagBlock],
        sampling_rate_hz: f64,
    ) -> Derivatives<'a> {
        let product = HankelProduct::new(&subspace.weights.apply_right(&svd.v), subspace.block_rows);
        let mean = hankel::mean_correlations(blocks);
        Derivatives { subspace, svd, observability, blocks, sampling_rate_hz, product, mean }
    }

    /// Carries the scatter of the blocks to O, a handful of blocks after the other.
    fn for_each_handful(
        &self,
        control: &Control,
        mut each: impl FnMut(&[BlockDerivative]) -> Result<(), ModalError>,
    ) -> Result<(), ModalError> {
        let count = self.blocks.len() as f64;
        let scale = 1.0 / (count * (count - 1.0)).sqrt();
        let derivative = |block: &LagBlock| -> Result<BlockDerivative, ModalError> {
            control.checkpoint()?;
            let deviation: Vec<_> =
                hankel::correlations(block).iter().zip(&self.mean).map(|(r, mean)| (r - mean) * scale).collect();
            let e = self.subspace.weights.apply_left(self.product.of(&deviation));
            let d_o = d_observability(self.svd, e, self.observability.o.ncols());
            Ok(BlockDerivative::new(self.observability, &self.subspace.weights.remove_left(d_o)))
        };
        for handful in self.blocks.chunks(HANDFUL) {
            each(&handful.par_iter().map(derivative).collect::<Result<Vec<_>, _>>()?)?;
        }
        Ok(())
    }

    /// Writes the standard deviations into every pole of `orders`.
    ///
    /// # Errors
    /// [`ModalError::Cancelled`].
    pub fn attach(&self, orders: &mut [Order], control: &Control) -> Result<(), ModalError> {
        let mut variances: Vec<Vec<(f64, f64)>> = orders.iter().map(|o| vec![(0.0, 0.0); o.poles.len()]).collect();
        self.for_each_handful(control, |blocks| {
            orders.par_iter().zip(&mut variances).try_for_each(|(order, variances)| {
                let Some(left) = LeftFactors::new(order, self.observability) else {
                    variances.fill((f64::NAN, f64::NAN));
                    return Ok(());
                };
                let right = real_columns(order, &order.poles.iter().collect::<Vec<_>>());
                for block in blocks {
                    control.checkpoint()?;
                    let images = Images::new(block, &right);
                    for (p, (pole, variance)) in order.poles.iter().zip(variances.iter_mut()).enumerate() {
                        let d_mu = left.of_pole(&images.of(p, pole.mu), pole.column);
                        let (df, dxi) = frequency_and_damping(pole, d_mu, self.sampling_rate_hz);
                        variance.0 += df * df;
                        variance.1 += dxi * dxi;
                    }
                }
                Ok(())
            })
        })?;
        for (order, variances) in orders.iter_mut().zip(variances) {
            for (pole, (f, xi)) in order.poles.iter_mut().zip(variances) {
                let finite = f.is_finite() && xi.is_finite();
                pole.deviation = finite.then(|| Deviation { frequency_hz: f.sqrt(), damping_ratio: xi.sqrt() });
            }
        }
        Ok(())
    }

    /// Adds up what `add` makes of the derivatives of some poles with their shapes, block after block; nothing is
    /// added where the state matrix is defective. A pole is (index into `orders`, index into the order's poles).
    ///
    /// dψ_j = Σ_{i≠j} ψ_i (χᵢᴴ dA ψ_j)/(μ_j − μ_i); d(Cψ) = C dψ + dC ψ; then the scaling to the largest component.
    ///
    /// # Errors
    /// [`ModalError::Cancelled`].
    pub fn of_poles<T: Clone + Default + Send>(
        &self,
        orders: &[Order],
        poles: &[(usize, usize)],
        control: &Control,
        add: impl Fn(&mut T, &Pole, &PoleDerivative) + Sync,
    ) -> Result<Vec<T>, ModalError> {
        // Poles of one order share its factors.
        let mut by_order: Vec<Vec<(usize, T)>> = vec![Vec::new(); orders.len()];
        poles.iter().for_each(|&(o, p)| by_order[o].push((p, T::default())));
        self.for_each_handful(control, |blocks| {
            orders.par_iter().zip(&mut by_order).filter(|(_, wanted)| !wanted.is_empty()).try_for_each(
                |(order, wanted)| {
                    let Some(left) = LeftFactors::new(order, self.observability) else { return Ok(()) };
                    let chosen: Vec<&Pole> = wanted.iter().map(|(p, _)| &order.poles[*p]).collect();
                    let right = real_columns(order, &chosen);
                    for block in blocks {
                        control.checkpoint()?;
                        let images = Images::new(block, &right);
                        for (i, (pole, (_, sum))) in chosen.iter().zip(wanted.iter_mut()).enumerate() {
                            let d_a_psi = left.of_all(&images.of(i, pole.mu));
                            add(sum, pole, &self.of_pole(block, order, pole, &d_a_psi));
                        }
                    }
                    Ok(())
                },
            )
        })?;
        let mut sums: Vec<_> = by_order.into_iter().map(Vec::into_iter).collect();
        Ok(poles.iter().filter_map(|&(o, _)| sums[o].next()).map(|(_, sum)| sum).collect())
    }

    fn of_pole(&self, block: &BlockDerivative, order: &Order, pole: &Pole, d_a_psi: &DVector<C64>) -> PoleDerivative {
        let (n, j) = (order.order, pole.column);
        let c = self.observability.output(n);
        // dψ = V x in the real form of the eigenvectors.
        let mut x = DVector::<C64>::zeros(n);
        let mut i = 0;
        while i < n {
            if order.mu[i].im > 0.0 {
                let (upper, lower) = pair(d_a_psi, i);
                // Along the pole's own vector dψ has no part: it would only scale it.
                let own = if i == j { C64::new(0.0, 0.0) } else { upper / (pole.mu - order.mu[i]) };
                let conjugate = lower / (pole.mu - order.mu[i].conj());
                x[i] = own + conjugate;
                x[i + 1] = (own - conjugate) * C64::i();
                i += 2;
            } else {
                x[i] = d_a_psi[i] / (pole.mu - order.mu[i]);
                i += 1;
            }
        }
        let psi = order.right_vector(pole);
        let d_psi = times(order.vectors.as_view(), &x);
        let raw = times(c, &psi);
        let d_raw = times(c, &d_psi) + times(block.d_c.columns(0, n), &psi);
        let largest = (0..raw.len()).fold(0, |best, i| if raw[i].norm() > raw[best].norm() { i } else { best });
        let shape = (&d_raw - raw.map(|z| z / raw[largest] * d_raw[largest])) / raw[largest];
        let (f, xi) = frequency_and_damping(pole, pair(d_a_psi, j).0, self.sampling_rate_hz);
        PoleDerivative { frequency_hz: f, damping_ratio: xi, shape }
    }
}

/// A real matrix times a complex vector.
fn times(matrix: DMatrixView<'_, f64>, x: &DVector<C64>) -> DVector<C64> {
    (matrix * x.map(|z| z.re)).zip_map(&(matrix * x.map(|z| z.im)), C64::new)
}

/// From w_j x and w_(j+1) x of the real form: χᴴ x of the eigenvalue in column j and of its conjugate.
fn pair(real_form: &DVector<C64>, j: usize) -> (C64, C64) {
    let (first, second) = (real_form[j], real_form[j + 1] * C64::i());
    ((first - second) * 0.5, (first + second) * 0.5)
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

/// Y = W R⁻¹ and Z = Y R⁻ᵀ with the left eigenvectors W in real form:
/// W dA ψ = Y (B_dn − μ B_up) ψ + Z (E_dn − μ E_up) ψ.
struct LeftFactors {
    y: DMatrix<f64>,
    z: DMatrix<f64>,
}

impl LeftFactors {
    fn new(order: &Order, observability: &Observability) -> Option<LeftFactors> {
        let n = order.order;
        let r = observability.r.view((0, 0), (n, n)).into_owned();
        let inverse = oma_linalg::divide_upper(&r, &DMatrix::identity(n, n));
        let y = multiply(&order.left_vectors()?, &inverse);
        let z = multiply(&y, &inverse.transpose());
        Some(LeftFactors { y, z })
    }

    /// W dA ψ.
    fn of_all(&self, (b, e): &(DVector<C64>, DVector<C64>)) -> DVector<C64> {
        times(self.y.as_view(), b) + times(self.z.as_view(), e)
    }

    /// χᴴ dA ψ = dμ of the pole in `column`.
    fn of_pole(&self, (b, e): &(DVector<C64>, DVector<C64>), column: usize) -> C64 {
        let row = |i: usize| -> C64 {
            let along = |rows: &DMatrix<f64>, x: &DVector<C64>| -> C64 {
                rows.row(i).iter().zip(x.iter()).map(|(a, x)| *x * *a).sum()
            };
            along(&self.y, b) + along(&self.z, e)
        };
        (row(column) - row(column + 1) * C64::i()) * 0.5
    }
}

/// Re ψ and Im ψ of some poles of an order, side by side.
fn real_columns(order: &Order, poles: &[&Pole]) -> DMatrix<f64> {
    DMatrix::from_fn(order.order, 2 * poles.len(), |i, j| order.vectors[(i, poles[j / 2].column + j % 2)])
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

/// (df, dξ) from dμ: λ = fs ln μ, f = |λ|/2π, ξ = −Re λ/|λ|.
fn frequency_and_damping(pole: &Pole, d_mu: C64, sampling_rate_hz: f64) -> (f64, f64) {
    let d_lambda = d_mu / pole.mu * sampling_rate_hz;
    let modulus = pole.lambda.norm();
    let d_modulus = (pole.lambda.conj() * d_lambda).re / modulus;
    (d_modulus / (2.0 * PI), (-d_lambda.re - pole.damping_ratio * d_modulus) / modulus)
}
