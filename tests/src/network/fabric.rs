//! Validators in namespaces of their own, and the links between them.
//!
//! ```text
//!   validator 0          validator 1               each in its own namespace
//!   eth0 10.26.0.2       eth0 10.26.1.2
//!        │                    │                    veth pairs
//!   v0 10.26.0.1         v1 10.26.1.1
//!   └──────────── hub ────────┘                    forwards; clients and the test itself are here
//! ```
//!
//! Whatever one validator sends to another passes through the hub, and there through one set of nftables:
//! pairs of source and destination whose packets are dropped and counted. A change of that set is one
//! transaction of the kernel, so a partition comes and goes at one moment for everybody. Clients, and
//! the local HTTP ports that the test asks, are never cut off: a client may reach both sides of a
//! partition, which is the harder case.
//!
//! The kernel would pass what a validator sends at once to one peer as one large packet through all of this
//! (UDP segmentation offload); it is told to cut it into real packets at the validator, as a network card
//! does, so that packets are counted and dropped one by one.
//!
//! The addresses are private and exist in these namespaces only.

use super::namespace::Namespace;
use super::settings;
use crate::{Consortium, Plan};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

/// The UDP port of every validator.
const PORT: u16 = 26656;
/// The TCP port of every validator's status.
const HTTP_PORT: u16 = 26660;

/// Where the `index`th validator listens.
fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 26, u8::try_from(index).expect("at most 128 validators"), 2)
}

/// Namespaces, links, and which of them are cut.
#[derive(Debug)]
pub struct Fabric {
    hub: Namespace,
    validators: Vec<Namespace>,
    /// Whose packets do not reach whom.
    cut: BTreeSet<(usize, usize)>,
}

impl Fabric {
    /// So many validators' namespaces, all of which reach each other.
    ///
    /// # Errors
    /// If namespaces, links or rules are not permitted here; the message says what is needed.
    pub fn new(validators: usize) -> Result<Fabric> {
        let hub = Namespace::new()?;
        hub.within(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
            .context("cannot let packets through the hub")?;
        hub.run("ip", &["-batch", "-"], "link set lo up\n")?;
        let mut namespaces = Vec::new();
        for index in 0..validators {
            let namespace = Namespace::new()?;
            let link = format!(
                "link add v{index} type veth peer name eth0 netns {path}\n\
                 addr add 10.26.{index}.1/24 dev v{index}\n\
                 link set v{index} up\n",
                path = namespace.path()
            );
            hub.run("ip", &["-batch", "-"], &link)?;
            let inside = format!(
                "link set lo up\n\
                 addr add {}/24 dev eth0\n\
                 link set eth0 gso_max_segs 1\n\
                 link set eth0 up\n\
                 route add default via 10.26.{index}.1\n",
                address(index)
            );
            namespace.run("ip", &["-batch", "-"], &inside)?;
            namespaces.push(namespace);
        }
        let rules = "table ip quorate {\n\
                       set cut { type ipv4_addr . ipv4_addr; }\n\
                       counter dropped { }\n\
                       chain narrow { }\n\
                       chain forward {\n\
                         type filter hook forward priority 0; policy accept;\n\
                         jump narrow;\n\
                         ip saddr . ip daddr @cut counter name dropped drop;\n\
                       }\n\
                     }\n";
        hub.run("nft", &["-f", "-"], rules)?;
        Ok(Fabric { hub, validators: namespaces, cut: BTreeSet::new() })
    }

    /// Where clients are.
    pub fn hub(&self) -> &Namespace {
        &self.hub
    }

    /// Where a validator is.
    pub fn validator(&self, index: usize) -> &Namespace {
        &self.validators[index]
    }

    fn everyone(&self) -> std::ops::Range<usize> {
        0..self.validators.len()
    }

    /// From now on, what the first of each pair sends does not reach the second, besides what is cut
    /// already.
    ///
    /// # Errors
    /// If the rules cannot be changed.
    pub fn cut(&mut self, links: impl IntoIterator<Item = (usize, usize)>) -> Result<()> {
        self.cut.extend(links.into_iter().filter(|(from, to)| from != to));
        self.apply()
    }

    /// Whether so many validators all reach each other, both ways.
    pub fn connects(&self, quorum: usize) -> bool {
        let validators = self.validators.len();
        let reach = |a: usize, b: usize| !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a));
        (0u32..1 << validators).filter(|group| group.count_ones() as usize == quorum).any(|group| {
            let members: Vec<usize> = self.everyone().filter(|index| group >> index & 1 == 1).collect();
            members.iter().all(|a| members.iter().all(|b| reach(*a, *b)))
        })
    }

    /// Everyone reaches everyone again.
    ///
    /// # Errors
    /// If the rules cannot be changed.
    pub fn heal(&mut self) -> Result<()> {
        self.cut.clear();
        self.apply()
    }

    /// Only validators of one group reach each other. Whoever is in no group reaches nobody.
    ///
    /// # Errors
    /// If the rules cannot be changed.
    pub fn split(&mut self, groups: &[&[usize]]) -> Result<()> {
        let together =
            |a: usize, b: usize| groups.iter().any(|group| group.contains(&a) && group.contains(&b));
        let everyone = self.everyone();
        let apart = everyone.clone().flat_map(|from| everyone.clone().map(move |to| (from, to)));
        let apart: Vec<_> = apart.filter(|(from, to)| !together(*from, *to)).collect();
        self.cut(apart)
    }

    /// A validator neither reaches the others nor hears them.
    ///
    /// # Errors
    /// If the rules cannot be changed.
    pub fn isolate(&mut self, index: usize) -> Result<()> {
        let links: Vec<_> = self.everyone().flat_map(|other| [(index, other), (other, index)]).collect();
        self.cut(links)
    }

    /// A validator reaches the others, and hears none of them.
    ///
    /// # Errors
    /// If the rules cannot be changed.
    pub fn deafen(&mut self, index: usize) -> Result<()> {
        let links: Vec<_> = self.everyone().map(|other| (other, index)).collect();
        self.cut(links)
    }

    /// A validator hears the others, and reaches none of them.
    ///
    /// # Errors
    /// If the rules cannot be changed.
    pub fn mute(&mut self, index: usize) -> Result<()> {
        let links: Vec<_> = self.everyone().map(|other| (index, other)).collect();
        self.cut(links)
    }

    /// Puts the links that are cut into the kernel's set, all at once.
    fn apply(&self) -> Result<()> {
        let mut script = "flush set ip quorate cut\n".to_owned();
        for (from, to) in &self.cut {
            let (from, to) = (address(*from), address(*to));
            // Writing into a string does not fail.
            let _ = writeln!(script, "add element ip quorate cut {{ {from} . {to} }}");
        }
        self.hub.run("nft", &["-f", "-"], &script)?;
        Ok(())
    }

    /// From now on, packets of more than this many bytes, IP header included, are dropped and counted, and
    /// nobody is told why: a path that has become narrower. `None`: they pass again.
    ///
    /// # Errors
    /// If the rules cannot be changed.
    pub fn narrow(&self, most: Option<u16>) -> Result<()> {
        let rule =
            |most| format!("add rule ip quorate narrow ip length > {most} counter name dropped drop\n");
        let script = format!("flush chain ip quorate narrow\n{}", most.map(rule).unwrap_or_default());
        self.hub.run("nft", &["-f", "-"], &script)?;
        Ok(())
    }

    /// How many packets were dropped so far.
    ///
    /// # Errors
    /// If the counter cannot be read.
    pub fn dropped(&self) -> Result<u64> {
        let text = self.hub.run("nft", &["-j", "list", "counter", "ip", "quorate", "dropped"], "")?;
        let told: Value = serde_json::from_str(&text).context("nft tells no JSON")?;
        let entries = told["nftables"].as_array().context("nft lists nothing")?;
        let packets = entries.iter().find_map(|entry| entry["counter"]["packets"].as_u64());
        packets.with_context(|| format!("no counter in {text}"))
    }
}

/// A consortium whose validators are each in a namespace of their own.
#[derive(Debug)]
pub struct Networked {
    /// The consortium. Its validators must be started by [`Networked::start`].
    pub consortium: Consortium,
    /// The links between its validators.
    pub fabric: Fabric,
}

impl Networked {
    /// Founds one. Nothing runs yet. To reach it, the present thread must enter
    /// [`Fabric::hub`].
    ///
    /// # Errors
    /// If it cannot be founded, or namespaces are not permitted.
    pub fn found(plan: &Plan) -> Result<Networked> {
        ensure!(plan.addresses.is_empty(), "the network decides on the addresses");
        let fabric = Fabric::new(plan.validators)?;
        let listen = |index| SocketAddr::from((address(index), PORT));
        let plan = Plan { addresses: (0..plan.validators).map(listen).collect(), ..plan.clone() };
        let consortium = Consortium::temporary(&plan)?;
        for index in 0..plan.validators {
            let http = SocketAddr::from((address(index), HTTP_PORT)).to_string();
            settings::change(&consortium, index, |table| settings::set(table, "http", "address", http))?;
        }
        Ok(Networked { consortium, fabric })
    }

    /// Starts a validator in its namespace. It is not ready yet.
    ///
    /// # Errors
    /// If it runs already, or cannot be started.
    pub fn start(&mut self, index: usize) -> Result<()> {
        let Networked { consortium, fabric } = self;
        fabric.validator(index).within(|| consortium.start(index))?
    }

    /// Starts all validators and waits until they are ready.
    ///
    /// # Errors
    /// If one does not get there.
    pub async fn start_all(&mut self) -> Result<()> {
        for index in 0..self.consortium.len() {
            self.start(index)?;
        }
        self.consortium.all_ready().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// Whether a datagram from one validator reaches another.
    fn reaches(fabric: &Fabric, from: usize, to: usize) -> bool {
        let bind = |index: usize| {
            let bound = fabric.validator(index).within(|| UdpSocket::bind((address(index), 9000)));
            bound.expect("entered").expect("binds")
        };
        let (sender, receiver) = (bind(from), bind(to));
        receiver.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        sender.send_to(b"x", (address(to), 9000)).expect("sends");
        receiver.recv_from(&mut [0; 8]).is_ok()
    }

    #[test]
    fn links_are_cut_one_way_and_both_ways_and_drops_are_counted() {
        let mut fabric = Fabric::new(3).expect("a network");
        assert!(reaches(&fabric, 0, 1) && reaches(&fabric, 1, 0));
        assert_eq!(fabric.dropped().expect("a counter"), 0);
        fabric.cut([(0, 1)]).expect("cut");
        assert!(!reaches(&fabric, 0, 1));
        assert!(reaches(&fabric, 1, 0), "the other way is open");
        assert_eq!(fabric.dropped().expect("a counter"), 1);
        fabric.heal().expect("healed");
        assert!(reaches(&fabric, 0, 1));
        fabric.split(&[&[0], &[1, 2]]).expect("split");
        assert!(fabric.connects(2) && !fabric.connects(3));
        assert!(!reaches(&fabric, 0, 1) && !reaches(&fabric, 1, 0) && !reaches(&fabric, 2, 0));
        assert!(reaches(&fabric, 1, 2));
        fabric.heal().expect("healed");
        fabric.deafen(1).expect("deaf");
        assert!(reaches(&fabric, 1, 0) && !reaches(&fabric, 0, 1) && reaches(&fabric, 0, 2));
        fabric.heal().expect("healed");
        fabric.mute(1).expect("mute");
        assert!(!reaches(&fabric, 1, 0) && reaches(&fabric, 0, 1) && reaches(&fabric, 0, 2));
        fabric.heal().expect("healed");
        fabric.narrow(Some(28)).expect("narrow");
        assert!(!reaches(&fabric, 0, 1), "a datagram of one byte has 29 with its headers");
        fabric.narrow(Some(29)).expect("narrow");
        assert!(reaches(&fabric, 0, 1));
        fabric.narrow(None).expect("wide");
        fabric.isolate(1).expect("alone");
        assert!(!reaches(&fabric, 1, 0) && !reaches(&fabric, 0, 1) && reaches(&fabric, 0, 2));
    }
}
