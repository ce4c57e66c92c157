//! Votes for a second block at a height, to everyone or to some, whenever it has heard of one; if not,
//! for one that does not exist.

use super::{Liar, Parcel, Stage, message_in};
use bytes::Bytes;
use quorate_pbft::Message;
use quorate_transport::Lane;
use quorate_types::certificate::{Commit, Prepare};
use quorate_types::hash::{BlockHash, Hash};
use quorate_types::ids::{Height, ValidatorIndex};
use std::collections::BTreeMap;

/// Heights whose blocks are remembered.
const REMEMBERED: usize = 32;

/// See the module.
#[derive(Default)]
pub(super) struct DoubleVoter {
    heard: BTreeMap<Height, Vec<BlockHash>>,
}

impl DoubleVoter {
    fn other(&self, height: Height, than: BlockHash) -> BlockHash {
        let known = self.heard.get(&height).into_iter().flatten().find(|block| **block != than);
        known.copied().unwrap_or(BlockHash(Hash::of(&[&than.0.0, b"another"])))
    }
}

impl Liar for DoubleVoter {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        let to = parcel.to;
        let second = match message_in(parcel.lane, &parcel.bytes) {
            Some(Message::Prepare(m)) => {
                let Prepare { view, height, block } = m.statement;
                let block = self.other(height, block);
                Some(Message::Prepare(stage.sign(Prepare { view, height, block })))
            }
            Some(Message::Commit(m)) => {
                let Commit { view, height, block, result } = m.statement;
                let block = self.other(height, block);
                Some(Message::Commit(stage.sign(Commit { view, height, block, result })))
            }
            _ => None,
        };
        let first_too = second.is_none() || stage.dice.chance(600);
        let (second_first, second_too) = (stage.dice.chance(500), stage.dice.chance(700));
        if let Some(second) = second.filter(|_| second_too) {
            if second_first {
                stage.say(to, &second);
            }
            if first_too {
                stage.out.push(parcel);
            }
            if !second_first {
                stage.say(to, &second);
            }
        } else {
            stage.out.push(parcel);
        }
    }

    fn hears(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, lane: Lane, bytes: &Bytes) -> bool {
        if let Some(Message::PrePrepare(m)) = message_in(lane, bytes) {
            let blocks = self.heard.entry(m.statement.header.height).or_default();
            let block = m.statement.header.hash();
            if blocks.len() < 4 && !blocks.contains(&block) {
                blocks.push(block);
            }
            if self.heard.len() > REMEMBERED {
                self.heard.pop_first();
            }
        }
        true
    }
}
