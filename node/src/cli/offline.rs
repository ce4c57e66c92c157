//! `quorate-node export` and `quorate-node check`: what is done with a stopped node's directory.

use super::{Directory, Failed, founding};
use clap::Args;
use quorate_client::error::Exit;
use quorate_node::config::Config;
use quorate_node::core::records;
use quorate_node::export::{self, OfflineError};
use quorate_node::storage::RocksStore;
use std::io::IsTerminal;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    directory: Directory,
    /// The file to write; it appears when it is whole
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    directory: Directory,
}

impl From<OfflineError> for Failed {
    fn from(error: OfflineError) -> Failed {
        let exit = match &error {
            OfflineError::Nothing { .. } => Exit::NotFound,
            OfflineError::Store(_) | OfflineError::Missing(_) => Exit::Unverified,
            OfflineError::Open(_) | OfflineError::Export(_) => Exit::Failure,
        };
        Failed::new(exit, error)
    }
}

fn open(directory: &Directory) -> Result<(Config, quorate_genesis::Founding, RocksStore), Failed> {
    let config = directory.config()?;
    let founding = founding(&directory.dir.join(&config.genesis))?;
    let store = export::open(&directory.dir, &config, &founding)?;
    Ok((config, founding, store))
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failed> {
        let (_, founding, store) = open(&self.directory)?;
        let terminal = std::io::stderr().is_terminal();
        let summary = export::export(&store, &founding, &self.out, |height, tip| {
            if terminal && (height.0 % 512 == 0 || height == tip) {
                eprint!("\rblock {height} of {tip}");
            }
        });
        if terminal {
            eprintln!();
        }
        let summary = summary?;
        println!(
            "wrote {}: {} blocks, {} bytes, SHA-256 {}",
            self.out.display(),
            summary.blocks,
            summary.bytes,
            summary.sha256
        );
        println!("it proves itself: quorate audit --genesis <genesis document> {}", self.out.display());
        Ok(())
    }
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failed> {
        let (_, _, store) = open(&self.directory)?;
        let terminal = std::io::stderr().is_terminal();
        let entries = store.check(|column, entries| {
            if terminal {
                eprint!("\r{entries} entries, in {}        ", column.name());
            }
        });
        if terminal {
            eprintln!();
        }
        let entries = entries.map_err(OfflineError::from)?;
        let height = records::committed_height(&store).map_err(OfflineError::from)?;
        println!("{entries} entries read, every checksum good; last block {height}");
        println!("whether the chain itself is right is for `quorate audit` to say");
        Ok(())
    }
}
