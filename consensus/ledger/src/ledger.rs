//! The ledger over a store: admission, proposing, checking, committing.

use crate::chain::{self, Genesis, Point, Tip};
use crate::execution::{self, Execution};
use crate::pending::{Executed, Pending, PendingBlocks};
use crate::reader::{Layer, PageCache, Reader};
use crate::replay::{ReplayIndex, Ticket};
use crate::state::{StateKey, StateValue};
use crate::store::{Column, MemoryStore, Store, StoreError, Write};
use crate::table;
use crate::validity::{self, InvalidBlock, Refusal};
use foldhash::HashSet;
use foldhash::fast::RandomState;
use quorate_types::block::{BlockResult, Header, transactions_tree};
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::PublicKey;
use quorate_types::member::Member;
use quorate_types::merkle::{self, Tree};
use quorate_types::outcome::{Outcome, OutcomeRecord};
use quorate_types::receipt::BlockTrees;
use quorate_types::transaction::VerifiedTransaction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why the ledger cannot do what its node asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The store holds another chain.
    #[error("the store belongs to chain {found}, not to {expected}")]
    OtherChain {
        /// The chain of the store.
        found: ChainId,
        /// The chain of the genesis document.
        expected: ChainId,
    },
    /// The store was written by a later version of this software.
    #[error("the store has format {found}, and this software knows formats up to {known}")]
    NewerFormat {
        /// The format of the store.
        found: u32,
        /// The latest format known here.
        known: u32,
    },
    /// The block to build on is neither the tip nor pending.
    #[error("the block {0} to build on is unknown")]
    UnknownParent(BlockHash),
    /// The proposer does not lead the view.
    #[error("validator {proposer} does not lead view {view}")]
    NotLeader {
        /// The proposer.
        proposer: ValidatorIndex,
        /// The view.
        view: View,
    },
    /// The block to commit was not checked, or was given up since: check it (again) first.
    #[error("the block {0} is not pending")]
    NotPending(BlockHash),
    /// The block to commit is pending, and its parent is too: commit that first.
    #[error("the block {0} is not a child of the last committed one")]
    NotNext(BlockHash),
    /// Only from [`Ledger::extend`]: the block is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidBlock),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a leader's attempt to propose came to.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// The new block and the hash of its result; `None` if no candidate fits. It is pending now.
    pub block: Option<(Header, Vec<VerifiedTransaction>, ResultHash)>,
    /// The candidates passed over, and why.
    pub skipped: Vec<(TransactionId, Refusal)>,
}

/// A block that was just committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its header.
    pub header: Header,
    /// Its result.
    pub result: BlockResult,
    /// Its transactions.
    pub transactions: Vec<VerifiedTransaction>,
    /// What came of each.
    pub outcomes: Vec<Outcome>,
    /// What proves where each stands.
    pub trees: BlockTrees,
    /// What the ledger has to say to the store about it, for one atomic batch.
    pub writes: Vec<Write>,
}

/// Pending blocks kept for each proposal of the window. A view uses at most a window of blocks, each
/// proposed or checked in it, so what is given up belongs to views long over; if it returns it is
/// executed again. See [`Ledger::check`].
const PENDING_WINDOWS: u64 = 8;

/// The state of one chain at its last committed block, and the blocks executed on top of it.
///
/// Reads nothing but the store, writes nothing at all: founding and committing hand out [`Write`]s.
/// Until the node says that they have arrived ([`Ledger::applied`]) they are read from memory, so the
/// node should bound how far its storage may fall behind.
pub struct Ledger<S> {
    store: S,
    genesis: Genesis,
    /// Hash of the validator set, which no operation changes.
    validators: Hash,
    members: BTreeMap<PublicKey, Member>,
    tip: Point,
    replay: ReplayIndex,
    pending: PendingBlocks,
    /// Committed blocks whose writes are not known to be in the store.
    unapplied: BTreeMap<Height, Arc<Layer>>,
    cache: PageCache,
}

impl<S: Store> Ledger<S> {
    /// Opens the ledger over a store. An empty store is founded: the writes that do so are returned,
    /// to be applied (and reported with [`Ledger::applied`] for height 0) before those of any commit.
    ///
    /// # Errors
    /// [`LedgerError::OtherChain`], [`LedgerError::NewerFormat`], or [`LedgerError::Store`].
    pub fn open(store: S, genesis: Genesis) -> Result<(Ledger<S>, Vec<Write>), LedgerError> {
        let mut unapplied = BTreeMap::new();
        let mut writes = Vec::new();
        let (tip, replay) = match table::load::<u32>(&store, Column::Meta, table::META_FORMAT)? {
            None => {
                if store.get(Column::Meta, table::META_TIP)?.is_some() {
                    return Err(
                        StoreError::Corrupt("the store has a tip, and its format is missing".into()).into()
                    );
                }
                let (tip, layer, founding) = chain::found(&genesis);
                unapplied.insert(Height::GENESIS, Arc::new(layer));
                writes = founding;
                (tip, ReplayIndex::default())
            }
            Some(table::FORMAT) => {
                let found: ChainId =
                    table::load(&store, Column::Meta, table::META_CHAIN)?.ok_or_else(|| {
                        StoreError::Corrupt("the store does not say which chain it holds".into())
                    })?;
                if found != genesis.chain {
                    return Err(LedgerError::OtherChain { found, expected: genesis.chain });
                }
                let tip = Point::load(&store, &genesis.chain)?;
                let replay = ReplayIndex::load(&store, tip.tip.timestamp)?;
                (tip, replay)
            }
            Some(found) => return Err(LedgerError::NewerFormat { found, known: table::FORMAT }),
        };
        let ledger = Ledger {
            validators: genesis.validators.hash(&genesis.chain),
            members: genesis.members_by_key(),
            store,
            genesis,
            tip,
            replay,
            pending: PendingBlocks::default(),
            unapplied,
            cache: PageCache::default(),
        };
        Ok((ledger, writes))
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The founding facts.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The last committed block.
    pub fn tip(&self) -> Tip {
        self.tip.tip
    }

    /// The member with this key.
    pub fn member(&self, key: &PublicKey) -> Option<&Member> {
        self.members.get(key)
    }

    /// What the committed state holds at `key`, without a proof. See [`read()`](crate::read::read()).
    ///
    /// # Errors
    /// [`StoreError`] if it could not be read.
    pub fn get(&self, key: &StateKey) -> Result<Option<StateValue>, StoreError> {
        let mut reader = Reader::new(&self.store, &self.unapplied, BTreeMap::new(), None);
        execution::read(&mut reader, self.tip.root, key.hash(), key.parts())
    }

    /// Whether a transaction from a client or a peer is worth keeping for a block to come: what a
    /// block requires, held against the later of the tip's time and the clock, but for its latest
    /// expiry, which only the clock is held to.
    ///
    /// # Errors
    /// See [`Refusal`]. Blocks that are not committed are not looked at.
    pub fn admit(&self, transaction: &VerifiedTransaction, now: Timestamp) -> Result<(), Refusal> {
        let tip = self.tip.tip.timestamp;
        let expires_at = transaction.transaction().expires_at;
        self.check_transaction(transaction, now)?;
        if expires_at < tip {
            return Err(Refusal::Expired { expires_at, time: tip });
        }
        if self.replay.contains(&Ticket::of(transaction)) {
            return Err(Refusal::AlreadyCommitted);
        }
        Ok(())
    }

    /// Builds a block on `parent`, the tip or a pending block, out of `candidates` in order, passing
    /// over those that may not stand in it and stopping at the first that has no room. It holds at most
    /// `limit` transactions, and what the chain allows. Its time is `now`, or the parent's if that is
    /// later. The block is executed and pending afterwards.
    ///
    /// # Errors
    /// [`LedgerError::UnknownParent`], [`LedgerError::NotLeader`], or [`LedgerError::Store`].
    pub fn propose(
        &mut self,
        parent: BlockHash,
        view: View,
        proposer: ValidatorIndex,
        now: Timestamp,
        limit: usize,
        candidates: &mut dyn Iterator<Item = VerifiedTransaction>,
    ) -> Result<Proposed, LedgerError> {
        let parent_point = self.point(&parent).ok_or(LedgerError::UnknownParent(parent))?.clone();
        if self.genesis.validators.leader(view) != proposer {
            return Err(LedgerError::NotLeader { proposer, view });
        }
        let timestamp = now.max(parent_point.tip.timestamp);
        let parameters = &self.genesis.parameters;
        let (most, most_bytes) = (parameters.max_block_transactions, u64::from(parameters.max_block_bytes));
        let mut transactions = Vec::new();
        let mut skipped = Vec::new();
        let mut tickets = HashSet::default();
        let (mut count, mut bytes) = (0u32, 0u64);
        while count < most && transactions.len() < limit {
            let Some(transaction) = candidates.next() else { break };
            let fits = self.check_transaction(&transaction, timestamp);
            let fits = fits.and_then(|()| self.check_replay(&parent, &tickets, &transaction));
            if let Err(refusal) = fits {
                skipped.push((transaction.id(), refusal));
                continue;
            }
            let with = bytes + transaction.bytes().len() as u64;
            if with > most_bytes {
                break;
            }
            (count, bytes) = (count + 1, with);
            tickets.insert(Ticket::of(&transaction));
            transactions.push(transaction);
        }
        if transactions.is_empty() {
            return Ok(Proposed { block: None, skipped });
        }
        let tree = transactions_tree(transactions.iter().map(VerifiedTransaction::id));
        let header = Header {
            chain: self.genesis.chain,
            height: parent_point.tip.height.next(),
            view,
            proposer,
            timestamp,
            parent,
            parent_result: parent_point.tip.result,
            transactions_root: tree.root(),
            transaction_count: count,
            history_root: parent_point.log.root(),
            validators: self.validators,
        };
        let body = Body { transactions: &transactions, tree, tickets: ascending(tickets) };
        let result = self.execute(&parent_point, header.clone(), header.hash(), body)?;
        Ok(Proposed { block: Some((header, transactions, result)), skipped })
    }

    /// Checks a block: every field of its header against what this node computed, and every
    /// transaction's place in it. Executes it, and returns the hash of its result; the block is
    /// pending afterwards. Checking a pending block, or the tip, again returns the same at once.
    ///
    /// `clock` is this node's, for a new proposal; `None` for a re-proposal and for blocks from sync,
    /// whose time was agreed earlier. The rule for the time: not before the parent's; and under a
    /// clock within `max_clock_drift_ms` of it, except that the parent's own time is accepted
    /// however far ahead of the clock it is.
    ///
    /// At most eight windows of blocks are pending. Beyond that, the one that was longest neither
    /// proposed nor checked is given up, never one that another is built on; should it return, it
    /// must be checked again.
    ///
    /// # Errors
    /// See [`InvalidBlock`]; [`InvalidBlock::Store`] and [`InvalidBlock::UnknownParent`] say nothing
    /// against the block.
    pub fn check(
        &mut self,
        header: &Header,
        transactions: &[VerifiedTransaction],
        clock: Option<Timestamp>,
    ) -> Result<ResultHash, InvalidBlock> {
        if header.chain != self.genesis.chain {
            return Err(InvalidBlock::WrongChain(header.chain));
        }
        let block = header.hash();
        if let Some(known) = self.point(&block) {
            let result = known.tip.result;
            self.pending.touch(&block);
            return Ok(result);
        }
        let tip = self.tip.tip.height;
        if header.height <= tip {
            return Err(InvalidBlock::Decided { found: header.height, tip });
        }
        let parent = self.point(&header.parent).ok_or(InvalidBlock::UnknownParent(header.parent))?.clone();
        self.check_header(header, &parent, clock)?;
        let body = self.check_body(header, transactions)?;
        Ok(self.execute(&parent, header.clone(), block, body)?)
    }

    /// The result of a pending block, or of the tip.
    pub fn result(&self, block: BlockHash) -> Option<&BlockResult> {
        self.point(&block).map(|point| &point.result)
    }

    /// A pending block.
    pub fn pending(&self, block: BlockHash) -> Option<&Executed> {
        self.pending.get(&block).map(|pending| &pending.executed)
    }

    /// How many blocks are pending.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Commits a pending child of the tip: it becomes the tip, and pending blocks that do not descend
    /// from it are forgotten. The caller holds the certificate that makes this right.
    ///
    /// # Errors
    /// [`LedgerError::NotPending`] or [`LedgerError::NotNext`]; nothing has changed then.
    pub fn commit(&mut self, block: BlockHash) -> Result<Committed, LedgerError> {
        let pending = self.pending.get(&block).ok_or(LedgerError::NotPending(block))?;
        if pending.executed.header.parent != self.tip.tip.block {
            return Err(LedgerError::NotNext(block));
        }
        let pending = self.pending.remove(&block).ok_or(LedgerError::NotPending(block))?;
        let Pending { executed, point, layer, completed, tickets, .. } = pending;
        let height = point.tip.height;
        assert_eq!(height, self.tip.tip.height.next(), "a child is one higher than its parent");
        let mut writes = point.writes(&layer, &completed);
        self.replay.commit(height, point.tip.timestamp, &tickets, &mut writes);
        self.cache.commit(&layer);
        self.unapplied.insert(height, layer);
        self.tip = point;
        self.pending.settle(block);
        let Executed { header, transactions, outcomes, trees, result } = executed;
        Ok(Committed { header, result, transactions, outcomes, trees, writes })
    }

    /// How many committed blocks are kept in memory until [`Ledger::applied`] says that they are in the store.
    pub fn unapplied_count(&self) -> usize {
        self.unapplied.len()
    }

    /// Says that the writes of every block up to `height` are in the store, and will be read there.
    pub fn applied(&mut self, height: Height) {
        self.unapplied.retain(|unapplied, _| *unapplied > height);
    }

    fn point(&self, block: &BlockHash) -> Option<&Point> {
        if *block == self.tip.tip.block {
            return Some(&self.tip);
        }
        self.pending.get(block).map(|pending| &pending.point)
    }

    fn check_header(
        &self,
        header: &Header,
        parent: &Point,
        clock: Option<Timestamp>,
    ) -> Result<(), InvalidBlock> {
        let expected = parent.tip.height.next();
        if header.height != expected {
            return Err(InvalidBlock::WrongHeight { found: header.height, expected });
        }
        let expected = parent.tip.result;
        if header.parent_result != expected {
            return Err(InvalidBlock::WrongParentResult { found: header.parent_result, expected });
        }
        if header.validators != self.validators {
            return Err(InvalidBlock::WrongValidators {
                found: header.validators,
                expected: self.validators,
            });
        }
        let expected = self.genesis.validators.leader(header.view);
        if header.proposer != expected {
            return Err(InvalidBlock::WrongProposer { found: header.proposer, expected });
        }
        let expected = parent.log.root();
        if header.history_root != expected {
            return Err(InvalidBlock::WrongHistoryRoot { found: header.history_root, expected });
        }
        validity::check_time(header.timestamp, parent.tip.timestamp, clock, &self.genesis.parameters)
    }

    /// Checks the transactions of a block whose header is right.
    fn check_body<'a>(
        &self,
        header: &Header,
        transactions: &'a [VerifiedTransaction],
    ) -> Result<Body<'a>, InvalidBlock> {
        let parameters = &self.genesis.parameters;
        let found = transactions.len();
        if found as u64 != u64::from(header.transaction_count) {
            return Err(InvalidBlock::WrongCount { header: header.transaction_count, found });
        }
        if found == 0 {
            return Err(InvalidBlock::Empty);
        }
        if found as u64 > u64::from(parameters.max_block_transactions) {
            return Err(InvalidBlock::TooManyTransactions {
                found,
                limit: parameters.max_block_transactions,
            });
        }
        let bytes: usize = transactions.iter().map(|transaction| transaction.bytes().len()).sum();
        if bytes as u64 > u64::from(parameters.max_block_bytes) {
            return Err(InvalidBlock::TooManyBytes { found: bytes, limit: parameters.max_block_bytes });
        }
        let tree = transactions_tree(transactions.iter().map(VerifiedTransaction::id));
        let expected = tree.root();
        if header.transactions_root != expected {
            return Err(InvalidBlock::WrongTransactionsRoot { found: header.transactions_root, expected });
        }
        let mut tickets = HashSet::with_capacity_and_hasher(found, RandomState::default());
        for (index, transaction) in transactions.iter().enumerate() {
            self.check_transaction(transaction, header.timestamp)
                .and_then(|()| self.check_replay(&header.parent, &tickets, transaction))
                .map_err(|refusal| InvalidBlock::Transaction { index, id: transaction.id(), refusal })?;
            tickets.insert(Ticket::of(transaction));
        }
        Ok(Body { transactions, tree, tickets: ascending(tickets) })
    }

    fn check_transaction(&self, transaction: &VerifiedTransaction, time: Timestamp) -> Result<(), Refusal> {
        validity::check_transaction(
            transaction,
            &self.genesis.chain,
            &self.genesis.parameters,
            &self.members,
            time,
        )
    }

    /// Checks that neither a committed block, nor `parent` or a block between, nor the block under
    /// construction (`earlier`) holds the transaction.
    fn check_replay(
        &self,
        parent: &BlockHash,
        earlier: &HashSet<Ticket>,
        transaction: &VerifiedTransaction,
    ) -> Result<(), Refusal> {
        let ticket = Ticket::of(transaction);
        if self.replay.contains(&ticket) {
            return Err(Refusal::AlreadyCommitted);
        }
        let in_ancestor =
            || self.pending.line(parent).any(|block| block.tickets.binary_search(&ticket).is_ok());
        if earlier.contains(&ticket) || in_ancestor() {
            return Err(Refusal::AlreadyPending);
        }
        Ok(())
    }

    /// Executes a block that passed every check, and keeps it pending.
    fn execute(
        &mut self,
        parent: &Point,
        header: Header,
        block: BlockHash,
        Body { transactions, tree, tickets }: Body<'_>,
    ) -> Result<ResultHash, StoreError> {
        let ancestors =
            self.pending.line(&header.parent).map(|block| (block.point.tip.height, &*block.layer)).collect();
        let mut reader = Reader::new(&self.store, &self.unapplied, ancestors, Some(&mut self.cache));
        let (root, height, count) = (parent.root, header.height, transactions.len());
        let mut execution = Execution::new(&mut reader, &self.members, root, height, count);
        let mut outcomes = Vec::with_capacity(transactions.len());
        let mut leaves = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            let outcome = execution.transaction(transaction.transaction())?;
            let record = OutcomeRecord { transaction: transaction.id(), outcome };
            leaves.push(record.leaf());
            outcomes.push(record.outcome);
        }
        let layer = execution.finish()?;
        let trees = BlockTrees { transactions: tree, outcomes: Tree::new(leaves) };
        let result = BlockResult {
            state_root: layer.root.hash(),
            outcomes_root: trees.outcomes.root(),
            next_validators: self.validators,
        };
        let hash = result.hash(&self.genesis.chain);
        let mut log = parent.log.clone();
        let completed = log.append(merkle::leaf_hash(&block.0.0));
        let tip = Tip { height: header.height, block, result: hash, timestamp: header.timestamp };
        let point = Point { tip, result: result.clone(), root: layer.root, log };
        let executed = Executed { header, transactions: transactions.to_vec(), outcomes, trees, result };
        let pending = Pending { executed, point, layer: Arc::new(layer), completed, tickets, used: 0 };
        let limit = self.genesis.parameters.window.max(1).saturating_mul(PENDING_WINDOWS);
        self.pending.insert(pending, usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(hash)
    }
}

/// The transactions of a block that passed every check.
struct Body<'a> {
    transactions: &'a [VerifiedTransaction],
    /// Over their ids.
    tree: Tree,
    /// Of each, ascending.
    tickets: Vec<Ticket>,
}

fn ascending(tickets: HashSet<Ticket>) -> Vec<Ticket> {
    let mut tickets: Vec<Ticket> = tickets.into_iter().collect();
    tickets.sort_unstable();
    tickets
}

impl Ledger<MemoryStore> {
    /// A founded ledger in memory, for auditors and tests.
    pub fn in_memory(genesis: Genesis) -> Ledger<MemoryStore> {
        let opened = Ledger::open(MemoryStore::new(), genesis);
        let (mut ledger, writes) = opened.expect("an empty store in memory can always be founded");
        ledger.store.apply(&writes);
        ledger.applied(Height::GENESIS);
        ledger
    }

    /// Applies the writes of a commit.
    pub fn apply(&mut self, committed: &Committed) {
        self.store.apply(&committed.writes);
        self.applied(committed.header.height);
    }

    /// Checks, commits and applies the block after the tip: re-execution, one block at a time.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] says what is wrong with the block.
    pub fn extend(
        &mut self,
        header: &Header,
        transactions: &[VerifiedTransaction],
    ) -> Result<Committed, LedgerError> {
        self.check(header, transactions, None)?;
        let committed = self.commit(header.hash())?;
        self.apply(&committed);
        Ok(committed)
    }
}
