//! Universal files (SDRC; the University of Cincinnati keeps their description): datasets 15, 82, 55 and 58 as text.

use crate::model::modes::Mode;
use crate::model::nodes::Nodes;
use crate::model::result::{AnalysisResult, SpectrumSummary};
use nalgebra::{Complex, Vector3};
use std::f64::consts::TAU;

/// A line between datasets.
const BORDER: &str = "    -1";
/// Characters of an identification line.
const LINE: usize = 80;

/// A dataset of the given number.
fn dataset(number: u32, lines: impl IntoIterator<Item = String>) -> String {
    let content: String = lines.into_iter().map(|line| line + "\n").collect();
    format!("{BORDER}\n{number:6}\n{content}{BORDER}\n")
}

/// A number as Fortran's 1PEw.d writes it: the exponent has a sign and two digits.
fn e(value: f64, width: usize, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{:>width$}", format!("{mantissa}E{sign}{digits:0>2}"))
}

fn integers(values: &[usize]) -> String {
    values.iter().map(|value| format!("{value:10}")).collect()
}

fn reals(values: &[f64]) -> String {
    values.iter().map(|value| e(*value, 13, 5)).collect()
}

/// An identification line: one line of at most 80 plain characters, `NONE` where there is nothing to say.
fn identification(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(LINE).collect();
    if plain.trim().is_empty() { "NONE".into() } else { plain }
}

/// Nodes (15), lines (82) and one shape (55) a mode. Node k of the file is the k-th place of the result.
pub(super) fn shapes(result: &AnalysisResult) -> String {
    let structure = Nodes::of(result);
    // Colour 8 is green; the coordinate systems 0 are global.
    let node =
        |(k, node): (usize, &crate::model::nodes::Node)| integers(&[k + 1, 0, 0, 8]) + &reals(node.position.as_slice());
    let mut text = dataset(15, structure.nodes.iter().enumerate().map(node));
    if !structure.lines.is_empty() {
        // A line of the structure is two nodes and a 0, at which the pen is lifted.
        let traced: Vec<usize> = structure.lines.iter().flat_map(|[a, b]| [a + 1, b + 1, 0]).collect();
        let head = [integers(&[1, traced.len(), 8]), identification("structure")];
        text += &dataset(82, head.into_iter().chain(traced.chunks(8).map(integers)));
    }
    for (k, mode) in result.modes.iter().enumerate() {
        text += &shape(result, k + 1, mode, &structure.displacements(&mode.shape));
    }
    text
}

/// Dataset 55: complex translations at all nodes.
fn shape(result: &AnalysisResult, number: usize, mode: &Mode, moved: &[Vector3<Complex<f64>>]) -> String {
    const STRUCTURAL: usize = 1;
    const NORMAL_MODE: usize = 2;
    const COMPLEX_EIGENVALUE: usize = 3;
    const TRANSLATIONS: usize = 2;
    const DISPLACEMENT: usize = 8;
    const COMPLEX: usize = 5;
    let omega = TAU * mode.frequency_hz;
    let (analysis, head, numbers) = match mode.damping_ratio {
        // λ = −ξω + iω√(1 − ξ²); modal A and B are not known, 1 and 0 stand for them.
        Some(xi) => {
            let lambda = (-xi * omega, omega * (1.0 - xi * xi).max(0.0).sqrt());
            (COMPLEX_EIGENVALUE, [2, 6, 1, number], vec![lambda.0, lambda.1, 1.0, 0.0, 1.0, 0.0])
        }
        // Frequency, modal mass, viscous and hysteretic damping.
        None => (NORMAL_MODE, [2, 4, 1, number], vec![mode.frequency_hz, 1.0, 0.0, 0.0]),
    };
    let mut lines = vec![
        identification(&format!("mode {number}, {} Hz, by {}", mode.frequency_hz, result.method)),
        identification(result.analysis_id.as_deref().unwrap_or_default()),
        identification(&result.created_at.to_string()),
        identification(&format!("oma-worker {}", result.provenance.worker_version)),
        identification(""),
        integers(&[STRUCTURAL, analysis, TRANSLATIONS, DISPLACEMENT, COMPLEX, 3]),
        integers(&head),
        reals(&numbers),
    ];
    for (node, displacement) in moved.iter().enumerate() {
        lines.push(integers(&[node + 1]));
        lines.push(reals(&displacement.iter().flat_map(|z| [z.re, z.im]).collect::<Vec<_>>()));
    }
    dataset(55, lines)
}

/// One dataset 58 a singular value: a function of frequency in double precision.
pub(super) fn functions(result: &AnalysisResult, spectrum: &SpectrumSummary) -> String {
    const REAL_DOUBLE: usize = 4;
    const EVEN: usize = 1;
    const FREQUENCY: usize = 18;
    const UNKNOWN: usize = 0;
    let axis = spectrum.frequency_hz;
    let quantity = |kind: usize, label: &str, unit: &str| format!("{kind:10}    0    0    0 {label:<20} {unit:<20}");
    let function = |(k, values): (usize, &Vec<f64>)| {
        let head = [
            identification(&format!("singular value {} of the spectral matrix, by {}", k + 1, result.method)),
            identification(result.analysis_id.as_deref().unwrap_or_default()),
            identification(&result.created_at.to_string()),
            identification(&format!("oma-worker {}", result.provenance.worker_version)),
            identification(""),
            // A general function of no place: the singular value is one of all channels.
            format!(
                "{UNKNOWN:5}{:10}{:5}{:10} {:<10}{:10}{:4} {:<10}{:10}{:4}",
                k + 1,
                0,
                0,
                "NONE",
                0,
                0,
                "NONE",
                0,
                0
            ),
            integers(&[REAL_DOUBLE, values.len(), EVEN]) + &reals(&[axis.start, axis.step, 0.0]),
            quantity(FREQUENCY, "Frequency", "Hz"),
            quantity(UNKNOWN, "Singular value", "unit^2/Hz"),
            quantity(UNKNOWN, "NONE", "NONE"),
            quantity(UNKNOWN, "NONE", "NONE"),
        ];
        let rows = values.chunks(4).map(|four| four.iter().map(|value| e(*value, 20, 11)).collect::<String>());
        dataset(58, head.into_iter().chain(rows))
    };
    spectrum.singular_values.iter().enumerate().map(function).collect()
}
