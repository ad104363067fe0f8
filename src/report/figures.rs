//! Figures as plotly.js takes them: traces and a layout; colours of paper and ink come from the page.

use super::wireframe::{View, mode_name};
use super::{DIGITS, FREQUENCY_DIGITS, SEEN_DIGITS, number, plain, with_std};
use crate::modal::indicators::mac;
use crate::model::modes::Mode;
use crate::model::result::{AnalysisResult, SpectrumSummary, Stabilization, Validation};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Points of a curve at most: a spectrum by rule has 8193 lines and stays whole.
const CURVE_POINTS: usize = 8193;

/// A figure and what to call it.
pub(super) struct Figure {
    pub(super) title: &'static str,
    /// What a reader who does not see it should know.
    pub(super) description: String,
    /// `{data, layout}`.
    pub(super) plot: Value,
}

/// Colour, symbol and meaning of each verdict on a pole, the chosen ones first. The colours are those of Okabe & Ito
/// (2008), told apart by colour-blind readers; the symbols serve print.
const VERDICTS: [(&str, &str, &str, &str); 12] = [
    ("stable", "#0072b2", "circle", "in the cluster of a mode"),
    ("second_in_order", "#56b4e9", "circle-open", "a more precise pole of the same order stands for the cluster"),
    ("other_level", "#56b4e9", "square-open", "another decimation level is responsible for this frequency"),
    ("shape", "#009e73", "diamond-open", "the shape is not determined: the modes around cannot be told apart"),
    ("support", "#cc79a7", "diamond", "too few other orders support the cluster"),
    ("no_cluster", "#cc79a7", "triangle-up-open", "too few poles of other orders agree"),
    ("frequency_deviation", "#e69f00", "x-thin-open", "standard deviation of the frequency too large"),
    ("damping_deviation", "#d55e00", "cross-thin-open", "standard deviation of the damping too large"),
    ("no_deviation", "#d55e00", "star-open", "standard deviation unknown: the state matrix is defective"),
    ("complexity", "#e69f00", "triangle-down-open", "phases of the shape scattered"),
    ("damping", "#8a8a8a", "x-thin-open", "damping not above 0, or too large for a structure"),
    ("band", "#8a8a8a", "line-ns-open", "outside the band, or too near to Nyquist"),
];

/// What a verdict means, in words.
pub(super) fn meaning(verdict: &str) -> &str {
    VERDICTS.iter().find(|(name, ..)| *name == verdict).map_or(verdict, |(.., meaning)| meaning)
}

/// The verdicts of a result with the numbers of their poles, the chosen ones first; one that is not known here last.
pub(super) fn verdict_counts(poles: &Stabilization) -> Vec<(&str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in &poles.verdict {
        *counts.entry(verdict).or_default() += 1;
    }
    let rank = |name: &str| VERDICTS.iter().position(|(known, ..)| *known == name).unwrap_or(VERDICTS.len());
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(name, _)| rank(name));
    counts
}

/// Levels of one curve in dB; of more lines than are shown the largest of each group, so that peaks stay. With the
/// distance of two values in lines.
fn levels(values: &[f64], most: usize) -> (Vec<Value>, usize) {
    let group = values.len().div_ceil(most).max(1);
    let level = |chunk: &[f64]| {
        let level = 10.0 * chunk.iter().copied().fold(0.0, f64::max).log10();
        // Hundredths of a dB are more than any screen shows.
        if level.is_finite() { json!((level * 100.0).round() / 100.0) } else { Value::Null }
    };
    (values.chunks(group).map(level).collect(), group)
}

fn curve(spectrum: &SpectrumSummary, which: usize, points: usize) -> Value {
    let (y, group) = levels(&spectrum.singular_values[which], points);
    let axis = spectrum.frequency_hz;
    json!({"type": "scatter", "mode": "lines", "x0": axis.start, "dx": axis.step * group as f64, "y": y})
}

/// Marks the frequencies of the modes.
fn mode_lines(modes: &[Mode]) -> Vec<Value> {
    let line = |mode: &Mode| {
        json!({
            "type": "line", "x0": number(mode.frequency_hz, FREQUENCY_DIGITS), "x1": number(mode.frequency_hz, FREQUENCY_DIGITS),
            "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 1, "dash": "dot", "color": "#d55e00"},
        })
    };
    modes.iter().map(line).collect()
}

/// Numbers of the modes above a plot.
fn mode_numbers(modes: &[Mode]) -> Vec<Value> {
    let mark = |(k, mode): (usize, &Mode)| {
        json!({
            "x": number(mode.frequency_hz, FREQUENCY_DIGITS), "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": false,
            "text": (k + 1).to_string(), "font": {"size": 11, "color": "#d55e00"},
        })
    };
    modes.iter().enumerate().map(mark).collect()
}

fn described(mode: &Mode) -> String {
    let (f, f_std) = with_std(Some(mode.frequency_hz), mode.frequency_std_hz, 4);
    let percent = |ratio: Option<f64>| ratio.map(|ratio| 100.0 * ratio);
    let (xi, xi_std) = with_std(percent(mode.damping_ratio), percent(mode.damping_ratio_std), 2);
    format!("f {f} ± {f_std} Hz<br>ξ {xi} ± {xi_std} %<br>MPC {:.3}", mode.mpc)
}

/// Singular values over frequency, with the modes at the first one.
pub(super) fn spectrum(result: &AnalysisResult) -> Option<Figure> {
    let spectrum = result.spectrum.as_ref()?;
    let first = spectrum.singular_values.first()?;
    let axis = spectrum.frequency_hz;
    let mut data: Vec<Value> = (0..spectrum.singular_values.len())
        .map(|which| {
            let mut trace = curve(spectrum, which, CURVE_POINTS);
            trace["name"] = json!(format!("singular value {}", which + 1));
            trace["line"] = json!({"width": if which == 0 { 1.6 } else { 1.0 }});
            trace["hovertemplate"] = json!("%{x:.4f} Hz, %{y:.2f} dB");
            trace
        })
        .collect();
    let at_peak = |mode: &Mode| {
        let line = ((mode.frequency_hz - axis.start) / axis.step).round().max(0.0) as usize;
        first.get(line).map(|value| 10.0 * value.log10()).filter(|level| level.is_finite())
    };
    data.push(json!({
        "type": "scatter", "mode": "markers+text", "name": "modes",
        "x": result.modes.iter().map(|mode| number(mode.frequency_hz, FREQUENCY_DIGITS)).collect::<Vec<_>>(),
        "y": result.modes.iter().map(at_peak).collect::<Vec<_>>(),
        "text": (1..=result.modes.len()).map(|k| k.to_string()).collect::<Vec<_>>(),
        "customdata": result.modes.iter().map(described).collect::<Vec<_>>(),
        "textposition": "top center", "cliponaxis": false,
        "marker": {"symbol": "triangle-down", "size": 9, "color": "#d55e00"},
        "hovertemplate": "mode %{text}<br>%{customdata}<extra></extra>",
    }));
    let count = spectrum.singular_values.len();
    Some(Figure {
        title: "Singular values of the spectral matrix",
        description: format!(
            "Singular values over frequency from {} to {} Hz in decibels, {count} of them, with {} modes marked",
            axis.start,
            number(axis.at(axis.count.saturating_sub(1)), DIGITS),
            result.modes.len()
        ),
        plot: json!({"data": data, "layout": {
            "xaxis": {"title": {"text": "frequency, Hz"}, "range": [axis.start, axis.at(axis.count.saturating_sub(1))]},
            "yaxis": {"title": {"text": "dB re 1 unit²/Hz"}},
            "shapes": mode_lines(&result.modes), "hovermode": "closest",
            "legend": {"orientation": "h", "y": -0.2, "yanchor": "top"},
        }}),
    })
}

/// Points of the spectrum behind the poles: something to look at, not to read from.
const BEHIND_POINTS: usize = 1025;

/// Points of one measured autospectrum, and of all that a page has room for; the other channels are in the result.
const AUTOSPECTRUM_POINTS: usize = 1025;
const AUTOSPECTRA_POINTS: usize = 4 * AUTOSPECTRUM_POINTS;

/// Autospectra of the reference channels beside what the modes make of them; all but the first wait in the legend.
pub(super) fn synthesis(Validation { synthesis, .. }: &Validation, modes: &[Mode]) -> Option<Figure> {
    let axis = synthesis.frequency_hz;
    let shown = (AUTOSPECTRA_POINTS / axis.count.clamp(1, AUTOSPECTRUM_POINTS)).min(synthesis.channels.len());
    let trace = |lines: &[f32], k: usize, name: &str, line: Value| {
        let visible = if k == 0 { json!(true) } else { json!("legendonly") };
        let (y, group) = levels(&lines.iter().map(|&value| f64::from(value)).collect::<Vec<_>>(), AUTOSPECTRUM_POINTS);
        json!({
            "type": "scatter", "mode": "lines", "x0": axis.start, "dx": axis.step * group as f64, "y": y,
            "name": format!("{}, {name}", plain(&synthesis.channels[k])), "line": line, "visible": visible,
            "legendgroup": k.to_string(), "hovertemplate": "%{x:.4f} Hz, %{y:.2f} dB",
        })
    };
    let both = synthesis.measured.iter().zip(&synthesis.synthesised).take(shown).enumerate();
    let data: Vec<Value> = both
        .flat_map(|(k, (measured, synthesised))| {
            [
                trace(measured, k, "measured", json!({"width": 1, "color": "#8a8a8a"})),
                trace(synthesised, k, "by the modes", json!({"width": 1.6, "color": "#0072b2"})),
            ]
        })
        .collect();
    (!data.is_empty()).then(|| Figure {
        title: "Spectra by the modes",
        description: format!(
            "Autospectra of {} of {} reference channels and what the modes make of them, in decibels; a click in the legend \
             shows another channel",
            data.len() / 2,
            synthesis.channels.len()
        ),
        plot: json!({"data": data, "layout": {
            "xaxis": {"title": {"text": "frequency, Hz"}, "range": [axis.start, axis.at(axis.count.saturating_sub(1))]},
            "yaxis": {"title": {"text": "dB re 1 unit²/Hz"}},
            "shapes": mode_lines(modes), "hovermode": "closest",
            "legend": {"orientation": "h", "y": -0.35, "yanchor": "top"}, "height": 480,
        }}),
    })
}

/// Every pole, order over frequency, coloured by its verdict, with the spectrum behind.
pub(super) fn stabilization(result: &AnalysisResult) -> Option<Figure> {
    let poles = result.stabilization.as_ref()?;
    let highest = *poles.order.iter().max()?;
    let lowest = *poles.order.iter().min()?;
    let nyquist = poles.level_sampling_rate_hz.iter().copied().fold(0.0, f64::max) / 2.0;
    let counts = verdict_counts(poles);
    let mut data = Vec::new();
    let spectrum = result.spectrum.as_ref().or(result.by_setup.first().map(|setup| &setup.spectrum));
    let spectrum = spectrum.filter(|spectrum| !spectrum.singular_values.is_empty());
    if let Some(spectrum) = spectrum {
        let mut trace = curve(spectrum, 0, BEHIND_POINTS);
        trace["name"] = json!("spectrum");
        trace["yaxis"] = json!("y2");
        trace["line"] = json!({"width": 1, "color": "#8a8a8a"});
        trace["opacity"] = json!(0.6);
        trace["hoverinfo"] = json!("skip");
        data.push(trace);
    }
    // The chosen poles are drawn last, over the others.
    data.extend(counts.iter().rev().map(|(verdict, count)| verdict_trace(poles, verdict, *count)));
    let stable = counts.iter().find(|(verdict, _)| *verdict == "stable").map_or(0, |(_, count)| *count);
    Some(Figure {
        title: "Stabilization diagram",
        description: format!(
            "{} poles of orders {lowest} to {highest} over frequency, {stable} of them in the clusters of {} modes",
            poles.verdict.len(),
            result.modes.len()
        ),
        plot: json!({"data": data, "layout": {
            "height": 560,
            "xaxis": {"title": {"text": "frequency, Hz"}, "range": [0, number(nyquist, FREQUENCY_DIGITS)]},
            "yaxis": {"title": {"text": "model order"}, "overlaying": "y2", "range": [lowest as f64 - 1.5, highest as f64 + 1.5]},
            "yaxis2": {"side": "right", "showgrid": false, "title": {"text": "first singular value, dB"}, "visible": spectrum.is_some()},
            "shapes": mode_lines(&result.modes), "annotations": mode_numbers(&result.modes),
            "legend": {"traceorder": "reversed", "orientation": "h", "y": -0.16, "yanchor": "top"},
            "hovermode": "closest",
        }}),
    })
}

fn verdict_trace(poles: &Stabilization, verdict: &str, count: usize) -> Value {
    let of_verdict: Vec<usize> = (0..poles.verdict.len()).filter(|&k| poles.verdict[k] == verdict).collect();
    let (_, colour, symbol, meaning) = VERDICTS.iter().find(|(name, ..)| *name == verdict).copied().unwrap_or((
        verdict,
        "#8a8a8a",
        "hash-open",
        verdict,
    ));
    let stable = verdict == "stable";
    let percent = |ratio: Option<f64>| ratio.map(|ratio| number(100.0 * ratio, DIGITS));
    let (told, scatter) = (|value: f64| number(value, DIGITS), |value: f64| number(value, SEEN_DIGITS));
    // A column that the result does not have reads as a dash.
    let cell = |value: Option<Value>| value.unwrap_or_else(|| json!("–"));
    let column = |values: &[Option<f64>], k: usize| values.get(k).copied().flatten();
    let known = |k: &usize| {
        json!([
            cell(column(&poles.frequency_std_hz, *k).map(scatter)),
            cell(percent(column(&poles.damping_ratio, *k))),
            cell(column(&poles.damping_ratio_std, *k).map(|std| scatter(100.0 * std))),
            cell(column(&poles.mac, *k).map(told)),
            cell(column(&poles.mpc, *k).map(scatter)),
        ])
    };
    json!({
        "type": "scatter", "mode": "markers", "name": format!("{} ({count})", plain(verdict)),
        "x": of_verdict.iter().map(|&k| column(&poles.frequency_hz, k).map(|f| number(f, FREQUENCY_DIGITS))).collect::<Vec<_>>(),
        "y": of_verdict.iter().map(|&k| poles.order.get(k)).collect::<Vec<_>>(),
        "customdata": of_verdict.iter().map(known).collect::<Vec<_>>(),
        "marker": {"color": colour, "symbol": symbol, "size": if stable { 7 } else { 4 }, "opacity": if stable { 1.0 } else { 0.5 }},
        "hovertemplate": format!(
            "f %{{x}} ± %{{customdata[0]}} Hz<br>ξ %{{customdata[1]}} ± %{{customdata[2]}} %<br>order %{{y}}<br>\
             MAC with the order before %{{customdata[3]}}<br>MPC %{{customdata[4]}}<br><b>{}</b>: {}<extra></extra>",
            plain(verdict), plain(meaning)
        ),
    })
}

/// MAC between the modes of one result and of another, or of the same.
pub(super) fn mac_matrix(rows: &AnalysisResult, columns: &AnalysisResult) -> Option<Figure> {
    let comparable = rows.data.channels == columns.data.channels && !rows.modes.is_empty() && !columns.modes.is_empty();
    if !comparable {
        return None;
    }
    let same = std::ptr::eq(rows, columns);
    let names = |result: &AnalysisResult| -> Vec<String> {
        result.modes.iter().enumerate().map(|(k, mode)| format!("{} · {:.3} Hz", k + 1, mode.frequency_hz)).collect()
    };
    let axis = |result: &AnalysisResult| {
        let title = if same { "mode" } else { result.method.as_str() };
        json!({"type": "category", "title": {"text": title}, "constrain": "domain", "automargin": true, "showgrid": false})
    };
    let (mut across, mut down) = (axis(columns), axis(rows));
    // Frequencies stand beside the rows; above many columns they would not be legible.
    across["tickvals"] = names(columns).into();
    across["ticktext"] = (1..=columns.modes.len()).map(|k| k.to_string()).collect::<Vec<_>>().into();
    down["autorange"] = "reversed".into();
    down["scaleanchor"] = "x".into();
    let value = |a: &Mode, b: &Mode| {
        let fits = a.shape.0.len() == b.shape.0.len();
        if fits { mac(a.shape.0.as_view(), b.shape.0.as_view()) } else { f64::NAN }
    };
    let values: Vec<Vec<f64>> =
        rows.modes.iter().map(|a| columns.modes.iter().map(|b| value(a, b)).collect()).collect();
    let text = |row: &Vec<f64>| row.iter().map(|v| format!("{v:.2}")).collect::<Vec<_>>();
    let most = values.iter().enumerate().flat_map(|(i, row)| row.iter().enumerate().filter(move |(j, _)| i != *j));
    let most = most.map(|(_, value)| *value).fold(0.0, f64::max);
    let description = match same {
        true => format!(
            "MAC of {} modes with each other; the largest between two different ones is {most:.2}",
            rows.modes.len()
        ),
        false => format!("MAC of the modes by {} with those by {}", rows.method, columns.method),
    };
    // Numbers in the cells up to here; more would not be legible.
    let shows_text = rows.modes.len().max(columns.modes.len()) <= 16;
    Some(Figure {
        title: "MAC matrix",
        description,
        plot: json!({"data": [{
            "type": "heatmap", "zmin": 0, "zmax": 1, "colorscale": "Viridis", "xgap": 1, "ygap": 1,
            "x": names(columns), "y": names(rows),
            "z": values.iter().map(|row| row.iter().map(|mac| number(*mac, DIGITS)).collect::<Vec<_>>()).collect::<Vec<_>>(),
            "text": values.iter().map(text).collect::<Vec<_>>(),
            "texttemplate": if shows_text { "%{text}" } else { "" },
            "hovertemplate": "%{y} with %{x}<br>MAC %{z}<extra></extra>",
            "colorbar": {"title": {"text": "MAC"}, "thickness": 14},
        }], "layout": {
            "height": 460, "xaxis": across, "yaxis": down,
        }}),
    })
}

/// Time history and spectrum of each channel, from which the page's script draws the one that is chosen.
pub(super) fn signals(result: &AnalysisResult) -> Option<Value> {
    let signals = result.channel_signals.as_ref()?;
    let short = |value: f32| number(f64::from(value), SEEN_DIGITS);
    let extremes = |values: &Vec<Option<f32>>| values.iter().map(|v| v.map(short)).collect::<Vec<_>>();
    let level = |value: &f32| {
        let level = 10.0 * f64::from(*value).log10();
        // Tenths of a dB are more than any screen shows.
        if level.is_finite() { json!((level * 10.0).round() / 10.0) } else { Value::Null }
    };
    let channel = |(row, name): (usize, &String)| {
        json!({
            "name": plain(name),
            "unit": signals.units.get(row).filter(|unit| !unit.is_empty()).map(|unit| plain(unit)),
            "min": signals.min.get(row).map(extremes),
            "max": signals.max.get(row).map(extremes),
            "psd": signals.psd.get(row).map(|psd| psd.iter().map(level).collect::<Vec<_>>()),
        })
    };
    let rate = result.data.sampling_rate_hz;
    let segments = &result.data.segments;
    let gaps = segments
        .windows(2)
        .map(|pair| json!([(pair[0].start + pair[0].samples) as f64 / rate, pair[1].start as f64 / rate]));
    Some(json!({
        "time": signals.time_s,
        "frequency": signals.frequency_hz,
        "gaps": gaps.collect::<Vec<_>>(),
        "channels": result.data.channels.iter().enumerate().map(channel).collect::<Vec<_>>(),
    }))
}

/// How the phases of a mode's components lie; the page's script draws the mode that is chosen.
pub(super) fn shapes(result: &AnalysisResult, view: &View) -> Option<Value> {
    (!result.modes.is_empty()).then(|| {
        let mut shapes = view.to_json(result);
        shapes["channels"] = result.data.channels.iter().map(|name| plain(name)).collect::<Vec<_>>().into();
        shapes
    })
}

/// Names of the modes, for a list to choose from.
pub(super) fn mode_names(modes: &[Mode]) -> Vec<String> {
    modes.iter().enumerate().map(|(k, mode)| mode_name(k, mode)).collect()
}
