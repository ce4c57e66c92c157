//! Beacons, and sending again what a stalled peer lacks. Any message may be lost.

use super::{ANSWER_INTERVAL, BEACON_INTERVAL, Replica};
use crate::learning::{Claim, Learning};
use crate::message::{Message, Phase, Signed, Status, VerifiedMessage};
use crate::output::{Output, To};
use crate::slot::Slot as HeightSlot;
use quorate_types::ids::{Height, ValidatorIndex};
use std::time::Duration;

impl Replica {
    /// Whether this replica waits for something that others may have sent.
    fn waits(&self) -> bool {
        let in_flight = self.slots.values().any(HeightSlot::is_in_flight);
        !self.active || in_flight || self.is_behind() || self.learning != Learning::No
    }

    /// Something moved, or began: give it time before asking for what may have been lost.
    pub(super) fn stir(&mut self) {
        self.ask_from = self.now;
        self.ask_pause = self.config.view_timeout / 4;
    }

    /// Called after every event: waiting counts from when it began.
    pub(super) fn notice_waiting(&mut self) {
        let waits = self.waits();
        if waits && !self.waited {
            self.stir();
        }
        self.waited = waits;
    }

    /// A block is known to be final: fetch up to there, unless that was said already.
    pub(super) fn want(&mut self, height: Height) {
        if height > self.wanted.max(self.committed.height) {
            self.wanted = height;
            self.outputs.push_back(Output::CatchUp { height });
        }
    }

    fn ask_deadline(&self) -> Option<Duration> {
        self.waits().then(|| self.ask_from.saturating_add(self.ask_pause))
    }

    /// When the next beacon is due.
    pub(super) fn beacon_deadline(&self) -> Duration {
        self.ask_deadline().map_or(self.beacon_at, |ask| ask.min(self.beacon_at))
    }

    /// Says where this replica stands, when that is due; asks for resending if nothing moves.
    pub(super) fn beacon(&mut self) {
        if self.now < self.beacon_deadline() {
            return;
        }
        let stalled = self.ask_deadline().is_some_and(|ask| ask <= self.now);
        self.send_status(To::All, stalled);
        self.beacon_at = self.now.saturating_add(BEACON_INTERVAL);
        if !stalled {
            return;
        }
        self.ask_from = self.now;
        self.ask_pause = (self.ask_pause * 2).min(BEACON_INTERVAL);
        if let Some(change) = self.own_view_change.clone() {
            // Byte for byte the same, until the view moves.
            self.send(To::All, change);
        }
        if self.wanted > self.committed.height {
            self.outputs.push_back(Output::CatchUp { height: self.wanted });
        }
    }

    /// A connection to a peer is up: tell it where this replica stands.
    pub fn greet(&mut self, now: Duration, peer: ValidatorIndex) {
        self.now = now;
        if self.halted.is_none() {
            let stalled = self.waits();
            self.send_status(To::One(peer), stalled);
        }
    }

    fn send_status(&mut self, to: To, stalled: bool) {
        let status = self.status(stalled);
        let signed = Signed::new(status, &self.config.committee.chain, self.config.me, &self.config.key);
        let message = VerifiedMessage::own(Message::Status(signed), Vec::new());
        self.send_at_once(to, message);
    }

    /// Whether a peer was answered a moment ago.
    fn was_answered(&self, peer: ValidatorIndex) -> bool {
        self.answered.get(&peer).is_some_and(|last| self.now.saturating_sub(*last) < ANSWER_INTERVAL)
    }

    /// Sends a peer what `what` picks, unless it was answered a moment ago.
    pub(super) fn answer(&mut self, peer: ValidatorIndex, what: impl Fn(&Replica) -> Vec<VerifiedMessage>) {
        if self.was_answered(peer) {
            return;
        }
        let messages = what(self);
        if messages.is_empty() {
            return;
        }
        self.answered.insert(peer, self.now);
        for message in messages {
            self.send(To::One(peer), message);
        }
    }

    /// Takes a beacon.
    pub(super) fn on_status(&mut self, peer: ValidatorIndex, status: Status) {
        if status.phase != Phase::Learning {
            self.note_reached(peer, status.view);
        }
        // What it said once since this replica started remains true of the time of that start.
        let founding = status.founding || self.claims.get(&peer).is_some_and(|claim| claim.founding);
        let claim = Claim { view: status.view, height: status.height, founding };
        self.claims.insert(peer, claim);
        self.learn();
        if self.is_behind()
            && let Some(height) = self.height_of_one_honest()
        {
            self.want(height);
        }
        // Beacons cost whoever sends them nothing, and each answer a signature.
        if !status.stalled || self.was_answered(peer) {
            return;
        }
        let is_behind = status.height < self.committed.height;
        // A leader whose proposal reached nobody stalls alone: the others wait for nothing until they hear of it. Who
        // waits asks for itself, and need not be made to.
        let has_more =
            status.view == self.view && !self.waits() && status.proposals > self.has_proposals_up_to();
        if is_behind || has_more {
            // It learns from this how far behind it is, and fetches; or what is lacking here, and sends it again.
            self.send_status(To::One(peer), has_more);
        }
        let behind = status.view < self.view;
        // A replica that learns does not say whether its view has begun for it: it gets both.
        let opening = behind || (status.view == self.view && status.phase != Phase::Active);
        let votes = status.view == self.view && status.phase != Phase::Changing && self.active;
        self.answer(peer, |replica| {
            let mut messages = Vec::new();
            if opening {
                let opened = replica.new_view.clone().filter(|_| replica.active);
                messages.extend(opened.or_else(|| replica.own_view_change.clone()));
            }
            if votes {
                messages.extend(replica.messages_above(peer, &status));
            }
            messages
        });
        if is_behind || has_more {
            self.answered.insert(peer, self.now);
        }
    }

    /// What a peer that stands there may lack above its height: proposals, and this replica's votes, at most three
    /// for each of the window, and its Commits on the blocks just committed.
    fn messages_above(&self, peer: ValidatorIndex, status: &Status) -> Vec<VerifiedMessage> {
        let height = status.height;
        let slots =
            self.slots.range(height.next()..).take(usize::try_from(self.window()).unwrap_or(usize::MAX));
        let settled = self.settled.range(height.next()..).map(|(_, vote)| vote);
        let in_flight = slots.flat_map(|(height, slot)| {
            // Proposals are long: where blocks take longer than validators wait before they ask, each would be
            // sent by all to all. But who voted on another one hears of this one, and whom to accuse.
            let lacks = *height > status.proposals || slot.has_other_prepare(peer);
            slot.offered.iter().filter(move |_| lacks).chain(slot.votes_of(self.config.me))
        });
        settled.chain(in_flight).cloned().collect()
    }

    /// Up to where this replica needs no proposals: what it has committed, and above it what it has of its view.
    pub(super) fn has_proposals_up_to(&self) -> Height {
        let mut height = self.committed.height;
        let is_here = |slot: &HeightSlot| slot.offered.is_some() || slot.accepted.is_some();
        while self.active && self.slots.get(&height.next()).is_some_and(is_here) {
            height = height.next();
        }
        height
    }

    /// The highest height that f+1 validators claim to have reached: at least one honest one has.
    fn height_of_one_honest(&self) -> Option<Height> {
        let mut heights: Vec<Height> = self.claims.values().map(|claim| claim.height).collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        heights.get(self.one_honest() - 1).copied()
    }

    /// Looks whether a replica without memory may vote.
    pub(super) fn learn(&mut self) {
        if self.learning == Learning::No {
            return;
        }
        let (quorum, window) = (self.quorum(), self.window());
        self.learning.hear(&self.claims, quorum, window);
        let over = self.learning.reach(self.committed.height, self.view);
        if over || self.learning == Learning::No {
            self.suspicion.begin(self.now);
            self.last_progress = self.now;
        }
    }
}
