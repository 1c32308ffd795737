//! `hotdock completions`

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Arguments, console};

/// Print a script that completes hotdock's commands and flags in a shell.
///
/// For bash: `hotdock completions bash > ~/.local/share/bash-completion/completions/hotdock`;
/// for zsh into a folder of $fpath as `_hotdock`; for fish into
/// ~/.config/fish/completions/hotdock.fish.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "hotdock", &mut script);
        console::own(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
