//! Reading committed state and history with proofs, from nothing but a store.

use crate::execution::decode_value;
use crate::proof::{End, StateProof};
use crate::reader::{Reader, load_root};
use crate::state::{StateKey, StateValue};
use crate::store::{Column, Store, StoreError};
use crate::table;
use crate::tree::{self, Leaf};
use quorate_types::hash::Hash;
use quorate_types::ids::Height;
use quorate_types::merkle::{self, Path};

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No block of this height is in the store, yet.
    #[error("there is no state of height {0} here")]
    UnknownHeight(Height),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the state after block `height` holds at `key`, with the proof against the state root in that
/// block's result. Any height from 0, the founding state, up to the last one stored.
///
/// # Errors
/// See [`ReadError`].
pub fn read<S: Store>(
    store: &S,
    height: Height,
    key: &StateKey,
) -> Result<(Option<StateValue>, StateProof), ReadError> {
    let root = load_root(store, height)?.ok_or(ReadError::UnknownHeight(height))?;
    let mut reader = Reader::of_store(store);
    let place = key.hash();
    let trace = tree::trace(&mut reader, root, &place)?;
    let end = match trace.leaf {
        None => End::Empty,
        Some(Leaf { key: other, version, .. }) => {
            let bytes = reader.value(version, &other)?;
            if other == place {
                End::Present(decode_value(&bytes, key.parts())?)
            } else {
                End::Other { key: other, value: Hash::of(&[&bytes]) }
            }
        }
    };
    let value = match &end {
        End::Present(value) => Some(value.clone()),
        End::Empty | End::Other { .. } => None,
    };
    Ok((value, StateProof { siblings: trace.siblings, end }))
}

/// The root of the state after block `height`; `None` if the store does not have it.
///
/// # Errors
/// [`StoreError`] if it could not be read.
pub fn state_root<S: Store>(store: &S, height: Height) -> Result<Option<Hash>, StoreError> {
    Ok(load_root(store, height)?.map(|root| root.hash()))
}

/// The proof that the hash of block `height` is leaf `height` of the log of `size` block hashes. A
/// header at height h names the root of the log of the first h hashes, so `size` is that header's
/// height. Check it with [`merkle::verify_inclusion`] over [`merkle::leaf_hash`] of the block hash.
///
/// `None` when `height` is not below `size`, or the store does not reach that far.
///
/// # Errors
/// [`StoreError`] if the log could not be read.
pub fn history_proof<S: Store>(store: &S, height: Height, size: u64) -> Result<Option<Path>, StoreError> {
    let failure = std::cell::RefCell::new(None);
    let path = merkle::log_proof(height.0, size, |node| {
        let bytes = store.get(Column::History, &table::history_key(node));
        let hash = bytes.and_then(|bytes| match bytes.as_deref().map(<[u8; 32]>::try_from) {
            None => Ok(None),
            Some(Ok(hash)) => Ok(Some(Hash(hash))),
            Some(Err(_)) => Err(StoreError::Corrupt(format!("log node {node:?} is not a hash"))),
        });
        hash.unwrap_or_else(|error| {
            *failure.borrow_mut() = Some(error);
            None
        })
    });
    match failure.into_inner() {
        Some(error) => Err(error),
        None => Ok(path),
    }
}
