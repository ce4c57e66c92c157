//! The genesis document: who founds a chain, with which parameters, and the founders' signatures.
//!
//! # Text
//!
//! ```toml
//! [chain]
//! name = "trade-finance"
//! created_ms = 1795334400000        # when it was assembled: the time of block 0
//!
//! [parameters]                      # every parameter, written out
//! window = 4
//! # …
//!
//! [[member]]                        # one per member: its card
//! name = "acme"
//! member_key = "…"
//! roles = ["validator", "submitter"]
//! signature = "…"                   # of the card, by the member key
//!
//! [member.validator]                # validators only
//! address = "node1.acme.example:26656"
//! vote_key = "…"
//! transport_key = "…"
//! vote_signature = "…"              # of the card, by the vote key
//! transport_signature = "…"         # of the card, by the transport key
//!
//! [[signature]]                     # one per validator that has signed the document
//! member = "acme"
//! signature = "…"                   # by the vote key
//! ```
//!
//! Unknown fields are refused. Members and signatures may stand in any order; comments and spacing
//! are free.
//!
//! # Byte layout and chain id
//!
//! By the rules of [`quorate_types::codec`] (little endian; texts and lists with a `u64` length in
//! front), the content is, in this order:
//!
//! ```text
//! chain name                text
//! created_ms                u64
//! window                    u64
//! term_blocks               u64
//! max_block_transactions    u32
//! max_block_bytes           u32
//! max_transaction_bytes     u32
//! max_lifetime_ms           u64
//! max_clock_drift_ms        u64
//! view_timeout_ms           u64
//! max_view_timeout_ms       u64
//! request_timeout_ms        u64
//! members                   list, ascending by the bytes of the name; each:
//!     card                  as in the module `card`: name, member key, roles, validator
//!     card signatures       list of 64 bytes: by the member key, then vote key, transport key
//! ```
//!
//! The chain id is SHA-256 over: one byte 17, the 17 ASCII bytes `quorate/1/genesis`, 32 zero bytes
//! (where a chain id would stand), and the content. Founding signatures are outside, so the chain id
//! is known before anyone signs.
//!
//! A **founding signature** is made with a validator's vote key over 50 bytes: one byte 17, the same
//! tag, the chain id. The chain id commits to all the rest.
//!
//! A validator's index is its position among the members that are validators, in the order above.

use crate::card::{self, CardFile, CardText, LoadError};
use crate::founding::Founding;
use crate::keys::{KeyKind, MemberKeys};
use crate::source::{First, Location, Reason, Refusal, Source, Step};
use crate::{Card, files, parameters, render, utc};
use quorate_types::codec;
use quorate_types::hash::ChainId;
use quorate_types::ids::Timestamp;
use quorate_types::keys::{PublicKey, Signature};
use quorate_types::member::check_name;
use quorate_types::parameters::{Parameters, limits};
use quorate_types::signed::Domain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What the chain id covers. The order of the fields is the byte layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Content {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) parameters: Parameters,
    /// Ascending by name.
    pub(crate) members: Vec<Card>,
}

/// A validator's signature under the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundingSignature {
    /// The validator's name.
    pub member: String,
    /// By its vote key.
    pub signature: Signature,
}

/// A genesis document that keeps every rule. It may still lack founding signatures; those it has
/// verify.
#[derive(Debug, Clone)]
pub struct Document {
    content: Content,
    chain: ChainId,
    /// Ascending by name.
    signatures: Vec<FoundingSignature>,
    file: String,
    text: String,
    /// Where each member stands among the `[[member]]` of the text.
    positions: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentText {
    chain: ChainText,
    parameters: Parameters,
    #[serde(default)]
    member: Vec<CardText>,
    #[serde(default)]
    signature: Vec<SignatureText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainText {
    name: String,
    created_ms: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureText {
    member: String,
    signature: Signature,
}

/// Why a validator cannot sign a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The directory holds a member's key only.
    #[error(
        "these are no validator's keys; only validators sign the document, with the vote key on their card"
    )]
    NoValidatorKeys,
    /// None of the keys is in the document.
    #[error(
        "no validator of this document has the vote key {vote_key}; ask whoever assembled it to include your \
         card, or name the directory whose keys are on your card"
    )]
    NotInDocument {
        /// The vote key in the directory.
        vote_key: PublicKey,
    },
    /// The document knows the member by another key than the directory holds.
    #[error(
        "the document has {expected} as the {kind} key of {name:?}, but the directory holds {found}; it was \
         assembled from an older card, or this is another directory"
    )]
    OtherKey {
        /// The member.
        name: String,
        /// What the key is for.
        kind: KeyKind,
        /// The key in the document.
        expected: PublicKey,
        /// The key in the directory.
        found: PublicKey,
    },
}

/// Two documents that are not copies of one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "these are different documents: chain id {ours} has `{our_line}` where chain id {theirs} has \
     `{their_line}`; signatures under one say nothing about the other"
)]
pub struct DifferentDocument {
    /// One chain id.
    pub ours: ChainId,
    /// The first line that differs, comments and layout aside.
    pub our_line: String,
    /// The other chain id.
    pub theirs: ChainId,
    /// What it has instead.
    pub their_line: String,
}

impl Document {
    /// Makes a document, not signed yet, from cards and parameters.
    ///
    /// # Errors
    /// A [`Refusal`]; where two cards contradict each other, it names both files.
    pub fn assemble(
        name: &str,
        created: Timestamp,
        parameters: Parameters,
        cards: Vec<CardFile>,
    ) -> Result<Document, Refusal> {
        let locate = |position: usize, field: &[&str]| {
            let path: Vec<Step<'_>> = field.iter().map(|name| Step::Key(name)).collect();
            cards[position].source().locate(&path)
        };
        let mut members: Vec<Card> = cards.iter().map(|file| file.card().clone()).collect();
        check_distinct(&members, locate)?;
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let content = Content { name: name.to_owned(), created, parameters, members };
        Document::parse_named(&render::content(&content), "the new document")
    }

    /// As [`Document::parse_named`], for a text that came from no file.
    ///
    /// # Errors
    /// A [`Refusal`] with line and reason.
    pub fn parse(text: &str) -> Result<Document, Refusal> {
        Document::parse_named(text, "genesis.toml")
    }

    /// Reads a document file and checks it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: &Path) -> Result<Document, LoadError> {
        Ok(Document::parse_named(&files::read_text(path)?, &path.display().to_string())?)
    }

    /// The document that `text` holds, every rule checked; `file` names the text in errors.
    ///
    /// # Errors
    /// A [`Refusal`] with line and reason.
    pub fn parse_named(text: &str, file: &str) -> Result<Document, Refusal> {
        let source = Source { file, text };
        let parsed: DocumentText = source.parse()?;
        check_chain(&parsed.chain, &source)?;
        check_parameters(&parsed.parameters, &source)?;
        let cards: Vec<Card> = parsed.member.into_iter().map(Card::from).collect();
        check_members(&cards, &source)?;
        let validators = cards.iter().filter(|card| card.is_validator()).count();
        parsed
            .parameters
            .check_window(validators)
            .map_err(|error| parameters::refuse(error, &source, &[Step::Key("parameters")]))?;

        let mut numbered: Vec<(usize, Card)> = cards.into_iter().enumerate().collect();
        numbered.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let (positions, members): (Vec<usize>, Vec<Card>) = numbered.into_iter().unzip();
        let content = Content {
            name: parsed.chain.name,
            created: parsed.chain.created_ms,
            parameters: parsed.parameters,
            members,
        };
        let chain = ChainId(Domain::Genesis.hash(&ChainId::default(), &codec::encode(&content)));
        let mut document = Document {
            content,
            chain,
            signatures: Vec::new(),
            file: file.to_owned(),
            text: text.to_owned(),
            positions,
        };
        document.signatures = document.check_signatures(parsed.signature, &source)?;
        Ok(document)
    }

    fn check_signatures(
        &self,
        found: Vec<SignatureText>,
        source: &Source<'_>,
    ) -> Result<Vec<FoundingSignature>, Refusal> {
        let at = |position: usize, field: &str| {
            source.locate(&[Step::Key("signature"), Step::Index(position), Step::Key(field)])
        };
        let preimage = self.founding_preimage();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (position, SignatureText { member, signature }) in found.iter().enumerate() {
            if let Some(first) = seen.insert(member, position) {
                let second = at(position, "member");
                let first = First::seen_from(&at(first, "member"), &second);
                return Err(Refusal::new(second, Reason::DuplicateSignature { name: member.clone(), first }));
            }
            let vote_key = self.member(member).and_then(|card| card.validator.as_ref()).map(|v| v.vote_key);
            let Some(vote_key) = vote_key else {
                let name = member.chars().take(80).collect();
                return Err(Refusal::new(at(position, "member"), Reason::StrangerSigned(name)));
            };
            vote_key.verify(&preimage, signature).map_err(|_| {
                let reason = Reason::BadSignature { name: member.clone(), chain: self.chain };
                Refusal::new(at(position, "signature"), reason)
            })?;
        }
        let mut signatures: Vec<FoundingSignature> = found
            .into_iter()
            .map(|SignatureText { member, signature }| FoundingSignature { member, signature })
            .collect();
        signatures.sort_by(|a, b| a.member.cmp(&b.member));
        Ok(signatures)
    }

    /// The document as TOML, in this crate's layout.
    pub fn to_toml(&self) -> String {
        render::document(&self.content, &self.signatures)
    }

    /// The chain id: hash of the content. Final only when the document is.
    pub fn chain_id(&self) -> ChainId {
        self.chain
    }

    /// The chain's name, for people.
    pub fn name(&self) -> &str {
        &self.content.name
    }

    /// When it was assembled: the timestamp of block 0.
    pub fn created(&self) -> Timestamp {
        self.content.created
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.content.parameters
    }

    /// The members' cards, ascending by name.
    pub fn members(&self) -> &[Card] {
        &self.content.members
    }

    /// The card of the member of this name.
    pub fn member(&self, name: &str) -> Option<&Card> {
        let members = &self.content.members;
        members.binary_search_by(|card| card.name.as_str().cmp(name)).ok().map(|index| &members[index])
    }

    /// The cards of the validators, in the order of their indexes.
    pub fn validators(&self) -> impl Iterator<Item = &Card> {
        self.content.members.iter().filter(|card| card.is_validator())
    }

    /// The founding signatures there are, ascending by name.
    pub fn signatures(&self) -> &[FoundingSignature] {
        &self.signatures
    }

    /// Whether the member of this name has signed.
    pub fn has_signed(&self, name: &str) -> bool {
        self.signatures.iter().any(|signature| signature.member == name)
    }

    /// The validators that have not signed yet, in the order of their indexes.
    pub fn unsigned(&self) -> impl Iterator<Item = &Card> {
        self.validators().filter(|card| !self.has_signed(&card.name))
    }

    /// What a validator signs to found the chain.
    pub fn founding_preimage(&self) -> Vec<u8> {
        Domain::Genesis.preimage(&self.chain, &[])
    }

    /// The card of the validator that holds `keys`.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn validator_of(&self, keys: &MemberKeys) -> Result<&Card, SignError> {
        let Some(validator) = &keys.validator else {
            return Err(SignError::NoValidatorKeys);
        };
        let held: Vec<(KeyKind, PublicKey)> = keys.iter().map(|(kind, key)| (kind, key.public())).collect();
        let shares_a_key = |card: &&Card| card.keys().any(|key| held.contains(&key));
        let Some(card) = self.validators().find(shares_a_key) else {
            return Err(SignError::NotInDocument { vote_key: validator.vote.public() });
        };
        for ((kind, expected), (_, found)) in card.keys().zip(held) {
            if expected != found {
                return Err(SignError::OtherKey { name: card.name.clone(), kind, expected, found });
            }
        }
        Ok(card)
    }

    /// Adds the founding signature of the validator that holds `keys`. Whether it was missing.
    ///
    /// # Errors
    /// See [`SignError`]; the document is then unchanged.
    pub fn sign(&mut self, keys: &MemberKeys) -> Result<bool, SignError> {
        let member = self.validator_of(keys)?.name.clone();
        let Some(validator) = &keys.validator else {
            return Err(SignError::NoValidatorKeys);
        };
        let signature = validator.vote.sign(&self.founding_preimage());
        Ok(self.add([FoundingSignature { member, signature }]) == 1)
    }

    /// Adds the signatures that `other`, a copy of this document, has collected elsewhere. How many
    /// were missing.
    ///
    /// # Errors
    /// [`DifferentDocument`] if it is no copy.
    pub fn merge(&mut self, other: &Document) -> Result<usize, DifferentDocument> {
        if self.content != other.content {
            let (ours, theirs) = (render::content(&self.content), render::content(&other.content));
            let differing = ours.lines().chain([""]).zip(theirs.lines().chain([""])).find(|(a, b)| a != b);
            let (our_line, their_line) = differing.unwrap_or_default();
            return Err(DifferentDocument {
                ours: self.chain,
                our_line: our_line.to_owned(),
                theirs: other.chain,
                their_line: their_line.to_owned(),
            });
        }
        Ok(self.add(other.signatures.iter().cloned()))
    }

    /// Adds signatures, known to be good, of validators that have not signed yet.
    fn add(&mut self, signatures: impl IntoIterator<Item = FoundingSignature>) -> usize {
        let before = self.signatures.len();
        for signature in signatures {
            if !self.has_signed(&signature.member) {
                self.signatures.push(signature);
            }
        }
        self.signatures.sort_by(|a, b| a.member.cmp(&b.member));
        self.text = self.to_toml();
        self.positions = (0..self.content.members.len()).collect();
        self.signatures.len() - before
    }

    /// The chain that this document founds, once every validator has signed.
    ///
    /// # Errors
    /// A [`Refusal`] at the first validator that has not signed, naming all of them.
    pub fn finalised(&self) -> Result<Founding, Refusal> {
        let missing: Vec<String> = self.unsigned().map(|card| card.name.clone()).collect();
        if missing.is_empty() {
            return Ok(Founding::of(self));
        }
        let index = self.content.members.iter().position(|card| missing.first() == Some(&card.name));
        let position = index.map_or(0, |index| self.positions[index]);
        let source = Source { file: &self.file, text: &self.text };
        let at = source.locate(&[Step::Key("member"), Step::Index(position), Step::Key("name")]);
        Err(Refusal::new(at, Reason::Unsigned { missing, of: self.validators().count() }))
    }
}

fn check_chain(chain: &ChainText, source: &Source<'_>) -> Result<(), Refusal> {
    let at = |field| source.locate(&[Step::Key("chain"), Step::Key(field)]);
    check_name(&chain.name).map_err(|error| Refusal::new(at("name"), Reason::ChainName(error)))?;
    if (Timestamp(1)..=utc::MAX).contains(&chain.created_ms) {
        Ok(())
    } else {
        Err(Refusal::new(at("created_ms"), Reason::Created(chain.created_ms.0)))
    }
}

fn check_parameters(found: &Parameters, source: &Source<'_>) -> Result<(), Refusal> {
    let table = Step::Key("parameters");
    let written = source.names_in("parameters");
    for (name, _) in parameters::list(found) {
        if !written.contains(name) {
            return Err(Refusal::new(source.locate(&[table]), Reason::MissingParameter(name.to_owned())));
        }
    }
    parameters::check(found, source, &[table])
}

/// Checks the members of a text, in the order in which they stand there.
fn check_members(cards: &[Card], source: &Source<'_>) -> Result<(), Refusal> {
    if cards.len() > limits::MEMBERS {
        let at = source.locate(&[Step::Key("member"), Step::Index(limits::MEMBERS)]);
        return Err(Refusal::new(at, Reason::TooManyMembers(cards.len())));
    }
    let validators: Vec<usize> = (0..cards.len()).filter(|index| cards[*index].is_validator()).collect();
    if let Some(one_more) = validators.get(limits::VALIDATORS) {
        let at = source.locate(&[Step::Key("member"), Step::Index(*one_more)]);
        return Err(Refusal::new(at, Reason::TooManyValidators(validators.len())));
    }
    for (position, each) in cards.iter().enumerate() {
        let base = [Step::Key("member"), Step::Index(position)];
        each.verify().map_err(|error| card::refuse(source, &base, each, error))?;
    }
    check_distinct(cards, |position, field| {
        let base = [Step::Key("member"), Step::Index(position)];
        let path: Vec<Step<'_>> = base.into_iter().chain(field.iter().map(|name| Step::Key(name))).collect();
        source.locate(&path)
    })?;
    if validators.is_empty() {
        return Err(Refusal::new(source.end(), Reason::NoValidator));
    }
    Ok(())
}

/// Checks that no name, key or address stands on two cards. `locate` finds a field of the card at
/// a position.
fn check_distinct(cards: &[Card], locate: impl Fn(usize, &[&str]) -> Location) -> Result<(), Refusal> {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut keys: BTreeMap<PublicKey, (usize, KeyKind)> = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for (position, card) in cards.iter().enumerate() {
        if let Some(first) = names.insert(&card.name, position) {
            let second = locate(position, &["name"]);
            let first = First::seen_from(&locate(first, &["name"]), &second);
            return Err(Refusal::new(second, Reason::DuplicateName { name: card.name.clone(), first }));
        }
        for (kind, key) in card.keys() {
            if let Some((first_position, first_kind)) = keys.insert(key, (position, kind)) {
                let second = locate(position, card::key_field(kind));
                let first = First::seen_from(&locate(first_position, card::key_field(first_kind)), &second);
                let first_member = cards[first_position].name.clone();
                let reason = Reason::DuplicateKey { key, kind, first, first_kind, first_member };
                return Err(Refusal::new(second, reason));
            }
        }
        if let Some(validator) = &card.validator
            && let Some(first_position) = addresses.insert(&validator.address, position)
        {
            let field = ["validator", "address"];
            let second = locate(position, &field);
            let first = First::seen_from(&locate(first_position, &field), &second);
            let first_member = cards[first_position].name.clone();
            let address = validator.address.to_string();
            return Err(Refusal::new(second, Reason::DuplicateAddress { address, first, first_member }));
        }
    }
    Ok(())
}
