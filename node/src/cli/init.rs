//! `quorate-node init`.

use super::{Failed, founding};
use clap::Args;
use quorate_genesis::address::Address;
use quorate_genesis::{MemberKeys, files};
use quorate_node::config::{self, Config, HttpAddress, example};
use quorate_node::runtime::identify;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The node's directory; made if need be
    #[arg(long, value_name = "DIR", env = "QUORATE_NODE_DIR")]
    dir: PathBuf,
    /// The genesis document, signed by every validator; copied into the node's directory
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The directory of member.key, vote.key and transport.key; used where it is
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Address and UDP port to listen on [default: every IPv4 address, and every IPv6 one as well if the genesis
    /// document names one for this validator, with the port there]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address and TCP port for metrics, health and status, or `off`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:26660")]
    http: HttpAddress,
}

/// Where a validator that others reach at this address listens. A socket of IPv6 hears IPv4 as well, but not every
/// machine has one.
fn every_address(named: &Address) -> SocketAddr {
    match named.host().parse() {
        Ok(IpAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, named.port()).into(),
        _ => (Ipv4Addr::UNSPECIFIED, named.port()).into(),
    }
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failed> {
        let founding = founding(&self.genesis)?;
        let keys = MemberKeys::load(&self.keys).map_err(Failed::usage)?;
        let me = identify(&founding, &keys).map_err(Failed::usage)?;
        let named = founding.validator(me).ok_or_else(|| Failed::failure("the validator has no card"))?;
        let listen = self.listen.unwrap_or_else(|| every_address(&named.address));

        let write_error = |path: &Path, error: io::Error| {
            Failed::failure(format!("cannot write {}: {error}", path.display()))
        };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| write_error(&self.dir, error))?;
        let keys_path = self.keys_path()?;
        self.copy_genesis()?;
        let file = self.dir.join(config::FILE);
        let text = example(listen, self.http, &keys_path);
        files::write_new(&file, &text, files::Access::Public).map_err(Failed::usage)?;
        // What was written is what `start` will read.
        Config::load(&self.dir)?;
        println!("validator {me} ({}) of chain {:?}, id {}", named.name, founding.name(), founding.chain());
        println!(
            "wrote {}; look it over, then run: quorate-node start --dir {}",
            file.display(),
            self.dir.display()
        );
        Ok(())
    }

    /// How node.toml names the keys: short if they lie in the node's own directory.
    fn keys_path(&self) -> Result<PathBuf, Failed> {
        let full = |path: &Path| {
            path.canonicalize()
                .map_err(|error| Failed::failure(format!("cannot find {}: {error}", path.display())))
        };
        let (keys, directory) = (full(&self.keys)?, full(&self.dir)?);
        Ok(keys.strip_prefix(&directory).map(Path::to_owned).unwrap_or(keys))
    }

    fn copy_genesis(&self) -> Result<(), Failed> {
        let to = self.dir.join(Config::default().genesis);
        let text = files::read_text(&self.genesis).map_err(Failed::failure)?;
        match files::read_text(&to) {
            Ok(present) if present == text => return Ok(()),
            Ok(_) => {
                return Err(Failed::usage(format!(
                    "{} is there already and differs from {}; a node's directory serves one chain: use another",
                    to.display(),
                    self.genesis.display()
                )));
            }
            Err(_) => {}
        }
        files::write_new(&to, &text, files::Access::Public).map_err(Failed::failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_listens_where_others_look_for_it() {
        for (named, listen) in [
            ("192.0.2.7:26656", "0.0.0.0:26656"),
            ("[2001:db8::7]:7000", "[::]:7000"),
            ("node1.acme.example:1", "0.0.0.0:1"),
        ] {
            let named: Address = named.parse().expect("an address");
            assert_eq!(every_address(&named).to_string(), listen);
        }
    }
}
