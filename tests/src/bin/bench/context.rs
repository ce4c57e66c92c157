//! What sections share: consortiums, loads, and what was measured before.

use crate::arguments::Arguments;
use crate::build;
use crate::progress::Progress;
use anyhow::{Error, Result};
use quorate_tests::bench::drive::{Drive, Measured, at_rate, saturate, submit_all};
use quorate_tests::bench::floor::Floor;
use quorate_tests::bench::machine;
use quorate_tests::bench::report::Report;
use quorate_tests::bench::rig::{Rig, Setup};
use quorate_tests::bench::stats::Spread;
use quorate_tests::bench::workload::{Generator, Workload, fill};
use quorate_types::parameters::Parameters;
use serde_json::{Map, Value, json};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use tokio::runtime::Runtime;

/// Members that sign, in every consortium; a workload uses the first of them.
pub(crate) const SIGNERS: usize = 16;

/// Transactions in flight while the state is filled: each has 64 operations.
const FILLING: usize = 256;

/// Transactions signed at a time while the state is filled, so that they do not take much memory.
const FILL_CHUNK: u64 = 256 * 1024;

/// Bytes of the values that the state is filled with.
const FILL_PAYLOAD: usize = 16;

/// Characters of an error in a table.
const CELL: usize = 100;

/// Transactions over which the floor is measured.
const FLOOR_SAMPLE: usize = 8192;

/// Several repetitions of one saturating load, and of the floor beside it.
#[derive(Clone)]
pub(crate) struct Saturated {
    pub(crate) runs: Vec<Measured>,
    pub(crate) floors: Vec<Floor>,
    /// Bytes of an encoded transaction.
    pub(crate) bytes: usize,
}

impl Saturated {
    /// Committed transactions a second: the median.
    pub(crate) fn rate(&self) -> f64 {
        Spread::over(&self.runs, Measured::rate).median
    }

    /// CPU time of all processes over the floor, which is the median of those measured in between.
    pub(crate) fn over_floor(&self) -> Spread {
        let floor = Spread::over(&self.floors, Floor::sum).median;
        Spread::over(&self.runs, |run| run.cpu_ms() / floor)
    }
}

pub(crate) struct Bench<'a> {
    pub(crate) arguments: Arguments,
    pub(crate) directory: PathBuf,
    pub(crate) runtime: &'a Runtime,
    pub(crate) progress: Progress,
    pub(crate) report: Report,
    /// What could not be measured: sections, and rows of sections.
    pub(crate) failed: Vec<String>,
    /// The consortium of the headline, with its state filled.
    base: Option<(Rig, Generator)>,
    /// The headline's load on it.
    saturated: Option<Saturated>,
    rigs: u32,
}

impl Bench<'_> {
    pub(crate) fn new(
        arguments: Arguments,
        directory: PathBuf,
        runtime: &Runtime,
        sections: usize,
    ) -> Bench<'_> {
        let Drive { clients, in_flight } = arguments.drive();
        let processors = thread::available_parallelism().map_or(0, usize::from);
        let mut circumstances = machine::describe(&directory, build::workspace().as_deref());
        circumstances.extend([
            ("processors", processors.to_string()),
            ("repetitions", arguments.repetitions().to_string()),
            ("seconds of one measurement", format!("{:.0}", arguments.seconds())),
            ("keys in the state", arguments.keys().to_string()),
            ("load", format!("{clients} clients, {in_flight} transactions in flight at saturation")),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        let report = Report { circumstances, ..Report::default() };
        let progress = Progress::new(sections);
        Bench {
            arguments,
            directory,
            runtime,
            progress,
            report,
            failed: Vec::new(),
            base: None,
            saturated: None,
            rigs: 0,
        }
    }

    /// Notes that a row could not be measured. The others count; the whole run fails at its end. Returns what
    /// stands in the row's place: in the table, and among the figures.
    pub(crate) fn row_failed(&mut self, what: &str, error: &Error) -> (Vec<String>, Map<String, Value>) {
        let text = format!("not measured: {error:#}");
        self.progress.say(&format!("{what}: {text}"));
        self.failed.push(format!("{} {what}", self.progress.name()));
        // A cell is one line, and no reason to make the column wide; the figures hold all of it.
        let line = text.lines().next().unwrap_or_default().replace('|', "/");
        let cell: String = line.chars().take(CELL).collect();
        let figures = [("not_measured".to_owned(), json!(format!("{error:#}")))];
        (vec![what.to_owned(), cell], figures.into_iter().collect())
    }

    /// The workload of the headline.
    pub(crate) fn headline(&self) -> Workload {
        Workload { keys: self.arguments.keys(), ..Workload::HEADLINE }
    }

    /// The usual consortium of so many validators.
    pub(crate) fn setup(&self, validators: usize) -> Setup {
        Setup { validators, signers: SIGNERS, parameters: Parameters::default() }
    }

    /// Founds a consortium. Nothing runs yet.
    pub(crate) fn found(&mut self, setup: &Setup) -> Result<Rig> {
        self.rigs += 1;
        let directory = self.directory.join(format!("consortium-{}", self.rigs));
        self.progress.say(&format!("founding {} validators", setup.validators));
        Rig::found(&directory, setup)
    }

    /// Founds and starts one.
    pub(crate) fn start(&mut self, setup: &Setup) -> Result<Rig> {
        let mut rig = self.found(setup)?;
        self.runtime.block_on(rig.start())?;
        Ok(rig)
    }

    /// Stops a consortium and removes its directory, which may be large.
    pub(crate) fn close(&self, mut rig: Rig) -> Result<()> {
        let directory = rig.consortium.directory().to_owned();
        self.runtime.block_on(rig.consortium.stop_all())?;
        drop(rig);
        Ok(fs::remove_dir_all(directory)?)
    }

    /// Puts keys into the state, by ordinary transactions of 64 operations.
    pub(crate) fn fill(&self, rig: &Rig, keys: Range<u64>, signers: Range<usize>) -> Result<()> {
        let mut start = keys.start;
        while start < keys.end {
            let end = keys.end.min(start + FILL_CHUNK);
            self.progress.say(&format!("filling the state: {start} of {} keys", keys.end));
            let supply = rig.sign(fill(start..end, signers.clone(), FILL_PAYLOAD).collect())?;
            let drive = Drive { in_flight: FILLING, ..self.arguments.drive() };
            self.runtime.block_on(submit_all(rig, supply, drive))?;
            start = end;
        }
        Ok(())
    }

    /// Takes the consortium of the headline out, to be given back with [`Bench::keep_base`]; made if need be.
    pub(crate) fn take_base(&mut self) -> Result<(Rig, Generator)> {
        if let Some(base) = self.base.take() {
            return Ok(base);
        }
        let rig = self.start(&self.setup(4))?;
        let generator = rig.generator(self.headline(), 1)?;
        self.fill(&rig, 0..self.arguments.keys(), 0..SIGNERS)?;
        Ok((rig, generator))
    }

    pub(crate) fn keep_base(&mut self, base: (Rig, Generator)) {
        self.base = Some(base);
    }

    /// The load of the headline on the consortium of the headline; measured once.
    pub(crate) fn saturated(&mut self) -> Result<Saturated> {
        if let Some(saturated) = &self.saturated {
            return Ok(saturated.clone());
        }
        let (rig, mut generator) = self.take_base()?;
        let workload = self.headline();
        let saturated = self.saturate(&rig, &mut generator, workload, self.arguments.seconds())?;
        self.keep_base((rig, generator));
        self.saturated = Some(saturated.clone());
        Ok(saturated)
    }

    /// Measures floor and saturation, several times.
    pub(crate) fn saturate(
        &self,
        rig: &Rig,
        generator: &mut Generator,
        workload: Workload,
        seconds: f64,
    ) -> Result<Saturated> {
        let validators = rig.consortium.len();
        let drive = self.arguments.drive().of(workload.operations, validators);
        // To learn about how many transactions make up the time wanted.
        self.progress.say(&format!("{workload}: trying"));
        let sample = rig.supply(generator, drive.around(FLOOR_SAMPLE))?;
        let encoded: Vec<_> =
            sample.signed.iter().take(FLOOR_SAMPLE).map(|signed| signed.bytes().clone()).collect();
        let bytes = encoded.iter().map(bytes::Bytes::len).sum::<usize>() / encoded.len().max(1);
        let mut rate = self.runtime.block_on(saturate(rig, sample, drive))?.rate();
        let (mut runs, mut floors) = (Vec::new(), Vec::new());
        let repetitions = self.arguments.repetitions();
        for repetition in 1..=repetitions {
            self.progress.say(&format!("{workload}: floor, {repetition} of {repetitions}"));
            let chain = rig.consortium.founding().chain();
            floors.push(Floor::measure(
                &chain,
                &encoded,
                rig.keys(workload.signers),
                validators,
                &self.directory,
            )?);
            self.progress.say(&format!("{workload}: saturation, {repetition} of {repetitions}"));
            let supply = rig.supply(generator, drive.around(count(rate * seconds)))?;
            let run = self.runtime.block_on(saturate(rig, supply, drive))?;
            rate = run.rate();
            runs.push(run);
        }
        Ok(Saturated { runs, floors, bytes })
    }

    /// Measures a load by schedule, several times.
    pub(crate) fn at_rate(
        &self,
        rig: &Rig,
        generator: &mut Generator,
        rate: f64,
        seconds: f64,
    ) -> Result<Vec<Measured>> {
        let repetitions = self.arguments.repetitions();
        let mut runs = Vec::new();
        for repetition in 1..=repetitions {
            self.progress.say(&format!("{rate:.0} a second, {repetition} of {repetitions}"));
            let supply = rig.supply(generator, count(rate * seconds * 4.0 / 3.0).max(100))?;
            let drive = Drive { in_flight: usize::MAX, ..self.arguments.drive() };
            runs.push(self.runtime.block_on(at_rate(rig, supply, drive, rate))?);
        }
        Ok(runs)
    }

    /// Stops what still runs.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if let Some((rig, _)) = self.base.take() {
            self.close(rig)?;
        }
        Ok(())
    }
}

/// A number of transactions.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whatever is beyond is cut off")]
pub(crate) fn count(number: f64) -> usize {
    number.clamp(0.0, 5e6) as usize
}
