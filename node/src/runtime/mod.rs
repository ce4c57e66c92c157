//! The shell around the core: threads, tasks, sockets and disk, and what flows between them.
//!
//! ```text
//!            ┌──────────── transport (tokio) ────────────┐
//!            │ votes │ sync │ gossip │ clients' streams   │
//!            ▼       ▼      ▼        ▼                    ▲
//!          feeders: one task a lane, claims room          │ now
//!            ▼                                            │
//!          pool: verify threads, one for votes alone      │
//!            ▼ in order of arrival                        │
//!          mailbox ─── by priority ──▶ driver: the core's thread
//!            ▲                                │ Ready
//!            │ persisted                      ▼
//!          writer: the storage thread, one synced batch for several
//!                                             │ then, reports
//!                                             ▼
//!                       transport      router ─▶ clients' streams
//! ```
//!
//! Nothing polls but the storage thread, which looks at the disk each second while it has nothing to write. What
//! can wait: feeders, when their lane's budget is used up; the core, when storage is behind; storage, when the
//! disk is full. Each holds back what comes before it, down to the sender's flow control, and none holds back
//! votes for the sake of bulk.
//!
//! # Ending
//!
//! On SIGTERM or SIGINT: clients are told and let go; the core stops; storage writes what it has been
//! given, says what depends on it, flushes and closes; the peers are told. Exit code 0. Should the
//! storage thread fail, the same with exit code 1: a validator that cannot remember must not vote. So it is
//! should any thread or task of those above end by a panic: what it did would be missing in silence.

pub mod clock;
mod driver;
mod faults;
mod mailbox;
mod observer;
mod pool;
mod quota;
mod writer;

#[cfg(test)]
mod tests;

pub use faults::Faults;
pub use mailbox::{Claim, Class, Inbox, Mailbox};
pub use observer::{NoAnswer, Observer, Stored, not_ready};
pub(crate) use pool::{PoolSender, Work};
pub use writer::{BACKLOG_READIES, Disk, StorageFailure};

use crate::clients::{self, Allowances, Desk, Router, Tickets};
use crate::config::{Config, HttpAddress, Storage as StorageConfig};
use crate::core::api::{Demand, Input};
use crate::core::mempool::Limits;
use crate::core::{Core, CoreConfig, wire};
use crate::http::{self, Shown};
use crate::metrics::Metrics;
use crate::storage::{self, RocksStore, Standing, Storage};
use clock::Clock;
use driver::Driver;
use pool::{Pool, PoolParts};
use quorate_client::protocol::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use quorate_genesis::{Founding, MemberKeys};
use quorate_transport::{Directory, Event, LaneReceiver, Node};
use quorate_types::hash::ChainId;
use quorate_types::ids::ValidatorIndex;
use quota::Quotas;
use rand::TryRng;
use rand::rngs::SysRng;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use writer::{WriteQueue, Writer};

/// Groups of reports that may wait for the router.
const REPORTS: usize = 64;

/// How long streams get to hear that the node is closing.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a data directory in use is waited for, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// What a peer's coming or going claims of its lane's budget, in bytes: it may come and go as often as it likes
/// while the core is held back.
const PASS_BYTES: usize = 1 << 10;

/// The name of the file that says where the HTTP port is, for `quorate-node status`.
pub const HTTP_FILE: &str = "http-address";

/// Why a node did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The keys are no validator's of this chain.
    #[error("{0}")]
    Identity(String),
    /// The data directory was not opened.
    #[error(transparent)]
    Storage(#[from] storage::OpenError),
    /// What is in the database does not fit together.
    #[error(
        "the database cannot be used: {0}; move the data directory away (keep it until the others are seen to have \
         everything) and start again: the validator catches up from its peers before it votes"
    )]
    Core(#[from] crate::core::OpenError),
    /// The QUIC port was not opened.
    #[error(
        "{0}; is another node running, or does `listen` in node.toml name an address of another machine?"
    )]
    Transport(#[from] quorate_transport::TransportError),
    /// The HTTP port was not opened.
    #[error(
        "cannot listen on {address} (HTTP): {source}; name another `http.address` in node.toml, or \"off\""
    )]
    Http {
        /// The address.
        address: std::net::SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Threads, randomness, or files beside the database.
    #[error("cannot start: {0}")]
    System(String),
    /// The storage thread gave up.
    #[error(transparent)]
    Failed(#[from] StorageFailure),
    /// A part that the node cannot do without has ended, which it does by a panic alone. What the node had
    /// promised is on disk.
    #[error(
        "an internal error: a part of the node has panicked ({0}); it stops. Please report it with the log above"
    )]
    Panicked(String),
}

/// Everything a node starts from.
pub struct Setup {
    /// The node's directory.
    pub directory: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// The final genesis document.
    pub founding: Founding,
    /// Its keys.
    pub keys: MemberKeys,
}

impl Setup {
    /// Which validator these keys are.
    ///
    /// # Errors
    /// [`RunError::Identity`] naming the key that does not fit.
    pub fn identify(&self) -> Result<ValidatorIndex, RunError> {
        identify(&self.founding, &self.keys)
    }
}

/// Which validator of the chain these keys are.
///
/// # Errors
/// [`RunError::Identity`] naming the key that does not fit.
pub fn identify(founding: &Founding, keys: &MemberKeys) -> Result<ValidatorIndex, RunError> {
    let member = keys.member.public();
    let wrong = |what: String| RunError::Identity(what);
    let Some(index) = founding.validator_by_member_key(&member) else {
        return Err(wrong(match founding.member_by_key(&member) {
            Some(member) => {
                format!("member {} of chain {:?} runs no validator", member.name, founding.name())
            }
            None => format!(
                "the member key {member} is not in the genesis document of {:?}; check --keys and --genesis",
                founding.name()
            ),
        }));
    };
    let named = founding.validator(index).ok_or_else(|| wrong("the validator has no card".into()))?;
    let Some(validator) = &keys.validator else {
        return Err(wrong(format!(
            "{} is a validator, but vote.key and transport.key are missing",
            named.name
        )));
    };
    for (what, key, expected) in [
        ("vote.key", validator.vote.public(), named.vote_key),
        ("transport.key", validator.transport.public(), named.transport_key),
    ] {
        if key != expected {
            return Err(wrong(format!(
                "{what} holds {key}, but the genesis document names {expected} for {}; use the key that founded the \
                 chain",
                named.name
            )));
        }
    }
    Ok(index)
}

/// Runs a node until `stop` is done. To be called within a Tokio runtime of several threads.
///
/// # Errors
/// See [`RunError`].
pub async fn run(setup: Setup, stop: impl Future<Output = &'static str>) -> Result<(), RunError> {
    let node = Running::start(setup).await?;
    let mut failed = node.failed;
    let why = tokio::select! {
        why = stop => Why::Asked(why),
        name = &mut failed => Why::Ended(name.unwrap_or_else(|_| "a feeder".to_owned())),
    };
    match &why {
        Why::Asked(why) => tracing::info!(%why, "stopping"),
        Why::Ended(name) => tracing::error!(%name, "a part of the node has ended; stopping"),
    }
    node.parts.stop(why).await
}

/// Why a node stops.
enum Why {
    /// It was told to.
    Asked(&'static str),
    /// This part of it has ended, and nobody had told it to.
    Ended(String),
}

struct Running {
    parts: Parts,
    /// Resolves when a part ends by itself, with its name.
    failed: oneshot::Receiver<String>,
}

struct Parts {
    mailbox: Arc<Mailbox>,
    queue: Arc<WriteQueue>,
    store: RocksStore,
    node: Arc<Node>,
    pool: Pool,
    driver: JoinHandle<()>,
    writer: JoinHandle<Result<(), StorageFailure>>,
    closing: watch::Sender<Option<String>>,
    stop_http: watch::Sender<bool>,
    feeders: JoinSet<()>,
    services: JoinSet<()>,
    http_file: Option<PathBuf>,
}

/// Names of threads and tasks, for when they end.
const STORAGE: &str = "storage";
const CORE: &str = "core";
const ROUTER: &str = "router";
const CLIENTS: &str = "clients";

/// Where is told which thread or task has ended.
struct Endings(mpsc::UnboundedSender<String>);

impl Endings {
    fn of(&self, name: &str) -> Ending {
        Ending { name: name.to_owned(), ended: self.0.clone() }
    }
}

/// Tells that the one that holds it has ended, however it did.
struct Ending {
    name: String,
    ended: mpsc::UnboundedSender<String>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // While the node stops, all end, and nobody listens.
        let _ = self.ended.send(std::mem::take(&mut self.name));
    }
}

/// A task that tells when it ends.
async fn told(ending: Ending, task: impl Future<Output = ()>) {
    let _ending = ending;
    task.await;
}

impl Running {
    async fn start(setup: Setup) -> Result<Running, RunError> {
        let me = setup.identify()?;
        let Setup { directory, config, founding, keys } = setup;
        let Some(validator) = keys.validator else {
            return Err(RunError::Identity("vote.key and transport.key are missing".into()));
        };
        let founding = Arc::new(founding);
        let genesis = founding.ledger_genesis();
        let clock = Clock::start();
        let name = founding.validator(me).map(|validator| validator.name.clone()).unwrap_or_default();
        tracing::info!(
            chain = founding.name(), id = %founding.chain(), member = %name, validator = %me,
            version = env!("CARGO_PKG_VERSION"), "starting"
        );

        let (data, guard) = (directory.join(&config.data), directory.join(storage::GUARD_FILE));
        let Storage { store, guard, standing, held } =
            open_storage(data, guard, founding.chain(), config.storage.clone()).await?;
        log_standing(&standing);
        store.read_ahead();
        let disk = Arc::<Disk>::default();
        Writer::prepare(&store, &disk).map_err(crate::core::OpenError::Store)?;

        let mut seed = [0u8; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(|error| RunError::System(error.to_string()))?;
        let limits = Limits {
            transactions: config.mempool.max_transactions.get(),
            bytes: config.mempool.max_bytes.as_usize(),
            member_transactions: config.mempool.max_member_transactions.get(),
            member_bytes: config.mempool.max_member_bytes.as_usize(),
        };
        let vote_key = validator.vote.clone();
        let core_config = CoreConfig { me, vote_key, genesis, mempool: limits, memory: standing.memory() };
        let core = Core::open(core_config, store.clone(), clock.now(), seed)?;
        let status = core.status();
        tracing::info!(height = %status.height, view = %status.view, "the chain as stored here");

        let (node, inbox) = Node::start(
            transport_config(&config),
            &validator.transport,
            me,
            founding.chain(),
            Arc::new(directory_of(&founding)),
            addresses(&founding, &config)?,
        )?;
        let node = Arc::new(node);
        tracing::info!(address = %node.local_addr(), "listening for validators and clients (QUIC)");

        let metrics = Arc::new(Metrics::new(founding.chain().to_string(), name));
        let names = founding.validator_details().map(|(_, each)| each.name.clone()).collect();
        let faults = Arc::new(Faults::new(names, Arc::clone(&node), Arc::clone(&metrics), clock));
        let mailbox = Arc::new(Mailbox::new());
        let tickets = Arc::<Tickets>::default();
        let (ended_in, mut ended) = mpsc::unbounded_channel();
        let endings = Endings(ended_in);
        let parts = PoolParts {
            committee: Arc::clone(core.committee()),
            mailbox: Arc::clone(&mailbox),
            tickets: Arc::clone(&tickets),
            faults: Arc::clone(&faults),
            metrics: Arc::clone(&metrics),
            clock,
        };
        let pool = Pool::start(config.verify.threads(), parts, &endings);
        let pool = pool.map_err(|error| RunError::System(error.to_string()))?;

        let queue = Arc::<WriteQueue>::default();
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let tip = Stored { height: status.height, block: status.block, timestamp: status.block_time };
        let (stored, stored_seen) = watch::channel(tip);
        let (closing, closing_seen) = watch::channel(None);
        let observer = || Observer {
            mailbox: Arc::clone(&mailbox),
            node: Arc::clone(&node),
            disk: Arc::clone(&disk),
            stored: stored_seen.clone(),
            queue: Arc::clone(&queue),
            founding: Arc::clone(&founding),
            me,
            started: Instant::now(),
        };
        let reads = Arc::new(Semaphore::new(config.clients.max_reads.get()));
        let desk = Desk {
            store: store.clone(),
            observer: observer(),
            mailbox: Arc::clone(&mailbox),
            pool: pool.sender(),
            stored: stored_seen.clone(),
            closing: closing_seen,
            reads: Arc::clone(&reads),
            allowances: Allowances::default(),
        };
        let router = Router::new(tickets, store.clone(), faults, Arc::clone(&metrics), stored, reads);

        let (stop_http, http_stopped) = watch::channel(false);
        let mut services = JoinSet::new();
        let shown = Shown { observer: Arc::new(observer()), metrics: Arc::clone(&metrics) };
        let http_file = serve_http(&directory, &config, shown, http_stopped, &mut services).await?;
        services.spawn(told(endings.of(ROUTER), router.run(reports)));
        services.spawn(told(endings.of(CLIENTS), clients::serve(Arc::new(desk), inbox.clients)));

        let writer = Writer {
            queue: Arc::clone(&queue),
            store: store.clone(),
            guard,
            votes_at_start: held.votes,
            min_free_bytes: config.storage.min_free_bytes.0,
            free_bytes: {
                let data = store.path().to_owned();
                Box::new(move || storage::free_bytes(&data))
            },
            node: Arc::clone(&node),
            reports: reports_in.clone(),
            mailbox: Arc::clone(&mailbox),
            disk,
            metrics: Arc::clone(&metrics),
        };
        let ending = endings.of(STORAGE);
        let writer = spawn(STORAGE, move || {
            let _ending = ending;
            writer.run()
        })?;
        let driver = Driver {
            core,
            mailbox: Arc::clone(&mailbox),
            queue: Arc::clone(&queue),
            node: Arc::clone(&node),
            reports: reports_in,
            clock,
            metrics,
            pool: pool.sender(),
            demand: Demand::default(),
            round_trips_at: Duration::ZERO,
        };
        let ending = endings.of(CORE);
        let driver = spawn(CORE, move || {
            let _ending = ending;
            driver.run();
        })?;

        let mut feeders = JoinSet::new();
        for (class, lane) in
            [(Class::Votes, inbox.votes), (Class::Sync, inbox.sync), (Class::Gossip, inbox.gossip)]
        {
            let feed = feed(class, lane, Arc::clone(&mailbox), pool.sender(), Arc::clone(&founding), clock);
            feeders.spawn(told(endings.of(&format!("the feeder of {}", class.name())), feed));
        }
        let (failed_in, failed) = oneshot::channel();
        feeders.spawn(async move {
            if let Some(name) = ended.recv().await {
                let _ = failed_in.send(name);
            }
        });
        let parts = Parts {
            mailbox,
            queue,
            store,
            node,
            pool,
            driver,
            writer,
            closing,
            stop_http,
            feeders,
            services,
            http_file,
        };
        Ok(Running { parts, failed })
    }
}

impl Parts {
    async fn stop(mut self, why: Why) -> Result<(), RunError> {
        let told = match &why {
            Why::Asked(why) => *why,
            Why::Ended(_) => "an internal failure",
        };
        self.closing.send_replace(Some(format!("the node is stopping ({told}); ask another validator")));
        self.feeders.shutdown().await;
        self.mailbox.stop();
        let Parts { driver, queue, writer, store, pool, .. } = self;
        let ended = tokio::task::spawn_blocking(move || {
            let driver = driver.join();
            queue.close();
            let writer = writer.join();
            let closed = store.close();
            (driver, writer, closed, pool.stop())
        });
        let (driver, writer, closed, pool) =
            ended.await.map_err(|error| RunError::System(error.to_string()))?;
        self.stop_http.send_replace(true);
        if let Some(file) = self.http_file {
            // A stale one would only make `status` look in the wrong place, and say so.
            let _ = std::fs::remove_file(file);
        }
        // Streams of clients get a moment to hear why they end; then nobody uses the transport any more,
        // and it can tell the peers.
        let services = &mut self.services;
        let told = async { while services.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, told).await;
        self.services.shutdown().await;
        match Arc::try_unwrap(self.node) {
            Ok(node) => node.shutdown().await,
            Err(_) => tracing::warn!("the transport is still in use; the peers will notice by themselves"),
        }
        let panicked = |name: &str| RunError::Panicked(name.to_owned());
        let ended = match why {
            Why::Asked(_) => None,
            Why::Ended(name) => Some(name),
        };
        // Who ended first is the cause. Only the storage thread has more to say of it than its name.
        if let Some(name) = ended.as_deref().filter(|name| *name != STORAGE) {
            return Err(panicked(name));
        }
        writer.map_err(|_| panicked(STORAGE))??;
        driver.map_err(|_| panicked(CORE))?;
        pool.map_err(RunError::Panicked)?;
        if let Some(name) = ended {
            return Err(panicked(&name));
        }
        match closed {
            Ok(()) => tracing::info!("stopped; everything is on disk"),
            Err(error) => {
                tracing::warn!(%error, "the last flush failed; the log on disk has everything all the same")
            }
        }
        Ok(())
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RunError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| RunError::System(format!("no thread for {name}: {error}")))
}

/// Opens the data directory. A process that was killed holds its lock until the system has cleaned up
/// after it, so one in use is given a few seconds.
async fn open_storage(
    data: PathBuf,
    guard: PathBuf,
    chain: ChainId,
    config: StorageConfig,
) -> Result<Storage, RunError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let (data, guard, config) = (data.clone(), guard.clone(), config.clone());
        let opened = tokio::task::spawn_blocking(move || Storage::open(&data, &guard, &chain, &config)).await;
        match opened.map_err(|error| RunError::System(error.to_string()))? {
            Err(storage::OpenError::InUse { .. }) if Instant::now() < until => {
                tracing::debug!("the data directory is in use; trying again");
                tokio::time::sleep(LOCK_RETRY).await;
            }
            opened => return Ok(opened?),
        }
    }
}

fn log_standing(standing: &Standing) {
    match standing {
        Standing::Settled => tracing::info!("the database holds every vote of this validator"),
        Standing::Fresh => tracing::info!(
            "a new directory: unless the chain is just being founded, the validator learns from the others before it \
             votes"
        ),
        Standing::Behind { why, .. } | Standing::Lost { why } => tracing::error!(
            cause = %why,
            "the database may have forgotten votes: the validator follows the chain, and does not vote until nothing \
             it votes can contradict them"
        ),
    }
}

fn transport_config(config: &Config) -> quorate_transport::Config {
    let mut transport = quorate_transport::Config::new(config.listen);
    transport.votes.max_frame_bytes = wire::MAX_VOTES_FRAME;
    transport.sync.max_frame_bytes = wire::MAX_SYNC_FRAME;
    transport.gossip.max_frame_bytes = wire::MAX_GOSSIP_FRAME;
    for lane in [&mut transport.votes, &mut transport.sync, &mut transport.gossip] {
        lane.queue_bytes = lane.queue_bytes.max(2 * lane.max_frame_bytes);
        lane.inbox_bytes = lane.inbox_bytes.max(2 * lane.max_frame_bytes);
    }
    transport.clients.max_request_bytes = MAX_REQUEST_BYTES;
    transport.clients.max_response_bytes = MAX_RESPONSE_BYTES;
    transport
}

/// Validators by their transport keys; everyone by their member key. A member that is in no role may
/// still read and audit.
fn directory_of(founding: &Founding) -> Directory {
    Directory {
        validators: founding.validator_details().map(|(_, each)| each.transport_key).collect(),
        clients: founding.members().iter().map(|member| member.key).collect(),
    }
}

/// Where each validator may be found: the configured address first, then that of the document.
fn addresses(founding: &Founding, config: &Config) -> Result<Vec<(ValidatorIndex, Vec<String>)>, RunError> {
    let mut configured: BTreeMap<&str, String> =
        config.peers.iter().map(|(name, address)| (name.as_str(), address.to_string())).collect();
    let addresses = founding
        .validator_details()
        .map(|(index, each)| {
            let known = configured.remove(each.name.as_str());
            (index, known.into_iter().chain([each.address.to_string()]).collect())
        })
        .collect();
    match configured.keys().next() {
        Some(name) => {
            let text = format!("[peers] in node.toml names {name:?}, which is no validator of this chain");
            Err(RunError::Identity(text))
        }
        None => Ok(addresses),
    }
}

async fn serve_http(
    directory: &std::path::Path,
    config: &Config,
    shown: Shown,
    stopped: watch::Receiver<bool>,
    services: &mut JoinSet<()>,
) -> Result<Option<PathBuf>, RunError> {
    let file = directory.join(HTTP_FILE);
    let HttpAddress::On(address) = config.http.address else {
        let _ = std::fs::remove_file(&file);
        return Ok(None);
    };
    let failed = |source| RunError::Http { address, source };
    let listener = http::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %local, "serving metrics, health and status (HTTP)");
    // Only a convenience for `quorate-node status`: the node runs without it.
    if let Err(error) = std::fs::write(&file, format!("{local}\n")) {
        tracing::warn!(%error, file = %file.display(), "cannot note the HTTP address");
    }
    services.spawn(async move {
        if let Err(error) = http::serve(listener, shown, stopped).await {
            tracing::error!(%error, "the HTTP port broke");
        }
    });
    Ok(Some(file))
}

/// Takes what one lane received to the verify pool, as fast as there is room; of messages of agreement what is
/// within the sender's quota.
async fn feed(
    class: Class,
    mut lane: LaneReceiver,
    mailbox: Arc<Mailbox>,
    pool: PoolSender,
    founding: Arc<Founding>,
    clock: Clock,
) {
    let name = |peer: ValidatorIndex| {
        founding.validator(peer).map_or("unknown", |each| each.name.as_str()).to_owned()
    };
    let mut quotas = Quotas::default();
    while let Some(event) = lane.recv().await {
        let (work, bytes) = match event {
            Event::Frame { from, lane, frame } => {
                if class == Class::Votes && !quotas.admits(from, clock.monotonic()) {
                    tracing::debug!(peer = %name(from), "more messages of agreement than its quota: one is dropped");
                    continue;
                }
                let bytes = frame.len();
                (Work::Frame { from, lane, frame }, bytes)
            }
            Event::PeerUp { peer, address } => {
                tracing::info!(peer = %name(peer), %address, "peer connected");
                (Work::Pass(Input::PeerUp(peer)), PASS_BYTES)
            }
            Event::PeerDown { peer, reason } => {
                tracing::info!(peer = %name(peer), %reason, "peer disconnected");
                (Work::Pass(Input::PeerDown(peer)), PASS_BYTES)
            }
        };
        let claim = mailbox.claim(class, bytes).await;
        pool.push(class, work, claim);
    }
}
