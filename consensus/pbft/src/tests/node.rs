//! What the driver owes a replica, in the least code: a disk that may lose what was not synced, a
//! ledger that hashes instead of executing, a pool of transaction ids.

use crate::{
    Committed, Committee, Config, Learning, Message, Output, Record, Recovered, Rejection, Replica,
    VerifiedMessage,
};
use bytes::Bytes;
use quorate_types::block::{self, Header};
use quorate_types::certificate::{Certificate, Commit, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, View};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A committed block as it is kept and handed to those who catch up.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) header: Header,
    pub(super) ids: Arc<[TransactionId]>,
    pub(super) result: ResultHash,
    /// `None` where a descendant's certificate made it final.
    pub(super) certificate: Option<Certificate>,
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) view: Option<Bytes>,
    pub(super) prepares: BTreeMap<Height, (View, Header, Arc<[TransactionId]>)>,
    pub(super) commits: BTreeMap<Height, (Commit, PreparedCertificate)>,
    pub(super) chain: Vec<Settled>,
}

/// What a block led to, in memory.
#[derive(Debug, Clone)]
pub(super) struct Executed {
    pub(super) header: Header,
    pub(super) ids: Arc<[TransactionId]>,
    pub(super) result: ResultHash,
}

/// One honest validator.
pub(super) struct Node {
    pub(super) config: Config,
    /// `None` while it is down.
    pub(super) replica: Option<Replica>,
    /// Which of its lives this is: events of an earlier one are void.
    pub(super) life: u64,
    pub(super) disk: Disk,
    /// Outputs that wait for the sync of the first one's record.
    pub(super) queue: VecDeque<Output>,
    pub(super) syncing: bool,
    pub(super) executed: BTreeMap<BlockHash, Executed>,
    /// Blocks it holds with all bodies, to be served by hash.
    pub(super) bodies: BTreeMap<BlockHash, Arc<[TransactionId]>>,
    pub(super) pool: BTreeMap<TransactionId, Duration>,
    /// Transactions in proposals of this view.
    pub(super) proposed: BTreeSet<TransactionId>,
    pub(super) fetching: bool,
    pub(super) catch_up: Height,
    /// Mixed into every result: a machine that computes something else.
    pub(super) salt: u8,
    /// How much longer than the others it takes to execute a block.
    pub(super) slower: Duration,
    /// How its clock differs from the cluster's.
    pub(super) clock_ahead: Duration,
    /// Records written over all lives.
    pub(super) records: u64,
    pub(super) views: Vec<(View, bool, String)>,
    pub(super) halted: Option<String>,
}

/// How far a new block's timestamp may be from a clock.
const DRIFT: Duration = Duration::from_secs(10);

pub(super) fn genesis_result() -> ResultHash {
    ResultHash(Hash::of(&[b"founding state"]))
}

pub(super) fn genesis(committee: &Committee) -> Committed {
    Committed {
        height: Height::GENESIS,
        block: BlockHash(committee.chain.0),
        result: genesis_result(),
        certificate: None,
    }
}

/// The header that follows from its parent.
pub(super) fn header(
    committee: &Committee,
    slot: (View, Height, BlockHash),
    parent_result: ResultHash,
    timestamp: Timestamp,
    ids: &[TransactionId],
) -> Header {
    let (view, height, parent) = slot;
    Header {
        chain: committee.chain,
        height,
        view,
        proposer: committee.validators.leader(view),
        timestamp,
        parent,
        parent_result,
        transactions_root: block::transactions_root(ids),
        transaction_count: u32::try_from(ids.len()).expect("few"),
        history_root: Hash::of(&[b"history", &parent.0.0]),
        validators: committee.validators.hash(&committee.chain),
    }
}

pub(super) fn result_of(block: BlockHash, salt: u8) -> ResultHash {
    ResultHash(Hash::of(&[b"result", &block.0.0, &[salt]]))
}

impl Node {
    pub(super) fn new(config: Config) -> Node {
        Node {
            config,
            replica: None,
            life: 0,
            disk: Disk::default(),
            queue: VecDeque::new(),
            syncing: false,
            executed: BTreeMap::new(),
            bodies: BTreeMap::new(),
            pool: BTreeMap::new(),
            proposed: BTreeSet::new(),
            fetching: false,
            catch_up: Height::GENESIS,
            salt: 0,
            slower: Duration::ZERO,
            clock_ahead: Duration::ZERO,
            records: 0,
            views: Vec::new(),
            halted: None,
        }
    }

    pub(super) fn committee(&self) -> &Committee {
        &self.config.committee
    }

    /// The last committed block on disk.
    pub(super) fn committed(&self) -> Committed {
        match self.disk.chain.last() {
            None => genesis(self.committee()),
            Some(last) => Committed {
                height: last.header.height,
                block: last.header.hash(),
                result: last.result,
                certificate: last.certificate.clone(),
            },
        }
    }

    /// Starts with what the disk holds.
    pub(super) fn start(&mut self, now: Duration, learning: Learning) {
        assert!(self.replica.is_none(), "it runs");
        self.life += 1;
        self.queue.clear();
        (self.syncing, self.fetching, self.catch_up) = (false, false, Height::GENESIS);
        self.executed.clear();
        self.proposed.clear();
        self.halted = None;
        let view = self.disk.view.clone().map(|bytes| {
            VerifiedMessage::decode(bytes, self.committee()).expect("what it wrote passes the checks")
        });
        let committed = self.committed();
        self.disk.prepares.retain(|height, _| *height > committed.height);
        self.disk.commits.retain(|height, _| *height > committed.height);
        self.bodies = BTreeMap::new();
        for (_, header, ids) in self.disk.prepares.values() {
            self.bodies.insert(header.hash(), ids.clone());
        }
        let recovered = Recovered {
            committed,
            view,
            prepares: self.disk.prepares.values().cloned().collect(),
            commits: self.disk.commits.values().cloned().collect(),
            learning,
        };
        self.replica = Some(Replica::new(self.config.clone(), now, recovered));
    }

    /// Loses all that is not on disk.
    pub(super) fn crash(&mut self) {
        self.replica = None;
        self.life += 1;
        self.queue.clear();
    }

    /// A record becomes durable.
    pub(super) fn write(&mut self, record: Record) {
        self.records += 1;
        match record {
            Record::Prepare { view, header, block, ids } => {
                assert_eq!(header.hash(), block);
                // Of a re-proposal the replica may not know the ids; who executed it does.
                let ids = if ids.is_empty() { self.bodies[&block].clone() } else { ids };
                assert_eq!(block::transactions_root(&ids), header.transactions_root);
                self.bodies.insert(block, ids.clone());
                self.disk.prepares.insert(header.height, (view, header, ids));
            }
            Record::Commit { commit, prepared } => {
                self.disk.commits.insert(commit.height, (commit, prepared));
            }
            Record::ViewChange { message, .. } | Record::NewView { message, .. } => {
                self.disk.view = Some(message);
            }
        }
    }

    /// Whether what a message promises is on disk: durable, then said.
    pub(super) fn stands_by(&self, message: &Message) -> bool {
        let committed = self.committed().height;
        let prepared = |view: View, height: Height, block: BlockHash| {
            let record = self.disk.prepares.get(&height);
            height <= committed || record.is_some_and(|(v, header, _)| *v == view && header.hash() == block)
        };
        match message {
            Message::PrePrepare(m) => {
                prepared(m.statement.view, m.statement.header.height, m.statement.header.hash())
            }
            Message::Prepare(m) => prepared(m.statement.view, m.statement.height, m.statement.block),
            Message::Commit(m) => {
                let record = self.disk.commits.get(&m.statement.height);
                m.statement.height <= committed || record.is_some_and(|(commit, _)| *commit == m.statement)
            }
            Message::ViewChange(_) | Message::NewView(_) => {
                self.disk.view.as_deref() == Some(&codec::encode(message)[..])
            }
            Message::Status(_) => true,
        }
    }

    /// Appends a final block.
    pub(super) fn settle(&mut self, settled: Settled) {
        let height = settled.header.height;
        assert_eq!(height.0, self.disk.chain.len() as u64 + 1, "blocks commit in order");
        for id in settled.ids.iter() {
            self.pool.remove(id);
        }
        self.bodies.insert(settled.header.hash(), settled.ids.clone());
        self.disk.chain.push(settled);
        self.disk.prepares.retain(|at, _| *at > height);
        self.disk.commits.retain(|at, _| *at > height);
    }

    fn result_at(&self, block: BlockHash) -> Option<ResultHash> {
        let committed = self.committed();
        if committed.block == block {
            return Some(committed.result);
        }
        self.executed.get(&block).map(|executed| executed.result)
    }

    /// Executes a block on its parent; `None` while the parent is missing.
    pub(super) fn execute(
        &mut self,
        now: Duration,
        header: &Header,
        ids: &Arc<[TransactionId]>,
        reproposal: bool,
    ) -> Option<Result<ResultHash, Rejection>> {
        let parent_result = self.result_at(header.parent)?;
        let expected = Header {
            view: header.view,
            proposer: header.proposer,
            ..self::header(
                self.committee(),
                (header.view, header.height, header.parent),
                parent_result,
                header.timestamp,
                ids,
            )
        };
        let refuse = |reason: &str| Some(Err(Rejection { reason: reason.into() }));
        if *header != expected {
            return refuse("a header field is not what it should be");
        }
        let clock = u64::try_from((now + self.clock_ahead).as_millis()).expect("short tests");
        let drift = u64::try_from(DRIFT.as_millis()).expect("ten seconds");
        if !reproposal && clock.abs_diff(header.timestamp.0) > drift {
            return refuse("its timestamp is far from the clock");
        }
        let block = header.hash();
        let result = result_of(block, self.salt);
        self.executed.insert(block, Executed { header: header.clone(), ids: ids.clone(), result });
        self.bodies.insert(block, ids.clone());
        Some(Ok(result))
    }

    /// Transactions of the blocks from the committed one (excluded) up to `block`.
    fn in_flight(&self, mut block: BlockHash) -> BTreeSet<TransactionId> {
        let mut ids = BTreeSet::new();
        while let Some(executed) = self.executed.get(&block) {
            if executed.header.height <= self.committed().height {
                break;
            }
            ids.extend(executed.ids.iter().copied());
            block = executed.header.parent;
        }
        ids
    }

    /// Proposes while there is room and work; at most `block_size` transactions each.
    pub(super) fn propose(&mut self, now: Duration, block_size: usize) {
        let Some(mut replica) = self.replica.take() else { return };
        while let Some(slot) = replica.slot() {
            let taken = self.in_flight(slot.parent);
            let ids: Arc<[TransactionId]> =
                self.pool.keys().filter(|id| !taken.contains(id)).take(block_size).copied().collect();
            let Some(parent_result) = self.result_at(slot.parent).filter(|_| !ids.is_empty()) else { break };
            let clock = u64::try_from((now + self.clock_ahead).as_millis()).expect("short tests");
            let header = header(
                self.committee(),
                (slot.view, slot.height, slot.parent),
                parent_result,
                Timestamp(clock),
                &ids,
            );
            let verdict = self.execute(now, &header, &ids, false).expect("its parent was executed");
            let result = verdict.expect("its own block is valid");
            self.proposed.extend(ids.iter().copied());
            replica.propose(now, header, ids.to_vec(), result);
        }
        let waiting = self.pool.iter().filter(|(id, _)| !self.proposed.contains(id)).map(|(_, since)| *since);
        replica.waiting(waiting.min());
        self.replica = Some(replica);
    }

    /// Forgets executed blocks that can no longer matter.
    pub(super) fn prune(&mut self) {
        let committed = self.committed().height;
        self.executed.retain(|_, executed| executed.header.height >= committed);
    }
}
