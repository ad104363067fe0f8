//! The parts of the page that belong to one result, and what lies between two.

use super::figures::{self, Figure};
use super::merging;
use super::table::{MODE_COLUMNS, mode_row, summary};
use super::tracking;
use super::wireframe::View;
use crate::model::merging::{Merging, Strategy};
use crate::model::modes::{Doubt, Mode};
use crate::model::quantities::{Conversion, ShapeQuantity};
use crate::model::result::{
    AnalysisResult, ChannelFit, ChannelQuality, Harmonic, Provenance, Stabilization, Validation,
};
use crate::model::tracking::Tracking;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

/// What the page's script draws: plots as they stand, and what a reader chooses from.
#[derive(Default)]
pub(super) struct Plots {
    figures: Map<String, Value>,
    shapes: Map<String, Value>,
    signals: Map<String, Value>,
}

impl Plots {
    pub(super) fn into_json(self) -> Value {
        json!({"figures": self.figures, "shapes": self.shapes, "signals": self.signals})
    }

    /// An id that nothing on the page has yet.
    fn id(&self, kind: &str) -> String {
        format!("{kind}-{}", self.figures.len() + self.shapes.len() + self.signals.len())
    }

    fn figure(&mut self, figure: Figure) -> Markup {
        let id = self.id("figure");
        let markup = plot(&id, figure.title, &figure.description, "");
        self.figures.insert(id, figure.plot);
        markup
    }
}

/// Warnings that are shown at once; more are behind a line.
const SHOWN_WARNINGS: usize = 6;

/// Heading and content of one result.
///
/// `told`: warnings that the page tells elsewhere.
pub(super) fn of(result: &AnalysisResult, told: &[String], plots: &mut Plots) -> (String, Markup) {
    let heading = match result.channel_quality {
        Some(_) => "Record and channels".to_owned(),
        None => format!("Modes by {}", result.method),
    };
    let is_new = |warning: &&String| result.channel_quality.is_some() || !told.contains(warning);
    let own: Vec<String> = result.provenance.warnings.iter().filter(is_new).cloned().collect();
    let content = html! {
        p { (summary(result)) @if let Some(start) = result.data.start { ", from " (start) } }
        (warnings(&own))
        @if let Some(reason) = &result.no_modes_reason { p { "No modes: " (reason) } }
        @if !result.modes.is_empty() { (modes(result, plots)) }
        @if !result.harmonics.is_empty() { (harmonics(result)) }
        @if let Some(tracking) = &result.tracking { (tracks(result, tracking)) }
        @if let Some(merging) = &result.merging { (setups(merging)) }
        @if let Some(figure) = figures::spectrum(result) { (plots.figure(figure)) }
        @if let Some(figure) = figures::stabilization(result) { (plots.figure(figure)) }
        @if let Some(poles) = &result.stabilization { (verdicts(poles)) }
        @if let Some(figure) = figures::mac_matrix(result, result) { (plots.figure(figure)) }
        @if let Some(validation) = &result.validation { (fits(validation, &result.modes, plots)) }
        @for (number, setup) in (1..).zip(&result.by_setup) {
            @if let Some(validation) = &setup.validation { h3 { "Setup " (number) } (fits(validation, &result.modes, plots)) }
        }
        @if let Some(channels) = &result.channel_quality { (quality(result, channels, plots)) }
        (details("Effective parameters", html! { pre { (pretty(&result.parameters)) } }))
        (details("Provenance", provenance(result, &result.provenance)))
    };
    (heading, content)
}

/// How alike the modes of two methods are.
pub(super) fn between(results: &[AnalysisResult], plots: &mut Plots) -> Option<Markup> {
    let mut with_modes = results.iter().filter(|result| !result.modes.is_empty());
    let (first, second) = (with_modes.next()?, with_modes.next()?);
    let figure = figures::mac_matrix(first, second)?;
    Some(html! { section { h2 { "Modes by " (first.method) " and by " (second.method) } (plots.figure(figure)) } })
}

/// A table: numbers stand to the right, words to the left, where they may go on in the next line.
pub(super) fn table<'a>(columns: impl Iterator<Item = &'a str>, rows: &[Vec<String>]) -> Markup {
    let is_word = |cell: &String| cell.parse::<f64>().is_err() && cell.contains(char::is_alphabetic);
    let has_words = |column: usize| rows.iter().filter_map(|row| row.get(column)).any(is_word);
    let columns: Vec<(&str, bool)> = columns.enumerate().map(|(k, name)| (name, has_words(k))).collect();
    html! {
        div class="wide" tabindex="0" role="group" aria-label="table" {
            table {
                thead { tr { @for (name, words) in &columns { th scope="col" class=[words.then_some("words")] { (name) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (cell, (_, words)) in row.iter().zip(&columns) { td class=[words.then_some("words")] { (cell) } } }
                    }
                }
            }
        }
    }
}

/// The place of a plot, with what a reader who does not see it should know.
fn plot(id: &str, title: &str, description: &str, class: &str) -> Markup {
    html! {
        figure {
            figcaption { h3 { (title) } p id={ (id) "-text" } { (description) "." } }
            div id=(id) class={ "plot " (class) } tabindex="0" role="group" aria-label=(title)
                aria-describedby={ (id) "-text keys" } {}
        }
    }
}

fn details(title: &str, content: Markup) -> Markup {
    html! { details { summary { (title) } (content) } }
}

fn warnings(warnings: &[String]) -> Markup {
    let (shown, others) = warnings.split_at(warnings.len().min(SHOWN_WARNINGS));
    let list = |warnings: &[String]| html! { ul class="warnings" { @for warning in warnings { li { (warning) } } } };
    html! {
        @if !shown.is_empty() { (list(shown)) }
        @if !others.is_empty() { (details(&format!("{} more warnings", others.len()), list(others))) }
    }
}

fn modes(result: &AnalysisResult, plots: &mut Plots) -> Markup {
    let cells: Vec<Vec<String>> = result.modes.iter().enumerate().map(|(k, m)| mode_row(k + 1, m)).collect();
    let view = View::of(result);
    let id = plots.id("shapes");
    let names = figures::mode_names(&result.modes);
    let shapes = figures::shapes(result, &view);
    let markup = html! {
        (table(MODE_COLUMNS.into_iter(), &cells))
        @if result.modes.iter().any(|mode| !mode.doubts.is_empty()) { (doubts(result)) }
        // Too wide for paper.
        details class="screen" { summary { "Everything known of each mode" } (known(result)) }
        h3 { "Mode shapes" }
        @if let Some(text) = result.data.shapes.as_ref().and_then(brought) { p { (text) } }
        @if !view.structure.is_placed {
            p { "No places of the channels are known: they stand in a row, in their order, each looking upwards." }
        }
        div class="thumbnails" role="group" aria-label="Modes" {
            @for (k, name) in names.iter().enumerate() {
                button type="button" data-shapes=(id) data-mode=(k) aria-pressed=(k == 0) {
                    (view.picture(k))
                    span { (name) }
                }
            }
        }
        div class="controls" {
            label { "Mode " select id={ (id) "-mode" } { @for (k, name) in names.iter().enumerate() { option value=(k) { (name) } } } }
            button type="button" id={ (id) "-play" } { "Pause" }
            label { "Amplitude " input id={ (id) "-amplitude" } type="range" min="0" max="3" step="0.1" value="1"; }
        }
        div class="pair" {
            (plot(&format!("{id}-space"), "Shape in space", "The chosen mode moving about the structure at rest, drawn grey; arrows are the channels' directions", "tall"))
            (plot(&format!("{id}-phase"), "Complexity", "Modulus and phase of each component of the chosen mode: of a real mode all lie on one line", "tall"))
        }
    };
    if let Some(shapes) = shapes {
        plots.shapes.insert(id, shapes);
    }
    markup
}

/// How channels of different quantities have come to one; nothing where none had to.
fn brought(shapes: &ShapeQuantity) -> Option<String> {
    let own =
        |own: &Conversion| format!("{} ({})", own.channel, [own.quantity.trim(), own.unit.trim()].join(" ").trim());
    let channels: Vec<String> = shapes.conversions.iter().map(own).collect();
    let (quantity, unit) = (&shapes.quantity, &shapes.unit);
    (!channels.is_empty()).then(|| format!("All in {quantity}, {unit}; brought to it: {}.", channels.join(", ")))
}

/// What speaks against the modes, one after the other.
fn doubts(result: &AnalysisResult) -> Markup {
    let of_mode = |(k, mode): (usize, &Mode)| {
        let row = move |doubt: &Doubt| vec![(k + 1).to_string(), doubt.code.clone(), doubt.message.clone()];
        mode.doubts.iter().map(row).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = result.modes.iter().enumerate().flat_map(of_mode).collect();
    details("What speaks against a mode", table(["mode", "doubt", "reason"].into_iter(), &rows))
}

/// Sinusoids of machines.
fn harmonics(result: &AnalysisResult) -> Markup {
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
    let row = |harmonic: &Harmonic| {
        vec![
            format!("{:.4}", harmonic.frequency_hz),
            format!("{:.4}", harmonic.frequency_std_hz),
            number(harmonic.support),
            result.data.channels.get(harmonic.strongest_row).cloned().unwrap_or_default(),
            number(harmonic.kurtosis),
            number(harmonic.kurtosis_std),
            number(harmonic.rms_parts.as_ref().map(|parts| parts.iter().copied().fold(0.0, f64::max))),
        ]
    };
    let rows: Vec<Vec<String>> = result.harmonics.iter().map(row).collect();
    html! {
        h3 { "Harmonics of machines" }
        p { "Sinusoids, none of them a mode: far sharper than anything that noise drives. Kurtosis is 1 for a sinusoid alone, 2 for noise. Where they were taken off the record: the most that was of a channel's rms." }
        (table(["f, Hz", "± std", "support", "strongest in", "kurtosis", "± std", "taken off"].into_iter(), &rows))
    }
}

/// How well the modes reproduce each channel of a record.
fn fits(validation: &Validation, modes: &[Mode], plots: &mut Plots) -> Markup {
    let row = |fit: &ChannelFit| {
        let error = fit.spectrum_error_db.map_or("–".into(), |error| format!("{error:.2}"));
        vec![fit.channel.clone(), format!("{:.1}", 100.0 * fit.correlation_fit), error]
    };
    let rows: Vec<Vec<String>> = validation.channels.iter().map(row).collect();
    html! {
        @if let Some(figure) = figures::synthesis(validation, modes) { (plots.figure(figure)) }
        p {
            "Correlations over " (validation.lags) " lags and spectra, made of the modes alone, beside the measured ones. The scatter of "
            "the measured spectra leaves " (format!("{:.2}", validation.scatter_db)) " dB. Drift, machines and coloured excitation are not "
            "the modes' to explain."
        }
        (table(["channel", "correlations explained, %", "spectrum, dB off"].into_iter(), &rows))
    }
}

/// Which mode of earlier results each mode is.
fn tracks(result: &AnalysisResult, tracking: &Tracking) -> Markup {
    html! {
        h3 { "Beside earlier results" }
        p {
            "Each mode beside the mean of those earlier results that have it, of " (tracking.earlier) "; σ is the scatter among them from "
            "three on, before that what the standard deviations say. The MAC is that with its latest appearance."
        }
        (table(tracking::COLUMNS.into_iter(), &tracking::rows(result)))
        @if let Some(missing) = tracking::missing(result) { p { (missing) "." } }
    }
}

/// Which setups each mode comes from.
fn setups(merging: &Merging) -> Markup {
    let modes = |modes, are_merged| table(merging::COLUMNS.into_iter(), &merging::rows(modes, are_merged));
    let of_setups = || table(merging::setup_columns(merging).into_iter(), &merging::setup_rows(merging));
    if merging.strategy != Strategy::Poser {
        return html! {
            h3 { "The setups" }
            p {
                "All setups were identified together (" (merging.strategy.name()) "). The share is a setup's part in the decomposition "
                "from which the poles come, by how precisely it knows the correlations of the references."
            }
            (of_setups())
        };
    }
    html! {
        h3 { "Setup by setup" }
        p { "Each merged mode as the setups have it. The MAC is that with the merged shape, over the setup's channels." }
        (modes(&merging.modes, true))
        @if !merging.left_out.is_empty() {
            p { "Left out, because no setup that has the mode shows it at some channel:" }
            (modes(&merging.left_out, false))
        }
        (details("The setups", of_setups()))
    }
}

/// Every number of every mode, by the names of the result document.
fn known(result: &AnalysisResult) -> Markup {
    let documents: Vec<Map<String, Value>> = result
        .modes
        .iter()
        .filter_map(|mode| match serde_json::to_value(mode) {
            Ok(Value::Object(fields)) => Some(fields),
            _ => None,
        })
        .collect();
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    let mut names: Vec<&String> = documents
        .iter()
        .flatten()
        .filter(|(_, value)| is_plain(value) && !value.is_null())
        .map(|(name, _)| name)
        .collect();
    names.sort();
    names.dedup();
    let cell = |document: &Map<String, Value>, name: &String| match document.get(name) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::Number(number)) => number.as_f64().map_or(number.to_string(), |value| significant(value, 6)),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let rows: Vec<Vec<String>> = documents
        .iter()
        .enumerate()
        .map(|(k, document)| {
            std::iter::once((k + 1).to_string()).chain(names.iter().map(|name| cell(document, name))).collect()
        })
        .collect();
    table(std::iter::once("mode").chain(names.iter().map(|name| name.as_str())), &rows)
}

/// So many significant digits, with an exponent where zeros would fill the cell.
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let Ok(rounded) = scientific.parse::<f64>() else { return value.to_string() };
    if rounded == 0.0 || (1e-3..1e6).contains(&rounded.abs()) { rounded.to_string() } else { scientific }
}

fn verdicts(poles: &Stabilization) -> Markup {
    let counts = figures::verdict_counts(poles);
    let row = |(verdict, count): &(&str, usize)| {
        vec![(*verdict).to_owned(), count.to_string(), figures::meaning(verdict).to_owned()]
    };
    let rows: Vec<Vec<String>> = counts.iter().map(row).collect();
    details(
        &format!("What became of the {} poles", poles.verdict.len()),
        table(["verdict", "poles", "meaning"].into_iter(), &rows),
    )
}

fn quality(result: &AnalysisResult, channels: &[ChannelQuality], plots: &mut Plots) -> Markup {
    let number = |v: f64| significant(v, 4);
    let two = |value: Option<f64>| value.map_or("–".into(), |v| format!("{v:.2}"));
    let percent = |part: f64| format!("{:.2}", 100.0 * part);
    let row = |c: &ChannelQuality| {
        vec![
            c.channel.clone(),
            c.verdict.clone(),
            percent(c.coverage),
            number(c.mean),
            number(c.rms),
            number(c.min),
            number(c.max),
            two(c.kurtosis),
            two(c.drift),
            two(c.noise_to_peers),
            percent(c.stuck_fraction),
            percent(c.clipped_fraction),
            c.spike_fraction.map_or("–".into(), percent),
        ]
    };
    let rows: Vec<Vec<String>> = channels.iter().map(row).collect();
    let columns = [
        "channel",
        "verdict",
        "coverage, %",
        "mean",
        "RMS",
        "smallest",
        "largest",
        "kurtosis",
        "drift, σ",
        "noise / peers",
        "stuck, %",
        "clipped, %",
        "spikes, %",
    ];
    let id = plots.id("signals");
    let signals = figures::signals(result);
    let markup = html! {
        (table(columns.into_iter(), &rows))
        @if signals.is_some() {
            div class="controls" {
                label {
                    "Channel "
                    select id={ (id) "-channel" } { @for (k, name) in result.data.channels.iter().enumerate() { option value=(k) { (name) } } }
                }
            }
            (plot(&id, "Time history and spectrum", "Smallest and largest sample of each stretch of the chosen channel over time, gaps shaded, and its power spectral density", "tall"))
        }
    };
    if let Some(signals) = signals {
        plots.signals.insert(id, signals);
    }
    markup
}

fn provenance(result: &AnalysisResult, provenance: &Provenance) -> Markup {
    let inputs: Vec<Vec<String>> =
        provenance.inputs.iter().map(|i| vec![i.key.clone(), i.samples.to_string(), i.sha256.clone()]).collect();
    let seconds: Vec<Vec<String>> =
        provenance.seconds.iter().map(|(stage, s)| vec![stage.clone(), format!("{s:.3}")]).collect();
    html! {
        p {
            "oma-worker " (provenance.worker_version) ", backend " (provenance.backend)
            @if let Some(adapter) = &provenance.adapter { " (" (adapter) ")" }
            @if let Some(reason) = &provenance.fallback_reason { ", because " (reason) }
            ", " (result.created_at)
            @if let Some(id) = &result.analysis_id { ", analysis " code { (id) } }
            @if let Some(key) = &result.cache_key { ", record " code { (key) } }
        }
        (table(["input", "samples", "SHA-256"].into_iter(), &inputs))
        (table(["stage", "seconds"].into_iter(), &seconds))
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}
