//! A world: machines, links, clients and liars on one virtual clock.
//!
//! Everything that happens is an event in one queue, ordered by time and then by the order in which it
//! was scheduled, so that a seed has one run.

use super::clients::Clients;
use super::consortium::{Consortium, index};
use super::dice::Dice;
use super::machine::Machine;
use super::network::Network;
use super::reach::Reach;
use super::scenario::{Mute, Scenario};
use super::transcript::Transcript;
use super::wire::Checks;
use crate::adversaries::{Behaviour, Liar};
use crate::invariants::{self, Invariant, Observed};
use bytes::Bytes;
use quorate_node::core::mempool::Limits;
use quorate_pbft::Committee;
use quorate_transport::Lane;
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Height, ValidatorIndex};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A frame on its way.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) from: ValidatorIndex,
    pub(super) lane: Lane,
    pub(super) bytes: Bytes,
    /// An honest node made it, and nobody changed it.
    pub(super) honest: bool,
}

/// What may happen next.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A frame arrives.
    Arrive { to: usize, boot: u64, frame: Rc<Frame> },
    /// A machine's timer.
    Tick { machine: usize, boot: u64 },
    /// A machine that stood still, or was busy, goes on.
    Wake { machine: usize, boot: u64 },
    /// A group takes its next step on its way to the disk.
    Disk { machine: usize, boot: u64 },
    /// Connections are made and given up.
    Links,
    /// A fault begins.
    Begin(usize),
    /// A fault ends.
    End(usize),
    /// A flapping link changes.
    Flap(usize, bool),
    /// A dead machine is started, unless something keeps it down.
    Start(usize),
    /// Clients act.
    Load { burst: bool },
    /// A liar says something unasked.
    Lie(usize),
    /// Twins change whom they are seen by.
    Twins,
    /// Faults are over.
    Heal,
    /// Progress is looked at.
    Look,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The invariant, or the promise, that is broken.
    pub invariant: String,
    /// How.
    pub what: String,
    /// When.
    pub at: Duration,
}

/// One fault as it goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) active: bool,
    /// It has taken its machine down.
    pub(super) fired: bool,
}

/// See the [module](self).
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) consortium: Consortium,
    pub(super) limits: Limits,
    pub(super) committee: Arc<Committee>,
    pub(super) now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    /// Events carried out.
    pub(super) steps: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) network: Network,
    pub(super) checks: Checks,
    pub(super) clients: Clients,
    pub(super) liars: BTreeMap<usize, Box<dyn Liar>>,
    /// Machines whose word is not held against anyone: liars and twins.
    pub(super) dishonest: BTreeSet<usize>,
    /// For each peer, which machine it takes for a validator that has twins.
    pub(super) seen: BTreeMap<(usize, usize), usize>,
    /// Messages that do not get through now, by fault.
    pub(super) muted: BTreeMap<usize, Mute>,
    /// Who is absent in which view, by the fault's place.
    pub(super) absent: BTreeMap<usize, (u64, usize)>,
    /// The highest view that an honest validator has spoken of.
    pub(super) top_view: u64,
    /// Since when each pair cannot talk.
    pub(super) apart: BTreeMap<(usize, usize), Duration>,
    pub(super) dice: Dice,
    pub(super) disks: Dice,
    pub(super) progress: Vec<Progress>,
    pub(super) injected: BTreeMap<&'static str, u64>,
    invariants: Vec<Box<dyn Invariant>>,
    pub(super) reach: Reach,
    pub(super) transcript: Transcript,
    pub(super) failure: Option<Failure>,
    pub(super) healed: Option<Duration>,
    /// Where each transaction stands, as first reported.
    pub(super) placed: BTreeMap<TransactionId, Height>,
    /// The highest block reported by anyone honest.
    pub(super) top: Height,
    pub(super) outlook: super::outlook::Outlook,
    pub(super) tickets: u64,
}

/// Events after which a run counts as one that never ends.
const MOST_EVENTS: u64 = 3_000_000;

impl World {
    /// The world of a scenario, before its first moment.
    pub(super) fn new(scenario: Scenario, verbose: bool) -> World {
        let dice = Dice::new(scenario.seed);
        let consortium = Consortium::of(&scenario);
        let committee = Arc::new(Committee {
            chain: consortium.genesis.chain,
            validators: consortium.genesis.validators.clone(),
            window: scenario.parameters.window,
        });
        let mut machines: Vec<Machine> =
            (0..scenario.n).map(|i| Machine::new(i, scenario.skew_ms[i])).collect();
        let view_timeout = Duration::from_millis(scenario.parameters.view_timeout_ms);
        let clients: Vec<_> = consortium.client_keys.iter().map(|key| key.public()).collect();
        let mut liars = BTreeMap::new();
        let mut dishonest = BTreeSet::new();
        let mut manners = dice.fork("manners");
        for (validator, behaviour) in &scenario.adversaries {
            dishonest.insert(*validator);
            if *behaviour == Behaviour::Twins {
                dishonest.insert(machines.len());
                machines.push(Machine::new(*validator, scenario.skew_ms[*validator]));
            }
            if let Some(liar) = behaviour.liar(&mut manners, view_timeout, &clients) {
                liars.insert(*validator, liar);
            }
        }
        for machine in &mut machines {
            machine.step_cost = scenario.step_cost;
        }
        World {
            limits: Consortium::limits(&scenario),
            committee: Arc::clone(&committee),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            steps: 0,
            machines,
            network: Network::new(scenario.noise.clone(), dice.fork("network")),
            checks: Checks::new(committee, dice.fork("checks")),
            clients: Clients::new(&scenario, &consortium, dice.fork("clients")),
            liars,
            dishonest,
            seen: BTreeMap::new(),
            muted: BTreeMap::new(),
            absent: BTreeMap::new(),
            top_view: 0,
            apart: BTreeMap::new(),
            disks: dice.fork("disks"),
            dice: dice.fork("world"),
            progress: vec![Progress::default(); scenario.faults.len()],
            injected: BTreeMap::new(),
            invariants: invariants::all(&scenario, &consortium),
            reach: Reach::default(),
            transcript: Transcript::new(verbose),
            failure: None,
            healed: None,
            placed: BTreeMap::new(),
            top: Height::GENESIS,
            outlook: super::outlook::Outlook::new(&scenario),
            tickets: 0,
            consortium,
            scenario,
        }
    }

    /// Runs to the end, or to the first failure.
    pub(super) fn run(&mut self) {
        self.plan();
        while self.failure.is_none() && !self.outlook.is_over() {
            let Some(Reverse((at, number))) = self.queue.pop() else { break };
            let Some(event) = self.events.remove(&number) else { continue };
            assert!(at >= self.now, "time does not go back");
            self.now = at;
            self.steps += 1;
            self.carry_out(event);
            if self.steps > MOST_EVENTS {
                self.fail("the run ends", "it never does".into());
            }
        }
    }

    /// Schedules all that is known from the beginning.
    fn plan(&mut self) {
        for machine in 0..self.machines.len() {
            let at = self.dice.millis(0, 40);
            self.at(at, Event::Start(machine));
        }
        self.at(Duration::from_millis(1), Event::Links);
        for (place, fault) in self.scenario.faults.clone().into_iter().enumerate() {
            if fault.at < self.scenario.stress {
                self.at(fault.at, Event::Begin(place));
                self.at(fault.at + fault.lasts, Event::End(place));
            }
        }
        let stress = u64::try_from(self.scenario.stress.as_millis()).unwrap_or(1);
        let mut load = Dice::new(self.scenario.seed).fork("moments");
        for _ in 0..self.scenario.load.transactions {
            let at = load.millis(0, stress);
            self.at(at, Event::Load { burst: false });
        }
        for _ in 0..self.scenario.load.bursts {
            let at = load.millis(0, stress);
            self.at(at, Event::Load { burst: true });
        }
        for liar in self.liars.keys().copied().collect::<Vec<_>>() {
            self.after(Duration::from_millis(100), Event::Lie(liar));
        }
        if self.machines.len() > self.scenario.n {
            self.at(Duration::ZERO, Event::Twins);
        }
        self.at(self.scenario.stress, Event::Heal);
    }

    pub(super) fn at(&mut self, at: Duration, event: Event) {
        let number = self.next_event;
        self.next_event += 1;
        self.queue.push(Reverse((at.max(self.now), number)));
        self.events.insert(number, event);
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now.saturating_add(delay), event);
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Arrive { to, boot, frame } => self.arrive(to, boot, &frame),
            Event::Tick { machine, boot } => self.tick(machine, boot),
            Event::Wake { machine, boot } => self.wake(machine, boot),
            Event::Disk { machine, boot } => self.disk_step(machine, boot),
            Event::Links => self.links(),
            Event::Begin(fault) => self.begin(fault),
            Event::End(fault) => self.end(fault),
            Event::Flap(fault, on) => self.flap(fault, on),
            Event::Start(machine) => self.start(machine),
            Event::Load { burst } => self.load(burst),
            Event::Lie(liar) => self.lie(liar),
            Event::Twins => self.shuffle_twins(),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    pub(super) fn fail(&mut self, invariant: &str, what: String) {
        if self.failure.is_none() {
            self.transcript.say(self.now, &format!("FAILED: {invariant}: {what}"));
            self.failure = Some(Failure { invariant: invariant.to_owned(), what, at: self.now });
        }
    }

    /// Holds what an honest machine did against every invariant.
    pub(super) fn observe(&mut self, machine: usize, observed: &Observed<'_>) {
        if self.dishonest.contains(&machine) {
            return;
        }
        let mut broken = None;
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.observe(self.now, machine, observed) {
                broken = Some((invariant.name(), what));
                break;
            }
        }
        if let Some((name, what)) = broken {
            self.fail(name, what);
        }
    }

    pub(super) fn is_honest(&self, machine: usize) -> bool {
        !self.dishonest.contains(&machine)
    }

    /// Honest machines that are not dead for good.
    pub(super) fn survivors(&self) -> Vec<usize> {
        let dead = &self.scenario.dead;
        (0..self.scenario.n).filter(|m| self.is_honest(*m) && !dead.contains(m)).collect()
    }

    /// The machine that `peer` takes for a validator.
    pub(super) fn machine_of(&self, peer: usize, validator: usize) -> usize {
        self.seen.get(&(peer, validator)).copied().unwrap_or(validator)
    }

    pub(super) fn name(&self, machine: usize) -> String {
        if machine < self.scenario.n {
            format!("v{machine}")
        } else {
            format!("v{}'", self.machines[machine].identity)
        }
    }

    pub(super) fn validator(&self, machine: usize) -> ValidatorIndex {
        index(self.machines[machine].identity)
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.injected.entry(what).or_default() += 1;
    }
}
