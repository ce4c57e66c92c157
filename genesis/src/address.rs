//! Where a validator is reached.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::vec;

/// Host and UDP port of a validator: `node1.acme.example:26656`, `192.0.2.7:26656`,
/// `[2001:db8::7]:26656`.
///
/// One spelling only, since it is signed and hashed: host names in lower case, IPv6 in its shortest
/// form, ports without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    host: String,
    port: u16,
}

/// A text that is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no address: {reason}")]
pub struct AddressError {
    /// The text, cut to its first 80 characters.
    pub found: String,
    /// The rule it breaks.
    pub reason: &'static str,
}

impl Address {
    /// The host: a name, or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let refuse = |reason| Err(AddressError { found: text.chars().take(80).collect(), reason });
        let Some((host, port)) = text.rsplit_once(':') else {
            return refuse("write host:port, for instance node1.acme.example:26656");
        };
        let Some(port) = port.parse::<u16>().ok().filter(|number| *number > 0 && number.to_string() == port)
        else {
            return refuse("the port must be a number from 1 to 65535, without leading zeros");
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let ip = bracketed.unwrap_or(host).parse::<IpAddr>().ok();
        match ip {
            Some(ip) if ip.is_unspecified() || ip.is_multicast() => {
                return refuse("the others cannot dial this; give the address they reach the validator at");
            }
            Some(ip) if SocketAddr::new(ip, port).to_string() != text => {
                return refuse("write IPv6 as [2001:db8::7]:26656, in its shortest form");
            }
            Some(ip) => return Ok(Address { host: ip.to_string(), port }),
            None => {}
        }
        if is_host_name(host) {
            Ok(Address { host: host.to_owned(), port })
        } else {
            refuse("the host must be an IP address or a DNS name in lower case")
        }
    }
}

/// RFC 1123, in lower case. A last label of digits is refused: it is a mistyped IPv4 address.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_number =
        host.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= 253 && host.split('.').all(is_label) && !last_is_number
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Address, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

/// Asks DNS where the host is a name, and so blocks.
impl ToSocketAddrs for Address {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
        (self.host.as_str(), self.port).to_socket_addrs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_each() {
        for good in
            ["127.0.0.1:26656", "[::1]:1", "[2001:db8::7]:65535", "node1.acme.example:80", "localhost:9"]
        {
            let address: Address = good.parse().unwrap();
            assert_eq!(address.to_string(), good);
        }
        let long = format!("{}:1", "a".repeat(64));
        let bad = [
            "",
            "acme",
            ":1",
            "acme:",
            "acme:0",
            "acme:01",
            "acme:+1",
            "acme:65536",
            "Acme:1",
            "a b:1",
            "-a:1",
            "a-:1",
            "a..b:1",
            "300.1.1.1:1",
            "1.2.3:1",
            "::1:1",
            "[::0:1]:1",
            "[127.0.0.1]:1",
            "0.0.0.0:1",
            "[::]:1",
            "224.0.0.1:1",
            "acme.:1",
            &long,
        ];
        for bad in bad {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
