//! The commands of the README, run as a newcomer would: one after the other, in an empty directory.

use anyhow::{Context, Result, ensure};
use quorate_tests::programs::program;
use std::env;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

/// The ports that the README names: UDP for validators, TCP for their HTTP addresses.
const UDP_PORTS: [&str; 4] = ["26656", "26657", "26658", "26659"];
const FIRST_HTTP_PORT: &str = "26660";

#[test]
fn every_command_of_the_readme_works_as_written() {
    if let Err(error) = run() {
        panic!("{error:?}");
    }
}

fn run() -> Result<()> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(readme).context("the README")?;
    let script = with_free_ports(commands(&text))?;
    ensure!(script.lines().count() > 50, "the README shows commands in blocks marked sh");

    let directory = tempfile::tempdir()?;
    let programs = program("quorate")?;
    let programs = programs.parent().context("programs lie in a directory")?;
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    // The validators it starts are ended by the shell that started them, whatever happened.
    let guarded = format!("trap 'kill $(cat *.pid) 2>/dev/null; wait' EXIT\n{script}");
    let output = Command::new("timeout")
        .args(["--kill-after=10", "150", "bash", "-euc", &guarded])
        .env("PATH", path)
        .env_remove("QUORATE_GENESIS")
        .env_remove("QUORATE_KEYS")
        .current_dir(directory.path())
        .output()?;
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "exit {:?}\n{shown}\n{said}", output.status.code());
    for expected in ["audit: ok", "proven to be absent", "sha256:9f86d081884c7d65", "applied    1000"] {
        ensure!(shown.contains(expected), "{expected:?} is not in:\n{shown}\n{said}");
    }
    Ok(())
}

/// What stands in the blocks marked `sh`.
fn commands(text: &str) -> String {
    let mut inside = false;
    let mut script = String::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}

/// Puts free ports in place of those the README names: other tests run at the same time.
fn with_free_ports(mut script: String) -> Result<String> {
    let sockets = UDP_PORTS.map(|_| UdpSocket::bind("127.0.0.1:0"));
    for (named, socket) in UDP_PORTS.iter().zip(sockets) {
        script = script.replace(named, &socket?.local_addr()?.port().to_string());
    }
    // Four in a row, as the script counts up from the first.
    let first = (0..200).find_map(|_| {
        let first = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let row: Option<Vec<TcpListener>> =
            (0..4).map(|next| TcpListener::bind(("127.0.0.1", first.checked_add(next)?)).ok()).collect();
        row.map(|_| first)
    });
    Ok(script.replace(FIRST_HTTP_PORT, &first.context("four free ports in a row")?.to_string()))
}
