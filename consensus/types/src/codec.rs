//! The canonical encoding: one value, one string of bytes.
//!
//! `bincode` 1.3.3 with fixed-width little-endian integers. In short, enough to write a decoder in
//! another language:
//!
//! - `u8`, `u16`, `u32`, `u64`, `u128`: 1, 2, 4, 8, 16 bytes, little endian; `bool`: one byte, 0 or 1;
//! - hashes, keys, signatures: their 32 or 64 bytes, with no length;
//! - a list, a byte string, a text (UTF-8): its length as `u64`, then its elements;
//! - an optional value: one byte 0, or one byte 1 and the value;
//! - an enum: its variant's number, counted from 0 in the order of declaration, as `u32`, then its fields;
//! - a struct: its fields in the order of declaration, with nothing between them.
//!
//! Decoding takes a limit, rejects trailing bytes, and rejects every input that would not encode to
//! the same bytes again.

use bincode::Options;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// Why bytes are not the canonical encoding of the value they should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the limit; nothing was decoded.
    #[error("{found} bytes where at most {limit} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Cut short, followed by more, or out of range.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A second spelling of a value that has another canonical one.
    #[error("not the canonical encoding")]
    NotCanonical,
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding()
}

/// The canonical encoding of `value`.
///
/// # Panics
/// If `value` cannot be encoded, which no type of this workspace can cause: they hold neither maps
/// nor sequences of unknown length.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    options().serialize(value).expect("types of the ledger always encode")
}

/// As [`encode`], into shared bytes.
pub fn encode_bytes<T: Serialize + ?Sized>(value: &T) -> Bytes {
    Bytes::from(encode(value))
}

/// Appends the canonical encoding of `value` to `out`.
///
/// # Panics
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    options().serialize_into(out, value).expect("types of the ledger always encode");
}

/// How many bytes [`encode`] would return.
///
/// # Panics
/// As [`encode`].
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    let length = options().serialized_size(value).expect("types of the ledger always encode");
    usize::try_from(length).expect("a value in memory is shorter than memory")
}

/// The value whose canonical encoding is exactly `bytes`, if those are at most `limit` long.
///
/// # Errors
/// See [`DecodeError`]. Memory asked for stays proportional to `bytes`, whatever they claim.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { found: bytes.len(), limit });
    }
    let value: T = options()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let mut rest = Compare { rest: bytes };
    match options().serialize_into(&mut rest, &value) {
        Ok(()) if rest.rest.is_empty() => Ok(value),
        _ => Err(DecodeError::NotCanonical),
    }
}

/// Accepts only the bytes it holds: re-encodes without building a second copy.
struct Compare<'a> {
    rest: &'a [u8],
}

impl io::Write for Compare<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        match self.rest.split_at_checked(written.len()) {
            Some((expected, rest)) if expected == written => {
                self.rest = rest;
                Ok(written.len())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_fixed_width_little_endian() {
        assert_eq!(
            encode(&(1u16, 2u32, "ab", Some(3u8))),
            [1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 1, 3]
        );
    }

    #[test]
    fn refuses_trailing_short_and_long() {
        let bytes = encode(&7u32);
        assert_eq!(decode::<u32>(&bytes, 4), Ok(7));
        assert!(matches!(decode::<u32>(&bytes[..3], 4), Err(DecodeError::Malformed(_))));
        assert!(matches!(
            decode::<u32>(&[bytes.clone(), vec![0]].concat(), 9),
            Err(DecodeError::Malformed(_))
        ));
        assert_eq!(decode::<u32>(&bytes, 3), Err(DecodeError::TooLong { found: 4, limit: 3 }));
    }

    #[test]
    fn a_length_bomb_is_refused_without_allocating() {
        let bomb = [encode(&(u64::MAX / 2)), vec![1]].concat();
        assert!(decode::<Vec<u8>>(&bomb, 64).is_err());
        assert!(decode::<serde_bytes::ByteBuf>(&bomb, 64).is_err());
        assert!(decode::<String>(&bomb, 64).is_err());
        assert!(decode::<Vec<[u64; 4]>>(&bomb, 64).is_err());
    }

    #[test]
    fn refuses_second_spellings() {
        assert!(decode::<bool>(&[2], 1).is_err());
        assert!(decode::<Option<u8>>(&[2, 0], 2).is_err());
        assert!(decode::<String>(&[encode(&1u64), vec![0xff]].concat(), 16).is_err());
    }

    /// Reads two spellings as one value, as a type with a lenient reader would.
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(from = "u8", into = "u8")]
    struct Even(bool);

    impl From<u8> for Even {
        fn from(byte: u8) -> Even {
            Even(byte.is_multiple_of(2))
        }
    }

    impl From<Even> for u8 {
        fn from(even: Even) -> u8 {
            u8::from(!even.0)
        }
    }

    #[test]
    fn a_lenient_reader_makes_no_second_spelling() {
        assert_eq!(decode::<Even>(&[0], 1), Ok(Even(true)));
        assert_eq!(decode::<Even>(&[1], 1), Ok(Even(false)));
        assert_eq!(decode::<Even>(&[2], 1), Err(DecodeError::NotCanonical));
        assert_eq!(decode::<Vec<Even>>(&encode(&[0u8, 1, 3][..]), 16), Err(DecodeError::NotCanonical));
    }
}
