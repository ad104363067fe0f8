//! Shapes of channels that measure different quantities, brought to one quantity and one unit.
//!
//! In a mode everything moves as e^{λt}. The velocity of a place is then λ times its displacement and its acceleration λ²
//! times, whatever the damping, and so the component of a channel that measures the d-th derivative of displacement
//! becomes that of the D-th by λ^(D−d). A spectral line at ω takes the steady motion e^{iωt} of all modes at once: there
//! the factor is (iω)^(D−d), and λ would turn a damped mode by its damping ratio. Units come in by their factors to SI.
//!
//! The references of correlations belong to the earlier time: E[y(t+τ) x'(t)] = −∂/∂τ E[y(t+τ) x(t)], and so the vector g
//! of a pole ([`poles`](super::poles)) takes (−λ)^(D−d).
//!
//! The common quantity is the one that most channels measure, of equals the one derived more often. Where all have one
//! quantity and unit nothing is done, to the last bit, and what measures no motion stays as it is.
//!
//! # Source
//! Ewins (2000), *Modal Testing*: receptance, mobility and inertance of one structure.

use crate::model::channel::Channel;
use crate::model::motion::Motion;
use crate::model::quantities::{AsMeasured, Conversion, ShapeQuantity};
use nalgebra::{Complex, DVector};

type C64 = Complex<f64>;

/// How each component of a shape comes to the common quantity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Common {
    /// One a channel; none where nothing is to be done.
    steps: Vec<Step>,
}

/// Times `factor` · s^`derivatives`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    factor: f64,
    derivatives: i32,
}

impl Step {
    const NONE: Step = Step { factor: 1.0, derivatives: 0 };

    fn at(self, s: C64) -> C64 {
        s.powi(self.derivatives) * self.factor
    }
}

/// What brings the shapes of these channels to one quantity, and what there is to say of it.
pub fn common(channels: &[Channel]) -> (Common, ShapeQuantity) {
    let measured: Vec<Measured> = channels.iter().map(Measured::of).collect();
    let is_one = measured.iter().all(|own| *own == measured[0]);
    let motions: Vec<(Motion, f64)> = measured.iter().filter_map(Measured::motion).collect();
    let as_measured = if is_one { Vec::new() } else { of_no_motion(channels, &measured) };
    let count = |motion: Motion| motions.iter().filter(|own| own.0 == motion).count();
    let Some(target) = Motion::ALL.into_iter().filter(|m| count(*m) > 0).max_by_key(|&m| (count(m), m)) else {
        // Channels that say nothing of what they measure are no reason to say something.
        let is_told = channels.iter().any(|channel| !channel.quantity.trim().is_empty());
        let one = channels.first().filter(|_| is_one);
        let word = |word: fn(&Channel) -> &str| one.map_or(String::new(), |channel| word(channel).trim().into());
        let told = ShapeQuantity {
            quantity: word(|channel| &channel.quantity),
            unit: word(|channel| &channel.unit),
            conversions: Vec::new(),
            as_measured: if is_told { as_measured } else { Vec::new() },
        };
        return (Common::default(), told);
    };
    let is_same = motions.iter().all(|own| *own == motions[0]);
    // SI units have one spelling, whatever the channels'.
    let is_own = is_same && motions[0].1 != 1.0;
    let unit = channels.iter().zip(&measured).find(|(_, own)| is_own && own.motion().is_some());
    let step = |own: &Measured| match own.motion() {
        Some((motion, factor)) if !is_same => Step { factor, derivatives: target.order() - motion.order() },
        _ => Step::NONE,
    };
    let steps: Vec<Step> = measured.iter().map(step).collect();
    let conversion = |(channel, step): (&Channel, &Step)| Conversion {
        channel: channel.name.clone(),
        quantity: channel.quantity.clone(),
        unit: channel.unit.clone(),
        derivatives: step.derivatives,
        factor: step.factor,
    };
    let changed = channels.iter().zip(&steps).filter(|(_, step)| **step != Step::NONE);
    let told = ShapeQuantity {
        quantity: target.as_str().into(),
        unit: unit.map_or(target.si_unit(), |(channel, _)| channel.unit.trim()).into(),
        conversions: changed.map(conversion).collect(),
        as_measured,
    };
    (Common { steps: if is_same { Vec::new() } else { steps } }, told)
}

impl Common {
    /// Whether nothing is to be done.
    pub fn is_nothing(&self) -> bool {
        self.steps.is_empty()
    }

    /// A shape as it was measured in the common quantity. `s`: λ of its pole, −λ for g, iω for a spectral line; 1/s, not 0.
    pub fn bring(&self, mut shape: DVector<C64>, s: C64) -> DVector<C64> {
        shape.iter_mut().zip(&self.steps).for_each(|(z, step)| *z *= step.at(s));
        shape
    }

    /// The way back.
    pub fn as_measured(&self, mut shape: DVector<C64>, s: C64) -> DVector<C64> {
        shape.iter_mut().zip(&self.steps).for_each(|(z, step)| *z /= step.at(s));
        shape
    }

    /// Derivative of [`Common::bring`] where the shape as measured changes by `d_shape` and s by `d_s`.
    pub fn derivative(&self, shape: &DVector<C64>, mut d_shape: DVector<C64>, s: C64, d_s: C64) -> DVector<C64> {
        for ((d, z), step) in d_shape.iter_mut().zip(shape.iter()).zip(&self.steps) {
            *d = (*d + z * (d_s / s) * f64::from(step.derivatives)) * step.at(s);
        }
        d_shape
    }
}

/// What a channel measures.
#[derive(Debug, Clone, PartialEq)]
enum Measured {
    /// A motion, and the factor of its unit to SI.
    Motion(Motion, f64),
    /// Anything else, or in a unit that is not known.
    Other { quantity: String, unit: String, reason: String },
}

impl Measured {
    fn of(channel: &Channel) -> Measured {
        let (quantity, unit) = (channel.quantity.trim(), channel.unit.trim());
        let named = Motion::named(quantity);
        let reason = match (named, Motion::of_unit(unit)) {
            (Some(motion), Some((own, factor))) if motion == own => return Measured::Motion(motion, factor),
            // A unit says of which motion it is.
            (None, Some((motion, factor))) if quantity.is_empty() => return Measured::Motion(motion, factor),
            (Some(motion), Some(_)) => format!("{unit:?} is no unit of {}", motion.as_str()),
            (Some(_), None) if unit.is_empty() => "its unit is not given".into(),
            (Some(_), None) => format!("its unit {unit:?} is not known"),
            (None, _) if quantity.is_empty() => "its quantity is not given".into(),
            (None, _) => format!("its quantity {quantity:?} is no motion"),
        };
        let quantity = named.map_or(quantity.to_lowercase(), |motion| motion.as_str().into());
        Measured::Other { quantity, unit: unit.into(), reason }
    }

    fn motion(&self) -> Option<(Motion, f64)> {
        match self {
            Measured::Motion(motion, factor) => Some((*motion, *factor)),
            Measured::Other { .. } => None,
        }
    }
}

fn of_no_motion(channels: &[Channel], measured: &[Measured]) -> Vec<AsMeasured> {
    let of_channel = |(channel, own): (&Channel, &Measured)| match own {
        Measured::Motion(..) => None,
        Measured::Other { reason, .. } => Some(AsMeasured { channel: channel.name.clone(), reason: reason.clone() }),
    };
    channels.iter().zip(measured).filter_map(of_channel).collect()
}
