//! Latencies of any number of transactions in a few kilobytes.

use std::time::Duration;

/// Sub-buckets of each power of two: a percentile is off by at most 1/32.
const STEPS: usize = 32;
const STEP_BITS: u32 = 5;

/// Powers of two above the first [`STEPS`] microseconds: up to 2^41 µs, 25 days.
const POWERS: usize = 36;

/// A histogram of latencies, in microseconds, with logarithmic buckets.
#[derive(Debug, Clone)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { buckets: vec![0; STEPS * (POWERS + 1)], count: 0 }
    }
}

fn bucket(micros: u64) -> usize {
    if micros < STEPS as u64 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = micros.ilog2() - STEP_BITS;
    let step = usize::try_from(micros >> power).unwrap_or(STEPS) - STEPS;
    let power = usize::try_from(power).unwrap_or(POWERS);
    (STEPS * (power + 1) + step).min(STEPS * (POWERS + 1) - 1)
}

/// The least latency of a bucket.
fn least(bucket: usize) -> u64 {
    let (power, step) = (bucket / STEPS, bucket % STEPS);
    if power == 0 { step as u64 } else { ((STEPS + step) as u64) << (power - 1) }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The latency that `per_thousand` of 1000 do not exceed; `None` if none was recorded.
    pub fn percentile(&self, per_thousand: u64) -> Option<Duration> {
        let rank = (self.count * per_thousand.min(1000)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && self.count > 0 {
                return Some(Duration::from_micros(least(index)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_step() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(500), None);
        for micros in 1..=10_000u64 {
            latencies.record(Duration::from_micros(micros));
        }
        for (per_thousand, exact) in [(500, 5_000.0), (990, 9_900.0), (1000, 10_000.0)] {
            let found = latencies.percentile(per_thousand).unwrap().as_secs_f64() * 1e6;
            assert!((found / exact - 1.0).abs() < 0.04, "{per_thousand}: {found}");
        }
        latencies.record(Duration::from_secs(u64::MAX));
        assert_eq!(latencies.count(), 10_001);
    }

    #[test]
    fn buckets_ascend() {
        for micros in (0..200_000u64).chain([1 << 30, 1 << 40]) {
            let index = bucket(micros);
            assert!(least(index) <= micros);
            assert!(index + 1 >= STEPS * (POWERS + 1) || micros < least(index + 1), "{micros}");
        }
    }
}
