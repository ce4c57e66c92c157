//! Votes, proposes and reports for views and heights far ahead.

use super::{Liar, Parcel, Stage};
use quorate_pbft::{Message, Phase, Status, ViewChange};
use quorate_types::certificate::{Commit, Prepare};
use quorate_types::hash::{BlockHash, Hash, ResultHash};
use quorate_types::ids::{Height, View};

/// See the module.
pub(super) struct FarFuture;

impl Liar for FarFuture {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        stage.out.push(parcel);
    }

    fn idle(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..6 {
            let far = [1, 2, 10, 1_000_000, u64::MAX / 2, u64::MAX - 1];
            let view = View(stage.dice.pick(&far).copied().unwrap_or(1));
            let height = Height(stage.dice.pick(&far).copied().unwrap_or(1));
            let block = BlockHash(Hash([9; 32]));
            let message = match stage.dice.below(4) {
                0 => Message::Prepare(stage.sign(Prepare { view, height, block })),
                1 => {
                    let result = ResultHash(Hash([8; 32]));
                    Message::Commit(stage.sign(Commit { view, height, block, result }))
                }
                2 => {
                    let change = ViewChange { view, certificate: None, prepared: Vec::new() };
                    Message::ViewChange(Box::new(stage.sign(change)))
                }
                _ => Message::Status(stage.sign(Status {
                    view,
                    phase: Phase::Active,
                    height,
                    proposals: height,
                    stalled: true,
                    founding: false,
                })),
            };
            let to = stage.other();
            stage.say(to, &message);
        }
    }
}
