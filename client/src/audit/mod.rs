//! The audit: everything a chain claims, checked again from the genesis document, trusting nobody.
//!
//! | checked | against |
//! |---|---|
//! | the genesis document | its founders' signatures, before an audit can start |
//! | every field of every header | what this machine computed: height, parent, parent's result, root and count of transactions, log of earlier blocks, validators, proposer, time |
//! | every transaction | its sender's signature, the chain's rules, and that none stands on the chain twice |
//! | every certificate | a quorum of the validators' signatures, on this block and this result |
//! | every block without one | a later block's certificate, over the links; the last block must have its own |
//! | every result | executing the transactions again, from the founding state |
//!
//! # How it runs
//!
//! One thread takes blocks from the source in groups, as many threads as there are cores check
//! signatures a group at a time, and the caller's thread executes the blocks in order. The queues
//! between them hold a few groups, so memory is bounded by those and by the present state, whatever
//! the length of the chain.

mod check;
mod replay;
mod store;

use crate::verify::Anchor;
use check::{Checked, check_group};
use quorate_ledger::{Genesis, InvalidBlock, LedgerError};
use quorate_types::block::Block;
use quorate_types::certificate::CertificateError;
use quorate_types::hash::{BlockHash, Hash, ResultHash};
use quorate_types::ids::{Height, Timestamp};
use quorate_types::transaction::TransactionError;
use replay::Replay;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Another height than the one that follows.
    #[error("its header says height {0}")]
    Height(Height),
    /// It does not name the block before it.
    #[error("it names {found} as the block before it, which is {expected}")]
    Parent {
        /// The hash it names.
        found: BlockHash,
        /// The hash of the block before it.
        expected: BlockHash,
    },
    /// It has no certificate, and the certified block after it descends from another.
    #[error("it is {found}, but the certified block after it descends from {expected}")]
    NotTheAncestor {
        /// The hash of this block.
        found: BlockHash,
        /// The hash that the certified block names.
        expected: BlockHash,
    },
    /// A transaction does not hold.
    #[error("transaction {index}: {error}")]
    Transaction {
        /// Its position, from 0.
        index: usize,
        /// Why.
        error: TransactionError,
    },
    /// The certificate does not hold.
    #[error("certificate: {0}")]
    Certificate(CertificateError),
    /// The certificate is of another block.
    #[error("its certificate is of another block, {0}")]
    OtherCertificate(BlockHash),
    /// The validators certified another result than execution leads to.
    #[error("the validators certified result {certified}, but executing it leads to {computed}")]
    Result {
        /// What a quorum signed, or the next block names.
        certified: ResultHash,
        /// What this machine computed.
        computed: ResultHash,
    },
    /// A field of the header, or a transaction's place in the block, breaks a rule.
    #[error("{0}")]
    Invalid(InvalidBlock),
    /// Neither this block nor one after it is certified.
    #[error("no certificate makes it final")]
    NoCertificate,
}

/// How far an audit has come, or where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// The last block that was found sound; 0 for none.
    pub height: Height,
    /// Its hash; the chain id at height 0.
    pub block: BlockHash,
    /// Its time.
    pub timestamp: Timestamp,
    /// Root of the state after it.
    pub state_root: Hash,
    /// Transactions up to it.
    pub transactions: u64,
    /// How many of those failed and had no effect.
    pub failed: u64,
    /// Bytes of transactions up to it.
    pub bytes: u64,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything holds.
    Sound(Totals),
    /// The chain is not what it claims to be.
    Wrong {
        /// The first height that is wrong.
        height: Height,
        /// What is wrong there.
        what: Wrong,
        /// Everything below.
        sound: Totals,
    },
}

/// Why an audit came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum AuditError<E: std::error::Error + 'static> {
    /// The source of blocks failed.
    #[error("{error} (everything up to height {} was found sound)", .sound.height)]
    Source {
        /// What the source says.
        error: E,
        /// How far the audit came.
        sound: Totals,
    },
    /// This machine could not execute.
    #[error("this machine could not execute the chain: {0}")]
    Ledger(#[from] LedgerError),
}

/// How many blocks, transactions and bytes go to a thread at a time: enough signatures for a batch
/// to pay off, few enough bytes for a dozen groups to fit in memory.
const GROUP_BLOCKS: usize = 64;
const GROUP_TRANSACTIONS: usize = 1024;
const GROUP_BYTES: usize = 4 << 20;

/// A group on its way to a worker, and where the result is awaited.
type Job = (Vec<Block>, SyncSender<Vec<Checked>>);

/// Audits the chain of this genesis, whose blocks come ascending from height 1.
///
/// `progress` is told after each group of blocks, on the caller's thread. Blocks that come from
/// nowhere in particular are judged; the source is only asked for the next.
///
/// # Errors
/// [`AuditError`] if there is no verdict.
pub fn audit<E, I>(
    genesis: &Genesis,
    blocks: I,
    mut progress: impl FnMut(&Totals),
) -> Result<Verdict, AuditError<E>>
where
    E: std::error::Error + Send + 'static,
    I: Iterator<Item = Result<Block, E>> + Send,
{
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let anchor = Anchor::new(genesis.chain, genesis.validators.clone());
    let mut replay = Replay::new(genesis)?;
    // Each worker has one group in hand and one waiting.
    let (give_job, take_job) = sync_channel::<Job>(workers);
    let (give_result, results) = sync_channel::<Receiver<Vec<Checked>>>(2 * workers);
    let take_job = Mutex::new(take_job);
    thread::scope(|scope| {
        let feeder = scope.spawn(move || feed(blocks, &give_job, &give_result));
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    // The lock is held while waiting: whoever holds it gets the next group.
                    let job = take_job.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((group, done)) = job else { return };
                    // Fails only when the verdict is known already.
                    let _ = done.send(check_group(&anchor, group));
                }
            });
        }
        for group in &results {
            // A worker that panicked sends nothing; the scope hands its panic on.
            let Ok(group) = group.recv() else { break };
            for checked in group {
                if let Some((height, what)) = replay.push(checked)? {
                    drop(results);
                    return Ok(Verdict::Wrong { height, what, sound: replay.totals() });
                }
            }
            progress(&replay.totals());
        }
        drop(results);
        match feeder.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(AuditError::Source { error, sound: replay.totals() }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(match replay.finish() {
            Some((height, what)) => Verdict::Wrong { height, what, sound: replay.totals() },
            None => Verdict::Sound(replay.totals()),
        })
    })
}

/// Cuts the source into groups, and hands each to a worker and its result, in order, to the caller.
fn feed<E>(
    blocks: impl Iterator<Item = Result<Block, E>>,
    jobs: &SyncSender<Job>,
    results: &SyncSender<Receiver<Vec<Checked>>>,
) -> Result<(), E> {
    let hand_on = |group: &mut Vec<Block>| {
        if group.is_empty() {
            return true;
        }
        let (done, result) = sync_channel(1);
        // Both fail only when the verdict is known already.
        results.send(result).is_ok() && jobs.send((std::mem::take(group), done)).is_ok()
    };
    let mut group: Vec<Block> = Vec::new();
    let (mut transactions, mut bytes) = (0, 0);
    for block in blocks {
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                hand_on(&mut group);
                return Err(error);
            }
        };
        transactions += block.transactions.len();
        bytes += block.transactions.iter().map(bytes::Bytes::len).sum::<usize>();
        group.push(block);
        if group.len() >= GROUP_BLOCKS || transactions >= GROUP_TRANSACTIONS || bytes >= GROUP_BYTES {
            if !hand_on(&mut group) {
                return Ok(());
            }
            (transactions, bytes) = (0, 0);
        }
    }
    hand_on(&mut group);
    Ok(())
}
