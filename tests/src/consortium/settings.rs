//! Changing what `quorate-node init` wrote to a validator's node.toml.

use super::Consortium;
use anyhow::{Context, Result, ensure};
use std::fs;

impl Consortium {
    /// Sets a setting in a validator's node.toml, where it stands commented out with its default, as an
    /// operator does. `value` is TOML: a text with its quotes. It counts from the next start on.
    ///
    /// # Errors
    /// If the file names no such setting, or cannot be rewritten.
    pub fn set(&self, index: usize, setting: &str, value: &str) -> Result<()> {
        let file = self.node_directory(index).join(quorate_node::config::FILE);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut found = 0;
        let lines = text.lines().map(|line| {
            let name = line.trim_start_matches('#').split(" = ").next();
            if line.contains(" = ") && name == Some(setting) {
                found += 1;
                format!("{setting} = {value}")
            } else {
                line.to_owned()
            }
        });
        let text: Vec<String> = lines.collect();
        ensure!(found == 1, "{} names {setting} {found} times", file.display());
        fs::write(&file, text.join("\n") + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}
