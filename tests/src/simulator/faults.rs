//! Faults begin and end, machines die and start, links break and are mended.

use super::disk::Disk;
use super::machine::{Armed, GuardFile};
use super::scenario::{FaultKind, Point};
use super::world::{Event, World};
use crate::adversaries::Behaviour;
use crate::invariants::Observed;
use quorate_node::core::api::CommittedBlock;
use quorate_node::core::records;
use quorate_node::storage::Standing;
use quorate_types::hash::ChainId;
use quorate_types::ids::Height;
use quorate_types::receipt::BlockTrees;
use quorate_types::transaction::verify_transaction;
use quorate_types::validators::Quorum;
use std::time::Duration;

/// How often connections are looked at.
const LOOK_AT_LINKS: Duration = Duration::from_millis(200);

/// How long nothing may pass before a connection is given up: the transport's idle timeout.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the operator takes to find a halted node and set it up again.
const OPERATOR: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn begin(&mut self, place: usize) {
        if self.healed.is_some() {
            return;
        }
        let fault = self.scenario.faults[place].clone();
        if let FaultKind::Wipe(m, true) = fault.kind
            && self.may_be_founded_again(m)
        {
            self.transcript
                .say(self.now, &format!("fault {place} does not happen: the chain is being founded"));
            return;
        }
        self.progress[place].active = true;
        self.transcript.say(self.now, &format!("fault {place} begins: {:?}", fault.kind));
        let until = self.now + fault.lasts;
        // Those that die at a persistence point, fail a sync, or wait for a view, count when they do.
        match &fault.kind {
            FaultKind::Kill(_, Some(_)) | FaultKind::Power(_, Some(_)) | FaultKind::SyncFails(_) => {}
            FaultKind::Absent(..) => {}
            kind => self.count(kind.name()),
        }
        match fault.kind {
            FaultKind::Partition(side) => self.cut(&side, true),
            FaultKind::OneWay(from, to) => self.cut_one_way(&from, &to, true),
            FaultKind::Mute(mute) => {
                self.muted.insert(place, mute);
            }
            FaultKind::Absent(view, validator) => {
                self.absent.insert(place, (view, validator));
                if self.top_view == view {
                    self.cut(&[validator], true);
                }
            }
            FaultKind::Flap(..) => self.flap(place, true),
            FaultKind::Kill(m, None) => self.take_down(place, m, false),
            FaultKind::Power(m, None) => self.take_down(place, m, true),
            FaultKind::Kill(m, Some(point)) => self.arm(m, point, false, until),
            FaultKind::Power(m, Some(point)) => self.arm(m, point, true, until),
            FaultKind::PowerOfAll => {
                for m in 0..self.machines.len() {
                    self.take_down(place, m, true);
                }
            }
            FaultKind::Pause(m) => {
                let machine = &mut self.machines[m];
                machine.paused_until = machine.paused_until.max(until);
            }
            FaultKind::Slow(m, us) => {
                self.machines[m].step_cost = Duration::from_micros(us).max(self.scenario.step_cost);
            }
            FaultKind::ClockJump(m, by) => self.machines[m].skew_ms += by,
            FaultKind::DiskFull(m) => self.machines[m].full += 1,
            FaultKind::SyncFails(m) => self.machines[m].sync_fails = true,
            FaultKind::TornLog(m) => {
                self.take_down(place, m, true);
                let lost = self.machines[m].disk.tear(&mut self.disks);
                self.transcript.say(self.now, &format!("{} lost {lost} synced batches", self.name(m)));
            }
            FaultKind::BitFlip(m) => {
                if self.machines[m].disk.flip(&mut self.disks) {
                    self.machines[m].damaged = true;
                }
            }
            FaultKind::Wipe(m, guard_too) => {
                self.take_down(place, m, false);
                self.machines[m].disk = Disk::default();
                self.machines[m].damaged = false;
                if guard_too {
                    self.machines[m].guard = None;
                }
            }
            FaultKind::Restore(m, _) => {
                let machine = &mut self.machines[m];
                if !machine.disk.is_empty() {
                    machine.backup = Some((machine.disk.backup(), machine.guard));
                }
            }
        }
    }

    /// Whether so many others may know of no block after a loss of power that a validator without any memory
    /// would take the chain for new. One that voted before is a liar then: a documented limit of founding
    /// (`learning` in quorate-pbft).
    fn may_be_founded_again(&self, m: usize) -> bool {
        let n = self.scenario.n;
        let others = (0..n).filter(|other| *other != m);
        let know = others.filter(|other| {
            let left = self.machines[*other].disk.after_power_loss();
            records::committed_height(&left).is_ok_and(|height| height > Height::GENESIS)
        });
        know.count() + Quorum::of(n).q <= n
    }

    pub(super) fn end(&mut self, place: usize) {
        if !std::mem::take(&mut self.progress[place].active) {
            return;
        }
        let fired = std::mem::take(&mut self.progress[place].fired);
        let fault = self.scenario.faults[place].clone();
        self.transcript.say(self.now, &format!("fault {place} ends"));
        match fault.kind {
            FaultKind::Partition(side) => self.cut(&side, false),
            FaultKind::OneWay(from, to) => self.cut_one_way(&from, &to, false),
            FaultKind::Mute(_) => {
                self.muted.remove(&place);
            }
            FaultKind::Absent(view, validator) => {
                self.absent.remove(&place);
                if self.top_view == view {
                    self.cut(&[validator], false);
                }
            }
            FaultKind::Flap(a, b, _) => {
                if fired {
                    self.cut_pair(a, b, false);
                }
            }
            FaultKind::Kill(m, None)
            | FaultKind::Power(m, None)
            | FaultKind::TornLog(m)
            | FaultKind::Wipe(m, _) => self.start(m),
            FaultKind::Kill(m, Some(_)) | FaultKind::Power(m, Some(_)) => self.machines[m].armed = None,
            FaultKind::PowerOfAll => {
                for m in 0..self.machines.len() {
                    self.start(m);
                }
            }
            FaultKind::Pause(_) => {}
            FaultKind::Slow(m, _) => self.machines[m].step_cost = self.scenario.step_cost,
            FaultKind::ClockJump(m, by) => self.machines[m].skew_ms -= by,
            FaultKind::DiskFull(m) => self.machines[m].full = self.machines[m].full.saturating_sub(1),
            FaultKind::SyncFails(m) => self.machines[m].sync_fails = false,
            FaultKind::BitFlip(_) => {}
            FaultKind::Restore(m, copied) => self.restore(m, copied),
        }
    }

    /// An old state comes back under a live key: the database alone, or the whole directory as a copy.
    fn restore(&mut self, m: usize, copied: bool) {
        let Some((backup, guard)) = self.machines[m].backup.take() else { return };
        self.transcript.say(self.now, &format!("{} is set back to a backup", self.name(m)));
        if self.machines[m].core.is_some() {
            self.die(m, false);
        }
        let machine = &mut self.machines[m];
        machine.disk = Disk::replaced(Some(backup));
        machine.damaged = false;
        if copied {
            // The content names the file that was copied.
            let identity = machine.new_file();
            machine.guard = guard.map(|file| GuardFile { identity, ..file });
        }
        if machine.down == 0 {
            self.at(self.now, Event::Start(m));
            self.machines[m].down = 1;
        }
    }

    fn cut_pair(&mut self, a: usize, b: usize, on: bool) {
        if a != b {
            self.network.block(a, b, on);
            self.network.block(b, a, on);
        }
    }

    fn cut(&mut self, side: &[usize], on: bool) {
        for a in 0..self.machines.len() {
            for b in 0..self.machines.len() {
                let here = side.contains(&self.machines[a].identity);
                if here && !side.contains(&self.machines[b].identity) {
                    self.cut_pair(a, b, on);
                }
            }
        }
    }

    /// An honest validator speaks of a view: whoever is absent in the view before comes back, and who is
    /// in this one goes.
    pub(super) fn speaks_of(&mut self, view: u64) {
        if view <= self.top_view {
            return;
        }
        let absent: Vec<(u64, usize)> = self.absent.values().copied().collect();
        for (missed, validator) in absent {
            if missed == self.top_view {
                self.cut(&[validator], false);
            } else if missed == view {
                self.count(FaultKind::Absent(missed, validator).name());
                self.cut(&[validator], true);
            }
        }
        self.top_view = view;
    }

    fn cut_one_way(&mut self, from: &[usize], to: &[usize], on: bool) {
        for a in from {
            for b in to.iter().filter(|b| *b != a) {
                self.network.block(*a, *b, on);
            }
        }
    }

    pub(super) fn flap(&mut self, place: usize, on: bool) {
        let FaultKind::Flap(a, b, period) = self.scenario.faults[place].kind else { return };
        if !self.progress[place].active {
            return;
        }
        if on != self.progress[place].fired {
            self.progress[place].fired = on;
            self.cut_pair(a, b, on);
        }
        self.after(Duration::from_millis(period), Event::Flap(place, !on));
    }

    fn arm(&mut self, m: usize, point: Point, power: bool, back: Duration) {
        self.machines[m].armed = Some(Armed { point, power, back: back + Duration::from_millis(1) });
    }

    fn take_down(&mut self, place: usize, m: usize, power: bool) {
        self.die(m, power);
        self.machines[m].down += 1;
        self.progress[place].fired = true;
    }

    /// The process ends, or the whole machine.
    pub(super) fn die(&mut self, m: usize, power: bool) {
        if self.machines[m].core.is_some() {
            let how = if power { "loses power" } else { "is killed" };
            self.transcript.say(self.now, &format!("{} {how}", self.name(m)));
        }
        self.machines[m].stop();
        if power {
            self.machines[m].disk.lose_power(&mut self.disks);
        }
    }

    /// A sync failed: what was written may or may not be on the disk, and the daemon stops.
    pub(super) fn sync_failed(&mut self, m: usize) {
        self.die(m, true);
        self.machines[m].down += 1;
        let back = self.disks.millis(100, 3_000);
        self.after(back, Event::Start(m));
    }

    /// One reason less to be down; started if it was the last.
    pub(super) fn start(&mut self, m: usize) {
        let machine = &mut self.machines[m];
        machine.down = machine.down.saturating_sub(1);
        if machine.down > 0 || machine.core.is_some() || self.outlook.is_buried(m) {
            return;
        }
        let started = machine.start(self.now, &self.consortium, self.limits, &mut self.dice);
        let name = self.name(m);
        match started {
            Ok(standing) => {
                self.transcript.say(self.now, &format!("{name} starts, {standing:?}"));
                if self.is_honest(m) {
                    self.reach.hit(match standing {
                        Standing::Settled => "starts: settled",
                        Standing::Fresh => "starts: fresh",
                        Standing::Behind { .. } => "starts: behind",
                        Standing::Lost { .. } => "starts: lost",
                    });
                }
                self.observe(m, &Observed::Started);
                self.find_unreported(m);
                self.hand_on(m);
            }
            Err(why) if self.machines[m].damaged || self.machines[m].disk.damage_seen() => {
                self.set_up_again(m, &why);
            }
            Err(why) => self.fail("an honest machine starts", format!("{name} does not: {why}")),
        }
    }

    /// Blocks that a machine had written when it died, and nobody has reported yet, are final all the
    /// same: they are held against the invariants as they are found.
    fn find_unreported(&mut self, m: usize) {
        let last = self.machines[m].reported;
        if self.machines[m].damaged || !self.is_honest(m) {
            return;
        }
        let disk = self.machines[m].disk.clone();
        while self.top < last && self.failure.is_none() {
            let height = self.top.next();
            match found(&disk, height, &self.consortium.genesis.chain) {
                Ok(block) => self.committed(m, &block, &disk),
                Err(why) => {
                    self.fail("acknowledged is durable", format!("{} at {height}: {why}", self.name(m)))
                }
            }
        }
    }

    /// A node says that it must not go on.
    pub(super) fn halted(&mut self, m: usize, why: String) {
        let name = self.name(m);
        self.transcript.say(self.now, &format!("{name} halts: {why}"));
        if self.machines[m].damaged {
            self.set_up_again(m, &why);
        } else if self.is_honest(m) {
            self.fail("honest machines agree with the quorum", format!("{name} halted: {why}"));
        }
    }

    /// The operator does what the message says: an empty directory, the guard file left in place.
    fn set_up_again(&mut self, m: usize, why: &str) {
        self.transcript.say(self.now, &format!("{} is set up again, for {why}", self.name(m)));
        self.reach.hit("halts on damage, is wiped and returns");
        self.die(m, false);
        self.machines[m].disk = Disk::default();
        self.machines[m].damaged = false;
        self.machines[m].down += 1;
        self.after(OPERATOR, Event::Start(m));
    }

    pub(super) fn phase(&self, m: usize) -> Option<&'static str> {
        self.machines[m].core.as_ref().map(|core| core.status().phase)
    }

    /// Connections: those that can be are made, those over which nothing passes are given up.
    pub(super) fn links(&mut self) {
        let count = self.machines.len();
        for a in 0..count {
            for b in a + 1..count {
                self.link(a, b);
            }
        }
        self.after(LOOK_AT_LINKS, Event::Links);
    }

    fn link(&mut self, a: usize, b: usize) {
        let (ia, ib) = (self.machines[a].identity, self.machines[b].identity);
        let see_each_other = ia != ib && self.machine_of(a, ib) == b && self.machine_of(b, ia) == a;
        let open = !self.network.is_blocked(a, b) && !self.network.is_blocked(b, a);
        let alive = self.machines[a].core.is_some() && self.machines[b].core.is_some();
        let whole = (self.machines[a].connected.contains(&b), self.machines[b].connected.contains(&a));
        if see_each_other && open && alive {
            self.apart.remove(&(a, b));
            if whole == (true, true) {
                return;
            }
            for (here, there, connected) in [(a, b, whole.0), (b, a, whole.1)] {
                if connected {
                    self.tell_connection(here, there, false);
                }
            }
            self.tell_connection(a, b, true);
            self.tell_connection(b, a, true);
            return;
        }
        let since = *self.apart.entry((a, b)).or_insert(self.now);
        let patience = if see_each_other { IDLE_TIMEOUT } else { Duration::ZERO };
        if self.now.saturating_sub(since) >= patience {
            for (here, there, connected) in [(a, b, whole.0), (b, a, whole.1)] {
                if connected {
                    self.tell_connection(here, there, false);
                }
            }
        }
    }

    /// Each peer takes one of the twins for the validator, until they change again.
    pub(super) fn shuffle_twins(&mut self) {
        let twins: Vec<(usize, usize)> = (self.scenario.n..self.machines.len())
            .map(|second| (self.machines[second].identity, second))
            .collect();
        for (validator, second) in twins {
            for peer in 0..self.machines.len() {
                if self.machines[peer].identity != validator {
                    let choice = if self.dice.chance(500) { validator } else { second };
                    self.seen.insert((peer, validator), choice);
                }
            }
            self.count(Behaviour::Twins.name());
        }
        // Now, not at the next look: a moment without either would hide what twins are for.
        let count = self.machines.len();
        for a in 0..count {
            for b in a + 1..count {
                self.link(a, b);
            }
        }
        let pause = self.dice.millis(200, 6_000);
        self.after(pause, Event::Twins);
    }
}

/// A committed block as it stands on a disk.
fn found(disk: &Disk, height: Height, chain: &ChainId) -> Result<CommittedBlock, String> {
    let text = |error: quorate_ledger::StoreError| error.to_string();
    let finality = records::finality(disk, height).map_err(text)?.ok_or("no certificate")?;
    let record = records::read_block(disk, height).map_err(text)?.ok_or("no block")?;
    let hash = finality.header.hash();
    let bodies = records::read_bodies(disk, height, &hash).map_err(text)?.ok_or("no bodies")?;
    let transactions: Result<Vec<_>, _> =
        bodies.into_iter().map(|body| verify_transaction(chain, body)).collect();
    let transactions = transactions.map_err(|error| error.to_string())?;
    let trees = BlockTrees::new(&record.ids, &record.outcomes);
    Ok(CommittedBlock { finality, hash, transactions, outcomes: record.outcomes, trees, caught_up: false })
}
