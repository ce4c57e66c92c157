//! `quorate-node`: the validator daemon and its operator's commands.

mod cli;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Usage errors leave with 2, --help and --version with 0, as clap does by itself.
    cli::run(cli::Arguments::parse())
}
