//! Plays back what it has heard long ago, of whatever signer and view, to anyone.

use super::{Liar, Parcel, Stage};
use bytes::Bytes;
use quorate_transport::Lane;
use quorate_types::ids::ValidatorIndex;

/// Frames kept; each further one takes the place of a random one, so that old ones stay.
const KEPT: usize = 200;

/// See the module.
#[derive(Default)]
pub(super) struct Replayer {
    heard: Vec<(Lane, Bytes)>,
}

impl Liar for Replayer {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        stage.out.push(parcel);
    }

    fn hears(&mut self, stage: &mut Stage<'_>, _: ValidatorIndex, lane: Lane, bytes: &Bytes) -> bool {
        if self.heard.len() < KEPT {
            self.heard.push((lane, bytes.clone()));
        } else if stage.dice.chance(100) {
            let place = stage.dice.place(KEPT);
            self.heard[place] = (lane, bytes.clone());
        }
        true
    }

    fn idle(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..3 {
            if let Some((lane, bytes)) = stage.dice.pick(&self.heard).cloned() {
                let to = stage.other();
                stage.send(to, lane, bytes);
            }
        }
    }
}
