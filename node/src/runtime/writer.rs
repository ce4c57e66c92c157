//! The storage thread: makes durable what the core asks for, and only then lets it be said.
//!
//! Several [`Ready`]s that queue up while the disk is busy go into one batch and one sync: each stays
//! atomic, for the whole batch is. After the batch comes the guard file, after that the messages, the word to
//! the core if it awaits one, and the reports, in order. What has nothing to write comes here only while there
//! is something to write before it; otherwise the core's thread says it itself.
//!
//! # A full disk
//!
//! Free space is looked at before each batch. Below the reserve nothing is written, so nothing is said:
//! the node stops voting without deciding to, keeps its connections, answers reads, and says in log,
//! `/readyz` and status what it waits for. The reserve is there so that RocksDB's own files still find
//! room. Once a second it looks again. Should RocksDB meet a full disk all the same, the same batch is
//! tried again until it goes through; RocksDB takes its time to recover by itself, and is reopened if
//! it does not.

use super::mailbox::Mailbox;
use crate::core::api::{Guard, Outgoing, Ready, Report};
use crate::metrics::Metrics;
use crate::storage::{GuardFile, MAX_LOG_BYTES, RocksStore, WriteError};
use bytes::Bytes;
use quorate_ledger::{Column, Store, StoreError, Write};
use quorate_transport::{Node, SendVerdict};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Readies in one batch at most, and their bytes: a sync is shared, and none waits for too much.
const GROUP_READIES: usize = 64;
const GROUP_BYTES: usize = 16 << 20;

/// Readies waiting, and their bytes, at which the core is held back until storage has caught up.
pub const BACKLOG_READIES: usize = 512;
const BACKLOG_BYTES: usize = 128 << 20;

/// How often a full disk is looked at, and any disk to which nothing is written.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long RocksDB may refuse although there is room, before it is reopened.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where the number of transactions ever committed is kept, as `u64` little endian, in the batch of
/// each block.
const TOTAL_KEY: &[u8] = b"node/transactions";

/// Whether the node can write, for status and readiness.
#[derive(Debug, Default)]
pub struct Disk {
    trouble: Mutex<Option<String>>,
    transactions: AtomicU64,
}

impl Disk {
    /// Why nothing is written at the moment, if so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Transactions committed since the chain began, as far as they are stored here.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    fn set(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

#[derive(Default)]
struct Waiting {
    /// Each with the bytes of what it writes.
    readies: VecDeque<(Ready, usize)>,
    bytes: usize,
    closing: bool,
    /// The thread is at work on some that it took.
    writing: bool,
    /// The thread is gone, and the node about to stop: what is pushed now is dropped.
    ended: bool,
}

impl Waiting {
    fn is_behind(&self) -> bool {
        self.readies.len() >= BACKLOG_READIES || self.bytes >= BACKLOG_BYTES
    }
}

/// Readies that are written together.
#[derive(Default)]
struct Group {
    readies: Vec<Ready>,
    /// Of what they write.
    bytes: usize,
    /// So much waited that the core may be held back.
    behind: bool,
}

/// Readies on their way to the disk.
#[derive(Default)]
pub struct WriteQueue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

fn bytes_of(ready: &Ready) -> usize {
    ready.persist.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Bytes::len)).sum()
}

impl WriteQueue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while holding the lock, and the queue is whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a Ready. Whoever does asks [`WriteQueue::is_behind`] before making more.
    pub fn push(&self, ready: Ready) {
        let bytes = bytes_of(&ready);
        let mut waiting = self.waiting();
        if waiting.ended {
            return;
        }
        waiting.bytes += bytes;
        waiting.readies.push_back((ready, bytes));
        drop(waiting);
        self.changed.notify_all();
    }

    /// Whether so much waits that the core must not make more.
    pub fn is_behind(&self) -> bool {
        self.waiting().is_behind()
    }

    /// Whether nothing waits and nothing is being written: whatever was pushed is done with.
    pub fn is_idle(&self) -> bool {
        let waiting = self.waiting();
        waiting.readies.is_empty() && !waiting.writing && !waiting.ended
    }

    /// Readies waiting.
    pub fn len(&self) -> usize {
        self.waiting().readies.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets the thread end once it has written everything, or at once if it cannot write.
    pub fn close(&self) {
        self.waiting().closing = true;
        self.changed.notify_all();
    }

    /// The next group, empty if none comes for a while; `None` when closed and empty.
    fn take(&self) -> Option<Group> {
        let mut waiting = self.waiting();
        waiting.writing = false;
        let is_empty = |waiting: &mut Waiting| waiting.readies.is_empty() && !waiting.closing;
        let waited = self.changed.wait_timeout_while(waiting, LOOK_AGAIN, is_empty);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        if waiting.readies.is_empty() && waiting.closing {
            return None;
        }
        let mut group = Group { behind: waiting.is_behind(), ..Group::default() };
        let fits = |group: &Group, more: usize| {
            group.readies.is_empty()
                || (group.readies.len() < GROUP_READIES && group.bytes + more <= GROUP_BYTES)
        };
        while let Some((ready, more)) = waiting.readies.pop_front_if(|(_, more)| fits(&group, *more)) {
            group.bytes += more;
            group.readies.push(ready);
        }
        waiting.bytes -= group.bytes;
        waiting.writing = !group.readies.is_empty();
        Some(group)
    }

    /// Waits for a while; `false` if the node is closing.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut waiting = self.waiting();
        while !waiting.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn ended(&self) {
        let mut waiting = self.waiting();
        waiting.ended = true;
        waiting.readies.clear();
        waiting.bytes = 0;
    }
}

/// Why the storage thread gave up. Nothing that was not durable was said.
#[derive(Debug, thiserror::Error)]
pub enum StorageFailure {
    /// The database refused, and not for want of room.
    #[error(
        "{0}; the node stops, for it can promise nothing it cannot keep. Look at the disk, then start again"
    )]
    Write(String),
    /// The guard file could not be written.
    #[error("cannot write {path}: {error}; the node stops, for a vote must be remembered before it is sent")]
    Guard {
        /// The file.
        path: String,
        /// The cause.
        error: std::io::Error,
    },
    /// Nobody takes what is reported any more: clients would wait for ever.
    #[error("an internal error: nobody takes the storage thread's reports; the node stops")]
    Unheard,
}

/// What the storage thread owns and talks to.
pub(super) struct Writer {
    /// What waits to be written.
    pub(super) queue: Arc<WriteQueue>,
    /// The database.
    pub(super) store: RocksStore,
    /// The guard file.
    pub(super) guard: GuardFile,
    /// How many votes the database held at start: more means that the core votes again.
    pub(super) votes_at_start: u64,
    /// Free space below which nothing is written.
    pub(super) min_free_bytes: u64,
    /// How much that is at the moment.
    pub(super) free_bytes: Box<dyn Fn() -> std::io::Result<u64> + Send>,
    /// Where messages go.
    pub(super) node: Arc<Node>,
    /// Where reports go.
    pub(super) reports: mpsc::Sender<Vec<Report>>,
    /// Where the core hears that it is done.
    pub(super) mailbox: Arc<Mailbox>,
    /// What is told of the disk.
    pub(super) disk: Arc<Disk>,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
}

impl Writer {
    /// Reads what is needed before the first batch.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub(super) fn prepare(store: &RocksStore, disk: &Disk) -> Result<(), StoreError> {
        let total = store.get(Column::Meta, TOTAL_KEY)?;
        let total = total.map(|bytes| <[u8; 8]>::try_from(&bytes[..]).map(u64::from_le_bytes)).transpose();
        let total =
            total.map_err(|_| StoreError::Corrupt("the count of transactions is not a number".into()))?;
        disk.transactions.store(total.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    /// Writes until the queue is closed; for nothing else it ends without an error.
    ///
    /// # Errors
    /// See [`StorageFailure`].
    pub(super) fn run(mut self) -> Result<(), StorageFailure> {
        let result = self.write_all();
        self.queue.ended();
        result
    }

    fn write_all(&mut self) -> Result<(), StorageFailure> {
        while let Some(group) = self.queue.take() {
            // Who has nothing to write has to know, too: it may be behind the others for want of whose
            // blocks it writes nothing, and would call itself ready.
            if group.readies.is_empty() && !self.wait_for_room(0) {
                return Ok(());
            }
            if !self.write_group(&group)? {
                return Ok(());
            }
            let Some(last) = group.readies.last().map(|ready| ready.number) else { continue };
            let mut reports = Vec::new();
            // Each word wakes the core: it is told what it waits for. Held back, it waits for any.
            let mut told = group.behind;
            for ready in group.readies {
                told |= ready.awaited;
                send(&self.node, ready.then);
                reports.extend(ready.reports);
            }
            // Before the reports, which may have to wait for room.
            if told {
                self.mailbox.persisted(last);
            }
            if !reports.is_empty() && self.reports.blocking_send(reports).is_err() {
                return Err(StorageFailure::Unheard);
            }
        }
        Ok(())
    }

    /// Writes a group and its guard; `false` if the node is closing while the disk is full.
    fn write_group(&mut self, group: &Group) -> Result<bool, StorageFailure> {
        let (readies, bytes) = (&group.readies, group.bytes);
        let committed: usize = readies
            .iter()
            .flat_map(|ready| &ready.reports)
            .map(|report| if let Report::Committed(block) = report { block.transactions.len() } else { 0 })
            .sum();
        let total = self.disk.transactions() + committed as u64;
        let count =
            (committed > 0).then(|| Write::put(Column::Meta, TOTAL_KEY, total.to_le_bytes().to_vec()));
        let sync = readies.iter().any(|ready| ready.sync);
        if bytes > 0 {
            let started = Instant::now();
            let writes = || readies.iter().flat_map(|ready| &ready.persist).chain(&count);
            if !self.wait_for_room(bytes) {
                return Ok(false);
            }
            let mut refused_since = None;
            while let Err(error) = self.store.apply(writes(), sync) {
                if !self.recover(&error, &mut refused_since)? {
                    return Ok(false);
                }
            }
            self.disk.set(None);
            self.disk.transactions.store(total, Ordering::Relaxed);
            self.metrics.written(started.elapsed(), bytes, readies.len());
            if sync {
                self.metrics.synced("database");
            }
        }
        match readies.iter().rev().find_map(|ready| ready.guard) {
            Some(guard) => self.remember(guard),
            None => Ok(true),
        }
    }

    fn remember(&mut self, guard: Guard) -> Result<bool, StorageFailure> {
        let voted = guard.votes > self.votes_at_start;
        while let Err(error) = self.guard.record(guard, voted) {
            let full =
                matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
            if !full {
                return Err(StorageFailure::Guard { path: self.guard.path().display().to_string(), error });
            }
            self.full(format!("no space left for {}", self.guard.path().display()));
            if !self.queue.pause(LOOK_AGAIN) {
                return Ok(false);
            }
        }
        self.metrics.synced("guard");
        Ok(true)
    }

    /// Waits until the reserve is free beside `bytes`; `false` if the node is closing.
    fn wait_for_room(&self, bytes: usize) -> bool {
        let wanted = self.min_free_bytes.saturating_add(bytes as u64);
        loop {
            match (self.free_bytes)() {
                Ok(free) if free < wanted => self.full(format!(
                    "{} MiB are free for {}, and the node keeps {} MiB in reserve",
                    free >> 20,
                    self.store.path().display(),
                    self.min_free_bytes >> 20
                )),
                // Whoever sees the room first says so: nothing may be written for a long time.
                Ok(_) => {
                    if self.disk.trouble().is_some() {
                        tracing::info!("there is space on the disk again; the node goes on");
                        self.disk.set(None);
                    }
                    return true;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot tell how much space is free; writing all the same");
                    return true;
                }
            }
            if !self.queue.pause(LOOK_AGAIN) {
                return false;
            }
        }
    }

    fn full(&self, what: String) {
        if self.disk.trouble().is_none() {
            tracing::error!(
                cause = %what,
                "the disk is full: the node writes nothing and does not vote until there is space; free some, it \
                 goes on by itself"
            );
        }
        self.disk.set(Some(format!("the disk is full: {what}; free some space, the node goes on by itself")));
    }

    /// After a batch was refused: waits, reopens, or gives up. `false` if the node is closing.
    fn recover(&self, error: &WriteError, since: &mut Option<Instant>) -> Result<bool, StorageFailure> {
        let WriteError::NoSpace(what) = error else {
            return Err(StorageFailure::Write(error.to_string()));
        };
        self.full(what.clone());
        if !self.queue.pause(LOOK_AGAIN) {
            return Ok(false);
        }
        // Opening again replays the log into table files, which take as much room.
        let wanted = self.min_free_bytes.max(MAX_LOG_BYTES);
        let room = (self.free_bytes)().is_ok_and(|free| free >= wanted);
        let refused = *since.get_or_insert_with(Instant::now);
        if !room {
            *since = None;
        } else if refused.elapsed() > PATIENCE {
            tracing::warn!("there is space again, but the database still refuses; reopening it");
            self.store.reopen().map_err(|error| StorageFailure::Write(error.to_string()))?;
            *since = None;
        }
        Ok(true)
    }
}

/// Hands frames to the transport. One that finds a full queue or no connection is lost, and repeated by
/// the protocol where it matters; the transport counts it.
pub(super) fn send(node: &Node, frames: Vec<Outgoing>) {
    for Outgoing { to, lane, frame } in frames {
        if node.send(to, lane, frame) == SendVerdict::Full {
            tracing::debug!(peer = %to, ?lane, "the queue to a peer is full; a frame was dropped");
        }
    }
}
