//! Who waits for which transaction, and telling them.
//!
//! The [`Router`] is one task that hears every report of the core once it is durable, in order. It owns
//! the table of who waits for what, so it needs no lock; the trees of a block are built once, however
//! many streams wait for its transactions.

use super::budget::{Budget, Claim};
use super::submit::Settled;
use super::{MAX_MEMBER_IN_FLIGHT, encode};
use crate::core::api::{CommittedBlock, Report, Ticket};
use crate::core::records;
use crate::metrics::Metrics;
use crate::runtime::{Faults, Stored};
use crate::storage::RocksStore;
use quorate_client::protocol::{CommittedBatch, Response, SubmitError};
use quorate_ledger::{Refusal, StoreError};
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::keys::PublicKey;
use quorate_types::outcome::OutcomeRecord;
use quorate_types::receipt::Place;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// What an answer takes beside its frame while it waits, in bytes.
const BESIDE_FRAME: usize = 100;

static NEXT_STREAM: AtomicU64 = AtomicU64::new(0);

/// One stream of submissions, as seen from outside its task.
#[derive(Debug, Clone)]
pub(crate) struct StreamHandle {
    number: u64,
    member: PublicKey,
    settled: mpsc::UnboundedSender<Settled>,
    /// What may wait for the member, over all its streams.
    room: Budget,
    overrun: Arc<Notify>,
}

impl StreamHandle {
    pub(super) fn new(
        member: PublicKey,
        room: Budget,
        settled: mpsc::UnboundedSender<Settled>,
    ) -> StreamHandle {
        let number = NEXT_STREAM.fetch_add(1, Ordering::Relaxed);
        StreamHandle { number, member, settled, room, overrun: Arc::default() }
    }

    /// Is told when there was no room for an answer: the stream is to end.
    pub(super) fn overrun(&self) -> Arc<Notify> {
        Arc::clone(&self.overrun)
    }

    /// Refuses one transaction.
    pub(crate) fn refuse(&self, position: u64, reason: SubmitError) {
        self.send(&Response::Refused { position, reason }, 1);
    }

    fn send(&self, response: &Response, count: usize) {
        let frame = encode(response);
        if let Some(claim) = self.claim(frame.len() + BESIDE_FRAME) {
            // A stream that is gone needs no answer.
            let _ = self.settled.send(Settled { frame, count, claim });
        }
    }

    /// Room for so many bytes that wait for the client; if there is none, the stream ends.
    fn claim(&self, bytes: usize) -> Option<Claim> {
        let claim = self.room.try_claim(bytes);
        if claim.is_none() {
            self.overrun.notify_one();
        }
        claim
    }
}

/// Batches handed to the core that wait for its verdicts. As many as the budget of the clients' lane
/// lets into the core's queue.
#[derive(Debug, Default)]
pub struct Tickets {
    next: AtomicU64,
    issued: Mutex<BTreeMap<Ticket, (StreamHandle, Vec<u64>)>>,
}

impl Tickets {
    fn issued(&self) -> MutexGuard<'_, BTreeMap<Ticket, (StreamHandle, Vec<u64>)>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a batch whose transactions have these positions on the stream.
    pub(crate) fn issue(&self, stream: StreamHandle, positions: Vec<u64>) -> Ticket {
        let ticket = Ticket(self.next.fetch_add(1, Ordering::Relaxed));
        self.issued().insert(ticket, (stream, positions));
        ticket
    }

    fn redeem(&self, ticket: Ticket) -> Option<(StreamHandle, Vec<u64>)> {
        self.issued().remove(&ticket)
    }
}

/// Tells streams what became of their transactions. One task runs it.
pub struct Router {
    tickets: Arc<Tickets>,
    store: RocksStore,
    faults: Arc<Faults>,
    metrics: Arc<Metrics>,
    stored: watch::Sender<Stored>,
    /// Who waits for a transaction, and at which of their positions. An entry goes when the
    /// transaction commits or expires, which every admitted one does within its lifetime; per member
    /// there are at most [`MAX_MEMBER_IN_FLIGHT`].
    waiting: HashMap<TransactionId, Vec<(StreamHandle, u64)>>,
    by_member: HashMap<PublicKey, usize>,
    halted: Option<String>,
    /// Reads at once, with those of the clients.
    reads: Arc<Semaphore>,
}

impl Router {
    /// Nobody waits yet. `stored` is told of each block once it can be read; `reads` bounds the reads at once.
    pub fn new(
        tickets: Arc<Tickets>,
        store: RocksStore,
        faults: Arc<Faults>,
        metrics: Arc<Metrics>,
        stored: watch::Sender<Stored>,
        reads: Arc<Semaphore>,
    ) -> Router {
        let (waiting, by_member) = (HashMap::new(), HashMap::new());
        Router { tickets, store, faults, metrics, stored, waiting, by_member, halted: None, reads }
    }

    /// Routes until the reports end.
    pub async fn run(mut self, mut reports: mpsc::Receiver<Vec<Report>>) {
        while let Some(reports) = reports.recv().await {
            for report in reports {
                self.route(report).await;
            }
        }
    }

    async fn route(&mut self, report: Report) {
        match report {
            Report::Admission { ticket, verdicts } => self.admission(ticket, verdicts).await,
            Report::Committed(block) => self.committed(&block),
            Report::Expired(ids) => self.gone(&ids, &SubmitError::Expired),
            Report::Dropped(ids) => {
                self.gone(&ids, &SubmitError::Full("there is no room for it any more".to_owned()));
            }
            Report::Fault { peer, what } => self.faults.report(peer, &what),
            Report::Evidence { signer, what } => {
                tracing::error!(validator = %signer, %what, "a validator contradicts itself; the evidence is kept");
            }
            Report::View { view, active, why } => tracing::info!(%view, active, %why, "moved to a view"),
            Report::Halted(why) => self.halt(why),
        }
    }

    async fn admission(&mut self, ticket: Ticket, verdicts: Vec<(TransactionId, Result<(), SubmitError>)>) {
        let Some((stream, positions)) = self.tickets.redeem(ticket) else {
            tracing::error!(?ticket, "the core answered a batch that nobody handed in");
            return;
        };
        let mut committed_already = Vec::new();
        for ((id, verdict), position) in verdicts.into_iter().zip(positions) {
            match verdict {
                Ok(()) => self.wait(id, &stream, position),
                Err(SubmitError::Refused(Refusal::AlreadyCommitted)) => {
                    committed_already.push((id, position))
                }
                Err(reason) => stream.refuse(position, reason),
            }
        }
        if !committed_already.is_empty() {
            self.look_up(stream, committed_already);
        }
    }

    /// Answers from the database. Each may take several reads: not on this task, which everyone waits for, and
    /// no more at once than clients may have read.
    fn look_up(&self, stream: StreamHandle, committed: Vec<(TransactionId, u64)>) {
        // They wait for their turn, as long as others read.
        let Some(claim) = stream.claim(std::mem::size_of_val(&committed[..])) else { return };
        let (store, reads) = (self.store.clone(), Arc::clone(&self.reads));
        tokio::spawn(async move {
            // Fails only when the node closes: then nobody waits for the answer.
            let Ok(permit) = reads.acquire_owned().await else { return };
            let read = move || {
                let _held = (permit, claim);
                answer_from_store(&store, &stream, &committed);
            };
            if let Err(error) = tokio::task::spawn_blocking(read).await {
                tracing::error!(%error, "a read panicked");
            }
        });
    }

    fn wait(&mut self, id: TransactionId, stream: &StreamHandle, position: u64) {
        if let Some(why) = &self.halted {
            return stream.refuse(position, SubmitError::Unavailable(why.clone()));
        }
        let count = self.by_member.entry(stream.member).or_default();
        if *count >= MAX_MEMBER_IN_FLIGHT {
            let text = format!(
                "{count} submitted transactions await their commit, which is the most for one member"
            );
            return stream.refuse(position, SubmitError::Full(text));
        }
        *count += 1;
        self.waiting.entry(id).or_default().push((stream.clone(), position));
    }

    /// Those who wait for a transaction; they no longer do.
    fn take(&mut self, id: &TransactionId) -> Vec<(StreamHandle, u64)> {
        let waiting = self.waiting.remove(id).unwrap_or_default();
        for (stream, _) in &waiting {
            if let Some(count) = self.by_member.get_mut(&stream.member) {
                *count -= 1;
                if *count == 0 {
                    self.by_member.remove(&stream.member);
                }
            }
        }
        waiting
    }

    fn committed(&mut self, block: &CommittedBlock) {
        let height = block.finality.header.height;
        self.metrics.committed(block);
        tracing::debug!(
            %height, view = %block.finality.certificate.commit.view, transactions = block.transactions.len(),
            caught_up = block.caught_up, "committed"
        );
        let mut by_stream: BTreeMap<u64, (StreamHandle, Vec<Place>, usize)> = BTreeMap::new();
        for (index, (transaction, outcome)) in (0u32..).zip(block.transactions.iter().zip(&block.outcomes)) {
            for (stream, _) in self.take(&transaction.id()) {
                let (_, places, count) =
                    by_stream.entry(stream.number).or_insert_with(|| (stream, Vec::new(), 0));
                // Handed in twice on one stream: named once, settled twice.
                if places.last().is_none_or(|last| last.index != index) {
                    let record = OutcomeRecord { transaction: transaction.id(), outcome: outcome.clone() };
                    places.push(Place { index, record });
                }
                *count += 1;
            }
        }
        for (stream, places, count) in by_stream.into_values() {
            let inclusions = block.trees.inclusions(places).expect("places counted up through the block");
            let batch = CommittedBatch { finality: block.finality.clone(), inclusions };
            stream.send(&Response::Committed(batch), count);
        }
        let timestamp = block.finality.header.timestamp;
        self.stored.send_if_modified(|known| {
            let higher = height > known.height;
            if higher {
                *known = Stored { height, block: block.hash, timestamp };
            }
            higher
        });
    }

    /// The node holds these no longer.
    fn gone(&mut self, ids: &[TransactionId], why: &SubmitError) {
        for id in ids {
            for (stream, position) in self.take(id) {
                stream.refuse(position, why.clone());
            }
        }
    }

    fn halt(&mut self, why: String) {
        tracing::error!(
            cause = %why,
            "HALTED: this node votes no more. It goes on answering reads. Compare its status and log with the other \
             validators' before you do anything else"
        );
        for (_, waiting) in self.waiting.drain() {
            for (stream, position) in waiting {
                stream.refuse(position, SubmitError::Unavailable(format!("the node has halted: {why}")));
            }
        }
        self.by_member.clear();
        self.halted = Some(format!("the node has halted: {why}"));
    }
}

/// Answers with receipts' parts what was committed before it was handed in: a client that lost its
/// stream hands in thousands at once, of a few blocks.
fn answer_from_store(store: &RocksStore, stream: &StreamHandle, committed: &[(TransactionId, u64)]) {
    let unavailable = |position: u64, error: &StoreError| {
        tracing::error!(%error, "a read of the database failed");
        stream.refuse(position, SubmitError::Unavailable(format!("it is committed, but {error}")));
    };
    let mut by_height: BTreeMap<Height, Vec<(TransactionId, u32, u64)>> = BTreeMap::new();
    for (id, position) in committed {
        match records::locate(store, id) {
            Ok(Some((height, place))) => by_height.entry(height).or_default().push((*id, place, *position)),
            // The id is remembered as committed, so the block must be there.
            Ok(None) => stream.refuse(*position, SubmitError::Refused(Refusal::AlreadyCommitted)),
            Err(error) => unavailable(*position, &error),
        }
    }
    for (height, named) in by_height {
        let mut places: Vec<(TransactionId, u32)> =
            named.iter().map(|(id, place, _)| (*id, *place)).collect();
        // Handed in twice: named once, settled twice.
        places.sort_unstable_by_key(|(_, place)| *place);
        places.dedup();
        match records::inclusions(store, height, &places) {
            Ok(batch) => stream.send(&Response::Committed(batch), named.len()),
            Err(error) => named.iter().for_each(|(_, _, position)| unavailable(*position, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client does not read grows to what its member may have waiting, over all its streams.
    #[tokio::test]
    async fn a_stream_without_room_for_its_answers_ends() {
        let room = Budget::of(10_000);
        let stream = || {
            let (settled_in, settled) = mpsc::unbounded_channel();
            (StreamHandle::new(PublicKey([1; 32]), room.clone(), settled_in), settled)
        };
        let ((first, mut first_settled), (second, mut second_settled)) = (stream(), stream());
        for position in 0..1000 {
            first.refuse(position, SubmitError::Expired);
        }
        tokio::time::timeout(std::time::Duration::from_secs(60), first.overrun().notified())
            .await
            .expect("it is told to end");
        let waiting = first_settled.len();
        assert!((50..100).contains(&waiting), "{waiting} answers wait");
        second.refuse(0, SubmitError::Expired);
        assert_eq!(second_settled.len(), 0, "streams of a member share the room");
        // What is read, or dropped with its stream, makes room.
        first_settled.recv().await.expect("an answer");
        second.refuse(1, SubmitError::Expired);
        assert_eq!(second_settled.recv().await.expect("an answer").count, 1);
    }
}
