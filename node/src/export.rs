//! The chain in a stopped node's directory, written to one file or checked in place.

use crate::config::Config;
use crate::core::records;
use crate::storage::{OpenError, RocksStore};
use quorate_client::export::{ExportError, Summary, Writer};
use quorate_genesis::Founding;
use quorate_ledger::{Store, StoreError};
use quorate_types::ids::Height;
use std::path::{Path, PathBuf};

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The data directory was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no database.
    #[error("{} holds no chain yet: the node was never started", path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// The database cannot be read.
    #[error(
        "{0}; export from another validator (`quorate export`), and move this data directory away to let the node \
         catch up anew"
    )]
    Store(#[from] StoreError),
    /// A block that must be there is not.
    #[error("the database is damaged: the block at height {0} is missing; export from another validator")]
    Missing(Height),
    /// The file cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Opens the database of a stopped node.
///
/// # Errors
/// See [`OfflineError`]; [`OpenError::InUse`] while the node runs.
pub fn open(directory: &Path, config: &Config, founding: &Founding) -> Result<RocksStore, OfflineError> {
    let data = directory.join(&config.data);
    let store = RocksStore::open_existing(&data, &founding.chain(), &config.storage)?;
    store.ok_or(OfflineError::Nothing { path: data })
}

/// Writes every committed block to `out`; tells `progress` of each height and the last one.
///
/// # Errors
/// See [`OfflineError`]. The file appears only when it is whole.
pub fn export<S: Store>(
    store: &S,
    founding: &Founding,
    out: &Path,
    mut progress: impl FnMut(Height, Height),
) -> Result<Summary, OfflineError> {
    let tip = records::committed_height(store)?;
    let mut writer = Writer::create(out, &founding.chain())?;
    let mut height = Height::GENESIS;
    while height < tip {
        height = height.next();
        let block = records::full_block(store, height)?.ok_or(OfflineError::Missing(height))?;
        writer.write(&block)?;
        progress(height, tip);
    }
    Ok(writer.finish()?)
}
