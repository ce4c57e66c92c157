//! Does not vote: not at all, not to some, or not of one kind.

use super::{Liar, Parcel, Stage, message_in};
use crate::simulator::dice::Dice;
use quorate_pbft::Message;

/// See the module.
pub(super) struct Withholder {
    prepares: bool,
    commits: bool,
    view_changes: bool,
    /// Of a thousand.
    share: u64,
}

impl Withholder {
    pub(super) fn new(dice: &mut Dice) -> Withholder {
        Withholder {
            prepares: dice.chance(600),
            commits: dice.chance(600),
            view_changes: dice.chance(600),
            share: if dice.chance(500) { 1000 } else { 500 },
        }
    }
}

impl Liar for Withholder {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        let withheld = match message_in(parcel.lane, &parcel.bytes) {
            Some(Message::Prepare(_)) => self.prepares,
            Some(Message::Commit(_)) => self.commits,
            Some(Message::ViewChange(_) | Message::NewView(_)) => self.view_changes,
            _ => false,
        };
        if !withheld || !stage.dice.chance(self.share) {
            stage.out.push(parcel);
        }
    }
}
