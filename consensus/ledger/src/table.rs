//! The ledger's own keys in the store; the whole table is in [`store`](crate::store).

use crate::store::{Column, Store, StoreError};
use quorate_types::codec;
use quorate_types::ids::Height;
use quorate_types::merkle::Node;
use serde::{Serialize, de::DeserializeOwned};

/// The layout of the ledger's columns that this code writes and reads.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const META_FORMAT: &[u8] = b"ledger/format";
pub(crate) const META_CHAIN: &[u8] = b"ledger/chain";
pub(crate) const META_TIP: &[u8] = b"ledger/tip";
const META_IDS: &[u8] = b"ledger/ids/";

/// Decoding from disk is bounded by the value read; this bounds what one value may be.
pub(crate) const VALUE_LIMIT: usize = 64 << 20;

pub(crate) fn ids_key(height: Height) -> Vec<u8> {
    [META_IDS, &height.0.to_be_bytes()].concat()
}

/// The height of a key that [`ids_key`] made.
pub(crate) fn ids_height(key: &[u8]) -> Option<Height> {
    let height = key.strip_prefix(META_IDS)?.try_into().ok()?;
    Some(Height(u64::from_be_bytes(height)))
}

/// The root record of the state after `height`. No page's path has 255 nibbles.
pub(crate) fn root_key(height: Height) -> Vec<u8> {
    let mut key = height.0.to_be_bytes().to_vec();
    key.push(0xff);
    key
}

pub(crate) fn history_key(node: Node) -> Vec<u8> {
    let mut key = vec![node.level];
    key.extend_from_slice(&node.index.to_be_bytes());
    key
}

/// Reads and decodes one value; a value that does not decode is damage, not absence.
pub(crate) fn load<T: Serialize + DeserializeOwned>(
    store: &impl Store,
    column: Column,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    store.get(column, key)?.map(|bytes| decode(column, key, &bytes)).transpose()
}

pub(crate) fn decode<T: Serialize + DeserializeOwned>(
    column: Column,
    key: &[u8],
    bytes: &[u8],
) -> Result<T, StoreError> {
    codec::decode(bytes, VALUE_LIMIT)
        .map_err(|error| StoreError::Corrupt(format!("{} entry {key:02x?}: {error}", column.name())))
}
