//! Correlations without noise: what is merged is exact.

use super::*;

const BLOCK_ROWS: usize = 10;

/// Three modes with complex shapes at six places, of poles well apart.
fn modes() -> Vec<(C64, DVector<C64>)> {
    let mut next = numbers(3);
    let mut mode = |angle: f64, radius: f64| {
        let shape = DVector::from_fn(6, |_, _| C64::new(next(), next()));
        (C64::from_polar(radius, angle), shape)
    };
    vec![mode(0.3, 0.98), mode(0.9, 0.95), mode(1.7, 0.97)]
}

/// H without noise of a setup that is excited by itself: R_m = Σ 2 Re(φ μᵐ⁻¹ gᵀ).
fn subspace(places: &[usize], columns: usize, seed: u64, gain: f64) -> Subspace {
    let mut next = numbers(seed);
    let inputs: Vec<DVector<C64>> =
        modes().iter().map(|_| DVector::from_fn(columns, |_, _| C64::new(next(), next()) * gain)).collect();
    let correlation = |m: usize| {
        let mut r = DMatrix::zeros(places.len(), columns);
        for ((mu, shape), g) in modes().iter().zip(&inputs) {
            let power = mu.powi(m as i32 - 1);
            let own = DVector::from_iterator(places.len(), places.iter().map(|&place| shape[place]));
            r += (own * power * g.transpose()).map(|z| 2.0 * z.re);
        }
        r
    };
    let correlations: Vec<DMatrix<f64>> = (0..2 * BLOCK_ROWS).map(correlation).collect();
    Subspace {
        block_rows: BLOCK_ROWS,
        channels: places.len(),
        references: (0..columns).collect(),
        h: block_hankel(&correlations, BLOCK_ROWS),
        half_difference: None,
        weights: Weights::none(),
    }
}

/// Setups of any order of channels, excitation and number of columns, merged: the poles and shapes of the whole.
#[test]
fn correlations_without_noise_give_the_exact_system_whatever_excites_each_setup() {
    let setups: [(&[usize], usize, f64); 3] = [(&[4, 1, 0], 3, 1.0), (&[2, 1, 4], 2, 1e3), (&[1, 3, 5, 4, 0], 1, 1e-3)];
    for strategy in BOTH {
        for rotation in 0..3 {
            let mut setups = setups.to_vec();
            setups.rotate_left(rotation);
            let places: Vec<&[usize]> = setups.iter().map(|setup| setup.0).collect();
            let layout = layout_of(&places, None);
            let excited: Vec<Subspace> =
                (40..).zip(&setups).map(|(seed, (own, n, gain))| subspace(own, *n, seed, *gain)).collect();
            let joint = Joint::new(&layout, strategy, excited.clone()).unwrap();
            let svd = joint.references.decompose(6).unwrap();
            let factors = joint.factors(&svd, 6).unwrap();
            let observability = factors.observability();
            let order = observability.order(6, 1.0).unwrap();
            assert_eq!(order.poles.len(), 3);
            if strategy == Strategy::Preger {
                check_inputs(&observability, &layout, &excited);
            }
            for (pole, (mu, shape)) in order.poles.iter().zip(modes()) {
                // Round-off of a decomposition whose singular values span four decades.
                assert!((pole.mu - mu).norm() <= 1e-9, "{strategy:?}: {} is not {mu}", pole.mu);
                let exact = DVector::from_iterator(6, layout.channels.iter().map(|channel| shape[dof(channel)]));
                let loss = 1.0 - mac(pole.shape.as_view(), exact.as_view());
                assert!(loss <= 1e-9, "{strategy:?}: 1 − MAC {loss:e}");
            }
            let shares = joint.shares();
            assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() <= 1e-12), "{shares:?}");
        }
    }
}

/// C G has the first correlations of every setup, R₁, in the setup's own scale.
fn check_inputs(observability: &Observability, layout: &Layout, setups: &[Subspace]) {
    let first = &observability.c * &observability.g;
    let mut column = 0;
    for (rows, setup) in layout.setups.iter().zip(setups) {
        let columns = setup.references.len();
        let found = first.select_rows(&rows.places).columns(column, columns).into_owned();
        let expected = setup.h.view((0, 0), (rows.places.len(), columns));
        assert!((&found - expected).norm() <= 1e-9 * expected.norm(), "{found} {expected}");
        column += columns;
    }
}

/// Parts of a shape in any scale and phase.
#[test]
fn parts_are_brought_to_the_scale_of_the_references() {
    let layout = layout_of(&[&[4, 1, 0], &[2, 1, 4], &[1, 3, 5, 4, 0]], None);
    let shape = &modes()[0].1;
    let mut z: Vec<C64> = layout.references.iter().map(|&place| shape[dof(&layout.channels[place])]).collect();
    for (k, rows) in (1..).zip(&layout.setups) {
        let factor = C64::from_polar(f64::from(k), 2.0 * f64::from(k));
        z.extend(rows.places.iter().map(|&place| shape[dof(&layout.channels[place])] * factor));
    }
    let joined = Rescaling::new(&layout).join(&DVector::from_vec(z));
    for (value, channel) in joined.iter().zip(&layout.channels) {
        assert!((value - shape[dof(channel)]).norm() <= 1e-14, "{}: {value}", channel.name);
    }
}

#[test]
fn a_setup_that_stands_still_is_named_and_results_are_refused() {
    let layout = layout_of(&[&[0, 1, 2], &[0, 1, 3]], None);
    let mut still = subspace(&[0, 1, 3], 2, 8, 1.0);
    still.h.fill(0.0);
    let fails = |strategy: Strategy| {
        let setups = vec![subspace(&[0, 1, 2], 2, 7, 1.0), still.clone()];
        Joint::new(&layout, strategy, setups).err().unwrap().to_string()
    };
    let said = fails(Strategy::Preger);
    assert!(said.contains("setup 2") && said.contains("reference"), "{said}");
    assert!(fails(Strategy::Poser).contains("results"));
}
