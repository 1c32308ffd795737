//! The `hotdock` program.

use std::process::ExitCode;

/// A request makes a hundred allocations and more, of which many are freed by another
/// thread: mimalloc takes half as long for them as the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hotdock::cli::main()
}
