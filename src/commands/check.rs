//! `check`
use crate::config::LogArgs;
use std::process::ExitCode;
/// Check
#[derive(Debug, clap::Args)]
pub(super) struct Check {}
impl Check {
    pub(super) fn execute(self, _log: &LogArgs) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet")
    }
}
