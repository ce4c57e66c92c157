//! The benchmark runs, and its report has what is promised. It measures nothing here: everything is as
//! small and as short as it can be.

use anyhow::{Context, Result, ensure};
use quorate_tests::bench::report::Headline;
use quorate_tests::programs::program;
use serde_json::Value;
use std::fs;
use std::process::Command;

#[test]
fn the_benchmark_reports_its_headline() {
    if let Err(error) = run() {
        panic!("{error:?}");
    }
}

fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let output = Command::new("timeout")
        .args(["--kill-after=10", "240"])
        .arg(program("bench")?)
        .args(["--quick", "--dir", "report"])
        .current_dir(directory.path())
        // What cargo has built for the tests is measured: a build of its own would take the machine from them.
        .env_remove("CARGO")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "exit {:?}\n{said}", output.status.code());
    let report = directory.path().join("report");
    let json: Value = serde_json::from_slice(&fs::read(report.join("report.json")).context("report.json")?)?;
    // The names that are promised stand in the report's own test.
    let headline = serde_json::to_value(Headline::default())?;
    let figures = headline.as_object().context("the headline is an object")?;
    ensure!(figures.len() == 7, "{figures:?}");
    for figure in figures.keys() {
        ensure!(json[figure].as_f64().is_some_and(|value| value > 0.0), "{figure} is {}", json[figure]);
    }
    let text = fs::read_to_string(report.join("report.md")).context("report.md")?;
    ensure!(!text.to_lowercase().contains("not measured"), "something was not measured:\n{text}");
    // Every picture that the text shows is there.
    let pictures: Vec<&str> = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|p| p.ends_with(".svg"))
        .collect();
    ensure!(pictures.len() >= 2, "the report shows {} pictures", pictures.len());
    for picture in pictures {
        ensure!(
            fs::read_to_string(report.join(picture)).context(picture.to_owned())?.contains("<svg"),
            "{picture}"
        );
    }
    Ok(())
}
