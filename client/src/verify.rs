//! Checks of everything a validator says, against the genesis document alone.
//!
//! Pure: no network, no clock. What passes comes out in a type that cannot be made otherwise
//! ([`VerifiedReceipt`], [`VerifiedState`], [`VerifiedBlock`]), so that nothing unverified reaches a
//! caller as a fact.
//!
//! | a validator says | what proves it |
//! |---|---|
//! | a receipt | the sender's signature, Merkle paths of transaction and outcome, and the finality of the block |
//! | a value, or that there is none | a path to the state root, and the finality of the block |
//! | a block | every transaction's signature, the root over their ids, and the finality of the block |
//! | a run of blocks | the same, and that each names the one before; certificates reach back over the links |
//!
//! Finality is a quorum of commit votes of the validators in the genesis document.

use quorate_genesis::Founding;
use quorate_ledger::{StateKey, StateProof, StateProofError, StateValue};
use quorate_types::block::{Block, Header, transactions_root};
use quorate_types::certificate::{Certificate, CertificateError};
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp};
use quorate_types::outcome::Outcome;
use quorate_types::receipt::{Finality, MAX_DESCENDANTS, Receipt, ReceiptError};
use quorate_types::transaction::{TransactionError, VerifiedTransaction, verify_transactions};
use quorate_types::validators::ValidatorSet;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Why an answer is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A receipt, or the finality of a block, does not hold.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A proof of the state does not hold.
    #[error("state: {0}")]
    State(#[from] StateProofError),
    /// A receipt of another transaction than the one asked for.
    #[error("the receipt is for transaction {found}, not {asked}")]
    WrongTransaction {
        /// Asked for.
        asked: TransactionId,
        /// Received.
        found: TransactionId,
    },
    /// An answer for another height than the one asked for.
    #[error("the answer is for height {found}, not {asked}")]
    WrongHeight {
        /// Asked for.
        asked: Height,
        /// Received.
        found: Height,
    },
    /// The proof of finality is for another block than the one that came with it.
    #[error("block {0} came with the finality of another block")]
    WrongFinality(Height),
    /// A block with more or fewer transactions than its header says.
    #[error("block {height} holds {found} transactions, but its header says {claimed}")]
    TransactionCount {
        /// The block.
        height: Height,
        /// In its header.
        claimed: u32,
        /// Received.
        found: usize,
    },
    /// The transactions are not those that the header commits to.
    #[error("the transactions of block {0} are not those its header names")]
    TransactionsRoot(Height),
    /// A transaction does not hold.
    #[error("transaction {index} of block {height}: {error}")]
    Transaction {
        /// The block.
        height: Height,
        /// Its position, from 0.
        index: usize,
        /// Why.
        error: TransactionError,
    },
    /// A block of another chain.
    #[error("block {height} belongs to chain {found}")]
    WrongChain {
        /// The block.
        height: Height,
        /// Its chain.
        found: ChainId,
    },
    /// A block that another validator set votes on.
    #[error("block {0} names another validator set than the genesis document")]
    WrongValidators(Height),
    /// A block out of turn.
    #[error("block {found} came where block {expected} was due")]
    Gap {
        /// Due.
        expected: Height,
        /// Received.
        found: Height,
    },
    /// A block that does not name the one before it.
    #[error("block {0} does not name the block before it")]
    BrokenLink(Height),
    /// The certificate is of another block.
    #[error("block {0} carries the certificate of another block")]
    WrongCertificate(Height),
    /// The certificate does not hold.
    #[error("certificate of block {height}: {error}")]
    Certificate {
        /// The block.
        height: Height,
        /// Why.
        error: CertificateError,
    },
    /// More blocks in a row without a certificate than can honestly be.
    #[error("{MAX_DESCENDANTS} blocks from {0} on without a certificate")]
    Uncertified(Height),
}

/// What a client takes for granted: the chain and its validators, from the genesis document.
#[derive(Debug, Clone)]
pub struct Anchor {
    chain: ChainId,
    validators: Arc<ValidatorSet>,
    validators_hash: Hash,
}

impl Anchor {
    /// The anchor of a chain with these validators.
    pub fn new(chain: ChainId, validators: ValidatorSet) -> Anchor {
        let validators_hash = validators.hash(&chain);
        Anchor { chain, validators: Arc::new(validators), validators_hash }
    }

    /// The anchor that a verified genesis document gives.
    pub fn of(founding: &Founding) -> Anchor {
        Anchor::new(founding.chain(), founding.validators().clone())
    }

    /// The chain.
    pub fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// Its validators.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Hash of the validators, as headers name it.
    pub fn validators_hash(&self) -> &Hash {
        &self.validators_hash
    }

    /// Checks a receipt; `asked` is the transaction it should be of, if one was asked for.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn receipt(
        &self,
        receipt: Receipt,
        asked: Option<TransactionId>,
    ) -> Result<VerifiedReceipt, VerifyError> {
        let id = receipt.id();
        if let Some(asked) = asked.filter(|asked| *asked != id) {
            return Err(VerifyError::WrongTransaction { asked, found: id });
        }
        receipt.verify(&self.chain, &self.validators)?;
        Ok(VerifiedReceipt { id, receipt })
    }

    /// Checks what the state holds at `key`, at height `asked` or at the latest.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn state(
        &self,
        key: &StateKey,
        asked: Option<Height>,
        proof: &StateProof,
        finality: &Finality,
    ) -> Result<VerifiedState, VerifyError> {
        let found = finality.header.height;
        if let Some(asked) = asked.filter(|asked| *asked != found) {
            return Err(VerifyError::WrongHeight { asked, found });
        }
        finality.verify(&self.chain, &self.validators)?;
        let value = proof.verify(&finality.result.state_root, key)?;
        Ok(VerifiedState { value, height: found, timestamp: finality.header.timestamp })
    }

    /// Checks a block, at height `asked` or the latest.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn block(
        &self,
        asked: Option<Height>,
        block: Block,
        finality: &Finality,
    ) -> Result<VerifiedBlock, VerifyError> {
        let found = block.header.height;
        if let Some(asked) = asked.filter(|asked| *asked != found) {
            return Err(VerifyError::WrongHeight { asked, found });
        }
        if finality.header != block.header {
            return Err(VerifyError::WrongFinality(found));
        }
        finality.verify(&self.chain, &self.validators)?;
        if let Some(certificate) = &block.certificate {
            self.certificate(&block.header, &block.header.hash(), certificate)?;
        }
        self.contents(block)
    }

    /// Checks that the certificate is this header's own, and holds.
    fn certificate(
        &self,
        header: &Header,
        hash: &BlockHash,
        certificate: &Certificate,
    ) -> Result<(), VerifyError> {
        let height = header.height;
        if certificate.commit.height != height || certificate.commit.block != *hash {
            return Err(VerifyError::WrongCertificate(height));
        }
        certificate
            .verify(&self.chain, &self.validators)
            .map_err(|error| VerifyError::Certificate { height, error })
    }

    /// Checks all of a block but its finality and its place in the chain.
    fn contents(&self, block: Block) -> Result<VerifiedBlock, VerifyError> {
        let header = &block.header;
        let height = header.height;
        if header.chain != self.chain {
            return Err(VerifyError::WrongChain { height, found: header.chain });
        }
        if header.validators != self.validators_hash {
            return Err(VerifyError::WrongValidators(height));
        }
        let found = block.transactions.len();
        if u32::try_from(found) != Ok(header.transaction_count) {
            return Err(VerifyError::TransactionCount { height, claimed: header.transaction_count, found });
        }
        let verdicts = verify_transactions(&self.chain, &block.transactions, &mut rand::rng());
        let transactions = verdicts
            .into_iter()
            .enumerate()
            .map(|(index, verdict)| {
                verdict.map_err(|error| VerifyError::Transaction { height, index, error })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<TransactionId> = transactions.iter().map(VerifiedTransaction::id).collect();
        if transactions_root(&ids) != header.transactions_root {
            return Err(VerifyError::TransactionsRoot(height));
        }
        Ok(VerifiedBlock { hash: header.hash(), block, transactions })
    }
}

/// A receipt that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    id: TransactionId,
    receipt: Receipt,
}

impl VerifiedReceipt {
    /// The transaction's id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The height it committed at.
    pub fn height(&self) -> Height {
        self.receipt.finality.header.height
    }

    /// The block's hash.
    pub fn block(&self) -> BlockHash {
        self.receipt.finality.header.hash()
    }

    /// The agreed time of the block.
    pub fn timestamp(&self) -> Timestamp {
        self.receipt.finality.header.timestamp
    }

    /// What came of it.
    pub fn outcome(&self) -> &Outcome {
        self.receipt.outcome()
    }

    /// The receipt itself.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// What the state holds at a key, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedState {
    value: Option<StateValue>,
    height: Height,
    timestamp: Timestamp,
}

impl VerifiedState {
    /// The value; `None` if it is proven that there is none.
    pub fn value(&self) -> Option<&StateValue> {
        self.value.as_ref()
    }

    /// The height after whose block this is so.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The agreed time of that block.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
}

/// A block that is final, with its transactions.
#[derive(Debug, Clone)]
pub struct VerifiedBlock {
    hash: BlockHash,
    block: Block,
    transactions: Vec<VerifiedTransaction>,
}

impl VerifiedBlock {
    /// Its hash.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// Its height.
    pub fn height(&self) -> Height {
        self.block.header.height
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.block.header
    }

    /// The block as it came.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Its transactions, in order.
    pub fn transactions(&self) -> &[VerifiedTransaction] {
        &self.transactions
    }
}

/// Checks a run of blocks that comes in order, from any height on.
///
/// A block without a certificate of its own is held back until a later one's reaches it over the
/// links. At most [`MAX_DESCENDANTS`] are held.
#[derive(Debug)]
pub struct Follower {
    anchor: Anchor,
    next: Height,
    /// The hash that the next block must name; unknown when the run starts in the middle.
    tip: Option<BlockHash>,
    /// Checked but for their finality, ascending, each naming the one before.
    pending: Vec<VerifiedBlock>,
    /// Where to start again when the stream that `pending` came from is cut.
    released: (Height, Option<BlockHash>),
}

impl Follower {
    /// A run that starts with the block at `from`, at least 1.
    pub fn new(anchor: Anchor, from: Height) -> Follower {
        let from = from.max(Height(1));
        // The first block names the chain id in its parent's place.
        let tip = (from == Height(1)).then_some(BlockHash(anchor.chain.0));
        Follower { anchor, next: from, tip, pending: Vec::new(), released: (from, tip) }
    }

    /// The height to ask for: what was held back without a certificate is forgotten.
    pub fn resume(&mut self) -> Height {
        self.pending.clear();
        (self.next, self.tip) = self.released;
        self.next
    }

    /// The lowest height that is not known to be final yet.
    pub fn due(&self) -> Height {
        self.released.0
    }

    /// Blocks held back.
    pub fn held_back(&self) -> usize {
        self.pending.len()
    }

    /// Takes the next block; returns those that are now known to be final, ascending.
    ///
    /// # Errors
    /// See [`VerifyError`]. Call [`resume`](Follower::resume) before going on with another source.
    pub fn push(&mut self, block: Block) -> Result<Vec<VerifiedBlock>, VerifyError> {
        let height = block.header.height;
        if height != self.next {
            return Err(VerifyError::Gap { expected: self.next, found: height });
        }
        if self.tip.is_some_and(|tip| tip != block.header.parent) {
            return Err(VerifyError::BrokenLink(height));
        }
        let block = self.anchor.contents(block)?;
        let certified = match &block.block.certificate {
            Some(certificate) => {
                self.anchor.certificate(block.header(), &block.hash, certificate)?;
                true
            }
            None => false,
        };
        (self.next, self.tip) = (height.next(), Some(block.hash));
        self.pending.push(block);
        if certified {
            self.released = (self.next, self.tip);
            return Ok(std::mem::take(&mut self.pending));
        }
        match self.pending.first() {
            Some(first) if self.pending.len() > MAX_DESCENDANTS => {
                Err(VerifyError::Uncertified(first.height()))
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// How many verified finalities are remembered: more than blocks commit while an answer travels.
const FINALITIES: usize = 1024;

/// Remembers blocks known to be final with their result, so that a certificate is verified once
/// for a block and not once for each of its transactions.
#[derive(Debug, Default)]
pub struct Finalities {
    known: HashSet<(BlockHash, ResultHash)>,
    order: VecDeque<(BlockHash, ResultHash)>,
}

impl Finalities {
    /// Nothing known yet.
    pub fn new() -> Finalities {
        Finalities::default()
    }

    /// Checks that the block and result of `finality` are final.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn check(&mut self, anchor: &Anchor, finality: &Finality) -> Result<(), VerifyError> {
        let name = (finality.header.hash(), finality.result.hash(&anchor.chain));
        if self.known.contains(&name) {
            return Ok(());
        }
        finality.verify(&anchor.chain, &anchor.validators)?;
        if self.order.len() >= FINALITIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(name);
        self.order.push_back(name);
        Ok(())
    }
}
