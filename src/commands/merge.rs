//! `merge`: the results of several setups as one.

use super::output::Output;
use super::report::read;
use crate::modal::merging;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  oma-worker merge setup1.json setup2.json setup3.json --output bridge.json --report bridge.html
      the modes of the whole bridge, from three setups that share reference sensors
  oma-worker merge setup1.json setup2.json --export folder
      modes and shapes for other programs

A result is what `analyze --output` writes and what the worker stores; all are by one method. A
channel of the same name is the same place and direction in every setup: files without a header call
theirs ch1, ch2, …, so give them one. A mode that some channel never shows is left out and told.
`analyze --setups` identifies the records of all setups together instead.";

/// Join the results of setups that share reference channels
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Merge {
    /// One result a setup
    #[arg(required = true, num_args = 2.., value_name = "RESULT.json")]
    setups: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Merge {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let setups = self.setups.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let merged = merging::merge(&setups)?;
        self.output.write(&[merged])?;
        Ok(ExitCode::SUCCESS)
    }
}
