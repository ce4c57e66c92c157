//! As a leader, keeps every proposal back until just before anyone would suspect it.

use super::{Liar, Parcel, Stage, message_in};
use crate::simulator::dice::Dice;
use quorate_pbft::Message;
use std::time::Duration;

/// See the module.
pub(super) struct SlowLeader {
    delay: Duration,
}

impl SlowLeader {
    pub(super) fn new(dice: &mut Dice, view_timeout: Duration) -> SlowLeader {
        let timeout = u64::try_from(view_timeout.as_millis()).unwrap_or(600);
        SlowLeader { delay: dice.millis(timeout * 55 / 100, timeout * 90 / 100) }
    }
}

impl Liar for SlowLeader {
    fn send(&mut self, stage: &mut Stage<'_>, mut parcel: Parcel) {
        let me = stage.me;
        if let Some(Message::PrePrepare(m)) = message_in(parcel.lane, &parcel.bytes)
            && m.signer == me
        {
            parcel.delay = self.delay;
        }
        stage.out.push(parcel);
    }
}
