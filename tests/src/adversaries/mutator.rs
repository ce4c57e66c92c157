//! Takes the real messages of its node and changes one thing: a view, a height, a hash, by the least
//! there is, signed anew; or gives them to another validator.

use super::{Liar, Parcel, Stage, message_in};
use quorate_pbft::Message;
use quorate_types::hash::{BlockHash, Hash};
use quorate_types::ids::{Height, Timestamp, View};

/// See the module.
pub(super) struct Mutator;

fn nudge(stage: &mut Stage<'_>, number: u64) -> u64 {
    if stage.dice.chance(500) { number.saturating_add(1) } else { number.saturating_sub(1) }
}

fn nudge_hash(block: BlockHash) -> BlockHash {
    let mut bytes = block.0.0;
    bytes[31] ^= 1;
    BlockHash(Hash(bytes))
}

fn mutate(stage: &mut Stage<'_>, message: Message) -> Message {
    let what = stage.dice.below(3);
    match message {
        Message::PrePrepare(m) => {
            let mut s = m.statement;
            match what {
                0 => s.header.height = Height(nudge(stage, s.header.height.0)),
                1 => {
                    s.view = View(nudge(stage, s.view.0));
                    s.header.view = s.view;
                }
                _ => s.header.timestamp = Timestamp(nudge(stage, s.header.timestamp.0)),
            }
            Message::PrePrepare(Box::new(stage.sign(s)))
        }
        Message::Prepare(m) => {
            let mut s = m.statement;
            match what {
                0 => s.height = Height(nudge(stage, s.height.0)),
                1 => s.view = View(nudge(stage, s.view.0)),
                _ => s.block = nudge_hash(s.block),
            }
            Message::Prepare(stage.sign(s))
        }
        Message::Commit(m) => {
            let mut s = m.statement;
            match what {
                0 => s.height = Height(nudge(stage, s.height.0)),
                1 => s.view = View(nudge(stage, s.view.0)),
                _ => s.block = nudge_hash(s.block),
            }
            Message::Commit(stage.sign(s))
        }
        Message::ViewChange(m) => {
            let mut s = m.statement;
            match what {
                0 => s.view = View(nudge(stage, s.view.0)),
                1 => {
                    s.prepared.pop();
                }
                _ => s.certificate = None,
            }
            Message::ViewChange(Box::new(stage.sign(s)))
        }
        Message::NewView(m) => {
            let mut s = m.statement;
            match what {
                0 => s.view = View(nudge(stage, s.view.0)),
                1 => {
                    s.view_changes.pop();
                }
                _ => s.view_changes.reverse(),
            }
            Message::NewView(Box::new(stage.sign(s)))
        }
        Message::Status(m) => {
            let mut s = m.statement;
            match what {
                0 => s.height = Height(nudge(stage, s.height.0)),
                1 => s.view = View(nudge(stage, s.view.0)),
                _ => s.founding = !s.founding,
            }
            Message::Status(stage.sign(s))
        }
    }
}

impl Liar for Mutator {
    fn send(&mut self, stage: &mut Stage<'_>, mut parcel: Parcel) {
        let me = stage.me;
        match message_in(parcel.lane, &parcel.bytes) {
            Some(message) if stage.dice.chance(250) && message.signer() == me => {
                let changed = mutate(stage, message);
                let to = parcel.to;
                if stage.dice.chance(500) {
                    stage.out.push(parcel);
                }
                stage.say(to, &changed);
            }
            _ => {
                if stage.dice.chance(100) {
                    parcel.to = stage.other();
                }
                stage.out.push(parcel);
            }
        }
    }
}
