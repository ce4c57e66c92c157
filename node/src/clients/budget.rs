//! Room for what waits to be read by clients, by member.
//!
//! An answer is in memory until the other side takes it, and the other side need not. What waits is
//! claimed here first, so that a member gets no more memory of a validator than this, however many
//! connections and streams it has. Members share nothing: one that leaves answers unread holds up
//! itself alone.

use quorate_types::keys::PublicKey;
use quorate_types::parameters::limits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of answers from the database that may wait for one member.
const ANSWER_BYTES: usize = 64 << 20;
// The largest answer finds room: a few small blocks and one as large as any chain allows.
const _: () = assert!(ANSWER_BYTES > limits::BLOCK_BYTES + (2 << 20));

/// Bytes of answers to submitted transactions that may wait for one member: several times those to
/// [`MAX_MEMBER_IN_FLIGHT`](super::MAX_MEMBER_IN_FLIGHT).
const SETTLED_BYTES: usize = 32 << 20;

/// A number of bytes, shared by those who claim some of it.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    bytes: u32,
}

/// Bytes of a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(super) fn of(bytes: usize) -> Budget {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Budget { free: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }

    /// Nothing is free of charge, and nothing costs more than there is.
    fn price(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes)
    }

    /// Claims `bytes`; waits until they are free.
    pub(super) async fn claim(&self, bytes: usize) -> Claim {
        // The budgets are never closed, so this waits and never fails.
        Claim(Arc::clone(&self.free).acquire_many_owned(self.price(bytes)).await.ok())
    }

    /// Claims `bytes` if they are free.
    pub(super) fn try_claim(&self, bytes: usize) -> Option<Claim> {
        let claimed = Arc::clone(&self.free).try_acquire_many_owned(self.price(bytes));
        claimed.ok().map(|permit| Claim(Some(permit)))
    }
}

impl Claim {
    /// Gives back what is claimed beyond `bytes`.
    pub(super) fn reduce(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(bytes.max(1))));
        }
    }
}

/// What may wait for one member.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    /// Answers from the database. Who finds no room waits, and reads nothing meanwhile.
    pub(super) answers: Budget,
    /// Answers to submitted transactions, which come when they come: a stream whose answer finds no room
    /// ends.
    pub(super) settled: Budget,
}

/// The allowances of all members.
#[derive(Debug, Default)]
pub struct Allowances {
    /// Nobody but a member gets here, so there are no more than those.
    by_member: Mutex<HashMap<PublicKey, Allowance>>,
}

impl Allowances {
    pub(super) fn of(&self, member: PublicKey) -> Allowance {
        // Nothing panics while holding the lock.
        let mut by_member = self.by_member.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Allowance { answers: Budget::of(ANSWER_BYTES), settled: Budget::of(SETTLED_BYTES) };
        by_member.entry(member).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_claimed_is_given_back() {
        let budget = Budget::of(100);
        let mut first = budget.claim(60).await;
        assert!(budget.try_claim(41).is_none());
        first.reduce(50);
        first.reduce(70);
        let second = budget.try_claim(50).expect("room");
        assert!(budget.try_claim(0).is_none(), "nothing is free of charge");
        drop((first, second));
        assert!(budget.try_claim(1000).is_some(), "and nothing costs more than there is");
        assert!(budget.try_claim(100).is_some());
    }

    #[test]
    fn members_share_nothing_and_their_streams_share_all() {
        let allowances = Allowances::default();
        let member = |n: u8| PublicKey([n; 32]);
        let _all = allowances.of(member(1)).settled.try_claim(SETTLED_BYTES).expect("room");
        assert!(allowances.of(member(1)).settled.try_claim(1).is_none());
        assert!(allowances.of(member(1)).answers.try_claim(1).is_some());
        assert!(allowances.of(member(2)).settled.try_claim(1).is_some());
    }
}
