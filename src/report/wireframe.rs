//! Mode shapes in space: places, what joins them, and how each place moves in each mode.

use super::{DIGITS, SEEN_DIGITS, number, plain};
use crate::modal::indicators::turn_to_real;
use crate::model::modes::{Mode, Shape};
use crate::model::nodes::{Node, Nodes};
use crate::model::result::AnalysisResult;
use maud::{Markup, html};
use nalgebra::{Complex, Vector3};
use serde_json::{Value, json};

type C64 = Complex<f64>;

/// Largest displacement that is drawn, as part of the structure's extent.
const AMPLITUDE: f64 = 0.15;

/// The structure and its modes in space.
pub(super) struct View {
    pub(super) structure: Nodes,
    /// Displacement of every node in every mode at its most real phase, the largest one [`AMPLITUDE`] of the extent.
    displacements: Vec<Vec<Vector3<C64>>>,
}

impl View {
    pub(super) fn of(result: &AnalysisResult) -> View {
        let structure = Nodes::of(result);
        let mut view = View { structure, displacements: Vec::new() };
        let reach = AMPLITUDE * view.extent();
        view.displacements = result.modes.iter().map(|mode| displacement(&view.structure, mode, reach)).collect();
        view
    }

    /// Diagonal of the box around all places; 1 where that is none.
    fn extent(&self) -> f64 {
        let start = (Vector3::repeat(f64::INFINITY), Vector3::repeat(f64::NEG_INFINITY));
        let wider = |(low, high): (Vector3<f64>, Vector3<f64>), node: &Node| {
            (low.inf(&node.position), high.sup(&node.position))
        };
        let (low, high) = self.structure.nodes.iter().fold(start, wider);
        let diagonal = (high - low).norm();
        if diagonal > 0.0 && diagonal.is_finite() { diagonal } else { 1.0 }
    }

    /// What the page's script draws.
    pub(super) fn to_json(&self, result: &AnalysisResult) -> Value {
        let vector = |v: &Vector3<f64>| json!([v.x, v.y, v.z].map(|x| number(x, SEEN_DIGITS)));
        let names = |node: &Node| {
            let of_channels: Vec<&str> = node.channels.iter().map(|&c| result.data.channels[c].as_str()).collect();
            of_channels.join(", ")
        };
        let nodes = self.structure.nodes.iter().map(|node| {
            let label = if node.label.is_empty() { names(node) } else { node.label.clone() };
            json!({"label": plain(&label), "channels": plain(&names(node)), "at": node.position.as_slice()})
        });
        let sensors = self.structure.nodes.iter().enumerate().flat_map(|(index, node)| {
            let direction =
                |&channel: &usize| json!({"node": index, "direction": vector(&self.structure.directions[channel])});
            node.channels.iter().map(direction).collect::<Vec<_>>()
        });
        let modes = result.modes.iter().zip(&self.displacements).enumerate().map(|(k, (mode, displacements))| {
            let parts = |part: fn(&C64) -> f64| {
                let part = displacements.iter().map(|d| vector(&d.map(|z| part(&z)))).collect::<Vec<_>>();
                Value::from(part)
            };
            let turn = turn_to_real(mode.shape.0.as_view());
            let component = |z: &C64| json!([(z * turn).re, (z * turn).im].map(|x| number(x, DIGITS)));
            json!({
                "name": mode_name(k, mode),
                "re": parts(|z| z.re),
                "im": parts(|z| z.im),
                "components": mode.shape.0.iter().map(component).collect::<Vec<_>>(),
            })
        });
        json!({
            "nodes": nodes.collect::<Vec<_>>(),
            "sensors": sensors.collect::<Vec<_>>(),
            "lines": self.structure.lines,
            "surfaces": self.structure.surfaces,
            "modes": modes.collect::<Vec<_>>(),
            "extent": self.extent(),
            "placed": self.structure.is_placed,
        })
    }

    /// One mode at its largest displacement over the structure at rest, as a small picture.
    pub(super) fn picture(&self, mode: usize) -> Markup {
        let at_rest: Vec<[f64; 2]> = self.structure.nodes.iter().map(|node| project(&node.position)).collect();
        let moved: Vec<[f64; 2]> = self
            .structure
            .nodes
            .iter()
            .zip(&self.displacements[mode])
            .map(|(node, d)| project(&(node.position + d.map(|z| z.re))))
            .collect();
        let room = 1.3 * AMPLITUDE * self.extent();
        let low = |axis: usize| at_rest.iter().map(|p| p[axis]).fold(f64::INFINITY, f64::min) - room;
        let high = |axis: usize| at_rest.iter().map(|p| p[axis]).fold(f64::NEG_INFINITY, f64::max) + room;
        let (left, top) = (low(0), low(1));
        let (width, height) = (high(0) - left, high(1) - top);
        // All pictures have one size, whatever the unit of the structure.
        const SIZE: [f64; 2] = [150.0, 110.0];
        let scale = (SIZE[0] / width).min(SIZE[1] / height);
        let place = |p: &[f64; 2]| {
            let x = (p[0] - left - width / 2.0) * scale + SIZE[0] / 2.0;
            let y = (p[1] - top - height / 2.0) * scale + SIZE[1] / 2.0;
            format!("{x:.1} {y:.1}")
        };
        let path = |points: &[[f64; 2]], corners: &mut dyn Iterator<Item = &[usize]>| {
            let stroke = |corners: &[usize]| {
                let places: Vec<String> = corners.iter().map(|&corner| place(&points[corner])).collect();
                format!("M{}", places.join("L"))
            };
            corners.map(stroke).collect::<String>()
        };
        let lines = |points| path(points, &mut self.structure.lines.iter().map(|line| line.as_slice()));
        html! {
            svg viewBox={ "0 0 " (SIZE[0]) " " (SIZE[1]) } aria-hidden="true" {
                path class="surface" d=(path(&moved, &mut self.structure.surfaces.iter().map(|surface| surface.as_slice()))) {}
                path class="rest" d=(lines(&at_rest)) {}
                path class="moved" d=(lines(&moved)) {}
                // A stroke of no length with round ends is a dot.
                path class="place" d=(moved.iter().map(|p| format!("M{}h0", place(p))).collect::<String>()) {}
            }
        }
    }
}

/// `mode 3, 4.822 Hz`.
pub(super) fn mode_name(index: usize, mode: &Mode) -> String {
    format!("mode {}, {:.3} Hz", index + 1, mode.frequency_hz)
}

/// Displacements of a mode turned to its most real phase, the largest one `reach`.
fn displacement(structure: &Nodes, mode: &Mode, reach: f64) -> Vec<Vector3<C64>> {
    let turn = turn_to_real(mode.shape.0.as_view());
    let moved = structure.displacements(&Shape(mode.shape.0.map(|z| z * turn)));
    let largest = moved.iter().map(|d| d.norm()).fold(0.0, f64::max);
    let scale = if largest > 0.0 { reach / largest } else { 0.0 };
    moved.into_iter().map(|d| d * C64::new(scale, 0.0)).collect()
}

/// Seen from the front right and a little above, as the first view in space; y grows downwards.
fn project(p: &Vector3<f64>) -> [f64; 2] {
    let (azimuth, elevation) = (-60_f64.to_radians(), 20_f64.to_radians());
    let right = Vector3::new(-azimuth.sin(), azimuth.cos(), 0.0);
    let towards = Vector3::new(azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos(), elevation.sin());
    let up = towards.cross(&right);
    [right.dot(p), -up.dot(p)]
}
