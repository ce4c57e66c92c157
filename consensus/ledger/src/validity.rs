//! What makes a transaction admissible and a block valid, apart from what executing it leads to.

use crate::store::StoreError;
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex};
use quorate_types::keys::PublicKey;
use quorate_types::member::{Member, Role};
use quorate_types::parameters::Parameters;
use quorate_types::transaction::VerifiedTransaction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a transaction may not stand in a block, or be admitted on the way to one. Unlike a failed
/// transaction, a refused one leaves no trace on the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Verified for another chain.
    #[error("the transaction is for another chain")]
    WrongChain,
    /// The sender's key is no member's.
    #[error("the sender is not a member")]
    UnknownSender,
    /// The sender is a member without the role of submitter.
    #[error("the sender is not a submitter")]
    NotSubmitter,
    /// Its time is over.
    #[error("it expired at {expires_at} ms, and it is {time} ms")]
    Expired {
        /// When it expired.
        expires_at: Timestamp,
        /// The time it was held against.
        time: Timestamp,
    },
    /// It would have to be remembered for too long.
    #[error("it expires at {expires_at} ms, later than the latest allowed, {latest} ms")]
    TooFarAhead {
        /// When it expires.
        expires_at: Timestamp,
        /// The latest time of expiry that is allowed.
        latest: Timestamp,
    },
    /// Larger than the chain allows.
    #[error("it has {bytes} bytes, where at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The chain's limit.
        limit: u32,
    },
    /// A committed block holds it.
    #[error("it is committed already")]
    AlreadyCommitted,
    /// This block, or one before it that is not committed yet, holds it.
    #[error("it is in this block already, or in an earlier one that is not committed yet")]
    AlreadyPending,
}

impl Refusal {
    /// Whether the same transaction can never be accepted later.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Refusal::TooFarAhead { .. } | Refusal::AlreadyPending)
    }
}

/// Why a block is not one that an honest leader proposes on this parent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// Of another chain.
    #[error("the block is of chain {0}")]
    WrongChain(ChainId),
    /// At or below the last committed height, and not the block committed there.
    #[error("height {found} is decided: the chain has reached {tip}")]
    Decided {
        /// The block's height.
        found: Height,
        /// The height of the last committed block.
        tip: Height,
    },
    /// The parent is neither the last committed block nor one that was checked.
    #[error("the parent {0} is unknown")]
    UnknownParent(BlockHash),
    /// Not one more than the parent's height.
    #[error("height {found}, where {expected} follows")]
    WrongHeight {
        /// The block's height.
        found: Height,
        /// The height after the parent's.
        expected: Height,
    },
    /// Names another result of the parent than this node computed.
    #[error("names {found} as the parent's result, where this node computed {expected}")]
    WrongParentResult {
        /// The result named.
        found: ResultHash,
        /// The result computed.
        expected: ResultHash,
    },
    /// Names another validator set.
    #[error("names {found} as its validator set, which is {expected}")]
    WrongValidators {
        /// The hash named.
        found: Hash,
        /// The hash of the set.
        expected: Hash,
    },
    /// Names a proposer that does not lead its view.
    #[error("names validator {found} as proposer, where {expected} leads the view")]
    WrongProposer {
        /// The proposer named.
        found: ValidatorIndex,
        /// The leader of the header's view.
        expected: ValidatorIndex,
    },
    /// Names another root of the log of block hashes.
    #[error("names {found} as the history root, which is {expected}")]
    WrongHistoryRoot {
        /// The root named.
        found: Hash,
        /// The root of the log.
        expected: Hash,
    },
    /// Before the parent's time.
    #[error("its time {found} ms lies before the parent's, {parent} ms")]
    BeforeParent {
        /// The block's timestamp.
        found: Timestamp,
        /// The parent's timestamp.
        parent: Timestamp,
    },
    /// Further behind this node's clock than the chain allows.
    #[error("its time {found} ms is too far behind this node's clock, {clock} ms")]
    BehindClock {
        /// The block's timestamp.
        found: Timestamp,
        /// This node's clock.
        clock: Timestamp,
    },
    /// Further ahead of this node's clock than the chain allows.
    #[error("its time {found} ms is too far ahead of this node's clock, {clock} ms")]
    AheadOfClock {
        /// The block's timestamp.
        found: Timestamp,
        /// This node's clock.
        clock: Timestamp,
    },
    /// A block without transactions.
    #[error("no transactions")]
    Empty,
    /// The header counts other than the transactions given.
    #[error("the header counts {header} transactions, and there are {found}")]
    WrongCount {
        /// The header's count.
        header: u32,
        /// The transactions given.
        found: usize,
    },
    /// More transactions than the chain allows.
    #[error("{found} transactions, where at most {limit} are allowed")]
    TooManyTransactions {
        /// How many.
        found: usize,
        /// The chain's limit.
        limit: u32,
    },
    /// More bytes of transactions than the chain allows.
    #[error("{found} bytes of transactions, where at most {limit} are allowed")]
    TooManyBytes {
        /// How many.
        found: usize,
        /// The chain's limit.
        limit: u32,
    },
    /// The transactions given are not those of the header.
    #[error("names {found} as the root of its transactions, which is {expected}")]
    WrongTransactionsRoot {
        /// The root named.
        found: Hash,
        /// The root over the transactions given.
        expected: Hash,
    },
    /// A transaction that may not stand in this block.
    #[error("transaction {index}, {id}: {refusal}")]
    Transaction {
        /// Its position, from 0.
        index: usize,
        /// Its id.
        id: TransactionId,
        /// Why it may not.
        refusal: Refusal,
    },
    /// Says nothing about the block: this node could not check it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks a transaction for a block of time `time`, but for replay.
pub(crate) fn check_transaction(
    transaction: &VerifiedTransaction,
    chain: &ChainId,
    parameters: &Parameters,
    members: &BTreeMap<PublicKey, Member>,
    time: Timestamp,
) -> Result<(), Refusal> {
    let bytes = transaction.bytes().len();
    let transaction = transaction.transaction();
    if transaction.chain != *chain {
        return Err(Refusal::WrongChain);
    }
    let sender = members.get(&transaction.sender).ok_or(Refusal::UnknownSender)?;
    if !sender.has(Role::Submitter) {
        return Err(Refusal::NotSubmitter);
    }
    if bytes as u64 > u64::from(parameters.max_transaction_bytes) {
        return Err(Refusal::TooLarge { bytes, limit: parameters.max_transaction_bytes });
    }
    let expires_at = transaction.expires_at;
    if expires_at < time {
        return Err(Refusal::Expired { expires_at, time });
    }
    let latest = time.plus_ms(parameters.max_lifetime_ms);
    if expires_at > latest {
        return Err(Refusal::TooFarAhead { expires_at, latest });
    }
    Ok(())
}

/// The rule for the time of a block.
///
/// It is never before the parent's. Under a clock (a new proposal, not a re-proposal or a block from
/// sync) it is also within `max_clock_drift_ms` of that clock, both ways, with one exception: the
/// parent's own time is accepted however far ahead of the clock it is. That time is agreed already,
/// and no lower one is allowed; a clock that lags behind it must not stall the chain.
pub(crate) fn check_time(
    found: Timestamp,
    parent: Timestamp,
    clock: Option<Timestamp>,
    parameters: &Parameters,
) -> Result<(), InvalidBlock> {
    if found < parent {
        return Err(InvalidBlock::BeforeParent { found, parent });
    }
    let Some(clock) = clock else { return Ok(()) };
    if found.plus_ms(parameters.max_clock_drift_ms) < clock {
        return Err(InvalidBlock::BehindClock { found, clock });
    }
    if found > clock.plus_ms(parameters.max_clock_drift_ms) && found != parent {
        return Err(InvalidBlock::AheadOfClock { found, clock });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_for_time() {
        let parameters = Parameters { max_clock_drift_ms: 10, ..Parameters::default() };
        let check = |found, parent, clock: Option<u64>| {
            check_time(Timestamp(found), Timestamp(parent), clock.map(Timestamp), &parameters)
        };
        // Without a clock only the parent counts.
        assert!(check(100, 100, None).is_ok());
        assert!(check(u64::MAX, 100, None).is_ok());
        assert!(matches!(check(99, 100, None), Err(InvalidBlock::BeforeParent { .. })));
        // With one, the drift bounds both ways, ends included.
        assert!(check(110, 100, Some(100)).is_ok());
        assert!(matches!(check(111, 100, Some(100)), Err(InvalidBlock::AheadOfClock { .. })));
        assert!(check(110, 100, Some(120)).is_ok());
        assert!(matches!(check(109, 100, Some(120)), Err(InvalidBlock::BehindClock { .. })));
        // A clock that lags behind the agreed time accepts that time and none further ahead.
        assert!(check(500, 500, Some(100)).is_ok());
        assert!(matches!(check(501, 500, Some(100)), Err(InvalidBlock::AheadOfClock { .. })));
        assert!(matches!(check(499, 500, Some(100)), Err(InvalidBlock::BeforeParent { .. })));
        // The parent's time is no excuse for being behind: time could stand still for ever.
        assert!(matches!(check(100, 100, Some(111)), Err(InvalidBlock::BehindClock { .. })));
        // The ends of the range do not overflow.
        assert!(check(u64::MAX, 0, Some(u64::MAX)).is_ok());
        assert!(check(0, 0, Some(0)).is_ok());
    }
}
