//! How many handshakes may be under way. This is all that a stranger can take of a node.
//!
//! Four sources could take all of it together. So some is kept for where validators are: addresses that are named
//! for them, and those from which they last were connected. When many handshakes are under way, each new one has
//! to prove its address first, so nobody gets there by a forged one.

use quorate_types::ids::ValidatorIndex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts handshakes under way, in all and by source.
pub(crate) struct Gate {
    limit: usize,
    /// At most as many entries as handshakes under way.
    by_source: Mutex<HashMap<IpAddr, usize>>,
    /// Sources at which validators are said to be.
    named: HashSet<IpAddr>,
    /// The source from which each validator was last connected.
    seen: Mutex<BTreeMap<ValidatorIndex, IpAddr>>,
}

/// One handshake under way; ends when dropped.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    source: IpAddr,
}

/// Where a packet comes from, as far as it costs an attacker something: an IPv4 address, an IPv6 /64.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Gate {
    /// Nothing is under way. `named` are the addresses at which validators are said to be.
    pub(crate) fn new(limit: usize, named: impl IntoIterator<Item = IpAddr>) -> Arc<Gate> {
        let named = named.into_iter().map(source_of).collect();
        Arc::new(Gate { limit, by_source: Mutex::default(), named, seen: Mutex::default() })
    }

    /// A validator is connected from here.
    pub(crate) fn seen(&self, validator: ValidatorIndex, address: IpAddr) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(validator, source_of(address));
    }

    /// How many handshakes may be under way for one from this source to begin: an eighth is kept for validators.
    fn room_for(&self, source: IpAddr) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = self.named.is_empty() && seen.is_empty();
        if nobody || self.named.contains(&source) || seen.values().any(|known| *known == source) {
            return self.limit;
        }
        self.limit - self.limit / 8
    }

    fn by_source(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more handshake begin, unless too many are under way in all, or a quarter of that from
    /// this source.
    pub(crate) fn enter(self: &Arc<Gate>, address: IpAddr) -> Option<Pass> {
        let source = source_of(address);
        let room = self.room_for(source);
        let mut by_source = self.by_source();
        let total: usize = by_source.values().sum();
        let here = by_source.get(&source).copied().unwrap_or(0);
        if total >= room || here >= self.limit.div_ceil(4) {
            return None;
        }
        by_source.insert(source, here + 1);
        Some(Pass { gate: Arc::clone(self), source })
    }

    /// Whether so many handshakes are under way that new ones must prove their address first, which
    /// stops forged ones.
    pub(crate) fn is_busy(&self) -> bool {
        let total: usize = self.by_source().values().sum();
        total >= self.limit.div_ceil(8)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut by_source = self.gate.by_source();
        if let Some(count) = by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_takes_more_than_a_quarter_and_all_together_no_more_than_the_limit() {
        let gate = Gate::new(8, []);
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let first = [gate.enter(ip(1)), gate.enter(ip(1))];
        assert!(first.iter().all(Option::is_some));
        assert!(gate.is_busy());
        assert!(gate.enter(ip(1)).is_none());
        let rest: Vec<Pass> = [2, 2, 3, 3, 4, 4].into_iter().filter_map(|n| gate.enter(ip(n))).collect();
        assert_eq!(rest.len(), 6);
        assert!(gate.enter(ip(5)).is_none());
        drop(first);
        assert!(gate.enter(ip(5)).is_some());
        drop(rest);
        assert!(gate.by_source().is_empty(), "nothing is remembered of handshakes that ended");
    }

    #[test]
    fn strangers_leave_room_for_where_validators_are() {
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let gate = Gate::new(16, [ip(9)]);
        gate.seen(ValidatorIndex(3), ip(7));
        gate.seen(ValidatorIndex(3), ip(8));
        let strangers: Vec<Pass> =
            [1, 2, 3, 4, 7].iter().flat_map(|n| [*n; 4]).filter_map(|n| gate.enter(ip(n))).collect();
        assert_eq!(strangers.len(), 14);
        assert!(gate.enter(ip(7)).is_none(), "nobody is there any more");
        let _validators = [ip(8), ip(9)].map(|known| gate.enter(known).expect("room is kept"));
        assert!(gate.enter(ip(9)).is_none(), "the limit holds for all");
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let a: IpAddr = "2001:db8:1:2::1".parse().expect("address");
        let b: IpAddr = "2001:db8:1:2:ffff::9".parse().expect("address");
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("address");
        assert_eq!(source_of(a), source_of(b));
        assert_eq!(source_of(mapped), IpAddr::from([10, 0, 0, 1]));
    }
}
