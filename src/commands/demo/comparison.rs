//! Identified modes against exact ones.

use crate::modal::indicators::mac;
use crate::model::modes::Mode;
use crate::report::{Alignment, table};
use crate::simulate::ExactMode;
use nalgebra::{Complex, DVector};

/// What the demo promises of every mode: |Δf|/f by both methods …
pub(super) const FREQUENCY_LIMIT: f64 = 0.005;
/// … MAC by both methods …
pub(super) const MAC_LIMIT: f64 = 0.99;
/// … and |Δξ|/ξ by SSI.
pub(super) const DAMPING_LIMIT: f64 = 0.25;

pub(super) const COLUMNS: [&str; 10] =
    ["mode", "f exact, Hz", "f FDD", "Δ, %", "f SSI", "Δ, %", "ξ exact, %", "ξ SSI ± std", "MAC FDD", "MAC SSI"];

/// A found mode beside the exact one.
struct Found {
    mode: Mode,
    mac: f64,
    frequency_error: f64,
}

impl Found {
    /// The mode that is most like the exact one within a band of 5 %, wide enough to show a miss as such.
    fn nearest(exact: &ExactMode, modes: &[Mode]) -> Option<Found> {
        const BAND: f64 = 0.05;
        let shape: DVector<Complex<f64>> = exact.shape.map(|x| Complex::new(x, 0.0));
        let near = modes.iter().filter_map(|mode| {
            let frequency_error = mode.frequency_hz / exact.frequency_hz - 1.0;
            let comparable = frequency_error.abs() <= BAND && mode.shape.0.len() == shape.len();
            comparable.then(|| Found {
                mode: mode.clone(),
                mac: mac(shape.as_view(), mode.shape.0.as_view()),
                frequency_error,
            })
        });
        near.max_by(|a, b| a.mac.total_cmp(&b.mac))
    }

    fn keeps_promise(&self) -> bool {
        self.frequency_error.abs() < FREQUENCY_LIMIT && self.mac > MAC_LIMIT
    }
}

struct Line {
    exact: ExactMode,
    fdd: Option<Found>,
    ssi: Option<Found>,
}

/// All exact modes with what each method found of them.
pub(super) struct Comparison(Vec<Line>);

impl Comparison {
    pub(super) fn new(exact: &[ExactMode], fdd: &[Mode], ssi: &[Mode]) -> Comparison {
        let line = |exact: &ExactMode| Line {
            exact: exact.clone(),
            fdd: Found::nearest(exact, fdd),
            ssi: Found::nearest(exact, ssi),
        };
        Comparison(exact.iter().map(line).collect())
    }

    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        self.0.iter().enumerate().map(|(k, line)| row(k + 1, line)).collect()
    }

    pub(super) fn table(&self) -> String {
        table(&COLUMNS.map(|name| (name, Alignment::Right)), self.rows())
    }

    /// One sentence for each mode that a method missed.
    pub(super) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for line in &self.0 {
            let exact = &line.exact;
            let damping_kept = |found: &Found| {
                let error = found.mode.damping_ratio.map(|ratio| (ratio / exact.damping_ratio - 1.0).abs());
                error.is_some_and(|e| e < DAMPING_LIMIT)
            };
            if !line.fdd.as_ref().is_some_and(Found::keeps_promise) {
                missed.push(format!("FDD: {:.3} Hz", exact.frequency_hz));
            }
            if !line.ssi.as_ref().is_some_and(|found| found.keeps_promise() && damping_kept(found)) {
                missed.push(format!("SSI: {:.3} Hz", exact.frequency_hz));
            }
        }
        missed
    }
}

fn row(number: usize, line: &Line) -> Vec<String> {
    let cell = |value: Option<String>| value.unwrap_or_else(|| "–".into());
    let frequency = |found: &Option<Found>| cell(found.as_ref().map(|f| format!("{:.4}", f.mode.frequency_hz)));
    let error = |found: &Option<Found>| cell(found.as_ref().map(|f| format!("{:+.2}", 100.0 * f.frequency_error)));
    let likeness = |found: &Option<Found>| cell(found.as_ref().map(|f| format!("{:.4}", f.mac)));
    let damping = line.ssi.as_ref().and_then(|f| {
        let std = f.mode.damping_ratio_std.map(|s| format!(" ± {:.2}", 100.0 * s));
        Some(format!("{:.2}{}", 100.0 * f.mode.damping_ratio?, std.unwrap_or_default()))
    });
    vec![
        number.to_string(),
        format!("{:.4}", line.exact.frequency_hz),
        frequency(&line.fdd),
        error(&line.fdd),
        frequency(&line.ssi),
        error(&line.ssi),
        format!("{:.2}", 100.0 * line.exact.damping_ratio),
        cell(damping),
        likeness(&line.fdd),
        likeness(&line.ssi),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::modes::Shape;

    fn exact() -> ExactMode {
        ExactMode { frequency_hz: 2.0, damping_ratio: 0.01, shape: DVector::from_vec(vec![0.6, 0.8]) }
    }

    fn mode(frequency_hz: f64, damping_ratio: f64, shape: [f64; 2]) -> Mode {
        let shape = Shape(DVector::from_iterator(2, shape.iter().map(|x| Complex::new(*x, 0.0))));
        Mode { damping_ratio: Some(damping_ratio), ..Mode::new(frequency_hz, shape, (1.0, 0.0)) }
    }

    fn missed(found: Mode) -> usize {
        let found = [found];
        Comparison::new(&[exact()], &found, &found).missed().len()
    }

    #[test]
    fn a_mode_inside_every_limit_is_found() {
        assert_eq!(missed(mode(2.009, 0.012, [0.75, 1.0])), 0);
    }

    #[test]
    fn each_limit_and_every_nan_counts_as_missed() {
        assert_eq!(missed(mode(2.011, 0.01, [0.75, 1.0])), 2);
        assert_eq!(missed(mode(2.0, 0.01, [1.0, 0.75])), 2);
        assert_eq!(missed(mode(2.0, 0.0126, [0.75, 1.0])), 1);
        assert_eq!(missed(mode(f64::NAN, 0.01, [0.75, 1.0])), 2);
        assert_eq!(missed(mode(2.0, f64::NAN, [0.75, 1.0])), 1);
        assert_eq!(missed(mode(2.0, 0.01, [f64::NAN, 1.0])), 2);
    }
}
