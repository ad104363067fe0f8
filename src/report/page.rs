//! The page: one HTML file that needs nothing beside itself and no network.
//!
//! What can be read is HTML; what can be looked at is drawn by plotly.js, which stands in the file, from the JSON that
//! stands there too. A policy in the head forbids the file to load anything.

use super::sections::{self, Plots};
use crate::model::result::AnalysisResult;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotly::Plot;
use serde_json::Value;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// plotly.js makes functions of text (`unsafe-eval`) where it draws in space.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; \
                      img-src data: blob:; worker-src blob:";

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
    let mut plots = Plots::default();
    let record = results.iter().find(|result| result.channel_quality.is_some());
    let told = record.map_or(&[][..], |record| &record.provenance.warnings);
    let parts: Vec<(String, Markup)> = results.iter().map(|result| sections::of(result, told, &mut plots)).collect();
    let between = sections::between(results, &mut plots);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    nav aria-label="Parts of this page" {
                        @for (k, (heading, _)) in parts.iter().enumerate() { a href={ "#result-" (k) } { (heading) } }
                    }
                    p id="keys" {
                        "With a plot in focus: + and − zoom, arrows move or turn, 0 shows everything. Its bar exports a PNG; a                      click on a legend hides and shows."
                    }
                }
                main {
                    @for section in sections {
                        section {
                            h2 { (section.title) }
                            p { (section.text) }
                            (sections::table(section.columns.iter().map(String::as_str), &section.rows))
                        }
                    }
                    @for (k, (heading, part)) in parts.iter().enumerate() {
                        section id={ "result-" (k) } aria-labelledby={ "heading-" (k) } {
                            h2 id={ "heading-" (k) } { (heading) }
                            (part)
                        }
                    }
                    @if let Some(between) = between { (between) }
                }
                noscript { p { "The plots are drawn by a script in this file, which is switched off here." } }
                script type="application/json" id="plots" { (PreEscaped(embedded(&plots.into_json()))) }
                (PreEscaped(plotting_library()))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

/// The element with plotly.js. The crate hands out two, of which the second typesets formulas; there are none here.
fn plotting_library() -> String {
    const END: &str = "</script>";
    let mut sources = Plot::offline_js_sources();
    let end = sources.find(END).map_or(0, |start| start + END.len());
    sources.truncate(end);
    sources
}

/// JSON that may stand in an HTML element: nothing in it ends the element.
fn embedded(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_plotly_alone() {
        let library = plotting_library();
        assert!(library.starts_with("<script") && library.ends_with("</script>"));
        assert!(library.contains("plotly.js v") && library.len() < 4_700_000, "{} bytes", library.len());
    }
}
