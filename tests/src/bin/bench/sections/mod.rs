//! What is measured, one subject a file.

mod audit;
mod catch_up;
mod cold_start;
mod delays;
mod idle;
mod load;
mod profile;
mod saturation;
mod single;
mod state;
mod validators;
mod view_change;
mod workloads;

use crate::context::Bench;
use anyhow::Result;
use clap::ValueEnum;
use quorate_tests::bench::report;

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// The floor, and the headline's load at saturation
    Saturation,
    /// A flame graph of that load, by perf
    Profile,
    /// Latency and cost at 25, 50 and 75 % of saturation
    Load,
    /// CPU of a validator when nothing happens
    Idle,
    /// One submit at a time
    Single,
    /// From a leader's SIGKILL to the next commit
    ViewChange,
    /// A validator that was away
    CatchUp,
    /// The chain audited from the outside
    Audit,
    /// 1, 4, 7, 10 and 16 validators
    Validators,
    /// 10 thousand to 10 million keys
    State,
    /// One-way delays of 1, 25 and 75 ms, with window 1 and 4
    Delays,
    /// A validator that starts with a million transactions on its disk
    ColdStart,
    /// Payloads, keys, transfers, signers and operations
    Workloads,
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
            Section::Profile => "profile",
            Section::Load => "load",
            Section::Idle => "idle",
            Section::Single => "single",
            Section::ViewChange => "view-change",
            Section::CatchUp => "catch-up",
            Section::Audit => "audit",
            Section::Validators => "validators",
            Section::State => "state",
            Section::Delays => "delays",
            Section::ColdStart => "cold-start",
            Section::Workloads => "workloads",
        }
    }

    /// Whether it is measured without `--full`.
    pub(crate) fn in_headline(self) -> bool {
        match self {
            Section::Saturation
            | Section::Load
            | Section::Idle
            | Section::Single
            | Section::ViewChange
            | Section::CatchUp
            | Section::Audit => true,
            Section::Profile
            | Section::Validators
            | Section::State
            | Section::Delays
            | Section::ColdStart
            | Section::Workloads => false,
        }
    }

    pub(crate) fn run(self, bench: &mut Bench) -> Result<report::Section> {
        match self {
            Section::Saturation => saturation::run(bench),
            Section::Profile => profile::run(bench),
            Section::Load => load::run(bench),
            Section::Idle => idle::run(bench),
            Section::Single => single::run(bench),
            Section::ViewChange => view_change::run(bench),
            Section::CatchUp => catch_up::run(bench),
            Section::Audit => audit::run(bench),
            Section::Validators => validators::run(bench),
            Section::State => state::run(bench),
            Section::Delays => delays::run(bench),
            Section::ColdStart => cold_start::run(bench),
            Section::Workloads => workloads::run(bench),
        }
    }
}
