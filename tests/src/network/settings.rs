//! Changing a validator's `node.toml`, as its operator would.

use crate::Consortium;
use anyhow::{Context, Result, anyhow};
use std::fs;
use toml::{Table, Value};

/// Rewrites a validator's `node.toml`; takes effect when it is started next.
///
/// # Errors
/// If the file cannot be read, understood or written.
pub fn change(consortium: &Consortium, index: usize, change: impl FnOnce(&mut Table)) -> Result<()> {
    let path = consortium.node_directory(index).join(quorate_node::config::FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut table: Table = text.parse().with_context(|| format!("{} is no TOML", path.display()))?;
    change(&mut table);
    let text = toml::to_string(&table)?;
    quorate_node::config::Config::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Sets `key` in `section`, which is made if need be.
pub fn set(table: &mut Table, section: &str, key: &str, value: impl Into<Value>) {
    let section = table.entry(section).or_insert_with(|| Table::new().into());
    // A section that is no table is refused when the file is parsed.
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value.into());
    }
}

/// A database that takes little memory, so that what a peer can grow stands out: 4 MiB of cache, 4 MiB
/// of write buffers.
pub fn small_database(table: &mut Table) {
    set(table, "storage", "cache_bytes", "4 MiB");
    set(table, "storage", "write_buffer_bytes", "4 MiB");
}
