//! Peers that break rules: counted, logged, and disconnected when they keep at it.
//!
//! One bad frame may be an accident of versions. A peer that goes on costs the time of the verify pool
//! with each frame, so after [`TOLERATED`] within [`WINDOW`] its connection is closed and refused for a
//! while. What it signed falsely is another matter, and kept as evidence by the core.

use super::clock::Clock;
use crate::metrics::Metrics;
use quorate_transport::Node;
use quorate_types::ids::ValidatorIndex;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Faults within [`WINDOW`] before a peer is disconnected.
const TOLERATED: u32 = 20;

/// The time over which faults are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// The first ban; each further one doubles it, up to [`LONGEST_BAN`].
const FIRST_BAN: Duration = Duration::from_secs(5);

/// A fault may be ours: no peer is cut off for longer at a time.
const LONGEST_BAN: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    since: Duration,
    count: u32,
    bans: u32,
}

/// Counts, logs and disconnects peers that break rules. Keyed by validator, so at most as long as the validator set.
pub struct Faults {
    records: Mutex<BTreeMap<ValidatorIndex, Record>>,
    names: Vec<String>,
    node: Arc<Node>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Faults {
    /// None yet. `names` are the validators', by index.
    pub fn new(names: Vec<String>, node: Arc<Node>, metrics: Arc<Metrics>, clock: Clock) -> Faults {
        Faults { records: Mutex::default(), names, node, metrics, clock }
    }

    /// Notes that the peer behind this connection broke a rule.
    pub fn report(&self, peer: ValidatorIndex, what: &str) {
        let name = self.names.get(peer.as_usize()).map_or("unknown", String::as_str);
        self.metrics.fault(name);
        let now = self.clock.monotonic();
        let ban = {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            judge(records.entry(peer).or_default(), now)
        };
        match ban {
            Judgement::Log => tracing::warn!(peer = %name, %what, "a peer broke a rule"),
            Judgement::Quiet => tracing::debug!(peer = %name, %what, "a peer broke a rule again"),
            Judgement::Ban(time) => {
                tracing::warn!(peer = %name, %what, seconds = time.as_secs(), "a peer keeps breaking rules; disconnecting it");
                self.node.disconnect(peer, "too many protocol violations", time);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Log,
    Quiet,
    Ban(Duration),
}

fn judge(record: &mut Record, now: Duration) -> Judgement {
    if record.count == 0 || now.saturating_sub(record.since) > WINDOW {
        *record = Record { since: now, count: 1, bans: record.bans };
        return Judgement::Log;
    }
    record.count += 1;
    if record.count <= TOLERATED {
        return Judgement::Quiet;
    }
    let ban = FIRST_BAN.saturating_mul(1 << record.bans.min(16)).min(LONGEST_BAN);
    *record = Record { since: now, count: 0, bans: record.bans + 1 };
    Judgement::Ban(ban)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistent_offenders_are_banned_for_longer_each_time() {
        let mut record = Record::default();
        let mut bans = Vec::new();
        for _ in 0..400 {
            if let Judgement::Ban(time) = judge(&mut record, Duration::from_secs(1)) {
                bans.push(time.as_secs());
            }
        }
        assert_eq!(bans[..8], [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn rare_faults_are_only_logged() {
        let mut record = Record::default();
        for minute in 0..1000 {
            assert_eq!(judge(&mut record, Duration::from_secs(60 * minute)), Judgement::Log);
        }
    }
}
