//! Where channels sit on the structure, and the lines and surfaces between their places.

use super::channel::Channel;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The geometry of a structure as its document says it: what joins the places of channels, by their labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wireframe {
    /// Places without a channel that stand still, such as supports, m.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub points: BTreeMap<String, [f64; 3]>,
    /// Pairs of labels.
    pub lines: Vec<[String; 2]>,
    /// Triangles of labels.
    pub surfaces: Vec<[String; 3]>,
}

/// Place and direction of one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Label of the place; empty where it has none.
    #[serde(default)]
    pub node: String,
    /// m.
    pub position: [f64; 3],
    /// A unit vector.
    pub direction: [f64; 3],
}

/// The geometry of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// One a channel, in the order of every shape.
    pub channels: Vec<Place>,
    /// What joins them.
    #[serde(flatten)]
    pub wireframe: Wireframe,
}

impl Geometry {
    /// The geometry of `channels`; none where no channel has a place.
    pub fn of(channels: &[Channel], wireframe: &Wireframe) -> Option<Geometry> {
        let is_placed = |channel: &Channel| !channel.node.is_empty() || channel.position != [0.0; 3];
        let place = |channel: &Channel| Place {
            node: channel.node.clone(),
            position: channel.position,
            direction: channel.direction,
        };
        channels
            .iter()
            .any(is_placed)
            .then(|| Geometry { channels: channels.iter().map(place).collect(), wireframe: wireframe.clone() })
    }

    /// Labels of lines and surfaces that no channel and no point has.
    pub fn unknown_labels(&self) -> BTreeSet<&str> {
        let Wireframe { points, lines, surfaces } = &self.wireframe;
        let is_known =
            |label: &&str| points.contains_key(*label) || self.channels.iter().any(|place| place.node == *label);
        let named = lines.iter().flatten().chain(surfaces.iter().flatten());
        named.map(String::as_str).filter(|label| !is_known(label)).collect()
    }

    /// A sentence on what of the wireframe cannot be drawn; `None` where all can.
    pub fn warning(&self) -> Option<String> {
        let unknown: Vec<&str> = self.unknown_labels().into_iter().collect();
        let labels = unknown.join(", ");
        (!unknown.is_empty()).then(|| {
            format!("geometry: no channel of the record sits at {labels}, its lines and surfaces are not drawn")
        })
    }
}
