//! Network namespaces without names.
//!
//! A namespace made here has no entry under `/run/netns`. It lives as long as a process or an open file
//! refers to it, so the kernel takes it back, with every address, link and rule in it, when its owner is
//! dropped, panics or is killed. Nothing is ever left to clean up, and no two tests can collide.

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

/// The namespace that the present thread is in.
const HERE: &str = "/proc/thread-self/ns/net";

/// What to do where the kernel refuses.
const NEEDS: &str = "tests of network faults need root (CAP_SYS_ADMIN and CAP_NET_ADMIN), and the programs ip and nft \
                     (Debian's packages iproute2 and nftables; .ci/install installs them)";

/// A network namespace; gone when this and all processes in it are.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, with nothing in it but a loopback device that is down.
    ///
    /// # Errors
    /// If that is not permitted; the message says what is needed.
    pub fn new() -> Result<Namespace> {
        // A thread that unshares does not come back, so one is spent on it.
        let made = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot make a network namespace: {NEEDS}"))?;
            File::open(HERE).context("cannot hold on to a network namespace")
        });
        let file = made.join().map_err(|_| anyhow!("the thread that makes a namespace panicked"))??;
        Ok(Namespace { file })
    }

    /// A second handle on the same namespace.
    ///
    /// # Errors
    /// If this process has too many files open.
    pub fn try_clone(&self) -> Result<Namespace> {
        Ok(Namespace { file: self.file.try_clone()? })
    }

    /// Moves the present thread here for good, and with it whatever it opens or starts.
    ///
    /// # Errors
    /// If that is not permitted.
    pub fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter a network namespace: {NEEDS}"))
    }

    /// Does something here: sockets that it opens and processes that it starts stay here. The present
    /// thread comes back.
    ///
    /// # Errors
    /// If it cannot be entered.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let back = Back(File::open(HERE).context("cannot tell in which network namespace this is")?);
        self.enter()?;
        let done = work();
        drop(back);
        Ok(done)
    }

    /// A path by which another program, started by this process or by root, finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs a program here with this text on its standard input, and returns its standard output.
    ///
    /// # Errors
    /// If it cannot be run, or fails; the message shows what it said.
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let ran = self.within(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            // Closed when written, so that the program sees the end of it.
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        })?;
        let output = ran.with_context(|| format!("cannot run {program}: {NEEDS}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {} fails: {}\nits input:\n{input}\n{NEEDS}", arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Brings a thread back to where it was.
struct Back(File);

impl Drop for Back {
    fn drop(&mut self) {
        // A thread in the wrong namespace would test something else than it says.
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("a thread can go back to where it was");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_namespace_has_addresses_of_its_own_and_the_thread_comes_back() {
        let here = || std::fs::read_link(HERE).expect("a namespace");
        let before = here();
        let namespace = Namespace::new().expect("a namespace");
        assert_eq!(here(), before, "making one moves nobody");
        namespace
            .run("ip", &["-batch", "-"], "link set lo up\naddr add 10.26.99.1/32 dev lo\n")
            .expect("set up");
        let inside = namespace.within(|| (here(), UdpSocket::bind("10.26.99.1:5000"))).expect("entered");
        assert_ne!(inside.0, before);
        let socket = inside.1.expect("its address is there");
        assert_eq!(here(), before);
        assert!(UdpSocket::bind("10.26.99.1:5000").is_err(), "its address is not here");
        // A socket stays where it was opened, whoever uses it.
        socket.send_to(b"x", "10.26.99.1:5000").expect("sends");
        assert_eq!(socket.recv_from(&mut [0; 8]).expect("receives").0, 1);
        let panicked = std::panic::catch_unwind(|| namespace.within(|| panic!("inside")));
        assert!(panicked.is_err());
        assert_eq!(here(), before, "a panic brings the thread back too");
    }

    #[test]
    fn a_program_that_fails_is_named_with_what_it_said() {
        let namespace = Namespace::new().expect("a namespace");
        let error = namespace.run("ip", &["link", "show", "dev", "nowhere"], "").expect_err("no such device");
        assert!(error.to_string().contains("nowhere"), "{error}");
        let error = namespace.run("no-such-program", &[], "").expect_err("no such program");
        assert!(format!("{error:#}").contains("nftables"), "{error:#}");
    }
}
