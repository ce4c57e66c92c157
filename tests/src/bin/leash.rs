//! Runs a program that the kernel kills when whoever started it is gone, however that came about:
//! `leash PARENT_PID PROGRAM ARGUMENTS...`. Tests and demonstrations leave no validator behind, even
//! if they are killed themselves.
//!
//! This process becomes the program, so its process id is the program's.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let parent = arguments.next().and_then(|pid| pid.to_str()?.parse().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        eprintln!("usage: leash PARENT_PID PROGRAM ARGUMENTS...");
        return ExitCode::from(2);
    };
    if let Err(error) = set_pdeathsig(Signal::SIGKILL) {
        eprintln!("leash: cannot tie the program to its parent: {error}");
        return ExitCode::FAILURE;
    }
    // It may have died before the kernel was asked.
    if getppid().as_raw() != parent {
        eprintln!("leash: process {parent} is gone");
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("leash: cannot run {}: {error}", program.display());
    ExitCode::FAILURE
}
