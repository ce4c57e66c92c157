//! The receipt: proof, forever and offline, that a transaction committed and what came of it.

use crate::block::{BlockResult, Header, transaction_leaf, transactions_tree};
use crate::certificate::{Certificate, CertificateError};
use crate::codec;
use crate::hash::{BlockHash, ChainId, Hash, ResultHash, TransactionId};
use crate::merkle::{self, Path, ProofError, Tree};
use crate::outcome::{Outcome, OutcomeRecord};
use crate::signed::Verify;
use crate::transaction::{SignedTransaction, TransactionError};
use crate::validators::ValidatorSet;
use serde::{Deserialize, Serialize};

/// The most headers a [`Finality`] may hold between a block and its certificate: an ancestor is
/// certified by a descendant within the largest window.
pub const MAX_DESCENDANTS: usize = 2 * crate::parameters::limits::WINDOW_PROPOSALS;

/// Proof that a block and its result are final: the block's own certificate, or that of a
/// descendant with the headers between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finality {
    /// The block.
    pub header: Header,
    /// What executing it led to.
    pub result: BlockResult,
    /// The headers after it, ascending, up to the certified one. Empty if the block itself is.
    pub descendants: Vec<Header>,
    /// The certificate of the last header.
    pub certificate: Certificate,
}

/// Why a receipt, or another proof, does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Of another chain.
    #[error("belongs to chain {found}, not {expected}")]
    WrongChain {
        /// The chain found.
        found: ChainId,
        /// The chain of the genesis document.
        expected: ChainId,
    },
    /// The header names another validator set.
    #[error("the header names another validator set")]
    WrongValidators,
    /// The headers between block and certificate do not name one another.
    #[error("the header at height {0} does not follow from the one before it")]
    BrokenChain(crate::ids::Height),
    /// The certificate is for another block, height or result.
    #[error("the certificate is for another block or result")]
    WrongCertificate,
    /// The certificate itself does not hold.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The transaction itself does not hold.
    #[error("transaction: {0}")]
    Transaction(#[from] TransactionError),
    /// The transaction is not at its place in the block.
    #[error("place of the transaction in the block: {0}")]
    TransactionPath(ProofError),
    /// The outcome is not at its place in the result.
    #[error("place of the outcome in the result: {0}")]
    OutcomePath(ProofError),
}

impl Finality {
    /// Checks that the block and its result are final on the chain with these validators.
    ///
    /// # Errors
    /// See [`ReceiptError`].
    pub fn verify(&self, chain: &ChainId, validators: &ValidatorSet) -> Result<(), ReceiptError> {
        let (block, result) = self.linked(chain, validators)?;
        let commit = &self.certificate.commit;
        let certified = self.descendants.last().unwrap_or(&self.header);
        if commit.block != block
            || commit.height != certified.height
            || result.is_some_and(|r| r != commit.result)
        {
            return Err(ReceiptError::WrongCertificate);
        }
        Ok(self.certificate.verify(chain, validators)?)
    }

    /// Walks from the block to the certified header; returns its hash and, when that is the block
    /// itself, the hash of the result that the certificate must name.
    fn linked(
        &self,
        chain: &ChainId,
        validators: &ValidatorSet,
    ) -> Result<(BlockHash, Option<ResultHash>), ReceiptError> {
        let set = validators.hash(chain);
        let mut header = &self.header;
        check_header(header, chain, &set)?;
        let mut hash = header.hash();
        let mut result = Some(self.result.hash(chain));
        for next in &self.descendants {
            check_header(next, chain, &set)?;
            let follows = next.height == header.height.next()
                && next.parent == hash
                && result.is_none_or(|result| next.parent_result == result);
            if !follows {
                return Err(ReceiptError::BrokenChain(next.height));
            }
            (header, hash, result) = (next, next.hash(), None);
        }
        Ok((hash, result))
    }
}

fn check_header(header: &Header, chain: &ChainId, set: &crate::hash::Hash) -> Result<(), ReceiptError> {
    if header.chain != *chain {
        return Err(ReceiptError::WrongChain { found: header.chain, expected: *chain });
    }
    if header.validators != *set {
        return Err(ReceiptError::WrongValidators);
    }
    Ok(())
}

/// A transaction's place in a block, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inclusion {
    /// Position in the block, from 0.
    pub index: u32,
    /// From the id to the header's `transactions_root`.
    pub transaction_path: Path,
    /// What came of it.
    pub outcome: Outcome,
    /// From the outcome to the result's `outcomes_root`.
    pub outcome_path: Path,
}

impl Inclusion {
    /// Checks that transaction `id` has this place and outcome in the block. Whether the block is
    /// final is [`Finality::verify`]'s question.
    ///
    /// # Errors
    /// `TransactionPath` or `OutcomePath` of [`ReceiptError`].
    pub fn verify(
        &self,
        id: TransactionId,
        header: &Header,
        result: &BlockResult,
    ) -> Result<(), ReceiptError> {
        let (index, size) = (u64::from(self.index), u64::from(header.transaction_count));
        let leaf = transaction_leaf(&id);
        merkle::verify_inclusion(&header.transactions_root, &leaf, index, size, &self.transaction_path)
            .map_err(ReceiptError::TransactionPath)?;
        let leaf = OutcomeRecord { transaction: id, outcome: self.outcome.clone() }.leaf();
        merkle::verify_inclusion(&result.outcomes_root, &leaf, index, size, &self.outcome_path)
            .map_err(ReceiptError::OutcomePath)
    }
}

/// One of several transactions of a block: where it stands, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Position in the block, from 0.
    pub index: u32,
    /// Which transaction, and what came of it.
    pub record: OutcomeRecord,
}

/// Several transactions' places in one block, proven together by two multiproofs: a node that many of their paths
/// would hold is there once, or not at all where it follows from the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inclusions {
    /// Ascending by index.
    pub places: Vec<Place>,
    /// From the ids to the header's `transactions_root`; see [`Tree::multiproof`].
    pub transactions: Vec<Hash>,
    /// From the outcomes to the result's `outcomes_root`, likewise.
    pub outcomes: Vec<Hash>,
}

impl Inclusions {
    /// Checks that all these transactions have these places and outcomes in the block. Whether the block is final is
    /// [`Finality::verify`]'s question.
    ///
    /// # Errors
    /// `TransactionPath` or `OutcomePath` of [`ReceiptError`].
    pub fn verify(&self, header: &Header, result: &BlockResult) -> Result<(), ReceiptError> {
        let size = u64::from(header.transaction_count);
        let leaves = |leaf: fn(&OutcomeRecord) -> Hash| -> Vec<(u64, Hash)> {
            self.places.iter().map(|place| (u64::from(place.index), leaf(&place.record))).collect()
        };
        let ids = leaves(|record| transaction_leaf(&record.transaction));
        merkle::verify_multiproof(&header.transactions_root, &ids, size, &self.transactions)
            .map_err(ReceiptError::TransactionPath)?;
        let outcomes = leaves(OutcomeRecord::leaf);
        merkle::verify_multiproof(&result.outcomes_root, &outcomes, size, &self.outcomes)
            .map_err(ReceiptError::OutcomePath)
    }

    /// The transaction's inclusion, if there is one place only: the proof of one leaf is its path.
    pub fn only(self) -> Option<(TransactionId, Inclusion)> {
        let [Place { index, record }] = self.places.try_into().ok()?;
        let OutcomeRecord { transaction, outcome } = record;
        let (transaction_path, outcome_path) = (self.transactions, self.outcomes);
        Some((transaction, Inclusion { index, transaction_path, outcome, outcome_path }))
    }
}

/// The trees of a block's transactions and outcomes: what proves where each stands. Some 128 bytes a transaction.
#[derive(Debug, Clone)]
pub struct BlockTrees {
    /// Over the ids: [`transactions_tree`].
    pub transactions: Tree,
    /// Over the outcomes: each leaf an [`OutcomeRecord`].
    pub outcomes: Tree,
}

impl BlockTrees {
    /// The trees of a block with these transactions and what came of each.
    pub fn new(ids: &[TransactionId], outcomes: &[Outcome]) -> BlockTrees {
        let record = |(id, outcome): (&TransactionId, &Outcome)| OutcomeRecord {
            transaction: *id,
            outcome: outcome.clone(),
        };
        let outcomes = ids.iter().zip(outcomes).map(|of_one| record(of_one).leaf()).collect();
        BlockTrees { transactions: transactions_tree(ids.iter().copied()), outcomes: Tree::new(outcomes) }
    }

    /// These transactions of the block with their proof; `None` unless they ascend and are in range.
    pub fn inclusions(&self, places: Vec<Place>) -> Option<Inclusions> {
        let indexes = places.iter().map(|place| usize::try_from(place.index).ok());
        let indexes = indexes.collect::<Option<Vec<usize>>>()?;
        let transactions = self.transactions.multiproof(&indexes)?;
        let outcomes = self.outcomes.multiproof(&indexes)?;
        Some(Inclusions { places, transactions, outcomes })
    }
}

/// Proof that a transaction committed, and what came of it. Checks offline, forever, with nothing
/// but the genesis document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The transaction.
    pub transaction: SignedTransaction,
    /// Where it stands, and what came of it.
    pub inclusion: Inclusion,
    /// Why that is final.
    pub finality: Finality,
}

impl Receipt {
    /// The transaction's id.
    pub fn id(&self) -> TransactionId {
        self.transaction.transaction.id()
    }

    /// The outcome it proves, if [`Receipt::verify`] passes.
    pub fn outcome(&self) -> &Outcome {
        &self.inclusion.outcome
    }

    /// Checks everything: the transaction's form and signature, its place and outcome, and that the
    /// block is final.
    ///
    /// # Errors
    /// See [`ReceiptError`].
    pub fn verify(&self, chain: &ChainId, validators: &ValidatorSet) -> Result<(), ReceiptError> {
        self.transaction.verify(chain)?;
        self.inclusion.verify(self.id(), &self.finality.header, &self.finality.result)?;
        self.finality.verify(chain, validators)
    }

    /// The longest encoding a receipt may have, in bytes.
    pub const MAX_BYTES: usize = 4 << 20;

    /// The receipt in its canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }
}
