//! What the authenticated state holds: typed keys and values.
//!
//! Both have one canonical encoding, that of [`codec`]. A key's place in the tree is the SHA-256 of
//! its encoding; a leaf binds that to the SHA-256 of the encoded value. [`proof`](crate::proof) says how.

use quorate_types::codec;
use quorate_types::hash::Hash;
use quorate_types::keys::PublicKey;
use quorate_types::member::Member;
use quorate_types::transaction::Version;
use serde::{Deserialize, Serialize, Serializer};

/// A key of the state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKey {
    /// A member, by its key.
    Member(PublicKey),
    /// A namespace, by its name.
    Namespace(String),
    /// A key in a namespace.
    Entry {
        /// The namespace's name.
        namespace: String,
        /// The key, 1 to 256 bytes.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// An asset, by its name.
    Asset(String),
    /// What a member holds of an asset.
    Balance {
        /// The asset's name.
        asset: String,
        /// The member's key.
        member: PublicKey,
    },
}

/// A value of the state. Each kind of key has its own kind of value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateValue {
    /// Of [`StateKey::Member`].
    Member(Member),
    /// Of [`StateKey::Namespace`].
    Namespace(Namespace),
    /// Of [`StateKey::Entry`].
    Entry(Entry),
    /// Of [`StateKey::Asset`].
    Asset(Asset),
    /// Of [`StateKey::Balance`]: units, never 0. Who holds nothing has no balance.
    Balance(u128),
}

/// Who may do what in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Those who may change both lists. Ascending, without duplicates, at least one.
    pub owners: Vec<PublicKey>,
    /// Those who may put and delete. Ascending, without duplicates.
    pub writers: Vec<PublicKey>,
}

/// What a key in a namespace holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Height of the block that last wrote it.
    pub version: Version,
    /// The value.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

/// An asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// The one member that may mint.
    pub issuer: PublicKey,
    /// Units in existence: the sum of all balances.
    pub supply: u128,
}

/// A [`StateKey`] whose parts lie elsewhere, in a transaction as a rule. It has the same encoding, and so the
/// same place: execution names thousands of keys, and copies none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum KeyRef<'a> {
    Member(&'a PublicKey),
    Namespace(&'a str),
    Entry {
        namespace: &'a str,
        #[serde(with = "serde_bytes")]
        key: &'a [u8],
    },
    Asset(&'a str),
    Balance {
        asset: &'a str,
        member: &'a PublicKey,
    },
}

impl KeyRef<'_> {
    /// Its place in the tree: SHA-256 of its canonical encoding.
    pub(crate) fn hash(&self) -> Hash {
        Hash::of(&[&codec::encode(self)])
    }

    /// Whether `value` is of the kind that belongs to this key.
    pub(crate) fn fits(&self, value: &StateValue) -> bool {
        matches!(
            (self, value),
            (KeyRef::Member(_), StateValue::Member(_))
                | (KeyRef::Namespace(_), StateValue::Namespace(_))
                | (KeyRef::Entry { .. }, StateValue::Entry(_))
                | (KeyRef::Asset(_), StateValue::Asset(_))
                | (KeyRef::Balance { .. }, StateValue::Balance(_))
        )
    }
}

impl StateKey {
    /// Its place in the tree: SHA-256 of its canonical encoding.
    pub fn hash(&self) -> Hash {
        self.parts().hash()
    }

    /// Whether `value` is of the kind that belongs to this key.
    pub fn fits(&self, value: &StateValue) -> bool {
        self.parts().fits(value)
    }

    pub(crate) fn parts(&self) -> KeyRef<'_> {
        match self {
            StateKey::Member(member) => KeyRef::Member(member),
            StateKey::Namespace(namespace) => KeyRef::Namespace(namespace),
            StateKey::Entry { namespace, key } => KeyRef::Entry { namespace, key },
            StateKey::Asset(asset) => KeyRef::Asset(asset),
            StateKey::Balance { asset, member } => KeyRef::Balance { asset, member },
        }
    }
}

/// A [`StateValue::Entry`] whose bytes lie elsewhere. It has the same encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryRef<'a> {
    pub(crate) version: Version,
    pub(crate) value: &'a [u8],
}

impl Serialize for EntryRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            version: Version,
            #[serde(with = "serde_bytes")]
            value: &'a [u8],
        }
        let EntryRef { version, value } = *self;
        // The third kind of value.
        serializer.serialize_newtype_variant("StateValue", 2, "entry", &Fields { version, value })
    }
}

impl StateValue {
    /// What a leaf binds: SHA-256 of the canonical encoding.
    pub fn hash(&self) -> Hash {
        Hash::of(&[&codec::encode(self)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of keys and values is part of the state root: it may never change by accident.
    #[test]
    fn layouts_are_fixed() {
        let member = PublicKey([7; 32]);
        let balance = StateKey::Balance { asset: "eur".into(), member };
        let expected = [&[4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0][..], b"eur", &[7; 32][..]].concat();
        assert_eq!(codec::encode(&balance), expected);
        let entry = StateKey::Entry { namespace: "n".into(), key: vec![9] };
        let expected =
            [&[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], b"n", &[1, 0, 0, 0, 0, 0, 0, 0, 9]].concat();
        assert_eq!(codec::encode(&entry), expected);
        assert_eq!(codec::encode(&StateValue::Balance(5))[..5], [4, 0, 0, 0, 5]);
    }

    /// What lies elsewhere is encoded as if it were here.
    #[test]
    fn borrowed_keys_and_values_have_the_encoding_of_owned_ones() {
        let member = PublicKey([7; 32]);
        let keys = [
            StateKey::Member(member),
            StateKey::Namespace("trade".into()),
            StateKey::Entry { namespace: "trade".into(), key: vec![9, 0, 9] },
            StateKey::Asset("eur".into()),
            StateKey::Balance { asset: "eur".into(), member },
        ];
        for key in keys {
            assert_eq!(codec::encode(&key.parts()), codec::encode(&key));
        }
        let (version, value) = (Version(quorate_types::ids::Height(7)), vec![1, 2, 3]);
        let borrowed = codec::encode(&EntryRef { version, value: &value });
        assert_eq!(borrowed, codec::encode(&StateValue::Entry(Entry { version, value })));
    }

    /// Names and keys are length-prefixed, so that moving a boundary makes another key.
    #[test]
    fn no_two_keys_share_an_encoding() {
        let ab_c = StateKey::Entry { namespace: "ab".into(), key: b"c".to_vec() };
        let a_bc = StateKey::Entry { namespace: "a".into(), key: b"bc".to_vec() };
        assert_ne!(ab_c.hash(), a_bc.hash());
        assert_ne!(StateKey::Namespace("x".into()).hash(), StateKey::Asset("x".into()).hash());
    }
}
