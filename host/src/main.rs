//! The `hotdock` program.

use std::process::ExitCode;

use hotdock::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    hotdock::cli::main()
}
