//! What a node counts, read from its metrics.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// The numbers of one reading, by name with labels as they stand in the text.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads Prometheus' text format. Lines that are no numbers are passed over.
    pub fn parse(text: &str) -> Metrics {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Metrics(lines.filter_map(sample).collect())
    }

    /// The sum of a metric over all its labels.
    ///
    /// # Errors
    /// If there is none. One with labels has no sample until something happened that it counts.
    pub fn sum(&self, name: &str) -> Result<f64> {
        let of_name = self.0.range(name.to_owned()..).take_while(|(found, _)| found.starts_with(name));
        let same = of_name.filter(|(found, _)| matches!(found.as_bytes().get(name.len()), None | Some(b'{')));
        let sum = same.map(|(_, value)| *value).reduce(|sum, value| sum + value);
        sum.with_context(|| format!("a node has no metric {name}"))
    }

    /// How much a metric has grown since `earlier`, over all its labels.
    ///
    /// # Errors
    /// If one of both has none, as [`Metrics::sum`].
    pub fn growth(&self, earlier: &Metrics, name: &str) -> Result<f64> {
        Ok(self.sum(name)? - earlier.sum(name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_over_labels_and_not_over_longer_names() {
        let text = "# HELP quorate_sent Bytes\n# TYPE quorate_sent gauge\nquorate_sent{peer=\"a\"} 3\n\
                    quorate_sent{peer=\"b\"} 4.5\nquorate_sent_more 100\nquorate_height 7\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("quorate_sent").unwrap(), 7.5);
        assert_eq!(metrics.sum("quorate_height").unwrap(), 7.0);
        let earlier = Metrics::parse("quorate_height 5\n");
        assert_eq!(metrics.growth(&earlier, "quorate_height").unwrap(), 2.0);
    }

    #[test]
    fn what_is_not_there_is_not_zero() {
        let metrics = Metrics::parse("quorate_sent_more 100\nquorate_height 7\n");
        assert!(metrics.sum("quorate_sent").unwrap_err().to_string().contains("quorate_sent"));
        assert!(metrics.growth(&Metrics::default(), "quorate_height").is_err());
    }
}
