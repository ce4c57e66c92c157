//! Places in a text, and refusals that name them.

use crate::card::CardError;
use crate::keys::KeyKind;
use crate::parameters::SettingError;
use quorate_types::hash::ChainId;
use quorate_types::keys::PublicKey;
use quorate_types::member::NameError;
use quorate_types::parameters::{ParameterError, limits};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use toml::de::{DeArray, DeTable, DeValue};

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file, as the person named it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why a card, a parameter file or a genesis document is not accepted, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct Refusal {
    /// The offending line.
    pub at: Location,
    /// What is wrong there. Boxed: refusals are rare, and results should stay small.
    pub reason: Box<Reason>,
}

impl Refusal {
    pub(crate) fn new(at: Location, reason: impl Into<Reason>) -> Refusal {
        Refusal { at, reason: Box::new(reason.into()) }
    }
}

/// What is wrong at a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not TOML, an unknown or missing field, or a value of the wrong form.
    #[error("{0}")]
    Form(String),
    /// The chain's name breaks the rule for names.
    #[error("chain name: {0}")]
    ChainName(NameError),
    /// The time of founding is no time a chain could start at.
    #[error(
        "created_ms is {0}; it must be milliseconds since 1970, from 1 to 253402300799999 (the year 9999)"
    )]
    Created(u64),
    /// A parameter is not written down. The document must not depend on anyone's defaults.
    #[error("parameter `{0}` is missing; every parameter must be written out")]
    MissingParameter(String),
    /// A parameter out of range.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// A setting that is no parameter, or no number.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A member card breaks a rule by itself.
    #[error("member {name:?}: {error}")]
    Card {
        /// The name on the card.
        name: String,
        /// The rule.
        error: CardError,
    },
    /// Two members of one name.
    #[error("member {name:?} appears twice ({first})")]
    DuplicateName {
        /// The name.
        name: String,
        /// Where it appears first.
        first: First,
    },
    /// One key in two places.
    #[error(
        "the {kind} key {key} appears twice ({first}, as the {first_kind} key of {first_member:?}); every key must be of its own making"
    )]
    DuplicateKey {
        /// The key.
        key: PublicKey,
        /// What it is used for here.
        kind: KeyKind,
        /// Where it appears first.
        first: First,
        /// What it is used for there.
        first_kind: KeyKind,
        /// The member that has it there.
        first_member: String,
    },
    /// Two validators at one address.
    #[error("address {address} appears twice ({first}, as that of {first_member:?})")]
    DuplicateAddress {
        /// The address.
        address: String,
        /// Where it appears first.
        first: First,
        /// The member that has it there.
        first_member: String,
    },
    /// No member is a validator.
    #[error("there is no validator; a chain needs at least one member with the role \"validator\"")]
    NoValidator,
    /// More validators than a chain may have.
    #[error("{0} validators, where at most {max} are allowed", max = limits::VALIDATORS)]
    TooManyValidators(usize),
    /// More members than a chain may have.
    #[error("{0} members, where at most {max} are allowed", max = limits::MEMBERS)]
    TooManyMembers(usize),
    /// A founding signature of someone who is no validator of the document.
    #[error("{0:?} signs, but is no validator of this document")]
    StrangerSigned(String),
    /// Two founding signatures of one validator.
    #[error("{name:?} signs twice ({first})")]
    DuplicateSignature {
        /// The validator.
        name: String,
        /// Where it signs first.
        first: First,
    },
    /// A founding signature that does not verify.
    #[error(
        "the founding signature of {name:?} does not verify for chain id {chain}: \
         the content changed after {name:?} signed it, or the signature is damaged; \
         it must inspect and sign this document again"
    )]
    BadSignature {
        /// The validator.
        name: String,
        /// The chain id of the document as it stands.
        chain: ChainId,
    },
    /// Validators that have not signed yet.
    #[error("not final: {} of {of} validators have not signed: {}", .missing.len(), .missing.join(", "))]
    Unsigned {
        /// Their names.
        missing: Vec<String>,
        /// How many validators there are.
        of: usize,
    },
}

/// Where something stands first that stands twice: "first at line 3", with the file where it is
/// another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// The place.
    pub at: Location,
    /// Whether it is in the file of the second.
    pub same_file: bool,
}

impl First {
    pub(crate) fn seen_from(at: &Location, second: &Location) -> First {
        First { at: at.clone(), same_file: at.file == second.file }
    }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.same_file {
            write!(f, "first at line {}", self.at.line)
        } else {
            write!(f, "first at {}", self.at)
        }
    }
}

/// A step from a table to a value in it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// A text with the name of the file it came from.
#[derive(Debug, Clone)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// The line of a byte offset.
    fn at_offset(&self, offset: usize) -> Location {
        let before = self.text.as_bytes().iter().take(offset);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Location { file: self.file.to_owned(), line }
    }

    /// The names written down in a table of the root.
    pub(crate) fn names_in(&self, table: &str) -> BTreeSet<String> {
        let Ok(root) = DeTable::parse(self.text) else { return BTreeSet::new() };
        let table = root.get_ref().get(table).and_then(|value| value.get_ref().as_table());
        table.into_iter().flatten().map(|(key, _)| key.get_ref().to_string()).collect()
    }

    /// The line that the value at `path` starts at, or the innermost table around it that exists.
    pub(crate) fn locate(&self, path: &[Step<'_>]) -> Location {
        let offset = DeTable::parse(self.text).map_or(0, |root| offset_of(root.get_ref(), path));
        self.at_offset(offset)
    }

    /// The last line with anything on it: where what is missing from the whole would be added.
    pub(crate) fn end(&self) -> Location {
        self.at_offset(self.text.trim_end().len())
    }

    /// Parses the text, unknown fields refused by the types.
    pub(crate) fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refusal> {
        toml::from_str(self.text).map_err(|error| {
            let at = self.at_offset(error.span().map_or(0, |Range { start, .. }| start));
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            Refusal::new(at, Reason::Form(message))
        })
    }
}

/// Follows `path` as far as it exists: where the last value on it starts.
fn offset_of(root: &DeTable<'_>, path: &[Step<'_>]) -> usize {
    let mut offset = 0;
    let mut within = Some(Container::Table(root));
    for step in path {
        let next = match (within, step) {
            (Some(Container::Table(table)), Step::Key(name)) => table
                .iter()
                .find(|(key, _)| key.get_ref() == name)
                .map(|(key, value)| (key.span().start, value)),
            (Some(Container::Array(array)), Step::Index(index)) => {
                array.get(*index).map(|value| (value.span().start, value))
            }
            _ => None,
        };
        let Some((start, value)) = next else { break };
        offset = start;
        within = match value.get_ref() {
            DeValue::Table(table) => Some(Container::Table(table)),
            DeValue::Array(array) => Some(Container::Array(array)),
            _ => None,
        };
    }
    offset
}

#[derive(Clone, Copy)]
enum Container<'a> {
    Table(&'a DeTable<'a>),
    Array(&'a DeArray<'a>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_wherever_they_are_written() {
        let text = "[chain]\nname = 'a'\n\n[[member]]\nname = 'x'\n[member.validator]\nport = 1\n[[member]]\nname = 'y'\n\n";
        let source = Source { file: "g", text };
        let member = |index| [Step::Key("member"), Step::Index(index)];
        assert_eq!(source.locate(&[Step::Key("chain"), Step::Key("name")]).line, 2);
        assert_eq!(source.locate(&member(0)).line, 4);
        assert_eq!(source.locate(&member(1)).line, 8);
        assert_eq!(source.locate(&[&member(1)[..], &[Step::Key("name")]].concat()).line, 9);
        let port = [&member(0)[..], &[Step::Key("validator"), Step::Key("port")]].concat();
        assert_eq!(source.locate(&port).line, 7);
        assert_eq!(source.locate(&[&member(1)[..], &[Step::Key("none")]].concat()).line, 8);
        assert_eq!(source.end().line, 9);
    }
}
