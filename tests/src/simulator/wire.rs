//! The checks of frames, made once for all machines.
//!
//! Whether a frame holds depends on nothing but its bytes and the committee, which is the same for
//! all. So each frame is decoded and verified by the node's own code, once, and every machine that gets
//! it is given that verdict. Signatures are most of what a simulated network costs.

use bytes::Bytes;
use quorate_node::core::PeerInput;
use quorate_node::core::wire::{self, Repeats};
use quorate_pbft::Committee;
use quorate_transport::Lane;
use quorate_types::ids::ValidatorIndex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::dice::Dice;

/// Verdicts remembered.
const REMEMBERED: usize = 4096;

/// A verdict: what the frame says, or why it is refused.
pub type Verdict = Result<PeerInput, String>;

/// See the [module](self).
pub struct Checks {
    committee: Arc<Committee>,
    repeats: Repeats,
    dice: Dice,
    known: HashMap<(u8, Bytes), Verdict>,
    order: VecDeque<(u8, Bytes)>,
}

/// The number of a lane.
pub fn lane_number(lane: Lane) -> u8 {
    match lane {
        Lane::Votes => 0,
        Lane::Sync => 1,
        Lane::Gossip => 2,
    }
}

impl Checks {
    /// Checks against this committee.
    pub fn new(committee: Arc<Committee>, dice: Dice) -> Checks {
        Checks { committee, repeats: Repeats::default(), dice, known: HashMap::new(), order: VecDeque::new() }
    }

    /// What a frame holds.
    pub fn check(&mut self, from: ValidatorIndex, lane: Lane, bytes: &Bytes) -> Verdict {
        let key = (lane_number(lane), bytes.clone());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let frames = [(from, lane, bytes.clone())];
        let verdict = wire::verify(&self.committee, &self.repeats, &frames, self.dice.rng())
            .pop()
            .unwrap_or_else(|| unreachable!("one verdict for each frame"))
            .map_err(|error| error.to_string());
        self.known.insert(key.clone(), verdict.clone());
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        verdict
    }
}
