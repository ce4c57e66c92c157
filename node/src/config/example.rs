//! The file that `quorate-node init` writes: every setting, explained.

use super::{Config, HttpAddress};
use std::net::SocketAddr;
use std::path::Path;

/// The text of `node.toml` for a node that listens here and finds its keys there, every other setting
/// shown with its default.
pub fn example(listen: SocketAddr, http: HttpAddress, keys: &Path) -> String {
    let Config { genesis, keys: usual, data, log, mempool, storage, verify, clients, .. } = Config::default();
    let (genesis, data) = (genesis.display(), data.display());
    let comment = if keys == usual { "#" } else { "" };
    // With the quotes and escapes that TOML needs.
    let keys = toml::Value::String(keys.display().to_string());
    format!(
        r##"# A Quorate validator. Lines that begin with "#" and a setting show its default.
# Flags and environment variables of `quorate-node start` win over this file.

# Paths, relative to this file's directory.
# The genesis document, final and signed by every validator:
#genesis = "{genesis}"
# The directory of member.key, vote.key and transport.key:
{comment}keys = {keys}
# The directory of the database; nothing but the node may write to it:
#data = "{data}"

# Address and UDP port to listen on, for validators and clients.
listen = "{listen}"

# Where other validators are reached, by member name, where that differs from the genesis document.
[peers]
#acme = "acme.example:26656"

# Metrics (/metrics), health (/healthz, /readyz) and status (/status) for this machine's operator.
[http]
# Address and TCP port, or "off". It asks for no password, so keep it local.
address = "{http}"

# Logs go to standard error.
[log]
# error, warn, info, debug, trace, or a filter such as "info,quorate_transport=debug".
#level = "{level}"
# text, or json (one object a line).
#format = "{format}"

# Bounds on transactions that wait to be ordered. Sizes are bytes, or texts such as "256 MiB".
[mempool]
# Transactions in all, and their bytes.
#max_transactions = {max_transactions}
#max_bytes = "{max_bytes}"
# Transactions of one member, and their bytes: a flood from one leaves room for the others.
#max_member_transactions = {max_member_transactions}
#max_member_bytes = "{max_member_bytes}"

# Memory and files of the database.
[storage]
# Memory for what was read from disk.
#cache_bytes = "{cache}"
# Memory for what is not yet in table files. It is in the log on disk already.
#write_buffer_bytes = "{write_buffer}"
# Table files held open.
#max_open_files = {max_open_files}
# With less free space on its disk, the node stops writing and voting until there is more.
#min_free_bytes = "{min_free}"

[verify]
# Threads that verify signatures; 0 for one for each two processors.
#threads = {threads}

[clients]
# Reads (state, receipts, blocks) served at once for all clients, 1 to 512; others wait.
#max_reads = {max_reads}
"##,
        level = log.level,
        format = log.format,
        max_transactions = mempool.max_transactions,
        max_bytes = mempool.max_bytes,
        max_member_transactions = mempool.max_member_transactions,
        max_member_bytes = mempool.max_member_bytes,
        cache = storage.cache_bytes,
        write_buffer = storage.write_buffer_bytes,
        max_open_files = storage.max_open_files,
        min_free = storage.min_free_bytes,
        threads = verify.threads,
        max_reads = clients.max_reads,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Http;

    #[test]
    fn shows_every_setting_with_its_default() {
        let defaults = Config::default();
        let text = example(defaults.listen, defaults.http.address, &defaults.keys);
        assert_eq!(Config::parse(&text).unwrap(), defaults);

        // With every setting uncommented, the values are those of the defaults.
        let is_setting =
            |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
        let uncommented: Vec<&str> =
            text.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
        let mut config = Config::parse(&uncommented.join("\n")).unwrap();
        assert_eq!(config.peers.remove("acme").unwrap().to_string(), "acme.example:26656");
        assert_eq!(config, defaults);

        // Every field that the parser knows stands in the text: the parser lists them itself.
        for section in ["", "[http]", "[log]", "[mempool]", "[storage]", "[verify]", "[clients]"] {
            let error = Config::parse(&format!("{section}\nno_such_setting = 1")).unwrap_err();
            let known = error.rsplit_once("expected").unwrap().1;
            let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty(), "{error}");
            for name in names {
                assert!(
                    text.contains(&format!("{name} = ")) || text.contains(&format!("[{name}]")),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn takes_what_init_is_told() {
        let listen = "127.0.0.1:7001".parse().unwrap();
        let keys = Path::new("/srv/a \"b\"\\c");
        let config = Config::parse(&example(listen, HttpAddress::Off, keys)).unwrap();
        assert_eq!((config.listen, config.http), (listen, Http { address: HttpAddress::Off }));
        assert_eq!(config.keys, keys);
    }
}
