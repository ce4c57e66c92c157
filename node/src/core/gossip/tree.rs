//! Who passes whose transactions on to whom, and sets of validators.

use super::MESH;
use quorate_types::ids::ValidatorIndex;
use quorate_types::parameters::limits;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A set of validators: one bit each, as a chain has at most 128.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerSet(u128);

const _: () = assert!(limits::VALIDATORS <= 128, "a set of validators fits into 128 bits");

impl PeerSet {
    pub(super) const EMPTY: PeerSet = PeerSet(0);

    fn bit(peer: ValidatorIndex) -> u128 {
        1u128.checked_shl(u32::from(peer.0)).unwrap_or(0)
    }

    pub(super) fn of(peer: ValidatorIndex) -> PeerSet {
        PeerSet(PeerSet::bit(peer))
    }

    pub(super) fn insert(&mut self, peer: ValidatorIndex) {
        self.0 |= PeerSet::bit(peer);
    }

    pub(super) fn remove(&mut self, peer: ValidatorIndex) {
        self.0 &= !PeerSet::bit(peer);
    }

    pub(super) fn contains(self, peer: ValidatorIndex) -> bool {
        self.0 & PeerSet::bit(peer) != 0
    }

    pub(super) fn and(self, other: PeerSet) -> PeerSet {
        PeerSet(self.0 & other.0)
    }

    pub(super) fn or(self, other: PeerSet) -> PeerSet {
        PeerSet(self.0 | other.0)
    }

    pub(super) fn without(self, other: PeerSet) -> PeerSet {
        PeerSet(self.0 & !other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn len(self) -> usize {
        usize::try_from(self.0.count_ones()).unwrap_or(0)
    }

    /// Ascending.
    pub(super) fn iter(self) -> impl Iterator<Item = ValidatorIndex> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = u16::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
            rest &= rest - 1;
            Some(ValidatorIndex(lowest))
        })
    }

    /// One member of the set, chosen by `rng`.
    pub(super) fn choose(self, rng: &mut ChaCha20Rng) -> Option<ValidatorIndex> {
        let size = u64::try_from(self.len()).unwrap_or(0);
        let place = rng.next_u64().checked_rem(size)?;
        self.iter().nth(usize::try_from(place).ok()?)
    }
}

/// The paths of pushed transactions, as far as they touch this validator.
///
/// The transactions of each origin travel down a tree of their own: from the origin to [`MESH`]
/// relays, from each relay to its share of all others. Two hops reach everyone, and everyone has one
/// parent, so that bodies arrive once. Every validator computes the same trees, from nothing but the
/// indexes; where two disagree (another version), repair fills the gaps.
#[derive(Debug)]
pub(super) struct Tree {
    /// My relays, each with those it serves.
    relays: Vec<(ValidatorIndex, PeerSet)>,
    /// Whom I serve as a relay, by origin.
    serves: Vec<PeerSet>,
}

impl Tree {
    pub(super) fn new(me: ValidatorIndex, n: u16) -> Tree {
        let serves = (0..n).map(|origin| {
            let relays = relays(ValidatorIndex(origin), n);
            relays.into_iter().find(|(relay, _)| *relay == me).map_or(PeerSet::EMPTY, |(_, served)| served)
        });
        Tree { relays: relays(me, n), serves: serves.collect() }
    }

    /// To whom a transaction of this validator is pushed when `up` are connected: the relays, and the
    /// shares of those relays that are not.
    pub(super) fn first(&self, up: PeerSet) -> PeerSet {
        let mut targets = PeerSet::EMPTY;
        for (relay, served) in &self.relays {
            targets = targets.or(if up.contains(*relay) { PeerSet::of(*relay) } else { *served });
        }
        targets.and(up)
    }

    /// To whom this validator passes on what `origin` pushed.
    pub(super) fn second(&self, origin: ValidatorIndex) -> PeerSet {
        self.serves.get(origin.as_usize()).copied().unwrap_or(PeerSet::EMPTY)
    }
}

/// The relays of an origin, each with those it serves.
fn relays(origin: ValidatorIndex, n: u16) -> Vec<(ValidatorIndex, PeerSet)> {
    let mut others: Vec<ValidatorIndex> = (0..n).map(ValidatorIndex).filter(|v| *v != origin).collect();
    // A different order for each origin, so that relaying is everyone's work.
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(origin.0));
    for last in (1..others.len()).rev() {
        let place = rng.next_u64() % (last as u64 + 1);
        others.swap(last, usize::try_from(place).unwrap_or(last));
    }
    let leaves = others.split_off(others.len().min(MESH));
    let mut relays: Vec<(ValidatorIndex, PeerSet)> =
        others.into_iter().map(|v| (v, PeerSet::EMPTY)).collect();
    for (place, leaf) in leaves.into_iter().enumerate() {
        relays[place % MESH].1.insert(leaf);
    }
    relays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_one_parent_in_every_tree() {
        for n in [1u16, 2, 4, 9, 10, 31, 100, 128] {
            let trees: Vec<Tree> = (0..n).map(|me| Tree::new(ValidatorIndex(me), n)).collect();
            for origin in 0..n {
                let mut copies = vec![0; usize::from(n)];
                let all = PeerSet((0..n).fold(0, |set, v| set | PeerSet::bit(ValidatorIndex(v))));
                for relay in trees[usize::from(origin)].first(all).iter() {
                    copies[relay.as_usize()] += 1;
                    for leaf in trees[relay.as_usize()].second(ValidatorIndex(origin)).iter() {
                        copies[leaf.as_usize()] += 1;
                    }
                }
                copies[usize::from(origin)] += 1;
                assert!(copies.iter().all(|c| *c == 1), "n={n} origin={origin}: {copies:?}");
            }
        }
    }

    #[test]
    fn an_absent_relay_is_stepped_over() {
        let n = 31;
        let tree = Tree::new(ValidatorIndex(3), n);
        let (relay, served) = tree.relays[0];
        assert!(!served.is_empty());
        let mut up = PeerSet((1 << n) - 1);
        up.remove(relay);
        assert!(!tree.first(up).contains(relay));
        assert_eq!(tree.first(up).and(served), served);
    }

    #[test]
    fn sets() {
        let mut set = PeerSet::EMPTY;
        for peer in [0u16, 5, 127] {
            set.insert(ValidatorIndex(peer));
        }
        set.insert(ValidatorIndex(128));
        assert_eq!(set.iter().map(|v| v.0).collect::<Vec<_>>(), [0, 5, 127]);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert!(set.choose(&mut rng).is_some_and(|v| set.contains(v)));
        assert_eq!(PeerSet::EMPTY.choose(&mut rng), None);
    }
}
