//! Real input: the packages this workspace is built from, out of its own Cargo.lock.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A package as Cargo.lock names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from; none for packages of this workspace.
    pub source: Option<String>,
    /// SHA-256 of its archive; none for packages of this workspace.
    pub checksum: Option<String>,
}

impl Package {
    /// The key under which it is notarised: `name@version`.
    pub fn key(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// What is notarised under that key: JSON of checksum and source.
    pub fn value(&self) -> String {
        json!({ "checksum": self.checksum, "source": self.source }).to_string()
    }

    /// The operation that notarises it in a namespace, as `quorate bulk` reads it.
    pub fn operation(&self, namespace: &str) -> Value {
        json!({ "put": { "namespace": namespace, "key": self.key(), "value": self.value() } })
    }
}

/// The packages of a Cargo.lock, in its order.
///
/// # Errors
/// If the file cannot be read or is no Cargo.lock.
pub fn packages(lock: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    let text = std::fs::read_to_string(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("{} is no Cargo.lock", lock.display()))?;
    Ok(lock.package)
}

/// This workspace's Cargo.lock, where it was when this program was built.
pub fn own_lock() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_stands_on_hundreds_of_packages() {
        let packages = packages(&own_lock()).unwrap();
        assert!(packages.len() > 200, "{}", packages.len());
        let bincode = packages.iter().find(|package| package.name == "bincode").unwrap();
        assert_eq!(bincode.key(), "bincode@1.3.3");
        assert_eq!(bincode.checksum.as_ref().unwrap().len(), 64);
    }
}
