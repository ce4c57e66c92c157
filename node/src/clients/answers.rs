//! Answers from the database, each with its proof.

use super::budget::Budget;
use super::{Desk, Failure, encode};
use crate::core::records;
use crate::storage::RocksStore;
use bytes::Bytes;
use quorate_client::protocol::{Response, Trace};
use quorate_ledger::{ReadError, StateKey};
use quorate_transport::FrameSender;
use quorate_types::block::Block;
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::parameters::Parameters;
use std::sync::Arc;

/// Encoded bytes of blocks after which a frame of several ends. A larger single block still goes.
const BLOCKS_FRAME_BYTES: usize = 1 << 20;

/// Blocks in one frame, however small: a bound on the heights looked up for one frame.
const BLOCKS_FRAME_COUNT: usize = 1024;

/// More than a proof with its value, or a receipt, takes.
const PROOF_BYTES: usize = 2 << 20;

/// More than a block has beside its transactions: header, certificate, and what proves it final.
const BESIDE_TRANSACTIONS: usize = 128 << 10;

/// Answers one request from the database.
pub(super) struct Answers<'a> {
    /// What answering needs.
    pub(super) desk: &'a Arc<Desk>,
    /// Where answers claim room until they are sent.
    pub(super) room: &'a Budget,
    /// To whom.
    pub(super) sender: &'a mut FrameSender,
}

impl Answers<'_> {
    /// Sends what a read finds, and gives back what it says beside. The room that the answer takes at `most`
    /// is claimed before anything is read, for it is in memory until the client has taken it.
    async fn send<T: Send + 'static>(
        &mut self,
        most: usize,
        answer: impl FnOnce(&RocksStore, Height) -> Result<(Response, T), Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut claim = self.room.claim(most).await;
        // Encoded there, so that nothing else of it waits for the client.
        let encoded = |(response, beside): (Response, T)| (encode(&response), beside);
        let (frame, beside): (Bytes, T) =
            read(self.desk, move |store, tip| answer(store, tip).map(encoded)).await?;
        claim.reduce(frame.len());
        self.sender.send(frame).await?;
        Ok(beside)
    }

    /// A key of the state, at the latest height or a named one.
    pub(super) async fn state(mut self, key: StateKey, height: Option<Height>) -> Result<(), Failure> {
        self.send(PROOF_BYTES, move |store, tip| Ok((state(store, tip, &key, height)?, ()))).await
    }

    /// The receipt of a transaction.
    pub(super) async fn receipt(mut self, id: TransactionId) -> Result<(), Failure> {
        self.send(PROOF_BYTES, move |store, _| Ok((receipt(store, &id)?, ()))).await
    }

    /// One block with its finality.
    pub(super) async fn block(mut self, height: Option<Height>) -> Result<(), Failure> {
        self.send(self.most_of_a_block(), move |store, tip| Ok((block(store, tip, height)?, ()))).await
    }

    /// What the node says of itself: short, and from no disk.
    pub(super) async fn status(self) -> Result<(), Failure> {
        let status = self.desk.observer.status().await;
        let status = status.map_err(|busy| Failure::unavailable(busy.to_string()))?;
        let frame = encode(&Response::Status(Box::new(status)));
        self.sender.send(frame).await.map_err(Failure::from)
    }

    /// Where a transaction came from; what is in the database knows at least its height.
    pub(super) async fn trace(self, id: TransactionId) -> Result<(), Failure> {
        let trace = self.desk.observer.trace(id).await;
        let response = match trace.map_err(|busy| Failure::unavailable(busy.to_string()))? {
            None => Response::NotFound,
            Some(trace) => {
                let place = read(self.desk, move |store, _| Ok(records::locate(store, &id)?)).await?;
                let committed = place.map(|(height, _)| height).or(trace.committed);
                Response::Trace(Trace { committed, ..trace })
            }
        };
        self.sender.send(encode(&response)).await.map_err(Failure::from)
    }

    /// Blocks from a height on. Everything comes from the database, what was just committed as well, so
    /// that there is no gap between old blocks and live ones.
    pub(super) async fn blocks(mut self, from: Height, follow: bool) -> Result<(), Failure> {
        if from == Height::GENESIS {
            return Err(Failure::unavailable(
                "blocks begin at height 1; the genesis document stands for height 0",
            ));
        }
        let most = BLOCKS_FRAME_BYTES + self.most_of_a_block();
        let mut stored = self.desk.stored.clone();
        let mut next = from;
        loop {
            let tip = stored.borrow_and_update().height;
            while next <= tip {
                let collected = self.send(most, move |store, _| {
                    let blocks = collect(store, next, tip)?;
                    let count = blocks.len() as u64;
                    Ok((Response::Blocks { blocks, finality: None }, count))
                });
                next = next.plus(collected.await?);
            }
            if !follow {
                return Ok(());
            }
            tokio::select! {
                changed = stored.changed() => {
                    if changed.is_err() {
                        return Err(Failure::unavailable("the node is shutting down"));
                    }
                }
                // Before `finish` this ends only when the other side is gone or has had enough.
                _ = self.sender.delivered() => return Err(Failure::Gone),
            }
        }
    }

    fn most_of_a_block(&self) -> usize {
        most_of_a_block(self.desk.observer.founding.parameters())
    }
}

/// More than any block of this chain takes in an answer.
fn most_of_a_block(parameters: &Parameters) -> usize {
    // Each transaction comes with its length.
    let lengths = 8 * parameters.max_block_transactions as usize;
    parameters.max_block_bytes as usize + lengths + BESIDE_TRANSACTIONS
}

/// Runs a read on a thread that may block, once there is room for one more.
async fn read<T: Send + 'static>(
    desk: &Arc<Desk>,
    answer: impl FnOnce(&RocksStore, Height) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let permit = Arc::clone(&desk.reads).acquire_owned().await;
    let _permit = permit.map_err(|_| Failure::unavailable("the node is shutting down"))?;
    let (store, tip) = (desk.store.clone(), desk.stored.borrow().height);
    let done = tokio::task::spawn_blocking(move || answer(&store, tip)).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a read panicked");
        Err(Failure::unavailable("the node failed to read; ask another validator"))
    })
}

fn state(
    store: &RocksStore,
    tip: Height,
    key: &StateKey,
    height: Option<Height>,
) -> Result<Response, Failure> {
    let height = height.unwrap_or(tip);
    if tip == Height::GENESIS {
        return Err(Failure::unavailable(
            "no block has been committed yet, so nothing can be proven; try again later",
        ));
    }
    if height == Height::GENESIS || height > tip {
        let text = format!(
            "this validator has heights 1 to {tip}, not {height}; ask for one of those, or another validator"
        );
        return Err(Failure::unavailable(text));
    }
    let (_, proof) = quorate_ledger::read::read(store, height, key).map_err(|error| match error {
        ReadError::Store(error) => Failure::from(error),
        ReadError::UnknownHeight(_) => Failure::unavailable(error.to_string()),
    })?;
    match records::finality(store, height)? {
        Some(finality) => Ok(Response::State { proof, finality }),
        None => Ok(Response::NotFound),
    }
}

fn receipt(store: &RocksStore, id: &TransactionId) -> Result<Response, Failure> {
    Ok(match records::receipt(store, id)? {
        Some(receipt) => Response::Receipt(Box::new(receipt)),
        None => Response::NotFound,
    })
}

fn block(store: &RocksStore, tip: Height, height: Option<Height>) -> Result<Response, Failure> {
    let height = height.unwrap_or(tip);
    if height == Height::GENESIS || height > tip {
        return Ok(Response::NotFound);
    }
    Ok(match (records::full_block(store, height)?, records::finality(store, height)?) {
        (Some(block), Some(finality)) => {
            Response::Blocks { blocks: vec![block], finality: Some(Box::new(finality)) }
        }
        _ => Response::NotFound,
    })
}

fn collect(store: &RocksStore, from: Height, to: Height) -> Result<Vec<Block>, Failure> {
    let mut blocks = Vec::new();
    let mut bytes = 0;
    let mut height = from;
    while height <= to && bytes < BLOCKS_FRAME_BYTES && blocks.len() < BLOCKS_FRAME_COUNT {
        let missing = || Failure::unavailable(format!("the block at height {height} is not in the database"));
        let block = records::full_block(store, height)?.ok_or_else(missing)?;
        bytes += codec::encoded_len(&block);
        blocks.push(block);
        height = height.next();
    }
    Ok(blocks)
}
