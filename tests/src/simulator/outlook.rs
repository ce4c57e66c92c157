//! After the faults: a healed quorum must commit what it is given, within a bound on virtual time, and
//! every honest machine must get there, those that were left behind included.
//!
//! In half of the worlds nobody wants anything for some minutes then. Whatever still waited expires, honest
//! validators stay in their view, and what is asked for afterwards commits within the same bound.

use super::scenario::Scenario;
use super::world::{Event, World};
use crate::invariants::Observed;
use quorate_types::hash::TransactionId;
use quorate_types::ids::View;
use quorate_types::transaction::VerifiedTransaction;
use quorate_types::validators::Quorum;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The same while nothing is to happen.
const LOOK_AT_LULL: Duration = Duration::from_secs(5);

/// How often a client asks again that was told to, or has heard nothing.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Between transactions while machines that forgot wait for blocks and views.
const KEEP_GOING: Duration = Duration::from_millis(200);

/// A transaction that must commit.
struct Probe {
    transaction: VerifiedTransaction,
    machine: usize,
    taken: bool,
    asked: Duration,
}

/// The time in which nobody wants anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lull {
    ToCome,
    /// Until then; the view that honest validators were in when nothing waited any more, if they were.
    Lasts(Duration, Option<View>),
    Over,
}

/// What is still owed at the end of a run.
pub(super) struct Outlook {
    bound: Duration,
    learning_bound: Duration,
    probes: BTreeMap<TransactionId, Probe>,
    buried: Vec<usize>,
    /// When everyone had everything for the first time.
    pub(super) level: Option<Duration>,
    /// Whether something is owed at the moment.
    owes: bool,
    lull: Lull,
    kept_going: Duration,
    over: bool,
    /// Whether machines that forgot are to vote again.
    returns: bool,
    learned: bool,
    /// Validators that lie, are dead, or learn, where that is more than f: nothing is owed then.
    pub(super) beyond: Option<usize>,
}

impl Outlook {
    pub(super) fn new(scenario: &Scenario) -> Outlook {
        let bound = scenario.progress_bound();
        let parameters = &scenario.parameters;
        // Two windows of blocks and a view: with short terms, they come by themselves under load.
        // A liar that claims heights and views it has not seen can keep those that learn from voting:
        // that is a documented limit.
        let returns = parameters.term_blocks <= 20 && scenario.adversaries.is_empty();
        let blocks = 2 * parameters.window + 3 * parameters.term_blocks.min(20) + 10;
        let learning_bound = bound + Duration::from_secs(blocks);
        Outlook {
            bound,
            learning_bound,
            probes: BTreeMap::new(),
            buried: Vec::new(),
            level: None,
            owes: true,
            lull: Lull::ToCome,
            kept_going: Duration::ZERO,
            over: false,
            returns,
            learned: false,
            beyond: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the time in which nobody wants anything has come and gone.
    pub(super) fn has_rested(&self) -> bool {
        self.lull == Lull::Over
    }

    /// Dead for good.
    pub(super) fn is_buried(&self, machine: usize) -> bool {
        self.buried.contains(&machine)
    }

    /// A validator answered a submission.
    pub(super) fn admitted(&mut self, machine: usize, id: &TransactionId, taken: bool) {
        if let Some(probe) = self.probes.get_mut(id).filter(|probe| probe.machine == machine) {
            probe.taken = taken;
        }
    }
}

impl World {
    /// Every fault ends. Liars go on lying, and the dead stay dead.
    pub(super) fn heal(&mut self) {
        self.transcript.say(self.now, "faults are over");
        for fault in 0..self.scenario.faults.len() {
            self.end(fault);
        }
        self.healed = Some(self.now);
        self.network.heal();
        self.apart.clear();
        self.outlook.buried = self.scenario.dead.clone();
        for m in 0..self.machines.len() {
            self.machines[m].skew_ms = 0;
            self.machines[m].full = 0;
            self.machines[m].armed = None;
            self.machines[m].step_cost = self.scenario.step_cost;
            self.machines[m].paused_until = self.machines[m].paused_until.min(self.now);
            if self.outlook.is_buried(m) {
                self.die(m, false);
            } else if self.machines[m].core.is_none() {
                self.machines[m].down = 1;
                self.after(Duration::from_millis(100), Event::Start(m));
            } else if self.machines[m].has_waiting() {
                let boot = self.machines[m].boot;
                self.machines[m].waking = false;
                self.at(self.now, Event::Wake { machine: m, boot });
            }
        }
        self.probe_each();
        self.after(Duration::from_millis(400), Event::Look);
    }

    /// At every survivor one transaction that must commit.
    fn probe_each(&mut self) {
        for machine in self.survivors() {
            let transaction = self.clients.probe(self.now);
            let asked = Duration::ZERO;
            let probe = Probe { transaction: transaction.clone(), machine, taken: false, asked };
            self.outlook.probes.insert(transaction.id(), probe);
        }
    }

    /// Looks whether the healed consortium has done what it owes.
    pub(super) fn look(&mut self) {
        if let Lull::Lasts(until, view) = self.outlook.lull {
            self.look_at_the_lull(until, view);
            return;
        }
        let Some(healed) = self.healed else { return };
        let now = self.now;
        let passed = now.saturating_sub(healed);
        self.renew_expired();
        let again: Vec<(usize, VerifiedTransaction)> = self
            .outlook
            .probes
            .values_mut()
            .filter(|probe| !self.placed.contains_key(&probe.transaction.id()))
            .filter(|probe| now.saturating_sub(probe.asked) >= ASK_AGAIN)
            .map(|probe| {
                probe.asked = now;
                (probe.machine, probe.transaction.clone())
            })
            .collect();
        for (machine, transaction) in again {
            self.submit(machine, vec![transaction]);
        }
        if self.outlook.owes {
            self.outlook.beyond = self.beyond_the_budget();
            match self.what_is_missing() {
                // Safety was held against every step; a quorum that votes is not there.
                Some(_) if passed > self.outlook.bound && self.outlook.beyond.is_some() => {
                    self.reach.hit("more than f lie, are dead or learn");
                    self.outlook.over = true;
                    return;
                }
                None => {
                    self.transcript.say(now, "everyone has everything");
                    self.outlook.level.get_or_insert(passed);
                    self.outlook.owes = false;
                }
                Some(missing) if passed > self.outlook.bound => {
                    let bound = self.outlook.bound.as_millis();
                    let after = if self.outlook.lull == Lull::Over {
                        "progress after a lull"
                    } else {
                        "progress after healing"
                    };
                    self.fail(after, format!("within {bound} ms: {missing}"));
                    return;
                }
                Some(_) => {}
            }
        }
        if !self.outlook.owes {
            let learning: Vec<usize> = self
                .survivors()
                .into_iter()
                .filter(|m| self.outlook.returns && self.phase(*m) == Some("learning"))
                .collect();
            self.outlook.learned |= !learning.is_empty();
            if learning.is_empty() && self.what_is_missing().is_none() {
                if self.outlook.learned {
                    self.reach.hit("votes again after learning");
                }
                if self.outlook.lull == Lull::ToCome && !self.scenario.lull.is_zero() {
                    self.transcript.say(now, "nobody wants anything");
                    self.outlook.lull = Lull::Lasts(now + self.scenario.lull, None);
                    self.after(LOOK_AT_LULL.min(self.scenario.lull), Event::Look);
                } else {
                    self.finish();
                }
                return;
            }
            if passed > self.outlook.learning_bound && self.beyond_the_budget().is_some() {
                self.reach.hit("more than f lie, are dead or learn");
                self.finish();
                return;
            }
            if passed > self.outlook.learning_bound {
                let bound = self.outlook.learning_bound.as_millis();
                let who: Vec<String> = learning.iter().map(|m| self.name(*m)).collect();
                self.fail(
                    "machines that forgot vote again",
                    format!("within {bound} ms: {who:?} still learn; {:?}", self.what_is_missing()),
                );
                return;
            }
            if !learning.is_empty() && now.saturating_sub(self.outlook.kept_going) >= KEEP_GOING {
                self.outlook.kept_going = now;
                let transaction = self.clients.probe(now);
                let voters = self.survivors();
                let machine = self.dice.pick(&voters).copied().unwrap_or(0);
                let probe = Probe { transaction: transaction.clone(), machine, taken: false, asked: now };
                self.outlook.probes.insert(transaction.id(), probe);
                self.submit(machine, vec![transaction]);
            }
        }
        self.after(LOOK, Event::Look);
    }

    /// While nobody wants anything and nobody lies, nobody leaves a view, once nothing waits any more.
    fn look_at_the_lull(&mut self, until: Duration, settled: Option<View>) {
        let voters: Vec<_> =
            self.survivors().into_iter().filter_map(|m| self.machines[m].core.as_ref()).collect();
        let status: Vec<_> = voters.iter().map(|core| core.status()).collect();
        let view = status.first().map(|status| status.view);
        let at_rest = status.iter().all(|status| {
            Some(status.view) == view && status.phase == "active" && status.mempool_transactions == 0
        });
        let honest = self.scenario.adversaries.is_empty() && self.scenario.dead.is_empty();
        if settled.is_some() && honest && !(at_rest && view == settled) {
            self.fail("peace in a lull", format!("view {settled:?} was left: {}", self.standing()));
            return;
        }
        let now = self.now;
        if now < until {
            self.outlook.lull = Lull::Lasts(until, view.filter(|_| at_rest));
            self.after(LOOK_AT_LULL.min(until.saturating_sub(now)), Event::Look);
            return;
        }
        self.reach.hit(if settled.is_some() { "a lull at rest" } else { "a lull with something waiting" });
        self.transcript.say(now, "the lull is over");
        self.outlook.lull = Lull::Over;
        self.outlook.owes = true;
        self.healed = Some(now);
        self.probe_each();
        self.after(LOOK, Event::Look);
    }

    /// A client whose transaction expired before it committed makes another.
    fn renew_expired(&mut self) {
        let wall = super::consortium::wall(self.now, 0);
        let expired: Vec<TransactionId> = self
            .outlook
            .probes
            .iter()
            .filter(|(id, probe)| {
                probe.transaction.transaction().expires_at < wall && !self.placed.contains_key(id)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in expired {
            let Some(old) = self.outlook.probes.remove(&id) else { continue };
            let transaction = self.clients.probe(self.now);
            let new = Probe { transaction: transaction.clone(), taken: false, asked: Duration::ZERO, ..old };
            self.outlook.probes.insert(transaction.id(), new);
        }
    }

    /// What the healed consortium still owes, in words.
    fn what_is_missing(&self) -> Option<String> {
        let waiting = self.outlook.probes.keys().filter(|id| !self.placed.contains_key(id)).count();
        if waiting > 0 {
            let taken = self.outlook.probes.values().filter(|probe| probe.taken).count();
            return Some(format!(
                "{waiting} of {} transactions have not committed, {taken} were taken; {}",
                self.outlook.probes.len(),
                self.standing()
            ));
        }
        let behind = self.survivors().into_iter().any(|m| {
            let machine = &self.machines[m];
            machine.core.is_none() || machine.reported < self.top
        });
        behind.then(|| format!("the chain is at {}; {}", self.top, self.standing()))
    }

    /// How many lie, are dead or learn, if that is more than f. Whoever may have forgotten votes counts as
    /// faulty until it votes again; so does one that was first heard of after the chain had begun.
    fn beyond_the_budget(&self) -> Option<usize> {
        let learning = self.survivors().into_iter().filter(|m| self.phase(*m) == Some("learning")).count();
        let absent = self.scenario.adversaries.len() + self.scenario.dead.len() + learning;
        (absent > Quorum::of(self.scenario.n).f).then_some(absent)
    }

    fn standing(&self) -> String {
        let each = (0..self.machines.len()).map(|m| match &self.machines[m].core {
            Some(core) => {
                let status = core.status();
                format!("{} {} view {} height {}", self.name(m), status.phase, status.view, status.height)
            }
            None => format!("{} down", self.name(m)),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// The run is over: what must hold at its end is looked at.
    fn finish(&mut self) {
        self.outlook.over = true;
        for m in self.survivors() {
            let height = self.machines[m].reported;
            if self.machines[m].damaged {
                continue;
            }
            let disk = self.machines[m].disk.clone();
            self.observe(m, &Observed::Ended { disk: &disk, height });
        }
    }
}
