//! What a record says of a mode's shape: two estimates of it, their scatter, and the shape to report.

use super::indicators;
use super::poles::Pole;
use super::uncertainty::PoleDerivative;
use nalgebra::{Complex, DVector};

type C64 = Complex<f64>;

/// What φ and g of a pole say together: the sum of both, each turned to its most real phase, without imaginary part and
/// of norm 1.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalShape {
    /// Norm 1, real.
    pub shape: DVector<C64>,
    /// 1 − MAC of the real parts of φ and g.
    pub disagreement: f64,
}

impl NormalShape {
    /// From φ and g, of any phase and scale; `None` where either has no direction.
    pub fn new(phi: &DVector<C64>, g: &DVector<C64>) -> Option<NormalShape> {
        let real = |shape: &DVector<C64>| {
            let real = (shape * indicators::turn_to_real(shape.as_view())).map(|z| z.re);
            let norm = real.norm();
            (norm > 0.0 && norm.is_finite()).then(|| real / norm)
        };
        let (phi, g) = (real(phi)?, real(g)?);
        let cosine = phi.dot(&g);
        let sum = phi + g * cosine.signum();
        let shape = (&sum / sum.norm()).map(|x| C64::new(x, 0.0));
        Some(NormalShape { shape, disagreement: 1.0 - cosine * cosine })
    }
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

    /// The shape to report, and its expected 1 − MAC against the true one.
    ///
    /// A real mode, turned to its most real phase, has an imaginary part that is noise alone. Where the imaginary part
    /// is within its own scatter it is therefore dropped: that halves the error of shapes of crowded modes, while the
    /// shape of a truly complex mode stays as it is. Where g then agrees with φ within their scatter, the normal shape
    /// of both halves it once more.
    pub fn judge(&self, pole: &Pole) -> JudgedShape {
        let shape = &pole.shape;
        let turned = shape * indicators::turn_to_real(shape.as_view());
        let imaginary = turned.iter().map(|z| z.im * z.im).sum::<f64>() / shape.norm_squared();
        if imaginary > EVIDENCE * self.imaginary {
            return JudgedShape { shape: shape.clone(), expected_mac_loss: self.real + self.imaginary };
        }
        // The error of g is independent of that of φ and about as large.
        match &pole.normal {
            Some(normal) if normal.disagreement <= EVIDENCE * 2.0 * self.real => JudgedShape {
                shape: indicators::scaled_to_largest(normal.shape.as_view()),
                expected_mac_loss: self.real / 2.0,
            },
            _ => {
                let real = turned.map(|z| C64::new(z.re, 0.0));
                JudgedShape { shape: indicators::scaled_to_largest(real.as_view()), expected_mac_loss: self.real }
            }
        }
    }
}

/// What is below this many times its own variance is no evidence: two standard deviations.
const EVIDENCE: f64 = 4.0;

/// A shape and what its scatter says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedShape {
    /// Scaled to its largest component; real where nothing speaks against it.
    pub shape: DVector<C64>,
    /// Expected 1 − MAC against the true shape.
    pub expected_mac_loss: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(values: [f64; 4], angle: f64, scale: f64) -> DVector<C64> {
        DVector::from_iterator(4, values.iter().map(|x| C64::from_polar(scale, angle) * *x))
    }

    #[test]
    fn errors_of_both_estimates_cancel_in_the_normal_shape() {
        let truth = [0.5, -0.5, 0.5, 0.5];
        let (above, below) = ([0.6, -0.5, 0.5, 0.4], [0.4, -0.5, 0.5, 0.6]);
        // Any phase, sign and scale of either.
        let normal = NormalShape::new(&turned(above, 0.7, 1.0), &turned(below, -1.9, -30.0)).unwrap();
        let mac = indicators::mac(normal.shape.as_view(), turned(truth, 0.0, 1.0).as_view());
        assert!((1.0 - mac).abs() <= 1e-15);
        assert!((normal.shape.norm() - 1.0).abs() <= 1e-15);
        // cos = 0.98 / 1.02 between the two.
        assert!((normal.disagreement - (1.0 - (0.98_f64 / 1.02).powi(2))).abs() <= 1e-14);
    }

    #[test]
    fn without_a_direction_there_is_no_normal_shape() {
        assert_eq!(NormalShape::new(&turned([1.0; 4], 0.0, 1.0), &DVector::zeros(4)), None);
        assert_eq!(NormalShape::new(&turned([f64::NAN; 4], 0.0, 1.0), &turned([1.0; 4], 0.0, 1.0)), None);
    }

    fn pole(shape: DVector<C64>, g: DVector<C64>) -> Pole {
        let mu = C64::from_polar(0.99, 0.3);
        Pole { normal: NormalShape::new(&shape, &g), ..Pole::new(2, 0, mu, &shape, 100.0) }
    }

    /// Scatter that expects 1 − MAC = 0.01 of the real part and as much of the imaginary one.
    const SCATTER: ShapeScatter = ShapeScatter { real: 0.01, imaginary: 0.01 };

    #[test]
    fn both_estimates_count_where_they_agree_within_their_scatter() {
        let judged =
            SCATTER.judge(&pole(turned([0.6, -0.5, 0.5, 0.4], 0.7, 1.0), turned([0.4, -0.5, 0.5, 0.6], 0.1, 2.0)));
        let expected = turned([1.0, -1.0, 1.0, 1.0], 0.0, 1.0);
        assert!((1.0 - indicators::mac(judged.shape.as_view(), expected.as_view())).abs() <= 1e-15);
        assert_eq!(judged.expected_mac_loss, 0.005);
    }

    #[test]
    fn the_shape_alone_counts_where_they_differ() {
        // 1 − MAC = 0.75 between the two: forces on the modes are correlated.
        let judged =
            SCATTER.judge(&pole(turned([0.5, -0.5, 0.5, 0.5], 0.7, 1.0), turned([-0.5, -0.5, 0.5, 0.5], 0.1, 2.0)));
        let expected = turned([1.0, -1.0, 1.0, 1.0], 0.0, 1.0);
        assert!((1.0 - indicators::mac(judged.shape.as_view(), expected.as_view())).abs() <= 1e-15);
        assert_eq!(judged.expected_mac_loss, 0.01);
    }

    #[test]
    fn a_complex_mode_stays_complex() {
        let shape = DVector::from_vec(vec![C64::new(1.0, 0.0), C64::new(0.0, 0.5), C64::new(0.3, 0.0)]);
        let judged = SCATTER.judge(&pole(shape.clone(), shape.clone()));
        assert_eq!(judged.shape, shape);
        assert_eq!(judged.expected_mac_loss, 0.02);
    }
}
