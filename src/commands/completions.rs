//! `completions`: what a shell needs to complete commands, flags and values.

use super::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  oma-worker completions bash > ~/.local/share/bash-completion/completions/oma-worker
  oma-worker completions zsh > ~/.zfunc/_oma-worker
  oma-worker completions fish > ~/.config/fish/completions/oma-worker.fish";

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), env!("CARGO_PKG_NAME"), &mut script);
        super::write_output("-".as_ref(), &String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
