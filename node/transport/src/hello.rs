//! The first frame each side sends: which protocol, which chain, who.
//!
//! A refused dialler still sees its handshake succeed, because in TLS 1.3 it finishes before the
//! other side has looked at its key. So nobody is up before the hello of the other side arrived: the
//! dialler opens one bidirectional stream and sends its hello; the acceptor checks it and either
//! answers with its own, after which the connection counts, or closes with a code.
//!
//! Layout: the version as `u32` little endian, then the canonical encoding of the rest. The version
//! stands first so that it can be told apart from any later layout.

use crate::close::CloseCode;
use quorate_types::codec;
use quorate_types::hash::ChainId;
use quorate_types::ids::ValidatorIndex;
use serde::{Deserialize, Serialize};

/// The version of this protocol.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest hello accepted, in bytes; ours is about 50.
pub(crate) const MAX_HELLO_BYTES: usize = 256;

/// What a side says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The chain it serves or asks for.
    pub(crate) chain: ChainId,
    /// As what it connects.
    pub(crate) sender: Sender,
}

/// As what a side connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sender {
    /// A validator.
    Validator {
        /// Its index.
        index: ValidatorIndex,
        /// A random number drawn when its process started. A new one says that what is left of older
        /// connections is dead, without waiting for their idle timeout.
        process: u64,
    },
    /// A member's client.
    Client,
}

/// Why a hello was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Another version of the protocol.
    #[error("speaks protocol version {theirs}, this side {}", PROTOCOL_VERSION)]
    WrongVersion {
        /// The version in the hello.
        theirs: u32,
    },
    /// Another chain.
    #[error("belongs to chain {theirs}, this side to {ours}")]
    WrongChain {
        /// The chain in the hello.
        theirs: ChainId,
        /// The chain of this side.
        ours: ChainId,
    },
    /// A role or index that the proven key does not hold.
    #[error("claims an identity that its key does not hold")]
    WrongIdentity,
    /// Not a hello.
    #[error("sent no valid hello")]
    Malformed,
}

impl HelloError {
    pub(crate) fn code(&self) -> CloseCode {
        match self {
            HelloError::WrongVersion { .. } => CloseCode::WrongVersion,
            HelloError::WrongChain { .. } => CloseCode::WrongChain,
            HelloError::WrongIdentity => CloseCode::WrongIdentity,
            HelloError::Malformed => CloseCode::Malformed,
        }
    }
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = PROTOCOL_VERSION.to_le_bytes().to_vec();
        codec::encode_into(self, &mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], chain: ChainId) -> Result<Hello, HelloError> {
        let (version, rest) = bytes.split_first_chunk::<4>().ok_or(HelloError::Malformed)?;
        let theirs = u32::from_le_bytes(*version);
        if theirs != PROTOCOL_VERSION {
            return Err(HelloError::WrongVersion { theirs });
        }
        let hello: Hello = codec::decode(rest, MAX_HELLO_BYTES).map_err(|_| HelloError::Malformed)?;
        if hello.chain != chain {
            return Err(HelloError::WrongChain { theirs: hello.chain, ours: chain });
        }
        Ok(hello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::hash::Hash;

    #[test]
    fn version_and_chain_are_checked_before_the_rest_counts() {
        let chain = ChainId(Hash([7; 32]));
        let hello = Hello { chain, sender: Sender::Validator { index: ValidatorIndex(3), process: 9 } };
        let bytes = hello.encode();
        assert!(bytes.len() <= MAX_HELLO_BYTES);
        assert_eq!(Hello::decode(&bytes, chain), Ok(hello));

        let mut newer = bytes.clone();
        newer[0] = 2;
        newer.truncate(5);
        assert_eq!(Hello::decode(&newer, chain), Err(HelloError::WrongVersion { theirs: 2 }));
        let other = ChainId(Hash([8; 32]));
        assert_eq!(Hello::decode(&bytes, other), Err(HelloError::WrongChain { theirs: chain, ours: other }));
        assert_eq!(Hello::decode(&bytes[..bytes.len() - 1], chain), Err(HelloError::Malformed));
        assert_eq!(Hello::decode(&[1, 0], chain), Err(HelloError::Malformed));
    }
}
