//! The rule by which a soak fails.
//!
//! A process needs time to fill its caches, so only the second half of each process's life is judged, and
//! of each data directory's. A line is fitted through the samples of that half by the method of Theil
//! and Sen, the median of the slopes between all pairs, which a quarter of outliers does not bend: a
//! flush, a compaction, a client that caught up.
//!
//! - **Memory and open files** must not rise, over an hour at that slope, by more than
//!   [`RSS_PER_HOUR`] and [`FILES_PER_HOUR`]. In a short life a slope is mostly noise, so the rise within the half
//!   that was judged must also exceed [`RSS_NOISE`] or [`FILES_NOISE`]; and a process may rise up to [`RSS_FILLED`] and
//!   [`FILES_FILLED`] as fast as it likes, for so much its caches and buffers explain when all are full. So a
//!   slow leak shows after hours, not minutes. Lives of less than [`LEAST`] are not judged.
//! - **Disk** grows with the chain, for nothing is pruned. But its growth for each transaction must not
//!   rise: in the second half at most [`DISK_RATIO`] times that of the first, with [`DISK_NOISE`] for logs and
//!   tables that wait to be merged.

use super::sample::{Sample, float};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Bytes of memory that a process may seem to gain in an hour.
pub const RSS_PER_HOUR: f64 = 32.0 * MIB;
/// Bytes of memory that its second half must have gained for that to count.
pub const RSS_NOISE: f64 = 8.0 * MIB;
/// Bytes of memory that a process of the soak may come to use: 16 MiB of blocks read, twice 16 MiB of tables
/// to be written, 32 MiB of state pages, 48 open tables, the highest use by catching up and by serving one
/// that does, and what the allocator keeps of that.
pub const RSS_FILLED: f64 = 256.0 * MIB;
/// Open files that it may come to have: 48 tables, logs, sockets of clients and peers.
pub const FILES_FILLED: f64 = 128.0;
/// Open files that a process may seem to gain in an hour.
pub const FILES_PER_HOUR: f64 = 64.0;
/// Open files that its second half must have gained for that to count.
pub const FILES_NOISE: f64 = 8.0;
/// How much more disk a transaction may take in the second half than in the first.
pub const DISK_RATIO: f64 = 1.5;
/// Bytes of disk beyond that which count as noise.
pub const DISK_NOISE: f64 = 64.0 * MIB;
/// Shorter lives are not judged.
pub const LEAST: Duration = Duration::from_secs(240);

const MIB: f64 = 1_048_576.0;
const HOUR: f64 = 3600.0;

/// Points that a line is fitted through at most: the pairs grow with their square.
const POINTS: usize = 400;

/// The judgement on one quantity of one life.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Which validator.
    pub validator: usize,
    /// What was judged.
    pub what: &'static str,
    /// What was found, in words.
    pub found: String,
    /// Whether it grows.
    pub grows: bool,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.grows { "GROWS" } else { "ok" };
        let name = crate::consortium::name(self.validator);
        write!(f, "{mark:<6} {name:<8} {:<12} {}", self.what, self.found)
    }
}

/// Judges every process and every data directory that lived long enough. Samples come in the order of
/// time.
pub fn judge(samples: &[Sample]) -> Vec<Judgement> {
    let mut processes: BTreeMap<(usize, u32), Vec<&Sample>> = BTreeMap::new();
    let mut directories: BTreeMap<(usize, u32), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        processes.entry((sample.validator, sample.pid)).or_default().push(sample);
        directories.entry((sample.validator, sample.directory)).or_default().push(sample);
    }
    let mut judgements = Vec::new();
    for ((validator, pid), life) in processes {
        let Some(half) = second_half(&life) else { continue };
        let mut rises = |what,
                         value: fn(&Sample) -> u64,
                         (most, noise, filled): (f64, f64, f64),
                         unit: f64,
                         name: &str| {
            let points: Vec<_> = half.iter().map(|s| (s.at.as_secs_f64(), float(value(s)))).collect();
            let slope = slope(&points);
            let span = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
            let (hourly, seen) = (slope * HOUR, slope * span);
            judgements.push(Judgement {
                validator,
                what,
                found: format!(
                    "process {pid}: {:+.1} {name} an hour by the last {span:.0} s, {:+.1} seen; at most {:.0} once above {:.0}",
                    hourly / unit,
                    seen / unit,
                    most / unit,
                    filled / unit
                ),
                grows: hourly > most && seen > noise && points.last().is_some_and(|last| last.1 > filled),
            });
        };
        rises("memory", |s| s.rss, (RSS_PER_HOUR, RSS_NOISE, RSS_FILLED), MIB, "MiB");
        rises("open files", |s| s.files, (FILES_PER_HOUR, FILES_NOISE, FILES_FILLED), 1.0, "files");
    }
    for ((validator, _), life) in directories {
        judgements.extend(disk(validator, &life));
    }
    judgements
}

/// The samples of the second half of a life; none if it was short.
fn second_half<'a>(life: &[&'a Sample]) -> Option<Vec<&'a Sample>> {
    let (first, last) = (life.first()?.at, life.last()?.at);
    let lived = last.saturating_sub(first);
    let middle = first + lived / 2;
    (lived >= LEAST).then(|| life.iter().copied().filter(|sample| sample.at >= middle).collect())
}

fn disk(validator: usize, life: &[&Sample]) -> Option<Judgement> {
    let second = second_half(life)?;
    let middle = second.first()?.at;
    let points = |samples: &mut dyn Iterator<Item = &&Sample>| -> Vec<(f64, f64)> {
        let point = |s: &&Sample| Some((float(s.said.as_ref()?.transactions), float(s.disk)));
        samples.filter_map(point).collect()
    };
    let before = points(&mut life.iter().filter(|sample| sample.at < middle));
    let after = points(&mut second.iter());
    let span = after.last()?.0 - after.first()?.0;
    let (early, late) = (slope(&before), slope(&after));
    let excess = (late - DISK_RATIO * early.max(0.0)) * span;
    Some(Judgement {
        validator,
        what: "disk",
        found: format!(
            "{early:.0} bytes for a transaction in the first half, {late:.0} in the second, {:.0} MiB more than \
             allowed for",
            excess.max(0.0) / MIB
        ),
        grows: excess > DISK_NOISE,
    })
}

/// The median slope between all pairs of points; 0 where there are none.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let stride = points.len().div_ceil(POINTS).max(1);
    let points: Vec<_> = points.iter().step_by(stride).collect();
    let mut slopes = Vec::new();
    for (number, (x, y)) in points.iter().enumerate() {
        for (other_x, other_y) in &points[number + 1..] {
            if other_x > x {
                slopes.push((other_y - y) / (other_x - x));
            }
        }
    }
    if slopes.is_empty() {
        return 0.0;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    slopes[slopes.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::super::sample::Said;
    use super::*;

    /// Ten minutes of one process, a sample every five seconds: memory, files and disk by time in seconds.
    fn life(rss: fn(u64) -> u64, files: fn(u64) -> u64, disk: fn(u64) -> u64) -> Vec<Sample> {
        let sample = |second: u64| Sample {
            at: Duration::from_secs(second),
            validator: 0,
            pid: 1,
            directory: 0,
            rss: rss(second),
            files: files(second),
            disk: disk(second),
            said: Some(Said {
                height: second,
                transactions: 100 * second,
                rate: 100.0,
                view: 0,
                view_changes: 0,
            }),
        };
        (0..=600).step_by(5).map(sample).collect()
    }

    fn growing(samples: &[Sample]) -> Vec<&'static str> {
        judge(samples).into_iter().filter(|judgement| judgement.grows).map(|j| j.what).collect()
    }

    const M: u64 = 1 << 20;

    /// Noise without a trend, of some mebibytes.
    fn noise(second: u64) -> u64 {
        (second * 7919) % 13 * M / 2
    }

    #[test]
    fn what_is_flat_passes() {
        let samples = life(|t| 300 * M + noise(t), |t| 180 + t % 7, |t| t * 50_000 + noise(t));
        assert_eq!(judge(&samples).len(), 3);
        assert_eq!(growing(&samples), [""; 0]);
    }

    #[test]
    fn caches_may_fill_and_outliers_do_not_count() {
        // Full after four minutes.
        let filled = |t: u64| 100 * M + t.min(240) * M / 2 + if t.is_multiple_of(50) { 300 * M } else { 0 };
        assert_eq!(growing(&life(filled, |t| 40 + t.min(250), |t| t * 50_000)), [""; 0]);
        // Still filling.
        assert_eq!(growing(&life(|t| 50 * M + t * M / 10, |t| 20 + t / 10, |t| t * 50_000)), [""; 0]);
        // Space given back by a compaction.
        let compacted = |t: u64| t * 80_000 - if t > 400 { 20 * M } else { 0 };
        assert_eq!(growing(&life(|_| M, |_| 40, compacted)), [""; 0]);
    }

    #[test]
    fn what_grows_fails() {
        // 120 MiB an hour, in the noise.
        assert_eq!(growing(&life(|t| 300 * M + t * M / 30 + noise(t), |_| 80, |t| t * 50_000)), ["memory"]);
        // A file every ten seconds.
        assert_eq!(growing(&life(|_| 200 * M, |t| 100 + t / 10, |t| t * 50_000)), ["open files"]);
        // Each transaction takes more than the one before.
        assert_eq!(growing(&life(|_| 200 * M, |_| 80, |t| t * t * 5000)), ["disk"]);
    }

    #[test]
    fn short_lives_are_not_judged() {
        let mut samples = life(|t| t * M, |t| t, |t| t * M);
        samples.truncate(40);
        assert_eq!(judge(&samples), []);
        // Two processes of five minutes, each judged by itself: the drop between them is no growth.
        let mut samples = life(|t| 300 * M + t % 300 * M / 10, |_| 80, |t| t * 50_000);
        for sample in &mut samples {
            sample.pid = if sample.at < Duration::from_secs(300) { 1 } else { 2 };
        }
        assert_eq!(growing(&samples), ["memory", "memory"]);
    }

    #[test]
    fn slopes() {
        assert!(slope(&[]).abs() < f64::EPSILON);
        assert!(slope(&[(1.0, 5.0)]).abs() < f64::EPSILON);
        let line: Vec<(f64, f64)> = (0..2000u32).map(|x| (f64::from(x), 3.0 * f64::from(x))).collect();
        assert!((slope(&line) - 3.0).abs() < 1e-9);
    }
}
