//! What a node counts, read from its metrics.

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

    /// The sum of a metric over all its labels; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        let of_name = self.0.range(name.to_owned()..).take_while(|(found, _)| found.starts_with(name));
        let same = of_name.filter(|(found, _)| matches!(found.as_bytes().get(name.len()), None | Some(b'{')));
        same.map(|(_, value)| value).sum()
    }

    /// How much a metric has grown since `earlier`, over all its labels.
    pub fn growth(&self, earlier: &Metrics, name: &str) -> f64 {
        self.sum(name) - earlier.sum(name)
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
        assert_eq!(metrics.sum("quorate_sent"), 7.5);
        assert_eq!(metrics.sum("quorate_height"), 7.0);
        assert_eq!(metrics.sum("quorate_none"), 0.0);
        assert_eq!(metrics.growth(&Metrics::parse("quorate_height 5\n"), "quorate_height"), 2.0);
    }
}
