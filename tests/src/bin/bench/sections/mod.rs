//! What is measured, one subject a file.

mod saturation;

use crate::context::Bench;
use anyhow::Result;
use clap::ValueEnum;
use quorate_tests::bench::report;

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// The floor, and the headline's load at saturation
    Saturation,
}

impl Section {
    /// All, in the order in which they are measured.
    pub(crate) fn all() -> impl Iterator<Item = Section> {
        Section::value_variants().iter().copied()
    }

    /// Its name on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Saturation => "saturation",
        }
    }

    /// Whether it is measured without `--full`.
    pub(crate) fn in_headline(self) -> bool {
        match self {
            Section::Saturation => true,
        }
    }

    pub(crate) fn run(self, bench: &mut Bench) -> Result<report::Section> {
        match self {
            Section::Saturation => saturation::run(bench),
        }
    }
}
