//! After the faults: a healed quorum must commit what it is given, within a bound on virtual time, and
//! every honest machine must get there, those that were left behind included.

use super::scenario::Scenario;
use super::world::{Event, World};
use crate::invariants::Observed;
use quorate_types::hash::TransactionId;
use quorate_types::transaction::VerifiedTransaction;
use quorate_types::validators::Quorum;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(50);

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

/// What is still owed at the end of a run.
pub(super) struct Outlook {
    bound: Duration,
    learning_bound: Duration,
    probes: BTreeMap<TransactionId, Probe>,
    buried: Vec<usize>,
    /// When everyone had everything.
    pub(super) level: Option<Duration>,
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
            self.machines[m].step_cost = Duration::ZERO;
            self.machines[m].paused_until = self.machines[m].paused_until.min(self.now);
            if self.outlook.is_buried(m) {
                self.die(m, false);
            } else if self.machines[m].core.is_none() {
                self.machines[m].down = 1;
                self.after(Duration::from_millis(100), Event::Start(m));
            } else if !self.machines[m].inbox.is_empty() {
                let boot = self.machines[m].boot;
                self.machines[m].waking = false;
                self.at(self.now, Event::Wake { machine: m, boot });
            }
        }
        for machine in self.survivors() {
            let transaction = self.clients.probe(self.now);
            let asked = Duration::ZERO;
            let probe = Probe { transaction: transaction.clone(), machine, taken: false, asked };
            self.outlook.probes.insert(transaction.id(), probe);
        }
        self.after(Duration::from_millis(400), Event::Look);
    }

    /// Looks whether the healed consortium has done what it owes.
    pub(super) fn look(&mut self) {
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
        if self.outlook.level.is_none() {
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
                    self.outlook.level = Some(passed);
                }
                Some(missing) if passed > self.outlook.bound => {
                    let bound = self.outlook.bound.as_millis();
                    self.fail("progress after healing", format!("within {bound} ms: {missing}"));
                    return;
                }
                Some(_) => {}
            }
        }
        if self.outlook.level.is_some() {
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
                self.finish();
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
