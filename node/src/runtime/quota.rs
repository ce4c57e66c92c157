//! How many messages of agreement are heard of each peer.
//!
//! They go before everything else, so one peer that never stops talking would keep this node from all other
//! work, and the votes of the others would wait behind its own: a beacon costs it nothing, and here a
//! verification. What is beyond the quota is dropped. Any message may be lost, and what an honest validator
//! needs to say is sent again until it was heard.

use quorate_types::ids::ValidatorIndex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Messages of one peer in a second, in the long run: three for each of a thousand blocks, and as many again that
/// are repeated. To verify them takes a fifth of a processor.
const RATE: u64 = 4000;

/// Messages of one peer at once.
const BURST: u64 = 2 * RATE;

/// One message, as it is counted: what a second brings is a whole number in each microsecond.
const MESSAGE: u64 = 1_000_000;

/// What each peer has left, and as of when.
#[derive(Debug, Default)]
pub(super) struct Quotas(BTreeMap<ValidatorIndex, (u64, Duration)>);

impl Quotas {
    /// Whether a message that comes from `peer` at `now` is within its quota.
    pub(super) fn admits(&mut self, peer: ValidatorIndex, now: Duration) -> bool {
        let (left, since) = self.0.entry(peer).or_insert((BURST * MESSAGE, now));
        let micros = u64::try_from(now.saturating_sub(*since).as_micros()).unwrap_or(u64::MAX);
        *left = left.saturating_add(micros.saturating_mul(RATE)).min(BURST * MESSAGE);
        *since = now;
        let admits = *left >= MESSAGE;
        *left -= if admits { MESSAGE } else { 0 };
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_rate_and_costs_nobody_else() {
        let (loud, other) = (ValidatorIndex(1), ValidatorIndex(2));
        let mut quotas = Quotas::default();
        // A hundred thousand in a second: what is saved up, and what the second brings.
        let within = (0..100_000).filter(|n| quotas.admits(loud, Duration::from_micros(10 * n))).count();
        assert!((11_900..=12_100).contains(&within), "{within}");
        let later = Duration::from_secs(1);
        assert!((0..1000).all(|_| quotas.admits(other, later)));
        // After a pause it is as any other.
        let later = Duration::from_secs(100);
        let within = (0..100_000).filter(|_| quotas.admits(loud, later)).count();
        assert_eq!(within, 8000);
    }
}
