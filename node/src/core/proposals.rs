//! Gathering the bodies of proposals, and executing them once all are here.

use super::api::Report;
use super::wire::PeerFrame;
use super::{Core, records};
use quorate_ledger::{Column, InvalidBlock, Store, Write};
use quorate_pbft::{Learning, Record, Rejection};
use quorate_types::block::Header;
use quorate_types::codec;
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::transaction::VerifiedTransaction;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long one source has for the ids of a re-proposal before the next is asked.
const FETCH_TIMEOUT: Duration = Duration::from_millis(100);

/// What is known of an uncommitted block.
struct Known {
    header: Header,
    ids: Option<Arc<[TransactionId]>>,
    /// All bodies, once they were here together, in the order of the ids.
    transactions: Option<Arc<[VerifiedTransaction]>>,
    /// In the store, by a vote.
    stored: bool,
    /// Places of the ids in the order of the ids, once someone has looked for one.
    order: OnceCell<Box<[usize]>>,
}

impl Known {
    fn new(header: Header, ids: Option<Arc<[TransactionId]>>) -> Known {
        Known { header, ids, transactions: None, stored: false, order: OnceCell::new() }
    }

    /// The body of one of its transactions. Peers may ask for many that are nowhere, so the ids are not looked
    /// through for each.
    fn body(&self, id: &TransactionId) -> Option<&VerifiedTransaction> {
        let (ids, transactions) = (self.ids.as_ref()?, self.transactions.as_ref()?);
        let order = self.order.get_or_init(|| {
            let mut order: Box<[usize]> = (0..ids.len()).collect();
            order.sort_unstable_by_key(|place| ids[*place]);
            order
        });
        let at = order.binary_search_by_key(id, |place| ids[*place]).ok()?;
        transactions.get(order[at])
    }
}

/// A block that the replica wants executed.
struct Wanted {
    height: Height,
    /// Its time is not held against this machine's clock.
    reproposal: bool,
    /// Bodies that are not here.
    missing: BTreeSet<TransactionId>,
    /// Who is asked for the ids, in turn.
    sources: Vec<ValidatorIndex>,
    asked: usize,
    ask_at: Duration,
}

/// Uncommitted blocks: those proposed in this view, and those this node voted on in earlier ones.
///
/// Bound: the replica asks for at most a window of blocks in each view, and what was not voted on goes
/// when the view does. What was voted on must stay to be served, until its height commits: a window
/// of blocks for each view that fails without a commit, and those come ever more slowly.
#[derive(Default)]
pub(super) struct Proposals {
    known: BTreeMap<BlockHash, Known>,
    wanted: BTreeMap<BlockHash, Wanted>,
}

impl Proposals {
    /// A body came.
    pub(super) fn arrived(&mut self, id: &TransactionId) {
        for wanted in self.wanted.values_mut() {
            wanted.missing.remove(id);
        }
    }

    /// Whether one of those to be executed waits for bodies.
    pub(super) fn lacks_bodies(&self) -> bool {
        self.wanted.values().any(|wanted| !wanted.missing.is_empty())
    }

    /// A body of an uncommitted block that is not in the mempool any more.
    pub(super) fn body(&self, id: &TransactionId) -> Option<VerifiedTransaction> {
        self.known.values().find_map(|known| known.body(id)).cloned()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let ids_missing = |block: &BlockHash| self.known.get(block).is_none_or(|known| known.ids.is_none());
        self.wanted.iter().filter(|(block, _)| ids_missing(block)).map(|(_, wanted)| wanted.ask_at).min()
    }

    /// Blocks known, and blocks to be executed.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.known.len(), self.wanted.len())
    }

    /// Transactions of blocks in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.known.values().filter_map(|known| known.ids.as_ref()).map(|ids| ids.len()).sum()
    }

    /// Puts back a block that this node voted on before it stopped.
    pub(super) fn restore(
        &mut self,
        block: BlockHash,
        header: Header,
        ids: Vec<TransactionId>,
        transactions: Vec<VerifiedTransaction>,
    ) {
        let known = Known::new(header, Some(ids.into()));
        let known = Known { transactions: Some(transactions.into()), stored: true, ..known };
        self.known.insert(block, known);
    }

    /// Notes a block that this node has just built and executed.
    pub(super) fn own(
        &mut self,
        block: BlockHash,
        header: Header,
        ids: Arc<[TransactionId]>,
        transactions: Vec<VerifiedTransaction>,
    ) {
        let known = Known { transactions: Some(transactions.into()), ..Known::new(header, Some(ids)) };
        self.known.insert(block, known);
    }
}

impl<S: Store> Core<S> {
    /// The replica wants a block executed.
    pub(super) fn obtain(
        &mut self,
        block: BlockHash,
        header: Header,
        ids: Option<Arc<[TransactionId]>>,
        sources: Vec<ValidatorIndex>,
        reproposal: bool,
    ) {
        let known = self.proposals.known.entry(block).or_insert_with(|| Known::new(header.clone(), None));
        if known.ids.is_none() {
            known.ids = ids;
        }
        let wanted = Wanted {
            height: header.height,
            reproposal,
            missing: BTreeSet::new(),
            sources: sources.into_iter().filter(|source| *source != self.me).collect(),
            asked: 0,
            ask_at: self.now.monotonic,
        };
        self.proposals.wanted.insert(block, wanted);
        self.gather(block);
    }

    /// With the ids known, finds out which bodies are missing and asks for them.
    fn gather(&mut self, block: BlockHash) {
        let Some(known) = self.proposals.known.get(&block) else { return };
        let Some(ids) = known.ids.clone() else { return };
        self.mempool.mark_proposed(block, &ids);
        if known.transactions.is_some() {
            return;
        }
        let missing: Vec<TransactionId> =
            self.mempool.missing(&ids).into_iter().filter(|id| self.proposals.body(id).is_none()).collect();
        if let Some(wanted) = self.proposals.wanted.get_mut(&block) {
            wanted.missing = missing.iter().copied().collect();
            let hint = wanted.sources.first().copied();
            self.gossip.wanted(&missing, hint, self.now.monotonic);
        }
    }

    /// Ids of a re-proposal came.
    pub(super) fn on_proposal(&mut self, header: Header, ids: Vec<TransactionId>) {
        let block = header.hash();
        // Its ids were checked against the header's root, and the hash names the header.
        if let Some(known) = self.proposals.known.get_mut(&block)
            && known.ids.is_none()
        {
            known.ids = Some(ids.into());
            self.gather(block);
        }
    }

    /// Asks the next source for ids that have not come.
    pub(super) fn retry_proposals(&mut self) {
        let now = self.now.monotonic;
        let everyone: Vec<ValidatorIndex> = self.connected.iter().copied().collect();
        let mut requests = Vec::new();
        for (block, wanted) in &mut self.proposals.wanted {
            let without_ids = self.proposals.known.get(block).is_some_and(|known| known.ids.is_none());
            if !without_ids || wanted.ask_at > now {
                continue;
            }
            // Those named first; then anyone.
            let named = wanted.sources.iter().chain(&everyone);
            let count = wanted.sources.len() + everyone.len();
            if let Some(peer) = named.cycle().nth(wanted.asked % count.max(1)) {
                requests.push((*peer, *block));
            }
            wanted.asked += 1;
            wanted.ask_at = now.saturating_add(FETCH_TIMEOUT);
        }
        for (peer, block) in requests {
            self.send_now(&[peer], &PeerFrame::FetchProposal(block));
        }
    }

    /// Serves the header and ids of an uncommitted block.
    pub(super) fn serve_proposal(&mut self, peer: ValidatorIndex, block: BlockHash) {
        if !self.may_serve(peer) {
            return;
        }
        if let Some(Known { header, ids: Some(ids), .. }) = self.proposals.known.get(&block) {
            let bytes = size_of_val(&**ids);
            let frame = PeerFrame::Proposal { header: Box::new(header.clone()), ids: ids.to_vec() };
            self.send_now(&[peer], &frame);
            self.charge(peer, bytes);
        }
    }

    /// Executes whatever has all its bodies and its parent, lowest first.
    pub(super) fn execute_proposals(&mut self) -> bool {
        let mut complete: Vec<(Height, BlockHash)> = self
            .proposals
            .wanted
            .iter()
            .filter(|(block, wanted)| {
                wanted.missing.is_empty()
                    && self.proposals.known.get(block).is_some_and(|known| known.ids.is_some())
            })
            .map(|(block, wanted)| (wanted.height, *block))
            .collect();
        complete.sort_unstable();
        let mut progress = false;
        for (_, block) in complete {
            progress |= self.execute(block);
            progress |= self.take_outputs();
        }
        progress
    }

    fn execute(&mut self, block: BlockHash) -> bool {
        let Some(known) = self.proposals.known.get(&block) else { return false };
        let Some(wanted) = self.proposals.wanted.get(&block) else { return false };
        // It can be judged on its parent only. This is asked at every step: its bodies are looked up once.
        let (parent, tip) = (known.header.parent, self.ledger.tip());
        let is_known = parent == tip.block || self.ledger.pending(parent).is_some();
        if known.header.height > tip.height && !is_known {
            return false;
        }
        let (header, clock) = (known.header.clone(), (!wanted.reproposal).then_some(self.now.wall));
        let transactions = match (&known.transactions, &known.ids) {
            (Some(transactions), _) => Arc::clone(transactions),
            (None, Some(ids)) => {
                let body = |id| self.mempool.get(id).cloned().or_else(|| self.proposals.body(id));
                let bodies: Option<Vec<VerifiedTransaction>> = ids.iter().map(body).collect();
                match bodies {
                    Some(bodies) => bodies.into(),
                    None => {
                        // One left the mempool in the meantime: ask again.
                        self.gather(block);
                        return false;
                    }
                }
            }
            (None, None) => return false,
        };
        let verdict = match self.ledger.check(&header, &transactions, clock) {
            Ok(result) => Ok(result),
            // The parent is not executed here yet; or this block, or another at its height, committed.
            Err(InvalidBlock::UnknownParent(_)) => return false,
            Err(InvalidBlock::Decided { .. }) => {
                self.proposals.wanted.remove(&block);
                return true;
            }
            Err(InvalidBlock::Store(error)) => {
                // Left wanted, it would be tried again at once, for ever.
                self.proposals.wanted.remove(&block);
                self.replica.halt(format!("the state cannot be read: {error}"));
                return true;
            }
            Err(invalid) => Err(Rejection { reason: invalid.to_string() }),
        };
        self.proposals.wanted.remove(&block);
        if verdict.is_ok()
            && let Some(known) = self.proposals.known.get_mut(&block)
        {
            known.transactions = Some(transactions);
        }
        self.replica.executed(self.now.monotonic, block, verdict);
        true
    }

    /// Makes a record of the replica durable, with all it rests on.
    pub(super) fn persist(&mut self, record: Record) {
        let writes = &mut self.building.persist;
        self.building.sync = true;
        match record {
            Record::Prepare { view, header, block, .. } => {
                let height = header.height;
                let vote = records::PrepareRecord { view, block };
                writes.push(Write::put(
                    Column::Votes,
                    records::vote_key(records::PREPARE, height),
                    codec::encode(&vote),
                ));
                let known = self.proposals.known.get_mut(&block);
                let Some(Known { ids: Some(ids), transactions: Some(bodies), stored, .. }) = known else {
                    unreachable!("a block is voted on after it was executed, with all bodies at hand");
                };
                if !*stored {
                    *stored = true;
                    let proposal = records::ProposalRecord { header, ids: ids.to_vec() };
                    writes.push(Write::put(
                        Column::Votes,
                        records::proposal_key(height, &block),
                        codec::encode(&proposal),
                    ));
                    writes.push(bodies_write(height, &block, bodies));
                }
                self.guard.view = self.guard.view.max(view);
                self.guard.height = self.guard.height.max(height);
            }
            Record::Commit { commit, prepared } => {
                let (view, height) = (commit.view, commit.height);
                let vote = records::CommitRecord { commit, prepared };
                writes.push(Write::put(
                    Column::Votes,
                    records::vote_key(records::COMMIT, height),
                    codec::encode(&vote),
                ));
                self.guard.view = self.guard.view.max(view);
                self.guard.height = self.guard.height.max(height);
            }
            Record::ViewChange { view, message } | Record::NewView { view, message } => {
                writes.push(Write::put(Column::Votes, records::VIEW, message));
                self.guard.view = self.guard.view.max(view);
            }
        }
        // A replica that learns votes on nothing: what it writes down is a view that others opened. Counted as
        // a vote it would lift the doubt about what was forgotten (see the guard file), and after a restart
        // the replica would vote with whatever it remembers.
        if *self.replica.learning() == Learning::No {
            self.guard.votes += 1;
        }
        self.building.guard = Some(self.guard);
    }

    /// A view has begun: only what was voted on is kept of earlier ones, and it waits for nothing.
    pub(super) fn drop_proposals(&mut self) {
        for wanted in std::mem::take(&mut self.proposals.wanted).into_values() {
            self.gossip.unwanted(&wanted.missing);
        }
        let blocks: Vec<BlockHash> = self.proposals.known.keys().copied().collect();
        for block in blocks {
            self.unmark(&block);
        }
        self.proposals.known.retain(|_, known| known.stored);
    }

    /// A height is settled: `block` committed there. Returns whether its bodies are in the store.
    pub(super) fn settle_proposals(&mut self, height: Height, block: &BlockHash) -> bool {
        let writes = &mut self.building.persist;
        let mut stored = false;
        let mut others = Vec::new();
        let settled: Vec<BlockHash> = self
            .proposals
            .known
            .iter()
            .filter(|(_, known)| known.header.height <= height)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in settled {
            let Some(known) = self.proposals.known.remove(&hash) else { continue };
            if let Some(wanted) = self.proposals.wanted.remove(&hash) {
                self.gossip.unwanted(&wanted.missing);
            }
            if known.stored {
                writes.push(Write::delete(Column::Votes, records::proposal_key(known.header.height, &hash)));
            }
            if hash == *block {
                stored = known.stored;
                continue;
            }
            if known.stored {
                writes.push(Write::delete(Column::Bodies, records::block_key(known.header.height, &hash)));
            }
            others.push(hash);
        }
        writes.push(Write::delete(Column::Votes, records::vote_key(records::PREPARE, height)));
        writes.push(Write::delete(Column::Votes, records::vote_key(records::COMMIT, height)));
        for block in others {
            self.unmark(&block);
        }
        stored
    }

    /// Nothing waits for this block any more.
    fn unmark(&mut self, block: &BlockHash) {
        let dropped = self.mempool.unmark(block);
        self.gossip.deferred(&dropped, self.now.monotonic);
        if !dropped.is_empty() {
            self.building.reports.push(Report::Dropped(dropped));
        }
    }
}

/// All bodies of a block as one value.
pub(super) fn bodies_write(height: Height, block: &BlockHash, transactions: &[VerifiedTransaction]) -> Write {
    let bodies: Vec<&bytes::Bytes> = transactions.iter().map(VerifiedTransaction::bytes).collect();
    Write::put(Column::Bodies, records::block_key(height, block), codec::encode(&bodies))
}
