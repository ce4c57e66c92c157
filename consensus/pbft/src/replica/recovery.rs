//! Starting, and starting again.

use super::{Committed, Config, Promise, Replica};
use crate::future::Future;
use crate::learning::Learning;
use crate::message::{Hashed, Message, VerifiedMessage};
use crate::output::{Output, To};
use crate::slot::Accepted;
use crate::suspicion::Suspicion;
use crate::timer::Timeout;
use crate::view_change::Plan;
use quorate_types::block::Header;
use quorate_types::certificate::{Commit, PreparedCertificate};
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Height, View};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What the records of an earlier run say.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The last committed block.
    pub committed: Committed,
    /// The last ViewChange or NewView record; `None` in view 0.
    pub view: Option<VerifiedMessage>,
    /// The last Prepare record of each height above the committed one: view, header, ids.
    pub prepares: Vec<(View, Header, Arc<[TransactionId]>)>,
    /// The last Commit record of each height above the committed one.
    pub commits: Vec<(Commit, PreparedCertificate)>,
    /// Whether votes may have been forgotten.
    pub learning: Learning,
}

impl Replica {
    /// A replica as its records left it. It repeats its votes, once they are executed again, and
    /// contradicts none.
    ///
    /// # Panics
    /// If the records contradict each other: they were written by this code, one after the other, and
    /// checked by the driver when read.
    pub fn new(config: Config, now: Duration, recovered: Recovered) -> Replica {
        let validators = config.committee.validators.len();
        assert!(config.me.as_usize() < validators, "a replica is one of the validators");
        let window = config.committee.window;
        let mut replica = Replica {
            now,
            view: View(0),
            active: true,
            plan: Plan::genesis(),
            new_view: None,
            own_view_change: None,
            slots_view: View(0),
            slots: BTreeMap::new(),
            settled: BTreeMap::new(),
            promises: BTreeMap::new(),
            future: Future::new(window),
            view_changes: BTreeMap::new(),
            reached: BTreeMap::new(),
            quorum_since: None,
            claims: BTreeMap::new(),
            learning: recovered.learning,
            timeout: Timeout::new(config.view_timeout, config.max_view_timeout),
            suspicion: Suspicion::new(config.request_timeout, config.view_timeout),
            committed_in_view: false,
            last_progress: now,
            beacon_at: now,
            ask_from: now,
            ask_pause: config.view_timeout / 4,
            waited: false,
            wanted: Height::GENESIS,
            answered: BTreeMap::new(),
            heard: BTreeMap::new(),
            accused: BTreeMap::new(),
            halted: None,
            outputs: VecDeque::new(),
            committed: recovered.committed,
            config,
        };
        replica.suspicion.begin(now);
        if let Some(certificate) = replica.committed.certificate.clone() {
            replica.note_certificate(&certificate);
        }
        match recovered.view {
            Some(message) if matches!(message.message(), Message::NewView(_)) => replica.begin(message),
            Some(message) => replica.resume_changing(message),
            None => {}
        }
        for (commit, prepared) in recovered.commits {
            if commit.height > replica.committed.height {
                replica.promises.insert(commit.height, Promise { commit, prepared });
            }
        }
        if replica.active && replica.learning == Learning::No {
            replica.resume_votes(recovered.prepares);
        }
        replica.learn();
        replica.advance();
        replica
    }

    fn resume_changing(&mut self, message: VerifiedMessage) {
        self.view = message.view();
        self.active = false;
        self.view_changes.insert(self.config.me, message.clone());
        self.note_reached(self.config.me, self.view);
        self.own_view_change = Some(message);
    }

    /// Takes up the votes of the view it was in.
    fn resume_votes(&mut self, prepares: Vec<(View, Header, Arc<[TransactionId]>)>) {
        let mut prepares: Vec<_> = prepares
            .into_iter()
            .filter(|(view, header, _)| *view == self.view && header.height > self.committed.height)
            .collect();
        prepares.sort_by_key(|(_, header, _)| header.height);
        for (view, header, ids) in prepares {
            let height = header.height;
            let proposed_here = header.view == view && self.config.me == header.proposer;
            let block = Hashed::new(header);
            if proposed_here {
                let offer = self.sign_proposal(view, &block.header, &ids);
                self.slots.entry(height).or_default().offered = Some(offer.clone());
                self.send(To::All, offer);
            }
            self.cast_prepare(height, block.hash);
            if let Some(commit) = self.promises.get(&height).map(|promise| promise.commit)
                && commit.view == self.view
            {
                self.cast_commit(commit);
            }
            if !self.extends(height, &block) {
                continue;
            }
            // Of a re-proposal the record may hold no ids; no block is empty.
            let ids = Some(ids).filter(|ids| !ids.is_empty());
            let sources = vec![self.leader()];
            self.slots.entry(height).or_default().accepted =
                Some(Accepted { block: block.clone(), ids: ids.clone(), at: self.now, result: None });
            self.outputs.push_back(Output::Execute {
                block: block.hash,
                header: block.header,
                ids,
                sources,
                // Its timestamp was held against the clock before the first vote.
                reproposal: true,
            });
        }
    }

    /// Whether `block` stands on the committed block, or on one accepted below it.
    fn extends(&self, height: Height, block: &Hashed) -> bool {
        let below = if height == self.committed.height.next() {
            Some(self.committed.block)
        } else {
            let slot = height.previous().and_then(|below| self.slots.get(&below));
            slot.and_then(|slot| slot.accepted.as_ref()).map(|accepted| accepted.block.hash)
        };
        below == Some(block.header.parent)
    }
}
