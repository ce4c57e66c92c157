//! What members ask for.

use crate::codec::{self, DecodeError};
use crate::hash::{ChainId, TransactionId};
use crate::ids::{Height, Timestamp};
use crate::keys::{Batch, PublicKey, SecretKey, Signature};
use crate::member::{NameError, check_name};
use crate::parameters::limits;
use crate::signed::{Domain, Verified, Verify};
use bytes::Bytes;
use rand_core::CryptoRng;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// One to 64 operations that apply all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The chain it is meant for.
    pub chain: ChainId,
    /// The member that signs.
    pub sender: PublicKey,
    /// Any number; makes two otherwise equal transactions distinct. There is no sequence to keep.
    pub nonce: u64,
    /// The last block time at which it may commit. At most `max_lifetime_ms` ahead of block time.
    pub expires_at: Timestamp,
    /// Applied in order, all or none.
    pub operations: Vec<Operation>,
}

/// A [`Transaction`] with its sender's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// What is signed.
    pub transaction: Transaction,
    /// The sender's signature over [`Domain::Transaction`]. Not covered by the id.
    pub signature: Signature,
}

/// One change of the state. Names follow [`check_name`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Creates a namespace; the sender becomes its one owner and writer.
    CreateNamespace {
        /// Its name, unique among namespaces.
        namespace: String,
    },
    /// Replaces owners and writers of a namespace. Owners only.
    SetNamespaceMembers {
        /// The namespace.
        namespace: String,
        /// Those who may call this operation: 1 to 64 members, ascending, without duplicates.
        owners: Vec<PublicKey>,
        /// Those who may put and delete: up to 64 members, ascending, without duplicates.
        writers: Vec<PublicKey>,
    },
    /// Sets a key. Writers only.
    Put {
        /// The namespace.
        namespace: String,
        /// 1 to 256 bytes.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Up to 512 KiB.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
        /// If given, the operation fails unless the key's version is this one.
        expected: Option<Version>,
    },
    /// Removes a key, which must exist. Writers only.
    Delete {
        /// The namespace.
        namespace: String,
        /// 1 to 256 bytes.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// If given, the operation fails unless the key's version is this one.
        expected: Option<Version>,
    },
    /// Creates an asset; the sender becomes its issuer.
    CreateAsset {
        /// Its name, unique among assets.
        asset: String,
    },
    /// Makes new units. Issuer only.
    Mint {
        /// The asset.
        asset: String,
        /// The member that receives them.
        to: PublicKey,
        /// Units, at least 1.
        amount: u128,
    },
    /// Moves units of the sender.
    Transfer {
        /// The asset.
        asset: String,
        /// The member that receives them.
        to: PublicKey,
        /// Units, at least 1.
        amount: u128,
    },
    /// Destroys units of the sender.
    Burn {
        /// The asset.
        asset: String,
        /// Units, at least 1.
        amount: u128,
    },
}

/// The version of a key: the height of the block that last wrote it. Expecting
/// [`Version::ABSENT`] means that the key must not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub Height);

impl Version {
    /// The version of a key that does not exist.
    pub const ABSENT: Version = Version(Height::GENESIS);
}

/// Why a transaction is refused before any state is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Not an encoded transaction.
    #[error("not a transaction: {0}")]
    Decode(#[from] DecodeError),
    /// Meant for another chain.
    #[error("made for chain {found}, but this chain is {expected}")]
    WrongChain {
        /// The chain it names.
        found: ChainId,
        /// This chain.
        expected: ChainId,
    },
    /// None, or more than 64.
    #[error("{0} operations, where 1 to 64 are allowed")]
    OperationCount(usize),
    /// An operation that no state could accept.
    #[error("operation {index}: {error}")]
    Operation {
        /// Its position, from 0.
        index: usize,
        /// What is wrong with it.
        error: OperationError,
    },
    /// The sender's signature does not verify.
    #[error("the sender's signature does not verify")]
    BadSignature,
}

/// Why an operation is refused before any state is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// A name breaks the rule for names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A key is empty or longer than 256 bytes.
    #[error("a key of {0} bytes, where 1 to 256 are allowed")]
    KeyLength(usize),
    /// A value is longer than 512 KiB.
    #[error("a value of {0} bytes, where at most 524288 are allowed")]
    ValueLength(usize),
    /// An amount of zero.
    #[error("an amount of 0")]
    ZeroAmount,
    /// Owners or writers out of order, duplicated, too many, or no owner.
    #[error("{0} must be in ascending order, without duplicates, at most 64, and there must be an owner")]
    MemberList(&'static str),
}

impl Operation {
    /// Checks what can be checked without state: names, lengths, amounts, lists.
    ///
    /// # Errors
    /// See [`OperationError`].
    pub fn check(&self) -> Result<(), OperationError> {
        match self {
            Operation::CreateNamespace { namespace } => check_name(namespace)?,
            Operation::SetNamespaceMembers { namespace, owners, writers } => {
                check_name(namespace)?;
                if owners.is_empty() || !is_member_list(owners) {
                    return Err(OperationError::MemberList("owners"));
                }
                if !is_member_list(writers) {
                    return Err(OperationError::MemberList("writers"));
                }
            }
            Operation::Put { namespace, key, value, .. } => {
                check_name(namespace)?;
                check_key(key)?;
                if value.len() > limits::VALUE_BYTES {
                    return Err(OperationError::ValueLength(value.len()));
                }
            }
            Operation::Delete { namespace, key, .. } => {
                check_name(namespace)?;
                check_key(key)?;
            }
            Operation::CreateAsset { asset } => check_name(asset)?,
            Operation::Mint { asset, amount, .. }
            | Operation::Transfer { asset, amount, .. }
            | Operation::Burn { asset, amount } => {
                check_name(asset)?;
                if *amount == 0 {
                    return Err(OperationError::ZeroAmount);
                }
            }
        }
        Ok(())
    }
}

fn check_key(key: &[u8]) -> Result<(), OperationError> {
    if (1..=limits::KEY_BYTES).contains(&key.len()) {
        Ok(())
    } else {
        Err(OperationError::KeyLength(key.len()))
    }
}

fn is_member_list(keys: &[PublicKey]) -> bool {
    keys.len() <= limits::NAMESPACE_MEMBERS && keys.is_sorted_by(|a, b| a < b)
}

impl Transaction {
    /// The id: hash of the transaction without its signature.
    pub fn id(&self) -> TransactionId {
        TransactionId(Domain::Transaction.hash(&self.chain, &codec::encode(self)))
    }

    /// Signs with the sender's key.
    ///
    /// # Panics
    /// If `key` is not the sender's: the caller's mistake, never a peer's.
    pub fn sign(self, key: &SecretKey) -> SignedTransaction {
        assert_eq!(key.public(), self.sender, "a transaction is signed by its sender");
        let signature = key.sign(&Domain::Transaction.preimage(&self.chain, &codec::encode(&self)));
        SignedTransaction { transaction: self, signature }
    }

    /// Checks what can be checked without state or signature.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn check(&self, chain: &ChainId) -> Result<(), TransactionError> {
        if self.chain != *chain {
            return Err(TransactionError::WrongChain { found: self.chain, expected: *chain });
        }
        if !(1..=limits::OPERATIONS).contains(&self.operations.len()) {
            return Err(TransactionError::OperationCount(self.operations.len()));
        }
        for (index, operation) in self.operations.iter().enumerate() {
            operation.check().map_err(|error| TransactionError::Operation { index, error })?;
        }
        Ok(())
    }
}

/// Bytes of a signature at the end of an encoded [`SignedTransaction`].
const SIGNATURE_BYTES: usize = 64;

impl SignedTransaction {
    /// The bytes of the transaction within the bytes of the signed transaction.
    fn unsigned(bytes: &[u8]) -> &[u8] {
        &bytes[..bytes.len() - SIGNATURE_BYTES]
    }
}

impl Verify for SignedTransaction {
    type Context = ChainId;
    type Error = TransactionError;

    fn verify(&self, chain: &ChainId) -> Result<(), TransactionError> {
        self.transaction.check(chain)?;
        let preimage = Domain::Transaction.preimage(chain, &codec::encode(&self.transaction));
        self.transaction.sender.verify(&preimage, &self.signature).map_err(|_| TransactionError::BadSignature)
    }
}

/// Reads a list of encoded transactions, and stops at the first that is too short to be one.
///
/// So the memory for a list follows its bytes. An empty body takes 8 bytes of a frame; its place in
/// the list, and its verdict, would take more than a hundred.
///
/// # Errors
/// Of the deserializer, or for a body below [`limits::LEAST_TRANSACTION_BYTES`].
pub fn deserialize_bodies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
    struct Bodies;
    impl<'de> Visitor<'de> for Bodies {
        type Value = Vec<Bytes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "transactions of at least {} bytes", limits::LEAST_TRANSACTION_BYTES)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Bytes>, A::Error> {
            let mut bodies = Vec::new();
            while let Some(body) = seq.next_element::<Bytes>()? {
                if body.len() < limits::LEAST_TRANSACTION_BYTES {
                    return Err(A::Error::invalid_length(body.len(), &self));
                }
                bodies.push(body);
            }
            Ok(bodies)
        }
    }
    deserializer.deserialize_seq(Bodies)
}

/// A transaction whose form and signature were checked, with its id and bytes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VerifiedTransaction {
    signed: Verified<SignedTransaction>,
    id: TransactionId,
}

impl VerifiedTransaction {
    /// The id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.signed.transaction
    }

    /// The canonical encoding of the [`SignedTransaction`], as it arrived.
    pub fn bytes(&self) -> &Bytes {
        self.signed.bytes()
    }
}

impl PartialEq for VerifiedTransaction {
    fn eq(&self, other: &VerifiedTransaction) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for VerifiedTransaction {}

/// Decodes and verifies many encoded transactions, their signatures in one batch.
///
/// Gives one verdict for each, in order; a bad one does not spoil the others. `rng` must be
/// unpredictable to the senders (see [`Batch::verify`]).
pub fn verify_transactions<R: CryptoRng>(
    chain: &ChainId,
    encoded: &[Bytes],
    rng: &mut R,
) -> Vec<Result<VerifiedTransaction, TransactionError>> {
    let mut batch = Batch::new();
    let mut in_batch = Vec::new();
    let mut verdicts: Vec<Result<VerifiedTransaction, TransactionError>> = encoded
        .iter()
        .enumerate()
        .map(|(position, bytes)| {
            let signed: SignedTransaction = codec::decode(bytes, limits::TRANSACTION_BYTES)?;
            signed.transaction.check(chain)?;
            let preimage = Domain::Transaction.preimage(chain, SignedTransaction::unsigned(bytes));
            batch.push(&signed.transaction.sender, &preimage, &signed.signature);
            in_batch.push(position);
            let id = TransactionId(crate::hash::Hash::of(&[&preimage]));
            Ok(VerifiedTransaction { signed: Verified::already(signed, bytes.clone()), id })
        })
        .collect();
    if let Err(culprits) = batch.verify(rng) {
        for culprit in culprits {
            verdicts[in_batch[culprit]] = Err(TransactionError::BadSignature);
        }
    }
    verdicts
}

/// Decodes and verifies one encoded transaction.
///
/// # Errors
/// See [`TransactionError`].
pub fn verify_transaction(chain: &ChainId, bytes: Bytes) -> Result<VerifiedTransaction, TransactionError> {
    let signed: SignedTransaction = codec::decode(&bytes, limits::TRANSACTION_BYTES)?;
    let id = TransactionId(Domain::Transaction.hash(chain, SignedTransaction::unsigned(&bytes)));
    Ok(VerifiedTransaction { signed: Verified::check(signed, bytes, chain)?, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hash;

    /// As blocks and frames hold them.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Bodies(#[serde(deserialize_with = "deserialize_bodies")] Vec<Bytes>);

    #[test]
    fn the_shortest_transaction_that_holds_is_long_enough_and_nothing_shorter_is_read() {
        let key = SecretKey::from_seed(&[1; 32]);
        let (chain, operations) = (ChainId::default(), vec![Operation::CreateAsset { asset: "a".into() }]);
        let (sender, expires_at) = (key.public(), Timestamp(1));
        let shortest = Transaction { chain, sender, nonce: 0, expires_at, operations }.sign(&key);
        let bytes = codec::encode_bytes(&shortest);
        assert!(verify_transaction(&chain, bytes.clone()).is_ok());
        assert_eq!(bytes.len(), limits::LEAST_TRANSACTION_BYTES);

        let whole = Bodies(vec![bytes.clone(), bytes.clone()]);
        assert_eq!(codec::decode(&codec::encode(&whole), 1 << 10), Ok(whole));
        for short in [Bytes::new(), bytes.slice(1..)] {
            let bodies = codec::encode(&Bodies(vec![bytes.clone(), short]));
            assert!(matches!(codec::decode::<Bodies>(&bodies, 1 << 10), Err(DecodeError::Malformed(_))));
        }
    }

    fn id(chain: u8, nonce: u64, operations: Vec<Operation>) -> TransactionId {
        let sender = SecretKey::from_seed(&[1; 32]).public();
        let chain = ChainId(Hash([chain; 32]));
        Transaction { chain, sender, nonce, expires_at: Timestamp(5), operations }.id()
    }

    fn put(namespace: &str, key: &str, value: &str) -> Operation {
        let (namespace, key, value) = (namespace.into(), key.into(), value.into());
        Operation::Put { namespace, key, value, expected: None }
    }

    /// failures.md, row 42: fields that run together when they are written one after the other are
    /// different transactions all the same.
    #[test]
    fn no_two_transactions_hash_alike() {
        let create = |namespace: &str| Operation::CreateNamespace { namespace: namespace.into() };
        let asset = |asset: &str| Operation::CreateAsset { asset: asset.into() };
        let delete = |namespace: &str, key: &str| {
            let (namespace, key) = (namespace.into(), key.into());
            Operation::Delete { namespace, key, expected: None }
        };
        let all = [
            vec![put("ab", "c", "d")],
            vec![put("a", "bc", "d")],
            vec![put("a", "b", "cd")],
            vec![put("abc", "d", "")],
            vec![put("ab", "c", ""), put("d", "", "")],
            vec![create("ab"), create("c")],
            vec![create("a"), create("bc")],
            vec![create("abc")],
            vec![asset("abc")],
            vec![delete("ab", "c")],
            vec![delete("a", "bc")],
            vec![create("c"), create("ab")],
            vec![create("abc"), create("abc")],
        ];
        let mut ids: Vec<TransactionId> = all.iter().map(|operations| id(1, 7, operations.clone())).collect();
        ids.extend([id(2, 7, all[0].clone()), id(1, 8, all[0].clone()), id(1, 7, vec![])]);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    /// What the id does not cover cannot make a second transaction of one.
    #[test]
    fn the_id_is_that_of_the_signed_bytes() {
        let key = SecretKey::from_seed(&[1; 32]);
        let chain = ChainId(Hash([1; 32]));
        let operations = vec![put("a", "b", "c")];
        let expires_at = Timestamp(5);
        let transaction = Transaction { chain, sender: key.public(), nonce: 7, expires_at, operations };
        let bytes = codec::encode_bytes(&transaction.clone().sign(&key));
        let verified = verify_transaction(&chain, bytes).expect("signed");
        assert_eq!(verified.id(), transaction.id());
    }
}
