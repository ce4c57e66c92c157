//! The report: as Markdown for people, as JSON for programs.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The figures that stand at the top level of the JSON report: medians; `null` where it was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Headline {
    /// CPU time of all processes at saturation, in multiples of the floor.
    pub cpu_over_floor: Option<f64>,
    /// Committed transactions a second at saturation.
    pub committed_tps: Option<f64>,
    /// Latency at 50 % of saturation, from the scheduled submission to the verified receipt: the median.
    pub latency_p50_ms: Option<f64>,
    /// The same: what one in a hundred exceeds.
    pub latency_p99_ms: Option<f64>,
    /// From a leader's SIGKILL to the next commit in another view.
    pub view_change_ms: Option<f64>,
    /// Rate at which a validator that was away catches up, in multiples of the live rate.
    pub catch_up_ratio: Option<f64>,
    /// Rate of an audit, in multiples of the live rate.
    pub audit_ratio: Option<f64>,
}

/// One part of the report.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Its name in the JSON report, and for `--only`.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Its text, as Markdown.
    pub text: String,
    /// Its figures.
    pub figures: Value,
    /// Its pictures: file names beside the report.
    pub pictures: Vec<String>,
}

/// Everything that was measured.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The figures at the top.
    pub headline: Headline,
    /// What was measured, in order.
    pub sections: Vec<Section>,
    /// The machine, and how the load was run.
    pub circumstances: Vec<(&'static str, String)>,
}

impl Report {
    /// The JSON report: the headline at the top level, the rest nested.
    ///
    /// # Errors
    /// If a figure has no JSON form.
    pub fn json(&self) -> Result<Value> {
        let Value::Object(mut top) = serde_json::to_value(self.headline)? else {
            anyhow::bail!("the headline is no JSON object");
        };
        let circumstances: Map<String, Value> =
            self.circumstances.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        top.insert("circumstances".to_owned(), Value::Object(circumstances));
        let sections: Map<String, Value> =
            self.sections.iter().map(|section| (section.name.to_owned(), section.figures.clone())).collect();
        top.insert("sections".to_owned(), Value::Object(sections));
        Ok(Value::Object(top))
    }

    /// The Markdown report.
    pub fn markdown(&self) -> String {
        let Headline {
            cpu_over_floor,
            committed_tps,
            latency_p50_ms,
            latency_p99_ms,
            view_change_ms,
            catch_up_ratio,
            audit_ratio,
        } = self.headline;
        let rows = [
            ("CPU of all processes at saturation, × the floor", cpu_over_floor, 2),
            ("committed transactions a second at saturation", committed_tps, 0),
            ("latency at 50 % load, p50, ms", latency_p50_ms, 1),
            ("latency at 50 % load, p99, ms", latency_p99_ms, 1),
            ("leader killed to next commit, ms", view_change_ms, 0),
            ("catch-up, × the live rate", catch_up_ratio, 1),
            ("audit, × the live rate", audit_ratio, 1),
        ];
        let mut text = "# Benchmark\n\nMedians; below, ranges are in brackets.\n\n".to_owned();
        let cell = |value: Option<f64>, decimals: usize| {
            value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.decimals$}"))
        };
        let rows = rows.map(|(what, value, decimals)| vec![what.to_owned(), cell(value, decimals)]);
        text.push_str(&table(&["", ""], &rows));
        text.push('\n');
        for (name, value) in &self.circumstances {
            // Writing into a string does not fail.
            let _ = writeln!(text, "- {name}: {value}");
        }
        for Section { title, text: body, pictures, .. } in &self.sections {
            let _ = write!(text, "\n## {title}\n\n{}\n", body.trim_end());
            for picture in pictures {
                let _ = write!(text, "\n![{title}]({picture})\n");
            }
        }
        text
    }

    /// Writes `report.md` and `report.json`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("report.md", self.markdown())?;
        write("report.json", serde_json::to_string_pretty(&self.json()?)? + "\n")
    }
}

/// A table in Markdown, its columns aligned for those who read it as text.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let mut text = line(&head.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>());
    text.push_str(&line(&widths.iter().map(|w| "-".repeat(*w)).collect::<Vec<_>>()));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_stands_at_the_top_level_and_the_rest_is_nested() {
        let headline =
            Headline { cpu_over_floor: Some(1.75), committed_tps: Some(20_000.0), ..Headline::default() };
        let section =
            Section { name: "idle", title: "Idle", figures: json!({ "percent": 0.5 }), ..Section::default() };
        let report =
            Report { headline, sections: vec![section], circumstances: vec![("processors", "2".into())] };
        let json = report.json().unwrap();
        let keys = [
            "cpu_over_floor",
            "committed_tps",
            "latency_p50_ms",
            "latency_p99_ms",
            "view_change_ms",
            "catch_up_ratio",
            "audit_ratio",
        ];
        let object = json.as_object().unwrap();
        assert!(keys.iter().all(|key| object.contains_key(*key)), "{json}");
        assert_eq!(object.len(), keys.len() + 2, "{json}");
        assert_eq!(json["cpu_over_floor"], 1.75);
        assert_eq!(json["view_change_ms"], Value::Null);
        assert_eq!(json["sections"]["idle"]["percent"], 0.5);
        assert_eq!(json["circumstances"]["processors"], "2");
    }

    #[test]
    fn the_text_says_what_was_not_measured() {
        let section = Section {
            name: "idle",
            title: "Idle",
            text: "nothing".into(),
            pictures: vec!["idle.svg".into()],
            ..Section::default()
        };
        let headline = Headline { committed_tps: Some(12_345.6), ..Headline::default() };
        let text = Report { headline, sections: vec![section], ..Report::default() }.markdown();
        assert!(text.contains("12346") && text.contains("not measured"), "{text}");
        assert!(text.contains("## Idle\n\nnothing\n\n![Idle](idle.svg)\n"), "{text}");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "7".to_owned()]];
        let expected = "| x    | of y |\n| ---- | ---- |\n| a    | 10   |\n| long | 7    |\n";
        assert_eq!(table(&["x", "of y"], &rows), expected);
    }
}
