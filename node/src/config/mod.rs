//! The configuration: one TOML file, `node.toml`, in the node's directory.
//!
//! A flag on the command line wins over an environment variable, which wins over the file, which wins
//! over the default. Nothing here is agreed between validators: whatever they must agree on stands
//! in the genesis document. Unknown and impossible settings are refused with file, line and column.
//!
//! [`example`] writes the file with every setting, its unit, its meaning and its default.

mod example;
mod values;

pub use example::example;
pub use values::{ByteSize, HttpAddress, LogFormat, LogLevel};

use quorate_genesis::address::Address;
use quorate_types::member::check_name;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The file's name in the node's directory.
pub const FILE: &str = "node.toml";

/// The port that validators use unless told otherwise: UDP.
pub const DEFAULT_PORT: u16 = 26656;

/// No honest configuration is longer, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there.
    #[error("{} does not exist; make it with `quorate-node init`, or name the node's directory with --dir", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something in the file is wrong; the text names line and column and shows the line.
    #[error("{}: {what}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
}

/// Everything that an operator may choose for one node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The genesis document, relative to the node's directory. Default `genesis.toml`.
    pub genesis: PathBuf,
    /// The directory of the key files, relative to the node's directory. Default `keys`.
    pub keys: PathBuf,
    /// The directory of the database, relative to the node's directory. Default `data`.
    pub data: PathBuf,
    /// Address and UDP port to listen on, for validators and clients. Port 0 takes any free one.
    /// Default `0.0.0.0:26656`.
    pub listen: SocketAddr,
    /// Where other validators are reached, by member name, where that differs from the genesis
    /// document. Default none.
    #[serde(deserialize_with = "peers")]
    pub peers: BTreeMap<String, Address>,
    /// The local HTTP port.
    pub http: Http,
    /// Logs.
    pub log: Log,
    /// Transactions waiting to be ordered.
    pub mempool: Mempool,
    /// The database.
    pub storage: Storage,
    /// Signature verification.
    pub verify: Verify,
    /// Serving clients.
    pub clients: Clients,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            genesis: "genesis.toml".into(),
            keys: "keys".into(),
            data: "data".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)),
            peers: BTreeMap::new(),
            http: Http::default(),
            log: Log::default(),
            mempool: Mempool::default(),
            storage: Storage::default(),
            verify: Verify::default(),
            clients: Clients::default(),
        }
    }
}

/// Section `[http]`: metrics, health and status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and TCP port, or `off`. Anyone who reaches it may read, so keep it local.
    /// Default `127.0.0.1:26660`.
    pub address: HttpAddress,
}

impl Default for Http {
    fn default() -> Http {
        Http { address: HttpAddress::On(SocketAddr::from(([127, 0, 0, 1], 26660))) }
    }
}

/// Section `[log]`. Logs go to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,quorate_transport=debug`.
    /// Default `info`.
    pub level: LogLevel,
    /// `text` or `json`, one object a line. Default `text`.
    pub format: LogFormat,
}

/// Section `[mempool]`: bounds on transactions waiting to be ordered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mempool {
    /// Transactions in all. Default 100 000.
    pub max_transactions: NonZeroUsize,
    /// Their bytes in all. Default 128 MiB.
    #[serde(deserialize_with = "memory")]
    pub max_bytes: ByteSize,
    /// Transactions of one member. Default 40 000.
    pub max_member_transactions: NonZeroUsize,
    /// Bytes of the transactions of one member. Default 64 MiB.
    #[serde(deserialize_with = "memory")]
    pub max_member_bytes: ByteSize,
}

impl Default for Mempool {
    fn default() -> Mempool {
        let count = |n| NonZeroUsize::new(n).expect("not zero");
        Mempool {
            max_transactions: count(100_000),
            max_bytes: ByteSize(128 << 20),
            max_member_transactions: count(40_000),
            max_member_bytes: ByteSize(64 << 20),
        }
    }
}

/// Section `[storage]`: memory and files of the database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Memory for blocks read from disk, with their indexes and filters. Default 64 MiB.
    #[serde(deserialize_with = "memory")]
    pub cache_bytes: ByteSize,
    /// Memory for what is not yet in table files. Default 128 MiB.
    #[serde(deserialize_with = "memory")]
    pub write_buffer_bytes: ByteSize,
    /// Table files held open, at least 32. Default 512.
    #[serde(deserialize_with = "open_files")]
    pub max_open_files: u32,
    /// Free space on the disk below which the node stops voting and writing until there is more.
    /// Default 256 MiB.
    pub min_free_bytes: ByteSize,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage {
            cache_bytes: ByteSize(64 << 20),
            write_buffer_bytes: ByteSize(128 << 20),
            max_open_files: 512,
            min_free_bytes: ByteSize(256 << 20),
        }
    }
}

/// Section `[verify]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// Threads that verify signatures, 1 to 256; 0 for one for each two processors. Default 0.
    #[serde(deserialize_with = "threads")]
    pub threads: usize,
}

impl Verify {
    /// The number of threads, with 0 resolved to half the processors of this machine.
    pub fn threads(&self) -> usize {
        match self.threads {
            // The others are for the core, storage and the network. And the fewer take from the queue, the
            // larger are the batches, and the cheaper each signature.
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(2),
            threads => threads,
        }
    }
}

/// Section `[clients]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// Reads (state, receipts, blocks) served at once for all clients, 1 to 512; others wait. Default 16.
    #[serde(deserialize_with = "reads")]
    pub max_reads: NonZeroUsize,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients { max_reads: NonZeroUsize::new(16).expect("not zero") }
    }
}

impl Config {
    /// Reads `node.toml` in the node's directory.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(directory: &Path) -> Result<Config, ConfigError> {
        let path = directory.join(FILE);
        let read = || -> io::Result<String> {
            let size = std::fs::metadata(&path)?.len();
            if size > MAX_FILE_BYTES {
                return Err(io::Error::other(format!("{size} bytes are no configuration")));
            }
            std::fs::read_to_string(&path)
        };
        let text = read().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing { path: path.clone() },
            _ => ConfigError::Read { path: path.clone(), source },
        })?;
        Config::parse(&text).map_err(|what| ConfigError::Invalid { path, what })
    }

    /// The configuration of this text.
    ///
    /// # Errors
    /// What is wrong, with line, column and the line itself.
    pub fn parse(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }
}

/// RocksDB lays its caches out by such a number, and ends the process at one that no machine has.
fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if !(1 << 20..=1 << 40).contains(&size.0) {
        return Err(de::Error::custom(format!("{} bytes, where 1 MiB to 1024 GiB are allowed", size.0)));
    }
    Ok(size)
}

fn open_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let files = u32::deserialize(deserializer)?;
    if !(32..=1_000_000).contains(&files) {
        return Err(de::Error::custom(format!("{files} open files, where 32 to 1000000 are allowed")));
    }
    Ok(files)
}

fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let threads = usize::deserialize(deserializer)?;
    if threads > 256 {
        return Err(de::Error::custom(format!("{threads} threads, where 0 to 256 are allowed")));
    }
    Ok(threads)
}

/// Each takes a thread while it lasts, and Tokio has no more of them.
fn reads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroUsize, D::Error> {
    let reads = NonZeroUsize::deserialize(deserializer)?;
    if reads.get() > 512 {
        return Err(de::Error::custom(format!("{reads} reads at once, where 1 to 512 are allowed")));
    }
    Ok(reads)
}

fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Address>, D::Error> {
    let peers = BTreeMap::<String, Address>::deserialize(deserializer)?;
    for name in peers.keys() {
        check_name(name).map_err(de::Error::custom)?;
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn what_is_set_is_taken() {
        let text = r#"
            listen = "127.0.0.1:9000"
            [peers]
            acme = "acme.example:26656"
            [http]
            address = "off"
            [log]
            level = "debug"
            format = "json"
            [mempool]
            max_bytes = "2 MiB"
            max_transactions = 7
            [storage]
            min_free_bytes = 1048576
        "#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.listen.port(), 9000);
        assert_eq!(config.peers["acme"].to_string(), "acme.example:26656");
        assert_eq!(config.http.address, HttpAddress::Off);
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.mempool.max_bytes, ByteSize(2 << 20));
        assert_eq!(config.mempool.max_transactions.get(), 7);
        assert_eq!(config.storage.min_free_bytes, ByteSize(1 << 20));
        assert_eq!(config.storage.cache_bytes, Storage::default().cache_bytes);
    }

    /// Every mistake is named with its line, whether of syntax, name, type or range.
    #[test]
    fn mistakes_are_named_with_their_line() {
        let mistakes = [
            ("listen = \n", 1, "string"),
            ("\nlistne = \"127.0.0.1:1\"", 2, "listne"),
            ("\n\nlisten = \"127.0.0.1\"", 3, "socket address"),
            ("[http]\naddress = \"localhost\"", 2, "off"),
            ("[http]\nadress = \"off\"", 2, "adress"),
            ("[mempool]\n\nmax_transactions = 0", 3, "nonzero"),
            ("[mempool]\nmax_bytes = 1000", 2, "1 MiB"),
            ("[mempool]\nmax_bytes = \"5 GB\"", 2, "GiB"),
            ("[storage]\ncache_bytes = \"1025 GiB\"", 2, "1024 GiB"),
            ("[storage]\nmax_open_files = 3", 2, "32 to"),
            ("[storage]\nmin_free_bytes = -1", 2, "-1"),
            ("[verify]\nthreads = 1000", 2, "0 to 256"),
            ("[clients]\nmax_reads = 0", 2, "nonzero"),
            ("[clients]\nmax_reads = 513", 2, "1 to 512"),
            ("[clients]\nmax_reads = 9223372036854775807", 2, "1 to 512"),
            ("[log]\nlevel = \"loud=very\"", 2, "loud"),
            ("[log]\nformat = \"xml\"", 2, "xml"),
            ("[peers]\nAcme = \"acme.example:1\"", 1, "Acme"),
            ("[peers]\nacme = \"0.0.0.0:1\"", 2, "dial"),
            ("listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"", 2, "duplicate"),
        ];
        for (text, line, what) in mistakes {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(&format!("line {line},")), "{text:?} gives {error}");
            assert!(error.contains(what), "{text:?} gives {error}");
        }
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = Config::load(dir.path()).unwrap_err();
        assert!(matches!(error, ConfigError::Missing { .. }));
        assert!(error.to_string().contains("quorate-node init"), "{error}");
    }
}
