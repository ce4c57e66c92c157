//! Pictures of the report, as SVG files.

use anyhow::{Context, Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;
use std::fs;
use std::path::Path;

const SIZE: (u32, u32) = (900, 480);
const FONT: &str = "sans-serif";

/// The height of a bar, and the room for its name.
const ROW: u32 = 26;
const NAMES: u32 = 190;

/// Points that belong together.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// What a picture of lines shows.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// The axis to the right.
    pub x: &'a str,
    /// The axis upwards; it begins at zero.
    pub y: &'a str,
    /// Whether the axis to the right is logarithmic.
    pub logarithmic: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Colours that can be told apart, by turns.
pub(crate) fn colour(index: usize) -> RGBColor {
    const COLOURS: [RGBColor; 8] = [
        RGBColor(31, 119, 180),
        RGBColor(214, 93, 14),
        RGBColor(44, 140, 60),
        RGBColor(148, 60, 170),
        RGBColor(140, 86, 75),
        RGBColor(200, 60, 120),
        RGBColor(90, 90, 90),
        RGBColor(180, 160, 30),
    ];
    COLOURS[index % COLOURS.len()]
}

fn save(path: &Path, draw: impl FnOnce(&mut String) -> Result<(), Box<dyn Error>>) -> Result<()> {
    let mut text = String::new();
    draw(&mut text).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

impl Lines<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// If there are no points, or the file cannot be written.
    pub fn draw(&self, path: &Path) -> Result<()> {
        save(path, |text| {
            let xs = || self.lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
            let (low, high) = (xs().reduce(f64::min), xs().reduce(f64::max));
            let (Some(low), Some(high)) = (low, high) else { return Err("there are no points".into()) };
            if self.logarithmic {
                self.on((low.max(1e-9) * 0.8..high.max(1e-9) * 1.25).log_scale(), text)
            } else {
                self.on(0.0..high.max(1e-9) * 1.08, text)
            }
        })
    }

    fn on<X>(&self, x: X, text: &mut String) -> Result<(), Box<dyn Error>>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        let ys = self.lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y));
        let top = ys.fold(0.0, f64::max).max(1e-9) * 1.15;
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, (FONT, 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x, 0.0..top)?;
        let decimals = if top < 10.0 { 1 } else { 0 };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.decimals$}"))
            .draw()?;
        for (index, line) in self.lines.iter().enumerate() {
            let colour = colour(index);
            chart
                .draw_series(LineSeries::new(line.points.clone(), colour.stroke_width(2)))?
                .label(line.name.clone())
                .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled()));
            let dots = line.points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
            chart.draw_series(dots)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        drop(chart);
        root.present()?;
        Ok(())
    }
}

/// Draws bars, each with its name beside it and its value behind it.
///
/// # Errors
/// If there are none, or the file cannot be written.
pub fn bars(title: &str, unit: &str, bars: &[(String, f64)], path: &Path) -> Result<()> {
    save(path, |text| {
        let most = bars.iter().map(|(_, value)| *value).reduce(f64::max).ok_or("there are no bars")?;
        let rows = u32::try_from(bars.len())?;
        let root = SVGBackend::with_string(text, (SIZE.0, 60 + ROW * rows)).into_drawing_area();
        root.fill(&WHITE)?;
        root.draw(&Text::new(title.to_owned(), (16, 14), (FONT, 20)))?;
        let (_, body) = root.split_vertically(50);
        for (index, (area, (name, value))) in body.split_evenly((bars.len(), 1)).iter().zip(bars).enumerate()
        {
            let mut chart = ChartBuilder::on(area)
                .margin(4)
                .y_label_area_size(NAMES)
                .build_cartesian_2d(0.0..most.max(1e-9) * 1.25, 0.0..1.0)?;
            chart.draw_series([Rectangle::new([(0.0, 0.0), (*value, 1.0)], colour(index).filled())])?;
            chart.draw_series([Text::new(format!(" {value:.1} {unit}"), (*value, 0.9), (FONT, 14))])?;
            area.draw(&Text::new(name.clone(), (16, 6), (FONT, 14)))?;
        }
        root.present()?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bars_show_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.svg");
        let line = |name: &str| Line { name: name.to_owned(), points: vec![(1.0, 2.0), (1000.0, 8.0)] };
        for logarithmic in [false, true] {
            let lines = Lines {
                title: "cost",
                x: "keys",
                y: "ms",
                logarithmic,
                lines: vec![line("p50"), line("p99")],
            };
            lines.draw(&path).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            for name in ["cost", "keys", "ms", "p50", "p99", "<circle"] {
                assert!(text.contains(name), "{name} in {text}");
            }
        }
        let nothing = Lines { title: "", x: "", y: "", logarithmic: false, lines: Vec::new() };
        assert!(nothing.draw(&path).is_err());

        bars("CPU", "ms", &[("verify".to_owned(), 12.0), ("core".to_owned(), 3.25)], &path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for name in ["CPU", "verify", "12.0 ms", "core", "3.2 ms"] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(bars("CPU", "ms", &[], &path).is_err());
    }
}
