//! Sends bytes that are nothing: random ones, the first part of real frames, real frames with bytes
//! changed or added, and lengths that promise gigabytes.

use super::{Liar, Parcel, Stage};
use bytes::Bytes;
use quorate_transport::Lane;
use rand_core::Rng;

/// See the module.
pub(super) struct Garbage;

impl Liar for Garbage {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        if !stage.dice.chance(150) {
            stage.out.push(parcel);
            return;
        }
        let mut bytes = parcel.bytes.to_vec();
        let at = stage.dice.place(bytes.len());
        let mut lane = parcel.lane;
        match stage.dice.below(5) {
            // A sound frame where its kind does not belong.
            4 => lane = stage.dice.pick(&Lane::ALL).copied().unwrap_or(lane),
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << stage.dice.below(8),
            2 => bytes.extend([0; 3]),
            _ => {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
        }
        stage.send(parcel.to, lane, Bytes::from(bytes));
    }

    fn idle(&mut self, stage: &mut Stage<'_>) {
        let mut bytes = vec![0; stage.dice.place(300)];
        stage.dice.rng().fill_bytes(&mut bytes);
        let lane = stage.dice.pick(&Lane::ALL).copied().unwrap_or(Lane::Votes);
        let to = stage.other();
        stage.send(to, lane, Bytes::from(bytes));
    }
}
