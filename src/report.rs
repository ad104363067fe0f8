//! Results for people: tables for the terminal and one self-contained HTML page. Pure: results in, text out.

mod figures;

mod merging;

mod page;

mod sections;

mod table;

mod terminal;

mod tracking;

mod wireframe;

pub use page::{Section, page};
pub use table::{Alignment, mode_table, table};
pub use terminal::spectrum_sketch;
pub use tracking::track_table;

use serde_json::{Value, json};

/// Title of a page where nobody gives another.
pub const TITLE: &str = "Operational modal analysis";

/// Number of decimals that a standard deviation leaves meaningful: two significant digits of it.
fn decimals(std: Option<f64>, otherwise: usize) -> usize {
    match std {
        Some(s) if s > 0.0 && s.is_finite() => (1.0 - s.log10().floor()).clamp(1.0, 8.0) as usize,
        _ => otherwise,
    }
}

/// A number with as many decimals as its standard deviation deserves, and the standard deviation.
fn with_std(value: Option<f64>, std: Option<f64>, otherwise: usize) -> (String, String) {
    let digits = decimals(std, otherwise);
    let text = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.digits$}"));
    (text(value), text(std))
}

/// Significant digits of a frequency in a plot.
const FREQUENCY_DIGITS: usize = 7;
/// Significant digits of what else a plot tells when it is asked.
const DIGITS: usize = 5;
/// Significant digits of what is only looked at, and of scatter: a plot has some hundred lines of pixels.
const SEEN_DIGITS: usize = 3;

/// A number for a plot in as little room as it needs.
fn number(value: f64, digits: usize) -> Value {
    let rounded = format!("{value:.0$e}", digits - 1).parse::<f64>().ok().filter(|value| value.is_finite());
    rounded.map_or(Value::Null, |value| json!(value))
}

/// Text that plotly.js, which reads some markup, takes as it stands.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_decimals_that_its_standard_deviation_deserves() {
        assert_eq!(with_std(Some(1.87654321), Some(0.00123), 3), ("1.8765".into(), "0.0012".into()));
        assert_eq!(with_std(Some(1.87654321), None, 3), ("1.877".into(), "–".into()));
        assert_eq!(with_std(None, None, 3), ("–".into(), "–".into()));
        assert_eq!(with_std(Some(12.0), Some(3.4), 3), ("12.0".into(), "3.4".into()));
    }

    #[test]
    fn a_number_for_a_plot_keeps_its_digits_and_what_is_none_is_null() {
        assert_eq!(number(1.234_567_89, 7).to_string(), "1.234568");
        assert_eq!(number(f64::NAN, 7), Value::Null);
        assert_eq!(number(0.0, 4).to_string(), "0.0");
    }
}
