//! Building what is measured.
//!
//! Cargo builds only the program that it is told to run, and the validators are other programs: without this
//! they would be missing in a fresh clone, and those of before an edit would be measured without a word.

use anyhow::{Context, Result, bail, ensure};
use quorate_tests::programs::program;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a validator's process needs. Not this program itself, which runs.
const PROGRAMS: [&str; 2] = ["quorate-node", "leash"];

/// Where this was built, if that is still there.
pub(crate) fn workspace() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    workspace.join("Cargo.toml").is_file().then(|| workspace.to_owned())
}

/// Builds the programs that are measured, as this one was built. Started without cargo it builds nothing:
/// whoever starts a program by its path means what lies beside it.
///
/// # Errors
/// If they cannot be built, or come to lie elsewhere than where they are looked for.
pub(crate) fn what_is_measured() -> Result<()> {
    let (Some(cargo), Some(workspace)) = (std::env::var_os("CARGO"), workspace()) else { return Ok(()) };
    let running = std::env::current_exe().context("cannot tell where this program lies")?;
    let (target, profile) = place(&running).context("this program lies in no directory of cargo's")?;
    let mut build = Command::new(cargo);
    build.args(["build", "--locked", "--message-format", "json-render-diagnostics"]);
    build.args(["-p", "quorate-node", "-p", "quorate-tests"]);
    build.args(PROGRAMS.into_iter().flat_map(|name| ["--bin", name]));
    build.args(options(profile)).arg("--target-dir").arg(target).current_dir(workspace);
    // Cargo told these of the package that it ran. Some build scripts look at them, and would run again.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_package(name)) {
        build.env_remove(name);
    }
    let output = build.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    let way_out = "or start the program by its path to measure what lies beside it";
    ensure!(
        output.status.success(),
        "what is measured cannot be built ({}); mend what cargo says above, {way_out}",
        output.status
    );
    let built = executables(&String::from_utf8_lossy(&output.stdout));
    for name in PROGRAMS {
        let beside = program(name)?;
        if !built.iter().any(|path| path.canonicalize().ok() == beside.canonicalize().ok()) {
            bail!(
                "cargo did not build {}, which would be measured; it built {built:?}. Run without --target, {way_out}",
                beside.display()
            );
        }
    }
    Ok(())
}

/// The target directory and the profile's, of a program.
fn place(program: &Path) -> Option<(&Path, &OsStr)> {
    let directory = program.parent()?;
    Some((directory.parent()?, directory.file_name()?))
}

/// How cargo is told to use the profile of a directory.
fn options(directory: &OsStr) -> Vec<OsString> {
    match directory.to_str() {
        Some("debug") => Vec::new(),
        Some("release") => vec!["--release".into()],
        _ => vec!["--profile".into(), directory.to_owned()],
    }
}

/// Whether cargo sets this variable for a package, unlike those that a person sets for cargo.
fn is_of_a_package(variable: &OsStr) -> bool {
    let variable = variable.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| variable.starts_with(start))
}

/// The programs that cargo says it has built, or found up to date.
fn executables(messages: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    };
    messages.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_built_as_this_one_was() {
        let found = place(Path::new("/a/target/release/bench"));
        assert_eq!(found, Some((Path::new("/a/target"), OsStr::new("release"))));
        assert_eq!(place(Path::new("/")), None);
        let options = |profile: &str| options(OsStr::new(profile)).join(OsStr::new(" "));
        assert_eq!(["debug", "release", "fast"].map(options), ["", "--release", "--profile fast"]);
    }

    #[test]
    fn what_cargo_sets_for_a_package_is_told_from_what_it_is_told() {
        let of_a_package = |name: &str| is_of_a_package(OsStr::new(name));
        assert!(of_a_package("CARGO_MANIFEST_DIR") && of_a_package("CARGO_PKG_VERSION_MAJOR"));
        assert!(!of_a_package("CARGO_HOME") && !of_a_package("CARGO_TARGET_DIR") && !of_a_package("CARGO"));
    }

    #[test]
    fn programs_are_found_among_what_cargo_says() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nnot json\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/leash\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages), [PathBuf::from("/t/release/leash")]);
    }
}
