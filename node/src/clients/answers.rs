//! Answers from the database, each with its proof.

use super::{Desk, Failure, encode};
use crate::core::records;
use crate::storage::RocksStore;
use quorate_client::protocol::{Response, Trace};
use quorate_ledger::{ReadError, StateKey};
use quorate_transport::FrameSender;
use quorate_types::block::Block;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use std::sync::Arc;

/// Encoded bytes of blocks after which a frame of several ends. A larger single block still goes.
const BLOCKS_FRAME_BYTES: usize = 1 << 20;

/// Blocks in one frame, however small: a bound on the heights looked up for one frame.
const BLOCKS_FRAME_COUNT: usize = 1024;

/// Runs a read on a thread that may block, once there is room for one more.
pub(super) async fn read<T: Send + 'static>(
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

/// A key of the state, at the latest height or a named one.
pub(super) fn state(
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

/// The receipt of a transaction.
pub(super) fn receipt(store: &RocksStore, id: &TransactionId) -> Result<Response, Failure> {
    Ok(match records::receipt(store, id)? {
        Some(receipt) => Response::Receipt(Box::new(receipt)),
        None => Response::NotFound,
    })
}

/// One block with its finality.
pub(super) fn block(store: &RocksStore, tip: Height, height: Option<Height>) -> Result<Response, Failure> {
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

/// Where a transaction came from; what is in the database knows at least its height.
pub(super) async fn trace(desk: &Arc<Desk>, id: TransactionId) -> Result<Response, Failure> {
    let trace = desk.observer.trace(id).await.map_err(|busy| Failure::unavailable(busy.to_string()))?;
    let Some(trace) = trace else { return Ok(Response::NotFound) };
    let place = read(desk, move |store, _| Ok(records::locate(store, &id)?)).await?;
    Ok(Response::Trace(Trace { committed: place.map(|(height, _)| height).or(trace.committed), ..trace }))
}

/// Blocks from a height on. Everything comes from the database, what was just committed as well, so
/// that there is no gap between old blocks and live ones.
pub(super) async fn blocks(
    desk: &Arc<Desk>,
    from: Height,
    follow: bool,
    sender: &mut FrameSender,
) -> Result<(), Failure> {
    if from == Height::GENESIS {
        return Err(Failure::unavailable(
            "blocks begin at height 1; the genesis document stands for height 0",
        ));
    }
    let mut stored = desk.stored.clone();
    let mut next = from;
    loop {
        let tip = stored.borrow_and_update().height;
        while next <= tip {
            let blocks = read(desk, move |store, _| collect(store, next, tip)).await?;
            next = next.plus(blocks.len() as u64);
            sender.send(encode(&Response::Blocks { blocks, finality: None })).await?;
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
            _ = sender.delivered() => return Err(Failure::Gone),
        }
    }
}

fn collect(store: &RocksStore, from: Height, to: Height) -> Result<Vec<Block>, Failure> {
    let mut blocks = Vec::new();
    let mut bytes = 0;
    let mut height = from;
    while height <= to && bytes < BLOCKS_FRAME_BYTES && blocks.len() < BLOCKS_FRAME_COUNT {
        let missing = || Failure::unavailable(format!("the block at height {height} is not in the database"));
        let block = records::full_block(store, height)?.ok_or_else(missing)?;
        // Header and certificate take their share as well.
        bytes += 512 + block.transactions.iter().map(|transaction| transaction.len() + 8).sum::<usize>();
        blocks.push(block);
        height = height.next();
    }
    Ok(blocks)
}
