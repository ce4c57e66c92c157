//! What is done to the validators, one at a time, in turn.

use anyhow::{Context, Result};
use quorate_node::storage::GUARD_FILE;
use quorate_tests::Consortium;
use quorate_tests::consortium::name;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long a validator stays away, or still: longer than the others need to notice.
const AWAY: Duration = Duration::from_secs(15);

/// How long one that is back may need until it is ready, beside the time for blocks that it lacks.
const PATIENCE: Duration = Duration::from_secs(180);

/// Blocks a second that one that was wiped must take in at least: half of what a busy machine of two cores
/// did. The longer a soak lasts, the longer is the chain to catch up with.
const BLOCKS_A_SECOND: u64 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    Still,
    Restart,
    Wipe,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Kill, Kind::Still, Kind::Restart, Kind::Wipe];

    fn words(self) -> &'static str {
        match self {
            Kind::Kill => "killed",
            Kind::Still => "held still",
            Kind::Restart => "stopped",
            Kind::Wipe => "killed and wiped",
        }
    }
}

enum Stage {
    /// Nothing is done to anyone until then.
    Calm(Duration),
    /// This one is away until then.
    Away(usize, Kind, Duration),
    /// This one is back since then, and not ready yet.
    Returning(usize, Duration),
}

/// The schedule. The first validator is only ever held still, so that one process lives as long as the
/// soak does.
pub(crate) struct Faults {
    file: File,
    pause: Duration,
    stage: Stage,
    number: usize,
    /// How many data directories each has lost.
    directories: Vec<u32>,
}

impl Faults {
    pub(crate) fn new(path: &Path, validators: usize, pause: Duration) -> Result<Faults> {
        let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(file, "seconds,validator,what")?;
        Ok(Faults { file, pause, stage: Stage::Calm(pause), number: 0, directories: vec![0; validators] })
    }

    /// How many data directories a validator has lost.
    pub(crate) fn directory(&self, index: usize) -> u32 {
        self.directories[index]
    }

    /// Whether a validator is being held still.
    pub(crate) fn holds_still(&self, index: usize) -> bool {
        matches!(self.stage, Stage::Away(victim, Kind::Still, _) if victim == index)
    }

    fn note(&mut self, at: Duration, index: usize, what: &str) -> Result<()> {
        writeln!(self.file, "{:.1},{},{what}", at.as_secs_f64(), name(index))?;
        Ok(())
    }

    /// Does what is due; whether that was a new fault.
    pub(crate) async fn step(&mut self, consortium: &mut Consortium, at: Duration) -> Result<bool> {
        match self.stage {
            Stage::Calm(until) if at >= until => {
                let kind = Kind::ALL[self.number % Kind::ALL.len()];
                // The kinds go round with the others, one place further each time.
                let others = consortium.len() - 1;
                let round = self.number / Kind::ALL.len();
                let victim = if kind == Kind::Still && round.is_multiple_of(2) {
                    0
                } else {
                    1 + (self.number + round) % others
                };
                self.number += 1;
                self.note(at, victim, kind.words())?;
                self.strike(consortium, victim, kind).await?;
                self.stage = Stage::Away(victim, kind, at + AWAY);
                return Ok(true);
            }
            Stage::Away(victim, kind, until) if at >= until => {
                match kind {
                    Kind::Still => consortium.resume(victim)?,
                    Kind::Kill | Kind::Restart | Kind::Wipe => consortium.start(victim)?,
                }
                self.note(at, victim, "back")?;
                self.stage = Stage::Returning(victim, at);
            }
            Stage::Returning(victim, since) => match consortium.http(victim, "/readyz").await {
                Ok((200, _)) => {
                    self.note(at, victim, "ready")?;
                    self.stage = Stage::Calm(at + self.pause);
                }
                other => {
                    let chain = consortium.height().await.unwrap_or_default();
                    let patience = PATIENCE + Duration::from_secs(chain.0 / BLOCKS_A_SECOND);
                    anyhow::ensure!(
                        at < since + patience,
                        "{} is not ready {} s after it came back, at block {chain} of the chain: {other:?}; its \
                         log ends:\n{}",
                        name(victim),
                        patience.as_secs(),
                        consortium.log_tail(victim)
                    );
                }
            },
            Stage::Calm(_) | Stage::Away(..) => {}
        }
        Ok(false)
    }

    async fn strike(&mut self, consortium: &mut Consortium, victim: usize, kind: Kind) -> Result<()> {
        match kind {
            Kind::Kill => consortium.kill9(victim),
            Kind::Still => consortium.pause(victim),
            Kind::Restart => consortium.stop(victim).await,
            Kind::Wipe => {
                consortium.kill9(victim)?;
                let home = consortium.node_directory(victim);
                fs::remove_dir_all(home.join("data"))?;
                fs::remove_file(home.join(GUARD_FILE))?;
                self.directories[victim] += 1;
                Ok(())
            }
        }
    }

    /// Brings back whoever is away.
    pub(crate) async fn end(&mut self, consortium: &mut Consortium) -> Result<()> {
        if let Stage::Away(victim, kind, _) = self.stage {
            match kind {
                Kind::Still => consortium.resume(victim)?,
                Kind::Kill | Kind::Restart | Kind::Wipe => consortium.start(victim)?,
            }
        }
        consortium.all_ready().await
    }
}
