//! What a record says of a mode's shape: two estimates of it, their scatter, and the shape to report.

use super::indicators;
use super::poles::Pole;
use super::uncertainty::PoleDerivative;
use nalgebra::{Complex, DMatrix, DVector};

type C64 = Complex<f64>;

/// What φ and g of a pole say together: the sum of both, each turned to its most real phase, without imaginary part and
/// of norm 1.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalShape {
    /// Norm 1, real.
    pub shape: DVector<C64>,
    /// 1 − MAC of the real parts of φ and g.
    pub disagreement: f64,
    /// Part of g that is no mixture of φ and its neighbours, squared, where it takes them to complete it; errors of that
    /// kind stay in the sum.
    pub unexplained: f64,
}

impl NormalShape {
    /// From φ and g, both real and of norm 1.
    pub fn new(phi: &DVector<f64>, g: &DVector<f64>, unexplained: f64) -> NormalShape {
        let cosine = phi.dot(g);
        let sum = phi + g * cosine.signum();
        let shape = (&sum / sum.norm()).map(|x| C64::new(x, 0.0));
        NormalShape { shape, disagreement: 1.0 - cosine * cosine, unexplained }
    }
}

/// The real part of a shape turned to its most real phase, of norm 1; `None` where it has no direction.
pub fn real(shape: &DVector<C64>) -> Option<DVector<f64>> {
    let real = (shape * indicators::turn_to_real(shape.as_view())).map(|z| z.re);
    let norm = real.norm();
    (norm > 0.0 && norm.is_finite()).then(|| real / norm)
}

/// g of a mode at all channels, of norm 1, from `g` at the references.
///
/// What g and φ differ by is, like all errors of shapes, a mixture of the modes around. So g is `phi` and some of the
/// `neighbours`, all of norm 1 at all channels, in the parts that fit it best at the references. `None` where they do not
/// determine a direction. Besides, the part of `g` that is none of them, squared.
pub fn completed(
    g: &DVector<f64>,
    references: &[usize],
    phi: &DVector<f64>,
    neighbours: &[&DVector<f64>],
) -> Option<(DVector<f64>, f64)> {
    /// Added to the mean square of the columns: what the references see of a neighbour with less than a thirtieth of the
    /// amplitude of others is left out.
    const RIDGE: f64 = 1e-3;
    let columns: Vec<&DVector<f64>> = std::iter::once(phi).chain(neighbours.iter().copied()).collect();
    let free = references.len().checked_sub(columns.len()).filter(|free| *free > 0)?;
    let seen = DMatrix::from_fn(references.len(), columns.len(), |row, column| columns[column][references[row]]);
    let mut normal = seen.tr_mul(&seen);
    let ridge = RIDGE * normal.trace() / columns.len() as f64;
    (1..columns.len()).for_each(|b| normal[(b, b)] += ridge);
    let parts = normal.cholesky()?.solve(&seen.tr_mul(g));
    let rest = (g - &seen * &parts).norm_squared() / g.norm_squared();
    // Each fitted part takes a share of the rest with it.
    let unexplained = rest * references.len() as f64 / free as f64;
    let whole: DVector<f64> = columns.iter().zip(parts.iter()).map(|(column, part)| *column * *part).sum();
    let norm = whole.norm();
    (norm > 0.0 && norm.is_finite()).then(|| (whole / norm, unexplained))
}

/// Scatter of a shape over the blocks, relative to its norm: squares of what is orthogonal to the shape, whose own
/// phase and scale are arbitrary, with the shape turned to its most real phase.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ShapeScatter {
    real: f64,
    imaginary: f64,
}

impl ShapeScatter {
    /// Adds one block.
    pub fn add(&mut self, pole: &Pole, derivative: &PoleDerivative) {
        let shape = &pole.shape;
        let norm = shape.norm_squared();
        let turn = indicators::turn_to_real(shape.as_view());
        let across = (&derivative.shape - shape * (shape.dotc(&derivative.shape) / norm)) * turn;
        self.real += across.iter().map(|z| z.re * z.re).sum::<f64>() / norm;
        self.imaginary += across.iter().map(|z| z.im * z.im).sum::<f64>() / norm;
    }

    /// What speaks against a normal mode in this pole alone.
    fn doubt(&self, pole: &Pole) -> Doubt {
        let differing = pole.normal.as_ref().map_or(0.0, |normal| normal.disagreement);
        Doubt {
            imaginary: evidence(imaginary(pole), self.imaginary),
            differing: evidence(differing, VARIANCES * self.real),
        }
    }

    /// The shape to report, and its expected 1 − MAC against the true one.
    ///
    /// A real mode, turned to its most real phase, has an imaginary part that is noise alone. Where the imaginary part
    /// is within its own scatter it is therefore dropped: that halves the error of shapes of crowded modes, while the
    /// shape of a truly complex mode stays as it is. Where g then agrees with φ within their scatter, the normal shape
    /// of both halves it once more. What is dropped beyond its own scatter may be part of the mode and counts as loss.
    /// Where the modes of the record together speak against either (`all`), it is done with none of them.
    ///
    /// In between both go by degrees: the last digits of a record must not decide what a shape is.
    pub fn judge(&self, pole: &Pole, all: Doubt) -> JudgedShape {
        let whole = self.real + self.imaginary;
        let Some(phi) = real(&pole.shape) else {
            return JudgedShape { shape: pole.shape.clone(), scatter: whole, expected_mac_loss: whole };
        };
        let turned = &pole.shape * indicators::turn_to_real(pole.shape.as_view());
        let imaginary = imaginary(pole);
        let own = self.doubt(pole);
        let doubt = own.or(all);
        let kept = doubt.imaginary;
        let dropped = (1.0 - kept).powi(2) * (imaginary - self.imaginary).max(0.0);
        let (mut re, mut differing) = (phi.clone(), 0.0);
        if let Some(normal) = &pole.normal {
            // The shape is (φ + w g)/(1 + w).
            let w = doubt.weight_of_g();
            // |φ + g| times the normal shape is φ + g.
            let length = (2.0 + 2.0 * (1.0 - normal.disagreement).max(0.0).sqrt()).sqrt();
            re = (&phi * (1.0 - w) + normal.shape.map(|z| z.re) * (w * length)) / (1.0 + w);
            differing = (w / (1.0 + w)).powi(2) * (normal.disagreement - VARIANCES * self.real).max(0.0);
        }
        let unit = kept / turned.map(|z| z.re).norm();
        let shape = re.zip_map(&turned, |re, z| C64::new(re, z.im * unit));
        JudgedShape {
            shape: indicators::scaled_to_largest(shape.as_view()),
            scatter: self.loss(pole, own),
            expected_mac_loss: self.loss(pole, doubt) + dropped + differing,
        }
    }

    /// Part of the expected 1 − MAC that comes of the scatter.
    fn loss(&self, pole: &Pole, doubt: Doubt) -> f64 {
        let real = pole.normal.as_ref().map_or(self.real, |normal| {
            // The error of g is independent of that of φ and about as large.
            let w = doubt.weight_of_g();
            self.real * (1.0 + w * w) / (1.0 + w).powi(2) + normal.unexplained.min(self.real) * w / 2.0
        });
        real + doubt.imaginary.powi(2) * self.imaginary
    }
}

/// The variance of what φ and g differ by, in those of φ: each has errors of its own.
const VARIANCES: f64 = 2.0;

/// The part of a shape that is imaginary at its most real phase, squared.
fn imaginary(pole: &Pole) -> f64 {
    let turn = indicators::turn_to_real(pole.shape.as_view());
    pole.shape.iter().map(|z| (z * turn).im.powi(2)).sum::<f64>() / pole.shape.norm_squared()
}

/// How much a square speaks against being noise of that variance, 0 to 1.
fn evidence(square: f64, variance: f64) -> f64 {
    /// The errors of a shape are mixtures of a few modes around; the mean square of three to five independent errors is below
    /// 2.6 to 2.2 times its variance in 95 % of the cases.
    const NONE: f64 = 2.0;
    const ALL: f64 = 3.0;
    if variance > 0.0 { ramp(square / variance, NONE, ALL) } else { f64::from(square > 0.0) }
}

/// 0 up to `none`, 1 from `all` on.
fn ramp(value: f64, none: f64, all: f64) -> f64 {
    ((value - none) / (all - none)).clamp(0.0, 1.0)
}

/// What speaks against normal modes under uncorrelated forces, each from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Doubt {
    /// Imaginary parts beyond their scatter: the modes are complex.
    pub imaginary: f64,
    /// φ and g that differ by more than their scatter: the modes are complex, or the forces on them are correlated.
    pub differing: f64,
}

impl Doubt {
    /// What all poles of a record's modes say together. Damping and forces are of the whole structure: the shapes of crowded modes,
    /// of which each alone is too uncertain to speak, are then taken to be no more normal than those of the others.
    pub fn together<'a>(poles: impl Iterator<Item = (&'a ShapeScatter, &'a Pole)>) -> Doubt {
        /// Mean doubt of records of 60 chains each (3 to 30 DOF): of imaginary parts 0 to 0.06 (quartiles) where modes are normal,
        /// 0.45 to 0.83 where they are complex; of what differs 0 to 0.05 in 95 % where forces are uncorrelated, 0.03 to 0.7
        /// (quartiles) where each has a colour and an intensity of its own.
        const IMAGINARY: (f64, f64) = (0.2, 0.4);
        const DIFFERING: (f64, f64) = (0.1, 0.25);
        let (mut count, mut sum) = (0.0_f64, Doubt::default());
        for (scatter, pole) in poles {
            let own = scatter.doubt(pole);
            count += 1.0;
            sum.imaginary += own.imaginary;
            sum.differing += own.differing;
        }
        let count = count.max(1.0);
        Doubt {
            imaginary: ramp(sum.imaginary / count, IMAGINARY.0, IMAGINARY.1),
            differing: ramp(sum.differing / count, DIFFERING.0, DIFFERING.1),
        }
    }

    /// Weight of g beside that of φ, 1.
    fn weight_of_g(self) -> f64 {
        (1.0 - self.imaginary) * (1.0 - self.differing)
    }

    /// What either says.
    fn or(self, other: Doubt) -> Doubt {
        let or = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        Doubt { imaginary: or(self.imaginary, other.imaginary), differing: or(self.differing, other.differing) }
    }
}

/// A shape and what its scatter says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedShape {
    /// Scaled to its largest component; real where nothing speaks against it.
    pub shape: DVector<C64>,
    /// Part of 1 − MAC that comes of the scatter, as the pole alone lets expect it: a record of complex modes leaves twice as
    /// much uncertain in each of them, but tells them apart no worse.
    pub scatter: f64,
    /// Expected 1 − MAC against the true shape.
    pub expected_mac_loss: f64,
}

/// The shapes of a mode in several orders as one, each with the weight that its expected loss leaves it, in phase with `phase`;
/// scaled to its largest component. The orders share their data, but the poles of the noise that disturb a shape are others
/// at each of them.
pub fn weighted_mean(shapes: &[JudgedShape], phase: &DVector<C64>) -> DVector<C64> {
    let mut sum = DVector::zeros(phase.len());
    for JudgedShape { shape, expected_mac_loss, .. } in shapes {
        let along = shape.dotc(phase);
        let scale = along.norm() * shape.norm() * expected_mac_loss.max(f64::EPSILON);
        if expected_mac_loss.is_finite() && scale > 0.0 && scale.is_finite() {
            sum += shape * (along / scale);
        }
    }
    let norm = sum.norm();
    if norm > 0.0 && norm.is_finite() { indicators::scaled_to_largest(sum.as_view()) } else { phase.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(values: [f64; 4], angle: f64, scale: f64) -> DVector<C64> {
        DVector::from_iterator(4, values.iter().map(|x| C64::from_polar(scale, angle) * *x))
    }

    fn normal(phi: &DVector<C64>, g: &DVector<C64>) -> Option<NormalShape> {
        Some(NormalShape::new(&real(phi)?, &real(g)?, 0.0))
    }

    #[test]
    fn errors_of_both_estimates_cancel_in_the_normal_shape() {
        let truth = [0.5, -0.5, 0.5, 0.5];
        let (above, below) = ([0.6, -0.5, 0.5, 0.4], [0.4, -0.5, 0.5, 0.6]);
        // Any phase, sign and scale of either.
        let normal = normal(&turned(above, 0.7, 1.0), &turned(below, -1.9, -30.0)).unwrap();
        let mac = indicators::mac(normal.shape.as_view(), turned(truth, 0.0, 1.0).as_view());
        assert!((1.0 - mac).abs() <= 1e-15);
        assert!((normal.shape.norm() - 1.0).abs() <= 1e-15);
        // cos = 0.98 / 1.02 between the two.
        assert!((normal.disagreement - (1.0 - (0.98_f64 / 1.02).powi(2))).abs() <= 1e-14);
    }

    #[test]
    fn without_a_direction_there_is_no_normal_shape() {
        assert_eq!(normal(&turned([1.0; 4], 0.0, 1.0), &DVector::zeros(4)), None);
        assert_eq!(normal(&turned([f64::NAN; 4], 0.0, 1.0), &turned([1.0; 4], 0.0, 1.0)), None);
    }

    fn pole(shape: DVector<C64>, g: DVector<C64>) -> Pole {
        let mu = C64::from_polar(0.99, 0.3);
        Pole { normal: normal(&shape, &g), ..Pole::new(2, 0, mu, &shape, 100.0) }
    }

    /// The other modes of the record are normal.
    const NONE: Doubt = Doubt { imaginary: 0.0, differing: 0.0 };

    /// Scatter that expects 1 − MAC = 0.02 of the real part and as much of the imaginary one.
    const SCATTER: ShapeScatter = ShapeScatter { real: 0.02, imaginary: 0.02 };

    #[test]
    fn both_estimates_count_where_they_agree_within_their_scatter() {
        let judged = SCATTER
            .judge(&pole(turned([0.6, -0.5, 0.5, 0.4], 0.7, 1.0), turned([0.4, -0.5, 0.5, 0.6], 0.1, 2.0)), NONE);
        let expected = turned([1.0, -1.0, 1.0, 1.0], 0.0, 1.0);
        assert!((1.0 - indicators::mac(judged.shape.as_view(), expected.as_view())).abs() <= 1e-15);
        assert_eq!(judged.scatter, 0.01);
        // 1 − (0.98 / 1.02)² between them is more than their scatter's 0.04: half the difference may be true.
        let differing = (1.0 - (0.98_f64 / 1.02).powi(2) - 0.04) / 4.0;
        assert!((judged.expected_mac_loss - (0.01 + differing)).abs() <= 1e-15);
    }

    #[test]
    fn the_shape_alone_counts_where_they_differ() {
        // 1 − MAC = 0.75 between the two: forces on the modes are correlated.
        let judged = SCATTER
            .judge(&pole(turned([0.5, -0.5, 0.5, 0.5], 0.7, 1.0), turned([-0.5, -0.5, 0.5, 0.5], 0.1, 2.0)), NONE);
        let expected = turned([1.0, -1.0, 1.0, 1.0], 0.0, 1.0);
        assert!((1.0 - indicators::mac(judged.shape.as_view(), expected.as_view())).abs() <= 1e-15);
        assert_eq!(judged.expected_mac_loss, 0.02);
    }

    #[test]
    fn a_complex_mode_stays_complex() {
        let shape = DVector::from_vec(vec![C64::new(1.0, 0.0), C64::new(0.0, 0.5), C64::new(0.3, 0.0)]);
        let judged = SCATTER.judge(&pole(shape.clone(), shape.clone()), NONE);
        assert!((judged.shape - &shape).norm() <= 1e-15);
        assert_eq!(judged.expected_mac_loss, 0.04);
    }

    /// A shape that is real within its scatter, in records whose other modes are normal, complex, or have correlated forces.
    #[test]
    fn what_the_others_say_counts_where_a_pole_alone_is_too_uncertain() {
        let shape = DVector::from_vec(vec![C64::new(1.0, 0.1), C64::new(0.1, 0.0), C64::new(1.0, -0.1)]);
        let quiet = pole(shape.clone(), shape.map(|z| C64::new(z.re, 0.0)));
        let complex = DVector::from_vec(vec![C64::new(1.0, 0.0), C64::new(0.0, 0.5), C64::new(0.3, 0.0)]);
        let complex = pole(complex.clone(), complex);
        let differing = pole(turned([0.5, -0.5, 0.5, 0.5], 0.7, 1.0), turned([-0.5, -0.5, 0.5, 0.5], 0.1, 2.0));
        let among = |loud: &Pole, of_five: usize| {
            let poles = (0..5).map(|k| (&SCATTER, if k < of_five { loud } else { &quiet }));
            Doubt::together(poles)
        };
        assert_eq!(among(&quiet, 0), NONE);
        assert_eq!(among(&complex, 1), NONE, "one of five is no rule");
        assert_eq!(among(&complex, 2).imaginary, 1.0);
        assert_eq!(among(&differing, 2), Doubt { differing: 1.0, ..NONE });
        assert_eq!(Doubt::together(std::iter::empty()), NONE);

        let normal = SCATTER.judge(&quiet, NONE);
        assert!(normal.shape.iter().all(|z| z.im == 0.0));
        let kept = SCATTER.judge(&quiet, among(&complex, 2));
        let mac = indicators::mac(kept.shape.as_view(), shape.as_view());
        assert!((1.0 - mac).abs() <= 1e-15, "the shape as it is: 1 − MAC {}", 1.0 - mac);
        // Real and imaginary part may err; which modes can be told apart does not change.
        assert!((kept.expected_mac_loss - 0.04).abs() <= 1e-15, "{}", kept.expected_mac_loss);
        assert_eq!(kept.scatter, normal.scatter);
        let alone = SCATTER.judge(&quiet, among(&differing, 2));
        let phi = real(&shape).unwrap().map(|x| C64::new(x, 0.0));
        let mac = indicators::mac(alone.shape.as_view(), phi.as_view());
        assert!((1.0 - mac).abs() <= 1e-15, "the real part of φ alone: 1 − MAC {}", 1.0 - mac);
        assert!((alone.expected_mac_loss - 0.02).abs() <= 1e-15, "{}", alone.expected_mac_loss);
    }

    #[test]
    fn an_imaginary_part_beyond_its_scatter_that_is_dropped_counts_as_loss() {
        let judged = |im: f64| {
            let shape = DVector::from_vec(vec![C64::new(1.0, im), C64::new(0.0, 0.0), C64::new(1.0, -im)]);
            SCATTER.judge(&Pole { normal: None, ..pole(shape.clone(), shape) }, NONE)
        };
        // im² / (1 + im²) of the shape, of which its scatter expects 0.02 and 0.05 is evidence.
        assert_eq!(judged(0.1).expected_mac_loss, 0.02);
        let beyond = judged(0.2);
        assert!((beyond.expected_mac_loss - 0.04 / 1.04).abs() <= 1e-15);
        assert_eq!(beyond.scatter, 0.02);
    }

    /// f32 instead of f64 moves squares by some 1e-6 of themselves; where they stand must not matter.
    #[test]
    fn no_last_digit_decides_what_a_shape_is() {
        let judged = |im: f64, apart: f64| {
            let shape = DVector::from_vec(vec![C64::new(1.0, im), C64::new(apart, 0.0), C64::new(1.0, -im)]);
            let g = DVector::from_vec(vec![C64::new(1.0, 0.0), C64::new(-apart, 0.0), C64::new(1.0, 0.0)]);
            SCATTER.judge(&pole(shape, g), NONE)
        };
        let (mut complex, mut plain) = (0, 0);
        for step in 0..400 {
            let (im, apart) = (0.001 * f64::from(step), 0.001 * f64::from(step));
            let at = |im: f64, apart: f64| {
                let (here, there) = (judged(im, apart), judged(im * (1.0 + 1e-6), apart * (1.0 + 1e-6)));
                let mac = indicators::mac(here.shape.as_view(), there.shape.as_view());
                assert!(1.0 - mac <= 1e-9, "{im}, {apart}: 1 − MAC {}", 1.0 - mac);
                assert!((here.expected_mac_loss - there.expected_mac_loss).abs() <= 1e-6, "{im}, {apart}");
                here
            };
            complex += usize::from((at(im, 0.1).scatter - 0.04).abs() <= 1e-9);
            plain += usize::from(at(0.0, apart).shape[1].re > 0.5 * apart);
        }
        // On both sides of where it is decided.
        assert!((100..300).contains(&complex) && (100..300).contains(&plain), "{complex} {plain}");
    }

    /// Six channels of which four are references; φ and g err by the same neighbour to opposite sides.
    #[test]
    fn what_the_references_tell_of_g_holds_at_all_channels() {
        let vector = |values: [f64; 6]| DVector::from_row_slice(&values).normalize();
        let truth = vector([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let neighbour = vector([2.0, 1.0, -1.0, -2.0, 0.5, 1.0]);
        let phi = (&truth + &neighbour * 0.2).normalize();
        let seen = (&truth - &neighbour * 0.2) * 7.0;
        let references = [0, 2, 3, 5];
        let g = DVector::from_fn(4, |row, _| seen[references[row]]).normalize();
        let (whole, unexplained) = completed(&g, &references, &phi, &[&neighbour]).unwrap();
        // The ridge takes 1e-3 of the neighbour's part of about 0.4 off.
        assert!((whole - seen.normalize()).norm() <= 1e-3);
        assert!(unexplained <= 1e-6, "{unexplained}");
        assert_eq!(completed(&g.rows(0, 2).into_owned(), &references[..2], &phi, &[&neighbour]), None);
    }

    #[test]
    fn a_shape_that_is_surer_counts_for_more() {
        let judged = |values: [f64; 4], angle: f64, loss: f64| JudgedShape {
            shape: turned(values, angle, 1.0),
            scatter: loss,
            expected_mac_loss: loss,
        };
        let both = [judged([1.0, 0.0, 0.0, 0.0], 0.3, 0.01), judged([0.6, 0.8, 0.0, 0.0], -2.0, 0.03)];
        let mean = weighted_mean(&both, &both[0].shape);
        // 3 (1, 0) + (0.6, 0.8)
        assert!((mean[1] / mean[0] - C64::new(0.8 / 3.6, 0.0)).norm() <= 1e-15);
        let unknown = [judged([1.0, 2.0, 0.0, 0.0], 0.0, f64::NAN)];
        assert_eq!(weighted_mean(&unknown, &both[0].shape), both[0].shape);
    }
}
