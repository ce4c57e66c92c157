//! The command line.

use crate::sections::Section;
use clap::Parser;
use quorate_tests::bench::drive::Drive;
use std::path::PathBuf;

/// Measure what a consortium of real processes costs, beside what it cannot avoid
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", max_term_width = 100)]
pub(crate) struct Arguments {
    /// Everything: all workloads, numbers of validators, sizes of state and delays; takes hours
    #[arg(long, conflicts_with = "only")]
    full: bool,
    /// Only this part; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Section>,
    /// Where the report is written; what an earlier run left there is removed
    #[arg(long, value_name = "DIR", default_value = "bench")]
    pub(crate) dir: PathBuf,
    /// Repetitions of each measurement
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
    /// How long one measurement should take, in seconds
    #[arg(long, value_name = "S", default_value_t = 8.0)]
    seconds: f64,
    /// Clients that connect; they hand in what all members signed
    #[arg(long, value_name = "N", default_value_t = Drive::default().clients)]
    clients: usize,
    /// Transactions in flight at saturation; fewer where one has several operations or more than four validators
    #[arg(long, value_name = "N", default_value_t = Drive::default().in_flight)]
    in_flight: usize,
    /// Keys that are in the state before it is measured [default: 1000000, or 100000 with --only]
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// Everything as small and short as it can be: shows that it runs, measures nothing
    #[arg(long, hide = true)]
    pub(crate) quick: bool,
}

/// Transactions in flight where nothing is measured.
const QUICK_IN_FLIGHT: usize = 1024;

impl Arguments {
    /// What is measured.
    pub(crate) fn sections(&self) -> Vec<Section> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        Section::all().filter(|section| self.full || section.in_headline()).collect()
    }

    /// Whether each part is printed as soon as it is there.
    pub(crate) fn prints(&self) -> bool {
        !self.only.is_empty()
    }

    pub(crate) fn repetitions(&self) -> u32 {
        if self.quick { 1 } else { self.repetitions }
    }

    pub(crate) fn seconds(&self) -> f64 {
        if self.quick { 1.0 } else { self.seconds.clamp(1.0, 60.0) }
    }

    pub(crate) fn drive(&self) -> Drive {
        let most = if self.quick { QUICK_IN_FLIGHT } else { usize::MAX };
        Drive { clients: self.clients.max(1), in_flight: self.in_flight.clamp(1, most) }
    }

    pub(crate) fn keys(&self) -> u64 {
        let usual = match (self.quick, self.only.is_empty()) {
            (true, _) => 2_000,
            (false, true) => 1_000_000,
            (false, false) => 100_000,
        };
        self.keys.unwrap_or(usual).max(1)
    }
}
