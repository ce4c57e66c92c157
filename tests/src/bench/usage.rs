//! What processes use besides CPU: memory, disk, network.

use anyhow::{Context, Result};
use std::fs;

/// The most memory a process has had in use (resident) since it started, or since [`forget_peak`], in bytes.
///
/// # Errors
/// If there is no such process.
pub fn peak_memory(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(number(&text, "VmHWM:").context("no VmHWM in /proc")? << 10)
}

/// Lets [`peak_memory`] count from now on.
///
/// # Errors
/// If the system does not allow it.
pub fn forget_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// Bytes that a process has had written to disks since it started, by the kernel's count.
///
/// # Errors
/// If there is no such process.
pub fn written(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    number(&text, "write_bytes:").context("no write_bytes in /proc")
}

/// Bytes and packets that have gone over the loopback device, whoever sent them.
///
/// # Errors
/// If there is none.
pub fn loopback() -> Result<[u64; 2]> {
    let text = fs::read_to_string("/proc/net/dev")?;
    device(&text, "lo").context("no loopback device in /proc/net/dev")
}

/// The number after a label at the beginning of a line.
fn number(text: &str, label: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(label))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// Bytes and packets received by a device.
fn device(text: &str, name: &str) -> Option<[u64; 2]> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let mut counts = line.split_ascii_whitespace().map(str::parse);
    Some([counts.next()?.ok()?, counts.next()?.ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_their_labels() {
        let status = "Name:\tnode\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\nVmRSS:\t  45 kB\n";
        assert_eq!(number(status, "VmHWM:"), Some(123));
        assert_eq!(number(status, "VmLck:"), None);
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4\ncancelled_write_bytes: 5\n";
        assert_eq!(number(io, "write_bytes:"), Some(4));
        let dev = "Inter-| Receive\n face |bytes packets\n  elo: 1 2 3\n    lo: 777 8 0 0\n  eth0: 9 9\n";
        assert_eq!(device(dev, "lo"), Some([777, 8]));
        assert_eq!(device(dev, "eth1"), None);
    }

    #[test]
    fn this_process_uses_memory_and_its_peak_can_be_forgotten() {
        let pid = std::process::id();
        let block = vec![1u8; 256 << 20];
        let high = peak_memory(pid).unwrap();
        assert!(high >= 256 << 20, "{high}");
        drop(std::hint::black_box(block));
        forget_peak(pid).unwrap();
        assert!(peak_memory(pid).unwrap() < high);
        assert!(written(pid).is_ok() && loopback().is_ok());
    }
}
