//! What became of transactions that are gone, for those who still ask.

use foldhash::HashMap;
use quorate_types::hash::TransactionId;
use std::mem;

/// Something of each of the transactions put in last: of the last `most` at most, and of half of them at
/// least. They are forgotten half of them at a time: to look for the oldest with each new one would be to wait
/// for memory once more.
#[derive(Debug)]
pub(super) struct Recent<V> {
    most: usize,
    young: HashMap<TransactionId, V>,
    old: HashMap<TransactionId, V>,
}

impl<V> Recent<V> {
    pub(super) fn new(most: usize) -> Recent<V> {
        Recent { most, young: HashMap::default(), old: HashMap::default() }
    }

    /// Puts this in, in the place of what was known of the same transaction.
    pub(super) fn insert(&mut self, id: TransactionId, value: V) {
        if self.young.len() >= self.most / 2 {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(id, value);
    }

    pub(super) fn get(&self, id: &TransactionId) -> Option<&V> {
        self.young.get(id).or_else(|| self.old.get(id))
    }

    /// How many are kept; one that was put in again may count twice.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::hash::Hash;

    fn id(number: u64) -> TransactionId {
        TransactionId(Hash::of(&[&number.to_le_bytes()]))
    }

    #[test]
    fn half_of_the_last_are_known_and_never_more_than_all() {
        let mut recent = Recent::new(10);
        for number in 0..100 {
            recent.insert(id(number), number);
            for known in number.saturating_sub(4)..=number {
                assert_eq!(recent.get(&id(known)), Some(&known));
            }
            assert!(recent.len() <= 10);
        }
        assert_eq!(recent.get(&id(89)), None);
    }

    #[test]
    fn what_was_put_in_last_counts() {
        let mut recent = Recent::new(4);
        for value in 0..10 {
            recent.insert(id(7), value);
            recent.insert(id(value), value);
            assert_eq!(recent.get(&id(7)), Some(&value));
        }
    }
}
