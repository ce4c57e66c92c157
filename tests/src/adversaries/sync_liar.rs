//! Lies to those who catch up: claims heights it does not have, serves nothing, part, or blocks that are
//! not on the chain.

use super::{Liar, Parcel, Stage, message_in};
use quorate_node::core::wire::PeerFrame;
use quorate_pbft::Message;
use quorate_types::codec;
use quorate_types::ids::{Height, Timestamp};

/// See the module.
pub(super) struct SyncLiar;

impl Liar for SyncLiar {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        let to = parcel.to;
        if let Some(Message::Status(m)) = message_in(parcel.lane, &parcel.bytes) {
            let mut status = m.statement;
            match stage.dice.below(3) {
                0 => status.height = Height(status.height.0 + stage.dice.between(1, 1_000_000)),
                1 => status.height = Height(u64::MAX),
                _ => {}
            }
            let lie = stage.sign(status);
            stage.say(to, &Message::Status(lie));
            return;
        }
        let Ok(PeerFrame::Blocks(mut blocks)) = codec::decode::<PeerFrame>(&parcel.bytes, parcel.bytes.len())
        else {
            stage.out.push(parcel);
            return;
        };
        match stage.dice.below(6) {
            0 => return,
            1 => blocks.truncate(1),
            2 => {
                // Alone, nothing in the frame gives it away.
                blocks.truncate(1);
                if let Some(block) = blocks.first_mut() {
                    block.certificate = None;
                    block.header.timestamp = Timestamp(block.header.timestamp.0 + 1);
                }
            }
            3 => blocks.iter_mut().for_each(|block| block.certificate = None),
            4 => blocks.reverse(),
            _ => {
                if let Some(block) = blocks.last_mut() {
                    block.transactions.pop();
                }
            }
        }
        stage.send(to, parcel.lane, PeerFrame::Blocks(blocks).encode());
    }
}
