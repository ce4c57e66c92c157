//! One machine: a whole node (the real core), its disk and guard file, and its power supply.
//!
//! The machine does for the core what the daemon's shell does, step by step, so that it can die between
//! any two: write a group of batches, sync it, write the guard file, send what waited for that, report.

use super::consortium::{Consortium, index, wall};
use super::dice::Dice;
use super::disk::{Backup, Disk};
use super::scenario::Point;
use quorate_ledger::{Column, Store};
use quorate_node::core::api::{Guard, Input, Now, Ready};
use quorate_node::core::mempool::Limits;
use quorate_node::core::{Core, CoreConfig};
use quorate_node::runtime::{BACKLOG_READIES, Inbox};
use quorate_node::storage::{FileIdentity, GUARD_KEY, GuardSlot, Standing};
use quorate_types::codec;
use quorate_types::ids::Height;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Readies that share one sync at most.
const GROUP: usize = 8;

/// How far a group has come on its way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its batches are about to be written.
    Write,
    /// Written; about to be synced.
    Sync,
    /// Synced; the guard file is about to be written.
    Guard,
    /// All safe; messages and reports may leave.
    Say,
}

/// Readies on their way to the disk together.
#[derive(Debug)]
pub struct Group {
    /// In order.
    pub readies: Vec<Ready>,
    /// The core may be held back, and waits for any word from its disk.
    pub behind: bool,
    /// How far they have come.
    pub stage: Stage,
}

impl Group {
    /// The last guard of the group.
    pub fn guard(&self) -> Option<Guard> {
        self.readies.iter().rev().find_map(|ready| ready.guard)
    }

    /// Whether it must survive power loss.
    pub fn sync(&self) -> bool {
        self.readies.iter().any(|ready| ready.sync)
    }
}

/// The guard file: its content, and which file it is.
#[derive(Debug, Clone, Copy)]
pub struct GuardFile {
    /// What it says.
    pub slot: GuardSlot,
    /// Which file it is; a copy is another than its content names.
    pub identity: FileIdentity,
}

/// What a machine died of, to be carried out at a point of its next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Armed {
    /// Where.
    pub point: Point,
    /// Whether the power fails, or just the process dies.
    pub power: bool,
    /// When the machine comes back.
    pub back: Duration,
}

/// One machine.
pub struct Machine {
    /// Which validator it is. Two machines with one identity are twins.
    pub identity: usize,
    /// The node, while it runs.
    pub core: Option<Core<Disk>>,
    /// Counts starts, so that what was meant for an earlier one is recognised.
    pub boot: u64,
    booted: Duration,
    /// Its disk.
    pub disk: Disk,
    /// Its guard file.
    pub guard: Option<GuardFile>,
    votes_at_start: u64,
    files: u64,
    /// How far its wall clock is off, in milliseconds.
    pub skew_ms: i64,
    /// Machines it has a connection to.
    pub connected: BTreeSet<usize>,
    /// Stands still until then.
    pub paused_until: Duration,
    /// Time that a step takes.
    pub step_cost: Duration,
    busy_until: Duration,
    /// Came while it stood still or was busy.
    pub inbox: Inbox,
    /// A timer came meanwhile.
    pub tick_due: bool,
    /// Whether a wake-up is on its way.
    pub waking: bool,
    /// Readies waiting for the disk.
    pub queue: VecDeque<Ready>,
    /// Readies on their way to it.
    pub group: Option<Group>,
    /// How many faults fill the disk now.
    pub full: u32,
    /// The next sync fails.
    pub sync_fails: bool,
    /// Dies at a point of its next batch.
    pub armed: Option<Armed>,
    /// When the scheduled tick comes.
    pub tick_at: Duration,
    /// Down until someone starts it, for this many reasons.
    pub down: u32,
    /// It stopped for good, and says why.
    pub halted: Option<String>,
    /// A bit was flipped, or an old state put back: errors of its storage are to be expected.
    pub damaged: bool,
    /// The last block it has on disk and has reported.
    pub reported: Height,
    /// The backup made of it.
    pub backup: Option<(Backup, Option<GuardFile>)>,
}

impl Machine {
    /// A machine that never ran.
    pub fn new(identity: usize, skew_ms: i64) -> Machine {
        Machine {
            identity,
            core: None,
            boot: 0,
            booted: Duration::ZERO,
            disk: Disk::default(),
            guard: None,
            votes_at_start: 0,
            files: 0,
            skew_ms,
            connected: BTreeSet::new(),
            paused_until: Duration::ZERO,
            step_cost: Duration::ZERO,
            busy_until: Duration::ZERO,
            inbox: Inbox::default(),
            tick_due: false,
            waking: false,
            queue: VecDeque::new(),
            group: None,
            full: 0,
            sync_fails: false,
            armed: None,
            tick_at: Duration::MAX,
            down: 0,
            halted: None,
            damaged: false,
            reported: Height::GENESIS,
            backup: None,
        }
    }

    /// The two clocks, as this machine reads them.
    pub fn clock(&self, now: Duration) -> Now {
        Now { monotonic: now.saturating_sub(self.booted), wall: wall(now, self.skew_ms) }
    }

    /// A moment of its monotonic clock, in the time of the world.
    pub fn world_time(&self, monotonic: Duration) -> Duration {
        self.booted.saturating_add(monotonic)
    }

    /// Starts the node on what the disk holds, as the daemon does. Returns how it judged its memory.
    ///
    /// # Errors
    /// What the daemon would print.
    pub fn start(
        &mut self,
        now: Duration,
        consortium: &Consortium,
        limits: Limits,
        dice: &mut Dice,
    ) -> Result<Standing, String> {
        let chain = consortium.genesis.chain;
        let founded = self.disk.is_empty();
        // RocksDB writes what it finds in its log to table files, and syncs those, before it is open: votes that were
        // written and not synced when the process was killed may be said again.
        self.disk.sync();
        let held = self.disk.get(Column::Votes, GUARD_KEY).map_err(|error| error.to_string())?;
        let held: Guard = match held {
            Some(bytes) => codec::decode(&bytes, 32).map_err(|error| error.to_string())?,
            None => Guard::default(),
        };
        let identity = self.guard.map_or(FileIdentity::default(), |file| file.identity);
        let standing = GuardSlot::judge(self.guard.as_ref().map(|file| &file.slot), identity, &held, founded);
        self.guard = Some(match self.guard {
            Some(file) => GuardFile { slot: file.slot.judged(&standing), ..file },
            None => {
                let identity = self.new_file();
                GuardFile { slot: GuardSlot::first(chain, identity, held, &standing), identity }
            }
        });
        self.boot += 1;
        self.booted = now;
        self.votes_at_start = held.votes;
        self.busy_until = now;
        self.tick_at = Duration::MAX;
        let config = CoreConfig {
            me: index(self.identity),
            vote_key: consortium.vote_keys[self.identity].clone(),
            genesis: consortium.genesis.clone(),
            mempool: limits,
            memory: standing.memory(),
        };
        let mut seed = [0; 32];
        rand_core::Rng::fill_bytes(dice.rng(), &mut seed);
        let core = Core::open(config, self.disk.clone(), self.clock(now), seed);
        let core = core.map_err(|error| error.to_string())?;
        self.reported = core.status().height;
        self.core = Some(core);
        Ok(standing)
    }

    /// A file that is like none before.
    pub fn new_file(&mut self) -> FileIdentity {
        self.files += 1;
        FileIdentity { inode: self.files, born: self.files }
    }

    /// The process ends: everything in memory is gone.
    pub fn stop(&mut self) {
        self.core = None;
        self.connected.clear();
        self.inbox = Inbox::default();
        self.tick_due = false;
        // A wake-up on its way is for the process that is gone.
        self.waking = false;
        self.queue.clear();
        self.group = None;
        self.armed = None;
    }

    /// Whether it can take a step at this moment.
    pub fn is_free(&self, now: Duration) -> bool {
        self.free_at() <= now && !self.has_waiting() && !self.is_behind()
    }

    /// Whether so much waits for the disk that the core must not make more.
    pub fn is_behind(&self) -> bool {
        self.queue.len() >= BACKLOG_READIES
    }

    /// Whether something came while it could not take a step.
    pub fn has_waiting(&self) -> bool {
        self.tick_due || !self.inbox.is_empty()
    }

    /// What it takes next of that, in the daemon's order. Nothing but word from the disk, while that is behind.
    pub fn next_waiting(&mut self) -> Option<Vec<Input>> {
        let held_back = self.is_behind();
        if !held_back && std::mem::take(&mut self.tick_due) {
            return Some(vec![Input::Tick]);
        }
        self.inbox.next(held_back)
    }

    /// When it can take the next step.
    pub fn free_at(&self) -> Duration {
        self.paused_until.max(self.busy_until)
    }

    /// Takes one step, if the node runs.
    pub fn step(&mut self, now: Duration, inputs: Vec<Input>) {
        let clock = self.clock(now);
        if let Some(core) = &mut self.core {
            core.step_all(clock, inputs);
            self.busy_until = now + self.step_cost;
        }
    }

    /// Moves what waits on its way to the disk, if nothing is.
    pub fn begin_group(&mut self) -> bool {
        if self.group.is_some() || self.queue.is_empty() {
            return false;
        }
        let behind = self.is_behind();
        let count = self.queue.len().min(GROUP);
        self.group =
            Some(Group { readies: self.queue.drain(..count).collect(), behind, stage: Stage::Write });
        true
    }

    /// Writes the guard file.
    pub fn remember(&mut self, guard: Guard) {
        let voted = guard.votes > self.votes_at_start;
        if let Some(file) = &mut self.guard {
            file.slot = file.slot.recorded(guard, voted);
        }
    }
}
