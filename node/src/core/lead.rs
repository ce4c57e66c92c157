//! When to propose, and what.
//!
//! With nothing in flight, a leader proposes as soon as there is a transaction. With proposals in
//! flight it waits until a whole block is there, or until some time has passed since the last proposal,
//! the longest of
//!
//! - a fraction 1/W of the usual time to commit: a slow network's window is used evenly;
//! - what that time is longer than the network's part of it. The rest is work, and while the validators
//!   have their hands full with one block, another one gives them more of it and nothing sooner;
//! - [`APART`].
//!
//! Why not sooner: a block costs every validator two votes, each of them signed and synced twice (database
//! and guard file), and some twenty messages, whatever it holds. Many small blocks would take the processors
//! that the transactions need, and each would come later for it. So blocks are as large as the load offers.

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

/// No commit counts as longer, however long it took: a stall is not what is usual. So nor is any pause.
const LONGEST: Duration = Duration::from_secs(1);

/// The usual time to commit, before any is known.
const FIRST_GUESS: Duration = Duration::from_millis(8);

/// Measures how long proposals take to commit.
#[derive(Debug)]
pub(super) struct Pace {
    /// Smoothed time from own proposal to its commit.
    usual: Duration,
    /// How much of that the network takes, once enough validators are connected to make a quorum.
    network: Option<Duration>,
    proposed: BTreeMap<Height, Duration>,
    last: Duration,
    /// Nothing that waited then could stand in a block.
    fruitless: Option<Duration>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace {
            usual: FIRST_GUESS,
            network: None,
            proposed: BTreeMap::new(),
            last: Duration::ZERO,
            fruitless: None,
        }
    }

    /// Round trips to the other validators, `needed` of which make a quorum with this one.
    fn round_trips(&mut self, mut times: Vec<Duration>, needed: usize) {
        times.sort_unstable();
        // Proposal, Prepare and Commit: three ways, and each waits for those of the quorum.
        self.network = match needed.checked_sub(1) {
            Some(slowest) => times.get(slowest).map(|time| time.saturating_mul(3) / 2),
            None => Some(Duration::ZERO),
        };
    }

    /// From one proposal to the next while one is in flight.
    fn apart(&self, window: u64) -> Duration {
        let window = u32::try_from(window).unwrap_or(u32::MAX).max(1);
        let work = self.network.map_or(Duration::ZERO, |network| self.usual.saturating_sub(network));
        (self.usual / window).max(work).max(APART)
    }

    fn propose(&mut self, height: Height, now: Duration) {
        self.proposed.insert(height, now);
        self.last = now;
        self.fruitless = None;
    }

    /// A height committed.
    pub(super) fn committed(&mut self, height: Height, now: Duration) {
        if let Some(at) = self.proposed.remove(&height) {
            let took = now.saturating_sub(at).min(LONGEST);
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
        match self.pace.fruitless {
            Some(at) => at.saturating_add(FRUITLESS_PAUSE),
            None => self.pace.last.saturating_add(self.pace.apart(self.committee.window)),
        }
    }

    /// Learns how far the others are.
    pub(super) fn on_round_trips(&mut self, times: Vec<Duration>) {
        self.pace.round_trips(times, self.committee.validators.quorum().q - 1);
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
        let should_wait = self.pace.fruitless.is_some() || (slot.in_flight > 0 && self.waiting() < limit);
        if should_wait && now < self.due() {
            return false;
        }
        let proposed = {
            // The limit counts what the block takes in: those passed over, such as the expired, must not
            // use it up, or a few of them at the head of the queue would keep all others waiting.
            let mut candidates = self.mempool.candidates();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn pace(usual: u64, network: Option<Duration>) -> Pace {
        Pace { usual: ms(usual), network, ..Pace::new() }
    }

    #[test]
    fn what_the_network_takes_is_used_and_what_work_takes_is_waited_for() {
        // Far apart, and idle: the whole window is under way.
        assert_eq!(pace(240, Some(ms(225))).apart(4), ms(60));
        // Near, and loaded: one block at a time.
        assert_eq!(pace(240, Some(ms(3))).apart(4), ms(237));
        // Far apart, and loaded.
        assert_eq!(pace(400, Some(ms(225))).apart(4), ms(175));
        // Near, and idle.
        assert_eq!(pace(8, Some(ms(3))).apart(4), APART);
        // Not known, or longer than a commit takes: evenly.
        assert_eq!(pace(240, None).apart(4), ms(60));
        assert_eq!(pace(240, Some(ms(900))).apart(4), ms(60));
    }

    #[test]
    fn the_network_is_three_ways_to_those_who_make_a_quorum() {
        let network = |times: &[u64], needed| {
            let mut pace = Pace::new();
            pace.round_trips(times.iter().map(|time| ms(*time)).collect(), needed);
            pace.network
        };
        assert_eq!(network(&[80, 2, 40], 2), Some(ms(60)));
        assert_eq!(network(&[u64::MAX / 4, 2, 40], 2), Some(ms(60)), "whom nobody waits for says nothing");
        assert_eq!(network(&[40], 2), None);
        assert_eq!(network(&[], 0), Some(Duration::ZERO), "who is alone");
        let mut pace = Pace::new();
        pace.round_trips(vec![Duration::MAX; 3], 2);
        assert_eq!(pace.apart(4), APART);
    }
}
