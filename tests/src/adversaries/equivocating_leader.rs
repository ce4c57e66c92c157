//! Proposes one block to some validators and another to the rest, at one view and height, and votes for
//! each before those who know it.

use super::{Liar, Parcel, Stage, message_in};
use quorate_pbft::{Message, PrePrepare};
use quorate_types::certificate::{Commit, Prepare};
use quorate_types::hash::BlockHash;
use quorate_types::ids::{Height, Timestamp, View};
use std::collections::BTreeMap;

/// Proposals whose other version is remembered.
const REMEMBERED: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct EquivocatingLeader {
    /// The other block at a view and height.
    twins: BTreeMap<(View, Height), (BlockHash, BlockHash)>,
}

impl EquivocatingLeader {
    fn remember(&mut self, at: (View, Height), real: BlockHash, other: BlockHash) {
        self.twins.insert(at, (real, other));
        if self.twins.len() > REMEMBERED {
            self.twins.pop_first();
        }
    }
}

/// Those who are shown the other block.
fn is_fooled(parcel: &Parcel, view: View) -> bool {
    (u64::from(parcel.to.0) + view.0).is_multiple_of(2)
}

impl Liar for EquivocatingLeader {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        let (to, me) = (parcel.to, stage.me);
        match message_in(parcel.lane, &parcel.bytes) {
            Some(Message::PrePrepare(m)) if m.signer == me && is_fooled(&parcel, m.statement.view) => {
                let PrePrepare { view, header, ids } = m.statement;
                let real = header.hash();
                let mut header = header;
                // On top of an other block goes an other block.
                if let Some(below) = header.height.previous()
                    && let Some((parent, other)) = self.twins.get(&(view, below))
                    && header.parent == *parent
                {
                    header.parent = *other;
                }
                header.timestamp = Timestamp(header.timestamp.0 + 1);
                self.remember((view, header.height), real, header.hash());
                let other = stage.sign(PrePrepare { view, header, ids });
                stage.say(to, &Message::PrePrepare(Box::new(other)));
            }
            Some(Message::Prepare(m)) if m.signer == me && is_fooled(&parcel, m.statement.view) => {
                let Prepare { view, height, block } = m.statement;
                let block = self.twins.get(&(view, height)).map_or(block, |(_, other)| *other);
                let vote = stage.sign(Prepare { view, height, block });
                stage.say(to, &Message::Prepare(vote));
            }
            Some(Message::Commit(m)) if m.signer == me && is_fooled(&parcel, m.statement.view) => {
                let Commit { view, height, block, result } = m.statement;
                let block = self.twins.get(&(view, height)).map_or(block, |(_, other)| *other);
                let vote = stage.sign(Commit { view, height, block, result });
                stage.say(to, &Message::Commit(vote));
            }
            _ => stage.out.push(parcel),
        }
    }
}
