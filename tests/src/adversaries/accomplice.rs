//! Joins every vote it hears of, whether or not it could honestly cast it, and reports none of it when the
//! view changes. With it a quorum needs one honest validator less, as if f of them were lost to the rule
//! that a vote follows from what one has seen.
//!
//! In view 0 it is honest: a vote cast while others still found the chain would make learners of them.

use super::{Liar, Parcel, Stage, message_in};
use bytes::Bytes;
use quorate_pbft::Message;
use quorate_transport::Lane;
use quorate_types::hash::BlockHash;
use quorate_types::ids::{ValidatorIndex, View};
use std::collections::BTreeSet;

/// Votes remembered, so that each is joined once.
const REMEMBERED: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Accomplice {
    joined: BTreeSet<(View, BlockHash, bool)>,
}

impl Accomplice {
    fn join(&mut self, stage: &mut Stage<'_>, vote: (View, BlockHash, bool), message: &Message) {
        if vote.0 > View(0) && self.joined.insert(vote) {
            for other in stage.others() {
                stage.say(other, message);
            }
            if self.joined.len() > REMEMBERED {
                self.joined.pop_first();
            }
        }
    }
}

impl Liar for Accomplice {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        match message_in(parcel.lane, &parcel.bytes) {
            Some(Message::ViewChange(m)) if m.signer == stage.me => {
                let mut change = m.statement;
                change.prepared.clear();
                let lie = stage.sign(change);
                stage.say(parcel.to, &Message::ViewChange(Box::new(lie)));
            }
            _ => stage.out.push(parcel),
        }
    }

    fn hears(&mut self, stage: &mut Stage<'_>, _: ValidatorIndex, lane: Lane, bytes: &Bytes) -> bool {
        match message_in(lane, bytes) {
            Some(Message::Prepare(m)) => {
                let vote = (m.statement.view, m.statement.block, false);
                let own = stage.sign(m.statement);
                self.join(stage, vote, &Message::Prepare(own));
                true
            }
            Some(Message::Commit(m)) => {
                let vote = (m.statement.view, m.statement.block, true);
                let own = stage.sign(m.statement);
                self.join(stage, vote, &Message::Commit(own));
                // Its node is kept from committing what it might tell others of.
                m.statement.view == View(0)
            }
            _ => true,
        }
    }
}
