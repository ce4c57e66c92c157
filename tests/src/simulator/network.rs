//! Links between machines: what passes, what is lost, and when it arrives.

use super::dice::Dice;
use super::scenario::Noise;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often each thing happened to a frame.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// Sent.
    pub frames: u64,
    /// Lost to noise.
    pub lost: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Allowed to be overtaken.
    pub reordered: u64,
    /// Played back later.
    pub replayed: u64,
    /// Stopped by a partition.
    pub blocked: u64,
    /// Kept from getting through for what they said.
    pub muted: u64,
}

/// Every link of a world.
#[derive(Debug)]
pub struct Network {
    noise: Noise,
    dice: Dice,
    /// From machine to machine: how many faults block it now.
    blocked: BTreeMap<(usize, usize), u32>,
    /// When the last frame in order arrives, by link and lane.
    last: BTreeMap<(usize, usize, u8), Duration>,
    /// What happened.
    pub passed: Passed,
}

impl Network {
    /// Links with this noise.
    pub fn new(noise: Noise, dice: Dice) -> Network {
        Network { noise, dice, blocked: BTreeMap::new(), last: BTreeMap::new(), passed: Passed::default() }
    }

    /// No more noise, and delays of a good network.
    pub fn heal(&mut self) {
        let (least, most) = self.noise.delay_us;
        self.noise = Noise { delay_us: (least.min(1_000), most.min(20_000)), ..Noise::default() };
        self.blocked.clear();
    }

    /// How long a frame and its answer take, as a rule.
    pub fn round_trip(&self) -> Duration {
        let (least, most) = self.noise.delay_us;
        Duration::from_micros(least + most)
    }

    /// Blocks one direction, once more, or once less.
    pub fn block(&mut self, from: usize, to: usize, on: bool) {
        let count = self.blocked.entry((from, to)).or_default();
        *count = if on { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.blocked.remove(&(from, to));
        }
    }

    /// Whether nothing passes in this direction.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains_key(&(from, to))
    }

    /// When copies of a frame sent now arrive: none, one, or several times.
    pub fn send(&mut self, now: Duration, from: usize, to: usize, lane: u8) -> Vec<Duration> {
        self.passed.frames += 1;
        if self.is_blocked(from, to) {
            self.passed.blocked += 1;
            return Vec::new();
        }
        let noise = &self.noise;
        let (least, most) = noise.delay_us;
        if self.dice.chance(noise.loss) {
            self.passed.lost += 1;
            return Vec::new();
        }
        let arrival = now + self.dice.micros(least, most);
        let last = self.last.entry((from, to, lane)).or_default();
        let mut arrivals = Vec::with_capacity(1);
        if self.dice.chance(noise.reordering) {
            self.passed.reordered += 1;
            arrivals.push(arrival + self.dice.micros(0, 4 * most));
        } else {
            *last = arrival.max(*last + Duration::from_nanos(1));
            arrivals.push(*last);
        }
        if self.dice.chance(noise.duplication) {
            self.passed.duplicated += 1;
            arrivals.push(arrival + self.dice.micros(0, 2 * most));
        }
        if self.dice.chance(noise.replay) {
            self.passed.replayed += 1;
            arrivals.push(arrival + self.dice.millis(500, 20_000));
        }
        arrivals
    }
}
