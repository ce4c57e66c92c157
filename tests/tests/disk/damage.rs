//! The directory of a stopped validator, damaged: refused with cause and way out, or recovered from;
//! never skipped in silence, and never followed by a vote that contradicts an earlier one.

use crate::victim::{End, MOVE_AWAY, Victim, files, flip, length, longest, truncate};
use crate::{four, open_namespace, pulse, with};
use anyhow::{Context, Result, ensure};
use quorate_node::storage::GuardFile;
use quorate_tests::Consortium;
use quorate_types::hash::{ChainId, Hash};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is said of a database that has forgotten votes, and what is done about it.
pub(crate) const FORGOTTEN: &str = "the database may have forgotten votes";
pub(crate) const FOLLOWS: &str = "does not vote until nothing it votes can contradict them";

/// What is said of a database that holds every vote.
const WHOLE: &str = "the database holds every vote of this validator";

type Damage = fn(&Path) -> Result<()>;

async fn started(consortium: &mut Consortium) -> Result<Victim<'_>> {
    consortium.start_all().await?;
    open_namespace(consortium).await?;
    Ok(Victim::new(consortium, 3))
}

/// Files that RocksDB cannot do without, gone or cut short: each is named, and an empty database never
/// takes its place. With the directory moved away, the validator comes back.
#[test]
fn missing_files_are_refused() {
    let cases: [(&str, Damage, &[&str]); 4] = [
        (
            "CURRENT is gone",
            |data| Ok(fs::remove_file(data.join("db/CURRENT"))?),
            &["is incomplete", "db/CURRENT is missing"],
        ),
        (
            "the MANIFEST is gone",
            |data| Ok(files(data, "MANIFEST")?.iter().try_for_each(fs::remove_file)?),
            &["is incomplete", "MANIFEST"],
        ),
        ("the MANIFEST is empty", |data| truncate(&longest(data, "MANIFEST")?, 0), &["is damaged"]),
        ("a table is gone", |data| Ok(fs::remove_file(longest(data, ".sst")?)?), &["is incomplete", ".sst"]),
    ];
    with(four(), async |consortium| {
        let mut victim = started(consortium).await?;
        for (what, damage, says) in cases {
            let run = async {
                victim.works_and_ends(End::Stopped).await?;
                damage(&victim.data())?;
                victim.must_refuse(&[says, &[MOVE_AWAY]].concat()).await?;
                victim.moves_data_away()?;
                victim.starts()?;
                victim.comes_back().await
            };
            run.await.context(what)?;
        }
        victim.done().await
    });
}

/// A MANIFEST that ends early names an older state of the database, whose files are partly gone.
#[test]
fn a_manifest_cut_short_is_never_believed() {
    with(four(), async |consortium| {
        let mut victim = started(consortium).await?;
        for (part, end) in [(90, End::Stopped), (50, End::Stopped), (99, End::Killed), (60, End::Killed)] {
            let run = async {
                victim.works_and_ends(end).await?;
                let manifest = longest(&victim.data(), "MANIFEST")?;
                truncate(&manifest, length(&manifest)? * part / 100)?;
                match victim.refuses().await? {
                    Ok(log) => {
                        ensure!(log.contains(MOVE_AWAY), "{log}");
                        ensure!(log.contains("is damaged") || log.contains("is incomplete"), "{log}");
                        victim.moves_data_away()?;
                        victim.starts()?;
                    }
                    Err(before) => {
                        let log = victim.logged_since(before)?;
                        eprintln!("MANIFEST cut to {part} %, {end:?}: started: {log}");
                        ensure!(log.contains(FORGOTTEN), "it believes an older state: {log}");
                    }
                }
                victim.comes_back().await
            };
            run.await.with_context(|| format!("the MANIFEST cut to {part} %, {end:?}"))?;
        }
        victim.done().await
    });
}

/// A log torn at its end, where a crash cuts it off, is recovered; votes it held are known to be missing.
/// Torn further up, it is refused or recovered in the same way.
#[test]
fn a_torn_log_is_recovered() {
    with(four(), async |consortium| {
        let mut victim = started(consortium).await?;
        // The last record may be of a block, which comes again, or of a vote, which must be known to be gone.
        let run = async {
            victim.works_and_ends(End::Killed).await?;
            let log = longest(&victim.data(), ".log")?;
            truncate(&log, length(&log)? - 1)?;
            let before = victim.starts()?;
            victim.comes_back().await?;
            let log = victim.logged_since(before)?;
            ensure!(log.contains(FORGOTTEN) || log.contains(WHOLE), "{log}");
            Ok(())
        };
        run.await.context("the log without its last byte")?;
        for part in [95, 80] {
            let run = async {
                victim.works_and_ends(End::Killed).await?;
                let log = longest(&victim.data(), ".log")?;
                truncate(&log, length(&log)? * part / 100)?;
                let before = victim.starts()?;
                victim.logs(before, FORGOTTEN).await?;
                victim.logs(before, FOLLOWS).await?;
                victim.logs(before, "but this validator has been at view").await?;
                victim.comes_back().await
            };
            run.await.with_context(|| format!("the log cut to {part} %"))?;
        }
        for part in [60, 30, 0] {
            let run = async {
                victim.works_and_ends(End::Killed).await?;
                let log = longest(&victim.data(), ".log")?;
                truncate(&log, length(&log)? * part / 100)?;
                match victim.refuses().await? {
                    Ok(log) => {
                        ensure!(log.contains(MOVE_AWAY), "{log}");
                        victim.moves_data_away()?;
                        victim.starts()?;
                    }
                    Err(before) => victim.logs(before, FORGOTTEN).await?,
                }
                victim.comes_back().await
            };
            run.await.with_context(|| format!("the log cut to {part} %"))?;
        }
        victim.done().await
    });
}

/// A bit that flipped in the middle of the log is no torn end: what follows it was acknowledged.
#[test]
fn a_flipped_bit_in_the_log_is_refused() {
    with(four(), async |consortium| {
        let mut victim = started(consortium).await?;
        for part in [10, 50, 80] {
            let run = async {
                victim.works_and_ends(End::Killed).await?;
                let log = longest(&victim.data(), ".log")?;
                flip(&log, length(&log)? * part / 100)?;
                victim.must_refuse(&["is damaged", "Corruption", MOVE_AWAY]).await?;
                victim.moves_data_away()?;
                victim.starts()?;
                victim.comes_back().await
            };
            run.await.with_context(|| format!("a bit at {part} % of the log"))?;
        }
        victim.done().await
    });
}

/// A bit that flipped in a table is found when it is read: at the start, by whoever asks for what it
/// held, or by `quorate-node check`. It never reaches anyone as data.
#[test]
fn a_flipped_bit_in_a_table_is_found() {
    with(four(), async |consortium| {
        let mut victim = started(consortium).await?;
        victim.works_and_ends(End::Stopped).await?;
        let table = longest(&victim.data(), ".sst")?;
        flip(&table, length(&table)? / 3)?;
        victim
            .consortium
            .node(victim.index, "check", [""; 0])?
            .exits(6)?
            .says("orruption")?
            .says("move this data directory away")?;
        // A whole disk that goes bad.
        for table in files(&victim.data(), ".sst")? {
            flip(&table, length(&table)? / 3)?;
        }
        match victim.refuses().await? {
            Ok(log) => {
                ensure!(log.contains("is damaged") && log.contains(MOVE_AWAY), "{log}");
                eprintln!("every table damaged: refused");
            }
            Err(before) => {
                let given = victim.gives_everything().await;
                let why = given.err().context("everything was read, and nothing found")?;
                eprintln!(
                    "every table damaged: runs; an audit of it: {why:#}\n{}",
                    victim.logged_since(before)?
                );
                // Everyone else gives what it cannot.
                pulse(victim.consortium, 50, &mut victim.acknowledged).await?;
                if victim.consortium.ended(victim.index)?.is_none() {
                    victim.consortium.kill9(victim.index)?;
                }
            }
        }
        victim.moves_data_away()?;
        victim.starts()?;
        victim.comes_back().await?;
        victim.done().await
    });
}

/// The marker of the directory: another chain's, a newer format's, missing. Put right, all is as before.
#[test]
fn a_marker_that_is_not_ours_is_refused() {
    let other = ChainId(Hash([9; 32]));
    with(four(), async |consortium| {
        let mut victim = started(consortium).await?;
        let marker = victim.data().join("FORMAT");
        let cases: [(Option<String>, &[&str]); 4] = [
            (
                Some(format!("format = 1\nchain = \"{other}\"\n")),
                &["belongs to chain", "use the directory of this chain"],
            ),
            (
                Some("format = 2\nshards = 4\n".into()),
                &["has format 2, written by a newer version", "install the newer version again"],
            ),
            (Some("format = 1\nchain = \"".into()), &["is damaged", MOVE_AWAY]),
            (None, &["is not a Quorate data directory", "restore the FORMAT file"]),
        ];
        for (text, says) in cases {
            victim.works_and_ends(End::Killed).await?;
            let ours = fs::read_to_string(&marker)?;
            match &text {
                Some(text) => fs::write(&marker, text)?,
                None => fs::remove_file(&marker)?,
            }
            victim.must_refuse(says).await.with_context(|| format!("{text:?}"))?;
            fs::write(&marker, ours)?;
            let before = victim.starts()?;
            victim.logs(before, WHOLE).await?;
            victim.comes_back().await?;
        }
        victim.done().await
    });
}

/// The guard file: missing, destroyed, of another chain. Nothing then proves that the database is
/// complete, so the validator learns from the others before it votes. Half of it torn is what a crash
/// does, and costs nothing.
#[test]
fn without_a_guard_it_learns_first() {
    let write = |guard: &Path, at: u64, bytes: &[u8]| -> Result<()> {
        Ok(fs::File::options().write(true).open(guard)?.write_all_at(bytes, at)?)
    };
    with(four(), async |consortium| {
        let mut victim = started(consortium).await?;
        let guard = victim.guard();
        for (case, says) in [
            (0, "the guard file is missing"),
            (1, "the guard file is damaged"),
            (2, "the guard file belongs to another chain"),
            (3, "the guard file is damaged"),
        ] {
            victim.works_and_ends(End::Killed).await?;
            match case {
                0 => fs::remove_file(&guard)?,
                1 => fs::write(&guard, vec![0; usize::try_from(length(&guard)?)?])?,
                2 => {
                    fs::remove_file(&guard)?;
                    GuardFile::open(&guard, ChainId(Hash([9; 32])), None, true)?;
                }
                _ => truncate(&guard, 100)?,
            }
            for _ in 0..2 {
                // Killed before it has learned, it still knows that it must.
                let before = victim.starts()?;
                victim.logs(before, FORGOTTEN).await?;
                let log = victim.logged_since(before)?;
                ensure!(log.contains(says) || log.contains("before it had learned"), "{log}");
                victim.consortium.kill9(victim.index)?;
            }
            victim.starts()?;
            victim.comes_back().await?;
        }

        // The newer or the older half: the other one holds.
        for at in [0, 4096] {
            victim.works_and_ends(End::Killed).await?;
            write(&guard, at, &[0xff; 300])?;
            let before = victim.starts()?;
            victim.logs(before, WHOLE).await?;
            victim.comes_back().await?;
        }
        victim.done().await
    });
}
