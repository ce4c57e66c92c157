//! SHA-256, and a newtype for each thing a hash stands for.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, found {found:?}")]
pub struct ParseHexError {
    /// How many digits there should be.
    pub expected: usize,
    /// The text, cut to its first 80 characters.
    pub found: String,
}

pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let mut bytes = [0u8; N];
    // Only plain digits of the exact length: a prefix such as `0x` would be a second spelling.
    let plain = text.len() == 2 * N && text.bytes().all(|b| b.is_ascii_hexdigit());
    if plain && const_hex::decode_to_slice(text, &mut bytes).is_ok() {
        Ok(bytes)
    } else {
        Err(ParseHexError { expected: 2 * N, found: text.chars().take(80).collect() })
    }
}

/// Gives a fixed-size byte newtype hexadecimal text in human-readable formats and plain bytes,
/// with no length, in the canonical encoding.
macro_rules! fixed_bytes_serde {
    ($name:ident, $len:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::hash::serialize_fixed(&self.0, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::hash::deserialize_fixed::<D, { $len }>(deserializer).map($name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&const_hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // Eight digits tell values apart in a transcript.
                write!(f, "{}({})", stringify!($name), const_hex::encode(&self.0[..4]))
            }
        }
    };
}
pub(crate) use fixed_bytes_serde;

pub(crate) fn serialize_fixed<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.serialize_str(&const_hex::encode(bytes));
    }
    use serde::ser::SerializeTuple;
    const { assert!(N.is_multiple_of(WORD)) };
    let words = bytes.as_chunks::<WORD>().0;
    let mut tuple = serializer.serialize_tuple(words.len())?;
    for word in words {
        tuple.serialize_element(&u64::from_le_bytes(*word))?;
    }
    tuple.end()
}

/// In the canonical encoding a number of eight bytes is these bytes, the lowest first. So fixed bytes are
/// written and read in words: lists of hashes are most of what is encoded, and this takes an eighth of the
/// calls.
const WORD: usize = 8;

pub(crate) fn deserialize_fixed<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    struct Fixed<const N: usize>;
    impl<'de, const N: usize> de::Visitor<'de> for Fixed<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} hexadecimal digits", 2 * N)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; N], E> {
            parse_hex(text).map_err(E::custom)
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
            let mut bytes = [0u8; N];
            for (i, word) in bytes.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
                let number: Option<u64> = seq.next_element()?;
                *word = number.ok_or_else(|| de::Error::invalid_length(i, &self))?.to_le_bytes();
            }
            Ok(bytes)
        }
    }
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Fixed::<N>)
    } else {
        deserializer.deserialize_tuple(N / WORD, Fixed::<N>)
    }
}

/// A SHA-256 hash.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl std::hash::Hash for Hash {
    /// All of it, in two pieces: a table's hasher takes a number in a fraction of the time it takes bytes. A part
    /// would not do. A peer may name what is no hash of anything, and thousands that share any part.
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for half in self.0.as_chunks::<16>().0 {
            state.write_u128(u128::from_ne_bytes(*half));
        }
    }
}

/// The order of the bytes. Nearly any two hashes or keys differ in the first eight, which are compared as one
/// number.
#[inline]
pub(crate) fn order(one: &[u8; 32], other: &[u8; 32]) -> Ordering {
    let first = |bytes: &[u8; 32]| u64::from_be_bytes(*bytes.first_chunk().expect("32 bytes begin with 8"));
    first(one).cmp(&first(other)).then_with(|| one.cmp(other))
}

/// Implements the order of the bytes for a tuple struct around 32 of them.
macro_rules! fixed_bytes_order {
    ($name:ident) => {
        impl Ord for $name {
            #[inline]
            fn cmp(&self, other: &$name) -> std::cmp::Ordering {
                $crate::hash::order(&self.0, &other.0)
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &$name) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}
pub(crate) use fixed_bytes_order;

fixed_bytes_order!(Hash);
fixed_bytes_serde!(Hash, 32);

impl Hash {
    /// 32 zero bytes: the root of an empty authenticated state.
    pub const ZERO: Hash = Hash([0; 32]);

    /// SHA-256 of the parts, one after the other, with nothing between them.
    ///
    /// Nodes and leaves of trees are most of what is hashed, and are short. Laid out here in one piece they take a
    /// quarter less time than by way of a hasher that could go on.
    #[inline]
    pub fn of(parts: &[&[u8]]) -> Hash {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > SHORT {
            return Hash::of_long(parts);
        }
        let mut padded = [0; 2 * BLOCK];
        let mut rest = &mut padded[..];
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        rest[0] = 0x80;
        let blocks = if length > SHORT - BLOCK { 2 } else { 1 };
        let end = blocks * BLOCK;
        padded[end - 8..end].copy_from_slice(&(8 * length as u64).to_be_bytes());
        let mut state = INITIAL;
        compress256(&mut state, &padded.as_chunks().0[..blocks]);
        let mut hash = Hash::ZERO;
        for (bytes, word) in hash.0.as_chunks_mut().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
        hash
    }

    fn of_long(parts: &[&[u8]]) -> Hash {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Hash(hasher.finalize().into())
    }
}

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// The longest message that two blocks hold: after it come a byte and the number of its bits, in eight.
const SHORT: usize = 2 * BLOCK - 9;

/// Where SHA-256 begins: FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

impl FromStr for Hash {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Hash, ParseHexError> {
        parse_hex(text).map(Hash)
    }
}

macro_rules! hash_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub self::Hash);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), const_hex::encode(&self.0.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<$name, ParseHexError> {
                text.parse().map($name)
            }
        }
    };
}

hash_newtype! {
    /// Hash of the genesis document; names the chain, and is the hash of "block 0".
    ChainId
}
hash_newtype! {
    /// Hash of a block's header.
    BlockHash
}
hash_newtype! {
    /// Hash of a block's [`BlockResult`](crate::block::BlockResult).
    ResultHash
}
hash_newtype! {
    /// Hash of a transaction without its signature.
    TransactionId
}

#[cfg(test)]
mod tests {
    use super::Hash;
    use crate::keys::PublicKey;
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    #[test]
    fn hashes_and_keys_are_in_the_order_of_their_bytes() {
        let mut strings = vec![[0x80; 32]];
        for place in 0..32 {
            for byte in [0, 0x7f, 0x81, 0xff] {
                let mut string = [0x80; 32];
                string[place] = byte;
                strings.push(string);
            }
        }
        for one in &strings {
            for other in &strings {
                assert_eq!(Hash(*one).cmp(&Hash(*other)), one.cmp(other));
                assert_eq!(PublicKey(*one).partial_cmp(&PublicKey(*other)), Some(one.cmp(other)));
            }
        }
    }

    #[test]
    fn short_messages_hash_like_long_ones() {
        let message: Vec<u8> = (0..200u8).collect();
        for length in 0..message.len() {
            let hash = Hash::of_long(&[&message[..length]]);
            for cut in [0, 1, 32, 64, length] {
                let (first, second) = message[..length].split_at(cut.min(length));
                assert_eq!(Hash::of(&[first, second]), hash, "{length} bytes, cut at {cut}");
            }
        }
        // FIPS 180-4's own examples, as published beside it.
        let [abc, two_blocks] = ["abc", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"];
        let of = |text: &str| Hash::of(&[text.as_bytes()]).to_string();
        assert_eq!(of(abc), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(of(two_blocks), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    }

    #[test]
    fn tables_tell_apart_what_differs_anywhere() {
        let hash_of = |hash: Hash| BuildHasherDefault::<DefaultHasher>::new().hash_one(hash);
        for at in 0..32 {
            let mut bytes = [7; 32];
            bytes[at] ^= 1;
            assert_ne!(hash_of(Hash(bytes)), hash_of(Hash([7; 32])), "byte {at}");
        }
    }
}
