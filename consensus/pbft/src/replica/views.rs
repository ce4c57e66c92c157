//! Leaving a view, joining one, opening one.

use super::{Replica, SILENCE};
use crate::message::{Message, NewView, Signed, VerifiedMessage, ViewChange};
use crate::output::{Output, Record, To};
use crate::view_change::{Plan, plan};
use quorate_types::certificate::Certificate;
use quorate_types::ids::{ValidatorIndex, View};
use std::time::Duration;

impl Replica {
    /// A correct validator has left every view below `view`.
    pub(super) fn note_reached(&mut self, validator: ValidatorIndex, view: View) {
        let reached = self.reached.entry(validator).or_default();
        *reached = view.max(*reached);
    }

    /// Those who certified a block had reached its view.
    pub(super) fn note_certificate(&mut self, certificate: &Certificate) {
        for (signer, _) in &certificate.signatures {
            self.note_reached(*signer, certificate.commit.view);
        }
    }

    /// Joins the highest view that f+1 distinct validators have reached or passed: one of them is
    /// honest and had its reasons. One step, however far ahead.
    pub(super) fn join(&mut self) {
        if self.halted.is_some() || !self.may_vote() {
            return;
        }
        let mut views: Vec<View> = self.reached.values().copied().collect();
        views.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(view) = views.get(self.one_honest() - 1).copied().filter(|view| *view > self.view) {
            self.leave_view(view, format!("{} validators have reached it", self.one_honest()));
        }
    }

    /// Suspects the leader of this view, unless that is this replica: where nothing commits, the others leave,
    /// and it goes with them. Its own clock runs ahead of theirs, for it began the view before they heard of
    /// it; a leader that went by it would leave them waiting for one who is gone.
    pub(super) fn suspect(&mut self, why: String) {
        if self.watches_leader() {
            self.leave_view(self.view.next(), format!("validator {} is suspected: {why}", self.leader()));
        }
    }

    /// Stops voting below `view` and says so, with all that may have been decided.
    pub(super) fn leave_view(&mut self, view: View, why: String) {
        assert!(view > self.view, "views only grow");
        if !self.may_vote() {
            return;
        }
        if !self.committed_in_view {
            self.timeout.view_failed(self.now);
        }
        // Everything above the certificate on which this replica voted Commit. Leaving one out, or
        // cutting the list, could lose a committed block.
        let prepared: Vec<_> = self.promises.values().map(|promise| promise.prepared.clone()).collect();
        assert!(
            prepared.len() as u64 <= self.window(),
            "Commits are within the window above the committed block"
        );
        let change = ViewChange { view, certificate: self.committed.certificate.clone(), prepared };
        let signed = Signed::new(change, &self.config.committee.chain, self.config.me, &self.config.key);
        let message = VerifiedMessage::own(Message::ViewChange(Box::new(signed)), Vec::new());

        self.view = view;
        self.active = false;
        self.committed_in_view = false;
        self.quorum_since = None;
        self.new_view = None;
        self.stir();
        self.outputs
            .push_back(Output::Persist(Record::ViewChange { view, message: message.bytes().clone() }));
        self.send(To::All, message.clone());
        self.own_view_change = Some(message.clone());
        self.view_changes.insert(self.config.me, message);
        self.note_reached(self.config.me, view);
        self.outputs.push_back(Output::View { view, active: false, why });
        self.count_view_changes();
    }

    /// Takes a ViewChange.
    pub(super) fn on_view_change(&mut self, message: VerifiedMessage) {
        let (signer, view) = (message.signer(), message.view());
        self.note_reached(signer, view);
        if let Message::ViewChange(signed) = message.message()
            && let Some(certificate) = &signed.statement.certificate
        {
            self.note_final(certificate);
        }
        match self.view_changes.get(&signer) {
            Some(held) if held.view() > view => {}
            Some(held) if held.view() == view => {
                let held = held.clone();
                self.accuse(&held, &message);
            }
            _ => {
                self.view_changes.insert(signer, message);
                if self.active && view <= self.view {
                    // It is late: the view it asks for, or a later one, has begun. Said once: anyone can repeat
                    // what another has signed, and to the signer's own beacons the answer is the same.
                    self.answer(signer, |replica| replica.new_view.clone().into_iter().collect());
                }
            }
        }
        self.count_view_changes();
    }

    /// Starts the view's timer at a quorum of ViewChanges; the leader opens the view.
    ///
    /// ViewChanges for later views start the timer too: each replica sends one view's only, so that
    /// were two at this view and one ahead, none of them would ever count a quorum for its own view.
    fn count_view_changes(&mut self) {
        if self.active {
            return;
        }
        if self.view_changes.values().filter(|change| change.view() >= self.view).count() >= self.quorum() {
            self.quorum_since.get_or_insert(self.now);
        }
        let changes: Vec<VerifiedMessage> =
            self.view_changes.values().filter(|change| change.view() == self.view).cloned().collect();
        if changes.len() < self.quorum() {
            return;
        }
        if self.i_lead() && self.may_vote() && self.own_view_change.is_some() {
            self.open_view(changes);
        }
    }

    /// As the leader: opens the view with a quorum of ViewChanges, its own among them.
    fn open_view(&mut self, changes: Vec<VerifiedMessage>) {
        let (own, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|c| c.signer() == self.config.me);
        let mut chosen: Vec<VerifiedMessage> = own.into_iter().chain(others).take(self.quorum()).collect();
        chosen.sort_by_key(VerifiedMessage::signer);
        let discarded = chosen.iter().flat_map(|change| change.discarded().iter().copied()).collect();
        let view_changes = chosen
            .iter()
            .filter_map(|change| match change.message() {
                Message::ViewChange(signed) => Some(signed.as_ref().clone()),
                _ => None,
            })
            .collect();
        let new_view = NewView { view: self.view, view_changes };
        let signed = Signed::new(new_view, &self.config.committee.chain, self.config.me, &self.config.key);
        let message = VerifiedMessage::own(Message::NewView(Box::new(signed)), discarded);
        // Durable before it is sent: a leader that restarts must not open its view twice.
        self.enter(message.clone());
        self.send(To::All, message);
    }

    /// Takes a NewView.
    pub(super) fn on_new_view(&mut self, message: VerifiedMessage) {
        let view = message.view();
        self.note_reached(message.signer(), view);
        if let Some(held) = self.new_view.clone().filter(|held| held.view() == view) {
            self.accuse(&held, &message);
        }
        if view < self.view || (view == self.view && self.active) {
            return;
        }
        if let Message::NewView(signed) = message.message() {
            for change in &signed.statement.view_changes {
                self.note_reached(change.signer, view);
                self.compare_view_change(change);
            }
        }
        self.enter(message);
    }

    /// Looks whether a signer told the leader another story than this replica.
    fn compare_view_change(&mut self, change: &Signed<ViewChange>) {
        let Some(held) = self.view_changes.get(&change.signer).cloned() else { return };
        if let Message::ViewChange(other) = held.message()
            && other.statement.view == change.statement.view
            && other.statement != change.statement
        {
            let change = VerifiedMessage::own(Message::ViewChange(Box::new(change.clone())), Vec::new());
            self.accuse(&held, &change);
        }
    }

    /// Enters the view of a valid NewView.
    fn enter(&mut self, message: VerifiedMessage) {
        let view = message.view();
        assert!(view > self.view || (view == self.view && !self.active), "a view is entered once");
        // A view joined straight through its NewView: the ones below are left all the same.
        if view > self.view && !self.committed_in_view {
            self.timeout.view_failed(self.now);
        }
        self.outputs.push_back(Output::Persist(Record::NewView { view, message: message.bytes().clone() }));
        self.begin(message);
        self.outputs.push_back(Output::View { view, active: true, why: "its leader opened it".into() });
        if let Some(certificate) = self.plan.certificate.clone() {
            self.note_final(&certificate);
        }
        for held in self.future.release(view) {
            match held.message() {
                Message::PrePrepare(m) => self.on_ordering(m.statement.header.height, held.clone()),
                Message::Prepare(m) => self.on_ordering(m.statement.height, held.clone()),
                Message::Commit(m) => self.on_ordering(m.statement.height, held.clone()),
                _ => {}
            }
        }
    }

    /// Sets the state of a view that has begun; shared with recovery.
    pub(super) fn begin(&mut self, message: VerifiedMessage) {
        self.view = message.view();
        self.active = true;
        self.plan = self.plan_of(&message);
        self.new_view = Some(message);
        self.own_view_change = None;
        self.quorum_since = None;
        self.committed_in_view = false;
        self.slots.clear();
        self.settled.clear();
        self.slots_view = self.view;
        self.last_progress = self.now;
        self.stir();
        self.suspicion.begin(self.now);
        self.view_changes.retain(|_, change| change.view() > self.view);
    }

    fn plan_of(&self, message: &VerifiedMessage) -> Plan {
        let Message::NewView(signed) = message.message() else { return Plan::genesis() };
        let changes = signed.statement.view_changes.iter().map(|c| (message, c.signer, &c.statement));
        plan(&self.config.committee.chain, self.window(), changes)
    }

    /// A certificate for a block that may not be here.
    fn note_final(&mut self, certificate: &Certificate) {
        self.note_certificate(certificate);
        self.want(certificate.commit.height);
    }

    /// A commit: the leader does its work.
    pub(super) fn progressed(&mut self) {
        self.committed_in_view = true;
        self.last_progress = self.now;
        self.stir();
        self.timeout.progress(self.now);
        self.suspicion.room(self.now);
        self.learn();
    }

    /// Whether f+1 validators claim to be further: then the lag is here, and no leader is to blame.
    pub(super) fn is_behind(&self) -> bool {
        let ahead = self.claims.values().filter(|claim| claim.height > self.committed.height).count();
        ahead >= self.one_honest()
    }

    /// Whether fewer than a quorum were heard of late: then no view could be opened either.
    fn is_cut_off(&self) -> bool {
        let silent = |at: &Duration| self.now.saturating_sub(*at) > SILENCE;
        let heard = self.heard.values().filter(|at| !silent(at)).count();
        heard + 1 < self.quorum()
    }

    fn watches_leader(&self) -> bool {
        self.active && self.may_vote() && !self.i_lead()
    }

    /// When the wait for progress will have been too long: since the oldest proposal in flight, or,
    /// with none in flight, since there has been a transaction to propose.
    pub(super) fn stall_deadline(&self) -> Option<Duration> {
        if !self.watches_leader() {
            return None;
        }
        let accepted = self.slots.values().filter_map(|slot| slot.accepted.as_ref());
        let since = match accepted.map(|accepted| accepted.at).min() {
            Some(oldest) => oldest,
            // Re-proposals count from the view's beginning, even where the base is still missing.
            None if self.committed.height < self.last_reproposal() => self.last_progress,
            None => self.suspicion.waiting_since()?,
        };
        Some(since.max(self.last_progress).saturating_add(self.timeout.current()))
    }

    fn last_reproposal(&self) -> quorate_types::ids::Height {
        self.plan.reproposals.last().map_or(self.plan.base_height(), |last| last.header.height)
    }

    /// When the wait for a NewView will have been too long.
    pub(super) fn view_deadline(&self) -> Option<Duration> {
        // Without a vote it cannot leave the view; a deadline it cannot act on would never pass.
        if self.active || !self.may_vote() {
            return None;
        }
        Some(self.quorum_since?.saturating_add(self.timeout.current()))
    }

    /// When a waiting transaction, or a slow leader, will be a reason to leave.
    pub(super) fn censorship_deadline(&self) -> Option<Duration> {
        if self.watches_leader() { self.suspicion.censored_at() } else { None }
    }

    /// Acts on what is due.
    pub(super) fn check_timers(&mut self) {
        let due = |deadline: Option<Duration>| deadline.is_some_and(|deadline| deadline <= self.now);
        let (stalled, censored, late) =
            (due(self.stall_deadline()), due(self.censorship_deadline()), due(self.view_deadline()));
        if (stalled || censored) && (self.is_behind() || self.is_cut_off()) {
            // Catching up, and reaching the others, come first; the leader gets its time again
            // afterwards. Whoever left its view alone could not vote again before the others leave it.
            self.last_progress = self.now;
            self.suspicion.begin(self.now);
        } else if stalled {
            let waited = self.timeout.current();
            if self.committed_in_view {
                self.timeout.view_stalled(self.now);
            }
            self.suspect(format!("nothing committed for {} ms", waited.as_millis()));
        } else if censored {
            self.suspect(format!("a transaction waits for {} ms", self.config.request_timeout.as_millis()));
        } else if late {
            let view = self.view;
            self.leave_view(view.next(), format!("view {view} did not begin in time"));
        }
    }
}
