//! Plots as SVG text, ready to stand in a page.

use crate::model::modes::Mode;
use crate::model::result::{SpectrumSummary, Stabilization};
use plotters::coord::Shift;
use plotters::prelude::*;

/// Size of the wide plots, CSS pixels.
const WIDE: (u32, u32) = (900, 360);
/// Size of one mode shape.
const SMALL: (u32, u32) = (290, 200);
/// Points of a curve at most: two a pixel show all that there is to see.
const CURVE_POINTS: usize = 2 * WIDE.0 as usize;

const FRAME: RGBColor = RGBColor(70, 70, 70);
const MARK: RGBColor = RGBColor(200, 60, 40);
const REJECTED: RGBColor = RGBColor(190, 190, 190);
const ACCENT: RGBColor = RGBColor(20, 90, 160);

/// A plot has no room, or nothing to show: it is left out of the page.
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn svg(size: (u32, u32), draw: impl FnOnce(&DrawingArea<SVGBackend, Shift>) -> Drawn) -> Option<String> {
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?))
    };
    drawn.ok().map(|()| text)
}

/// Singular values over frequency in dB, with the modes marked.
pub(super) fn spectrum(spectrum: &SpectrumSummary, modes: &[Mode]) -> Option<String> {
    let axis = spectrum.frequency_hz;
    let curves: Vec<Vec<(f64, f64)>> =
        spectrum.singular_values.iter().map(|s| curve(s, axis.start, axis.step)).collect();
    let levels = || curves.iter().flatten().map(|(_, level)| *level);
    let (low, high) = range(levels())?;
    let end = axis.start + axis.step * axis.count.saturating_sub(1) as f64;
    svg(WIDE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d(axis.start..end, low..high)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .axis_style(FRAME)
            .x_desc("frequency, Hz")
            .y_desc("singular values, dB")
            .draw()?;
        for (k, curve) in curves.iter().enumerate().rev() {
            let style = if k == 0 { ACCENT.stroke_width(1) } else { REJECTED.stroke_width(1) };
            chart.draw_series(LineSeries::new(curve.iter().copied(), style))?;
        }
        for mode in modes {
            let f = mode.frequency_hz;
            chart.draw_series(std::iter::once(PathElement::new(vec![(f, low), (f, high)], MARK.mix(0.6))))?;
        }
        Ok(())
    })
}

/// One curve in dB; where there are more lines than pixels, the largest of each group, so that peaks stay.
fn curve(values: &[f64], start: f64, step: f64) -> Vec<(f64, f64)> {
    let group = values.len().div_ceil(CURVE_POINTS).max(1);
    let largest = |(k, chunk): (usize, &[f64])| {
        let (offset, value) = chunk.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
        let level = 10.0 * value.log10();
        level.is_finite().then_some((start + step * (k * group + offset) as f64, level))
    };
    values.chunks(group).enumerate().filter_map(largest).collect()
}

/// Every pole, order over frequency; the stable ones in colour, the modes as lines.
pub(super) fn stabilization(poles: &Stabilization, modes: &[Mode]) -> Option<String> {
    let highest_order = *poles.order.iter().max()? as f64;
    let nyquist = poles.level_sampling_rate_hz.iter().copied().fold(0.0, f64::max) / 2.0;
    let points = |stable: bool| {
        let columns = poles.frequency_hz.iter().zip(&poles.order).zip(&poles.verdict);
        columns
            .filter(move |(_, verdict)| (verdict.as_str() == "stable") == stable)
            .filter_map(|((frequency, order), _)| frequency.map(|f| (f, *order as f64)))
    };
    svg(WIDE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..nyquist, 0.0..highest_order + 1.0)?;
        chart.configure_mesh().disable_mesh().axis_style(FRAME).x_desc("frequency, Hz").y_desc("model order").draw()?;
        for mode in modes {
            let line = vec![(mode.frequency_hz, 0.0), (mode.frequency_hz, highest_order + 1.0)];
            chart.draw_series(std::iter::once(PathElement::new(line, MARK.mix(0.6))))?;
        }
        chart.draw_series(points(false).map(|p| Circle::new(p, 1, REJECTED.filled())))?;
        chart.draw_series(points(true).map(|p| Circle::new(p, 2, ACCENT.filled())))?;
        Ok(())
    })
}

/// Real part of a shape over the channels in their order.
pub(super) fn shape(mode: &Mode) -> Option<String> {
    let values: Vec<(f64, f64)> = mode.shape.0.iter().enumerate().map(|(c, z)| (c as f64 + 1.0, z.re)).collect();
    let last = values.len() as f64;
    svg(SMALL, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .x_label_area_size(24)
            .y_label_area_size(34)
            .build_cartesian_2d(0.5..last + 0.5, -1.1..1.1)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(FRAME)
            .x_labels(values.len().min(8))
            .x_label_formatter(&|channel| {
                if channel.fract().abs() < 1e-9 { format!("{channel:.0}") } else { String::new() }
            })
            .y_labels(3)
            .draw()?;
        chart.draw_series(std::iter::once(PathElement::new(vec![(0.5, 0.0), (last + 0.5, 0.0)], REJECTED)))?;
        chart.draw_series(LineSeries::new(values.iter().copied(), ACCENT.stroke_width(2)).point_size(3))?;
        Ok(())
    })
}

/// Smallest and largest of the numbers with a little room; none where there is no spread to show.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let room = 0.05 * (high - low);
    (room > 0.0 && room.is_finite()).then_some((low - room, high + room))
}
