//! What is known of a channel: where it sits, which way it looks, what it measures.

use super::file_format::FileFormat;

/// One measured signal. The names of the fields are the columns of the channels query (contract §3).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Channel {
    /// Unique in the structure, e.g. `deck-3/z`.
    pub name: String,
    /// Id of the sensor that the channel belongs to; names its raw files.
    pub sensor_id: String,
    /// The sensor's name.
    pub sensor_name: String,
    /// Label of the place on the structure that the geometry speaks of.
    pub node: String,
    /// The axis as the sensor calls it: the column in its files.
    pub axis: String,
    /// Position, m.
    pub position: [f64; 3],
    /// Direction, a unit vector.
    pub direction: [f64; 3],
    /// `acceleration`, `velocity`, `displacement`, … ([`Motion::named`](super::motion::Motion::named)).
    pub quantity: String,
    /// Unit after calibration.
    pub unit: String,
    /// Declared rate, Hz.
    pub sampling_rate_hz: Option<f64>,
    /// Raw value = physical value × sensitivity + offset.
    pub sensitivity: f64,
    /// Raw value at rest.
    pub offset: f64,
    /// The sensor's clock minus true time, s.
    pub clock_offset_s: f64,
    /// Whether the channel serves as reference where the analysis names none.
    pub is_reference: bool,
    /// Whether the channel is in use.
    pub active: bool,
    /// How the sensor's files are written, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_format: Option<FileFormat>,
}

impl Default for Channel {
    fn default() -> Channel {
        Channel {
            name: String::new(),
            sensor_id: String::new(),
            sensor_name: String::new(),
            node: String::new(),
            axis: String::new(),
            position: [0.0; 3],
            direction: [0.0, 0.0, 1.0],
            quantity: "acceleration".into(),
            unit: String::new(),
            sampling_rate_hz: None,
            sensitivity: 1.0,
            offset: 0.0,
            clock_offset_s: 0.0,
            is_reference: false,
            active: true,
            file_format: None,
        }
    }
}

impl Channel {
    /// A channel of which only the name is known.
    pub fn named(name: &str) -> Channel {
        Channel { name: name.into(), axis: name.into(), ..Channel::default() }
    }
}
