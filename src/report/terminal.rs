//! A small spectrum drawn with characters.

use crate::model::result::AnalysisResult;

/// Lines of text that the curve takes.
const HEIGHT: usize = 6;
/// From nothing to a full cell in eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Narrower than this nothing can be told from a spectrum.
const NARROWEST: usize = 40;

/// Colours of a terminal: ANSI blue, yellow, and back.
const CURVE: &str = "\u{1b}[34m";
const MARK: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";

/// The first singular value in dB over frequency, `width` characters wide, with the modes' numbers under their peaks;
/// none where the result has no spectrum, or no room for it.
pub fn spectrum_sketch(result: &AnalysisResult, width: usize, coloured: bool) -> Option<String> {
    let spectrum = result.spectrum.as_ref()?;
    let values = spectrum.singular_values.first()?;
    let (start, end) = (spectrum.frequency_hz.start, spectrum.frequency_hz.at(values.len().checked_sub(1)?));
    if width < NARROWEST || !(end > start) {
        return None;
    }
    let column_of = |line: usize| (line * width / values.len()).min(width - 1);
    let mut levels = vec![f64::NEG_INFINITY; width];
    for (line, value) in values.iter().enumerate() {
        let level = &mut levels[column_of(line)];
        *level = level.max(10.0 * value.log10());
    }
    // Fewer lines than columns leave columns without one: each repeats the column before.
    for column in 1..width {
        if levels[column] == f64::NEG_INFINITY {
            levels[column] = levels[column - 1];
        }
    }
    let finite = || levels.iter().copied().filter(|level| level.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    if !(high > low) {
        return None;
    }
    let steps = (HEIGHT * 8) as f64;
    // Even the lowest line shows.
    let height = |level: &f64| {
        if level.is_finite() { (1.0 + (steps - 1.0) * (level - low) / (high - low)).round() as usize } else { 0 }
    };
    let paint = |colour: &str, text: &str| if coloured { format!("{colour}{text}{PLAIN}") } else { text.to_owned() };
    let mut text = format!("first singular value, {low:.0} to {high:.0} dB\n");
    for row in (0..HEIGHT).rev() {
        let cells: String = levels.iter().map(|level| EIGHTHS[height(level).saturating_sub(8 * row).min(8)]).collect();
        text += &paint(CURVE, cells.trim_end());
        text.push('\n');
    }
    let mut marks = vec![' '; width];
    for (k, mode) in result.modes.iter().enumerate() {
        let place = column_of(((mode.frequency_hz - start) / spectrum.frequency_hz.step).round().max(0.0) as usize);
        let number = (k + 1).to_string();
        let room = place..place + number.len();
        // A number that would run into its neighbour is left out: the table has them all.
        let is_free = room.start == 0 || marks.get(room.start - 1) == Some(&' ');
        if is_free && marks.get(room.clone()).is_some_and(|cells| cells.iter().all(|cell| *cell == ' ')) {
            marks[room].iter_mut().zip(number.chars()).for_each(|(cell, digit)| *cell = digit);
        }
    }
    let marks: String = marks.into_iter().collect();
    if !marks.trim().is_empty() {
        text += &paint(MARK, marks.trim_end());
        text.push('\n');
    }
    let (left, right) = (format!("{start:.0}"), format!("{end:.1} Hz"));
    let between = width.saturating_sub(left.len() + right.len());
    Some(format!("{text}{left}{}{right}", " ".repeat(between)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::result::{Axis, SpectrumSummary};

    fn result(values: Vec<f64>) -> AnalysisResult {
        let mut result: AnalysisResult = serde_json::from_str(include_str!("../../tests/wire/v1/fdd.json")).unwrap();
        let step = 10.0 / (values.len() - 1) as f64;
        let frequency_hz = Axis { start: 0.0, step, count: values.len() };
        result.spectrum = Some(SpectrumSummary { frequency_hz, singular_values: vec![values] });
        let mode = result.modes[0].clone();
        result.modes =
            [2.5, 2.51, 7.5].map(|frequency_hz| crate::model::modes::Mode { frequency_hz, ..mode.clone() }).into();
        result
    }

    #[test]
    fn peaks_stand_over_the_numbers_of_their_modes() {
        let peak =
            |f: f64| (1..=3).map(|k| 1e4 / (1.0 + (100.0 * (f - 2.5 * f64::from(k))).powi(2))).sum::<f64>() + 1.0;
        let values = (0..=1000).map(|k| peak(f64::from(k) / 100.0)).collect();
        let text = spectrum_sketch(&result(values), 80, false).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + HEIGHT + 2, "{text}");
        let column = |line: &str, what: char| line.chars().position(|c| c == what);
        assert_eq!(column(lines[1], '█'), Some(19), "{text}");
        // Of two modes in one place one is shown.
        assert_eq!(lines[HEIGHT + 1].trim_end().len(), 60, "{text}");
        assert_eq!((column(lines[HEIGHT + 1], '1'), column(lines[HEIGHT + 1], '3')), (Some(19), Some(59)), "{text}");
        assert!(lines[HEIGHT + 2].starts_with('0') && lines[HEIGHT + 2].ends_with("10.0 Hz"), "{text}");
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        assert_eq!(spectrum_sketch(&result(vec![1.0; 100]), 80, false), None);
        assert_eq!(spectrum_sketch(&result(vec![0.0, 1.0, 2.0]), 20, false), None);
        assert!(spectrum_sketch(&result(vec![0.0, 1.0, 2.0]), 80, true).unwrap().contains('\u{1b}'));
    }
}
