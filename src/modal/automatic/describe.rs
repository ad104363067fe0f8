//! From a cluster of poles to a mode with all that is known of it.

use crate::modal::ModalError;
use crate::modal::poles::{Observability, Order, Pole};
use crate::modal::selection::{self, Selected, Setting};
use crate::modal::shapes::{self, Doubt, JudgedShape, ShapeScatter};
use crate::modal::uncertainty::Derivatives;
use crate::modal::{quantities, validation};
use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::modes::{Mode, Shape};
use nalgebra::{Complex, DMatrix};
use std::ops::Range;

type C64 = Complex<f64>;

/// The shapes of all members of every mode, with what their scatter says of them.
pub(super) fn judge_members(
    derivatives: &Derivatives<'_>,
    modes: &[Selected],
    orders: &[Order],
    control: &Control,
) -> Result<Vec<Vec<JudgedShape>>, ModalError> {
    let members: Vec<(usize, usize)> = modes.iter().flat_map(|mode| mode.members.iter().copied()).collect();
    let scatter = derivatives.of_poles(orders, &members, control, ShapeScatter::add)?;
    let poles = || scatter.iter().zip(members.iter().map(|&(o, p)| &orders[o].poles[p]));
    let doubt = Doubt::together(poles());
    let mut all = poles().map(|(scatter, pole)| scatter.judge(pole, doubt));
    Ok(modes.iter().map(|mode| all.by_ref().take(mode.members.len()).collect()).collect())
}

/// What a mode is described with.
pub(super) struct ModeContext<'a> {
    observability: &'a Observability,
    /// One entry a record.
    parts: Vec<Part<'a>>,
}

/// What one record measured.
pub(super) struct Part<'a> {
    /// Places of its channels in a shape.
    places: Vec<usize>,
    /// Columns of G that its correlations have.
    inputs: Range<usize>,
    /// Correlations of the whole record, at lags 1 to 2·block_rows − 1.
    measured: &'a [DMatrix<f64>],
    /// Σ R² over these lags, of every pair of channel and reference.
    energy: DMatrix<f64>,
}

impl<'a> Part<'a> {
    /// `measured`: correlations of the whole record, from lag 0 on.
    pub(super) fn new(places: Vec<usize>, inputs: Range<usize>, measured: &'a [DMatrix<f64>]) -> Part<'a> {
        let measured = &measured[1..];
        let mut energy = DMatrix::zeros(measured[0].nrows(), measured[0].ncols());
        measured.iter().for_each(|r| energy.zip_apply(r, |sum, r| *sum += r * r));
        Part { places, inputs, measured, energy }
    }

    /// Sum over all pairs of ρ = ⟨R, R_j⟩ / √(⟨R, R⟩⟨R_j, R_j⟩) with the correlations R_j = 2 Re(z μᵐ⁻¹) of a pole.
    ///
    /// ⟨R, R_j⟩ = 2 Re(z Σ R μᵐ⁻¹) and ⟨R_j, R_j⟩ = 2 |z|² Σ |μᵐ⁻¹|² + 2 Re(z² Σ μ²ᵐ⁻²), so that the lags are summed once for
    /// all pairs. `residue`: z of every place and input.
    fn contributions(&self, residue: &DMatrix<C64>, mu: C64) -> f64 {
        let (mut re, mut im) = (vec![0.0; self.energy.len()], vec![0.0; self.energy.len()]);
        let (mut power, mut squares, mut squared_moduli) = (C64::new(1.0, 0.0), C64::default(), 0.0);
        for measured in self.measured {
            for ((re, im), r) in re.iter_mut().zip(&mut im).zip(measured.as_slice()) {
                *re += r * power.re;
                *im += r * power.im;
            }
            squares += power * power;
            squared_moduli += power.norm_sqr();
            power *= mu;
        }
        let pairs = self.inputs.clone().flat_map(|input| self.places.iter().map(move |place| (*place, input)));
        let sums = re.iter().zip(&im).map(|(&re, &im)| C64::new(re, im));
        let of_pair = |((at, sum), energy): (((usize, usize), C64), &f64)| {
            let z = residue[at];
            let own = 2.0 * (z.norm_sqr() * squared_moduli + (z * z * squares).re);
            if energy * own > 0.0 { 2.0 * (z * sum).re / (energy * own).sqrt() } else { 0.0 }
        };
        pairs.zip(sums).zip(&self.energy).map(of_pair).sum()
    }
}

impl<'a> ModeContext<'a> {
    pub(super) fn new(observability: &'a Observability, parts: Vec<Part<'a>>) -> ModeContext<'a> {
        ModeContext { observability, parts }
    }

    /// `judged`: the members' shapes; empty without standard deviations.
    pub(super) fn mode(
        &self,
        selected: &Selected,
        judged: &[JudgedShape],
        orders: &[Order],
        setting: &Setting,
    ) -> Mode {
        let (o, p) = selected.representative;
        let (order, pole) = (&orders[o], &orders[o].poles[p]);
        let own = selected.members.iter().position(|member| *member == selected.representative);
        let own = own.and_then(|own| judged.get(own));
        let shape = own.map_or_else(|| pole.shape.clone(), |own| shapes::weighted_mean(judged, &own.shape));
        Mode {
            modal_contribution: self.contribution(order, pole),
            expected_mac_loss: own.map(|own| own.expected_mac_loss),
            ..mode_of(selected, Shape(shape), orders, setting)
        }
    }

    /// Correlation of the mode's part of the output correlations with the measured ones, mean over all channel pairs
    /// (algorithms §3.6).
    fn contribution(&self, order: &Order, pole: &Pole) -> Option<f64> {
        let g = pole.g.as_ref()?;
        let c = self.observability.output(order.order).map(|x| C64::new(x, 0.0));
        let residue = self.observability.as_one(c * order.right_vector(pole)) * g.transpose();
        let pairs: usize = self.parts.iter().map(|part| part.energy.len()).sum();
        let sum: f64 = self.parts.iter().map(|part| part.contributions(&residue, pole.mu)).sum();
        Some(sum / pairs as f64)
    }
}

/// What a cluster of poles alone says of its mode.
pub(crate) fn mode_of(selected: &Selected, shape: Shape, orders: &[Order], setting: &Setting) -> Mode {
    let (o, p) = selected.representative;
    let pole = &orders[o].poles[p];
    let frequencies: Vec<f64> = selected.members.iter().map(|&(o, p)| orders[o].poles[p].frequency_hz).collect();
    Mode {
        damping_ratio: Some(pole.damping_ratio),
        frequency_std_hz: pole.deviation.map(|d| d.frequency_hz),
        damping_ratio_std: pole.deviation.map(|d| d.damping_ratio),
        order: Some(pole.order),
        pole_count: Some(selected.members.len()),
        support: Some(selected.support),
        rho: selection::rho(pole, setting.duration_s),
        frequency_spread_hz: Some(spread(&frequencies)),
        level_sampling_rate_hz: Some(setting.sampling_rate_hz),
        ..Mode::new(pole.frequency_hz, shape, (pole.mpc, pole.mpd))
    }
}

/// The modes with their shapes in the quantities of the channels.
pub(super) fn as_measured(modes: &[Mode], channels: &[Channel]) -> Vec<Mode> {
    let (common, _) = quantities::common(channels);
    let of_mode = |mode: &Mode| {
        let back = |pole| Shape(common.as_measured(mode.shape.0.clone(), pole));
        Mode { shape: validation::pole(mode).map_or_else(|| mode.shape.clone(), back), ..mode.clone() }
    };
    modes.iter().map(of_mode).collect()
}

/// Standard deviation of values about their mean.
fn spread(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}
