//! From the observability matrix to the poles of every order.
//!
//! O = U_n S_n^(1/2) for the highest order; O_up and O_dn are O without its last and first block row. With one thin
//! QR decomposition O_up = Q R and T = Qᵀ O_dn, the state matrix of every order n is A_n = R_n^(−1) T_n from the
//! leading n × n blocks, and C_n the first block row of O (Döhler & Mevel 2012, "fast multi-order").
//!
//! The correlations are R_m = C A^(m−1) G with the next-state output covariance G, so a pole's part of them is
//! Re(μ^(m−1) φ gᵀ), φ = C ψ, gᵀ = χᴴ G. If modes are real and the forces on them uncorrelated that is symmetric: then
//! g is a second estimate of the shape, with errors of its own (see [`Pole::normal`]).

use super::indicators;
use super::quantities::Common;
use super::setups::Rescaling;
use super::shapes::{self, NormalShape};
use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::NoConvergence;
use rayon::prelude::*;
use std::f64::consts::PI;

type C64 = Complex<f64>;

/// The observability matrix and what every order takes from it.
#[derive(Debug, Clone)]
pub struct Observability {
    /// Channels that the poles are looked for in, the rows of a block row.
    pub channels: usize,
    /// O, block_rows·channels × highest order.
    pub o: DMatrix<f64>,
    /// Q, (block_rows − 1)·channels × highest order.
    pub q: DMatrix<f64>,
    /// R, upper triangular.
    pub r: DMatrix<f64>,
    /// T = Qᵀ O_dn.
    pub t: DMatrix<f64>,
    /// C, the first block row of O by rule; those of order n are its first n columns.
    pub c: DMatrix<f64>,
    /// What makes one shape of the rows of C ψ where setups have each their own (PoGER); nothing by rule.
    pub rescaling: Option<Rescaling>,
    /// G, highest order × references; those of order n are its first n rows.
    pub g: DMatrix<f64>,
    /// The channel that each reference is; `None` where setups have each their own.
    pub references: Option<Vec<usize>>,
    /// What the shapes of poles are brought to one quantity with; nothing by rule. C and G stay as they were measured.
    pub common: Common,
}

impl Observability {
    /// Decomposes O once for all orders.
    pub fn new(o: DMatrix<f64>, channels: usize, g: DMatrix<f64>, references: Option<Vec<usize>>) -> Observability {
        let rows = o.nrows() - channels;
        let (q, r) = oma_linalg::qr(&o.rows(0, rows).into_owned());
        let t = oma_linalg::multiply_transposed(&q, &o.rows(channels, rows).into_owned());
        let c = o.rows(0, channels).into_owned();
        Observability { channels, o, q, r, t, c, rescaling: None, g, references, common: Common::default() }
    }

    /// A_n.
    pub fn state_matrix(&self, order: usize) -> DMatrix<f64> {
        let leading = |m: &DMatrix<f64>| m.view((0, 0), (order, order)).into_owned();
        oma_linalg::divide_upper(&leading(&self.r), &leading(&self.t))
    }

    /// The eigenstructure of one order.
    ///
    /// # Errors
    /// [`NoConvergence`].
    pub fn order(&self, order: usize, sampling_rate_hz: f64) -> Result<Order, NoConvergence> {
        let (mu, vectors) = oma_linalg::eigen(&self.state_matrix(order))?;
        let shapes = oma_linalg::multiply(&self.output(order), &vectors);
        let mut of_order = Order { order, mu, vectors, poles: Vec::new() };
        let inputs =
            of_order.left_vectors().map(|left| oma_linalg::multiply(&left, &self.g.rows(0, order).into_owned()));
        let mut poles: Vec<Pole> = (0..order)
            .filter(|&column| of_order.mu[column].im > 0.0)
            .map(|column| {
                let lambda = lambda(of_order.mu[column], sampling_rate_hz);
                let shape = shapes.column(column).zip_map(&shapes.column(column + 1), C64::new);
                let shape = self.common.bring(self.as_one(shape), lambda);
                let g = inputs.as_ref().map(|rows| reference_vector(rows, column));
                Pole { g, ..Pole::new(order, column, of_order.mu[column], &shape, sampling_rate_hz) }
            })
            .collect();
        poles.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
        let normal = self.normal_shapes(&poles);
        poles.iter_mut().zip(normal).for_each(|(pole, normal)| pole.normal = normal);
        of_order.poles = poles;
        Ok(of_order)
    }

    /// What φ and g of each of an order's poles say together.
    fn normal_shapes(&self, poles: &[Pole]) -> Vec<Option<NormalShape>> {
        let Some(references) = &self.references else { return vec![None; poles.len()] };
        let is_square = references.iter().copied().eq(0..self.channels);
        let lambdas: Vec<C64> = poles.iter().map(|pole| pole.lambda).collect();
        let reals: Vec<_> = poles.iter().map(|pole| shapes::real(&pole.shape)).collect();
        let of_pole = |(p, pole): (usize, &Pole)| {
            let mut g = DVector::zeros(self.channels);
            references.iter().zip(pole.g.as_ref()?.iter()).for_each(|(&row, z)| g[row] = *z);
            let g = self.common.bring(g, -pole.lambda).select_rows(references);
            let (phi, g) = (reals[p].as_ref()?, shapes::real(&g)?);
            if is_square {
                return Some(NormalShape::new(phi, &g, 0.0));
            }
            let neighbours = nearest(&lambdas, p).filter_map(|q| reals[q].as_ref());
            let neighbours: Vec<_> = neighbours.take(references.len() / 2).collect();
            let (g, unexplained) = shapes::completed(&g, references, phi, &neighbours)?;
            Some(NormalShape::new(phi, &g, unexplained))
        };
        poles.iter().enumerate().map(of_pole).collect()
    }

    /// C_n.
    pub fn output(&self, order: usize) -> DMatrix<f64> {
        self.c.columns(0, order).into_owned()
    }

    /// C ψ as one shape of all channels.
    pub fn as_one(&self, c_psi: DVector<C64>) -> DVector<C64> {
        match &self.rescaling {
            Some(rescaling) => rescaling.join(&c_psi),
            None => c_psi,
        }
    }

    /// The eigenstructure of several orders, in parallel.
    ///
    /// # Errors
    /// [`NoConvergence`].
    pub fn orders(&self, orders: &[usize], sampling_rate_hz: f64) -> Result<Vec<Order>, NoConvergence> {
        orders.par_iter().map(|&order| self.order(order, sampling_rate_hz)).collect()
    }
}

/// Places of the other λ, the nearest first.
fn nearest(lambdas: &[C64], p: usize) -> impl Iterator<Item = usize> {
    let distance = |q: usize| (lambdas[q] - lambdas[p]).norm();
    let mut others: Vec<usize> = (0..lambdas.len()).filter(|&q| q != p).collect();
    others.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    others.into_iter()
}

/// g of the pole in `column`, from the left eigenvectors in real form times G: χᴴ G.
fn reference_vector(rows: &DMatrix<f64>, column: usize) -> DVector<C64> {
    rows.row(column).transpose().zip_map(&rows.row(column + 1).transpose(), |re, im| C64::new(re, -im) * 0.5)
}

/// Eigenvalues and vectors of one state matrix, and its poles with positive frequency.
#[derive(Debug, Clone)]
pub struct Order {
    /// n.
    pub order: usize,
    /// Eigenvalues of A_n, conjugate pairs side by side.
    pub mu: Vec<C64>,
    /// Right eigenvectors in real form: of the pole in column j, ψ = v_j + i v_(j+1).
    pub vectors: DMatrix<f64>,
    /// One of each conjugate pair, ascending in frequency.
    pub poles: Vec<Pole>,
}

impl Order {
    /// Left eigenvectors in real form as rows, the inverse of [`Order::vectors`]: of the pole in column j,
    /// χᴴ = (w_j − i w_(j+1))/2, with χᵢᴴ ψⱼ = δᵢⱼ. `None` where A_n is defective to working precision.
    pub fn left_vectors(&self) -> Option<DMatrix<f64>> {
        oma_linalg::inverse(&self.vectors)
    }

    /// ψ of a pole.
    pub fn right_vector(&self, pole: &Pole) -> DVector<C64> {
        self.vectors.column(pole.column).zip_map(&self.vectors.column(pole.column + 1), C64::new)
    }
}

/// One pole.
#[derive(Debug, Clone, PartialEq)]
pub struct Pole {
    /// Model order.
    pub order: usize,
    /// The first of its two columns in [`Order::vectors`].
    pub column: usize,
    /// Eigenvalue of the sampled system.
    pub mu: C64,
    /// Eigenvalue λ = fs ln μ of the structure, 1/s.
    pub lambda: C64,
    /// |λ| / 2π, Hz.
    pub frequency_hz: f64,
    /// −Re λ / |λ|.
    pub damping_ratio: f64,
    /// C ψ in the common quantity, its largest component scaled to 1.
    pub shape: DVector<C64>,
    /// g as measured, to the scale of C ψ before it was scaled: one component a reference; `None` where A_n is defective
    /// to working precision.
    pub g: Option<DVector<C64>>,
    /// What φ and g say together if the mode is a normal one; `None` where g does not cover the channels.
    pub normal: Option<NormalShape>,
    /// Modal phase collinearity.
    pub mpc: f64,
    /// Mean phase deviation, rad.
    pub mpd: f64,
    /// Standard deviations, once they are known.
    pub deviation: Option<Deviation>,
}

/// Standard deviations of a pole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation {
    /// Of the frequency, Hz.
    pub frequency_hz: f64,
    /// Of the damping ratio.
    pub damping_ratio: f64,
}

/// λ = fs ln μ, 1/s.
pub(super) fn lambda(mu: C64, sampling_rate_hz: f64) -> C64 {
    mu.ln() * sampling_rate_hz
}

impl Pole {
    pub(super) fn new(order: usize, column: usize, mu: C64, shape: &DVector<C64>, sampling_rate_hz: f64) -> Pole {
        let lambda = lambda(mu, sampling_rate_hz);
        Pole {
            order,
            column,
            mu,
            lambda,
            frequency_hz: lambda.norm() / (2.0 * PI),
            damping_ratio: -lambda.re / lambda.norm(),
            shape: indicators::scaled_to_largest(shape.as_view()),
            g: None,
            normal: None,
            mpc: indicators::mpc(shape.as_view()),
            mpd: indicators::mpd(shape.as_view()),
            deviation: None,
        }
    }

    /// How alike the shapes of two poles are: MAC, or that of the normal shapes where it is higher. Two poles of one
    /// normal mode differ in φ by more noise than in what φ and g say together; poles of two modes differ in both.
    pub fn likeness(&self, other: &Pole) -> f64 {
        let own = indicators::mac(self.shape.as_view(), other.shape.as_view());
        let normal = self.normal.as_ref().zip(other.normal.as_ref());
        normal.map_or(own, |(a, b)| own.max(indicators::mac(a.shape.as_view(), b.shape.as_view())))
    }
}
