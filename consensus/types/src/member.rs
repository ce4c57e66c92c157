//! Who takes part.

use crate::keys::PublicKey;
use serde::{Deserialize, Serialize};

/// What a member may do. Every member may read and audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs a validator, and votes.
    Validator,
    /// Submits transactions.
    Submitter,
    /// Reads and audits only.
    Auditor,
}

/// A member as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Unique name, by the rule of [`check_name`].
    pub name: String,
    /// The key that signs the member's transactions and opens its client connections.
    pub key: PublicKey,
    /// Ascending, without duplicates.
    pub roles: Vec<Role>,
}

impl Member {
    /// Whether the member has `role`.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// A name that breaks the rule for names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name: 1 to 64 characters out of a-z, 0-9, '-', '_', '.', the first a letter or digit"
)]
pub struct NameError {
    /// The name, cut to its first 80 characters.
    pub name: String,
}

/// The rule for names of members, namespaces and assets: 1 to 64 characters out of `a-z`, `0-9`,
/// `-`, `_`, `.`, the first a letter or digit. One alphabet, so that no two names look alike.
///
/// # Errors
/// [`NameError`] if `name` breaks it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = !name.is_empty() && name.len() <= crate::parameters::limits::NAME_BYTES;
    if fits && plain(name.as_bytes()[0]) && name.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_' | b'.'))
    {
        Ok(())
    } else {
        Err(NameError { name: name.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "0", "acme-bank", "x.y_z", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "ä", "a b", "a/b", "a\0", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
