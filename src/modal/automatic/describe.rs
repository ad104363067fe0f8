//! From a cluster of poles to a mode with all that is known of it.

use crate::modal::ModalError;
use crate::modal::poles::{Observability, Order, Pole};
use crate::modal::selection::{self, Selected, Setting};
use crate::modal::shapes::{JudgedShape, ShapeScatter};
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
    let mut scatter = derivatives.of_poles(orders, &members, control, ShapeScatter::add)?.into_iter();
    let judge = |&(o, p): &(usize, usize)| scatter.next().map(|scatter| scatter.judge(&orders[o].poles[p]));
    let mut all = members.iter().filter_map(judge);
    Ok(modes.iter().map(|mode| all.by_ref().take(mode.members.len()).collect()).collect())
}

/// What a mode is described with.
pub(super) struct ModeContext<'a> {
    pub(super) block_rows: usize,
    pub(super) observability: &'a Observability,
    /// One entry a record.
    pub(super) parts: Vec<Part<'a>>,
}

/// What one record measured.
pub(super) struct Part<'a> {
    /// Places of its channels in a shape.
    pub(super) places: Vec<usize>,
    /// Columns of G that its correlations have.
    pub(super) inputs: Range<usize>,
    /// Correlations of the whole record.
    pub(super) measured: &'a [DMatrix<f64>],
}

impl ModeContext<'_> {
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
        let judged = own.and_then(|own| judged.get(own));
        let shape = judged.as_ref().map_or_else(|| pole.shape.clone(), |judged| judged.shape.clone());
        Mode {
            modal_contribution: self.contribution(order, pole),
            expected_mac_loss: judged.map(|judged| judged.expected_mac_loss),
            ..mode_of(selected, Shape(shape), orders, setting)
        }
    }

    /// Correlation of the mode's part of the output correlations with the measured ones, mean over all channel
    /// pairs: ρ = ⟨R, R_j⟩ / √(⟨R, R⟩⟨R_j, R_j⟩) over lags 1 to 2·block_rows − 1 (algorithms §3.6).
    fn contribution(&self, order: &Order, pole: &Pole) -> Option<f64> {
        let g = pole.g.as_ref()?;
        let c = self.observability.output(order.order).map(|x| C64::new(x, 0.0));
        let residue = self.observability.as_one(c * order.right_vector(pole)) * g.transpose();
        let (mut sum, mut pairs) = (0.0, 0);
        for part in &self.parts {
            for (i, place) in part.places.iter().enumerate() {
                for (j, input) in part.inputs.clone().enumerate() {
                    let mut power = C64::new(1.0, 0.0);
                    let (mut both, mut data, mut own) = (0.0, 0.0, 0.0);
                    for m in 1..2 * self.block_rows {
                        let synthetic = 2.0 * (residue[(*place, input)] * power).re;
                        power *= pole.mu;
                        let value = part.measured[m][(i, j)];
                        both += value * synthetic;
                        data += value * value;
                        own += synthetic * synthetic;
                    }
                    sum += if data * own > 0.0 { both / (data * own).sqrt() } else { 0.0 };
                    pairs += 1;
                }
            }
        }
        Some(sum / f64::from(pairs))
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
