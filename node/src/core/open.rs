//! Starting: from an empty store, or from what an earlier run left.

use super::gossip::Gossip;
use super::lead::Pace;
use super::mempool::{Limits, Mempool};
use super::proposals::Proposals;
use super::records::{self, CommitRecord, PrepareRecord, ProposalRecord};
use super::sync::Sync;
use super::{Core, Guard, Now, Ready};
use quorate_ledger::{Column, Genesis, Ledger, LedgerError, Store, StoreError};
use quorate_pbft::{Committed, Committee, Config, Learning, Recovered, Replica, VerifiedMessage};
use quorate_types::hash::BlockHash;
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::keys::SecretKey;
use quorate_types::transaction::{VerifiedTransaction, verify_transactions};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a core is told once.
pub struct CoreConfig {
    /// Which validator this is.
    pub me: ValidatorIndex,
    /// The key it votes with.
    pub vote_key: SecretKey,
    /// The founding facts.
    pub genesis: Genesis,
    /// What the mempool may hold.
    pub mempool: Limits,
    /// What the surroundings know of this directory's past.
    pub memory: Memory,
}

/// Whether votes may have been forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The store holds every vote ever cast: the guard file agrees, or the directory was founded now
    /// and this validator never ran before.
    Whole,
    /// Nothing is known: the directory is new, for the first time or because it was lost. Learns from its
    /// peers before it votes, unless they are just founding the chain.
    Fresh,
    /// Votes were lost, and nothing tells how far they went. Learns from its peers before it votes.
    Lost,
    /// The store is older than the guard file: it votes again beyond what the guard names.
    Behind(Guard),
}

/// Why a core cannot start on its store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger cannot: another chain, a newer format, damage.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record contradicts the others.
    #[error("the store contradicts itself: {0}")]
    Contradiction(String),
    /// The index or key is not one of the validators'.
    #[error("validator {0} does not vote with this key on this chain")]
    NotAValidator(ValidatorIndex),
}

impl<S: Store> Core<S> {
    /// Opens a core over a store, founding it if it is empty. `seed` must be unpredictable to others.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: CoreConfig, store: S, now: Now, seed: [u8; 32]) -> Result<Core<S>, OpenError> {
        let CoreConfig { me, vote_key, genesis, mempool, memory } = config;
        let validator = genesis.validators.get(me).filter(|v| v.vote_key == vote_key.public());
        if validator.is_none() {
            return Err(OpenError::NotAValidator(me));
        }
        let parameters = genesis.parameters.clone();
        let committee = Arc::new(Committee {
            chain: genesis.chain,
            validators: genesis.validators.clone(),
            window: parameters.window,
        });
        let n = committee.validators.len();
        let mut rng = ChaCha20Rng::from_seed(seed);
        let (ledger, founding) = Ledger::open(store, genesis)?;
        let tip = ledger.tip();
        let store = ledger.store();
        let certificate = records::read_certificate(store, tip.height)?;
        if certificate.is_none() && tip.height > Height::GENESIS {
            let what = format!("the last committed block, at height {}, has no certificate", tip.height);
            return Err(OpenError::Contradiction(what));
        }
        let committed = Committed { height: tip.height, block: tip.block, result: tip.result, certificate };
        let guard = match store.get(Column::Votes, records::GUARD)? {
            Some(bytes) => records::decode("guard", &bytes)?,
            None => Guard::default(),
        };
        let view = match store.get(Column::Votes, records::VIEW)? {
            Some(bytes) => Some(
                VerifiedMessage::decode(bytes, &committee)
                    .map_err(|error| StoreError::Corrupt(format!("last view record: {error}")))?,
            ),
            None => None,
        };
        let mut proposals = Proposals::default();
        let kept = read_proposals(store, &committee, &mut rng)?;
        for (block, (record, transactions)) in &kept {
            proposals.restore(*block, record.header.clone(), record.ids.clone(), transactions.clone());
        }
        let prepares = read_votes::<S, PrepareRecord>(store, records::PREPARE, tip.height)?
            .into_iter()
            .map(|vote| match kept.get(&vote.block) {
                Some((record, _)) => Ok((vote.view, record.header.clone(), Arc::from(record.ids.as_slice()))),
                None => {
                    Err(OpenError::Contradiction(format!("block {} was voted on and is gone", vote.block)))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let commits = read_votes::<S, CommitRecord>(store, records::COMMIT, tip.height)?
            .into_iter()
            .map(|vote| (vote.commit, vote.prepared))
            .collect();
        let learning = match memory {
            Memory::Whole => Learning::No,
            Memory::Fresh => Learning::Fresh,
            Memory::Lost => Learning::Lost,
            Memory::Behind(guard) => Learning::Until { height: guard.height, view: guard.view },
        };
        let evidence = store.range(Column::Evidence, &[], &[0xff; 9], usize::MAX)?.len() as u64;
        let replica = Replica::new(
            Config {
                committee: Arc::clone(&committee),
                me,
                key: vote_key,
                term_blocks: parameters.term_blocks,
                view_timeout: Duration::from_millis(parameters.view_timeout_ms),
                max_view_timeout: Duration::from_millis(parameters.max_view_timeout_ms),
                request_timeout: Duration::from_millis(parameters.request_timeout_ms),
                full_block_transactions: usize::try_from(parameters.max_block_transactions)
                    .unwrap_or(usize::MAX),
            },
            now.monotonic,
            Recovered { committed, view, prepares, commits, learning },
        );
        let mut building = Ready::default();
        let mut applying = BTreeMap::new();
        if !founding.is_empty() {
            building.persist = founding;
            building.sync = true;
            applying.insert(1, Height::GENESIS);
        }
        let mut gossip_seed = [0u8; 32];
        rand_core::Rng::fill_bytes(&mut rng, &mut gossip_seed);
        let mut core = Core {
            me,
            now,
            replica,
            mempool: Mempool::new(mempool, &parameters),
            gossip: Gossip::new(me, n, gossip_seed),
            sync: Sync::new(me, n, parameters.window, (tip.height, tip.block)),
            proposals,
            pace: Pace::new(),
            connected: BTreeSet::new(),
            served: BTreeMap::new(),
            expiry_at: now.monotonic,
            evidence,
            view_changes: 0,
            guard: Guard { committed: tip.height, ..guard },
            applying,
            building,
            finished: VecDeque::new(),
            next_number: 1,
            ledger,
            committee,
        };
        core.settle();
        Ok(core)
    }
}

/// The votes of one kind on heights above the committed one.
fn read_votes<S: Store, T: serde::Serialize + serde::de::DeserializeOwned>(
    store: &S,
    prefix: &str,
    committed: Height,
) -> Result<Vec<T>, StoreError> {
    let from = records::vote_key(prefix, committed.next());
    let to = records::vote_key(prefix, Height(u64::MAX));
    let entries = store.range(Column::Votes, &from, &to, usize::MAX)?;
    entries.iter().map(|(_, value)| records::decode(prefix, value)).collect()
}

type Kept = BTreeMap<BlockHash, (ProposalRecord, Vec<VerifiedTransaction>)>;

/// The uncommitted blocks that were voted on, with their bodies.
fn read_proposals<S: Store>(
    store: &S,
    committee: &Committee,
    rng: &mut ChaCha20Rng,
) -> Result<Kept, OpenError> {
    let prefix = records::PROPOSAL.as_bytes();
    let end = [prefix, &[0xff; 41]].concat();
    let mut kept = Kept::new();
    for (key, value) in store.range(Column::Votes, prefix, &end, usize::MAX)? {
        let record: ProposalRecord = records::decode("proposal", &value)?;
        let (height, block) = (record.header.height, record.header.hash());
        if key != records::proposal_key(height, &block) {
            return Err(
                StoreError::Corrupt(format!("a proposal at height {height} is under another's key")).into()
            );
        }
        let bodies = records::read_bodies(store, height, &block)?.ok_or_else(|| {
            OpenError::Contradiction(format!("block {block} was voted on and its bodies are gone"))
        })?;
        let transactions: Result<Vec<_>, _> =
            verify_transactions(&committee.chain, &bodies, rng).into_iter().collect();
        let transactions =
            transactions.map_err(|error| StoreError::Corrupt(format!("bodies of block {block}: {error}")))?;
        kept.insert(block, (record, transactions));
    }
    Ok(kept)
}
