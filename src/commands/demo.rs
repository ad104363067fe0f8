//! `demo`
use std::process::ExitCode;
/// Demo
#[derive(Debug, clap::Args)]
pub(super) struct Demo {}
impl Demo {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet")
    }
}
