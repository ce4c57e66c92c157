//! What figures depend on besides the code: the machine, and which code it was.
//!
//! Whatever cannot be found out is left out.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Instructions that signatures and hashes are much cheaper with.
const FLAGS: [&str; 3] = ["avx2", "avx512ifma", "sha_ni"];

/// The machine, with the file system that a directory lies in; and the commit and compiler of a workspace.
pub fn describe(directory: &Path, workspace: Option<&Path>) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let found = [
        ("processor", read("/proc/cpuinfo").and_then(|text| processor(&text))),
        ("memory", read("/proc/meminfo").and_then(|text| memory(&text))),
        ("kernel", read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned())),
        ("file system", read("/proc/self/mounts").and_then(|text| file_system(&text, directory))),
        ("commit", workspace.and_then(commit)),
        ("compiler", workspace.and_then(compiler)),
    ];
    found.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The value after a name and a colon, of the first such line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.trim_end() == name).map(|(_, value)| value.trim())
}

/// The model, and which of the flags it has.
fn processor(cpuinfo: &str) -> Option<String> {
    let model = field(cpuinfo, "model name")?;
    let flags: Vec<&str> = field(cpuinfo, "flags")?.split_ascii_whitespace().collect();
    let has = |flag: &str| format!("{} {flag}", if flags.contains(&flag) { "with" } else { "without" });
    Some(format!("{model}, {}", FLAGS.map(has).join(", ")))
}

/// All of it.
fn memory(meminfo: &str) -> Option<String> {
    let kib: u32 = field(meminfo, "MemTotal")?.split_ascii_whitespace().next()?.parse().ok()?;
    Some(format!("{:.1} GiB", f64::from(kib) / 1_048_576.0))
}

/// The type of the file system that is mounted closest above a directory; of several at one place, the last one
/// hides the others.
fn file_system(mounts: &str, directory: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.replace("\\040", " "), fields.next()?))
    });
    let above = mounted.filter(|(place, _)| directory.starts_with(place));
    above.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind.to_owned())
}

fn commit(workspace: &Path) -> Option<String> {
    let commit = ask("git", &["rev-parse", "--short", "HEAD"], workspace)?;
    let changes = ask("git", &["status", "--porcelain"], workspace)?;
    Some(if changes.is_empty() { commit } else { format!("{commit}, with changes") })
}

fn compiler(workspace: &Path) -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    ask(rustc, &["--version"], workspace)
}

/// What a program says; `None` if it cannot be asked, or fails.
fn ask(program: impl AsRef<OsStr>, arguments: &[&str], directory: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_with_what_it_can_do() {
        let text = "processor\t: 0\nmodel name\t: A Processor @ 2 GHz\nflags\t\t: fpu avx2 sha_ni\n\
                    vmx flags\t: sha\n\nprocessor\t: 1\nmodel name\t: Another\n";
        let expected = "A Processor @ 2 GHz, with avx2, without avx512ifma, with sha_ni";
        assert_eq!(processor(text).unwrap(), expected);
        assert_eq!(processor("processor\t: 0\nBogoMIPS\t: 50\n"), None);
    }

    #[test]
    fn memory_is_the_total() {
        let text = "MemFree:         1024 kB\nMemTotal:       25165824 kB\n";
        assert_eq!(memory(text).unwrap(), "24.0 GiB");
        assert_eq!(memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn a_file_system_is_the_closest_above() {
        let text = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /work btrfs rw 0 0\n\
                    /dev/c /work xfs rw 0 0\n/dev/d /my\\040disk zfs rw 0 0\n";
        let of = |path: &str| file_system(text, Path::new(path)).unwrap();
        let found = ["/home/a", "/tmp", "/tmpfile", "/work/bench", "/my disk/a"].map(of);
        assert_eq!(found, ["ext4", "tmpfs", "ext4", "xfs", "zfs"]);
        assert_eq!(file_system("", Path::new("/a")), None);
    }

    #[test]
    fn this_machine_is_described() {
        let here = std::env::current_dir().unwrap();
        let described = describe(&here, None);
        assert!(
            described.iter().any(|(name, value)| *name == "kernel" && !value.is_empty()),
            "{described:?}"
        );
        assert!(described.iter().any(|(name, _)| *name == "file system"), "{described:?}");
        assert_eq!(ask("false", &[], &here), None);
        assert_eq!(ask("echo", &["a"], &here).unwrap(), "a");
    }
}
