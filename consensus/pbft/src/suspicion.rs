//! When a leader is to be replaced.

use std::time::Duration;

/// Slow proposals in a row after which a leader is replaced.
const SLOW_PROPOSALS: u32 = 8;

/// Watches one leader during one view. A leader does not leave for what it sees of itself.
///
/// Three complaints:
/// - **stall**: a proposal was accepted, or a transaction waits and there is no proposal, and nothing
///   has committed for the view timeout;
/// - **censorship**: a transaction has waited here for the request timeout, counted from the moment
///   the view began and from the last full block, for behind full blocks waiting is honest; but not for
///   more than twice the timeout, or a leader with an accomplice could fill blocks and ignore someone;
/// - **slowness**: eight proposals in a row, none full, each came later than half the view timeout
///   after there was both a transaction to propose and room in the window. A leader that is always
///   just in time for the timeouts would otherwise set the pace of the chain.
#[derive(Debug, Clone)]
pub(crate) struct Suspicion {
    request_timeout: Duration,
    slow_after: Duration,
    slow_in_a_row: u32,
    began: Duration,
    last_full: Option<Duration>,
    /// Since when the leader could have proposed: room in the window.
    room_since: Duration,
    /// The arrival of the oldest transaction that waits here, as of the last proposal or now.
    waiting_since: Option<Duration>,
}

impl Suspicion {
    pub(crate) fn new(request_timeout: Duration, view_timeout: Duration) -> Suspicion {
        Suspicion {
            request_timeout,
            slow_after: view_timeout / 2,
            slow_in_a_row: 0,
            began: Duration::ZERO,
            last_full: None,
            room_since: Duration::ZERO,
            waiting_since: None,
        }
    }

    /// A view begins.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.began = now;
        self.room_since = now;
        self.last_full = None;
        self.slow_in_a_row = 0;
    }

    /// The oldest transaction that waits for a proposal here arrived at `since`.
    pub(crate) fn waiting(&mut self, since: Option<Duration>) {
        self.waiting_since = since;
    }

    /// Since when there has been a transaction to propose.
    pub(crate) fn waiting_since(&self) -> Option<Duration> {
        self.waiting_since
    }

    /// The window has room again.
    pub(crate) fn room(&mut self, now: Duration) {
        self.room_since = now;
    }

    /// A proposal of the leader was accepted. `full`: it is as large as blocks may be.
    pub(crate) fn proposed(&mut self, now: Duration, full: bool) {
        let since = self.waiting_since.map(|waiting| waiting.max(self.room_since).max(self.began));
        let slow = since.is_some_and(|since| now.saturating_sub(since) > self.slow_after);
        if full {
            self.last_full = Some(now);
        }
        self.slow_in_a_row = if slow && !full { self.slow_in_a_row + 1 } else { 0 };
        self.room_since = now;
    }

    /// When the oldest waiting transaction will have waited too long.
    pub(crate) fn censored_at(&self) -> Option<Duration> {
        let since = self.waiting_since?.max(self.began);
        let since = self.last_full.map_or(since, |full| since.max(full.min(since + self.request_timeout)));
        Some(since.saturating_add(self.request_timeout))
    }

    /// Whether the leader is too slow.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow_in_a_row >= SLOW_PROPOSALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn watch() -> Suspicion {
        let mut suspicion = Suspicion::new(ms(2000), ms(400));
        suspicion.begin(ms(1000));
        suspicion
    }

    #[test]
    fn a_waiting_transaction_counts_from_the_view_and_the_last_full_block() {
        let mut suspicion = watch();
        assert_eq!(suspicion.censored_at(), None);
        suspicion.waiting(Some(ms(10)));
        assert_eq!(suspicion.censored_at(), Some(ms(3000)));
        suspicion.proposed(ms(1500), false);
        assert_eq!(suspicion.censored_at(), Some(ms(3000)));
        suspicion.proposed(ms(1600), true);
        assert_eq!(suspicion.censored_at(), Some(ms(3600)));
        suspicion.proposed(ms(2900), true);
        assert_eq!(suspicion.censored_at(), Some(ms(4900)));
        suspicion.proposed(ms(4800), true);
        assert_eq!(suspicion.censored_at(), Some(ms(5000)), "full blocks put it off once, not for ever");
    }

    #[test]
    fn eight_slow_proposals_in_a_row_and_no_fewer() {
        let mut suspicion = watch();
        let mut now = ms(1000);
        for round in 0..20 {
            assert_eq!(suspicion.is_slow(), round >= 8 && round != 10, "{round}");
            suspicion.waiting(Some(now));
            now += if round == 9 { ms(100) } else { ms(250) };
            suspicion.proposed(now, false);
            if round == 10 {
                break;
            }
        }
        let mut idle = watch();
        for n in 0..20 {
            idle.proposed(ms(1000 + 1000 * n), false);
        }
        assert!(!idle.is_slow(), "nothing waited, so nothing was slow");
    }
}
