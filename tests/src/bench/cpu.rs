//! CPU time of processes, and of what their threads are there for.
//!
//! A node names its threads after what they do, so that the time of the threads of one name is the time of
//! one activity.

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The unit of times in /proc: a hundredth of a second on every system that Linux runs on today.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used since it started.
#[derive(Debug, Clone, Default)]
pub struct Cpu {
    total: Duration,
    threads: BTreeMap<u32, (String, Duration)>,
}

/// What one or several processes used within a time.
#[derive(Debug, Clone, Default)]
pub struct Spent {
    /// In user and kernel mode, by all threads.
    pub total: Duration,
    /// Of that, by the threads of each name. Threads that ended meanwhile are not among them.
    pub activities: BTreeMap<String, Duration>,
}

impl Cpu {
    /// Of a process that runs.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Cpu> {
        let directory = Path::new("/proc").join(pid.to_string());
        let total = time_of(&directory.join("stat"))?;
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(directory.join("task"))? {
            let task = entry?.path();
            let number = task.file_name().and_then(|name| name.to_str()?.parse().ok());
            // One that ends just now counts in the total alone.
            let name = fs::read_to_string(task.join("comm"));
            let (Some(number), Ok(name), Ok(time)) = (number, name, time_of(&task.join("stat"))) else {
                continue;
            };
            threads.insert(number, (activity(name.trim()), time));
        }
        Ok(Cpu { total, threads })
    }

    /// What was used since `earlier`, which is of the same process.
    pub fn since(&self, earlier: &Cpu) -> Spent {
        let mut spent =
            Spent { total: self.total.saturating_sub(earlier.total), activities: BTreeMap::new() };
        for (number, (name, time)) in &self.threads {
            let before = earlier.threads.get(number).map_or(Duration::ZERO, |(_, time)| *time);
            *spent.activities.entry(name.clone()).or_default() += time.saturating_sub(before);
        }
        spent
    }
}

impl Spent {
    /// Adds what another process used.
    pub fn add(&mut self, other: &Spent) {
        self.total += other.total;
        for (name, time) in &other.activities {
            *self.activities.entry(name.clone()).or_default() += *time;
        }
    }
}

/// What a thread is there for: its name, without a number at the end.
fn activity(name: &str) -> String {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    name.trim_end_matches(['-', ':', '_']).to_owned()
}

/// User and system time in a `stat` file of /proc.
fn time_of(stat: &Path) -> Result<Duration> {
    let text = fs::read_to_string(stat).with_context(|| format!("cannot read {}", stat.display()))?;
    parse(&text).with_context(|| format!("{} has another format", stat.display()))
}

fn parse(stat: &str) -> Option<Duration> {
    // The name before may hold spaces and brackets itself.
    let (_, fields) = stat.rsplit_once(')')?;
    // utime and stime are the fields 14 and 15; the first one here is the third.
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u32>);
    let ticks = times.next()?.ok()?.checked_add(times.next()?.ok()?)?;
    Some(TICK * ticks)
}

/// Runs `work` and measures the CPU time of this whole process meanwhile.
///
/// # Errors
/// If the system does not tell.
pub fn of_process<T>(work: impl FnOnce() -> T) -> Result<(T, Duration)> {
    timed(UsageWho::RUSAGE_SELF, work)
}

/// Runs `work` and measures the CPU time of this thread meanwhile.
///
/// # Errors
/// If the system does not tell.
pub fn of_thread<T>(work: impl FnOnce() -> T) -> Result<(T, Duration)> {
    timed(UsageWho::RUSAGE_THREAD, work)
}

fn timed<T>(who: UsageWho, work: impl FnOnce() -> T) -> Result<(T, Duration)> {
    let before = used(who)?;
    let done = work();
    Ok((done, used(who)?.saturating_sub(before)))
}

fn used(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let duration = |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0));
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 7 7 20 0 3 0 100";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("12 (short) S 1 2"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn threads_of_one_kind_have_one_name() {
        let names = ["verify-1", "verify-12", "verify-votes", "rocksdb:low0", "io", "core"];
        assert_eq!(names.map(activity), ["verify", "verify", "verify-votes", "rocksdb:low", "io", "core"]);
    }

    #[test]
    fn a_thread_at_work_shows_in_its_process() {
        let before = Cpu::of(std::process::id()).unwrap();
        let work = || {
            std::thread::Builder::new()
                .name("busy-7".to_owned())
                .spawn(|| {
                    let mut sum = 0u64;
                    while used(UsageWho::RUSAGE_THREAD).unwrap() < Duration::from_millis(100) {
                        sum = std::hint::black_box(sum + 1);
                    }
                    Cpu::of(std::process::id()).unwrap()
                })
                .unwrap()
                .join()
                .unwrap()
        };
        let (after, time) = of_process(work).unwrap();
        let spent = after.since(&before);
        assert!(time >= Duration::from_millis(100), "{time:?}");
        assert!(spent.activities["busy"] >= Duration::from_millis(80), "{spent:?}");
        assert!(spent.total >= spent.activities["busy"]);
        let mut twice = spent.clone();
        twice.add(&spent);
        assert_eq!(twice.activities["busy"], spent.activities["busy"] * 2);
    }
}
