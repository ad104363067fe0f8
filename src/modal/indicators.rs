//! Numbers that judge mode shapes.

use nalgebra::{Complex, DVector, DVectorView};

type C64 = Complex<f64>;

/// Modal assurance criterion |aᴴb|² / (aᴴa · bᴴb), 0 to 1; 0 if one shape is zero.
///
/// # Source
/// Allemang & Brown (1982).
pub fn mac(a: DVectorView<'_, C64>, b: DVectorView<'_, C64>) -> f64 {
    /// Sums side by side, so that none waits for the one before: selection asks for the MAC of every pair of near poles.
    const LANES: usize = 4;
    let (mut product, mut of_a, mut of_b) = ([C64::default(); LANES], [0.0; LANES], [0.0; LANES]);
    for (a, b) in a.as_slice().chunks(LANES).zip(b.as_slice().chunks(LANES)) {
        for (k, (a, b)) in a.iter().zip(b).enumerate() {
            product[k] += a.conj() * b;
            of_a[k] += a.norm_sqr();
            of_b[k] += b.norm_sqr();
        }
    }
    let norms = of_a.iter().sum::<f64>() * of_b.iter().sum::<f64>();
    if norms > 0.0 { product.iter().sum::<C64>().norm_sqr() / norms } else { 0.0 }
}

/// Modal phase collinearity: 1 if all components lie on one line through the origin of the complex plane, towards
/// 0 as they spread in phase. ((λ₁ − λ₂)/(λ₁ + λ₂))² of the 2 × 2 matrix of sums of Re and Im.
///
/// Its complement 1 − MPC is the modal complexity factor (MCF) of other packages. The mean is not removed, so a rigid shape has 1 (pyOMA2 removes it and gives NaN there).
///
/// # Source
/// Pappa, Elliott & Schenk (1993), without mean removal.
pub fn mpc(shape: DVectorView<'_, C64>) -> f64 {
    let (xx, yy, xy) = moments(shape);
    if xx + yy > 0.0 { ((xx - yy).powi(2) + 4.0 * xy * xy) / (xx + yy).powi(2) } else { 0.0 }
}

fn moments(shape: DVectorView<'_, C64>) -> (f64, f64, f64) {
    shape.iter().fold((0.0, 0.0, 0.0), |(xx, yy, xy), z| (xx + z.re * z.re, yy + z.im * z.im, xy + z.re * z.im))
}

/// Mean phase deviation, rad: mean angle, weighted by modulus, between the components and the line through the
/// origin that fits them best; 0 for a real mode, π/2 at most.
///
/// # Source
/// Reynders, Houbrechts & De Roeck (2012), eq. for MPD.
pub fn mpd(shape: DVectorView<'_, C64>) -> f64 {
    let angle = best_line(shape);
    let (sin, cos) = angle.sin_cos();
    let (sum, weights) = shape.iter().fold((0.0, 0.0), |(sum, weights), z| {
        let modulus = z.norm();
        let off = (z.re * sin - z.im * cos).abs();
        let along = (z.re * cos + z.im * sin).abs();
        (sum + modulus * off.atan2(along), weights + modulus)
    });
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// Angle of the line through the origin with the least squared distance from the components, rad.
fn best_line(shape: DVectorView<'_, C64>) -> f64 {
    let (xx, yy, xy) = moments(shape);
    0.5 * (2.0 * xy).atan2(xx - yy)
}

/// The shape scaled so that its component of largest modulus (the first of equals) is 1 + 0i.
pub fn scaled_to_largest(shape: DVectorView<'_, C64>) -> DVector<C64> {
    let largest = shape.iter().fold(C64::new(0.0, 0.0), |best, z| if z.norm() > best.norm() { *z } else { best });
    if largest.norm() > 0.0 { shape.map(|z| z / largest) } else { shape.into_owned() }
}

/// The factor of modulus 1 that turns a shape to its most real phase.
pub fn turn_to_real(shape: DVectorView<'_, C64>) -> C64 {
    C64::from_polar(1.0, -best_line(shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(parts: &[(f64, f64)]) -> DVector<C64> {
        DVector::from_iterator(parts.len(), parts.iter().map(|&(re, im)| C64::new(re, im)))
    }

    #[test]
    fn mac_ignores_phase_and_scale() {
        let a = shape(&[(1.0, 0.2), (-0.5, 0.1), (0.3, -0.7)]);
        let b = a.map(|z| z * C64::new(0.0, -3.0));
        assert!((mac(a.as_view(), b.as_view()) - 1.0).abs() <= 1e-15);
        assert_eq!(mac(a.as_view(), DVector::zeros(3).as_view()), 0.0);
    }

    #[test]
    fn rigid_and_turned_shapes_are_collinear() {
        let turned = shape(&[(1.0, 1.0), (1.0, 1.0), (-2.0, -2.0)]);
        assert!((mpc(turned.as_view()) - 1.0).abs() <= 1e-15);
        assert!(mpd(turned.as_view()) <= 1e-7);
    }

    #[test]
    fn a_circle_of_phases_has_no_line() {
        let circle = shape(&[(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]);
        assert!(mpc(circle.as_view()) <= 1e-15);
        assert!((mpd(circle.as_view()) - std::f64::consts::FRAC_PI_4).abs() <= 1e-12);
    }

    #[test]
    fn two_channels_45_degrees_apart_are_not_collinear() {
        // λ = 1 ± cos 45°: ((λ₁ − λ₂)/(λ₁ + λ₂))² = cos² 45°.
        let pair = shape(&[(1.0, 0.0), (0.5_f64.sqrt(), 0.5_f64.sqrt())]);
        assert!((mpc(pair.as_view()) - 0.5).abs() <= 1e-15);
    }

    #[test]
    fn scaling_makes_the_largest_component_one() {
        let scaled = scaled_to_largest(shape(&[(0.1, 0.0), (0.0, -4.0)]).as_view());
        assert_eq!(scaled[1], C64::new(1.0, 0.0));
        let turned = shape(&[(1.0, 1.0), (-1.0, -1.0)]);
        let turned = &turned * turn_to_real(turned.as_view());
        assert!((turned[0].re.abs() - 2.0_f64.sqrt()).abs() <= 1e-15 && turned[0].im.abs() <= 1e-15);
    }
}
