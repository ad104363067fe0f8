//! What a result says of the quantity of its shapes.

use serde::{Deserialize, Serialize};

/// The quantity and unit of the components of shapes before the largest was scaled to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShapeQuantity {
    /// `displacement`, `velocity`, `acceleration`, or the one quantity of all channels; empty where there is none.
    pub quantity: String,
    /// Its unit; empty where it is not known.
    pub unit: String,
    /// The channels that were brought to it.
    #[serde(default)]
    pub conversions: Vec<Conversion>,
    /// The channels beside them that could not be: their components are no motion, or not in this unit.
    #[serde(default)]
    pub as_measured: Vec<AsMeasured>,
}

/// How the shapes' components of one channel were brought to the common quantity: times factor · s^derivatives, where s is
/// λ = −ξω + iω√(1 − ξ²) of the mode, or iω of its peak (FDD).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// Its name.
    pub channel: String,
    /// What it measures.
    pub quantity: String,
    /// Its unit.
    pub unit: String,
    /// Derivatives over time from there to the common quantity; negative ones are integrals.
    pub derivatives: i32,
    /// Of its unit to SI.
    pub factor: f64,
}

/// A channel whose components of shapes stay as they were measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsMeasured {
    /// Its name.
    pub channel: String,
    /// Why.
    pub reason: String,
}

impl ShapeQuantity {
    /// A sentence on the channels whose components cannot be compared with the others; `None` where all can.
    pub fn warning(&self) -> Option<String> {
        let channels: Vec<String> =
            self.as_measured.iter().map(|own| format!("{} ({})", own.channel, own.reason)).collect();
        let others = match (self.quantity.as_str(), self.unit.as_str()) {
            ("", _) => "not in one quantity".to_owned(),
            (quantity, unit) => format!("{quantity} in {unit} but for these channels"),
        };
        let list = channels.join(", ");
        (!channels.is_empty()).then(|| format!("shapes are {others}: their components stay as measured: {list}"))
    }
}
