//! A receipt in a file: proof of one transaction that anyone checks offline, years later, with the
//! genesis document alone.
//!
//! # Format
//!
//! Indented JSON of one object with these fields in this order, and a final line feed:
//!
//! | field | what |
//! |---|---|
//! | `format` | the text `quorate-receipt/1` |
//! | `chain` | the chain id, 64 hexadecimal digits |
//! | `transaction` | the transaction's id |
//! | `sender` | the key of the member that signed it |
//! | `height`, `block`, `timestamp_ms` | the block it stands in, and its agreed time |
//! | `outcome` | `"applied"`, or `{"failed": {"operation": ..., "reason": ...}}` |
//! | `receipt` | the canonical encoding of the [`Receipt`], in hexadecimal |
//!
//! Only `receipt` is proof; the fields above it are there to be read, and must say what it says. A
//! file is accepted only if it is byte for byte what [`render`] writes for its receipt, and the
//! receipt holds: so no byte of it can be changed without being noticed.

use crate::verify::{Anchor, VerifiedReceipt, VerifyError};
use quorate_types::codec::{self, DecodeError};
use quorate_types::hash::{BlockHash, ChainId, TransactionId};
use quorate_types::ids::{Height, Timestamp};
use quorate_types::keys::PublicKey;
use quorate_types::outcome::Outcome;
use quorate_types::receipt::Receipt;
use serde::{Deserialize, Serialize};

/// The first field of every receipt file.
pub const FORMAT: &str = "quorate-receipt/1";

/// The longest receipt file: the longest receipt in hexadecimal, and its summary.
pub const MAX_FILE_BYTES: usize = 2 * Receipt::MAX_BYTES + (64 << 10);

/// Why a receipt file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFileError {
    /// Longer than any receipt file.
    #[error("longer than {MAX_FILE_BYTES} bytes, so it is no receipt file")]
    TooLong,
    /// Not the JSON of a receipt file.
    #[error("not a receipt file: {0}")]
    Form(String),
    /// Another format, or a later one.
    #[error("the format is {0:?}; this program reads {FORMAT:?}")]
    Format(String),
    /// The bytes of the receipt hold no receipt.
    #[error("field `receipt`: {0}")]
    Decode(#[from] DecodeError),
    /// The receipt does not hold.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The readable fields, or the layout, are not what the receipt says.
    #[error("the receipt holds, but the file around it was altered (first difference in line {0})")]
    Altered(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format: String,
    chain: ChainId,
    transaction: TransactionId,
    sender: PublicKey,
    height: Height,
    block: BlockHash,
    timestamp_ms: Timestamp,
    outcome: Outcome,
    receipt: String,
}

/// The file of a receipt.
pub fn render(receipt: &VerifiedReceipt) -> String {
    let inner = receipt.receipt();
    let envelope = Envelope {
        format: FORMAT.to_owned(),
        chain: inner.transaction.transaction.chain,
        transaction: receipt.id(),
        sender: inner.transaction.transaction.sender,
        height: receipt.height(),
        block: receipt.block(),
        timestamp_ms: receipt.timestamp(),
        outcome: receipt.outcome().clone(),
        receipt: const_hex::encode(inner.encode()),
    };
    let mut text = serde_json::to_string_pretty(&envelope).expect("text and numbers are JSON");
    text.push('\n');
    text
}

/// Reads a file and checks all of it.
///
/// # Errors
/// See [`ReceiptFileError`].
pub fn parse(text: &str, anchor: &Anchor) -> Result<VerifiedReceipt, ReceiptFileError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(ReceiptFileError::TooLong);
    }
    let envelope: Envelope =
        serde_json::from_str(text).map_err(|error| ReceiptFileError::Form(error.to_string()))?;
    if envelope.format != FORMAT {
        return Err(ReceiptFileError::Format(envelope.format.chars().take(80).collect()));
    }
    let bytes = const_hex::decode(&envelope.receipt)
        .map_err(|error| ReceiptFileError::Form(format!("field `receipt`: {error}")))?;
    let receipt: Receipt = codec::decode(&bytes, Receipt::MAX_BYTES)?;
    let verified = anchor.receipt(receipt, None)?;
    let expected = render(&verified);
    if expected != text {
        let same = expected.lines().zip(text.lines()).take_while(|(ours, theirs)| ours == theirs).count();
        return Err(ReceiptFileError::Altered(same + 1));
    }
    Ok(verified)
}
