//! The places of a structure, and how each of them moves in a mode.

use super::geometry::{Geometry, Place, Wireframe};
use super::modes::Shape;
use super::result::AnalysisResult;
use nalgebra::{Complex, Matrix3, Vector3};
use std::collections::BTreeSet;

type C64 = Complex<f64>;

/// One place with the channels that sit there.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its label; empty where it has none.
    pub label: String,
    /// m.
    pub position: Vector3<f64>,
    /// Rows of the shapes; none for a point that stands still or whose channels measure no motion.
    pub channels: Vec<usize>,
}

/// The places of a result, and what joins them.
#[derive(Debug, Clone, PartialEq)]
pub struct Nodes {
    /// Those of the channels in the order of their first channels, then the points without one.
    pub nodes: Vec<Node>,
    /// Unit vectors of the channels.
    pub directions: Vec<Vector3<f64>>,
    /// Pairs of nodes.
    pub lines: Vec<[usize; 2]>,
    /// Triangles of nodes.
    pub surfaces: Vec<[usize; 3]>,
    /// Whether the places are known.
    pub is_placed: bool,
}

impl Nodes {
    /// The places of a result. Channels whose places are unknown stand in a row, one metre apart, looking upwards; lines
    /// and surfaces with a label that nothing has are left out ([`Geometry::unknown_labels`]). A channel that measures no
    /// motion beside others that do moves nothing.
    pub fn of(result: &AnalysisResult) -> Nodes {
        let known = result.geometry.clone().filter(|known| known.channels.len() == result.data.channels.len());
        let is_placed = known.is_some();
        let common = result.data.shapes.as_ref().filter(|shapes| !shapes.quantity.is_empty());
        let strange: BTreeSet<&str> =
            common.iter().flat_map(|shapes| &shapes.as_measured).map(|own| own.channel.as_str()).collect();
        let geometry = known.unwrap_or_else(|| row(&result.data.channels));
        let mut nodes: Vec<Node> = Vec::new();
        let is_motion = |channel: usize| !strange.contains(&result.data.channels[channel].as_str());
        for (channel, place) in geometry.channels.iter().enumerate() {
            let position = Vector3::from(place.position);
            let same = |node: &&mut Node| match place.node.is_empty() {
                true => node.position == position,
                false => node.label == place.node,
            };
            let seen = if is_motion(channel) { vec![channel] } else { Vec::new() };
            match nodes.iter_mut().find(same) {
                Some(node) => node.channels.extend(seen),
                None => nodes.push(Node { label: place.node.clone(), position, channels: seen }),
            }
        }
        let Wireframe { points, lines, surfaces } = &geometry.wireframe;
        nodes.extend(points.iter().map(|(label, position)| Node {
            label: label.clone(),
            position: Vector3::from(*position),
            channels: Vec::new(),
        }));
        let index = |label: &String| nodes.iter().position(|node| node.label == *label);
        let line = |[a, b]: &[String; 2]| Some([index(a)?, index(b)?]);
        let surface = |[a, b, c]: &[String; 3]| Some([index(a)?, index(b)?, index(c)?]);
        let lines = lines.iter().filter_map(line).collect();
        let surfaces = surfaces.iter().filter_map(surface).collect();
        let directions = geometry.channels.iter().map(|place| Vector3::from(place.direction)).collect();
        Nodes { nodes, directions, lines, surfaces, is_placed }
    }

    /// The smallest displacement of each node whose parts along its channels are the shape's components there.
    pub fn displacements(&self, shape: &Shape) -> Vec<Vector3<C64>> {
        let component = |channel: usize| shape.0.get(channel).copied().unwrap_or_default();
        let of_node = |node: &Node| {
            let mut squares = Matrix3::zeros();
            let mut sum = Vector3::<C64>::zeros();
            for &channel in &node.channels {
                let direction = self.directions[channel];
                squares += direction * direction.transpose();
                sum += direction.map(|x| component(channel) * x);
            }
            // Directions that differ by less than 1e-6 are one: their squares by 1e-12.
            let inverse = squares.pseudo_inverse(1e-12).unwrap_or_else(|_| Matrix3::zeros());
            inverse.map(|x| C64::new(x, 0.0)) * sum
        };
        self.nodes.iter().map(of_node).collect()
    }
}

fn row(channels: &[String]) -> Geometry {
    let place = |(index, name): (usize, &String)| Place {
        node: name.clone(),
        position: [index as f64, 0.0, 0.0],
        direction: [0.0, 0.0, 1.0],
    };
    let lines = channels.windows(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect();
    Geometry {
        channels: channels.iter().enumerate().map(place).collect(),
        wireframe: Wireframe { lines, ..Wireframe::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::DVector;

    fn nodes(directions: &[[f64; 3]]) -> Nodes {
        let directions: Vec<_> = directions.iter().map(|d| Vector3::from(*d)).collect();
        let channels = (0..directions.len()).collect();
        let node = Node { label: "a".into(), position: Vector3::zeros(), channels };
        let still = Node { label: "b".into(), position: Vector3::x(), channels: Vec::new() };
        Nodes { nodes: vec![node, still], directions, lines: vec![], surfaces: vec![], is_placed: true }
    }

    #[test]
    fn a_node_moves_so_that_each_of_its_channels_sees_its_component() {
        let oblique = [0.6, 0.8, 0.0];
        let nodes = nodes(&[[1.0, 0.0, 0.0], oblique]);
        let components = [C64::new(1.0, 0.5), C64::new(-0.2, 0.3)];
        let moved = nodes.displacements(&Shape(DVector::from_row_slice(&components)));
        for (direction, component) in nodes.directions.iter().zip(components) {
            let seen: C64 = direction.iter().zip(moved[0].iter()).map(|(d, u)| *u * *d).sum();
            // The condition of the two directions is below 10.
            assert!((seen - component).norm() <= 1e-13);
        }
        // What no channel sees does not move, and neither does a support.
        assert!(moved[0].z.norm() <= 1e-13 && moved[1].norm() == 0.0);
    }
}
