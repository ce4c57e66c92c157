//! `make devnet`: a consortium on this machine to play with, until Ctrl-C.
//!
//! It is founded in ./devnet the first time and goes on there the next, with everything on its chain.
//! A validator that ends, because somebody killed it to see what happens, is started again.

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::signal::Signal;
use quorate_tests::claim::Claim;
use quorate_tests::consortium::{free_addresses, name};
use quorate_tests::programs::program;
use quorate_tests::{Consortium, Plan};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// Keep a consortium running on this machine, to play with
#[derive(Debug, Parser)]
#[command(name = "devnet", max_term_width = 100)]
struct Arguments {
    /// Where the consortium lives; reused at the next start
    #[arg(long, value_name = "DIR", default_value = "devnet")]
    dir: PathBuf,
    /// Forget the consortium that is there, and found a new one
    #[arg(long)]
    fresh: bool,
    /// How many validators to found it with
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=31))]
    validators: u8,
}

/// The usual port of the first validator; the others follow.
const FIRST_PORT: u16 = 26_656;

/// How long a validator that ended stays away: long enough to see what the others do meanwhile.
const AWAY: Duration = Duration::from_secs(10);

/// The file that says that the founding was not interrupted.
const FOUNDED: &str = "founded";

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let claim = Claim::take(&arguments.dir)?;
    let founded = arguments.dir.join(FOUNDED);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut consortium = if founded.is_file() && !arguments.fresh {
            println!("going on with the consortium in {}; --fresh founds another", arguments.dir.display());
            Consortium::open(&arguments.dir)?
        } else {
            claim.clear()?;
            println!("founding a consortium in {}", arguments.dir.display());
            let mut plan = Plan::of(arguments.validators.into());
            plan.addresses = addresses(plan.validators)?;
            let consortium = Consortium::found(&arguments.dir, &plan)?;
            File::create_new(&founded).context("cannot note that the consortium is founded")?;
            consortium
        };
        // Whichever way this ends, validators that were not stopped by then are killed.
        let stopped = tokio::select! {
            kept = keep(&mut consortium, arguments) => return kept,
            _ = interrupt.recv() => Signal::SIGINT,
            _ = terminate.recv() => Signal::SIGTERM,
        };
        println!("\n{stopped}: stopping the validators");
        tokio::select! {
            stopped = consortium.stop_all() => stopped?,
            _ = interrupt.recv() => {}
        }
        println!("all stopped; `make devnet` goes on with this chain");
        Ok(())
    })
}

/// The usual ports if they are free, else others.
fn addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let ports = (FIRST_PORT..).take(count);
    let usual: Vec<SocketAddr> = ports.map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect();
    let free = usual.iter().all(|address| UdpSocket::bind(address).is_ok());
    if free { Ok(usual) } else { free_addresses(count) }
}

/// Runs the validators for ever.
async fn keep(consortium: &mut Consortium, arguments: &Arguments) -> Result<()> {
    consortium.start_all().await?;
    print(consortium, arguments)?;
    let mut away: Vec<(usize, Instant)> = Vec::new();
    let mut looks = interval(Duration::from_millis(200));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let running: Vec<usize> = consortium.running().collect();
        for index in running {
            if let Some(status) = consortium.ended(index)? {
                println!("{} has ended ({status}); it starts again in {} s", name(index), AWAY.as_secs());
                away.push((index, Instant::now() + AWAY));
            }
        }
        for (index, _) in away.extract_if(.., |(_, until)| *until <= Instant::now()) {
            consortium.start(index)?;
            println!("{} starts again: process {}", name(index), consortium.pid(index).unwrap_or_default());
        }
    }
}

fn print(consortium: &Consortium, arguments: &Arguments) -> Result<()> {
    println!("\nchain {}", consortium.founding().chain());
    for (index, validator) in consortium.founding().validator_details() {
        let index = index.as_usize();
        println!(
            "  {:<8} {} (QUIC), http://{}/metrics, process {}",
            validator.name,
            validator.address,
            consortium.http_address(index)?,
            consortium.pid(index).unwrap_or_default()
        );
    }
    let here = std::env::current_dir()?;
    let short = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    let programs = program("quorate")?;
    let programs = programs.parent().context("a program lies in a directory")?;
    let node = short(consortium.node_directory(0));
    println!(
        "\nIn another terminal, in {here}:

  export PATH={programs}:$PATH
  export QUORATE_GENESIS={genesis}
  export QUORATE_KEYS={keys}

  quorate status
  quorate namespace create notes
  quorate put notes greeting \"hello, consortium\" --receipt receipt.json
  quorate get notes greeting
  quorate verify receipt receipt.json
  quorate asset create credits
  quorate asset mint credits acme 1000
  quorate asset transfer credits mill 250
  quorate balance credits mill
  quorate block
  quorate watch --from 1
  quorate audit
  quorate-node status --dir {node}
  kill -9 {victim}          # {name}; the others go on, and it is back after {away} s

The other members' keys are in {members}. Logs are in {logs}.
Ctrl-C stops everything.",
        here = here.display(),
        programs = programs.display(),
        genesis = short(&consortium.genesis()),
        keys = short(&consortium.keys("acme")),
        victim = consortium.pid(0).unwrap_or_default(),
        name = name(0),
        away = AWAY.as_secs(),
        members = arguments.dir.join("*/keys").display(),
        logs = arguments.dir.join("*/node/log").display(),
    );
    Ok(())
}
