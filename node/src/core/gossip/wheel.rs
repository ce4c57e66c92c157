//! Timers of many transactions, ten milliseconds coarse.

use quorate_types::hash::TransactionId;
use std::collections::BTreeMap;
use std::time::Duration;

const SLOT_MS: u64 = 10;

/// When a timer fires. Whoever set it remembers the slot; a timer that no longer matches what was
/// remembered is stale, so that cancelling costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u64);

/// Timers, by slot. Stale ones stay until their slot comes, so a wheel holds at most the timers set
/// within the longest delay in use.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    slots: BTreeMap<Slot, Vec<TransactionId>>,
}

impl Wheel {
    /// Sets a timer for `at`, or up to a slot later.
    pub(super) fn set(&mut self, at: Duration, id: TransactionId) -> Slot {
        let slot = Slot(u64::try_from(at.as_millis()).unwrap_or(u64::MAX).div_ceil(SLOT_MS));
        self.slots.entry(slot).or_default().push(id);
        slot
    }

    /// Takes out the next timer slot due by `now`, in the order set.
    pub(super) fn due(&mut self, now: Duration) -> Option<(Slot, Vec<TransactionId>)> {
        let first = self.slots.first_entry()?;
        if instant(*first.key()) > now { None } else { Some(first.remove_entry()) }
    }

    /// When the next slot is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.slots.first_key_value().map(|(slot, _)| instant(*slot))
    }
}

fn instant(slot: Slot) -> Duration {
    Duration::from_millis(slot.0.saturating_mul(SLOT_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::hash::Hash;

    #[test]
    fn fires_in_order_and_never_early() {
        let id = |n| TransactionId(Hash([n; 32]));
        let mut wheel = Wheel::default();
        let late = wheel.set(Duration::from_millis(101), id(1));
        let soon = wheel.set(Duration::from_millis(20), id(2));
        assert_eq!(wheel.set(Duration::from_millis(105), id(3)), late);
        assert_eq!(wheel.next(), Some(Duration::from_millis(20)));
        assert_eq!(wheel.due(Duration::from_millis(19)), None);
        assert_eq!(wheel.due(Duration::from_millis(20)), Some((soon, vec![id(2)])));
        assert_eq!(wheel.due(Duration::from_millis(109)), None);
        assert_eq!(wheel.due(Duration::from_millis(110)), Some((late, vec![id(1), id(3)])));
        assert_eq!(wheel.next(), None);
    }
}
