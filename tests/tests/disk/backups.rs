//! Backups: old ones under a live key, and ones that were taken while the validator ran.

use crate::damage::{FOLLOWS, FORGOTTEN};
use crate::victim::{End, MOVE_AWAY, Victim, copy};
use crate::{SOON, four, load, open_namespace, with};
use anyhow::{Context, Result, ensure};
use quorate_tests::wait;
use std::fs;

/// With all others held still, so that nobody can teach it, the victim starts and says that it does not
/// vote. Then they go on.
async fn waits_to_learn(victim: &mut Victim<'_>) -> Result<()> {
    let others: Vec<usize> = (0..victim.consortium.len()).filter(|index| *index != victim.index).collect();
    for index in &others {
        victim.consortium.pause(*index)?;
    }
    let before = victim.starts()?;
    victim.logs(before, FORGOTTEN).await?;
    victim.logs(before, FOLLOWS).await?;
    let index = victim.index;
    let said = wait::until("the victim to say that it does not vote", SOON, async || {
        match victim.consortium.http(index, "/readyz").await.map_err(|error| error.to_string())? {
            (503, why) if why.contains("follows without voting") => Ok(()),
            (code, why) => Err(format!("{code}: {why}")),
        }
    });
    said.await?;
    let status = victim.consortium.status(index).await?;
    ensure!(status.phase == "learning", "it is {}", status.phase);
    for index in &others {
        victim.consortium.resume(*index)?;
    }
    Ok(())
}

/// The data directory as it was a while ago, under the guard file of today; and the whole directory as it
/// was, put in the place of the one that was there. Both look whole. Neither is trusted with votes.
#[test]
fn an_old_backup_under_a_live_key_learns_first() {
    with(four(), async |consortium| {
        consortium.start_all().await?;
        open_namespace(consortium).await?;
        let mut victim = Victim::new(consortium, 3);

        victim.works_and_ends(End::Stopped).await?;
        let backup = victim.home().join("backup");
        copy(&victim.data(), &backup)?;
        victim.starts()?;
        victim.comes_back().await?;
        victim.works_and_ends(End::Killed).await?;
        victim.moves_data_away()?;
        fs::rename(&backup, victim.data())?;
        waits_to_learn(&mut victim).await?;
        victim.comes_back().await.context("old data under the guard file of today")?;

        // As one restores after a disk was lost: the old directory is no more, so the new one may well
        // get the same inodes.
        victim.works_and_ends(End::Stopped).await?;
        let home = victim.home();
        let backup = home.with_file_name("backup");
        copy(&home, &backup)?;
        victim.starts()?;
        victim.comes_back().await?;
        victim.works_and_ends(End::Killed).await?;
        fs::remove_dir_all(&home)?;
        copy(&backup, &home)?;
        waits_to_learn(&mut victim).await?;
        victim.logs(0, "the directory is a copy, perhaps an old backup put back in place").await?;
        victim.comes_back().await.context("an old copy of everything")?;
        victim.done().await
    });
}

/// The files of a running validator, copied one after the other under load: what was copied is refused
/// for what it lacks, or it is the chain up to some height, all of it, from which the validator goes on.
#[test]
fn a_backup_taken_while_running_is_consistent() {
    with(four(), async |consortium| {
        consortium.start_all().await?;
        open_namespace(consortium).await?;
        let mut victim = Victim::new(consortium, 3);
        let mut restored = 0;
        for round in 0..3 {
            let backup = victim.home().join(format!("backup-{round}"));
            let mut load = load(victim.consortium)?;
            load.progresses(300, SOON).await?;
            let height = victim.consortium.status(victim.index).await?.height;
            copy(&victim.data(), &backup)?;
            load.progresses(100, SOON).await?;
            let (_, more) = load.stop().await?;
            victim.acknowledged.extend(more);
            victim.consortium.kill9(victim.index)?;
            victim.moves_data_away()?;
            fs::rename(&backup, victim.data())?;

            match victim.refuses().await? {
                Ok(log) => {
                    eprintln!("round {round}: refused: {log}");
                    ensure!(log.contains(MOVE_AWAY), "{log}");
                    victim.moves_data_away()?;
                    victim.starts()?;
                }
                Err(before) => {
                    restored += 1;
                    victim.logs(before, FORGOTTEN).await?;
                    let log = victim.logged_since(before)?;
                    let stored = log.split("the chain as stored here height=").nth(1).unwrap_or_default();
                    let stored = stored.split_whitespace().next().unwrap_or_default();
                    let stored: u64 = stored.parse().with_context(|| format!("a height in {log}"))?;
                    ensure!(stored >= height.0, "block {} was stored, the backup ends at {stored}", height.0);
                }
            }
            victim.comes_back().await.with_context(|| format!("round {round}"))?;
        }
        eprintln!("{restored} of 3 backups could be restored");
        victim.done().await
    });
}
