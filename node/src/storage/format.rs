//! The marker of a data directory: which format, which chain.
//!
//! A directory is created in two steps, so that a crash in between is told from damage: the marker is
//! written with `state = "creating"`, database and guard file are made, the marker is written again without it. A
//! directory found half made holds nothing yet and is made anew; a directory whose marker is complete
//! must have a complete database.

use super::OpenError;
use quorate_types::hash::ChainId;
use serde::Deserialize;
use std::io::{self, Write};
use std::path::Path;

/// The format of this version: column families and key table of [`storage`](super), the records of
/// [`core`](crate::core). It grows by one whenever an older node could not read what a newer one wrote,
/// from the first release on; until then it is 1, and a directory of an earlier state of the project is not read.
pub const FORMAT: u64 = 1;

/// The marker's name within the data directory.
pub(super) const FILE: &str = "FORMAT";

/// The name of the file that is locked while the directory is founded. It stays, and says nothing.
pub(super) const LOCK: &str = "LOCK";

/// What a directory is, judged by its marker alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Empty, or made half: nothing was ever stored.
    Nothing,
    /// A complete directory of this chain and format.
    Complete,
}

/// Only what every format has, to name a newer one whose other fields we do not know.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    #[allow(dead_code, reason = "read as Version before")]
    format: u64,
    chain: String,
    state: Option<String>,
}

/// Reads the marker of `directory`.
pub(super) fn recognise(directory: &Path, chain: &ChainId) -> Result<Found, OpenError> {
    let path = directory.to_owned();
    let malformed = |what: String| OpenError::MalformedMarker { path: directory.join(FILE), what };
    let text = match std::fs::read_to_string(directory.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if is_empty(directory)? { Ok(Found::Nothing) } else { Err(OpenError::Foreign { path }) };
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed("not text".into())),
        Err(error) => return Err(OpenError::io(&directory.join(FILE), error)),
    };
    let version: Version = toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
    if version.format > FORMAT {
        return Err(OpenError::NewerFormat { path, found: version.format, known: FORMAT });
    }
    if version.format < FORMAT {
        return Err(malformed(format!("format {} never existed", version.format)));
    }
    let marker: Marker = toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
    let found: ChainId = marker.chain.parse().map_err(|error| malformed(format!("chain: {error}")))?;
    if found != *chain {
        return Err(OpenError::WrongChain { path, found, expected: *chain });
    }
    match marker.state.as_deref() {
        None => Ok(Found::Complete),
        Some("creating") => Ok(Found::Nothing),
        Some(other) => Err(malformed(format!("unknown state {other:?}"))),
    }
}

/// Writes the marker: whole or not at all, and synced.
pub(super) fn write(directory: &Path, chain: &ChainId, complete: bool) -> Result<(), OpenError> {
    let path = directory.join(FILE);
    let state = if complete { "" } else { "state = \"creating\"\n" };
    let text = format!(
        "# A Quorate data directory. Do not edit: the node refuses to start on what it does not know.\n\
         format = {FORMAT}\nchain = \"{chain}\"\n{state}"
    );
    let replace = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        super::sync_parent(&path)
    };
    replace().map_err(|error| OpenError::io(&path, error))
}

/// Whether a directory holds nothing; what a file system puts into its root does not count, nor what a
/// creation leaves that was cut short before the marker.
fn is_empty(directory: &Path) -> Result<bool, OpenError> {
    let entries = std::fs::read_dir(directory).map_err(|error| OpenError::io(directory, error))?;
    for entry in entries {
        let name = entry.map_err(|error| OpenError::io(directory, error))?.file_name();
        if name != "lost+found" && name != LOCK && !name.to_string_lossy().starts_with(".tmp") {
            return Ok(false);
        }
    }
    Ok(true)
}
