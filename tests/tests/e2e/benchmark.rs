//! The benchmark runs, and its report has what is promised. It measures nothing here: everything is as
//! small and as short as it can be.

use anyhow::{Context, Result, ensure};
use quorate_tests::bench::report::Headline;
use quorate_tests::programs::program;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_benchmark_reports_its_headline() {
    if let Err(error) = headline() {
        panic!("{error:?}");
    }
}

#[test]
fn the_benchmark_reports_what_else_it_measures() {
    if let Err(error) = parts() {
        panic!("{error:?}");
    }
}

/// Runs the benchmark in this directory, and returns its report's directory.
fn run(directory: &Path, arguments: &[&str]) -> Result<PathBuf> {
    let output = Command::new("timeout")
        .args(["--kill-after=10", "240"])
        .arg(program("bench")?)
        .args(["--quick", "--dir", "report"])
        .args(arguments)
        .current_dir(directory)
        // What cargo has built for the tests is measured: a build of its own would take the machine from them.
        .env_remove("CARGO")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "exit {:?}\n{said}", output.status.code());
    let report = directory.join("report");
    let text = fs::read_to_string(report.join("report.md")).context("report.md")?;
    // Every picture that the text shows is there.
    for picture in pictures(&text) {
        let drawn = fs::read_to_string(report.join(picture)).with_context(|| picture.to_owned())?;
        ensure!(drawn.contains("<svg"), "{picture}");
    }
    Ok(report)
}

/// The pictures that a report shows.
fn pictures(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| target.ends_with(".svg")).collect()
}

fn json(report: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(report.join("report.json")).context("report.json")?)?)
}

fn headline() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let report = run(directory.path(), &[])?;
    let json = json(&report)?;
    // The names that are promised stand in the report's own test.
    let headline = serde_json::to_value(Headline::default())?;
    let figures = headline.as_object().context("the headline is an object")?;
    ensure!(figures.len() == 7, "{figures:?}");
    for figure in figures.keys() {
        ensure!(json[figure].as_f64().is_some_and(|value| value > 0.0), "{figure} is {}", json[figure]);
    }
    ensure!(json["circumstances"]["kernel"].is_string(), "{}", json["circumstances"]);
    let text = fs::read_to_string(report.join("report.md"))?;
    ensure!(!text.to_lowercase().contains("not measured"), "something was not measured:\n{text}");
    let pictures = pictures(&text);
    ensure!(pictures.len() >= 2, "the report shows the pictures {pictures:?}");
    Ok(())
}

fn parts() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let parts = ["cold-start", "state", "delays", "validators"];
    // Little in flight makes loads that saturate short.
    let mut arguments = vec!["--in-flight", "512"];
    arguments.extend(parts.into_iter().flat_map(|part| ["--only", part]));
    let report = run(directory.path(), &arguments)?;
    let json = json(&report)?;
    let sections = &json["sections"];
    let positive = |pointer: &str| -> Result<()> {
        let value = sections.pointer(pointer).with_context(|| format!("no {pointer} in {sections:#}"))?;
        ensure!(value.as_f64().is_some_and(|value| value > 0.0), "{pointer} is {value}");
        Ok(())
    };
    for start in ["after_stop", "after_kill"] {
        positive(&format!("/cold-start/{start}/answers_ms/median"))?;
        positive(&format!("/cold-start/{start}/ready_ms/median"))?;
    }
    let saturated = ["tps", "cpu_ms_per_1000", "cpu_over_floor", "latency_samples", "peak_rss_mib"];
    for row in ["state/1000", "state/5000", "validators/1", "validators/4"] {
        for figure in saturated {
            positive(&format!("/{row}/{figure}/median"))?;
        }
    }
    for keys in ["1000", "5000"] {
        positive(&format!("/state/{keys}/multiple_of_the_smallest"))?;
        positive(&format!("/state/{keys}/over_floor_multiple_of_the_smallest"))?;
    }
    for validators in ["1", "4"] {
        positive(&format!("/validators/{validators}/ms_per_1000_per_validator/median"))?;
    }
    // One has no peers.
    positive("/validators/4/peer_bytes_per_tx/median")?;
    for row in ["delay_0_window_1", "delay_0_window_4", "delay_25_window_1", "delay_25_window_4"] {
        for figure in ["single_at_leader_ms", "single_at_another_ms", "latency_p50_ms", "blocks_per_second"] {
            positive(&format!("/delays/{row}/{figure}/median"))?;
        }
        positive(&format!("/delays/{row}/single_over_three_delays_and_rest"))?;
        positive(&format!("/delays/{row}/blocks_over_window_1"))?;
    }
    // Three delays at least are between a submit and its receipt.
    let slow = sections["delays"]["delay_25_window_1"]["single_at_leader_ms"]["median"].as_f64();
    ensure!(slow.is_some_and(|ms| ms > 75.0), "on slow links a submit takes {slow:?} ms");
    Ok(())
}
