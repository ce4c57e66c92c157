//! No honest validator contradicts itself, over its whole life, restarts included: one proposal and one
//! vote of a kind for each view and height, one ViewChange and one NewView for each view, and no new vote
//! in a view it has left.

use super::{Invariant, Observed};
use quorate_node::core::wire::PeerFrame;
use quorate_pbft::Message;
use quorate_transport::Lane;
use quorate_types::codec;
use quorate_types::ids::{Height, View};
use std::collections::BTreeMap;
use std::time::Duration;

/// Kind of statement, view, height.
type Subject = (&'static str, View, Height);

/// See the module.
#[derive(Default)]
pub(super) struct Votes {
    /// What each machine said of each subject: the encoded statement.
    said: BTreeMap<(usize, Subject), Vec<u8>>,
    /// The view each machine has last entered or moved to.
    left: BTreeMap<usize, View>,
}

impl Invariant for Votes {
    fn name(&self) -> &'static str {
        "no contradicting votes"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        let Observed::Sent { lane: Lane::Votes, bytes } = observed else { return Ok(()) };
        let Ok(PeerFrame::Consensus(message)) = codec::decode::<PeerFrame>(bytes, bytes.len()) else {
            return Err("a frame on the lane of votes is no message".into());
        };
        let message: Message =
            codec::decode(&message, message.len()).map_err(|error| format!("an honest message: {error}"))?;
        // Others' proposals and NewViews are passed on to whoever lacks them: they bind who signed them.
        let (signer, subject, statement) = match &message {
            Message::PrePrepare(m) => {
                let height = m.statement.header.height;
                (m.signer, ("proposal", m.statement.view, height), codec::encode(&m.statement))
            }
            Message::Prepare(m) => {
                (m.signer, ("Prepare", m.statement.view, m.statement.height), codec::encode(&m.statement))
            }
            Message::Commit(m) => {
                (m.signer, ("Commit", m.statement.view, m.statement.height), codec::encode(&m.statement))
            }
            Message::ViewChange(m) => {
                (m.signer, ("ViewChange", m.statement.view, Height::GENESIS), codec::encode(&m.statement))
            }
            Message::NewView(m) => {
                (m.signer, ("NewView", m.statement.view, Height::GENESIS), codec::encode(&m.statement))
            }
            Message::Status(_) => return Ok(()),
        };
        if signer.as_usize() != machine {
            return Ok(());
        }
        let (kind, view, height) = subject;
        let known = self.said.get(&(machine, subject));
        if known.is_some_and(|known| *known != statement) {
            return Err(format!("machine {machine} signed two of {kind} at view {view}, height {height}"));
        }
        if known.is_some() {
            return Ok(());
        }
        let left = self.left.entry(machine).or_default();
        if matches!(kind, "proposal" | "Prepare" | "Commit") && view < *left {
            return Err(format!(
                "machine {machine} cast {kind} at view {view}, height {height}, after it had moved to view {left}"
            ));
        }
        // Votes under a NewView of another leader show that its view was entered.
        *left = view.max(*left);
        self.said.insert((machine, subject), statement);
        Ok(())
    }
}
