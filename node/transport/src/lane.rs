//! Lanes, and what waits to be sent on them.

use crate::config::{Config, LaneLimits};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A class of traffic between validators, with a QUIC stream of its own in each direction. Load on one
/// lane never delays another: each has its own stream window, queue and inbox, and where packets are
/// scarce a higher lane goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Agreement. Goes first.
    Votes,
    /// Blocks and bodies that someone lacks.
    Sync,
    /// Transactions on their way. Goes last.
    Gossip,
}

impl Lane {
    /// All lanes, first to last.
    pub const ALL: [Lane; 3] = [Lane::Votes, Lane::Sync, Lane::Gossip];

    pub(crate) fn index(self) -> usize {
        match self {
            Lane::Votes => 0,
            Lane::Sync => 1,
            Lane::Gossip => 2,
        }
    }

    /// The byte with which a stream of this lane begins.
    pub(crate) fn tag(self) -> u8 {
        match self {
            Lane::Votes => 0,
            Lane::Sync => 1,
            Lane::Gossip => 2,
        }
    }

    pub(crate) fn from_tag(tag: u8) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.tag() == tag)
    }

    /// Priority of the lane's stream; QUIC sends higher ones first.
    pub(crate) fn priority(self) -> i32 {
        match self {
            Lane::Votes => 2,
            Lane::Sync => 1,
            Lane::Gossip => 0,
        }
    }
}

impl Config {
    pub(crate) fn lane(&self, lane: Lane) -> &LaneLimits {
        match lane {
            Lane::Votes => &self.votes,
            Lane::Sync => &self.sync,
            Lane::Gossip => &self.gossip,
        }
    }
}

/// What became of a frame offered to [`Node::send`](crate::Node::send).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendVerdict {
    /// Waiting to be sent. It is lost if the connection breaks first.
    Queued,
    /// Dropped: the peer is not connected, or is no peer of this node.
    NotConnected,
    /// Dropped: the queue of this peer and lane is full. What waits already is kept, in order.
    Full,
    /// Dropped: longer than the lane allows.
    TooLong,
}

/// Bytes taken from a queue for one write; a longer frame goes alone.
const BATCH_BYTES: usize = 256 * 1024;

/// What waits to be sent to one peer on one lane.
pub(crate) struct SendQueue {
    limits: LaneLimits,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    open: bool,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl SendQueue {
    pub(crate) fn new(limits: LaneLimits) -> SendQueue {
        SendQueue { limits, state: Mutex::default(), filled: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock, and the state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, frame: Bytes) -> SendVerdict {
        if frame.len() > self.limits.max_frame_bytes {
            return SendVerdict::TooLong;
        }
        let mut state = self.state();
        if !state.open {
            return SendVerdict::NotConnected;
        }
        if state.frames.len() >= self.limits.queue_frames
            || state.bytes + frame.len() > self.limits.queue_bytes
        {
            return SendVerdict::Full;
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        drop(state);
        self.filled.notify_one();
        SendVerdict::Queued
    }

    /// Takes frames for one write, at least one; waits for it. Cancelling loses nothing.
    pub(crate) async fn take(&self) -> Vec<Bytes> {
        loop {
            let batch = self.take_now();
            if !batch.is_empty() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self) -> Vec<Bytes> {
        let mut state = self.state();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(frame) = state.frames.pop_front() {
            if !batch.is_empty() && bytes + frame.len() > BATCH_BYTES {
                state.frames.push_front(frame);
                break;
            }
            bytes += frame.len();
            batch.push(frame);
        }
        state.bytes -= bytes;
        batch
    }

    pub(crate) fn len(&self) -> usize {
        self.state().frames.len()
    }

    /// Begins to accept frames.
    pub(crate) fn open(&self) {
        self.state().open = true;
    }

    /// Drops what waits, accepts nothing more, and says how many frames that cost.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.state();
        state.open = false;
        state.bytes = 0;
        std::mem::take(&mut state.frames).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LaneLimits = LaneLimits {
        max_frame_bytes: 10,
        queue_frames: 3,
        queue_bytes: 20,
        inbox_frames: 1,
        inbox_bytes: 10,
    };

    #[tokio::test]
    async fn a_queue_keeps_what_it_has_and_refuses_the_newest() {
        let queue = SendQueue::new(LIMITS);
        let frame = |n: u8| Bytes::from(vec![n; 8]);
        assert_eq!(queue.push(frame(1)), SendVerdict::NotConnected);
        queue.open();
        assert_eq!(queue.push(Bytes::from(vec![0; 11])), SendVerdict::TooLong);
        assert_eq!(queue.push(frame(1)), SendVerdict::Queued);
        assert_eq!(queue.push(frame(2)), SendVerdict::Queued);
        assert_eq!(queue.push(frame(3)), SendVerdict::Full, "24 bytes");
        assert_eq!(queue.push(Bytes::new()), SendVerdict::Queued);
        assert_eq!(queue.push(Bytes::new()), SendVerdict::Full, "four frames");
        assert_eq!(queue.take().await, [frame(1), frame(2), Bytes::new()]);
        assert_eq!(queue.push(frame(3)), SendVerdict::Queued, "room was given back");
        assert_eq!(queue.close(), 1);
        assert_eq!(queue.push(frame(4)), SendVerdict::NotConnected);
    }

    #[test]
    fn tags_name_lanes() {
        for lane in Lane::ALL {
            assert_eq!(Lane::from_tag(lane.tag()), Some(lane));
        }
        assert_eq!(Lane::from_tag(3), None);
        assert!(Lane::Votes.priority() > Lane::Sync.priority());
        assert!(Lane::Sync.priority() > Lane::Gossip.priority());
    }
}
