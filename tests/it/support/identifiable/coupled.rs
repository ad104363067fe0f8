//! The bounds of modes of which nobody says that their shapes are real, under forces of which nobody says how those on different
//! modes are correlated, nor, but for white ones, of what colour either is.
//!
//! S = Φ t F tᴴ Φᴴ + S_n, where t is each mode's acceleration under a force that is held and F the spectrum of the forces on the
//! modes; both poles of a mode have one shape here (its conjugate in truth, which makes ξ of a difference). Every derivative is
//! k φ_e u_vᴴ + h.c.: of a pole φ_a ∂t_a (Φ t F e_a)ᴴ, of a mixture of shapes φ_b t_a (Φ t F e_a)ᴴ, of a correlation
//! φ_a t_a (φ_b t_b)ᴴ. With A = S⁻¹ the information of two is (N/2) mean tr(A ∂S A ∂'S) = N mean Re(z + z'),
//! z = k k' u_vᴴAφ_e' u_v'ᴴAφ_e and z' = k k'* u_vᴴAu_v' φ_e'ᴴAφ_e. Mixtures and correlations are complex, k and ik. A
//! colour is linear in ln f, to which any is over the width of a few modes.

use super::{Bound, Forces, NEIGHBOURS, grid};
use nalgebra::{Complex, DMatrix, DVector};
use oma_worker::simulate::Measurement;
use rayon::prelude::*;
use std::f64::consts::PI;

type C64 = Complex<f64>;

/// A mode as the channels see it.
#[derive(Debug, Clone)]
pub(crate) struct TrueMode {
    pub(crate) frequency_hz: f64,
    pub(crate) damping_ratio: f64,
    /// Shape at the measured degrees of freedom.
    pub(crate) measured: DVector<C64>,
    /// How the force on every degree of freedom moves the mode: z' = λ z + bᵀp.
    pub(crate) participation: DVector<C64>,
}

fn pole(f: f64, xi: f64) -> C64 {
    C64::new(-xi, (1.0 - xi * xi).sqrt()) * (2.0 * PI * f)
}

/// Part of a force that goes to each pole of q'' + 2ξω q' + ω² q = p.
fn share(lambda: C64) -> C64 {
    C64::new(0.0, -0.5 / lambda.im)
}

/// q'' per unit of p.
fn transfer(f: f64, xi: f64, dt: f64, z: C64) -> C64 {
    let of = |lambda: C64, share: C64| {
        let e = (lambda * dt).exp();
        share * lambda * (e - 1.0) / (z - e)
    };
    let lambda = pole(f, xi);
    of(lambda, share(lambda)) + of(lambda.conj(), share(lambda).conj()) + 1.0
}

/// Something unknown.
#[derive(Clone, Copy)]
enum Unknown {
    Frequency(usize),
    Damping(usize),
    Intensity(usize),
    /// Part of the second in the shape of the first.
    Mixture(usize, usize),
    /// Of the forces on two.
    Correlation(usize, usize),
    /// How the intensity changes with the frequency, as a power of it.
    Colour(usize),
    /// How the correlation changes with its logarithm.
    CorrelationColour(usize, usize),
}

impl Unknown {
    /// Real numbers.
    fn width(self) -> usize {
        match self {
            Unknown::Mixture(..) | Unknown::Correlation(..) | Unknown::CorrelationColour(..) => 2,
            _ => 1,
        }
    }
}

/// What a line sees.
struct Line {
    t: Vec<C64>,
    /// Derivatives by ln f and ln ξ.
    by_frequency: Vec<C64>,
    by_damping: Vec<C64>,
    /// Intensity of the force on each mode.
    force: Vec<f64>,
    /// Φ t F, Φ t F tᴴ Φᴴ.
    cross: DMatrix<C64>,
    motion: DMatrix<C64>,
}

struct Structure<'a> {
    modes: &'a [TrueMode],
    forces: &'a Forces,
    measurement: &'a Measurement,
}

impl Structure<'_> {
    fn line(&self, w: f64) -> Line {
        let (m, dt, z) = (self.modes.len(), 1.0 / self.measurement.sampling_rate_hz, C64::from_polar(1.0, w));
        let power = |d: usize| {
            let a = self.forces.memory[d];
            self.forces.innovation(d).powi(2) / (1.0 - 2.0 * a * w.cos() + a * a)
        };
        let power: Vec<f64> = (0..self.forces.power.len()).map(power).collect();
        let own = |mode: &TrueMode| &mode.participation / share(pole(mode.frequency_hz, mode.damping_ratio));
        let own: Vec<DVector<C64>> = self.modes.iter().map(own).collect();
        let of_force = |a: usize, b: usize| -> C64 {
            own[a].iter().zip(own[b].iter()).zip(&power).map(|((a, b), p)| a * b.conj() * *p).sum()
        };
        let force = DMatrix::from_fn(m, m, of_force);
        let held = |f: f64, xi: f64| transfer(f, xi, dt, z);
        let step = 1e-5;
        let slope = |mode: &TrueMode, (f, xi): (f64, f64)| {
            let at = |by: f64| held(mode.frequency_hz * (1.0 + f * by), mode.damping_ratio * (1.0 + xi * by));
            (at(step) - at(-step)) / (2.0 * step)
        };
        let t: Vec<C64> = self.modes.iter().map(|mode| held(mode.frequency_hz, mode.damping_ratio)).collect();
        let moved = DMatrix::from_fn(self.measurement.dofs.len(), m, |c, a| self.modes[a].measured[c] * t[a]);
        let cross = &moved * &force;
        Line {
            t,
            by_frequency: self.modes.iter().map(|mode| slope(mode, (1.0, 0.0))).collect(),
            by_damping: self.modes.iter().map(|mode| slope(mode, (0.0, 1.0))).collect(),
            force: (0..m).map(|a| force[(a, a)].re).collect(),
            motion: &cross * moved.adjoint(),
            cross,
        }
    }
}

/// Sums of z and z' of one unknown with each from itself on.
type Column = Vec<[C64; 2]>;

/// The bounds of every one of `modes` in a record like `measurement` under `forces`. `white`: that they are white is known.
pub(crate) fn bounds(modes: &[TrueMode], white: bool, forces: &Forces, measurement: &Measurement) -> Vec<Bound> {
    let structure = Structure { modes, forces, measurement };
    let m = modes.len();
    let places: Vec<(f64, f64)> = modes.iter().map(|mode| (mode.frequency_hz, mode.damping_ratio)).collect();
    // Bounds differ by less than a per cent from those of a grid twice as fine.
    let grid = grid(&places, measurement.sampling_rate_hz, 200);
    let variances = |&(w, weight): &(f64, f64)| structure.line(w).motion.diagonal().map(|z| z.re * weight);
    let variances: Vec<DVector<f64>> = grid.par_iter().map(variances).collect();
    let noise = variances.iter().sum::<DVector<f64>>() * measurement.noise.powi(2);
    let phi = DMatrix::from_columns(&modes.iter().map(|mode| mode.measured.clone()).collect::<Vec<_>>());

    let near = |a: usize| (a.saturating_sub(NEIGHBOURS)..m.min(a + NEIGHBOURS + 1)).filter(move |b| *b != a);
    let mut unknowns: Vec<Unknown> = Vec::new();
    unknowns.extend((0..m).flat_map(|a| [Unknown::Frequency(a), Unknown::Damping(a), Unknown::Intensity(a)]));
    unknowns.extend((0..m).flat_map(|a| near(a).map(move |b| Unknown::Mixture(a, b))));
    unknowns.extend((0..m).flat_map(|a| (a + 1..m).map(move |b| Unknown::Correlation(a, b))));
    if !white {
        unknowns.extend((0..m).map(Unknown::Colour));
        unknowns.extend((0..m).flat_map(|a| (a + 1..m).map(move |b| Unknown::CorrelationColour(a, b))));
    }
    let count = unknowns.len();
    let of_points = |points: &[(f64, f64)]| {
        let mut columns: Vec<Column> = (0..count).map(|p| vec![[C64::default(); 2]; count - p]).collect();
        for &(w, weight) in points {
            let line = structure.line(w);
            let noisy = &line.motion + DMatrix::from_diagonal(&noise.map(|v| C64::new(v, 0.0)));
            let inverse = noisy.cholesky().expect("noise of every channel makes it positive definite").inverse();
            let u =
                DMatrix::from_fn(phi.nrows(), 2 * m, |c, v| if v < m { line.cross[(c, v)] } else { phi[(c, v - m)] });
            let (seen, of_u) = (&inverse * &phi, &inverse * &u);
            let (e, x, q) = (phi.adjoint() * &seen, u.adjoint() * &seen, u.adjoint() * &of_u);
            let correlation =
                |a: usize, b: usize| line.t[a] * line.t[b].conj() * (line.force[a] * line.force[b]).sqrt();
            // ln f/f_a.
            let from_own = |a: usize| (w / (2.0 * PI) * measurement.sampling_rate_hz / modes[a].frequency_hz).ln();
            let term = |unknown: &Unknown| match *unknown {
                Unknown::Frequency(a) => (line.by_frequency[a], a, a),
                Unknown::Damping(a) => (line.by_damping[a], a, a),
                Unknown::Intensity(a) => (line.t[a], a, a),
                Unknown::Mixture(a, b) => (line.t[a], b, a),
                Unknown::Correlation(a, b) => (correlation(a, b), a, m + b),
                Unknown::Colour(a) => (line.t[a] * from_own(a), a, a),
                Unknown::CorrelationColour(a, b) => (correlation(a, b) * ((from_own(a) + from_own(b)) / 2.0), a, m + b),
            };
            let terms: Vec<(C64, usize, usize)> = unknowns.iter().map(term).collect();
            let scale = weight * measurement.samples as f64;
            for (p, (column, &(k, a, v))) in columns.iter_mut().zip(&terms).enumerate() {
                let own: Vec<C64> = (0..m).map(|b| x[(v, b)] * k * scale).collect();
                let across: Vec<C64> = (0..m).map(|b| e[(b, a)] * k * scale).collect();
                let (back, over) = (x.column(a), q.row(v));
                for (sum, &(k, b, u)) in column.iter_mut().zip(&terms[p..]) {
                    sum[0] += back[u] * own[b] * k;
                    sum[1] += over[u] * across[b] * k.conj();
                }
            }
        }
        columns
    };
    let add = |mut a: Vec<Column>, b: Vec<Column>| {
        let pairs = a.iter_mut().flatten().zip(b.iter().flatten());
        pairs.for_each(|(a, b)| (a[0], a[1]) = (a[0] + b[0], a[1] + b[1]));
        a
    };
    let parts: Vec<Vec<Column>> = grid.par_chunks(grid.len().div_ceil(4)).map(of_points).collect();
    let widths: Vec<usize> = unknowns.iter().map(|unknown| unknown.width()).collect();
    let information = of_real_numbers(&widths, &parts.into_iter().reduce(add).expect("a grid has points"));
    let (basis, errors) = orthonormal_errors(&phi, &unknowns, widths.iter().sum());
    let half = oma_linalg::multiply_transposed(&basis, &information);
    let variances = variances_of(&oma_linalg::multiply(&half, &basis));
    let mut losses = vec![0.0; m];
    for (column, a) in errors {
        losses[a] += variances[column] / phi.column(a).norm_squared();
    }
    let bound =
        |a: usize| Bound { frequency: variances[3 * a].sqrt(), damping: variances[3 * a + 1].sqrt(), loss: losses[a] };
    (0..m).map(bound).collect()
}

/// The information of all real numbers: of an imaginary part k is ik.
fn of_real_numbers(widths: &[usize], columns: &[Column]) -> DMatrix<f64> {
    let first: Vec<usize> = (0..widths.len()).map(|p| widths[..p].iter().sum()).collect();
    let count = widths.iter().sum();
    let mut information = DMatrix::zeros(count, count);
    let mut put = |i: usize, j: usize, value: f64| {
        information[(i, j)] = value;
        information[(j, i)] = value;
    };
    for (p, column) in columns.iter().enumerate() {
        for (o, [z, other]) in (p..).zip(column) {
            let (i, j) = (first[p], first[o]);
            put(i, j, (z + other).re);
            if widths[o] == 2 {
                put(i, j + 1, (other - z).im);
            }
            if widths[p] == 2 {
                put(i + 1, j, -(z + other).im);
                if widths[o] == 2 {
                    put(i + 1, j + 1, (other - z).re);
                }
            }
        }
    }
    information
}

/// Takes numbers in which the errors of a shape are orthonormal and orthogonal to it to those of `unknowns`, in which they are
/// mixtures; and the columns of it that are an error of a mode. With few channels the neighbours' measured shapes are linearly
/// dependent.
fn orthonormal_errors(phi: &DMatrix<C64>, unknowns: &[Unknown], count: usize) -> (DMatrix<f64>, Vec<(usize, usize)>) {
    let unit = |p: usize| DVector::from_fn(count, |q, _| f64::from(u8::from(p == q)));
    let poles = 3 * phi.ncols();
    let mut columns: Vec<DVector<f64>> = (0..poles).map(unit).collect();
    let (mut errors, mut next) = (Vec::new(), poles);
    for a in 0..phi.ncols() {
        let shape = phi.column(a);
        let own = unknowns.iter().filter_map(|unknown| match *unknown {
            Unknown::Mixture(of, b) if of == a => Some(phi.column(b)),
            _ => None,
        });
        let others: Vec<DVector<C64>> =
            own.map(|other| other - shape * (shape.dotc(&other) / shape.norm_squared())).collect();
        if others.is_empty() {
            continue;
        }
        let svd = DMatrix::from_columns(&others).svd(false, true);
        let v = svd.v_t.expect("asked for").adjoint();
        for (j, s) in svd.singular_values.iter().enumerate().filter(|(_, s)| **s > 1e-6) {
            for turn in [C64::new(1.0, 0.0), C64::i()] {
                let mut column = DVector::zeros(count);
                for i in 0..others.len() {
                    let part = v[(i, j)] * turn / *s;
                    (column[next + 2 * i], column[next + 2 * i + 1]) = (part.re, part.im);
                }
                errors.push((columns.len(), a));
                columns.push(column);
            }
        }
        next += 2 * others.len();
    }
    columns.extend((next..count).map(unit));
    (DMatrix::from_columns(&columns), errors)
}

/// Diagonal of the inverse; a direction without information has a variance of a multiple of what it would be alone.
fn variances_of(information: &DMatrix<f64>) -> Vec<f64> {
    /// Of information alone; above the round-off of 2,000 numbers.
    const LEAST: f64 = 1e-10;
    let scale = information.diagonal().map(|own| 1.0 / own.max(f64::MIN_POSITIVE).sqrt());
    let n = information.nrows();
    let unit = |i: usize, j: usize| f64::from(u8::from(i == j));
    let scaled = DMatrix::from_fn(n, n, |i, j| information[(i, j)] * scale[i] * scale[j] + LEAST * unit(i, j));
    let l = oma_linalg::cholesky(&scaled).expect("information is positive semidefinite");
    let inverse = oma_linalg::divide_lower(&l, &DMatrix::identity(n, n));
    (0..n).map(|p| inverse.column(p).norm_squared() * scale[p].powi(2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oma_worker::simulate::{Damping, ExactMode, ShearChain};

    /// Where modes are real and forces white, not to know it makes the bounds no smaller, but for the half per cent that the grids
    /// differ by. With a channel at each mass mixtures and correlations are orthogonal to frequency and damping, of which the
    /// bounds are then the same; shapes lose two to five times as much where they might be complex, and more the closer they are
    /// where forces might have colours too.
    #[test]
    fn what_is_not_known_makes_no_bound_smaller() {
        let chain = ShearChain { dofs: 8, top_frequency_hz: 20.0, damping: Damping::Uniform(0.02) };
        for (dofs, most) in [((0..8).collect::<Vec<_>>(), [1.005, 1.1]), (vec![1, 3, 4, 7], [1.3, 1.3])] {
            let measurement = Measurement { dofs, sampling_rate_hz: 100.0, samples: 60_000, noise: 0.1, seed: 0 };
            let seen = |ExactMode { frequency_hz, damping_ratio, shape }: ExactMode| {
                let shape = shape.map(|x| C64::new(x, 0.0));
                let measured = measurement.dofs.iter().map(|&d| shape[d]);
                let measured = DVector::from_iterator(measurement.dofs.len(), measured);
                let participation = shape * share(pole(frequency_hz, damping_ratio));
                TrueMode { frequency_hz, damping_ratio, measured, participation }
            };
            let modes: Vec<TrueMode> = chain.modes().into_iter().map(seen).collect();
            let known = super::super::bounds(&chain.modes(), &Forces::white(8), &measurement);
            let [of_white, of_coloured] = most;
            let of = |white: bool| bounds(&modes, white, &Forces::white(8), &measurement);
            let both = [(of(true), of_white, 1.9..=5.0), (of(false), of_coloured, 1.9..=15.0)];
            // The colour of a force pulls at the flanks of its mode, and that of a correlation at shapes: 2 % and more.
            for (white, coloured) in both[0].0.iter().zip(&both[1].0) {
                assert!(coloured.damping >= 1.015 * white.damping, "{coloured:?} {white:?}");
                assert!(coloured.loss >= 1.015 * white.loss, "{coloured:?} {white:?}");
            }
            for (unknown, most, losses) in both {
                for (unknown, known) in unknown.iter().zip(&known) {
                    let ratios = [unknown.frequency / known.frequency, unknown.damping / known.damping];
                    assert!(ratios.iter().all(|r| (0.995..=most).contains(r)), "{unknown:?} {known:?}");
                    assert!(losses.contains(&(unknown.loss / known.loss)), "{unknown:?} {known:?}");
                }
            }
        }
    }
}
