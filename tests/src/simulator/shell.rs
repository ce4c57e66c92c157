//! What the daemon's shell does for its core, done for every machine of the world.

use super::consortium::index;
use super::disk::Disk;
use super::machine::{Armed, Stage};
use super::scenario::{Mute, Point};
use super::transcript::describe;
use super::wire::Verdict;
use super::world::{Event, Frame, World};
use crate::adversaries::{Parcel, Stage as LiarStage, message_in};
use crate::invariants::Observed;
use quorate_client::protocol::SubmitError;
use quorate_ledger::{Column, Refusal};
use quorate_node::core::api::{CommittedBlock, Input, Outgoing, PeerInput, Ready, Report};
use quorate_node::runtime::{Claim, Class};
use quorate_pbft::Message;
use quorate_transport::Lane;
use quorate_types::hash::TransactionId;
use quorate_types::outcome::Outcome;
use std::rc::Rc;
use std::time::Duration;

/// How often a full disk is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl World {
    /// Gives a machine something to do: at once, or when it is free.
    pub(super) fn input(&mut self, machine: usize, input: Input) {
        let m = &mut self.machines[machine];
        if m.core.is_none() {
            return;
        }
        if m.is_free(self.now) {
            self.step(machine, vec![input]);
            return;
        }
        match input {
            Input::Tick => m.tick_due = true,
            Input::Persisted(number) => m.inbox.persisted(number),
            input => m.inbox.push(class_of(&input), [(input, Claim::none())]),
        }
        self.wake_later(machine);
    }

    fn wake_later(&mut self, machine: usize) {
        let m = &mut self.machines[machine];
        if !m.waking {
            m.waking = true;
            let (at, boot) = (m.free_at(), m.boot);
            self.at(at, Event::Wake { machine, boot });
        }
    }

    pub(super) fn wake(&mut self, machine: usize, boot: u64) {
        let now = self.now;
        let m = &mut self.machines[machine];
        if m.boot != boot {
            return;
        }
        m.waking = false;
        while self.machines[machine].free_at() <= now {
            // Whoever is behind is woken by its disk.
            let Some(inputs) = self.machines[machine].next_waiting() else { return };
            if inputs.len() > 1 && self.is_honest(machine) {
                self.reach.hit("a step of several inputs");
            }
            self.step(machine, inputs);
        }
        if self.machines[machine].has_waiting() {
            self.wake_later(machine);
        }
    }

    pub(super) fn tick(&mut self, machine: usize, boot: u64) {
        let now = self.now;
        let m = &mut self.machines[machine];
        if m.boot != boot || m.core.is_none() || m.tick_at > now {
            return;
        }
        m.tick_at = Duration::MAX;
        if !m.is_free(now) {
            if m.is_behind() && self.is_honest(machine) {
                self.reach.hit("waits for its disk");
            }
            self.input(machine, Input::Tick);
            return;
        }
        self.step(machine, vec![Input::Tick]);
        let m = &self.machines[machine];
        let due = m.core.as_ref().map(|core| m.world_time(core.deadline()));
        if due.is_some_and(|due| due <= now) && self.is_honest(machine) {
            self.fail("timers pass", format!("{} has something due again at once", self.name(machine)));
        }
    }

    fn step(&mut self, machine: usize, inputs: Vec<Input>) {
        self.machines[machine].step(self.now, inputs);
        self.hand_on(machine);
    }

    /// Takes what the core wants done.
    pub(super) fn hand_on(&mut self, machine: usize) {
        while let Some(mut ready) = self.machines[machine].core.as_mut().and_then(|core| core.take_ready()) {
            for out in std::mem::take(&mut ready.now) {
                self.send(machine, out);
            }
            self.machines[machine].queue.push_back(ready);
        }
        self.start_group(machine);
        let m = &mut self.machines[machine];
        let Some(core) = &m.core else { return };
        let (deadline, footprint) = (core.deadline(), core.footprint());
        let due = m.world_time(deadline).max(self.now + Duration::from_nanos(1));
        if due < m.tick_at && deadline < Duration::MAX {
            m.tick_at = due;
            let boot = m.boot;
            self.at(due, Event::Tick { machine, boot });
        }
        self.observe(machine, &Observed::Stepped { footprint });
    }

    fn start_group(&mut self, machine: usize) {
        if !self.machines[machine].begin_group() {
            return;
        }
        let Some(group) = &mut self.machines[machine].group else { return };
        let empty = group.readies.iter().all(|ready| ready.persist.is_empty()) && group.guard().is_none();
        let delay = if empty {
            group.stage = Stage::Say;
            Duration::from_micros(20)
        } else {
            let (least, most) = self.scenario.disk_us;
            self.disks.micros(least, most)
        };
        let boot = self.machines[machine].boot;
        self.after(delay, Event::Disk { machine, boot });
    }

    /// Whether the machine dies here.
    fn dies(&mut self, machine: usize, point: Point) -> bool {
        let m = &mut self.machines[machine];
        let matters = m.group.as_ref().is_some_and(|group| group.sync());
        let Some(Armed { power, back, .. }) = m.armed.filter(|armed| armed.point == point && matters) else {
            return false;
        };
        m.armed = None;
        self.count(if power { "power loss at a persistence point" } else { "kill at a persistence point" });
        self.die(machine, power);
        self.machines[machine].down += 1;
        self.at(back, Event::Start(machine));
        true
    }

    pub(super) fn disk_step(&mut self, machine: usize, boot: u64) {
        let m = &mut self.machines[machine];
        let Some(group) = m.group.as_mut().filter(|_| m.boot == boot) else { return };
        let (least, most) = self.scenario.disk_us;
        match group.stage {
            Stage::Write => {
                if m.full > 0 {
                    self.after(LOOK_AGAIN, Event::Disk { machine, boot });
                    return;
                }
                if self.dies(machine, Point::BeforeWrite) {
                    return;
                }
                let m = &mut self.machines[machine];
                let Some(group) = &mut m.group else { return };
                for ready in &group.readies {
                    if !ready.persist.is_empty() {
                        m.disk.write(&ready.persist);
                    }
                    for write in ready.persist.iter().filter(|write| write.column == Column::Votes) {
                        match &write.key[..] {
                            key if write.value.is_none() || key.starts_with(b"guard") => {}
                            key if key.starts_with(b"prepare/") => self.reach.hit("record of Prepare"),
                            key if key.starts_with(b"commit/") => self.reach.hit("record of Commit"),
                            key if key == b"view" => self.reach.hit("record of a view"),
                            _ => {}
                        }
                    }
                }
                group.stage = Stage::Sync;
                let sync = group.sync();
                let delay = if sync { self.disks.micros(least, most) } else { Duration::ZERO };
                self.after(delay, Event::Disk { machine, boot });
            }
            Stage::Sync => {
                if self.dies(machine, Point::BeforeSync) {
                    return;
                }
                let m = &mut self.machines[machine];
                let Some(group) = &mut m.group else { return };
                if group.sync() {
                    if m.sync_fails {
                        m.sync_fails = false;
                        self.count("failed sync");
                        self.sync_failed(machine);
                        return;
                    }
                    m.disk.sync();
                }
                group.stage = Stage::Guard;
                self.disk_step(machine, boot);
            }
            Stage::Guard => {
                if self.dies(machine, Point::BeforeGuard) {
                    return;
                }
                let m = &mut self.machines[machine];
                let Some(group) = &mut m.group else { return };
                group.stage = Stage::Say;
                if let Some(guard) = group.guard() {
                    m.remember(guard);
                    let delay = self.disks.micros(least / 2, most / 2);
                    self.after(delay, Event::Disk { machine, boot });
                } else {
                    self.disk_step(machine, boot);
                }
            }
            Stage::Say => self.say(machine, boot),
        }
    }

    /// The group is safe: what waited for it may leave.
    fn say(&mut self, machine: usize, boot: u64) {
        if self.dies(machine, Point::BeforeSend) {
            return;
        }
        let Some(group) = self.machines[machine].group.take() else { return };
        let sync = group.sync();
        let mut readies: Vec<Ready> = group.readies;
        let last = readies.last().map_or(0, |ready| ready.number);
        let dies = sync && self.machines[machine].armed.is_some_and(|a| a.point == Point::WhileSending);
        let messages: usize = readies.iter().map(|ready| ready.then.len()).sum();
        let mut said = 0;
        for ready in &mut readies {
            for out in std::mem::take(&mut ready.then) {
                if dies && 2 * said >= messages {
                    break;
                }
                said += 1;
                self.send(machine, out);
            }
        }
        if dies && let Some(Armed { power, back, .. }) = self.machines[machine].armed.take() {
            self.count(if power {
                "power loss at a persistence point"
            } else {
                "kill at a persistence point"
            });
            self.die(machine, power);
            self.machines[machine].down += 1;
            self.at(back, Event::Start(machine));
            return;
        }
        if group.behind || readies.iter().any(|ready| ready.awaited) {
            self.input(machine, Input::Persisted(last));
        }
        for ready in readies {
            for report in ready.reports {
                self.report(machine, report);
                if self.machines[machine].boot != boot || self.failure.is_some() {
                    return;
                }
            }
        }
        self.start_group(machine);
    }

    fn report(&mut self, machine: usize, report: Report) {
        let name = self.name(machine);
        match report {
            Report::Committed(block) => {
                let header = &block.finality.header;
                let height = header.height;
                self.transcript.note(self.now, &block.hash.0.0, || {
                    format!(
                        "{name} committed height {height} {:?}, {} transactions",
                        block.hash,
                        block.outcomes.len()
                    )
                });
                self.machines[machine].reported = height;
                if !self.is_honest(machine) {
                    return;
                }
                self.reach.hit(match () {
                    () if block.caught_up => "commits: by catching up",
                    () if block.finality.descendants.is_empty() => "commits: by its own certificate",
                    () => "commits: through a descendant",
                });
                let disk = self.machines[machine].disk.clone();
                self.committed(machine, &block, &disk);
            }
            Report::Admission { verdicts, .. } => {
                for (id, verdict) in verdicts {
                    self.reach.hit(admission(&verdict));
                    if let Err(why) = &verdict {
                        self.transcript.say(self.now, &format!("{name} refuses {id:?}: {why}"));
                    }
                    self.outlook.admitted(machine, &id, verdict.is_ok());
                }
            }
            Report::Expired(_) => self.reach.hit("transactions expire"),
            Report::Dropped(_) => self.reach.hit("transactions are dropped with their proposal"),
            Report::Fault { peer, what } => {
                self.transcript.say(self.now, &format!("{name} blames validator {peer}: {what}"));
                self.reach.fault(&what);
            }
            Report::Evidence { signer, what } => {
                self.transcript.say(self.now, &format!("{name} has evidence against {signer}: {what}"));
                if self.is_honest(machine) {
                    self.reach.evidence(&what);
                }
                self.observe(machine, &Observed::Evidence { against: signer, what: &what });
            }
            Report::View { view, active, why } => {
                let how = if active { "enters" } else { "moves to" };
                self.transcript.say(self.now, &format!("{name} {how} view {view}: {why}"));
                if self.is_honest(machine) {
                    self.reach.view(&why);
                }
            }
            Report::Halted(why) => self.halted(machine, why),
        }
    }

    /// An honest machine has a block that is final.
    pub(super) fn committed(&mut self, machine: usize, block: &CommittedBlock, disk: &Disk) {
        let height = block.finality.header.height;
        for outcome in &block.outcomes {
            let applied = *outcome == Outcome::Applied;
            self.reach.hit(if applied { "outcome: applied" } else { "outcome: failed" });
        }
        for transaction in &block.transactions {
            let id = transaction.id();
            if self.clients.is_forbidden(&id) {
                self.fail("what is refused never commits", format!("{id:?} stands at height {height}"));
            }
            self.placed.entry(id).or_insert(height);
        }
        self.top = self.top.max(height);
        let disk = (!self.machines[machine].damaged).then_some(disk);
        self.observe(machine, &Observed::Committed { block, disk });
    }

    /// Sends what a core wants sent, through its liar if it has one.
    pub(super) fn send(&mut self, machine: usize, out: Outgoing) {
        if self.liars.contains_key(&machine) {
            let parcel = Parcel { to: out.to, lane: out.lane, bytes: out.frame, delay: Duration::ZERO };
            self.with_liar(machine, |liar, stage| liar.send(stage, parcel));
            return;
        }
        self.observe(machine, &Observed::Sent { lane: out.lane, bytes: &out.frame });
        let honest = self.is_honest(machine);
        let frame = Frame { from: self.validator(machine), lane: out.lane, bytes: out.frame, honest };
        self.transmit(machine, out.to.as_usize(), frame, Duration::ZERO);
    }

    /// Lets a liar act, and carries off what it lets out.
    pub(super) fn with_liar<R>(
        &mut self,
        machine: usize,
        act: impl FnOnce(&mut Box<dyn crate::adversaries::Liar>, &mut LiarStage<'_>) -> R,
    ) -> Option<R> {
        let mut liar = self.liars.remove(&machine)?;
        let me = self.validator(machine);
        let mut stage = LiarStage {
            dice: &mut self.dice,
            me,
            key: &self.consortium.vote_keys[me.as_usize()],
            committee: &self.committee,
            out: Vec::new(),
        };
        let result = act(&mut liar, &mut stage);
        let out = stage.out;
        self.liars.insert(machine, liar);
        for parcel in out {
            let frame = Frame { from: me, lane: parcel.lane, bytes: parcel.bytes, honest: false };
            self.transmit(machine, parcel.to.as_usize(), frame, parcel.delay);
        }
        Some(result)
    }

    pub(super) fn lie(&mut self, machine: usize) {
        if self.machines[machine].core.is_some() {
            self.with_liar(machine, |liar, stage| liar.idle(stage));
        }
        let pause = self.dice.millis(50, 600);
        self.after(pause, Event::Lie(machine));
    }

    /// Puts a frame on the link to a validator.
    fn transmit(&mut self, from: usize, to: usize, frame: Frame, delay: Duration) {
        if to >= self.scenario.n {
            return;
        }
        let target = self.machine_of(from, to);
        // A twin is heard by those only who take it for the validator.
        let unseen = self.machine_of(target, self.machines[from].identity) != from;
        if unseen || target == from || !self.machines[target].connected.contains(&from) {
            return;
        }
        if self.is_muted(from, target, &frame) {
            self.network.passed.muted += 1;
            let (from, to) = (self.name(from), self.name(target));
            self.transcript.note(self.now, &frame.bytes, || {
                format!("{from} -> {to}  {}  (muted)", describe(frame.lane, &frame.bytes))
            });
            return;
        }
        let arrivals =
            self.network.send(self.now + delay, from, target, super::wire::lane_number(frame.lane));
        if self.transcript.is_verbose() {
            let what = describe(frame.lane, &frame.bytes);
            let fate = match &arrivals[..] {
                [] => "lost".to_owned(),
                all => {
                    let times: Vec<String> =
                        all.iter().map(|at| format!("{:.3}", at.as_secs_f64() * 1000.0)).collect();
                    format!("arrives {}", times.join(", "))
                }
            };
            let line = format!("{} -> {}  {what}  ({fate})", self.name(from), self.name(target));
            self.transcript.note(self.now, &frame.bytes, || line);
        } else {
            self.transcript.note(self.now, &frame.bytes, String::new);
        }
        let boot = self.machines[target].boot;
        let frame = Rc::new(frame);
        for at in arrivals {
            self.at(at, Event::Arrive { to: target, boot, frame: Rc::clone(&frame) });
        }
    }

    /// Whether a fault keeps this message from getting through.
    fn is_muted(&mut self, from: usize, to: usize, frame: &Frame) -> bool {
        if self.muted.is_empty() && self.absent.is_empty() {
            return false;
        }
        let (kind, height, view) = match message_in(frame.lane, &frame.bytes) {
            Some(message) => {
                let view = message.view().0;
                if self.is_honest(from) {
                    self.speaks_of(view);
                }
                let Some((kind, height)) = kind_and_height(&message) else { return false };
                (kind, height, view)
            }
            None if frame.lane == Lane::Sync => (Mute::SYNC, None, self.top_view),
            None => return false,
        };
        let (from, to) = (self.machines[from].identity, self.machines[to].identity);
        self.muted.values().any(|mute| {
            mute.kinds.contains(&kind)
                && mute.from.contains(&from)
                && mute.to.contains(&to)
                && mute.view.is_none_or(|only| only == view)
                && mute.parity.is_none_or(|parity| height.is_some_and(|height| height % 2 == parity))
        })
    }

    pub(super) fn arrive(&mut self, to: usize, boot: u64, frame: &Frame) {
        if self.machines[to].boot != boot || self.machines[to].core.is_none() {
            return;
        }
        let passed = if self.liars.contains_key(&to) {
            self.with_liar(to, |liar, stage| liar.hears(stage, frame.from, frame.lane, &frame.bytes))
        } else {
            Some(true)
        };
        if passed == Some(false) {
            return;
        }
        let verdict: Verdict = self.checks.check(frame.from, frame.lane, &frame.bytes);
        match verdict {
            Ok(input) => {
                if self.is_honest(to) {
                    self.reach.heard(&input);
                }
                self.input(to, Input::Peer { from: frame.from, frame: input });
            }
            Err(why) => {
                if self.is_honest(to) {
                    self.reach.refused(&why);
                }
                if frame.honest {
                    self.observe(to, &Observed::Refused { from: frame.from, why: &why });
                }
            }
        }
    }

    /// Clients act.
    pub(super) fn load(&mut self, burst: bool) {
        if self.healed.is_some() {
            return;
        }
        let submission = if burst {
            self.clients.burst(self.now, self.scenario.load.burst)
        } else {
            self.clients.act(self.now)
        };
        let mut sound = Vec::new();
        for transaction in submission.transactions {
            match transaction {
                Ok(transaction) => sound.push(transaction),
                Err(_) => self.reach.hit("client refused: does not verify"),
            }
        }
        for machine in submission.to {
            self.submit(machine, sound.clone());
        }
    }

    pub(super) fn submit(
        &mut self,
        machine: usize,
        transactions: Vec<quorate_types::transaction::VerifiedTransaction>,
    ) {
        if transactions.is_empty() {
            return;
        }
        self.tickets += 1;
        let ticket = quorate_node::core::Ticket(self.tickets);
        let ids: Vec<TransactionId> = transactions.iter().map(|transaction| transaction.id()).collect();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0.0).collect();
        let name = self.name(machine);
        self.transcript.note(self.now, &bytes, || format!("clients submit {} to {name}: {ids:?}", ids.len()));
        self.input(machine, Input::Submit { ticket, transactions });
    }

    /// Tells a machine of a connection, or of its end, and how far those are that it is connected to.
    pub(super) fn tell_connection(&mut self, machine: usize, peer: usize, up: bool) {
        let validator = index(self.machines[peer].identity);
        if up {
            self.machines[machine].connected.insert(peer);
            self.input(machine, Input::PeerUp(validator));
        } else {
            self.machines[machine].connected.remove(&peer);
            self.input(machine, Input::PeerDown(validator));
        }
        let times = vec![self.network.round_trip(); self.machines[machine].connected.len()];
        self.input(machine, Input::RoundTrips(times));
    }
}

/// The class in which the daemon queues an input.
fn class_of(input: &Input) -> Class {
    match input {
        Input::Submit { .. } => Class::Clients,
        Input::Peer { frame, .. } => match frame {
            PeerInput::Consensus(_) => Class::Votes,
            PeerInput::Transactions { .. } | PeerInput::Announce(_) | PeerInput::Pull(_) => Class::Gossip,
            PeerInput::FetchProposal(_)
            | PeerInput::Proposal { .. }
            | PeerInput::FetchBlocks { .. }
            | PeerInput::Blocks(_) => Class::Sync,
        },
        Input::PeerUp(_) | Input::PeerDown(_) | Input::RoundTrips(_) | Input::Tick | Input::Persisted(_) => {
            Class::Votes
        }
    }
}

fn admission(verdict: &Result<(), SubmitError>) -> &'static str {
    match verdict {
        Ok(()) => "submitted: taken",
        Err(SubmitError::Refused(Refusal::AlreadyCommitted)) => "submitted: already committed",
        Err(SubmitError::Refused(Refusal::Expired { .. })) => "submitted: expired",
        Err(SubmitError::Refused(Refusal::UnknownSender)) => "submitted: not a member",
        Err(SubmitError::Refused(Refusal::TooFarAhead { .. })) => "submitted: expires too late",
        Err(SubmitError::Refused(_)) => "submitted: refused otherwise",
        Err(SubmitError::Full(text)) if text.contains("quota") => "submitted: member full",
        Err(SubmitError::Full(_)) => "submitted: node full",
        Err(SubmitError::Unavailable(_)) => "submitted: unavailable",
        Err(SubmitError::Invalid(_) | SubmitError::Expired) => "submitted: refused otherwise",
    }
}

/// The kind of a message that can be muted, as [`Mute::KINDS`] counts them,
/// and its height.
fn kind_and_height(message: &Message) -> Option<(usize, Option<u64>)> {
    match message {
        Message::PrePrepare(m) => Some((0, Some(m.statement.header.height.0))),
        Message::Prepare(m) => Some((1, Some(m.statement.height.0))),
        Message::Commit(m) => Some((2, Some(m.statement.height.0))),
        Message::ViewChange(_) => Some((3, None)),
        Message::NewView(_) => Some((4, None)),
        Message::Status(_) => None,
    }
}
