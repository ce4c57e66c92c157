//! Member cards: what a member says about itself, signed with every key it names.
//!
//! # Byte layout
//!
//! By the rules of [`quorate_types::codec`], in this order:
//!
//! ```text
//! name           text
//! member key     32 bytes
//! roles          list of u32: 0 validator, 1 submitter, 2 auditor; ascending
//! validator      optional: vote key 32 bytes | transport key 32 bytes | address text
//! ```
//!
//! These bytes, behind the tag `quorate/1/card` with 32 zero bytes in the chain id's place, are
//! signed with the member key and, if the validator part is there, with the vote key and the
//! transport key. The signatures prove that whoever made the card holds all of these keys, and that
//! they belong together. In the genesis document the bytes are followed by the list of the
//! signatures, 64 bytes each, in the same order.

use crate::address::Address;
use crate::files::{self, FileError};
use crate::keys::{KeyKind, MemberKeys};
use crate::render;
use crate::source::{Reason, Refusal, Source, Step};
use quorate_types::codec;
use quorate_types::hash::ChainId;
use quorate_types::keys::{KeyError, PublicKey, Signature};
use quorate_types::member::{Member, NameError, Role, check_name};
use quorate_types::signed::Domain;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a validator adds to its member's card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorCard {
    /// Signs its votes.
    pub vote_key: PublicKey,
    /// Its QUIC identity.
    pub transport_key: PublicKey,
    /// Where the others reach it.
    pub address: Address,
}

/// A member card. The order of the fields is the byte layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The member's name.
    pub name: String,
    /// The member's key.
    pub member_key: PublicKey,
    /// Ascending, without duplicates, at least one.
    pub roles: Vec<Role>,
    /// Present exactly if the member is a validator.
    pub validator: Option<ValidatorCard>,
    /// One per key, in the order of [`Card::keys`].
    pub signatures: Vec<Signature>,
}

/// The rule that a card breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A key that may not be registered.
    #[error("the {kind} key may not be used: {error}; make new keys with `quorate keys new`")]
    Key {
        /// Which one.
        kind: KeyKind,
        /// Why.
        error: KeyError,
    },
    /// One key for two purposes.
    #[error("the {second} key is the same as the {first} key; each purpose needs its own")]
    SameKey {
        /// One purpose.
        first: KeyKind,
        /// The other.
        second: KeyKind,
    },
    /// No role at all.
    #[error("no role; choose from \"validator\", \"submitter\", \"auditor\"")]
    NoRole,
    /// Roles out of order, or one twice.
    #[error("roles must be in the order \"validator\", \"submitter\", \"auditor\", each at most once")]
    RoleOrder,
    /// The role without its keys.
    #[error("the role \"validator\" needs a vote key, a transport key and an address")]
    ValidatorWithoutKeys,
    /// The keys without the role.
    #[error("vote key, transport key and address are given, but not the role \"validator\"")]
    KeysWithoutValidator,
    /// Not one signature per key.
    #[error("{found} signatures, where the card has {keys} keys, each of which must sign it")]
    SignatureCount {
        /// Signatures found.
        found: usize,
        /// Keys on the card.
        keys: usize,
    },
    /// A signature that is not over this card by this key.
    #[error(
        "the signature by the {0} key does not verify: the card was changed after it was exported, or the \
         key is another's; ask the member for its card again"
    )]
    BadSignature(KeyKind),
}

/// The field of a card's text that holds the key.
pub(crate) fn key_field(kind: KeyKind) -> &'static [&'static str] {
    match kind {
        KeyKind::Member => &["member_key"],
        KeyKind::Vote => &["validator", "vote_key"],
        KeyKind::Transport => &["validator", "transport_key"],
    }
}

impl CardError {
    /// The field of the card's text that the error is about.
    pub(crate) fn field(&self) -> &'static [&'static str] {
        match self {
            CardError::Name(_) => &["name"],
            CardError::Key { kind, .. } => key_field(*kind),
            CardError::SameKey { second, .. } => key_field(*second),
            CardError::NoRole | CardError::RoleOrder | CardError::ValidatorWithoutKeys => &["roles"],
            CardError::KeysWithoutValidator => &["validator"],
            CardError::SignatureCount { .. } | CardError::BadSignature(KeyKind::Member) => &["signature"],
            CardError::BadSignature(KeyKind::Vote) => &["validator", "vote_signature"],
            CardError::BadSignature(KeyKind::Transport) => &["validator", "transport_signature"],
        }
    }
}

impl Card {
    /// The card of the member that holds `keys`, signed with all of them that it names: the
    /// validator's only if `address` is given.
    ///
    /// # Errors
    /// See [`CardError`]; an address without validator keys is `ValidatorWithoutKeys`.
    pub fn export(
        keys: &MemberKeys,
        name: &str,
        roles: &[Role],
        address: Option<Address>,
    ) -> Result<Card, CardError> {
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        let validator = match (address, &keys.validator) {
            (None, _) => None,
            (Some(_), None) => return Err(CardError::ValidatorWithoutKeys),
            (Some(address), Some(keys)) => Some(ValidatorCard {
                vote_key: keys.vote.public(),
                transport_key: keys.transport.public(),
                address,
            }),
        };
        let mut card = Card {
            name: name.to_owned(),
            member_key: keys.member.public(),
            roles,
            validator,
            signatures: Vec::new(),
        };
        let preimage = card.preimage();
        let signers = keys.iter().take(card.keys().count());
        card.signatures = signers.map(|(_, key)| key.sign(&preimage)).collect();
        card.verify()?;
        Ok(card)
    }

    /// The keys with what each is for: member, vote, transport.
    pub fn keys(&self) -> impl Iterator<Item = (KeyKind, PublicKey)> + use<> {
        let validator = self.validator.as_ref().map(|validator| {
            [(KeyKind::Vote, validator.vote_key), (KeyKind::Transport, validator.transport_key)]
        });
        std::iter::once((KeyKind::Member, self.member_key)).chain(validator.into_iter().flatten())
    }

    /// The signed bytes.
    pub fn preimage(&self) -> Vec<u8> {
        let content = (&self.name, &self.member_key, &self.roles, &self.validator);
        Domain::Card.preimage(&ChainId::default(), &codec::encode(&content))
    }

    /// The member as the ledger knows it.
    pub fn member(&self) -> Member {
        Member { name: self.name.clone(), key: self.member_key, roles: self.roles.clone() }
    }

    /// Whether the member runs a validator.
    pub fn is_validator(&self) -> bool {
        self.validator.is_some()
    }

    /// Checks everything about the card by itself: name, keys, roles, signatures.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn verify(&self) -> Result<(), CardError> {
        check_name(&self.name)?;
        if self.roles.is_empty() {
            return Err(CardError::NoRole);
        }
        if !self.roles.is_sorted_by(|a, b| a < b) {
            return Err(CardError::RoleOrder);
        }
        match (self.roles.contains(&Role::Validator), &self.validator) {
            (true, None) => return Err(CardError::ValidatorWithoutKeys),
            (false, Some(_)) => return Err(CardError::KeysWithoutValidator),
            _ => {}
        }
        let keys: Vec<(KeyKind, PublicKey)> = self.keys().collect();
        for (position, (kind, key)) in keys.iter().enumerate() {
            key.check().map_err(|error| CardError::Key { kind: *kind, error })?;
            if let Some((first, _)) = keys[..position].iter().find(|(_, earlier)| earlier == key) {
                return Err(CardError::SameKey { first: *first, second: *kind });
            }
        }
        if self.signatures.len() != keys.len() {
            return Err(CardError::SignatureCount { found: self.signatures.len(), keys: keys.len() });
        }
        let preimage = self.preimage();
        for ((kind, key), signature) in keys.iter().zip(&self.signatures) {
            key.verify(&preimage, signature).map_err(|_| CardError::BadSignature(*kind))?;
        }
        Ok(())
    }

    /// The card as a TOML file.
    pub fn to_toml(&self) -> String {
        render::card_file(self)
    }

    /// The card that a TOML text holds, verified. `file` names the text in errors.
    ///
    /// # Errors
    /// A [`Refusal`] with line and reason.
    pub fn from_toml(text: &str, file: &str) -> Result<Card, Refusal> {
        CardFile::parse(text, file).map(|file| file.card)
    }
}

/// A card as it is written in TOML, alone or as a `[[member]]` of the genesis document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CardText {
    name: String,
    member_key: PublicKey,
    roles: Vec<Role>,
    signature: Signature,
    validator: Option<ValidatorText>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorText {
    address: Address,
    vote_key: PublicKey,
    transport_key: PublicKey,
    vote_signature: Signature,
    transport_signature: Signature,
}

impl From<CardText> for Card {
    fn from(text: CardText) -> Card {
        let mut signatures = vec![text.signature];
        let validator = text.validator.map(|validator| {
            signatures.extend([validator.vote_signature, validator.transport_signature]);
            ValidatorCard {
                vote_key: validator.vote_key,
                transport_key: validator.transport_key,
                address: validator.address,
            }
        });
        Card { name: text.name, member_key: text.member_key, roles: text.roles, validator, signatures }
    }
}

/// A verified card and the text it stands in, so that a fault that shows only beside other cards
/// can be located too.
#[derive(Debug, Clone)]
pub struct CardFile {
    card: Card,
    file: String,
    text: String,
}

/// Why a file was not accepted: unreadable, or refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It breaks a rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl CardFile {
    /// Parses and verifies the card in `text`; `file` names the text in errors.
    ///
    /// # Errors
    /// A [`Refusal`] with line and reason.
    pub fn parse(text: &str, file: &str) -> Result<CardFile, Refusal> {
        let source = Source { file, text };
        let card = Card::from(source.parse::<CardText>()?);
        card.verify().map_err(|error| refuse(&source, &[], &card, error))?;
        Ok(CardFile { card, file: file.to_owned(), text: text.to_owned() })
    }

    /// Reads, parses and verifies a card file.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: &Path) -> Result<CardFile, LoadError> {
        let text = files::read_text(path)?;
        Ok(CardFile::parse(&text, &path.display().to_string())?)
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { file: &self.file, text: &self.text }
    }
}

/// A card made on the spot, under the name it would be exported to.
impl From<Card> for CardFile {
    fn from(card: Card) -> CardFile {
        CardFile { file: format!("{}.card.toml", card.name), text: card.to_toml(), card }
    }
}

/// Locates what `error` says about the card at `base`.
pub(crate) fn refuse(source: &Source<'_>, base: &[Step<'_>], card: &Card, error: CardError) -> Refusal {
    let field = error.field().iter().map(|name| Step::Key(name));
    let path: Vec<Step<'_>> = base.iter().copied().chain(field).collect();
    let name = card.name.chars().take(80).collect();
    Refusal::new(source.locate(&path), Reason::Card { name, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ValidatorKeys;
    use quorate_types::keys::SecretKey;

    fn keys() -> MemberKeys {
        let key = |n| SecretKey::from_seed(&[n; 32]);
        MemberKeys { member: key(1), validator: Some(ValidatorKeys { vote: key(2), transport: key(3) }) }
    }

    fn card() -> Card {
        let address = "node.acme.example:26656".parse().unwrap();
        Card::export(&keys(), "acme", &[Role::Submitter, Role::Validator], Some(address)).unwrap()
    }

    #[test]
    fn text_and_card_are_the_same() {
        let plain = Card::export(&keys(), "plain", &[Role::Auditor], None).unwrap();
        assert_eq!(plain.signatures.len(), 1);
        for card in [card(), plain] {
            assert_eq!(Card::from_toml(&card.to_toml(), "c"), Ok(card.clone()));
        }
    }

    /// Changing any field, the roles included, spoils a signature.
    #[test]
    fn every_field_is_signed() {
        let changes: [fn(&mut Card); 4] = [
            |card| card.name = "acne".into(),
            |card| card.roles = vec![Role::Validator],
            |card| card.validator.as_mut().unwrap().address = "evil.example:1".parse().unwrap(),
            |card| card.signatures.swap(0, 1),
        ];
        for change in changes {
            let mut card = card();
            change(&mut card);
            assert_eq!(card.verify(), Err(CardError::BadSignature(KeyKind::Member)));
        }
        for (position, kind) in [KeyKind::Member, KeyKind::Vote, KeyKind::Transport].into_iter().enumerate() {
            let mut card = card();
            card.signatures[position].0[40] ^= 1;
            assert_eq!(card.verify(), Err(CardError::BadSignature(kind)));
        }
    }

    #[test]
    fn another_members_key_cannot_be_claimed() {
        let mut card = card();
        card.member_key = SecretKey::from_seed(&[9; 32]).public();
        assert_eq!(card.verify(), Err(CardError::BadSignature(KeyKind::Member)));
    }

    #[test]
    fn roles_and_keys_must_fit() {
        let export = |roles: &[Role], address: Option<&str>| {
            Card::export(&keys(), "acme", roles, address.map(|text| text.parse().unwrap())).map(drop)
        };
        assert_eq!(export(&[Role::Validator], None), Err(CardError::ValidatorWithoutKeys));
        assert_eq!(export(&[Role::Submitter], Some("a.example:1")), Err(CardError::KeysWithoutValidator));
        assert_eq!(export(&[], None), Err(CardError::NoRole));
        let mut card = card();
        card.roles.reverse();
        assert_eq!(card.verify(), Err(CardError::RoleOrder));
        let mut twice = keys();
        twice.validator.as_mut().unwrap().transport = twice.member.clone();
        let address = "a.example:1".parse().unwrap();
        let error = Card::export(&twice, "acme", &[Role::Validator], Some(address)).unwrap_err();
        assert_eq!(error, CardError::SameKey { first: KeyKind::Member, second: KeyKind::Transport });
    }
}
