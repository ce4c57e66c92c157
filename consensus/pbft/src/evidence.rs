//! Two statements of one signer that no honest validator makes.

use crate::message::{Committee, MAX_MESSAGE_BYTES, Message, MessageError, VerifiedMessage};
use bytes::Bytes;
use quorate_types::codec;
use quorate_types::ids::{Height, ValidatorIndex, View};
use serde::{Deserialize, Serialize};

/// Two contradicting messages of one signer: two different proposals or votes of one kind at one
/// (view, height), or two ViewChanges or two NewViews for one view. Portable: anyone with the genesis
/// document can check it. Different blocks in different views are no contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// An encoded [`Message`].
    pub first: Bytes,
    /// Another of the same signer that contradicts it.
    pub second: Bytes,
}

/// What two messages must share to contradict each other.
type Subject = (u8, ValidatorIndex, View, Height);

fn subject(message: &Message) -> Option<Subject> {
    match message {
        Message::PrePrepare(m) => Some((0, m.signer, m.statement.view, m.statement.header.height)),
        Message::Prepare(m) => Some((1, m.signer, m.statement.view, m.statement.height)),
        Message::Commit(m) => Some((2, m.signer, m.statement.view, m.statement.height)),
        Message::ViewChange(m) => Some((3, m.signer, m.statement.view, Height::GENESIS)),
        Message::NewView(m) => Some((4, m.signer, m.statement.view, Height::GENESIS)),
        Message::Status(_) => None,
    }
}

/// Whether the two say different things. Signatures aside: one statement may carry several.
fn differ(first: &Message, second: &Message) -> bool {
    match (first, second) {
        (Message::PrePrepare(a), Message::PrePrepare(b)) => a.statement != b.statement,
        (Message::Prepare(a), Message::Prepare(b)) => a.statement != b.statement,
        (Message::Commit(a), Message::Commit(b)) => a.statement != b.statement,
        (Message::ViewChange(a), Message::ViewChange(b)) => a.statement != b.statement,
        (Message::NewView(a), Message::NewView(b)) => a.statement != b.statement,
        _ => false,
    }
}

impl Evidence {
    /// The evidence that two messages make, if they contradict each other.
    pub fn of(first: &VerifiedMessage, second: &VerifiedMessage) -> Option<Evidence> {
        let subject = subject(first.message())?;
        let same = self::subject(second.message()) == Some(subject);
        (same && differ(first.message(), second.message()))
            .then(|| Evidence { first: first.bytes().clone(), second: second.bytes().clone() })
    }

    /// Checks both messages and names the signer they convict, in words too.
    ///
    /// # Errors
    /// A message that does not verify; `Ok(None)` if the two do not contradict each other.
    pub fn verify(&self, committee: &Committee) -> Result<Option<(ValidatorIndex, String)>, MessageError> {
        let first = VerifiedMessage::decode(self.first.clone(), committee)?;
        let second = VerifiedMessage::decode(self.second.clone(), committee)?;
        Ok(Evidence::of(&first, &second).map(|_| (first.signer(), describe(first.message()))))
    }

    /// The signer and the subject, in words: for logs. Nothing is verified: for evidence made here just now.
    pub fn describe(&self) -> (ValidatorIndex, String) {
        match codec::decode::<Message>(&self.first, MAX_MESSAGE_BYTES) {
            Ok(first) => (first.signer(), describe(&first)),
            Err(error) => (ValidatorIndex::default(), error.to_string()),
        }
    }
}

/// What a message that is part of evidence is about, in words.
fn describe(message: &Message) -> String {
    let view = message.view();
    match message {
        Message::PrePrepare(m) => {
            format!("two proposals at height {} in view {view}", m.statement.header.height)
        }
        Message::Prepare(m) => format!("two Prepare votes at height {} in view {view}", m.statement.height),
        Message::Commit(m) => format!("two Commit votes at height {} in view {view}", m.statement.height),
        Message::ViewChange(_) => format!("two ViewChanges for view {view}"),
        Message::NewView(_) => format!("two NewViews for view {view}"),
        Message::Status(_) => "nothing".into(),
    }
}
