//! The two clocks.

use crate::core::api::Now;
use quorate_types::ids::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks. The monotonic one counts from when this was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { monotonic: self.monotonic(), wall: wall() }
    }

    /// Since the start.
    pub fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment of a monotonic time.
    pub fn instant(&self, monotonic: Duration) -> Instant {
        // A core without a timer may name the end of time, which no `Instant` reaches.
        self.start.checked_add(monotonic).unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }
}

/// The wall clock. Before 1970 it reads as 1970, which the bound on clock drift then refuses.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
