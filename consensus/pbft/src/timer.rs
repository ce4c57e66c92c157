//! How long a view may take.

use std::time::Duration;

/// Views that may fail before timeouts grow: one faulty leader in a row, or a lost message, must not
/// slow the next view down.
const FLAT_VIEWS: u32 = 3;

/// Commits after which one such view is forgotten. Where validators have more to do than they can, a view
/// commits some blocks and then stalls for longer than the timeout; were that forgotten with the next commit,
/// every leader would be left in its turn.
const COMMITS_TO_FORGET: u32 = 32;

/// The time after which one is forgotten with the next commit, for chains that commit seldom.
const TIME_TO_FORGET: Duration = Duration::from_secs(10);

/// The timeout of views: flat at first, then doubling up to a cap, and back as blocks commit.
///
/// Without the cap, the time to recover would grow with the length of an outage.
#[derive(Debug, Clone)]
pub(crate) struct Timeout {
    base: Duration,
    cap: Duration,
    /// Views that failed or stalled and are not forgotten.
    too_short: u32,
    /// When the last of them did, or one was forgotten; and commits since then.
    since: Duration,
    commits: u32,
    failed_views: u32,
}

impl Timeout {
    pub(crate) fn new(base: Duration, cap: Duration) -> Timeout {
        Timeout { base, cap, too_short: 0, since: Duration::ZERO, commits: 0, failed_views: 0 }
    }

    /// The timeout that now applies.
    pub(crate) fn current(&self) -> Duration {
        let doublings = (self.too_short + 1).saturating_sub(FLAT_VIEWS).min(16);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// Views that failed since the last commit.
    pub(crate) fn failed_views(&self) -> u32 {
        self.failed_views
    }

    /// A view was left in which nothing was committed.
    pub(crate) fn view_failed(&mut self, now: Duration) {
        self.failed_views = self.failed_views.saturating_add(1);
        self.view_stalled(now);
    }

    /// A view was left in which something was committed, and then nothing for the timeout.
    pub(crate) fn view_stalled(&mut self, now: Duration) {
        // At the cap one more changes nothing, and would have to be forgotten all the same.
        self.too_short += u32::from(self.current() < self.cap);
        (self.since, self.commits) = (now, 0);
    }

    /// A block was committed.
    pub(crate) fn progress(&mut self, now: Duration) {
        self.failed_views = 0;
        self.commits += 1;
        let spans = now.saturating_sub(self.since).as_secs() / TIME_TO_FORGET.as_secs();
        let by_time = u32::try_from(spans).unwrap_or(u32::MAX);
        let forgotten = by_time.max(u32::from(self.commits >= COMMITS_TO_FORGET));
        if forgotten > 0 {
            self.too_short = self.too_short.saturating_sub(forgotten);
            (self.since, self.commits) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn timeout() -> Timeout {
        Timeout::new(Duration::from_millis(100), Duration::from_millis(1000))
    }

    /// One whose views failed until it was at its cap.
    fn grown() -> Timeout {
        let mut timeout = timeout();
        (0..9).for_each(|_| timeout.view_failed(START));
        timeout
    }

    #[test]
    fn flat_then_growing_then_capped() {
        let mut timeout = timeout();
        let mut seen = Vec::new();
        for _ in 0..9 {
            seen.push(timeout.current().as_millis());
            timeout.view_failed(START);
        }
        assert_eq!(seen, [100, 100, 100, 200, 400, 800, 1000, 1000, 1000]);
        assert_eq!(timeout.failed_views(), 9);
        timeout.progress(START);
        assert_eq!(timeout.failed_views(), 0);
    }

    #[test]
    fn commits_bring_it_back_however_close_together() {
        let mut timeout = grown();
        let mut seen = Vec::new();
        for _ in 0..4 * COMMITS_TO_FORGET {
            seen.push(timeout.current().as_millis());
            timeout.progress(START);
        }
        seen.push(timeout.current().as_millis());
        seen.dedup();
        assert_eq!(seen, [1000, 800, 400, 200, 100]);
    }

    #[test]
    fn time_brings_it_back_however_few_the_commits() {
        let mut timeout = grown();
        timeout.progress(START + TIME_TO_FORGET - Duration::from_millis(1));
        assert_eq!(timeout.current().as_millis(), 1000);
        timeout.progress(START + 2 * TIME_TO_FORGET);
        assert_eq!(timeout.current().as_millis(), 400);
        timeout.progress(START + 100 * TIME_TO_FORGET);
        assert_eq!(timeout.current().as_millis(), 100);
    }

    /// Views that commit a little and then stall are too short as well.
    #[test]
    fn a_few_commits_do_not_make_the_next_view_short_again() {
        let after = |commits: u32, views: u32| {
            let mut timeout = timeout();
            for _ in 0..views {
                (0..commits).for_each(|_| timeout.progress(START));
                timeout.view_stalled(START);
            }
            assert_eq!(timeout.failed_views(), 0);
            timeout.current().as_millis()
        };
        assert_eq!(after(COMMITS_TO_FORGET - 1, 4), 400);
        assert_eq!(after(COMMITS_TO_FORGET, 100), 100, "one view now and then says nothing");
    }
}
