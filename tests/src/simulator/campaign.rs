//! Many seeds, on every core, and what they came to together.

use super::network::Passed;
use super::reach::{EXPECTED, Reach};
use super::scenario::FaultKind;
use super::{Failure, Run, Scenario, run};
use crate::adversaries::Behaviour;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What many runs came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Those that failed.
    pub failures: Vec<(u64, Failure)>,
    /// Virtual time, all together.
    pub simulated: Duration,
    /// The part of it in which nobody wanted anything.
    pub lulls: Duration,
    /// Real time.
    pub took: Duration,
    /// Events.
    pub events: u64,
    /// Blocks committed.
    pub blocks: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Runs by number of validators.
    pub sizes: BTreeMap<usize, u64>,
    /// Virtual time of runs with four validators, and the real time it took.
    pub four: (Duration, Duration),
    /// Faults by kind.
    pub injected: BTreeMap<&'static str, u64>,
    /// Frames.
    pub passed: Passed,
    /// Paths.
    pub reach: Reach,
    /// The recovery that came closest to its bound: its share of it in percent, its time, and its seed.
    pub slowest: (u128, Duration, u64),
    /// All digests, as one.
    pub digest: u64,
}

impl Summary {
    fn add(&mut self, seed: u64, n: usize, real: Duration, run: &Run) {
        self.seeds += 1;
        self.simulated += run.simulated;
        self.lulls += run.lull;
        self.events += run.events;
        self.blocks += run.blocks;
        self.transactions += run.transactions;
        *self.sizes.entry(n).or_default() += 1;
        if n == 4 {
            self.four = (self.four.0 + run.simulated, self.four.1 + real);
        }
        for (kind, count) in &run.injected {
            *self.injected.entry(kind).or_default() += count;
        }
        let (all, one) = (&mut self.passed, &run.passed);
        all.frames += one.frames;
        all.lost += one.lost;
        all.duplicated += one.duplicated;
        all.reordered += one.reordered;
        all.replayed += one.replayed;
        all.blocked += one.blocked;
        all.muted += one.muted;
        self.reach.add(&run.reach);
        if let Some((took, bound)) = run.recovery {
            let share = took.as_millis() * 100 / bound.as_millis().max(1);
            if share > self.slowest.0 {
                self.slowest = (share, took, seed);
            }
        }
        // Order of arrival differs from run to run; the sum does not.
        self.digest = self.digest.wrapping_add(run.digest.rotate_left(u32::try_from(seed % 64).unwrap_or(0)));
        if let Some(failure) = &run.failure {
            self.failures.push((seed, failure.clone()));
        }
    }

    /// Kinds of faults, lies and paths that never came up.
    pub fn missing(&self) -> Vec<&'static str> {
        let kinds = FaultKind::NAMES.into_iter().chain(Behaviour::ALL.map(Behaviour::name));
        let mut missing: Vec<&'static str> = kinds.filter(|kind| !self.injected.contains_key(kind)).collect();
        missing.extend(EXPECTED.into_iter().filter(|path| self.reach.count(path) == 0));
        missing
    }
}

/// Runs seeds until `stop` says so, on `jobs` threads; `progress` is told of each, and ends the campaign
/// by returning false.
pub fn campaign(
    seeds: impl Iterator<Item = u64>,
    jobs: usize,
    mut progress: impl FnMut(&Summary) -> bool,
) -> Summary {
    let seeds: Vec<u64> = seeds.collect();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let (done, results) = mpsc::channel();
    let started = Instant::now();
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let done = done.clone();
            let (next, stop, seeds) = (&next, &stop, &seeds);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let place = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(seed) = seeds.get(place).copied() else { return };
                    let scenario = Scenario::draw(seed);
                    let begun = Instant::now();
                    let run = run(&scenario, false);
                    if done.send((seed, scenario.n, begun.elapsed(), run)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (seed, n, real, run) in results {
            summary.add(seed, n, real, &run);
            summary.took = started.elapsed();
            if !progress(&summary) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    summary.failures.sort_unstable_by_key(|(seed, _)| *seed);
    summary
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.took.as_secs_f64() / 60.0;
        writeln!(
            f,
            "{} seeds in {:.1} s, {:.0} a minute; {:.1} simulated hours, {:.1} of them lulls; {:.0} simulated \
             seconds a second ({:.0} of one thread with 4 validators)",
            self.seeds,
            self.took.as_secs_f64(),
            self.seeds as f64 / minutes.max(1e-9),
            self.simulated.as_secs_f64() / 3600.0,
            self.lulls.as_secs_f64() / 3600.0,
            self.simulated.as_secs_f64() / self.took.as_secs_f64().max(1e-9),
            self.four.0.as_secs_f64() / self.four.1.as_secs_f64().max(1e-9),
        )?;
        writeln!(
            f,
            "{} events, {} frames, {} blocks, {} transactions; digest {:016x}",
            self.events, self.passed.frames, self.blocks, self.transactions, self.digest
        )?;
        let sizes: Vec<String> = self.sizes.iter().map(|(n, count)| format!("{n}: {count}")).collect();
        writeln!(f, "validators: {}", sizes.join(", "))?;
        let passed = &self.passed;
        writeln!(
            f,
            "frames lost {}, blocked {}, muted {}, duplicated {}, reordered {}, replayed {}",
            passed.lost, passed.blocked, passed.muted, passed.duplicated, passed.reordered, passed.replayed
        )?;
        let (share, took, seed) = self.slowest;
        writeln!(f, "slowest recovery: {} ms, {share} % of its bound (seed {seed})", took.as_millis())?;
        writeln!(f, "\nfaults and lies:")?;
        for kind in FaultKind::NAMES.into_iter().chain(Behaviour::ALL.map(Behaviour::name)) {
            writeln!(f, "{:>12}  {kind}", self.injected.get(kind).copied().unwrap_or(0))?;
        }
        writeln!(f, "\npaths reached:")?;
        for path in EXPECTED {
            writeln!(f, "{:>12}  {path}", self.reach.count(path))?;
        }
        for (path, count) in self.reach.iter().filter(|(path, _)| !EXPECTED.contains(path)) {
            writeln!(f, "{count:>12}  {path}")?;
        }
        let missing = self.missing();
        if !missing.is_empty() {
            writeln!(f, "\nnever: {}", missing.join("; "))?;
        }
        if self.failures.is_empty() {
            return writeln!(f, "\nno failures");
        }
        writeln!(f, "\n{} failures:", self.failures.len())?;
        for (seed, failure) in &self.failures {
            writeln!(
                f,
                "  seed {seed} at {} ms: {}: {}",
                failure.at.as_millis(),
                failure.invariant,
                failure.what
            )?;
        }
        Ok(())
    }
}
