//! The simulator: whole nodes, in one thread, on a virtual clock, from one 64-bit seed.
//!
//! A node here is the real core with the real ledger, codec and checks of frames; what is simulated is
//! what surrounds it: clocks, links, disks with the semantics of disks, power supplies, clients, and
//! validators that lie. The same seed gives the same run, byte for byte.
//!
//! A run has two phases. While faults last, every invariant must hold at every step. Then faults end, a
//! quorum is healed while liars go on lying, and what clients submit must commit within a bound on
//! virtual time ([`Scenario::progress_bound`]), on machines that were left behind too; in half of the runs
//! once more after some minutes without a wish.
//!
//! | module | subject |
//! |---|---|
//! | [`scenario`] | what a seed draws, and what shrinking takes out of it |
//! | `siege` | small worlds under nothing but chosen loss |
//! | `world` | the queue of events |
//! | `shell` | what the daemon does for its core, step by step |
//! | [`machine`], [`disk`], [`network`] | a computer, its disk, and the links between them |
//! | `faults`, `outlook` | what goes wrong; what must come right afterwards |
//! | [`clients`] | honest, greedy and malformed load |
//! | [`reach`], [`transcript`] | what runs reached; a run as text |
//! | [`shrink`] | the least that still fails |
//! | [`campaign`] | many seeds, and their summary |
//!
//! Liars are in [`adversaries`](crate::adversaries), what must hold in
//! [`invariants`](crate::invariants).

pub mod campaign;
pub mod clients;
pub mod consortium;
pub mod dice;
pub mod disk;
mod faults;
pub mod machine;
pub mod network;
mod outlook;
pub mod reach;
pub mod scenario;
mod shell;
pub mod shrink;
mod siege;
pub mod transcript;
pub mod wire;
mod world;

pub use scenario::{Cut, Scenario};
pub use world::Failure;

use network::Passed;
use quorate_types::memory::remember_signatures;
use reach::Reach;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;
use world::World;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// The first thing that broke, if anything did.
    pub failure: Option<Failure>,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// The part of it in which nobody wanted anything.
    pub lull: Duration,
    /// Events carried out.
    pub events: u64,
    /// Blocks committed.
    pub blocks: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Faults injected, by kind.
    pub injected: BTreeMap<&'static str, u64>,
    /// What happened to frames.
    pub passed: Passed,
    /// Paths reached.
    pub reach: Reach,
    /// How long the healed consortium took, and how long it might have.
    pub recovery: Option<(Duration, Duration)>,
    /// The digest of everything that happened.
    pub digest: u64,
    /// The run as text, if asked for.
    pub transcript: Vec<String>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Signatures remembered in a run: more than most runs make.
const SIGNATURES: usize = 1 << 17;

/// Panics of a simulated node are findings, not the end of the program: they are kept for the failure.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let simulated = PANIC.with(|panic| {
                let mut panic = panic.borrow_mut();
                panic.as_mut().map(|text| *text = info.to_string()).is_some()
            });
            if !simulated {
                before(info);
            }
        }));
    });
}

/// Runs a scenario to its end or its first failure. With `verbose`, keeps the run as text.
pub fn run(scenario: &Scenario, verbose: bool) -> Run {
    catch_panics();
    let bound = scenario.progress_bound();
    // Each signature is computed once a run; see the module of that name.
    remember_signatures(SIGNATURES);
    let mut world = World::new(scenario.clone(), verbose);
    PANIC.with(|panic| *panic.borrow_mut() = Some(String::new()));
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let panic = PANIC.with(|panic| panic.borrow_mut().take());
    if ended.is_err() {
        world.fail("no panic", panic.unwrap_or_default());
    }
    let recovery = world.outlook.level.map(|took| (took, bound));
    for (_, behaviour) in &scenario.adversaries {
        world.count(behaviour.name());
    }
    let (digest, transcript) = world.transcript.finish();
    Run {
        failure: world.failure,
        simulated: world.now,
        lull: if world.outlook.has_rested() { scenario.lull } else { Duration::ZERO },
        events: world.steps,
        blocks: world.top.0,
        transactions: world.placed.len() as u64,
        injected: world.injected,
        passed: world.network.passed,
        reach: world.reach,
        recovery,
        digest,
        transcript,
    }
}
