//! As a leader, puts another proposal on top of each of its own, as long as it is heard: past the end of
//! its term, and with transactions that stand in the block below already.

use super::{Liar, Parcel, Stage, message_in};
use quorate_pbft::{Message, PrePrepare};

/// See the module.
pub(super) struct Overstayer;

impl Liar for Overstayer {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        let (to, me) = (parcel.to, stage.me);
        let message = message_in(parcel.lane, &parcel.bytes);
        stage.out.push(parcel);
        if let Some(Message::PrePrepare(m)) = message
            && m.signer == me
            && stage.dice.chance(300)
        {
            let PrePrepare { view, mut header, ids } = m.statement;
            header.parent = header.hash();
            header.height = header.height.next();
            let next = stage.sign(PrePrepare { view, header, ids });
            stage.say(to, &Message::PrePrepare(Box::new(next)));
        }
    }
}
