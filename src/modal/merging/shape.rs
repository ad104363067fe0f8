//! One shape from its parts.

use nalgebra::{Complex, DMatrix, DVector};
use oma_linalg::{NoConvergence, hermitian_eigen};

type C64 = Complex<f64>;

/// What one setup tells of a shape: s_c = β (φ_c + e_c) at its channels, of a scale and a phase β of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Place of each component in the whole shape, without repetition.
    pub(super) places: Vec<usize>,
    /// One component a place.
    pub(super) components: DVector<C64>,
    /// Expected 1 − MAC against the true shape at these places.
    pub(super) expected_mac_loss: Option<f64>,
}

impl Part {
    /// Variance v of a component: a loss of (n − 1) v / ‖s‖² is that of n components which err alike and independently.
    fn variance(&self) -> Option<f64> {
        let others = self.places.len().checked_sub(1)? as f64;
        let variance = self.expected_mac_loss? * self.components.norm_squared() / others;
        (variance > 0.0 && variance.is_finite()).then_some(variance)
    }
}

/// The parts side by side.
///
/// A factor α_k = 1/β_k brings part k to the common scale. All factors together are those for which
///
/// Σ_k Σ_c w_k |α_k s_kc − φ_c|² = αᴴ Q α, where φ_c = Σ_k w_k α_k s_kc / W_c, W_c = Σ_k w_k, sums over the parts that have c,
///
/// is least, with w_k = 1/v_k; hence Q_kj = Σ_c w_k s̄_kc s_jc (δ_kj − w_j / W_c). What the errors e add to it on average
/// is B = diag(b), b_k = Σ_c (1 − w_k / W_c), whatever the scales, and the true factors are in the null space of the rest. So
/// α is the vector of the smallest λ of Q α = λ B α. Any other measure of the length of α would make the factor of a part
/// that is weak at the common channels too small, since such a part has the least to add to the sum.
///
/// The errors of the factors have the covariance Q⁺, and through G = ∂φ/∂α, G_ck = w_k s_kc / W_c, those of the shape have
/// diag(1/W) + G Q⁺ Gᴴ (Gauss–Markov). The expected loss is its trace orthogonal to φ, over ‖φ‖². It is as good as what the
/// parts say of themselves.
struct Parts {
    /// Places × parts; 0 where a part has no component.
    shapes: DMatrix<C64>,
    /// w_k where part k has a component, else 0.
    weights: DMatrix<f64>,
}

/// Factors from the smallest λ on, which is theirs; the others say how far they may err.
struct Fit {
    /// λ and α, descending in λ.
    pairs: Vec<(f64, DVector<C64>)>,
    /// G.
    shares: DMatrix<C64>,
    /// 1 / W.
    variances: DVector<f64>,
}

impl Parts {
    fn fit(&self) -> Result<Fit, NoConvergence> {
        let (places, parts) = self.weights.shape();
        let variances = DVector::from_fn(places, |c, _| self.weights.row(c).sum().recip());
        let share = DMatrix::from_fn(places, parts, |c, k| self.weights[(c, k)] * variances[c]);
        let shares = self.shapes.zip_map(&share, |s, share| s * share);
        let has = |c: usize, k: usize| self.weights[(c, k)] > 0.0;
        // A part that shares no place has nothing to be scaled to: any b will do.
        let errors = DVector::from_fn(parts, |k, _| {
            let sum: f64 = (0..places).filter(|&c| has(c, k)).map(|c| 1.0 - share[(c, k)]).sum();
            if sum > places as f64 * f64::EPSILON { sum } else { 1.0 }
        });
        let q = DMatrix::from_fn(parts, parts, |k, j| {
            let own = if k == j { 1.0 } else { 0.0 };
            let product = |c: usize| self.shapes[(c, k)].conj() * self.shapes[(c, j)] * self.weights[(c, k)];
            let sum: C64 = (0..places).map(|c| product(c) * (own - share[(c, j)])).sum();
            sum / (errors[k] * errors[j]).sqrt()
        });
        let (values, vectors) = hermitian_eigen(&q)?;
        let factors = |k: usize| DVector::from_fn(parts, |j, _| vectors[(j, k)] / errors[j].sqrt());
        let pairs = values.into_iter().enumerate().map(|(k, value)| (value, factors(k))).collect();
        Ok(Fit { pairs, shares, variances })
    }

    /// Brings the parts to one scale, and their weights with them where they are known.
    fn scale(&mut self, factors: &DVector<C64>, are_weighted: bool) {
        for (k, factor) in factors.iter().enumerate() {
            self.shapes.column_mut(k).apply(|s| *s *= factor);
            if are_weighted && factor.norm_sqr() > 0.0 {
                self.weights.column_mut(k).apply(|w| *w /= factor.norm_sqr());
            }
        }
    }
}

/// The whole shape of `places` components from parts that share some, of any scale, and its expected 1 − MAC against the true
/// one where every part tells its own. Every place is in some part.
///
/// Where some part does not tell how much it errs, all count alike.
///
/// # Errors
/// [`NoConvergence`].
pub(super) fn join(parts: &[Part], places: usize) -> Result<(DVector<C64>, Option<f64>), NoConvergence> {
    let variances: Option<Vec<f64>> = parts.iter().map(Part::variance).collect();
    let mut side_by_side =
        Parts { shapes: DMatrix::zeros(places, parts.len()), weights: DMatrix::zeros(places, parts.len()) };
    for (k, part) in parts.iter().enumerate() {
        for (&place, &component) in part.places.iter().zip(&part.components) {
            side_by_side.shapes[(place, k)] = component;
            side_by_side.weights[(place, k)] = variances.as_ref().map_or(1.0, |variances| variances[k].recip());
        }
    }
    // The best weights are those of components in the common scale, which the first round finds.
    for _ in 0..2 {
        let mut fit = side_by_side.fit()?;
        if let Some((_, factors)) = fit.pairs.pop() {
            side_by_side.scale(&factors, variances.is_some());
        }
    }
    let mut fit = side_by_side.fit()?;
    let shape = fit.shares.column_sum();
    let least = fit.pairs.pop().map_or(0.0, |(least, _)| least);
    let square = shape.norm_squared();
    let across = |error: &DVector<C64>| error.norm_squared() - shape.dotc(error).norm_sqr() / square;
    let of_components: f64 =
        fit.variances.iter().zip(&shape).map(|(variance, z)| variance * (1.0 - z.norm_sqr() / square)).sum();
    let of_factors: f64 =
        fit.pairs.iter().map(|(value, factors)| across(&(&fit.shares * factors)) / (value - least)).sum();
    // Where nothing ties the parts together nothing is known: `min` takes 1 for infinity and NaN.
    let loss = ((of_components + of_factors) / square).min(1.0);
    Ok((shape, variances.map(|_| loss)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modal::indicators::mac;
    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    fn part(whole: &DVector<C64>, places: &[usize], scale: C64) -> Part {
        let components = DVector::from_iterator(places.len(), places.iter().map(|&place| whole[place] * scale));
        Part { places: places.to_vec(), components, expected_mac_loss: None }
    }

    proptest! {
        #[test]
        fn exact_parts_of_any_scale_give_the_exact_shape(
            // Two rows of references, so that the third part is tied to the first by way of the second alone.
            values in prop::collection::vec((0.2..1.0_f64, -3.2..3.2_f64), 9),
            scales in prop::collection::vec((-2.0..2.0_f64, -3.2..3.2_f64), 3),
            losses in prop::collection::vec(1e-6..1e-1_f64, 3),
            are_known in any::<bool>(),
        ) {
            let polar = |&(size, angle): &(f64, f64)| C64::from_polar(size, angle);
            let whole = DVector::from_iterator(9, values.iter().map(polar));
            let places: [&[usize]; 3] = [&[0, 1, 2, 3], &[5, 3, 2, 4, 6], &[8, 5, 6, 7]];
            let parts: Vec<Part> = places
                .iter()
                .zip(&scales)
                .zip(&losses)
                .map(|((places, &(decades, angle)), &loss)| Part {
                    expected_mac_loss: are_known.then_some(loss),
                    ..part(&whole, places, C64::from_polar(10.0_f64.powf(decades), angle))
                })
                .collect();
            let (shape, loss) = join(&parts, 9).unwrap();
            prop_assert!(1.0 - mac(shape.as_view(), whole.as_view()) <= 1e-12);
            // 1 − MAC is a square: the components themselves, in the scale of the largest, say more.
            let factor = whole.dotc(&shape) / whole.norm_squared();
            prop_assert!((&shape - &whole * factor).norm() <= 1e-12 * shape.norm());
            prop_assert_eq!(loss.is_some(), are_known);
        }
    }

    /// Shapes with independent errors of these standard deviations, of any scale, each with the loss to expect of it.
    fn measured(
        whole: &DVector<C64>,
        setups: &[(&[usize], f64, C64)],
        is_complex: bool,
        random: &mut ChaCha12Rng,
    ) -> Vec<Part> {
        let mut normal = || -> f64 { StandardNormal.sample(random) };
        let mut one = |&(places, std, scale): &(&[usize], f64, C64)| {
            let exact = part(whole, places, C64::from(1.0));
            let error = DVector::from_fn(places.len(), |_, _| {
                if is_complex { C64::new(normal(), normal()) / 2.0_f64.sqrt() } else { C64::from(normal()) }
            });
            let loss = std * std * (places.len() - 1) as f64 / exact.components.norm_squared();
            let components = (exact.components + error * C64::from(std)) * scale;
            Part { components, expected_mac_loss: Some(loss), places: places.to_vec() }
        };
        setups.iter().map(&mut one).collect()
    }

    fn sine(places: usize) -> DVector<C64> {
        DVector::from_fn(places, |c, _| C64::from((1.3 * (c + 1) as f64).sin()))
    }

    #[test]
    fn the_mean_loss_is_the_expected_one() {
        const TRIALS: usize = 2000;
        let whole = sine(10);
        // Two references, overlaps besides, one setup ten times worse than another, scales apart.
        let setups: [(&[usize], f64, C64); 3] = [
            (&[0, 1, 2, 3, 4], 0.002, C64::new(1.0, 0.0)),
            (&[0, 1, 5, 6, 4], 0.02, C64::from_polar(20.0, 2.0)),
            (&[1, 0, 7, 8, 9], 0.01, C64::from_polar(0.1, -1.0)),
        ];
        for is_complex in [false, true] {
            let mut random = ChaCha12Rng::seed_from_u64(5);
            let (mut found, mut expected) = (Vec::new(), 0.0);
            for _ in 0..TRIALS {
                let (shape, loss) = join(&measured(&whole, &setups, is_complex, &mut random), 10).unwrap();
                found.push(1.0 - mac(shape.as_view(), whole.as_view()));
                expected += loss.unwrap() / TRIALS as f64;
            }
            let mean = found.iter().sum::<f64>() / TRIALS as f64;
            let variance = found.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / (TRIALS - 1) as f64;
            let std_of_mean = (variance / TRIALS as f64).sqrt();
            // Four standard deviations of the mean, which is some 2 % of it; what is left out is smaller by the square of the
            // errors, 4e-4.
            assert!((mean - expected).abs() <= 4.0 * std_of_mean, "{mean:e} ± {std_of_mean:e}, expected {expected:e}");
            assert!(std_of_mean < 0.03 * mean);
        }
    }

    #[test]
    fn a_part_that_is_weak_where_it_is_shared_is_not_made_smaller() {
        const TRIALS: usize = 4000;
        let mut whole = sine(12);
        // References near nodes: the errors of the second setup are 0.4 of what it sees there.
        whole[0] = C64::from(0.05);
        whole[1] = C64::from(-0.04);
        whole[2] = C64::from(0.06);
        let setups: [(&[usize], f64, C64); 2] =
            [(&[0, 1, 2, 3, 4, 5, 6], 1e-4, C64::from(1.0)), (&[0, 1, 2, 7, 8, 9, 10, 11], 0.02, C64::from(1.0))];
        let mut random = ChaCha12Rng::seed_from_u64(6);
        // Median of the second part's size against the first's, less exposed than a mean to the odd large factor.
        let mut sizes: Vec<f64> = (0..TRIALS)
            .map(|_| {
                let (shape, _) = join(&measured(&whole, &setups, false, &mut random), 12).unwrap();
                let along = |from: usize, to: usize| {
                    let (found, exact) = (shape.rows(from, to - from), whole.rows(from, to - from));
                    exact.dotc(&found) / exact.norm_squared()
                };
                (along(7, 12) / along(3, 7)).re
            })
            .collect();
        sizes.sort_by(f64::total_cmp);
        let median = sizes[TRIALS / 2];
        // The factor errs by 0.02 / ‖(0.05, 0.04, 0.06)‖ = 0.23; the median of so many by 1.25 · 0.23 / √4000 = 0.0045, taken four
        // times. Plain least squares would give 1 / (1 + 3 · 0.02² / 0.0077) = 0.86.
        assert!((median - 1.0).abs() <= 0.018, "{median}");
    }

    #[test]
    fn one_part_alone_is_the_shape_and_parts_without_a_tie_are_known_to_tell_nothing() {
        let whole = sine(6);
        let alone = Part { expected_mac_loss: Some(0.01), ..part(&whole, &[0, 1, 2, 3, 4, 5], C64::new(0.0, 3.0)) };
        let (shape, loss) = join(std::slice::from_ref(&alone), 6).unwrap();
        assert!(1.0 - mac(shape.as_view(), whole.as_view()) <= 1e-15);
        assert!((loss.unwrap() - 0.01).abs() <= 1e-15);
        let apart = [[0, 1, 2], [3, 4, 5]]
            .map(|places| Part { expected_mac_loss: Some(0.01), ..part(&whole, &places, C64::from(1.0)) });
        let (shape, loss) = join(&apart, 6).unwrap();
        assert!(shape.iter().all(|z| z.is_finite()));
        assert_eq!(loss, Some(1.0));
    }
}
