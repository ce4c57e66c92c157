//! Replay protection: which unexpired transactions are committed.
//!
//! An expired transaction needs no memory, it is refused for being expired; so only ids whose expiry
//! is not before the tip's time are kept. They follow from the chain, so they are not in the tree.
//!
//! An entry, a ticket, is the time of expiry and the first 16 bytes of the id, whose preimage covers it. To hit
//! another's entry takes 2^128 hashes; who collides two of their own with 2^64 has the second refused, by everyone
//! alike: tickets are compared whole wherever they are, here and in blocks that are not committed yet. They lie
//! in one set for each second in which they expire, and a set goes as a whole once its second is over: each
//! look-up touches one place in memory, however many there are. They are never walked through, so that the order
//! within a set, which differs from node to node, reaches nothing. Together the sets hold at most what the chain
//! commits within `max_lifetime_ms` of block time, and a second.
//!
//! In the store each block's entries are one value under its height, removed when all have expired.

use crate::store::{Column, Store, StoreError, Write};
use crate::table;
use foldhash::HashSet;
use quorate_types::codec;
use quorate_types::ids::{Height, Timestamp};
use quorate_types::transaction::VerifiedTransaction;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

/// A transaction as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) expires_at: Timestamp,
    id: [u8; 16],
}

impl Hash for Ticket {
    /// As two numbers, which a table's hasher takes in a fraction of the time that bytes take it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.expires_at.0);
        state.write_u128(u128::from_ne_bytes(self.id));
    }
}

impl Ticket {
    pub(crate) fn of(transaction: &VerifiedTransaction) -> Ticket {
        let id = transaction.id();
        let (id, _) = id.0.0.split_first_chunk().expect("an id has 32 bytes");
        Ticket { expires_at: transaction.transaction().expires_at, id: *id }
    }
}

/// The second in which a moment lies, counted as timestamps are.
fn second_of(time: Timestamp) -> u64 {
    time.0 / 1000
}

/// The unexpired transactions of committed blocks.
#[derive(Debug, Default)]
pub(crate) struct ReplayIndex {
    /// By the second in which they expire.
    tickets: BTreeMap<u64, HashSet<Ticket>>,
    /// The records in the store, ascending by height, each with its latest expiry.
    records: VecDeque<(Height, Timestamp)>,
}

/// How many records are read at once at opening: each may hold a whole block's tickets.
const RECORDS_READ: usize = 64;

impl ReplayIndex {
    /// Rebuilds the index from the records in the store.
    pub(crate) fn load(store: &impl Store, time: Timestamp) -> Result<ReplayIndex, StoreError> {
        let mut index = ReplayIndex::default();
        let end = table::ids_key(Height(u64::MAX));
        let mut from = table::ids_key(Height::GENESIS);
        loop {
            let records = store.range(Column::Meta, &from, &end, RECORDS_READ)?;
            let Some((last, _)) = records.last() else { return Ok(index) };
            // The least key above the last one read.
            from = [&last[..], &[0]].concat();
            for (key, bytes) in &records {
                let height = table::ids_height(key)
                    .ok_or_else(|| StoreError::Corrupt(format!("{key:02x?} is no key of a record of ids")))?;
                let tickets: Vec<Ticket> = table::decode(Column::Meta, key, bytes)?;
                let Some(latest) = tickets.iter().map(|ticket| ticket.expires_at).max() else { continue };
                index.records.push_back((height, latest));
                index.remember(tickets.iter().filter(|ticket| ticket.expires_at >= time));
            }
        }
    }

    pub(crate) fn contains(&self, ticket: &Ticket) -> bool {
        self.tickets.get(&second_of(ticket.expires_at)).is_some_and(|tickets| tickets.contains(ticket))
    }

    fn remember<'a>(&mut self, tickets: impl Iterator<Item = &'a Ticket>) {
        for ticket in tickets {
            self.tickets.entry(second_of(ticket.expires_at)).or_default().insert(*ticket);
        }
    }

    /// Takes in a committed block of this height and time, and forgets what has expired by then.
    /// `tickets` must be ascending and not empty, for a block is not.
    pub(crate) fn commit(
        &mut self,
        height: Height,
        time: Timestamp,
        tickets: &[Ticket],
        writes: &mut Vec<Write>,
    ) {
        let latest = tickets.last().expect("a block has transactions").expires_at;
        writes.push(Write::put(Column::Meta, table::ids_key(height), codec::encode(tickets)));
        self.records.push_back((height, latest));
        self.remember(tickets.iter());
        while self.tickets.first_key_value().is_some_and(|(second, _)| *second < second_of(time)) {
            self.tickets.pop_first();
        }
        while self.records.front().is_some_and(|(_, latest)| *latest < time) {
            let (height, _) = self.records.pop_front().expect("just seen");
            writes.push(Write::delete(Column::Meta, table::ids_key(height)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_compared_whole() {
        let ticket = |ms| Ticket { expires_at: Timestamp(ms), id: [7; 16] };
        let mut index = ReplayIndex::default();
        index.commit(Height(1), Timestamp(5000), &[ticket(9_001)], &mut Vec::new());
        assert!(index.contains(&ticket(9_001)));
        // As in a block that is not committed yet, where a set has both.
        assert!(!index.contains(&ticket(9_002)), "it expires in the same second, but is another");
    }
}
