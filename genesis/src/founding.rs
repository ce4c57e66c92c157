//! The verified, final genesis document: what node, client and auditor start from.

use crate::address::Address;
use crate::card::LoadError;
use crate::document::Document;
use quorate_ledger::Genesis;
use quorate_types::hash::ChainId;
use quorate_types::ids::{Timestamp, ValidatorIndex};
use quorate_types::keys::PublicKey;
use quorate_types::member::Member;
use quorate_types::parameters::Parameters;
use quorate_types::validators::{Validator, ValidatorSet};
use std::collections::BTreeMap;
use std::path::Path;

/// A validator as the genesis document names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundingValidator {
    /// The member that runs it.
    pub name: String,
    /// That member's key.
    pub member_key: PublicKey,
    /// The key that votes.
    pub vote_key: PublicKey,
    /// The key it identifies itself with over QUIC.
    pub transport_key: PublicKey,
    /// Where it is reached.
    pub address: Address,
}

/// A genesis document that every validator has signed. There is no other way to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    chain: ChainId,
    name: String,
    created: Timestamp,
    parameters: Parameters,
    members: Vec<Member>,
    by_key: BTreeMap<PublicKey, usize>,
    validators: ValidatorSet,
    details: Vec<FoundingValidator>,
}

impl Founding {
    /// Of a document whose signatures are complete; [`Document::finalised`] sees to that.
    pub(crate) fn of(document: &Document) -> Founding {
        let details: Vec<FoundingValidator> = document
            .members()
            .iter()
            .filter_map(|card| {
                let validator = card.validator.as_ref()?;
                Some(FoundingValidator {
                    name: card.name.clone(),
                    member_key: card.member_key,
                    vote_key: validator.vote_key,
                    transport_key: validator.transport_key,
                    address: validator.address.clone(),
                })
            })
            .collect();
        let agreed =
            |each: &FoundingValidator| Validator { member: each.member_key, vote_key: each.vote_key };
        let members: Vec<Member> = document.members().iter().map(|card| card.member()).collect();
        Founding {
            chain: document.chain_id(),
            name: document.name().to_owned(),
            created: document.created(),
            parameters: document.parameters().clone(),
            by_key: members.iter().enumerate().map(|(index, member)| (member.key, index)).collect(),
            members,
            validators: ValidatorSet::new(details.iter().map(agreed).collect()),
            details,
        }
    }

    /// Reads a genesis document, checks every rule and every signature.
    ///
    /// # Errors
    /// See [`LoadError`]: unreadable, against a rule, or not signed by all validators.
    pub fn load(path: &Path) -> Result<Founding, LoadError> {
        Ok(Document::load(path)?.finalised()?)
    }

    /// The founding facts as the ledger needs them.
    pub fn ledger_genesis(&self) -> Genesis {
        Genesis {
            chain: self.chain,
            parameters: self.parameters.clone(),
            members: self.members.clone(),
            validators: self.validators.clone(),
            timestamp: self.created,
        }
    }

    /// The chain id.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The chain's name, for people; agreement goes by the id alone.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The timestamp of block 0.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// All members, ascending by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member with this member key.
    pub fn member_by_key(&self, key: &PublicKey) -> Option<&Member> {
        self.by_key.get(key).map(|index| &self.members[*index])
    }

    /// The member of this name.
    pub fn member_by_name(&self, name: &str) -> Option<&Member> {
        let index = self.members.binary_search_by(|member| member.name.as_str().cmp(name)).ok()?;
        Some(&self.members[index])
    }

    /// The founding validator set, as agreement knows it.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Name, keys and address of a validator.
    pub fn validator(&self, index: ValidatorIndex) -> Option<&FoundingValidator> {
        self.details.get(index.as_usize())
    }

    /// Every validator with its index, ascending.
    pub fn validator_details(&self) -> impl Iterator<Item = (ValidatorIndex, &FoundingValidator)> {
        self.validators.indexes().zip(&self.details)
    }

    /// The validator that this member runs.
    pub fn validator_by_member_key(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        self.validator_details().find(|(_, each)| each.member_key == *key).map(|(index, _)| index)
    }
}
