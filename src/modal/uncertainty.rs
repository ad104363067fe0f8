//! Standard deviations of poles and shapes from the scatter of H over blocks of the record.
//!
//! First-order perturbation H → O → A → μ, φ, without Kronecker products (Döhler & Mevel 2013; algorithms §3.7).
//! With D = W₁ (H_k − H̄) W₂ / √(n_b (n_b − 1)) of block k, the variance of any quantity is the sum over the blocks
//! of its squared derivative in the direction D. The weights W₁, W₂ are held fixed: their own scatter changes the
//! derivatives of frequency and damping by 2 to 4 % of themselves (automation §5).
//!
//! What depends on the size of H is done once per block, for all orders; per pole and block O(n²) is left. Where the
//! blocks' part would take much memory a few of them are in hand at a time, and what is asked for later is made anew.

use super::ModalError;
use super::correlations::{self, Correlations};
use super::hankel::HankelProduct;
use super::poles::{Deviation, Observability, Order, Pole};
use super::ssi::Subspace;
use crate::compute::LagBlock;
use crate::model::control::Control;
use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::{Svd, multiply, multiply_transposed};
use rayon::prelude::*;
use std::f64::consts::PI;
use std::sync::OnceLock;

type C64 = Complex<f64>;

/// Up to this size the derivatives of all blocks stay for later questions, bytes.
const MOST_KEPT: usize = 32 << 20;

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

/// How one block of the record moves the observability and the output matrix, over √(n_b (n_b − 1)).
#[derive(Debug, Clone)]
pub struct Direction {
    /// dO, block_rows·channels × highest order.
    pub d_o: DMatrix<f64>,
    /// dC.
    pub d_c: DMatrix<f64>,
}

/// What a block of a record, told by its number, does.
type OfBlock<'a> = dyn Fn(usize, &LagBlock) -> Direction + Sync + 'a;

/// Derivatives in the direction of every block of the record.
pub struct Derivatives<'a> {
    observability: &'a Observability,
    /// Of each record.
    sources: Vec<&'a Correlations<'a>>,
    sampling_rate_hz: f64,
    /// What a block of a record does.
    direction: Box<OfBlock<'a>>,
    /// The derivatives of all blocks, where they are small and were asked for before.
    kept: OnceLock<Vec<BlockDerivative>>,
}

/// Derivatives of one pole in one direction.
#[derive(Debug, Clone)]
pub struct PoleDerivative {
    /// Of the frequency, Hz.
    pub frequency_hz: f64,
    /// Of the damping ratio.
    pub damping_ratio: f64,
    /// Of the shape in the common quantity, scaled to its largest component.
    pub shape: DVector<C64>,
}

impl<'a> Derivatives<'a> {
    /// The more triplets `svd` has beyond the highest order the better: with 1.3 times the rank of the signal the
    /// truncation is below the scatter (automation §5). `correlations`: those that `subspace` was formed from.
    pub fn new(
        subspace: &'a Subspace,
        svd: &'a Svd,
        observability: &'a Observability,
        correlations: &'a Correlations<'_>,
        sampling_rate_hz: f64,
    ) -> Derivatives<'a> {
        let product = HankelProduct::new(&subspace.weights.apply_right(&svd.v), subspace.block_rows);
        let deviations = Deviations::new(correlations);
        let direction = move |_, block: &LagBlock| {
            let e = subspace.weights.apply_left(product.of(&deviations.of(block)));
            let d_o = subspace.weights.remove_left(d_observability(svd, e, observability.o.ncols()));
            Direction { d_c: d_o.rows(0, observability.channels).into_owned(), d_o }
        };
        Derivatives::along(observability, vec![correlations], direction, sampling_rate_hz)
    }

    /// Derivatives in the directions that the blocks of independent records move O and C in: `direction` is given the number of
    /// the record and one of its blocks.
    pub fn along(
        observability: &'a Observability,
        sources: Vec<&'a Correlations<'_>>,
        direction: impl Fn(usize, &LagBlock) -> Direction + Sync + 'a,
        sampling_rate_hz: f64,
    ) -> Derivatives<'a> {
        let (direction, kept) = (Box::new(direction), OnceLock::new());
        Derivatives { observability, sources, sampling_rate_hz, direction, kept }
    }

    /// Carries the scatter of the blocks to O, a handful of blocks after the other.
    fn for_each_handful(
        &self,
        control: &Control,
        mut each: impl FnMut(&[BlockDerivative]) -> Result<(), ModalError> + Send,
    ) -> Result<(), ModalError> {
        if let Some(kept) = self.kept.get() {
            return each(kept);
        }
        let (order, rows) = (self.observability.o.ncols(), self.observability.c.nrows());
        let count: usize = self.sources.iter().map(|source| source.blocks).sum();
        let size = count * order * (4 * order + rows) * size_of::<f64>();
        let mut kept = Vec::new();
        for (number, source) in self.sources.iter().enumerate() {
            let derivative = |block: &LagBlock| -> Result<BlockDerivative, ModalError> {
                control.checkpoint()?;
                Ok(BlockDerivative::new(self.observability, (self.direction)(number, block)))
            };
            source.for_each_handful(|handful| {
                let derivatives = handful.par_iter().map(derivative).collect::<Result<Vec<_>, _>>()?;
                each(&derivatives)?;
                if size <= MOST_KEPT {
                    kept.extend(derivatives);
                }
                Ok(())
            })?;
        }
        if size <= MOST_KEPT {
            // Two first questions at once would find the same; either may stay.
            self.kept.get_or_init(|| kept);
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
                let poles: Vec<&Pole> = order.poles.iter().collect();
                let right = real_columns(order, &poles);
                for block in blocks {
                    control.checkpoint()?;
                    let images = Images::new(block, &right, &poles);
                    for (p, (pole, variance)) in poles.iter().zip(variances.iter_mut()).enumerate() {
                        let d_mu = left.of_pole(&images, p, pole.column);
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
    /// dψ_j = Σ_{i≠j} ψ_i (χᵢᴴ dA ψ_j)/(μ_j − μ_i); d(Cψ) = C dψ + dC ψ; then to the common quantity, and the scaling to
    /// the largest component.
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
                    let c = self.observability.output(order.order);
                    let raw = multiply(&c, &right);
                    for block in blocks {
                        control.checkpoint()?;
                        let d_a_psi = left.of_all(&Images::new(block, &right, &chosen));
                        let d_psi = multiply(&order.vectors, &along_vectors(order, &chosen, &d_a_psi));
                        let d_c = block.d_c.columns(0, order.order).into_owned();
                        let d_raw = multiply(&c, &d_psi) + multiply(&d_c, &right);
                        for (p, (pole, (_, sum))) in chosen.iter().zip(wanted.iter_mut()).enumerate() {
                            let d_mu = pair(&d_a_psi, p, pole.column).0;
                            let (f, xi) = frequency_and_damping(pole, d_mu, self.sampling_rate_hz);
                            let (raw, d_raw) = (complex_column(&raw, p), complex_column(&d_raw, p));
                            let d_lambda = d_lambda(pole, d_mu, self.sampling_rate_hz);
                            let (raw, d_raw) = match &self.observability.rescaling {
                                Some(rescaling) => (rescaling.join(&raw), rescaling.derivative(&raw, &d_raw)),
                                None => (raw, d_raw),
                            };
                            let common = &self.observability.common;
                            let d_raw = common.derivative(&raw, d_raw, pole.lambda, d_lambda);
                            let shape = d_shape(&common.bring(raw, pole.lambda), &d_raw);
                            add(sum, pole, &PoleDerivative { frequency_hz: f, damping_ratio: xi, shape });
                        }
                    }
                    Ok(())
                },
            )
        })?;
        let mut sums: Vec<_> = by_order.into_iter().map(Vec::into_iter).collect();
        Ok(poles.iter().filter_map(|&(o, _)| sums[o].next()).map(|(_, sum)| sum).collect())
    }
}

/// The deviations of a record's blocks from their mean.
pub(super) struct Deviations {
    blocks: f64,
    mean: Vec<DMatrix<f64>>,
}

impl Deviations {
    pub(super) fn new(correlations: &Correlations<'_>) -> Deviations {
        Deviations { blocks: correlations.blocks as f64, mean: correlations.mean() }
    }

    /// (R_m of the block − its mean) / √(n_b (n_b − 1)).
    pub(super) fn of(&self, block: &LagBlock) -> Vec<DMatrix<f64>> {
        let scale = 1.0 / (self.blocks * (self.blocks - 1.0)).sqrt();
        correlations::of_block(block).zip(&self.mean).map(|(r, mean)| (r - mean) * scale).collect()
    }
}

/// x of dψ = V x in the real form of the eigenvectors, of some poles, from W dA ψ of each.
fn along_vectors(order: &Order, poles: &[&Pole], d_a_psi: &DMatrix<f64>) -> DMatrix<f64> {
    let n = order.order;
    let mut x = DMatrix::zeros(n, 2 * poles.len());
    for (p, pole) in poles.iter().enumerate() {
        let mut put = |i: usize, value: C64| (x[(i, 2 * p)], x[(i, 2 * p + 1)]) = (value.re, value.im);
        let mut i = 0;
        while i < n {
            if order.mu[i].im > 0.0 {
                let (upper, lower) = pair(d_a_psi, p, i);
                // Along the pole's own vector dψ has no part: it would only scale it.
                let own = if i == pole.column { C64::new(0.0, 0.0) } else { upper / (pole.mu - order.mu[i]) };
                let conjugate = lower / (pole.mu - order.mu[i].conj());
                put(i, own + conjugate);
                put(i + 1, (own - conjugate) * C64::i());
                i += 2;
            } else {
                put(i, complex(d_a_psi, p, i) / (pole.mu - order.mu[i]));
                i += 1;
            }
        }
    }
    x
}

/// Derivative of Cψ scaled to its largest component, from Cψ and its derivative.
fn d_shape(raw: &DVector<C64>, d_raw: &DVector<C64>) -> DVector<C64> {
    let largest = (0..raw.len()).fold(0, |best, i| if raw[i].norm() > raw[best].norm() { i } else { best });
    (d_raw - raw.map(|z| z / raw[largest] * d_raw[largest])) / raw[largest]
}

/// Complex columns are kept as real ones, Re and Im side by side: entry `i` of the `p`-th.
fn complex(columns: &DMatrix<f64>, p: usize, i: usize) -> C64 {
    C64::new(columns[(i, 2 * p)], columns[(i, 2 * p + 1)])
}

fn complex_column(columns: &DMatrix<f64>, p: usize) -> DVector<C64> {
    columns.column(2 * p).zip_map(&columns.column(2 * p + 1), C64::new)
}

/// From w_j x and w_(j+1) x of the real form, x the `p`-th column: χᴴ x of the eigenvalue in column j and of its conjugate.
fn pair(columns: &DMatrix<f64>, p: usize, j: usize) -> (C64, C64) {
    let (first, second) = (complex(columns, p, j), complex(columns, p, j + 1) * C64::i());
    ((first - second) * 0.5, (first + second) * 0.5)
}

/// dO from E = D V, with u, σ, v the triplets and M = Uᵀ E:
/// dσ_j = M_jj; du_j = Σ_{i≠j} u_i (σ_j M_ij + σ_i M_ji)/(σ_j² − σ_i²) + (E_j − U M_j)/σ_j;
/// dO_j = u_j dσ_j/(2√σ_j) + √σ_j du_j.
pub(super) fn d_observability(svd: &Svd, e: DMatrix<f64>, order: usize) -> DMatrix<f64> {
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
    fn new(observability: &Observability, Direction { d_o, d_c }: Direction) -> BlockDerivative {
        let l = observability.channels;
        let rows = observability.o.nrows() - l;
        let (d_up, d_dn) = (d_o.rows(0, rows).into_owned(), d_o.rows(l, rows).into_owned());
        let (up, dn) = (observability.o.rows(0, rows).into_owned(), observability.o.rows(l, rows).into_owned());
        BlockDerivative {
            b_dn: multiply_transposed(&observability.q, &d_dn),
            b_up: multiply_transposed(&observability.q, &d_up),
            e_dn: multiply_transposed(&d_up, &dn),
            e_up: multiply_transposed(&d_up, &up),
            d_c,
        }
    }
}

/// Yᵀ and Zᵀ of Y = W R⁻¹ and Z = Y R⁻ᵀ with the left eigenvectors W in real form:
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
        let y = multiply_transposed(&inverse, &order.left_vectors()?.transpose());
        let z = multiply(&inverse, &y);
        Some(LeftFactors { y, z })
    }

    /// W dA ψ of every pole.
    fn of_all(&self, images: &Images) -> DMatrix<f64> {
        multiply_transposed(&self.y, &images.b) + multiply_transposed(&self.z, &images.e)
    }

    /// χᴴ dA ψ = dμ of the `p`-th pole, whose place among the eigenvalues is `column`.
    fn of_pole(&self, images: &Images, p: usize, column: usize) -> C64 {
        let row = |i: usize| {
            let part = |k: usize| self.y.column(i).dot(&images.b.column(k)) + self.z.column(i).dot(&images.e.column(k));
            C64::new(part(2 * p), part(2 * p + 1))
        };
        (row(column) - row(column + 1) * C64::i()) * 0.5
    }
}

/// Re ψ and Im ψ of some poles of an order, side by side.
fn real_columns(order: &Order, poles: &[&Pole]) -> DMatrix<f64> {
    DMatrix::from_fn(order.order, 2 * poles.len(), |i, j| order.vectors[(i, poles[j / 2].column + j % 2)])
}

/// (B_dn − μ B_up) ψ and (E_dn − μ E_up) ψ of a block and some poles of one order, Re and Im side by side.
struct Images {
    b: DMatrix<f64>,
    e: DMatrix<f64>,
}

impl Images {
    /// `right`: the [`real_columns`] of the poles.
    fn new(block: &BlockDerivative, right: &DMatrix<f64>, poles: &[&Pole]) -> Images {
        let n = right.nrows();
        let image = |matrix: &DMatrix<f64>| multiply(&matrix.view((0, 0), (n, n)).into_owned(), right);
        let difference = |down: &DMatrix<f64>, up: &DMatrix<f64>| {
            let (mut difference, up) = (image(down), image(up));
            for (p, pole) in poles.iter().enumerate() {
                let (re, im) = (pole.mu.re, pole.mu.im);
                difference.column_mut(2 * p).axpy(-re, &up.column(2 * p), 1.0);
                difference.column_mut(2 * p).axpy(im, &up.column(2 * p + 1), 1.0);
                difference.column_mut(2 * p + 1).axpy(-im, &up.column(2 * p), 1.0);
                difference.column_mut(2 * p + 1).axpy(-re, &up.column(2 * p + 1), 1.0);
            }
            difference
        };
        Images { b: difference(&block.b_dn, &block.b_up), e: difference(&block.e_dn, &block.e_up) }
    }
}

/// dλ from dμ, 1/s.
fn d_lambda(pole: &Pole, d_mu: C64, sampling_rate_hz: f64) -> C64 {
    d_mu / pole.mu * sampling_rate_hz
}

/// (df, dξ) from dμ: λ = fs ln μ, f = |λ|/2π, ξ = −Re λ/|λ|.
fn frequency_and_damping(pole: &Pole, d_mu: C64, sampling_rate_hz: f64) -> (f64, f64) {
    let d_lambda = d_lambda(pole, d_mu, sampling_rate_hz);
    let modulus = pole.lambda.norm();
    let d_modulus = (pole.lambda.conj() * d_lambda).re / modulus;
    (d_modulus / (2.0 * PI), (-d_lambda.re - pole.damping_ratio * d_modulus) / modulus)
}
