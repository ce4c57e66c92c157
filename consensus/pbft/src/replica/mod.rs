//! The replica: all it knows, and the one match through which every message passes.

mod ordering;
mod recovery;
mod resend;
mod views;

use crate::evidence::Evidence;
use crate::future::Future;
use crate::learning::{Claim, Learning};
use crate::message::{Committee, Message, Phase, Status, VerifiedMessage};
use crate::output::{Output, To};
use crate::slot::Slot as HeightSlot;
use crate::suspicion::Suspicion;
use crate::timer::Timeout;
use crate::view_change::Plan;
use quorate_types::certificate::{Certificate, Commit, PreparedCertificate};
use quorate_types::hash::{BlockHash, ResultHash};
use quorate_types::ids::{Height, ValidatorIndex, View};
use quorate_types::keys::SecretKey;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use recovery::Recovered;

/// What a replica is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who votes.
    pub committee: Arc<Committee>,
    /// Which of them this is.
    pub me: ValidatorIndex,
    /// With which key it votes.
    pub key: SecretKey,
    /// Blocks after which leadership moves on.
    pub term_blocks: u64,
    /// How long a proposal may stay without progress.
    pub view_timeout: Duration,
    /// The cap of that, as it grows.
    pub max_view_timeout: Duration,
    /// How long a transaction may wait.
    pub request_timeout: Duration,
    /// Transactions from which on a block counts as full, so that waiting behind it is honest.
    pub full_block_transactions: usize,
}

/// The last committed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its height; 0 at genesis.
    pub height: Height,
    /// Its hash; the chain id at genesis.
    pub block: BlockHash,
    /// The hash of its result.
    pub result: ResultHash,
    /// Its certificate; `None` at genesis only.
    pub certificate: Option<Certificate>,
}

/// Where the leader may propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The view.
    pub view: View,
    /// The height.
    pub height: Height,
    /// The block to extend: accepted and executed here.
    pub parent: BlockHash,
    /// Proposals in flight below it.
    pub in_flight: u64,
}

/// Why a block was not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The rule it breaks.
    pub reason: String,
}

/// How much a replica keeps of what others send: numbers of entries, each bounded by the number of
/// validators and the window W.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Proposals and votes of views to come.
    pub future: usize,
    /// Heights with a proposal or votes, at most 2 W.
    pub heights: usize,
    /// Own Commits on committed blocks, at most W.
    pub settled: usize,
    /// Own Commits above the committed block, at most W.
    pub promises: usize,
    /// ViewChanges, at most one of each validator.
    pub view_changes: usize,
}

/// A Commit vote above the last committed block, and why it was cast.
#[derive(Debug, Clone)]
struct Promise {
    commit: Commit,
    prepared: PreparedCertificate,
}

/// Pieces of evidence announced for each signer; one would convict it.
const EVIDENCE_PER_SIGNER: u32 = 16;

/// How long the same peer is not answered again.
const ANSWER_INTERVAL: Duration = Duration::from_millis(50);

/// The longest pause between beacons.
const BEACON_INTERVAL: Duration = Duration::from_secs(1);

/// How long a validator may be silent before it counts as out of reach: a few lost beacons.
const SILENCE: Duration = Duration::from_secs(4);

/// One validator's part in the ordering protocol. See the [crate](crate) for the rules.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    now: Duration,

    /// The view this replica is in, or moves to. It votes in none below.
    view: View,
    /// Whether `view` has begun: its NewView is here, or it is view 0.
    active: bool,
    /// What `view` started from, when active.
    plan: Plan,
    new_view: Option<VerifiedMessage>,
    own_view_change: Option<VerifiedMessage>,

    committed: Committed,
    /// The view whose votes `slots` hold: `view` when active, else the one left, whose Commits still
    /// count.
    slots_view: View,
    /// Heights above the committed one, at most 2 W of them.
    slots: BTreeMap<Height, HeightSlot>,
    /// This replica's Commit votes of this view on the last W committed blocks: a peer that lacks one
    /// of them asks for it when nothing else holds it any more.
    settled: BTreeMap<Height, VerifiedMessage>,
    /// By height above the committed one: the last Commit vote, of whatever view.
    promises: BTreeMap<Height, Promise>,
    future: Future,

    /// The ViewChange of the highest view of each validator.
    view_changes: BTreeMap<ValidatorIndex, VerifiedMessage>,
    /// The highest view each validator is known to have reached.
    reached: BTreeMap<ValidatorIndex, View>,
    /// Since when a quorum has sent ViewChanges for `view`.
    quorum_since: Option<Duration>,

    claims: BTreeMap<ValidatorIndex, Claim>,
    learning: Learning,

    timeout: Timeout,
    suspicion: Suspicion,
    committed_in_view: bool,
    last_progress: Duration,
    beacon_at: Duration,
    /// Since when nothing moved, or was asked for; and how long to wait before asking (again).
    ask_from: Duration,
    ask_pause: Duration,
    /// Whether it waited for something after the last event.
    waited: bool,
    /// The highest block known to be final, to be fetched if it is not committed here.
    wanted: Height,
    answered: BTreeMap<ValidatorIndex, Duration>,
    /// When something signed by each validator last came.
    heard: BTreeMap<ValidatorIndex, Duration>,
    accused: BTreeMap<ValidatorIndex, u32>,
    halted: Option<String>,

    outputs: VecDeque<Output>,
}

impl Replica {
    /// Takes a verified message. It is judged by its signer; by which connection it came is of no
    /// interest.
    pub fn receive(&mut self, now: Duration, message: VerifiedMessage) {
        self.now = now;
        if self.halted.is_some() || message.signer() == self.config.me {
            return;
        }
        self.heard.insert(message.signer(), now);
        match message.message() {
            Message::PrePrepare(m) => self.on_ordering(m.statement.header.height, message.clone()),
            Message::Prepare(m) => self.on_ordering(m.statement.height, message.clone()),
            Message::Commit(m) => self.on_ordering(m.statement.height, message.clone()),
            Message::ViewChange(_) => self.on_view_change(message),
            Message::NewView(_) => self.on_new_view(message),
            Message::Status(m) => self.on_status(m.signer, m.statement),
        }
        self.join();
        self.advance();
    }

    /// Time passed.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        if self.halted.is_some() {
            return;
        }
        self.check_timers();
        self.beacon();
        self.advance();
    }

    /// The answer to [`Output::Execute`].
    pub fn executed(&mut self, now: Duration, block: BlockHash, verdict: Result<ResultHash, Rejection>) {
        self.now = now;
        if self.halted.is_none() {
            self.on_executed(block, verdict);
            self.advance();
        }
    }

    /// Since when the oldest transaction that could be proposed waits here.
    pub fn waiting(&mut self, since: Option<Duration>) {
        self.suspicion.waiting(since);
    }

    /// Blocks were committed by fetching them, up to the one `certificate` names.
    ///
    /// # Panics
    /// If that is not above the committed height: the driver's mistake.
    pub fn caught_up(&mut self, now: Duration, certificate: Certificate) {
        self.now = now;
        assert!(certificate.commit.height > self.committed.height, "catching up moves forward");
        self.note_certificate(&certificate);
        self.move_committed(certificate);
        self.join();
        self.advance();
    }

    /// Stops for good: the driver found its own state wrong.
    pub fn halt(&mut self, why: String) {
        if self.halted.is_none() {
            self.outputs.push_back(Output::Halt(why.clone()));
            self.halted = Some(why);
        }
    }

    /// What to do next; in order.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The view it is in, or moves to.
    pub fn view(&self) -> View {
        self.view
    }

    /// The leader of that view.
    pub fn leader(&self) -> ValidatorIndex {
        self.config.committee.validators.leader(self.view)
    }

    /// Where it stands in that view.
    pub fn phase(&self) -> Phase {
        match (&self.learning, self.active) {
            (Learning::No, true) => Phase::Active,
            (Learning::No, false) => Phase::Changing,
            _ => Phase::Learning,
        }
    }

    /// The last committed block.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// What it knows of forgotten votes.
    pub fn learning(&self) -> &Learning {
        &self.learning
    }

    /// Views that failed in a row: blocks should shrink.
    pub fn failed_views(&self) -> u32 {
        self.timeout.failed_views()
    }

    /// Why it stopped, if it did.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// The last claimed height and view of a validator.
    pub fn claim(&self, validator: ValidatorIndex) -> Option<(Height, View)> {
        self.claims.get(&validator).map(|claim| (claim.height, claim.view))
    }

    /// How much it keeps of what others send.
    pub fn held(&self) -> Held {
        Held {
            future: self.future.len(),
            heights: self.slots.len(),
            settled: self.settled.len(),
            promises: self.promises.len(),
            view_changes: self.view_changes.len(),
        }
    }

    /// When [`Replica::tick`] is due.
    pub fn deadline(&self) -> Duration {
        if self.halted.is_some() {
            return Duration::MAX;
        }
        let timers = [self.stall_deadline(), self.view_deadline(), self.censorship_deadline()];
        timers.into_iter().flatten().fold(self.beacon_deadline(), Duration::min)
    }

    fn quorum(&self) -> usize {
        self.config.committee.validators.quorum().q
    }

    fn one_honest(&self) -> usize {
        self.config.committee.validators.quorum().one_honest()
    }

    fn window(&self) -> u64 {
        self.config.committee.window
    }

    fn i_lead(&self) -> bool {
        self.leader() == self.config.me
    }

    fn may_vote(&self) -> bool {
        self.learning == Learning::No && self.halted.is_none()
    }

    fn send(&mut self, to: To, message: VerifiedMessage) {
        self.outputs.push_back(Output::Send { to, message, at_once: false });
    }

    fn send_at_once(&mut self, to: To, message: VerifiedMessage) {
        self.outputs.push_back(Output::Send { to, message, at_once: true });
    }

    fn accuse(&mut self, first: &VerifiedMessage, second: &VerifiedMessage) {
        let Some(evidence) = Evidence::of(first, second) else { return };
        let count = self.accused.entry(first.signer()).or_default();
        if *count < EVIDENCE_PER_SIGNER {
            *count += 1;
            self.outputs.push_back(Output::Evidence(evidence));
        }
    }

    fn status(&self, stalled: bool) -> Status {
        Status {
            view: self.view,
            phase: self.phase(),
            height: self.committed.height,
            proposals: self.has_proposals_up_to(),
            stalled,
            founding: self.committed.height == Height::GENESIS,
        }
    }
}
