//! The samples as a picture: one panel for each quantity, one line for each validator.

use super::sample::{Sample, float};
use crate::bench::plot::colour;
use crate::consortium::name;
use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use std::fs;
use std::path::Path;
use std::time::Duration;

const WIDTH: u32 = 1200;
const PANEL: u32 = 230;
const TITLE: u32 = 46;
/// Room for the legend, right of the panels.
const LEGEND: u32 = 110;

/// One quantity of a sample, if it has it.
type Quantity = fn(&Sample) -> Option<f64>;

const MIB: f64 = 1_048_576.0;

/// Title and quantity of each panel.
const PANELS: [(&str, Quantity); 6] = [
    ("memory (resident), MiB", |s| Some(float(s.rss) / MIB)),
    ("open files", |s| Some(float(s.files))),
    ("disk, MiB", |s| Some(float(s.disk) / MIB)),
    ("height", |s| Some(float(s.said.as_ref()?.height))),
    ("transactions a second", |s| Some(s.said.as_ref()?.rate)),
    ("view", |s| Some(float(s.said.as_ref()?.view))),
];

/// Draws the samples, with a mark at the time of each fault, as an SVG file. Lines break where a
/// process ends.
///
/// # Errors
/// If there is nothing to draw, or the file cannot be written.
pub fn draw(samples: &[Sample], faults: &[Duration], title: &str, path: &Path) -> Result<()> {
    let mut text = String::new();
    svg(samples, faults, title, &mut text).map_err(|error| anyhow!("cannot draw: {error}"))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn svg(
    samples: &[Sample],
    faults: &[Duration],
    title: &str,
    text: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let end = samples.last().ok_or("there are no samples")?.at.as_secs_f64().max(1.0);
    let validators = samples.iter().map(|sample| sample.validator).max().unwrap_or(0) + 1;
    let height = TITLE + PANEL * u32::try_from(PANELS.len())?;
    let root = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(TITLE);
    head.draw(&Text::new(title.to_owned(), (16, 14), ("sans-serif", 20)))?;
    let (panels, legend) = body.split_horizontally(WIDTH - LEGEND);
    for (panel, (label, quantity)) in panels.split_evenly((PANELS.len(), 1)).iter().zip(PANELS) {
        let top = samples.iter().filter_map(quantity).fold(1.0, f64::max) * 1.08;
        let mut chart = ChartBuilder::on(panel)
            .caption(label, ("sans-serif", 15))
            .margin(6)
            .x_label_area_size(26)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|seconds| format!("{:.1} min", seconds / 60.0))
            .y_label_formatter(&|value| format!("{value:.0}"))
            .draw()?;
        let marks = faults.iter().map(|at| at.as_secs_f64());
        for at in marks {
            chart.draw_series(LineSeries::new([(at, 0.0), (at, top)], BLACK.mix(0.12)))?;
        }
        for validator in 0..validators {
            for line in lives(samples, validator) {
                let points = line.iter().filter_map(|s| Some((s.at.as_secs_f64(), quantity(s)?)));
                chart.draw_series(LineSeries::new(points, colour(validator).stroke_width(2)))?;
            }
        }
    }
    for (row, validator) in (0i32..).zip(0..validators) {
        let y = 20 + row * 22;
        legend.draw(&Rectangle::new([(8, y), (26, y + 10)], colour(validator).filled()))?;
        legend.draw(&Text::new(name(validator), (32, y - 2), ("sans-serif", 14)))?;
    }
    let y = 20 + 22 * i32::try_from(validators)?;
    legend.draw(&Rectangle::new([(16, y), (17, y + 14)], BLACK.mix(0.3).filled()))?;
    legend.draw(&Text::new("fault", (32, y), ("sans-serif", 14)))?;
    root.present()?;
    drop((head, panels, legend));
    Ok(())
}

/// The samples of one validator, process by process.
fn lives(samples: &[Sample], validator: usize) -> Vec<Vec<&Sample>> {
    let mut lives: Vec<Vec<&Sample>> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.validator == validator) {
        match lives.last_mut() {
            Some(life) if life.last().is_some_and(|last| last.pid == sample.pid) => life.push(sample),
            _ => lives.push(vec![sample]),
        }
    }
    lives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_and_validator_is_drawn() {
        let sample = |second: u64, validator, pid| Sample {
            at: Duration::from_secs(second),
            validator,
            pid,
            directory: 0,
            rss: 100 << 20,
            files: 50,
            disk: second << 20,
            said: None,
        };
        let samples: Vec<Sample> =
            (0..100).flat_map(|s| [sample(s, 0, 1), sample(s, 1, 2 + u32::from(s > 50))]).collect();
        let mut text = String::new();
        svg(&samples, &[Duration::from_secs(50)], "a soak", &mut text).unwrap();
        for (label, _) in PANELS {
            assert!(text.contains(label), "{label}");
        }
        assert!(text.contains("a soak") && text.contains("acme") && text.contains("bolt"));
        assert_eq!(lives(&samples, 1).len(), 2);
        assert!(svg(&[], &[], "nothing", &mut String::new()).is_err());
    }
}
