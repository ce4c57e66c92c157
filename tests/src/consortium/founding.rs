//! Founding a consortium, and everything one can do with it.

use super::http;
use super::process::Node;
use crate::load::Acknowledged;
use crate::programs::{self, Ran, program};
use crate::{audited, wait};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use quorate_client::client::{Client, Options, wall_clock};
use quorate_client::protocol::NodeStatus;
use quorate_genesis::files::{self, Access};
use quorate_genesis::{Card, CardFile, Document, Founding, MemberKeys};
use quorate_types::ids::Height;
use quorate_types::member::Role;
use quorate_types::parameters::Parameters;
use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How long a node may take to be ready, or to stop. A fresh one opens a database and finds its peers,
/// within a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The least port used: above those of usual services.
const FIRST_PORT: u16 = 20_000;
/// The first port that the system may hand out to anyone.
const EPHEMERAL: u16 = 32_768;

/// The name of the `index`th validator: ascending, so that validators are numbered in this order.
pub fn name(index: usize) -> String {
    const NAMES: [&str; 7] = ["acme", "bolt", "crown", "dune", "ember", "flint", "grove"];
    NAMES.get(index).map_or_else(|| format!("node-{index:03}"), |name| (*name).to_owned())
}

/// A member that runs no validator.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
}

/// Who founds a consortium, and on which terms.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many validators.
    pub validators: usize,
    /// Members besides.
    pub members: Vec<Member>,
    /// The chain's parameters.
    pub parameters: Parameters,
    /// Where each validator listens; free addresses of this machine if empty.
    pub addresses: Vec<SocketAddr>,
}

impl Plan {
    /// So many validators; `mill` and `shop`, which submit; `watch`, which audits.
    pub fn of(validators: usize) -> Plan {
        let member = |name: &str, role| Member { name: name.to_owned(), roles: vec![role] };
        Plan {
            validators,
            members: vec![
                member("mill", Role::Submitter),
                member("shop", Role::Submitter),
                member("watch", Role::Auditor),
            ],
            parameters: Parameters::default(),
            addresses: Vec::new(),
        }
    }

    /// The same with other parameters.
    pub fn with(mut self, change: impl FnOnce(&mut Parameters)) -> Plan {
        change(&mut self.parameters);
        self
    }
}

/// Free UDP addresses of this machine, which nobody but this process takes; see
/// [the module](crate::consortium).
///
/// # Errors
/// If there are no more.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Process ids have 22 bits; 127.64.0.0/10 keeps clear of 127.0.0.1, where people run things.
    let ip = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    let mut addresses = Vec::new();
    while addresses.len() < count {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!((FIRST_PORT..EPHEMERAL).contains(&port), "this process has used all its ports");
        let address = SocketAddr::from((ip, port));
        // Somebody may listen there on all addresses.
        if UdpSocket::bind(address).is_ok() {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// A consortium on this machine.
#[derive(Debug)]
pub struct Consortium {
    // Dropped before the directory they run in.
    nodes: Vec<Node>,
    directory: PathBuf,
    founding: Arc<Founding>,
    temporary: Option<TempDir>,
}

impl Consortium {
    /// Founds one in a directory, which must be empty or not there. Nothing runs yet.
    ///
    /// # Errors
    /// Whatever the ceremony stumbles over.
    pub fn found(directory: &Path, plan: &Plan) -> Result<Consortium> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let validators: Vec<String> = (0..plan.validators).map(name).collect();
        let addresses = match plan.addresses.len() {
            0 => free_addresses(plan.validators)?,
            given => {
                ensure!(given == plan.validators, "{given} addresses for {} validators", plan.validators);
                plan.addresses.clone()
            }
        };

        // Each member by itself: keys, and a card for the others.
        let home = |name: &str| directory.join(name);
        let mut cards = Vec::new();
        let mut join = |name: &str, roles: &[Role], address: Option<SocketAddr>| -> Result<()> {
            let keys = MemberKeys::create(&home(name).join("keys"), address.is_some())?;
            let address = address.map(|address| address.to_string().parse()).transpose()?;
            let card = Card::export(&keys, name, roles, address)?;
            let file = home(name).join("card.toml");
            files::write_new(&file, &card.to_toml(), Access::Public)?;
            cards.push(CardFile::load(&file)?);
            Ok(())
        };
        for (name, address) in validators.iter().zip(&addresses) {
            join(name, &[Role::Validator, Role::Submitter], Some(*address))?;
        }
        for member in &plan.members {
            join(&member.name, &member.roles, None)?;
        }

        // Anyone assembles; every validator signs with what only it has.
        let mut document = Document::assemble("consortium", wall_clock(), plan.parameters.clone(), cards)?;
        for name in &validators {
            let mut copy = Document::parse(&document.to_toml())?;
            copy.sign(&MemberKeys::load(&home(name).join("keys"))?)?;
            document.merge(&copy)?;
        }
        document.finalised()?;
        files::write_new(&directory.join("genesis.toml"), &document.to_toml(), Access::Public)?;

        let consortium = Consortium::open(&directory)?;
        for (index, address) in addresses.iter().enumerate() {
            consortium.init(index, *address)?;
        }
        Ok(consortium)
    }

    /// Founds one in a temporary directory, which is kept if the test that made it fails.
    ///
    /// # Errors
    /// As [`Consortium::found`].
    pub fn temporary(plan: &Plan) -> Result<Consortium> {
        let directory = TempDir::with_prefix("quorate-")?;
        let mut consortium = Consortium::found(directory.path(), plan)?;
        consortium.temporary = Some(directory);
        Ok(consortium)
    }

    /// One that was founded in this directory before.
    ///
    /// # Errors
    /// If its genesis document cannot be loaded.
    pub fn open(directory: &Path) -> Result<Consortium> {
        let directory = directory.canonicalize()?;
        let founding = Founding::load(&directory.join("genesis.toml"))?;
        let node = |(_, validator): (_, &quorate_genesis::founding::FoundingValidator)| {
            Node::new(directory.join(&validator.name).join("node"))
        };
        let nodes = founding.validator_details().map(node).collect();
        Ok(Consortium { nodes, directory, founding: Arc::new(founding), temporary: None })
    }

    /// Makes a validator's directory as its operator does.
    fn init(&self, index: usize, listen: SocketAddr) -> Result<()> {
        let mut init = Command::new(program("quorate-node")?);
        init.arg("init").arg("--dir").arg(self.node_directory(index)).arg("--genesis").arg(self.genesis());
        init.arg("--keys").arg(self.keys(&name(index))).arg("--listen").arg(listen.to_string());
        // A free port: tests run side by side. The node notes which.
        init.arg("--http").arg("127.0.0.1:0");
        programs::run(&mut init)?.exits(0)?;
        Ok(())
    }

    /// Where everything lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The genesis document's file.
    pub fn genesis(&self) -> PathBuf {
        self.directory.join("genesis.toml")
    }

    /// The genesis document.
    pub fn founding(&self) -> &Arc<Founding> {
        &self.founding
    }

    /// The directory of a member's keys.
    pub fn keys(&self, member: &str) -> PathBuf {
        self.directory.join(member).join("keys")
    }

    /// A validator's own directory, with node.toml.
    pub fn node_directory(&self, index: usize) -> &Path {
        self.nodes[index].directory()
    }

    /// How many validators there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none; there always are.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A client as this member, asking any validator.
    ///
    /// # Errors
    /// If its keys cannot be loaded.
    pub fn client(&self, member: &str) -> Result<Client> {
        self.client_of(member, &Options::default())
    }

    /// A client as this member, behaving so.
    ///
    /// # Errors
    /// If its keys cannot be loaded.
    pub fn client_of(&self, member: &str, options: &Options) -> Result<Client> {
        let key = MemberKeys::load(&self.keys(member))?.member;
        Ok(Client::new(Arc::clone(&self.founding), key, options)?)
    }

    /// Runs `quorate` as this member.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn quorate<A: AsRef<OsStr>>(
        &self,
        member: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Ran> {
        programs::quorate(&self.genesis(), &self.keys(member), arguments)
    }

    /// Runs a command of `quorate-node` on a validator's directory.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn node<A: AsRef<OsStr>>(
        &self,
        index: usize,
        command: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Ran> {
        let mut run = Command::new(program("quorate-node")?);
        programs::run(run.arg(command).arg("--dir").arg(self.node_directory(index)).args(arguments))
    }

    /// Starts a validator. It is not ready yet.
    ///
    /// # Errors
    /// If it runs already, or cannot be started.
    pub fn start(&mut self, index: usize) -> Result<()> {
        self.nodes[index].start()
    }

    /// Starts all validators and waits until they are ready.
    ///
    /// # Errors
    /// If one does not get there.
    pub async fn start_all(&mut self) -> Result<()> {
        for index in 0..self.len() {
            self.start(index)?;
        }
        self.all_ready().await
    }

    /// The process id of a validator that was started.
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.nodes[index].pid()
    }

    /// How a validator that was started has ended, if it did by itself. It may then be started again.
    ///
    /// # Errors
    /// If it was not started.
    pub fn ended(&mut self, index: usize) -> Result<Option<ExitStatus>> {
        self.nodes[index].ended()
    }

    /// The address of a validator's local HTTP port.
    ///
    /// # Errors
    /// If it was not started, or has none yet.
    pub fn http_address(&self, index: usize) -> Result<String> {
        self.nodes[index].http_address().map_err(anyhow::Error::msg)
    }

    /// The validators that were started and not stopped.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|index| self.nodes[*index].pid().is_some())
    }

    /// Waits until a validator is caught up and votes, as `/readyz` says.
    ///
    /// # Errors
    /// If it ends instead, or takes too long; the message shows the end of its log.
    pub async fn ready(&mut self, index: usize) -> Result<()> {
        let what = format!("{} to be ready", name(index));
        let ready = wait::until(&what, PATIENCE, async || {
            let node = &mut self.nodes[index];
            match node.ended() {
                Ok(None) => {}
                Ok(Some(status)) => return Ok(Err(format!("it ended: {status}"))),
                Err(error) => return Ok(Err(format!("{error:#}"))),
            }
            match http::get(&node.http_address()?, "/readyz").await? {
                (200, _) => Ok(Ok(())),
                (_, why) => Err(why.trim().to_owned()),
            }
        });
        let ready = ready.await.and_then(|ready| ready.map_err(anyhow::Error::msg));
        ready
            .with_context(|| format!("{} is not ready; its log ends:\n{}", name(index), self.log_tail(index)))
    }

    /// Waits until all that were started are ready.
    ///
    /// # Errors
    /// As [`Consortium::ready`].
    pub async fn all_ready(&mut self) -> Result<()> {
        let running: Vec<usize> = self.running().collect();
        for index in running {
            self.ready(index).await?;
        }
        Ok(())
    }

    /// The end of a validator's log.
    pub fn log_tail(&self, index: usize) -> String {
        self.nodes[index].log_tail()
    }

    /// `kill -9`: the process is gone when this returns.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill9(&mut self, index: usize) -> Result<()> {
        self.nodes[index].kill()
    }

    /// Holds a validator still, as a machine does that swaps or sleeps: its sockets stay open.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self, index: usize) -> Result<()> {
        self.nodes[index].signal(Signal::SIGSTOP)
    }

    /// Lets a validator that was held still go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self, index: usize) -> Result<()> {
        self.nodes[index].signal(Signal::SIGCONT)
    }

    /// SIGTERM; waits until the validator has ended, with exit code 0.
    ///
    /// # Errors
    /// If it ends otherwise, or takes too long.
    pub async fn stop(&mut self, index: usize) -> Result<()> {
        self.nodes[index].signal(Signal::SIGTERM)?;
        self.has_stopped(index).await
    }

    async fn has_stopped(&mut self, index: usize) -> Result<()> {
        let what = format!("{} to stop", name(index));
        let ended = wait::until(&what, PATIENCE, async || match self.nodes[index].ended() {
            Ok(None) => Err("it runs".to_owned()),
            Ok(Some(status)) => Ok(Ok(status)),
            Err(error) => Ok(Err(error)),
        });
        let status = ended.await??;
        if status.code() != Some(0) {
            bail!("{} did not stop cleanly: {status}; its log ends:\n{}", name(index), self.log_tail(index));
        }
        Ok(())
    }

    /// Stops all validators that run, all at once.
    ///
    /// # Errors
    /// As [`Consortium::stop`].
    pub async fn stop_all(&mut self) -> Result<()> {
        let running: Vec<usize> = self.running().collect();
        for index in &running {
            self.nodes[*index].signal(Signal::SIGTERM)?;
        }
        for index in running {
            self.has_stopped(index).await?;
        }
        Ok(())
    }

    /// What a validator says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self, index: usize) -> Result<NodeStatus> {
        self.ask_status(index).await.map_err(anyhow::Error::msg)
    }

    async fn ask_status(&self, index: usize) -> Result<NodeStatus, String> {
        match http::get(&self.nodes[index].http_address()?, "/status").await? {
            (200, body) => serde_json::from_str(&body).map_err(|error| format!("{error} in {body}")),
            (code, body) => Err(format!("HTTP {code}: {}", body.trim())),
        }
    }

    /// The answer of a validator's local HTTP port: status code and body.
    ///
    /// # Errors
    /// If there is none.
    pub async fn http(&self, index: usize, path: &str) -> Result<(u16, String)> {
        let address = self.nodes[index].http_address().map_err(anyhow::Error::msg)?;
        http::get(&address, path).await.map_err(anyhow::Error::msg)
    }

    /// The bodies of the answers of all validators that run, which are asked at once, in their order.
    ///
    /// # Errors
    /// If one does not answer, or with another code than 200.
    pub async fn http_of_all(&self, path: &str) -> Result<Vec<(usize, String)>> {
        let mut asking = JoinSet::new();
        for index in self.running() {
            let (address, path) = (self.http_address(index)?, path.to_owned());
            asking.spawn(async move { (index, http::get(&address, &path).await) });
        }
        let mut bodies = Vec::new();
        for (index, answer) in asking.join_all().await {
            let (code, body) = answer.map_err(anyhow::Error::msg)?;
            ensure!(code == 200, "{} answers {path} with HTTP {code}: {}", name(index), body.trim());
            bodies.push((index, body));
        }
        bodies.sort_unstable_by_key(|(index, _)| *index);
        Ok(bodies)
    }

    /// Waits until a validator's status is as wanted, and returns it.
    ///
    /// # Errors
    /// If it is not within `limit`.
    pub async fn sees(
        &self,
        index: usize,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&NodeStatus) -> bool,
    ) -> Result<NodeStatus> {
        let what = format!("{}: {what}", name(index));
        let found = wait::until(&what, limit, async || {
            let status = self.ask_status(index).await?;
            if wanted(&status) {
                return Ok(status);
            }
            let NodeStatus { height, view, phase, trouble, .. } = status;
            Err(format!("height {height}, view {view}, {phase}, trouble {trouble:?}"))
        });
        found.await.with_context(|| format!("the log of {} ends:\n{}", name(index), self.log_tail(index)))
    }

    /// Waits until a validator has committed this height.
    ///
    /// # Errors
    /// If it has not within `limit`.
    pub async fn reaches(&self, index: usize, height: Height, limit: Duration) -> Result<NodeStatus> {
        self.sees(index, &format!("height {height}"), limit, |status| status.height >= height).await
    }

    /// The highest height that a running validator says it has.
    ///
    /// # Errors
    /// If none answers.
    pub async fn height(&self) -> Result<Height> {
        let mut highest = None;
        for index in self.running() {
            if let Ok(status) = self.status(index).await {
                highest = highest.max(Some(status.height));
            }
        }
        highest.context("no validator answers")
    }

    /// The leader of the latest view that a running validator says it is in.
    ///
    /// # Errors
    /// If none answers.
    pub async fn leader(&self) -> Result<usize> {
        let mut latest = None;
        for index in self.running() {
            if let Ok(status) = self.status(index).await {
                latest = latest.max(Some((status.view, status.leader)));
            }
        }
        let (_, leader) = latest.context("no validator answers")?;
        Ok(leader.as_usize())
    }

    /// Audits, as the member `watch`, what each running validator gives, once all of them have the same
    /// height, and checks that everything acknowledged stands there once. Returns the height.
    ///
    /// # Errors
    /// If they do not come together, or anything is wrong or missing.
    pub async fn audit_each(&self, acknowledged: &Acknowledged) -> Result<Height> {
        let top = self.height().await?.max(acknowledged.0.values().copied().max().unwrap_or_default());
        let mut roots = Vec::new();
        for index in self.running() {
            self.reaches(index, top, PATIENCE).await?;
            let options = Options { nodes: vec![name(index)], ..Options::default() };
            let client = self.client_of("watch", &options)?;
            let audited = audited::audit(&client, |_| {}).await;
            client.shutdown().await;
            let audited = audited.with_context(|| format!("the chain as {} gives it", name(index)))?;
            audited.holds(acknowledged).with_context(|| format!("the chain as {} gives it", name(index)))?;
            ensure!(audited.totals.height >= top, "{} gives too few blocks", name(index));
            roots.push((audited.totals.height, audited.totals.block, audited.totals.state_root));
        }
        // Whoever has the same height has the same block.
        for (height, block, root) in &roots {
            let same = roots.iter().filter(|other| other.0 == *height);
            ensure!(
                same.into_iter().all(|other| (other.1, other.2) == (*block, *root)),
                "they differ: {roots:?}"
            );
        }
        Ok(top)
    }
}

impl Drop for Consortium {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.temporary.take()
        {
            let kept = directory.keep();
            eprintln!("the consortium is kept for inspection in {}", kept.display());
            for node in &self.nodes {
                eprintln!("the log of {} ends:\n{}", node.directory().display(), node.log_tail());
            }
        }
    }
}
