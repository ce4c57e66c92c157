//! Who is admitted.

use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::PublicKey;
use std::collections::BTreeSet;

/// The keys that may connect. Any other key fails the handshake.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Transport key of each validator, by index.
    pub validators: Vec<PublicKey>,
    /// Keys of the members that may connect as clients.
    pub clients: BTreeSet<PublicKey>,
}

/// As what a key is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// A validator, by its transport key.
    Validator(ValidatorIndex),
    /// A member, by its member key.
    Client(PublicKey),
}

impl Directory {
    /// As what `key` is admitted; `None` for a stranger.
    pub fn admit(&self, key: &PublicKey) -> Option<Admitted> {
        let index = self.validators.iter().position(|known| known == key);
        match index.and_then(|index| u16::try_from(index).ok()) {
            Some(index) => Some(Admitted::Validator(ValidatorIndex(index))),
            None => self.clients.contains(key).then_some(Admitted::Client(*key)),
        }
    }

    /// The transport key of a validator.
    pub fn validator_key(&self, validator: ValidatorIndex) -> Option<PublicKey> {
        self.validators.get(validator.as_usize()).copied()
    }
}
