//! When to propose, and what.
//!
//! With nothing in flight, a leader proposes as soon as there is a transaction. With proposals in
//! flight it waits until a whole block is there, or a fraction 1/W of the usual time to commit has
//! passed since the last proposal, and no less than [`APART`]: blocks are then as large as the load
//! offers, and on a slow network the window is used evenly.
//!
//! Why not sooner: a block costs every validator two syncs, two signatures and some twenty messages,
//! whatever it holds. Many small blocks would take the processors that the transactions need, and each
//! would come later for it.

use super::Core;
use quorate_ledger::Store;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::transaction::VerifiedTransaction;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a leader waits after none of the transactions it holds could stand in a block, before it
/// looks through them again. A commit ends the wait.
const FRUITLESS_PAUSE: Duration = Duration::from_millis(20);

/// The least time from a proposal to the next while one is in flight, unless there is a whole block.
const APART: Duration = Duration::from_millis(20);

/// The usual time to commit, before any is known.
const FIRST_GUESS: Duration = Duration::from_millis(8);

/// Measures how long proposals take to commit.
#[derive(Debug)]
pub(super) struct Pace {
    /// Smoothed time from own proposal to its commit.
    usual: Duration,
    proposed: BTreeMap<Height, Duration>,
    last: Duration,
    /// Nothing that waited then could stand in a block.
    fruitless: Option<Duration>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { usual: FIRST_GUESS, proposed: BTreeMap::new(), last: Duration::ZERO, fruitless: None }
    }

    fn propose(&mut self, height: Height, now: Duration) {
        self.proposed.insert(height, now);
        self.last = now;
        self.fruitless = None;
    }

    /// A height committed.
    pub(super) fn committed(&mut self, height: Height, now: Duration) {
        if let Some(at) = self.proposed.remove(&height) {
            let took = now.saturating_sub(at).min(Duration::from_secs(1));
            self.usual = (self.usual * 7 + took) / 8;
        }
        self.fruitless = None;
        // Of own proposals that lost, nothing will be heard.
        self.proposed = self.proposed.split_off(&height);
    }
}

impl<S: Store> Core<S> {
    /// When the next proposal is due if this one should wait.
    fn due(&self) -> Duration {
        let window = u32::try_from(self.committee.window).unwrap_or(u32::MAX);
        match self.pace.fruitless {
            Some(at) => at.saturating_add(FRUITLESS_PAUSE),
            None => self.pace.last.saturating_add((self.pace.usual / window.max(1)).max(APART)),
        }
    }

    /// How many transactions a block may hold now: halved with each view that failed in a row, so
    /// that a block that cannot be finished within the timeout shrinks until it can.
    fn block_limit(&self) -> usize {
        let most = self.ledger.genesis().parameters.max_block_transactions;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        (most >> self.replica.failed_views().min(20)).max(1)
    }

    /// When a proposal that waits for its pause is due.
    pub(super) fn pace_deadline(&self) -> Option<Duration> {
        let slot = self.replica.slot()?;
        let waits = slot.in_flight > 0 || self.pace.fruitless.is_some();
        (waits && self.mempool.has_candidate()).then(|| self.due())
    }

    /// Proposes, if this node leads, has room and should not wait.
    pub(super) fn lead(&mut self) -> bool {
        let Some(slot) = self.replica.slot() else { return false };
        let limit = self.block_limit();
        let now = self.now.monotonic;
        let waiting = self.mempool.len().saturating_sub(self.proposals.in_flight());
        let should_wait = self.pace.fruitless.is_some() || (slot.in_flight > 0 && waiting < limit);
        if should_wait && now < self.due() {
            return false;
        }
        let proposed = {
            let none = |_: &TransactionId| false;
            // The limit counts what the block takes in: those passed over, such as the expired, must not
            // use it up, or a few of them at the head of the queue would keep all others waiting.
            let mut candidates = self.mempool.candidates(&none);
            self.ledger.propose(slot.parent, slot.view, self.me, self.now.wall, limit, &mut candidates)
        };
        let proposed = match proposed {
            Ok(proposed) => proposed,
            Err(error) => {
                self.replica.halt(format!("no block can be built: {error}"));
                return true;
            }
        };
        let Some((header, transactions, result)) = proposed.block else {
            // With nothing waiting there is nothing to look through again: what comes is proposed at once.
            if !proposed.skipped.is_empty() {
                self.pace.fruitless = Some(now);
            }
            return false;
        };
        let ids: Vec<TransactionId> = transactions.iter().map(VerifiedTransaction::id).collect();
        let block = header.hash();
        self.mempool.mark_proposed(block, &ids);
        self.proposals.own(block, header.clone(), Arc::from(ids.as_slice()), transactions);
        self.pace.propose(header.height, now);
        self.replica.propose(now, header, ids, result);
        true
    }
}
