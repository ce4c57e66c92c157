//! Whatever peers and clients send, what a machine keeps of it stays within the documented bounds.

use super::{Invariant, Observed};
use crate::simulator::consortium::Consortium;
use crate::simulator::scenario::Scenario;
use std::time::Duration;

/// The bounds, restated.
pub(super) struct Bounds {
    n: usize,
    window: usize,
    mempool: (usize, usize),
    reserve: (usize, usize),
    block_transactions: usize,
}

impl Bounds {
    pub(super) fn new(scenario: &Scenario) -> Bounds {
        let limits = Consortium::limits(scenario);
        let window = usize::try_from(scenario.parameters.window).unwrap_or(usize::MAX);
        let count = usize::try_from(scenario.parameters.max_block_transactions).unwrap_or(usize::MAX);
        let bytes = usize::try_from(scenario.parameters.max_block_bytes).unwrap_or(usize::MAX);
        Bounds {
            n: scenario.n,
            window,
            mempool: (limits.transactions, limits.bytes),
            reserve: (window.saturating_mul(count), window.saturating_mul(bytes)),
            block_transactions: count,
        }
    }
}

impl Invariant for Bounds {
    fn name(&self) -> &'static str {
        "bounded memory"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        let Observed::Stepped { footprint } = observed else { return Ok(()) };
        let replica = &footprint.replica;
        let checks = [
            ("messages of views to come", replica.future, self.n * 3 * (2 * self.window).clamp(2, 128)),
            ("heights in flight", replica.heights, 2 * self.window),
            ("own Commits on committed blocks", replica.settled, self.window),
            ("own Commits above the committed block", replica.promises, self.window),
            ("ViewChanges", replica.view_changes, self.n),
            // One more while a block is being checked.
            ("uncommitted blocks executed", footprint.pending_blocks, 8 * self.window + 1),
            ("blocks to be executed", footprint.proposals.1, self.window),
            ("transactions waiting", footprint.mempool.0, self.mempool.0.saturating_add(self.reserve.0)),
            ("bytes waiting", footprint.mempool.1, self.mempool.1.saturating_add(self.reserve.1)),
            (
                "ids missing",
                footprint.gossip.1,
                400_000 + self.window.saturating_mul(self.block_transactions).saturating_mul(8),
            ),
            ("ids remembered", footprint.gossip.2, 200_000),
            ("requests for blocks", footprint.sync.1, 8),
            ("bytes of fetched blocks", footprint.sync.0, (64 << 20) + (32 << 20)),
        ];
        match checks.iter().find(|(_, found, most)| found > most) {
            Some((what, found, most)) => {
                Err(format!("machine {machine} keeps {found} {what}, where {most} is the bound"))
            }
            None => Ok(()),
        }
    }
}
