//! The one way in which this crate writes TOML, so that two people's copies differ only where their
//! content does. Comments and order of a text that a person edited are not kept.

use crate::card::Card;
use crate::document::{Content, FoundingSignature};
use crate::{parameters, utc};
use quorate_types::member::Role;

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Validator => "\"validator\"",
        Role::Submitter => "\"submitter\"",
        Role::Auditor => "\"auditor\"",
    }
}

/// A card's fields, with its validator part in the table `validator_table`.
fn card(card: &Card, validator_table: &str) -> String {
    let roles: Vec<&str> = card.roles.iter().map(|each| role(*each)).collect();
    let mut signatures = card.signatures.iter();
    // A card short of signatures renders to a text that is refused for it.
    let mut signature = || signatures.next().map(ToString::to_string).unwrap_or_default();
    let mut text = format!(
        "name = {}\nmember_key = \"{}\"\nroles = [{}]\nsignature = \"{}\"\n",
        quoted(&card.name),
        card.member_key,
        roles.join(", "),
        signature()
    );
    if let Some(validator) = &card.validator {
        text.push_str(&format!(
            "\n[{validator_table}]\naddress = {}\nvote_key = \"{}\"\ntransport_key = \"{}\"\n\
             vote_signature = \"{}\"\ntransport_signature = \"{}\"\n",
            quoted(&validator.address.to_string()),
            validator.vote_key,
            validator.transport_key,
            signature(),
            signature()
        ));
    }
    text
}

/// A card alone.
pub(crate) fn card_file(each: &Card) -> String {
    format!("# Quorate member card. Signed: to change it, export a new one.\n\n{}", card(each, "validator"))
}

/// A genesis document without its founding signatures.
pub(crate) fn content(content: &Content) -> String {
    let mut text = format!(
        "# Quorate genesis document. Its chain id is the hash of the content of [chain], [parameters]\n\
         # and every [[member]]; comments and layout do not count, nor do founding signatures.\n\n\
         [chain]\nname = {}\ncreated_ms = {} # {}\n\n[parameters]\n",
        quoted(&content.name),
        content.created,
        utc::format(content.created)
    );
    for (name, value) in parameters::list(&content.parameters) {
        text.push_str(&format!("{name} = {value}\n"));
    }
    for member in &content.members {
        text.push_str(&format!("\n[[member]]\n{}", card(member, "member.validator")));
    }
    text
}

/// A genesis document.
pub(crate) fn document(each: &Content, signatures: &[FoundingSignature]) -> String {
    let mut text = content(each);
    for signature in signatures {
        text.push_str(&format!(
            "\n[[signature]]\nmember = {}\nsignature = \"{}\"\n",
            quoted(&signature.member),
            signature.signature
        ));
    }
    text
}
