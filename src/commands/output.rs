//! What a command leaves of its results.

use super::{write_export, write_output};
use crate::config;
use crate::model::result::AnalysisResult;
use crate::report;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Characters of a sketch's lines: what every terminal has.
const SKETCH_WIDTH: usize = 80;

/// Where the results go.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// Write the whole result as JSON; `-` is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Title of the page
    #[arg(long, value_name = "TEXT", default_value = report::TITLE)]
    title: String,
    /// Write modes, shapes, poles and spectra into a folder as CSV, NPY, Parquet and UFF 55/58
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

impl Output {
    /// Warnings to standard error, the files that are asked for, and the modes of the first result to standard output; the page
    /// shows all results.
    pub(super) fn write(&self, results: &[AnalysisResult]) -> anyhow::Result<()> {
        let Some(result) = results.first() else { return Ok(()) };
        for warning in &result.provenance.warnings {
            writeln!(io::stderr(), "warning: {warning}")?;
        }
        if let Some(path) = &self.report {
            write_output(path, &report::page(&self.title, &[], results))?;
        }
        if let Some(path) = &self.output {
            write_output(path, &serde_json::to_string_pretty(result)?)?;
        }
        if let Some(folder) = &self.export {
            write_export(folder, result)?;
        }
        if self.output.as_deref() != Some(Path::new("-")) {
            writeln!(io::stdout(), "{}", report::mode_table(result))?;
            if let Some(tracks) = report::track_table(result) {
                writeln!(io::stdout(), "\n{tracks}")?;
            }
            if let Some(sketch) = report::spectrum_sketch(result, SKETCH_WIDTH, config::colours(&io::stdout())) {
                writeln!(io::stdout(), "\n{sketch}")?;
            }
        }
        Ok(())
    }
}
