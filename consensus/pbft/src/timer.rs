//! How long a view may take.

use std::time::Duration;

/// Views that may fail before timeouts grow: one faulty leader in a row, or a lost message, must not
/// slow the next view down.
const FLAT_VIEWS: u32 = 3;

/// The timeout of views: flat at first, then doubling up to a cap, and back on progress.
///
/// Without the cap, the time to recover would grow with the length of an outage.
#[derive(Debug, Clone)]
pub(crate) struct Timeout {
    base: Duration,
    cap: Duration,
    failed_views: u32,
}

impl Timeout {
    pub(crate) fn new(base: Duration, cap: Duration) -> Timeout {
        Timeout { base, cap, failed_views: 0 }
    }

    /// The timeout that now applies.
    pub(crate) fn current(&self) -> Duration {
        let doublings = (self.failed_views + 1).saturating_sub(FLAT_VIEWS).min(16);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// Views that failed since the last progress.
    pub(crate) fn failed_views(&self) -> u32 {
        self.failed_views
    }

    pub(crate) fn view_failed(&mut self) {
        self.failed_views = self.failed_views.saturating_add(1);
    }

    pub(crate) fn progress(&mut self) {
        self.failed_views = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_then_growing_then_capped_then_back() {
        let mut timeout = Timeout::new(Duration::from_millis(100), Duration::from_millis(1000));
        let mut seen = Vec::new();
        for _ in 0..9 {
            seen.push(timeout.current().as_millis());
            timeout.view_failed();
        }
        assert_eq!(seen, [100, 100, 100, 200, 400, 800, 1000, 1000, 1000]);
        timeout.progress();
        assert_eq!(timeout.current().as_millis(), 100);
    }
}
