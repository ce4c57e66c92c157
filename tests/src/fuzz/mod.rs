//! **Every decoder that meets a peer, a client or a disk**, as one plain function of bytes.
//!
//! Each target asserts of any input whatever:
//!
//! - no panic;
//! - what decodes encodes to the very same bytes again, and what is read from text is written to a text
//!   that says the same;
//! - memory stays below a cap that follows the length of the input ([`memory`]);
//! - nothing false is believed: what passes the checks of a receipt, a proof, a block or a store is what
//!   the chain of the golden vectors really holds ([`known`]).
//!
//! The same functions run in two ways: as tests over the corpus and seeded mutations of it
//! (`tests/tests/fuzz.rs`), and under libFuzzer (`tests/fuzz`), which is guided by coverage. Signatures
//! stop nearly every mutation at the door, so the targets of signed things also sign what they decoded
//! with the keys of the known chain and look at what comes after that door.
//!
//! | module | whose bytes |
//! |---|---|
//! | [`peer`] | another validator's, or a stranger's |
//! | [`client`] | a client's at a node, a node's at a client |
//! | [`disk`] | those that the node and the auditor read back |
//! | [`files`] | people's: genesis documents, cards, keys, operations, settings |
//! | [`known`] | the chain all inputs are judged by |
//! | [`corpus`] | where the first inputs come from |
//! | [`mutate`] | how others are made of them |
//! | [`memory`] | the caps, and the meter |

pub mod client;
pub mod corpus;
pub mod disk;
pub mod files;
pub mod known;
pub mod memory;
pub mod mutate;
pub mod peer;

use memory::{BINARY, bounded};
use quorate_types::codec::{self, DecodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A target: panics on any input that breaks a promise.
pub type Target = fn(&[u8]);

/// Every target, by its name: that of its corpus directory and of its libFuzzer binary.
pub const TARGETS: &[(&str, Target)] = &[
    ("block", peer::block),
    ("card", files::card),
    ("certificate", peer::certificate),
    ("config", files::config),
    ("evidence", peer::evidence),
    ("export", disk::export),
    ("frames", peer::frames),
    ("genesis", files::genesis),
    ("gossip_frame", peer::gossip_frame),
    ("guard", disk::guard),
    ("hello", peer::hello),
    ("identity", peer::identity),
    ("key_file", files::key_file),
    ("marker", disk::marker),
    ("merkle", peer::merkle),
    ("message", peer::message),
    ("operations", files::operations),
    ("parameters", files::parameters),
    ("prepared", peer::prepared),
    ("receipt", client::receipt),
    ("receipt_file", client::receipt_file),
    ("records", disk::records),
    ("request", client::request),
    ("response", client::response),
    ("state_proof", client::state_proof),
    ("store", disk::store),
    ("submission", client::submission),
    ("sync_frame", peer::sync_frame),
    ("transaction", peer::transaction),
    ("votes_frame", peer::votes_frame),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Decodes within memory, and holds what decodes to its bytes.
fn canonical<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Option<T> {
    let decoded: Result<T, DecodeError> = bounded(BINARY, bytes.len(), || codec::decode(bytes, limit));
    if bytes.len() > limit {
        assert!(
            matches!(decoded, Err(DecodeError::TooLong { .. })),
            "{} bytes were looked at, where {limit} are allowed",
            bytes.len()
        );
    }
    let value = decoded.ok()?;
    assert!(codec::encode(&value) == bytes, "decoded, and encodes to other bytes");
    assert_eq!(codec::encoded_len(&value), bytes.len());
    Some(value)
}
