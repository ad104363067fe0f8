//! What a record of a shear chain can tell at best: the Cramér–Rao bounds of its modes. Here of modes that are known to be real,
//! under forces on them that are known to be uncorrelated; in [`coupled`] of others.
//!
//! Whittle's Fisher information of the observed channels, with S(ω) = Σ h_i φ_i φ_iᵀ + S_n, unknown frequencies,
//! damping ratios, intensities and shapes, known noise. With W_ab = φ_aᵀ S⁻¹ φ_b a derivative d_a of h_a with d_b of
//! h_b gives (N/2) mean d_a d_b W_ab². Shapes err as mixtures of their neighbours, φ_a + Σ c_ab φ_b, for which
//! (N/2) mean 2 h_a h_c (W_bd W_ac + W_bc W_ad).

pub(crate) mod coupled;

use nalgebra::{DMatrix, DVector};
use oma_worker::simulate::{ExactMode, Measurement};
use rayon::prelude::*;
use std::f64::consts::PI;

/// Neighbours on each side that a shape may be mixed with.
const NEIGHBOURS: usize = 5;

/// Bounds of one mode.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// Standard deviation of the frequency over the frequency.
    pub(crate) frequency: f64,
    /// Standard deviation of the damping ratio over the damping ratio.
    pub(crate) damping: f64,
    /// Expected 1 − MAC of the measured shape.
    pub(crate) loss: f64,
}

impl Bound {
    pub(crate) fn identifiable(&self) -> bool {
        self.damping < 0.3 && self.loss < 0.01
    }
}

/// Independent forces on the degrees of freedom: p(k) = memory · p(k − 1) + white noise.
#[derive(Debug, Clone)]
pub(crate) struct Forces {
    /// One a degree of freedom, 0 for a white force.
    pub(crate) memory: Vec<f64>,
    /// Variance of each.
    pub(crate) power: Vec<f64>,
}

impl Forces {
    pub(crate) fn white(dofs: usize) -> Forces {
        Forces { memory: vec![0.0; dofs], power: vec![1.0; dofs] }
    }

    /// Standard deviation of the noise that drives the force on one degree of freedom.
    pub(crate) fn innovation(&self, dof: usize) -> f64 {
        (self.power[dof] * (1.0 - self.memory[dof].powi(2))).sqrt()
    }

    /// Spectrum of the force on a mode at normalised angular frequency `w`.
    fn on(&self, mode: &ExactMode, w: f64) -> f64 {
        let of = |(d, x): (usize, &f64)| {
            let a = self.memory[d];
            (x * self.innovation(d)).powi(2) / (1.0 - 2.0 * a * w.cos() + a * a)
        };
        mode.shape.iter().enumerate().map(of).sum()
    }
}

/// |acceleration transfer|² of a zero-order-held oscillator at normalised angular frequency `w`, per unit force.
fn power(f: f64, xi: f64, dt: f64, w: f64) -> f64 {
    let omega = 2.0 * PI * f;
    let (decay, damped) = (xi * omega, omega * (1.0 - xi * xi).sqrt());
    let e = (-decay * dt).exp();
    let (c, s) = (e * (damped * dt).cos(), e * (damped * dt).sin() / damped);
    let (a11, a12, a21, a22) = (c + s * decay, s, -s * omega * omega, c - s * decay);
    let (b1, b2) = ((1.0 - a22 - 2.0 * decay * a12) / (omega * omega), a12);
    // x(k+1) = A x + b p, y = p − ω² x₁ − 2ξω x₂
    let (trace, det) = (a11 + a22, a11 * a22 - a12 * a21);
    let out = |x1: f64, x2: f64| -omega * omega * x1 - 2.0 * decay * x2;
    let n1 = out(b1, b2) - trace;
    let n2 = out(a11 * b1 + a12 * b2, a21 * b1 + a22 * b2) - trace * out(b1, b2) + det;
    let at = |c0: f64, c1: f64, c2: f64| {
        let re = c0 + c1 * w.cos() + c2 * (2.0 * w).cos();
        let im = -c1 * w.sin() - c2 * (2.0 * w).sin();
        re * re + im * im
    };
    at(1.0, n1, n2) / at(1.0, -trace, det)
}

/// Angular frequencies and weights of a mean over (0, π): dense around every mode, of which frequency and damping ratio are given.
/// `fineness`: points between them; three times as many are what all modes share on each side of theirs, as far as that leaves
/// each 20 to 60.
fn grid(modes: &[(f64, f64)], fs: f64, fineness: i32) -> Vec<(f64, f64)> {
    // Modes that lie close share their points.
    let steps = (3 * fineness / modes.len() as i32).clamp(20, 60);
    let mut points: Vec<f64> = (1..fineness).map(|i| PI * f64::from(i) / f64::from(fineness)).collect();
    for (frequency_hz, damping_ratio) in modes {
        let centre = 2.0 * PI * frequency_hz / fs;
        let half = damping_ratio * centre;
        // Equal steps in the angle of the resonance resolve flank and top alike.
        points.extend((-steps..=steps).map(|i| centre + half * (f64::from(i) / f64::from(steps + 1) * PI / 2.0).tan()));
    }
    points.retain(|w| *w > 0.0 && *w < PI);
    points.sort_by(f64::total_cmp);
    let n = points.len();
    let left = |i: usize| if i == 0 { 0.0 } else { points[i - 1] };
    let right = |i: usize| if i + 1 == n { PI } else { points[i + 1] };
    (0..n).map(|i| (points[i], (right(i) - left(i)) / 2.0 / PI)).collect()
}

/// The bounds of every one of `modes` in a record like `measurement` under `forces`, of which those on different modes
/// count as uncorrelated.
pub(crate) fn bounds(modes: &[ExactMode], forces: &Forces, measurement: &Measurement) -> Vec<Bound> {
    let (m, l) = (modes.len(), measurement.dofs.len());
    let fs = measurement.sampling_rate_hz;
    let half_samples = measurement.samples as f64 / 2.0;
    let places: Vec<(f64, f64)> = modes.iter().map(|mode| (mode.frequency_hz, mode.damping_ratio)).collect();
    let grid = grid(&places, fs, 600);
    let h = |f: f64, xi: f64, w: f64| power(f, xi, 1.0 / fs, w);
    let phi = DMatrix::from_fn(l, m, |c, i| modes[i].shape[measurement.dofs[c]]);
    let of_mode = |q: &ExactMode, w: f64| forces.on(q, w) * h(q.frequency_hz, q.damping_ratio, w);
    let variance: Vec<f64> = modes.iter().map(|q| grid.iter().map(|&(w, p)| p * of_mode(q, w)).sum()).collect();
    let noise = DVector::from_fn(l, |c, _| {
        let signal: f64 = (0..m).map(|i| phi[(c, i)].powi(2) * variance[i]).sum();
        signal * measurement.noise.powi(2)
    });
    let k = phi.transpose() * DMatrix::from_diagonal(&noise.map(|v| 1.0 / v)) * &phi;
    let neighbours: Vec<(usize, usize)> = (0..m)
        .flat_map(|a| (a.saturating_sub(NEIGHBOURS)..m.min(a + NEIGHBOURS + 1)).map(move |b| (a, b)))
        .filter(|(a, b)| a != b)
        .collect();
    let count = neighbours.len();
    let at = |points: &[(f64, f64)]| {
        let (mut poles, mut shapes) = (DMatrix::<f64>::zeros(3 * m, 3 * m), DMatrix::<f64>::zeros(count, count));
        for &(w, weight) in points {
            let force: Vec<f64> = modes.iter().map(|q| forces.on(q, w)).collect();
            let value: Vec<f64> = modes.iter().map(|q| of_mode(q, w)).collect();
            let inverse = (&k + DMatrix::from_diagonal(&DVector::from_fn(m, |i, _| 1.0 / value[i])))
                .try_inverse()
                .expect("K is positive semidefinite and the added diagonal positive");
            let wab = &k - &k * inverse * &k;
            // Derivatives with respect to ln f, ln ξ, ln intensity.
            let step = 1e-5;
            let derivative = |i: usize, kind: usize| {
                let (f, xi) = (modes[i].frequency_hz, modes[i].damping_ratio);
                let slope = match kind {
                    0 => h(f * (1.0 + step), xi, w) - h(f * (1.0 - step), xi, w),
                    1 => h(f, xi * (1.0 + step), w) - h(f, xi * (1.0 - step), w),
                    _ => return value[i],
                };
                slope / (2.0 * step) * force[i]
            };
            let d: Vec<f64> = (0..3 * m).map(|p| derivative(p / 3, p % 3)).collect();
            for q in 0..3 * m {
                for p in q..3 * m {
                    poles[(p, q)] += half_samples * weight * d[p] * d[q] * wab[(p / 3, q / 3)].powi(2);
                }
            }
            let wab = wab.as_slice();
            for (y, column) in shapes.as_mut_slice().chunks_exact_mut(count.max(1)).enumerate() {
                let (c, e) = neighbours[y];
                let (of_c, of_e) = (&wab[c * m..(c + 1) * m], &wab[e * m..(e + 1) * m]);
                let scale = half_samples * weight * 2.0 * value[c];
                for (entry, &(a, b)) in column[y..].iter_mut().zip(&neighbours[y..]) {
                    *entry += scale * value[a] * (of_e[b] * of_c[a] + of_c[b] * of_e[a]);
                }
            }
        }
        (poles, shapes)
    };
    let parts: Vec<_> = grid.par_chunks(grid.len().div_ceil(8)).map(at).collect();
    let (mut poles, mut shapes) = (DMatrix::<f64>::zeros(3 * m, 3 * m), DMatrix::<f64>::zeros(count, count));
    for (of_poles, of_shapes) in parts {
        poles += of_poles;
        shapes += of_shapes;
    }
    mirror(&mut poles);
    mirror(&mut shapes);
    let covariance = pseudo_inverse(poles);
    let losses = losses(&phi, &neighbours, shapes);
    (0..m)
        .map(|i| Bound {
            frequency: covariance[(3 * i, 3 * i)].sqrt(),
            damping: covariance[(3 * i + 1, 3 * i + 1)].sqrt(),
            loss: losses[i],
        })
        .collect()
}

fn mirror(matrix: &mut DMatrix<f64>) {
    for i in 0..matrix.nrows() {
        for j in 0..i {
            matrix[(j, i)] = matrix[(i, j)];
        }
    }
}

/// Inverse of a positive semidefinite matrix after scaling to a unit diagonal; directions without information get a
/// huge variance.
fn pseudo_inverse(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let scale = DVector::from_fn(matrix.nrows(), |i, _| 1.0 / matrix[(i, i)].max(f64::MIN_POSITIVE).sqrt());
    let scaled = DMatrix::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[(i, j)] * scale[i] * scale[j]);
    let eigen = scaled.symmetric_eigen();
    let inverse = eigen.eigenvalues.map(|v| 1.0 / v.max(1e-12));
    let back = &eigen.eigenvectors * DMatrix::from_diagonal(&inverse) * eigen.eigenvectors.transpose();
    DMatrix::from_fn(back.nrows(), back.ncols(), |i, j| back[(i, j)] * scale[i] * scale[j])
}

/// Expected orthogonal part of every shape's error. The mixtures of a mode are first turned into orthonormal errors,
/// since with few channels the neighbours' measured shapes are linearly dependent.
fn losses(phi: &DMatrix<f64>, neighbours: &[(usize, usize)], information: DMatrix<f64>) -> Vec<f64> {
    let m = phi.ncols();
    let mut columns: Vec<(usize, DVector<f64>)> = Vec::new();
    for a in 0..m {
        let own: Vec<usize> = (0..neighbours.len()).filter(|&x| neighbours[x].0 == a).collect();
        let shape = phi.column(a);
        let others = DMatrix::from_columns(
            &own.iter()
                .map(|&x| {
                    let other = phi.column(neighbours[x].1);
                    other - shape * (shape.dot(&other) / shape.norm_squared())
                })
                .collect::<Vec<_>>(),
        );
        let svd = others.svd(true, true);
        let v = svd.v_t.as_ref().expect("asked for").transpose();
        for (j, s) in svd.singular_values.iter().enumerate() {
            if *s > 1e-6 {
                let mut column = DVector::zeros(neighbours.len());
                own.iter().enumerate().for_each(|(i, &x)| column[x] = v[(i, j)] / s);
                columns.push((a, column));
            }
        }
    }
    let b = DMatrix::from_columns(&columns.iter().map(|(_, c)| c.clone()).collect::<Vec<_>>());
    let covariance = pseudo_inverse(b.transpose() * information * &b);
    let mut losses = vec![0.0; m];
    for (j, (a, _)) in columns.iter().enumerate() {
        losses[*a] += covariance[(j, j)] / phi.column(*a).norm_squared();
    }
    losses
}
