//! The validator set, and the one place for quorum arithmetic.

use crate::codec;
use crate::hash::{ChainId, Hash};
use crate::ids::{ValidatorIndex, View};
use crate::keys::PublicKey;
use crate::signed::Domain;
use serde::{Deserialize, Serialize};

/// The sizes that make `n` validators safe and live.
///
/// `f = ⌊(n−1)/3⌋` may lie or fail. A quorum is `⌈(n+f+1)/2⌉`: any two share at least f+1
/// validators, so at least one honest one, and n−f honest validators always form one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Validators in all.
    pub n: usize,
    /// Faulty validators tolerated.
    pub f: usize,
    /// Distinct validators whose agreement is final.
    pub q: usize,
}

impl Quorum {
    /// The arithmetic for `n` validators, at least one.
    ///
    /// # Panics
    /// If `n` is 0: a validator set is never empty.
    pub fn of(n: usize) -> Quorum {
        assert!(n > 0, "a validator set is never empty");
        let f = (n - 1) / 3;
        Quorum { n, f, q: (n + f + 1).div_ceil(2) }
    }

    /// The least number of distinct validators among which one is honest.
    pub fn one_honest(&self) -> usize {
        self.f + 1
    }
}

/// One validator, as agreement knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validator {
    /// The key of the member that runs it.
    pub member: PublicKey,
    /// The key that votes.
    pub vote_key: PublicKey,
}

/// The validators of a height, in the order of their indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorSet {
    validators: Vec<Validator>,
}

impl ValidatorSet {
    /// The set of these validators, in this order.
    ///
    /// # Panics
    /// If there are none, or more than [`limits::VALIDATORS`](crate::parameters::limits::VALIDATORS):
    /// the genesis document's checks come before.
    pub fn new(validators: Vec<Validator>) -> ValidatorSet {
        assert!(
            (1..=crate::parameters::limits::VALIDATORS).contains(&validators.len()),
            "a validator set has 1 to {} validators",
            crate::parameters::limits::VALIDATORS
        );
        ValidatorSet { validators }
    }

    /// How many.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// The quorum arithmetic of this set.
    pub fn quorum(&self) -> Quorum {
        Quorum::of(self.len())
    }

    /// The validator at `index`; `None` when out of range, as a peer may claim any index.
    pub fn get(&self, index: ValidatorIndex) -> Option<&Validator> {
        self.validators.get(index.as_usize())
    }

    /// Every index, ascending.
    pub fn indexes(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        (0..self.validators.len()).map(|i| ValidatorIndex(u16::try_from(i).expect("at most 128 validators")))
    }

    /// The validators with their indexes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (ValidatorIndex, &Validator)> {
        self.indexes().zip(&self.validators)
    }

    /// The leader of `view`: validator `view mod n`.
    pub fn leader(&self, view: View) -> ValidatorIndex {
        let index = view.0 % self.validators.len() as u64;
        ValidatorIndex(u16::try_from(index).expect("at most 128 validators"))
    }

    /// The hash that a block header names the set by.
    pub fn hash(&self, chain: &ChainId) -> Hash {
        Domain::Validators.hash(chain, &codec::encode(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stated apart from the formula: what quorums must do, for every size.
    #[test]
    fn quorums_intersect_in_an_honest_validator_and_can_form() {
        for n in 1..=100 {
            let Quorum { f, q, .. } = Quorum::of(n);
            assert!(3 * f < n, "n={n}: f below a third");
            assert!(3 * (f + 1) >= n, "n={n}: f is the most there can be");
            assert!(2 * q - n > f, "n={n}: two quorums share f+1");
            assert!(2 * (q - 1) < n + f + 1, "n={n}: q is the least such number");
            assert!(q <= n - f, "n={n}: the honest alone form a quorum");
        }
    }

    #[test]
    fn quorum_table() {
        let table = [
            (1, 0, 1),
            (2, 0, 2),
            (3, 0, 2),
            (4, 1, 3),
            (5, 1, 4),
            (6, 1, 4),
            (7, 2, 5),
            (8, 2, 6),
            (9, 2, 6),
            (10, 3, 7),
            (31, 10, 21),
            (100, 33, 67),
        ];
        for (n, f, q) in table {
            assert_eq!(Quorum::of(n), Quorum { n, f, q });
        }
    }
}
