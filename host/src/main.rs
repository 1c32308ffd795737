//! The `hotdock` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hotdock::cli::main()
}
