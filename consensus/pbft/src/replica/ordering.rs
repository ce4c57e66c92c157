//! Proposals, votes and commits within a view.

use super::{Promise, Rejection, Replica, Slot};
use crate::message::{Hashed, Message, PrePrepare, Signed, VerifiedMessage};
use crate::output::{Output, Record, To};
use crate::slot::Accepted;
use quorate_types::block::Header;
use quorate_types::certificate::{Certificate, Commit, Prepare, PreparedCertificate};
use quorate_types::hash::{BlockHash, ResultHash, TransactionId};
use quorate_types::ids::{Height, View};
use std::sync::Arc;

impl Replica {
    /// The last height of this view's term.
    fn term_end(&self) -> Height {
        self.plan.base_height().plus(self.config.term_blocks)
    }

    /// Takes a proposal or vote.
    pub(super) fn on_ordering(&mut self, height: Height, message: VerifiedMessage) {
        self.note_reached(message.signer(), message.view());
        let is_commit = matches!(message.message(), Message::Commit(_));
        if message.view() > self.view || (message.view() == self.view && !self.active) {
            self.future.hold(message);
            return;
        }
        // Of a view left behind, Commits still complete certificates; nothing else counts.
        let counts = message.view() == self.slots_view && (self.active || is_commit);
        // Twice the window: a peer may be a window ahead, and what it says need not be said again.
        let in_reach =
            height > self.committed.height && height <= self.committed.height.plus(2 * self.window());
        if !counts || !in_reach {
            return;
        }
        let slot = self.slots.entry(height).or_default();
        if let Some(first) = slot.record(&message) {
            self.accuse(&first, &message);
        }
    }

    /// Does all that has become possible. Called after every event; costs a walk over the window.
    pub(super) fn advance(&mut self) {
        if self.halted.is_some() {
            return;
        }
        loop {
            let before = (self.committed.height, self.may_vote());
            self.accept();
            self.vote_prepare();
            self.vote_commit();
            self.commit();
            self.check_results();
            self.learn();
            if (self.committed.height, self.may_vote()) == before || self.halted.is_some() {
                break;
            }
        }
        if self.active && self.suspicion.is_slow() {
            self.suspect("its proposals come late, again and again".into());
        }
        if self.active && self.may_vote() && self.committed.height >= self.term_end() {
            self.leave_view(self.view.next(), "end of the term".into());
        }
        self.notice_waiting();
    }

    /// The block at `height` in this view's chain, if it is committed or accepted here.
    fn chain_at(&self, height: Height) -> Option<BlockHash> {
        if height == self.committed.height {
            return Some(self.committed.block);
        }
        self.slots.get(&height)?.accepted.as_ref().map(|accepted| accepted.block.hash)
    }

    /// Accepts, from the committed block upward, what the plan or the leader puts there.
    fn accept(&mut self) {
        if !self.active || self.committed.height < self.plan.base_height() {
            return;
        }
        for above in 1..=self.window() {
            let height = self.committed.height.plus(above);
            let Some(parent) = height.previous().and_then(|below| self.chain_at(below)) else { return };
            let (term_end, now) = (self.term_end(), self.now);
            let leader = self.leader();
            let slot = self.slots.entry(height).or_default();
            if slot.accepted.is_some() {
                continue;
            }
            let (block, ids, reproposal) = if let Some(reproposal) = self.plan.at(height) {
                (reproposal.clone(), None, true)
            } else if let Some(Message::PrePrepare(offer)) =
                slot.offered.as_ref().map(VerifiedMessage::message)
            {
                let PrePrepare { header, ids, .. } = &offer.statement;
                (Hashed::new(header.clone()), Some(Arc::<[TransactionId]>::from(ids.as_slice())), false)
            } else {
                return;
            };
            if block.header.parent != parent {
                // Of a re-proposal too: a leader that signs two NewViews can have another chain
                // committed in this very view than the one it gave to this replica.
                self.suspect(format!("its proposal at height {height} extends another block"));
                return;
            }
            if !reproposal && height > term_end {
                self.suspect(format!("its proposal at height {height} is beyond its term"));
                return;
            }
            // A vote already cast in this view (before a restart) binds what may be accepted.
            if slot.voted_prepare.is_some_and(|voted| voted != block.hash) {
                return;
            }
            let mut sources = slot.holders(block.hash);
            sources.insert(0, leader);
            slot.accepted = Some(Accepted { block: block.clone(), ids: ids.clone(), at: now, result: None });
            if !reproposal {
                let full = self.is_full(ids.as_ref().map_or(0, |ids| ids.len()));
                self.suspicion.proposed(self.now, full);
            }
            self.outputs.push_back(Output::Execute {
                block: block.hash,
                header: block.header,
                ids,
                sources,
                reproposal,
            });
        }
    }

    fn is_full(&self, transactions: usize) -> bool {
        transactions >= self.config.full_block_transactions
    }

    /// A block was executed, or is refused.
    pub(super) fn on_executed(&mut self, block: BlockHash, verdict: Result<ResultHash, Rejection>) {
        let slot = self.slots.iter_mut().find_map(|(height, slot)| {
            let accepted = slot.accepted.as_mut().filter(|accepted| accepted.block.hash == block)?;
            Some((*height, slot.voted_commit, accepted))
        });
        // Not in this view any more: nothing waits for it.
        let Some((height, slot_commit, accepted)) = slot else { return };
        match verdict {
            Ok(result) => {
                assert!(
                    accepted.result.is_none_or(|before| before == result),
                    "executing a block twice gives one result"
                );
                accepted.result = Some(result);
                let promised = slot_commit.filter(|commit| commit.block == block);
                if promised.is_some_and(|commit| commit.result != result) {
                    self.halt(diverged(height, block));
                }
            }
            Err(rejection) if accepted.block.header.view == self.slots_view => {
                self.suspect(format!("its proposal at height {height} is invalid: {rejection}"));
            }
            // f+1 honest validators voted for a re-proposed block: the odd one out is this replica.
            Err(rejection) => self.halt(format!(
                "the block {block} at height {height}, which a quorum prepared, is invalid here: {rejection}"
            )),
        }
    }

    /// Votes Prepare on every accepted block that was executed, from the committed one upward.
    fn vote_prepare(&mut self) {
        if !self.active || !self.may_vote() {
            return;
        }
        for height in self.heights_in_window() {
            let Some(slot) = self.slots.get(&height) else { return };
            let Some(accepted) = &slot.accepted else { return };
            if accepted.result.is_none() {
                return;
            }
            if slot.voted_prepare.is_some() {
                continue;
            }
            let (block, ids) = (accepted.block.clone(), accepted.ids.clone().unwrap_or_default());
            self.outputs.push_back(Output::Persist(Record::Prepare {
                view: self.view,
                header: block.header,
                block: block.hash,
                ids,
            }));
            self.cast_prepare(height, block.hash);
        }
    }

    /// Signs, records and sends a Prepare whose record is durable by the time it leaves.
    pub(super) fn cast_prepare(&mut self, height: Height, block: BlockHash) {
        let prepare = Prepare { view: self.view, height, block };
        let vote = Signed::new(prepare, &self.config.committee.chain, self.config.me, &self.config.key);
        let vote = VerifiedMessage::own(Message::Prepare(vote), Vec::new());
        let slot = self.slots.entry(height).or_default();
        assert!(
            slot.voted_prepare.is_none_or(|voted| voted == block),
            "one Prepare for each view and height"
        );
        slot.voted_prepare = Some(block);
        assert!(slot.record(&vote).is_none(), "one Prepare for each view and height");
        self.send(To::All, vote);
    }

    /// Finds what is prepared, and votes Commit on it.
    fn vote_commit(&mut self) {
        let quorum = self.quorum();
        for height in self.heights_in_window() {
            let Some(slot) = self.slots.get(&height) else { return };
            let Some(accepted) = &slot.accepted else { return };
            let Some(result) = accepted.result else { return };
            let signatures = slot.prepares_on(accepted.block.hash);
            // The walk starts above the committed block and stops at the first unprepared one, so the
            // parent is committed, or prepared in this view.
            if signatures.len() < quorum {
                return;
            }
            if slot.voted_commit.is_some() || !self.active || !self.may_vote() {
                continue;
            }
            let commit = Commit { view: self.view, height, block: accepted.block.hash, result };
            let prepared = PreparedCertificate {
                header: accepted.block.header.clone(),
                view: self.view,
                signatures: signatures.into_iter().take(quorum).collect(),
            };
            self.outputs.push_back(Output::Persist(Record::Commit { commit, prepared: prepared.clone() }));
            self.promises.insert(height, Promise { commit, prepared });
            self.cast_commit(commit);
        }
    }

    /// Signs, records and sends a Commit whose record is durable by the time it leaves.
    pub(super) fn cast_commit(&mut self, commit: Commit) {
        assert!(
            commit.height <= self.committed.height.plus(self.window()),
            "a Commit above the window would be cut from the next ViewChange"
        );
        let vote = Signed::new(commit, &self.config.committee.chain, self.config.me, &self.config.key);
        let vote = VerifiedMessage::own(Message::Commit(vote), Vec::new());
        let slot = self.slots.entry(commit.height).or_default();
        assert!(slot.voted_commit.is_none_or(|voted| voted == commit), "one Commit for each view and height");
        slot.voted_commit = Some(commit);
        assert!(slot.record(&vote).is_none(), "one Commit for each view and height");
        self.send(To::All, vote);
    }

    /// Commits what is certified: block by block where each has its own certificate, else through a
    /// certified descendant.
    fn commit(&mut self) {
        let quorum = self.quorum();
        let certified: Vec<Commit> = self.slots.values().filter_map(|slot| slot.certified(quorum)).collect();
        for commit in certified {
            if commit.height <= self.committed.height {
                continue;
            }
            let Some(blocks) = self.executed_chain_to(commit.height, commit.block) else {
                if self.chain_at(commit.height) == Some(commit.block) {
                    // Being executed here: fetched only if that leads nowhere.
                    self.wanted = self.wanted.max(commit.height);
                } else {
                    self.want(commit.height);
                }
                continue;
            };
            let slot = &self.slots[&commit.height];
            let own = slot.accepted.as_ref().and_then(|accepted| accepted.result);
            if own != Some(commit.result) {
                self.halt(diverged(commit.height, commit.block));
                return;
            }
            let signatures = slot.commits_on(&commit).into_iter().take(quorum).collect();
            let certificate = Certificate { commit, signatures };
            self.outputs.push_back(Output::Commit { blocks, certificate: certificate.clone() });
            self.move_committed(certificate);
        }
    }

    /// The executed blocks from the committed one (excluded) to `block`, if all are here.
    fn executed_chain_to(&self, height: Height, block: BlockHash) -> Option<Vec<BlockHash>> {
        let mut blocks = Vec::new();
        for (at, slot) in self.slots.range(self.committed.height.next()..=height) {
            let accepted = slot.accepted.as_ref()?;
            accepted.result?;
            if at.0 != self.committed.height.0 + 1 + blocks.len() as u64 {
                return None;
            }
            blocks.push(accepted.block.hash);
        }
        (blocks.last() == Some(&block)).then_some(blocks)
    }

    /// Two results for one block, each said by someone honest: nobody may go on.
    fn check_results(&mut self) {
        let odd = self.slots.iter().find_map(|(height, slot)| {
            let accepted = slot.accepted.as_ref()?;
            let others = slot.other_results(accepted.block.hash, accepted.result?);
            (others >= self.one_honest()).then_some((*height, accepted.block.hash))
        });
        if let Some((height, block)) = odd {
            self.halt(diverged(height, block));
        }
    }

    /// The certified block becomes the committed one; what lies at or below it is settled.
    pub(super) fn move_committed(&mut self, certificate: Certificate) {
        let Commit { height, block, result, .. } = certificate.commit;
        self.committed = super::Committed { height, block, result, certificate: Some(certificate) };
        let above = self.slots.split_off(&height.next());
        for (at, slot) in std::mem::replace(&mut self.slots, above) {
            self.settled.extend(slot.commit_of(self.config.me).map(|vote| (at, vote.clone())));
        }
        while self.settled.len() as u64 > self.window() {
            self.settled.pop_first();
        }
        self.promises = self.promises.split_off(&height.next());
        // What was accepted above extends the block that stood here in this view. If another one was
        // fetched, it never can commit; votes cast on it still bind.
        let mut parent = block;
        for slot in self.slots.values_mut() {
            match &slot.accepted {
                Some(accepted) if accepted.block.header.parent == parent => parent = accepted.block.hash,
                Some(_) => slot.accepted = None,
                None => break,
            }
        }
        self.progressed();
    }

    fn heights_in_window(&self) -> impl Iterator<Item = Height> + use<> {
        let committed = self.committed.height;
        (1..=self.window()).map(move |above| committed.plus(above))
    }

    /// Where this replica may propose, if it leads and there is room.
    pub fn slot(&self) -> Option<Slot> {
        let leads = self.active && self.may_vote() && self.i_lead();
        if !leads || self.committed.height < self.plan.base_height() {
            return None;
        }
        let mut parent = (self.committed.height, self.committed.block);
        for (height, slot) in &self.slots {
            match &slot.accepted {
                Some(accepted) if *height == parent.0.next() => {
                    accepted.result?;
                    parent = (*height, accepted.block.hash);
                }
                _ => break,
            }
        }
        let height = parent.0.next();
        let reproposed = self.plan.reproposals.last().is_none_or(|last| last.header.height < height);
        let in_window = height <= self.committed.height.plus(self.window()) && height <= self.term_end();
        let free = self.slots.get(&height).is_none_or(|slot| slot.voted_prepare.is_none());
        (reproposed && in_window && free).then_some(Slot {
            view: self.view,
            height,
            parent: parent.1,
            in_flight: parent.0.0 - self.committed.height.0,
        })
    }

    /// Proposes a block, executed by the driver, at [`Replica::slot`].
    ///
    /// # Panics
    /// If the header does not fit the slot: the driver's mistake.
    pub fn propose(
        &mut self,
        now: std::time::Duration,
        header: Header,
        ids: Vec<TransactionId>,
        result: ResultHash,
    ) {
        self.now = now;
        let slot = self.slot().expect("proposed at a free slot");
        let fits = header.height == slot.height && header.parent == slot.parent && header.view == slot.view;
        assert!(fits && header.proposer == self.config.me, "the proposal fits the slot");
        let block = Hashed::new(header);
        let ids: Arc<[TransactionId]> = ids.into();
        let height = slot.height;
        let offer = self.sign_proposal(self.view, &block.header, &ids);
        let full = self.is_full(ids.len());
        let slot = self.slots.entry(height).or_default();
        slot.offered = Some(offer.clone());
        slot.accepted =
            Some(Accepted { block: block.clone(), ids: Some(ids.clone()), at: now, result: Some(result) });
        self.suspicion.proposed(now, full);
        // The Prepare is durable before the proposal leaves: a leader that restarts repeats it.
        self.outputs.push_back(Output::Persist(Record::Prepare {
            view: self.view,
            header: block.header,
            block: block.hash,
            ids,
        }));
        self.send(To::All, offer);
        self.cast_prepare(height, block.hash);
        self.advance();
    }

    /// This replica's proposal; the same block always gives the same bytes.
    pub(super) fn sign_proposal(
        &self,
        view: View,
        header: &Header,
        ids: &[TransactionId],
    ) -> VerifiedMessage {
        let statement = PrePrepare { view, header: header.clone(), ids: ids.to_vec() };
        let signed = Signed::new(statement, &self.config.committee.chain, self.config.me, &self.config.key);
        VerifiedMessage::own(Message::PrePrepare(Box::new(signed)), Vec::new())
    }
}

fn diverged(height: Height, block: BlockHash) -> String {
    format!(
        "executing block {block} at height {height} gave another result here than at other validators; \
         this node must not go on: compare its software version, then rebuild its directory from its peers"
    )
}
