//! The page: one HTML file that needs nothing beside itself, no network and no script.

use super::plots;
use super::table::{MODE_COLUMNS, mode_row, summary};
use crate::model::result::{AnalysisResult, ChannelQuality, Provenance, Stabilization};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeMap;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 940px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2.2em; border-bottom: 1px solid #ccc } h3 { font-size: 1em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .15em .8em; text-align: right; border-bottom: 1px solid #e4e4e4 }
th:first-child, td:first-child, td.word { text-align: left }
.warning { background: #fff6df; border-left: 4px solid #e0a800; padding: .3em .8em; margin: .4em 0 }
.shapes { display: flex; flex-wrap: wrap; gap: .5em } figure { margin: 0 } figcaption { text-align: center; font-size: .9em }
pre { background: #f6f6f6; padding: .8em; overflow: auto; font-size: .85em } code { word-break: break-all }
svg { max-width: 100%; height: auto }";

/// A table of its own on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What a reader should know before it.
    pub text: String,
    /// Column names.
    pub columns: Vec<String>,
    /// Rows of cells.
    pub rows: Vec<Vec<String>>,
}

/// One page from any number of results; `sections` come first.
pub fn page(title: &str, sections: &[Section], results: &[AnalysisResult]) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                @for section in sections {
                    h2 { (section.title) }
                    p { (section.text) }
                    (rows(section.columns.iter().map(String::as_str), section.rows.iter()))
                }
                @for result in results { (one(result)) }
            }
        }
    };
    markup.into_string()
}

fn rows<'a, 'b>(columns: impl Iterator<Item = &'a str>, rows: impl Iterator<Item = &'b Vec<String>>) -> Markup {
    html! {
        table {
            thead { tr { @for column in columns { th { (column) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        }
    }
}

fn one(result: &AnalysisResult) -> Markup {
    html! {
        h2 { (result.run_type) " · " (result.method) }
        p { (summary(result)) }
        @for warning in &result.provenance.warnings { div class="warning" { (warning) } }
        @if let Some(channels) = &result.channel_quality { (quality(channels)) }
        @if let Some(reason) = &result.no_modes_reason { p { "No modes: " (reason) } }
        @if !result.modes.is_empty() { (modes(result)) }
        @if let Some(plot) = result.spectrum.as_ref().and_then(|s| plots::spectrum(s, &result.modes)) {
            h3 { "Singular values of the spectral matrix" }
            (PreEscaped(plot))
        }
        @if let Some(poles) = &result.stabilization { (stabilization(result, poles)) }
        details { summary { "Effective parameters" } pre { (pretty(&result.parameters)) } }
        details { summary { "Provenance" } (provenance(result, &result.provenance)) }
    }
}

fn modes(result: &AnalysisResult) -> Markup {
    let cells: Vec<Vec<String>> = result.modes.iter().enumerate().map(|(k, m)| mode_row(k + 1, m)).collect();
    html! {
        (rows(MODE_COLUMNS.into_iter(), cells.iter()))
        h3 { "Mode shapes" }
        p { "Real part over the channels: " (result.data.channels.join(", ")) }
        div class="shapes" {
            @for (k, mode) in result.modes.iter().enumerate() {
                @if let Some(plot) = plots::shape(mode) {
                    figure {
                        (PreEscaped(plot))
                        figcaption { "mode " (k + 1) ", " (format!("{:.3}", mode.frequency_hz)) " Hz" }
                    }
                }
            }
        }
    }
}

fn stabilization(result: &AnalysisResult, poles: &Stabilization) -> Markup {
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in &poles.verdict {
        *verdicts.entry(verdict).or_default() += 1;
    }
    let counts: Vec<Vec<String>> = verdicts.iter().map(|(v, n)| vec![(*v).to_owned(), n.to_string()]).collect();
    html! {
        @if let Some(plot) = plots::stabilization(poles, &result.modes) {
            h3 { "Stabilization diagram" }
            (PreEscaped(plot))
        }
        details {
            summary { "What became of the " (poles.verdict.len()) " poles" }
            (rows(["verdict", "poles"].into_iter(), counts.iter()))
        }
    }
}

fn quality(channels: &[ChannelQuality]) -> Markup {
    let number = |v: f64| format!("{v:.4e}");
    let cells: Vec<Vec<String>> = channels
        .iter()
        .map(|c| {
            let coverage = format!("{:.2} %", c.coverage * 100.0);
            let two = |value: Option<f64>| value.map_or("–".into(), |v| format!("{v:.2}"));
            let verdict = c.verdict.clone();
            vec![
                c.channel.clone(),
                verdict,
                coverage,
                number(c.mean),
                number(c.rms),
                number(c.min),
                number(c.max),
                two(c.kurtosis),
                two(c.drift),
                two(c.noise_to_peers),
            ]
        })
        .collect();
    let columns = [
        "channel",
        "verdict",
        "coverage",
        "mean",
        "RMS",
        "smallest",
        "largest",
        "kurtosis",
        "drift, σ",
        "noise / peers",
    ];
    rows(columns.into_iter(), cells.iter())
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
        }
        (rows(["input", "samples", "SHA-256"].into_iter(), inputs.iter()))
        (rows(["stage", "seconds"].into_iter(), seconds.iter()))
    }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}
