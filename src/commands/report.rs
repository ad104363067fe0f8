//! `report`: the page of results that lie as JSON.

use super::{Usage, write_export, write_output};
use crate::model::result::{AnalysisResult, PLOTTED};
use crate::report;
use anyhow::Context;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  oma-worker report result.json
      writes result.html beside it
  oma-worker report ssi.json fdd.json preprocessing.json --output bridge.html --title 'Bridge, March'
      several results on one page, with the MAC between the modes of the first two
  oma-worker report result.json --output -
      on standard output
  oma-worker report result.json --export folder
      its modes, shapes, poles and spectra for other programs as well

A result is what `analyze --output` writes and what the worker stores.";

/// Write the page of results that lie as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Report {
    /// Results; the first one comes first on the page
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    /// Where to write the page; `-` is standard output [default: beside the first result]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Folder for the first result as CSV, NPY, Parquet and UFF 55/58
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// Its title
    #[arg(long, value_name = "TEXT", default_value = report::TITLE)]
    title: String,
}

impl Report {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let results = self.results.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let output = self.output.unwrap_or_else(|| self.results[0].with_extension("html"));
        if let Some(folder) = &self.export {
            write_export(folder, &results[0])?;
        }
        write_output(&output, &report::page(&self.title, &[], &results))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A result document from a file. What the worker keeps beside it is left out, and the result says so.
pub(super) fn read(path: &Path) -> anyhow::Result<AnalysisResult> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let mut document: Value =
        serde_json::from_str(&text).map_err(|error| Usage(format!("{name} is no JSON: {error}")))?;
    let left_out = leave_out_objects(&mut document);
    let result: Result<AnalysisResult, _> = serde_path_to_error::deserialize(document);
    let mut result = result.map_err(|error| {
        Usage(format!("{name} is no result as `oma-worker analyze --output {name}` writes it: {error}"))
    })?;
    result.provenance.warnings.extend(left_out);
    Ok(result)
}

/// Takes out each part of a result of which an array lies as an object in the bucket of the cache; a sentence for each.
fn leave_out_objects(document: &mut Value) -> Vec<String> {
    fn key(value: &Value) -> Option<&str> {
        match value {
            Value::Object(fields) if fields.contains_key("sha256") && fields.contains_key("shape") => {
                fields.get("key")?.as_str()
            }
            Value::Object(fields) => fields.values().find_map(key),
            Value::Array(values) => values.iter().find_map(key),
            _ => None,
        }
    }
    let mut said = Vec::new();
    for part in PLOTTED {
        if let Some(key) = key(&document[part]) {
            said.push(format!("{part} is left out: it lies in the object {key} of CACHE_BUCKET"));
            document[part] = Value::Null;
        }
    }
    said
}
