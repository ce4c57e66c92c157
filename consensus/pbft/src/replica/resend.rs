//! Beacons, and sending again what a stalled peer lacks. Any message may be lost.

use super::{ANSWER_INTERVAL, BEACON_INTERVAL, Replica};
use crate::learning::{Claim, Learning};
use crate::message::{Message, Phase, Signed, Status, VerifiedMessage};
use crate::output::{Output, To};
use quorate_types::ids::{Height, ValidatorIndex};
use std::time::Duration;

impl Replica {
    /// Whether this replica waits for something that others may have sent.
    fn waits(&self) -> bool {
        let in_flight = self.slots.values().any(|slot| slot.accepted.is_some() || slot.offered.is_some());
        !self.active || in_flight || self.is_behind() || self.learning != Learning::No
    }

    /// Beacons come faster from now on.
    pub(super) fn stalled(&mut self) {
        self.beacon_pause = self.config.view_timeout / 4;
        self.beacon_at = self.beacon_at.min(self.now.saturating_add(self.beacon_pause));
    }

    /// Says where this replica stands, when that is due; asks for resending if nothing moves.
    pub(super) fn beacon(&mut self) {
        if self.now < self.beacon_at {
            // Work began since the last beacon: do not wait a whole pause to ask for what was lost.
            let soon = self.last_progress.max(self.now).saturating_add(self.config.view_timeout / 2);
            if self.waits() && self.beacon_pause >= BEACON_INTERVAL && self.beacon_at > soon {
                self.stalled();
            }
            return;
        }
        let waits = self.waits();
        let quiet = self.now.saturating_sub(self.last_progress) >= self.config.view_timeout / 4;
        let stalled = waits && quiet;
        self.send_status(To::All, stalled);
        if stalled && let Some(change) = self.own_view_change.clone() {
            // Byte for byte the same, until the view moves.
            self.send(To::All, change);
        }
        self.beacon_pause =
            if stalled { (self.beacon_pause * 2).min(BEACON_INTERVAL) } else { BEACON_INTERVAL };
        self.beacon_at = self.now.saturating_add(self.beacon_pause);
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

    /// Sends a peer what `what` picks, unless it was answered a moment ago.
    pub(super) fn answer(&mut self, peer: ValidatorIndex, what: impl Fn(&Replica) -> Vec<VerifiedMessage>) {
        let last = self.answered.get(&peer);
        if last.is_some_and(|last| self.now.saturating_sub(*last) < ANSWER_INTERVAL) {
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
        let claim = Claim { view: status.view, height: status.height, founding: status.founding };
        self.claims.insert(peer, claim);
        self.learn();
        if self.is_behind()
            && let Some(height) = self.height_of_one_honest()
        {
            self.outputs.push_back(Output::CatchUp { height });
        }
        if !status.stalled {
            return;
        }
        if status.height < self.committed.height {
            // It learns from this how far behind it is, and fetches.
            self.send_status(To::One(peer), false);
        }
        if status.view < self.view || (status.view == self.view && status.phase == Phase::Changing) {
            self.answer(peer, |replica| match (&replica.new_view, &replica.own_view_change) {
                (Some(new_view), _) if replica.active => vec![new_view.clone()],
                (_, Some(change)) => vec![change.clone()],
                _ => Vec::new(),
            });
        } else if status.view == self.view && self.active {
            self.answer(peer, |replica| replica.messages_above(status.height));
        }
    }

    /// Proposals, and this replica's votes, above a height: at most three for each of the window.
    fn messages_above(&self, height: Height) -> Vec<VerifiedMessage> {
        let slots =
            self.slots.range(height.next()..).take(usize::try_from(self.window()).unwrap_or(usize::MAX));
        slots
            .flat_map(|(_, slot)| slot.offered.iter().chain(slot.votes_of(self.config.me)))
            .cloned()
            .collect()
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
            self.last_progress = self.now.max(Duration::ZERO);
        }
    }
}
