//! queue
use std::process::ExitCode;
/// E
#[derive(Debug, clap::Args)]
pub(super) struct Enqueue {}
/// A
#[derive(Debug, clap::Args)]
pub(super) struct Abort {}
/// S
#[derive(Debug, clap::Args)]
pub(super) struct Status {}
impl Enqueue {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet")
    }
}
impl Abort {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet")
    }
}
impl Status {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet")
    }
}
