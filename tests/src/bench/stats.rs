//! Several measurements of one quantity, and percentiles of many.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The least, the middle and the greatest of several measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` if there are none, or one is not a number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        if values.iter().any(|value| value.is_nan()) {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { min, median: f64::midpoint(lower, upper), max })
    }

    /// Of what `quantity` gives for each of several repetitions.
    pub fn over<T>(repetitions: &[T], quantity: impl Fn(&T) -> f64) -> Spread {
        Spread::of(repetitions.iter().map(quantity)).unwrap_or_default()
    }

    /// As text with so many decimals: the median first, then the range.
    pub fn text(&self, decimals: usize) -> String {
        let Spread { min, median, max } = self;
        format!("{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(1))
    }
}

/// Latencies, exact to the microsecond.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    micros: Vec<u64>,
    sorted: bool,
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.micros.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.sorted = false;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// Whether there are so many that one at least exceeds the latency which `per_thousand` of 1000 do not: 1000 for
    /// p99.9. Of fewer, that would be but the greatest.
    pub fn tell(&self, per_thousand: usize) -> bool {
        self.micros.len() * 1000usize.saturating_sub(per_thousand) >= 1000
    }

    /// The least latency that `per_thousand` of 1000 do not exceed, in milliseconds; 0 if there is none.
    pub fn percentile_ms(&mut self, per_thousand: usize) -> f64 {
        if !self.sorted {
            self.micros.sort_unstable();
            self.sorted = true;
        }
        let rank = (self.micros.len() * per_thousand.min(1000)).div_ceil(1000).max(1);
        self.micros.get(rank - 1).map_or(0.0, |micros| *micros as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]), Some(Spread { min: 1.0, median: 3.0, max: 9.0 }));
        assert_eq!(Spread::of([5.0]), Some(Spread { min: 5.0, median: 5.0, max: 5.0 }));
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0, f64::NAN]), None);
        let repetitions = [(1, 2.0), (2, 8.0), (3, 4.0)];
        assert_eq!(Spread::over(&repetitions, |(_, value)| *value).text(1), "4.0 (2.0 to 8.0)");
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile_ms(500), 0.0);
        for ms in (1..=1000u64).rev() {
            latencies.record(Duration::from_millis(ms));
        }
        let found = [0, 1, 500, 990, 999, 1000].map(|p| latencies.percentile_ms(p));
        assert_eq!(found, [1.0, 1.0, 500.0, 990.0, 999.0, 1000.0]);
        assert!(latencies.tell(999));
        // What comes later counts too.
        latencies.record(Duration::from_micros(2_000_500));
        assert_eq!((latencies.count(), latencies.percentile_ms(1000)), (1001, 2000.5));
    }

    #[test]
    fn few_latencies_do_not_tell_how_long_the_slowest_take() {
        let mut latencies = Latencies::default();
        assert!(!latencies.tell(500));
        for _ in 0..99 {
            latencies.record(Duration::from_millis(1));
        }
        assert!(latencies.tell(500) && !latencies.tell(990));
        latencies.record(Duration::from_millis(1));
        assert!(latencies.tell(990) && !latencies.tell(999));
    }
}
