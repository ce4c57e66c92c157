//! What a seed draws: the consortium, its load, and everything that goes wrong.
//!
//! Swarm-style: each seed decides which kinds of faults exist in its world at all, and how strong they
//! are. A world with everything at once hides what a world with one thing, often, would show.

use super::dice::Dice;
use super::siege;
use crate::adversaries::Behaviour;
use quorate_types::parameters::Parameters;
use quorate_types::validators::Quorum;
use std::fmt;
use std::time::Duration;

/// Noise on every link while faults last.
#[derive(Debug, Clone, Default)]
pub struct Noise {
    /// One-way delay, in microseconds, from and to.
    pub delay_us: (u64, u64),
    /// Frames lost, of a thousand.
    pub loss: u64,
    /// Frames that come twice, of a thousand.
    pub duplication: u64,
    /// Frames that later ones may overtake, of a thousand.
    pub reordering: u64,
    /// Frames that come again much later, of a thousand.
    pub replay: u64,
}

/// At which step of making something durable a machine dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before the batch is written.
    BeforeWrite,
    /// Written, not synced.
    BeforeSync,
    /// Synced; the guard file is not written yet.
    BeforeGuard,
    /// Guard written; nothing is said yet.
    BeforeSend,
    /// Some messages are on their way, the others are not.
    WhileSending,
}

impl Point {
    /// Every point.
    pub const ALL: [Point; 5] =
        [Point::BeforeWrite, Point::BeforeSync, Point::BeforeGuard, Point::BeforeSend, Point::WhileSending];
}

/// Messages of the ordering protocol that do not get through: some kinds, from some, to some, in every
/// view or in one, at every height or at every other one. Loss that knows what it loses finds states that blind loss does not: a
/// block committed at one replica only, the lower part of a chain prepared again and the upper not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mute {
    /// Kinds, by their numbers in [`Mute::KINDS`], and [`Mute::SYNC`].
    pub kinds: Vec<usize>,
    /// Of these senders.
    pub from: Vec<usize>,
    /// To these recipients.
    pub to: Vec<usize>,
    /// At heights with this remainder by two only; kinds without a height pass then.
    pub parity: Option<u64>,
    /// Of this view only.
    pub view: Option<u64>,
}

impl Mute {
    /// Kinds of messages that can be muted.
    pub const KINDS: [&'static str; 5] = ["PrePrepare", "Prepare", "Commit", "ViewChange", "NewView"];

    /// The number of whatever is on the lane of sync, which speaks of no view: it counts to the highest.
    pub const SYNC: usize = Mute::KINDS.len();

    fn draw(n: usize, dice: &mut Dice) -> Mute {
        let (kinds, from) = (dice.between(1, 3), dice.between(1, n as u64));
        let to = dice.between(1, n as u64);
        let some =
            |dice: &mut Dice, of: usize, count: u64| dice.some_of(of, usize::try_from(count).unwrap_or(1));
        Mute {
            kinds: some(dice, Mute::KINDS.len(), kinds),
            from: some(dice, n, from),
            to: some(dice, n, to),
            parity: if dice.chance(400) { Some(dice.below(2)) } else { None },
            view: None,
        }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing passes between these machines and the others.
    Partition(Vec<usize>),
    /// Nothing passes from the first to the second.
    OneWay(Vec<usize>, Vec<usize>),
    /// Some messages do not get through.
    Mute(Mute),
    /// Nothing passes to or from this validator, from the first message of this view to the first of a
    /// higher one.
    Absent(u64, usize),
    /// The link between two goes down and up, every so many milliseconds.
    Flap(usize, usize, u64),
    /// The process of one machine dies, at the given point of its next batch if there is one.
    Kill(usize, Option<Point>),
    /// The power of one machine fails, likewise.
    Power(usize, Option<Point>),
    /// The power of all machines fails at once.
    PowerOfAll,
    /// One machine stands still.
    Pause(usize),
    /// One machine needs so many microseconds for each step.
    Slow(usize, u64),
    /// The wall clock of one machine jumps by so many milliseconds.
    ClockJump(usize, i64),
    /// The disk of one machine is full.
    DiskFull(usize),
    /// The next sync of one machine fails.
    SyncFails(usize),
    /// Power fails, and the log of one machine is damaged: synced batches are lost.
    TornLog(usize),
    /// A bit flips on the disk of one machine.
    BitFlip(usize),
    /// The database of one machine is lost; the guard file too, or not.
    Wipe(usize, bool),
    /// A backup made at the beginning is put back at the end; as a copy, or in place.
    Restore(usize, bool),
}

impl FaultKind {
    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Partition(_) => "partition",
            FaultKind::OneWay(..) => "one-way partition",
            FaultKind::Mute(_) => "muted messages",
            FaultKind::Absent(..) => "absence for a view",
            FaultKind::Flap(..) => "flapping link",
            FaultKind::Kill(_, None) => "kill",
            FaultKind::Kill(_, Some(_)) => "kill at a persistence point",
            FaultKind::Power(_, None) => "power loss",
            FaultKind::Power(_, Some(_)) => "power loss at a persistence point",
            FaultKind::PowerOfAll => "power loss of all",
            FaultKind::Pause(_) => "pause",
            FaultKind::Slow(..) => "slow machine",
            FaultKind::ClockJump(..) => "clock jump",
            FaultKind::DiskFull(_) => "full disk",
            FaultKind::SyncFails(_) => "failed sync",
            FaultKind::TornLog(_) => "torn log",
            FaultKind::BitFlip(_) => "bit flip",
            FaultKind::Wipe(..) => "wiped disk",
            FaultKind::Restore(..) => "old backup",
        }
    }

    /// Every name, for a summary that shows what never happened.
    pub const NAMES: [&'static str; 19] = [
        "partition",
        "one-way partition",
        "muted messages",
        "absence for a view",
        "flapping link",
        "kill",
        "kill at a persistence point",
        "power loss",
        "power loss at a persistence point",
        "power loss of all",
        "pause",
        "slow machine",
        "clock jump",
        "full disk",
        "failed sync",
        "torn log",
        "bit flip",
        "wiped disk",
        "old backup",
    ];
}

/// A fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts: until the link is back, the machine restarts, the disk has room.
    pub lasts: Duration,
    /// What it is.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms for {} ms: {:?}", self.at.as_millis(), self.lasts.as_millis(), self.kind)
    }
}

/// What clients do.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Transactions of honest clients while faults last.
    pub transactions: usize,
    /// Of a thousand: submitted to several validators, or again later.
    pub repeats: u64,
    /// Of a thousand: refused for a reason that the ledger names.
    pub malformed: u64,
    /// Bursts of one greedy member.
    pub bursts: usize,
    /// Transactions of one burst.
    pub burst: usize,
}

/// One world.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed everything else follows from.
    pub seed: u64,
    /// Validators.
    pub n: usize,
    /// The chain's parameters.
    pub parameters: Parameters,
    /// Mempool limits are small in some worlds, so that they are met.
    pub small_mempool: bool,
    /// Noise on links.
    pub noise: Noise,
    /// Time of one write or sync, in microseconds, from and to.
    pub disk_us: (u64, u64),
    /// Time that a step of a core takes; zero in half of the worlds. In the others inputs wait for one
    /// another, by class, and transactions are gathered.
    pub step_cost: Duration,
    /// How far each machine's wall clock is off, in milliseconds.
    pub skew_ms: Vec<i64>,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
    /// Validators that lie, and how.
    pub adversaries: Vec<(usize, Behaviour)>,
    /// Validators that stay dead after the faults.
    pub dead: Vec<usize>,
    /// What clients do.
    pub load: Load,
    /// How long faults may begin.
    pub stress: Duration,
    /// How long nobody wants anything, once everyone has everything; zero in half of the worlds.
    pub lull: Duration,
    /// What was taken out of the world of the seed.
    pub cut: Cut,
}

/// What is taken out of a scenario to find the least that still fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// The faults that stay, by position; `None` for all.
    pub keep: Option<Vec<usize>>,
    /// Links are quiet.
    pub quiet: bool,
    /// At most so many transactions.
    pub load: Option<usize>,
    /// Faults, load and lies end so early, in milliseconds.
    pub stress_ms: Option<u64>,
    /// Nobody lies.
    pub honest: bool,
    /// The run ends once everyone has everything.
    pub brisk: bool,
    /// Steps take no time, but of machines that are slow.
    pub nimble: bool,
}

impl Cut {
    /// The options that replay it.
    pub fn options(&self) -> String {
        let mut options = String::new();
        if let Some(keep) = &self.keep {
            let list: Vec<String> = keep.iter().map(ToString::to_string).collect();
            options += &format!(" --keep {}", if list.is_empty() { "none".into() } else { list.join(",") });
        }
        if self.quiet {
            options += " --quiet";
        }
        if let Some(load) = self.load {
            options += &format!(" --load {load}");
        }
        if let Some(stress) = self.stress_ms {
            options += &format!(" --stress-ms {stress}");
        }
        if self.honest {
            options += " --honest";
        }
        if self.brisk {
            options += " --brisk";
        }
        if self.nimble {
            options += " --nimble";
        }
        options
    }
}

/// Which kinds exist in a world: each does in a third of them.
struct Swarm {
    dice: Dice,
}

impl Swarm {
    fn on(&mut self) -> bool {
        self.dice.chance(330)
    }
}

impl Scenario {
    /// The world of a seed.
    pub fn draw(seed: u64) -> Scenario {
        let mut scenario = Scenario::draw_any(seed);
        let mut dice = Dice::new(seed).fork("siege");
        if dice.chance(250) {
            siege::lay(&mut scenario, &mut dice);
        }
        scenario
    }

    fn draw_any(seed: u64) -> Scenario {
        let dice = Dice::new(seed);
        let mut shape = dice.fork("shape");
        let sizes = [4, 4, 4, 4, 4, 4, 4, 5, 6, 7, 7, 1, 2, 3, 8, 9, 10, 13];
        let n = shape.pick(&sizes).copied().unwrap_or(4);
        let windows = [4, 4, 4, 1, 2, 3, 5, 6, 7, 8];
        let view_timeout_ms = shape.pick(&[600, 600, 300, 1000]).copied().unwrap_or(600);
        let parameters = Parameters {
            window: shape.pick(&windows).copied().unwrap_or(4),
            term_blocks: shape.pick(&[256, 1, 3, 8, 20]).copied().unwrap_or(256),
            max_block_transactions: shape.pick(&[10_000, 1, 2, 5, 50]).copied().unwrap_or(10_000),
            view_timeout_ms,
            request_timeout_ms: view_timeout_ms * shape.between(2, 4),
            max_view_timeout_ms: view_timeout_ms * shape.between(4, 16),
            max_lifetime_ms: shape.pick(&[300_000, 300_000, 25_000]).copied().unwrap_or(300_000),
            ..Parameters::default()
        };
        let stress = shape.millis(4_000, 40_000);
        let mut swarm = Swarm { dice: dice.fork("swarm") };
        let noise = Scenario::draw_noise(&mut swarm, &mut shape);
        let disk_us = shape.pick(&[(100, 400), (100, 400), (500, 8_000), (50, 60_000)]).copied();
        let skewed = swarm.on();
        let skew_ms = (0..n).map(|_| if skewed { signed(&mut shape, 4_000) } else { signed(&mut shape, 5) });
        let skew_ms = skew_ms.collect();

        let f = Quorum::of(n).f;
        let mut budget = dice.fork("budget");
        let mut faulty = budget.some_of(n, f);
        let liars = if budget.chance(500) { budget.place(f + 1) } else { 0 };
        let mut adversaries = Vec::new();
        for _ in 0..liars {
            let at = budget.place(faulty.len());
            let liar = faulty.swap_remove(at);
            let behaviour = budget.pick(Behaviour::anywhere()).copied().unwrap_or(Behaviour::Garbage);
            adversaries.push((liar, behaviour));
        }
        adversaries.sort_unstable_by_key(|(liar, _)| *liar);
        let amnesia = !faulty.is_empty() && budget.chance(400);
        let forgetful = if amnesia { std::mem::take(&mut faulty) } else { Vec::new() };
        let dead = if !amnesia && budget.chance(300) { faulty } else { Vec::new() };
        let faults = Scenario::draw_faults(n, stress, &forgetful, &mut swarm, &mut dice.fork("faults"));
        let mut clients = dice.fork("load");
        let load = Load {
            transactions: usize::try_from(clients.between(10, 120)).unwrap_or(10),
            repeats: if swarm.on() { 300 } else { 20 },
            malformed: if swarm.on() { 200 } else { 10 },
            bursts: if swarm.on() { clients.place(4) } else { 0 },
            burst: usize::try_from(clients.between(20, 120)).unwrap_or(20),
        };
        Scenario {
            seed,
            n,
            parameters,
            small_mempool: swarm.on(),
            noise,
            disk_us: disk_us.unwrap_or((100, 400)),
            step_cost: Scenario::draw_step_cost(n, &mut dice.fork("steps")),
            skew_ms,
            faults,
            adversaries,
            dead,
            load,
            stress,
            lull: Scenario::draw_lull(n, &mut dice.fork("lull")),
            cut: Cut::default(),
        }
    }

    /// Some minutes in which every lifetime ends; beacons alone go from each to each, so fewer for many.
    fn draw_lull(n: usize, dice: &mut Dice) -> Duration {
        if dice.chance(500) {
            return Duration::ZERO;
        }
        if n <= 4 { dice.millis(60_000, 1_200_000) } else { dice.millis(10_000, 60_000) }
    }

    /// With more validators each hears more.
    fn draw_step_cost(n: usize, dice: &mut Dice) -> Duration {
        if dice.chance(500) {
            return Duration::ZERO;
        }
        dice.micros(50, 8_000 / n as u64)
    }

    fn draw_noise(swarm: &mut Swarm, dice: &mut Dice) -> Noise {
        let delays = [(100, 1_000), (100, 1_000), (1_000, 10_000), (20_000, 60_000), (100, 150_000)];
        Noise {
            delay_us: dice.pick(&delays).copied().unwrap_or((100, 1_000)),
            loss: if swarm.on() { dice.between(1, 200) } else { 0 },
            duplication: if swarm.on() { dice.between(1, 200) } else { 0 },
            reordering: if swarm.on() { dice.between(1, 300) } else { 0 },
            replay: if swarm.on() { dice.between(1, 50) } else { 0 },
        }
    }

    fn draw_faults(
        n: usize,
        stress: Duration,
        forgetful: &[usize],
        swarm: &mut Swarm,
        dice: &mut Dice,
    ) -> Vec<Fault> {
        let mut kinds: Vec<u8> = (0..14).filter(|_| swarm.on()).collect();
        if kinds.is_empty() && !forgetful.is_empty() {
            kinds.push(11);
        }
        let end = u64::try_from(stress.as_millis()).unwrap_or(1).max(1);
        let mut faults = Vec::new();
        if !kinds.is_empty() {
            for _ in 0..dice.between(1, 14) {
                let at = dice.millis(0, end - 1);
                let lasts = match dice.below(4) {
                    0 => dice.millis(1, 300),
                    1 => dice.millis(300, 3_000),
                    2 => dice.millis(1_000, 12_000),
                    _ => dice.millis(1_000, end),
                };
                let kind = dice.pick(&kinds).copied().unwrap_or(0);
                if let Some(kind) = Scenario::draw_fault(kind, n, forgetful, dice) {
                    faults.push(Fault { at, lasts, kind });
                }
            }
        }
        faults.sort_by_key(|fault| fault.at);
        faults
    }

    fn draw_fault(kind: u8, n: usize, forgetful: &[usize], dice: &mut Dice) -> Option<FaultKind> {
        let one = dice.place(n);
        let point = dice.pick(&Point::ALL).copied();
        let several = dice.place(n).max(1);
        let weak = dice.pick(forgetful).copied();
        Some(match kind {
            0 => FaultKind::Partition(dice.some_of(n, several)),
            1 => FaultKind::OneWay(dice.some_of(n, several), dice.some_of(n, several)),
            2 => FaultKind::Flap(one, dice.place(n), dice.between(20, 2_000)),
            3 => FaultKind::Kill(one, None),
            4 => FaultKind::Kill(one, point),
            5 => FaultKind::Power(one, if dice.chance(500) { point } else { None }),
            6 => FaultKind::PowerOfAll,
            7 => FaultKind::Pause(one),
            8 => FaultKind::Slow(one, dice.between(200, 40_000)),
            9 => FaultKind::ClockJump(one, signed(dice, 15_000)),
            10 => {
                if dice.chance(500) {
                    FaultKind::DiskFull(one)
                } else {
                    FaultKind::SyncFails(one)
                }
            }
            13 => FaultKind::Mute(Mute::draw(n, dice)),
            11 => match (weak?, dice.below(4)) {
                (weak, 0) => FaultKind::Wipe(weak, true),
                (weak, 1) => FaultKind::Wipe(weak, false),
                (weak, 2) => FaultKind::Restore(weak, true),
                (weak, _) => FaultKind::Restore(weak, false),
            },
            _ => {
                if dice.chance(500) {
                    FaultKind::TornLog(weak?)
                } else {
                    FaultKind::BitFlip(weak?)
                }
            }
        })
    }

    /// The scenario with a cut made.
    pub fn with_cut(mut self, cut: Cut) -> Scenario {
        if let Some(keep) = &cut.keep {
            let all = std::mem::take(&mut self.faults);
            let kept = all.into_iter().enumerate().filter(|(place, _)| keep.contains(place));
            self.faults = kept.map(|(_, fault)| fault).collect();
        }
        if cut.quiet {
            self.noise = Noise { delay_us: self.noise.delay_us, ..Noise::default() };
        }
        if let Some(load) = cut.load {
            self.load.transactions = self.load.transactions.min(load);
            self.load.bursts = 0;
        }
        if let Some(stress) = cut.stress_ms {
            self.stress = self.stress.min(Duration::from_millis(stress));
        }
        if cut.honest {
            self.adversaries.clear();
        }
        if cut.brisk {
            self.lull = Duration::ZERO;
        }
        if cut.nimble {
            self.step_cost = Duration::ZERO;
        }
        self.cut = cut;
        self
    }

    /// The longest that a healed consortium may take to commit what it is given then.
    ///
    /// In the worst case a replica has just begun a view at the longest timeout, the next leaders lie
    /// or are dead and each uses up a view and the patience of requests, and a peer that had failed to
    /// serve blocks rests before it is asked again. What each term stands for:
    ///
    /// - 5 s: silence counts as out of reach for 4 s, and beacons come every second;
    /// - (f + 3) views at the cap: one under way, one to converge on, the leaders at fault, one good one;
    /// - (f + 1) request timeouts: leaders that propose, but not what waits;
    /// - 16 s: the longest rest of a peer that failed in sync, and the longest wait for its answer;
    /// - 16 s: blocks of a liar that cut their certificate off;
    /// - 12 s: a transaction deferred, or announced, for which there was no room;
    /// - blocks for all that clients ever wanted, each with five messages and eight writes one after the
    ///   other, a step for each vote and ten more, and, at the end of a term, its share of leaders that use
    ///   up a view.
    pub fn progress_bound(&self) -> Duration {
        let f = Quorum::of(self.n).f as u64;
        let cap = Duration::from_millis(self.parameters.max_view_timeout_ms);
        let request = Duration::from_millis(self.parameters.request_timeout_ms);
        let views = u32::try_from(f + 3).unwrap_or(u32::MAX);
        let requests = u32::try_from(f + 1).unwrap_or(u32::MAX);
        let wanted = self.load.transactions + self.load.bursts * self.load.burst;
        let blocks = (wanted as u64).div_ceil(u64::from(self.parameters.max_block_transactions));
        let steps = 3 * self.n as u64 + 10;
        let step_us = u64::try_from(self.step_cost.as_micros()).unwrap_or(u64::MAX);
        let block_us = 5 * self.noise.delay_us.1 + 8 * self.disk_us.1 + steps * step_us;
        let view_us = self.parameters.max_view_timeout_ms * 1000 * f
            / (self.n as u64 * self.parameters.term_blocks.max(1));
        Duration::from_secs(5 + 16 + 16 + 12)
            + cap * views
            + request * requests
            + Duration::from_micros(blocks * (block_us + view_us))
    }
}

fn signed(dice: &mut Dice, most: u64) -> i64 {
    let size = i64::try_from(dice.between(0, most)).unwrap_or(0);
    if dice.chance(500) { size } else { -size }
}
