//! Telling what is late from what is lost.
//!
//! Where validators have more to do than they can, everything takes longer than any time that was fixed
//! beforehand. Whoever then repeats what only waits its turn adds to what all wait for: among 16 validators
//! on two cores, nearly every body came a second time.

use super::{QUIET, REPAIR_DELAY};
use std::time::Duration;

/// How long a body usually takes from when it is first heard of: the estimate of RFC 6298, section 2, that TCP
/// makes of its round trips, with the same weights. Only of bodies that came without being asked for, for
/// the reason given there (section 3): of a body that came from whom it was asked of, nobody knows when it
/// was sent.
///
/// A peer that sends bodies always just in time can drive it up. So it is used within bounds only, and the
/// upper one is what such a peer can make the others wait.
#[derive(Debug, Default)]
pub(super) struct Way {
    mean: Duration,
    deviation: Duration,
}

impl Way {
    /// A body took so long.
    pub(super) fn took(&mut self, time: Duration) {
        if self.mean.is_zero() {
            (self.mean, self.deviation) = (time, time / 2);
            return;
        }
        self.deviation = (self.deviation * 3 + self.mean.abs_diff(time)) / 4;
        self.mean = (self.mean * 7 + time) / 8;
    }

    /// After how long a body is no longer just late: never less than the first, nor more than the second.
    pub(super) fn patience(&self, least: Duration, most: Duration) -> Duration {
        (self.mean + self.deviation * 4).clamp(least, most)
    }
}

/// Whose turn it is to be committed. Of each member leaders take transactions in the order in which they came to
/// them, which is about that in which they came here; of a member that hands in more than its share some may
/// seem passed over, and are announced like what was lost.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When a block was last committed of which something was held here.
    committed_at: Option<Duration>,
    /// When the latest of all that were committed had come here.
    reached: Duration,
}

impl Turn {
    /// A block was committed; the latest of its transactions had come here at `came`.
    pub(super) fn committed(&mut self, came: Duration, now: Duration) {
        self.committed_at = Some(now);
        self.reached = self.reached.max(came);
    }

    /// Whether a transaction that came then waits for those before it: blocks are committed, and none that came
    /// clearly later was in one.
    pub(super) fn is_to_come(&self, came: Duration, now: Duration) -> bool {
        let commits = self.committed_at.is_some_and(|at| now.saturating_sub(at) < QUIET);
        commits && self.reached < came.saturating_add(REPAIR_DELAY)
    }
}
