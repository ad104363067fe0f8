//! Results for people: tables for the terminal and one self-contained HTML page. Pure: results in, text out.

mod page;

mod plots;

mod table;

pub use page::{Section, page};
pub use table::{Alignment, mode_table, table};

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
}
