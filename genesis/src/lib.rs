//! **The founding document**, and the ceremony by which a consortium makes it without anyone
//! handing a secret key to anyone.
//!
//! 1. Every member makes its own keys on its own machine: [`keys::MemberKeys::create`].
//! 2. It exports a [`card::Card`]: name, public keys, roles, address; signed with each key on it,
//!    which proves that it holds them.
//! 3. Anyone assembles cards and parameters into a [`document::Document`], TOML that a person reads
//!    and diffs.
//! 4. Every validator inspects the document and adds its founding signature.
//! 5. Once all validators have signed, the document is final: [`document::Document::finalised`]
//!    gives the [`founding::Founding`], from which node, client and auditor all start. The chain id
//!    is the hash of the document's content (see [`document`] for its byte layout).
//!
//! A document or card that breaks a rule is refused with file, line and reason
//! ([`source::Refusal`]); nothing half-checked leaves this crate.
//!
//! | module | subject |
//! |---|---|
//! | [`keys`] | key files |
//! | [`address`] | where a validator is reached |
//! | [`card`] | member cards |
//! | [`document`] | the genesis document, its byte layout, founding signatures |
//! | [`founding`] | the verified, final document |
//! | [`parameters`] | parameter files, and single parameters set from a command line |
//! | [`files`] | bounded reads; files written whole or not at all |
//! | [`source`] | places in a text, and refusals that name them |
//! | [`utc`] | times for people to read |

pub mod address;
pub mod card;
pub mod document;
pub mod files;
pub mod founding;
pub mod keys;
pub mod parameters;
mod render;
pub mod source;
pub mod utc;

pub use card::{Card, CardFile};
pub use document::Document;
pub use founding::Founding;
pub use keys::MemberKeys;
