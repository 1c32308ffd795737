//! The command line. Exit codes: 0 a clean end, 1 a failure, 2 wrong usage.

mod check;
mod console;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs services compiled to WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "hotdock", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the components in a folder; drop newer ones there to deploy them
    Up(up::Up),
    /// Say whether components could be deployed, and every reason why not
    Check(check::Check),
    /// Compile a component; used by the host, in a process of its own
    #[command(hide = true)]
    Compile {
        /// The component
        input: PathBuf,
        /// Where the machine code goes
        output: PathBuf,
    },
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Up(up) => up.run(),
        Command::Check(check) => check.run(),
        Command::Compile { input, output } => crate::deploy::compile_child(&input, &output)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
    };
    result.unwrap_or_else(|error| {
        console::error(&error);
        ExitCode::FAILURE
    })
}
