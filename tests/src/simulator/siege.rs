//! Sieges: a small consortium on a good network, under nothing but messages lost by choice, often. Views
//! change all the time, and what each validator has prepared and committed drifts apart.
//!
//! One kind chooses by time: for about a view, one kind of message reaches one validator only, or nobody.
//! The other chooses by view, whenever that comes: each view has its move, and moves follow one another in
//! *gambits*, the shapes of the shortest attacks that the [model](crate::model) finds on broken rules. Who
//! plays which part, and what deviates from the shape, is drawn.

use super::dice::Dice;
use super::scenario::{Fault, FaultKind, Load, Mute, Noise, Scenario};
use crate::adversaries::Behaviour;
use std::time::Duration;

/// Validators of a besieged consortium.
const N: usize = 4;

/// The first view with a move: by then everyone votes.
const BEGUN: u64 = 2;

/// Views for which a siege has moves.
const VIEWS: u64 = 60;

/// Views without a move between gambits, so that each begins with everyone level.
const REST: u64 = 2;

/// How often parts are given out before it is left at that.
const TRIES: usize = 20;

/// Prepares, by their number in [`Mute::KINDS`].
const PREPARE: usize = 1;
/// Commits, likewise.
const COMMIT: usize = 2;

/// Whom votes of one kind reach, besides whoever casts them.
#[derive(Debug, Clone, Copy)]
enum Reach {
    All,
    Nobody,
    /// One part only, and the accomplice.
    Only(usize),
    /// All, but at every other height nobody.
    EveryOther,
}

use Reach::{All, EveryOther, Nobody, Only};

/// What happens in one view. Validators are named by the part they play, 0 to 3.
#[derive(Debug, Clone, Copy)]
struct Move {
    absent: Option<usize>,
    prepares: Reach,
    commits: Reach,
}

const fn made(absent: Option<usize>, prepares: Reach, commits: Reach) -> Move {
    Move { absent, prepares, commits }
}

/// One validator alone prepares a chain, another alone a rival to it; the first chain is prepared again
/// and committed at a third alone. Whoever goes by the view of its headers then prefers the rival.
const RIVAL: [Move; 4] = [
    made(None, Only(0), All),
    made(Some(0), Only(1), All),
    made(Some(1), All, Only(2)),
    made(Some(2), All, All),
];

/// As before, but the first chain is prepared a second time at a third validator alone, and then at every
/// other height only. Whoever lets a parent count that was prepared in an older view commits its children,
/// though nobody who knows better may be asked in the next view. Part 3 is the accomplice's.
const HALF_A_CHAIN: [Move; 5] = [
    made(None, Only(0), All),
    made(Some(0), Only(1), All),
    made(Some(1), Only(2), All),
    made(Some(1), EveryOther, Only(2)),
    made(Some(2), All, All),
];

/// A chain is committed at one alone; then every other block of it is prepared again, and nothing committed.
/// Whoever goes by the best single certificate forgets what stands above it.
const LOWER_PART: [Move; 3] =
    [made(None, All, Only(0)), made(Some(0), EveryOther, Nobody), made(Some(0), All, All)];

/// Committed at one alone, which then is away.
const ALONE: [Move; 2] = [made(None, All, Only(0)), made(Some(0), All, All)];

/// Lays siege to the consortium of a scenario.
pub(super) fn lay(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.n = N;
    scenario.skew_ms.resize(N, 0);
    scenario.small_mempool = false;
    scenario.dead.clear();
    scenario.parameters.window = dice.between(1, 4);
    scenario.parameters.term_blocks = 256;
    scenario.parameters.max_block_transactions = 1;
    scenario.parameters.view_timeout_ms = 300;
    scenario.parameters.request_timeout_ms = 600;
    scenario.parameters.max_view_timeout_ms = 1_200;
    scenario.noise = Noise { delay_us: (100, 2_000), ..Noise::default() };
    scenario.disk_us = (100, 400);
    scenario.step_cost = Duration::ZERO;
    scenario.stress = dice.millis(4_000, 15_000);
    let liars = [Behaviour::Twins, Behaviour::Withholder, Behaviour::ViewChangeLiar, Behaviour::DoubleVoter];
    scenario.adversaries = match dice.pick(&liars).copied() {
        Some(liar) if dice.chance(250) => vec![(dice.place(N), liar)],
        _ => Vec::new(),
    };
    scenario.load = Load { transactions: 80, repeats: 20, malformed: 0, bursts: 0, burst: 0 };
    let mut moves = dice.fork("moves");
    if moves.chance(500) {
        by_view(scenario, &mut moves);
    } else {
        scenario.faults = by_time(scenario.stress, dice);
    }
}

/// About a view at a time, one kind of message reaches one validator only, or nobody; and whoever it
/// reached is cut off with what it alone has prepared or committed, while the others go on.
fn by_time(stress: Duration, dice: &mut Dice) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at = dice.millis(0, 1_000);
    while at < stress {
        let (lasts, one) = (dice.millis(100, 600), dice.place(N));
        let mutes = match dice.below(10) {
            0..=5 => vec![besieging(one, dice)],
            // Every other height is prepared, and nothing is committed.
            6..=8 => vec![everywhere(PREPARE, Some(dice.below(2))), everywhere(COMMIT, None)],
            _ => Vec::new(),
        };
        faults.extend(mutes.into_iter().map(|mute| Fault { at, lasts, kind: FaultKind::Mute(mute) }));
        at += lasts;
        if dice.chance(600) {
            let lasts = dice.millis(200, 1_800);
            faults.push(Fault { at, lasts, kind: FaultKind::Partition(vec![one]) });
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Proposals, Prepares or Commits, from everyone, to all but one or to nobody.
fn besieging(one: usize, dice: &mut Dice) -> Mute {
    let others = (0..N).filter(|other| *other != one).collect();
    let to = if dice.chance(750) { others } else { (0..N).collect() };
    let parity = if dice.chance(300) { Some(dice.below(2)) } else { None };
    let kind = dice.pick(&[0, PREPARE, PREPARE, COMMIT, COMMIT]).copied().unwrap_or(COMMIT);
    Mute { kinds: vec![kind], from: (0..N).collect(), to, parity, view: None }
}

/// One kind, between all.
fn everywhere(kind: usize, parity: Option<u64>) -> Mute {
    Mute { kinds: vec![kind], from: (0..N).collect(), to: (0..N).collect(), parity, view: None }
}

/// Gambit after gambit, a move each view.
fn by_view(scenario: &mut Scenario, dice: &mut Dice) {
    let accomplice = dice.chance(500).then(|| dice.place(N));
    if let Some(one) = accomplice {
        scenario.adversaries = vec![(one, Behaviour::Accomplice)];
    }
    // Views that fail quickly, however many, and end when they do not fail: the siege gets through more
    // of them.
    scenario.parameters.max_view_timeout_ms = scenario.parameters.view_timeout_ms;
    scenario.parameters.term_blocks = dice.between(3, 6);
    scenario.load.transactions = 240;
    scenario.stress = dice.millis(10_000, 20_000);
    scenario.faults.clear();
    let mut view = BEGUN;
    while view < VIEWS {
        let gambit: &[Move] = match dice.below(10) {
            0..=2 => &HALF_A_CHAIN,
            3..=5 => &RIVAL,
            6..=8 => &LOWER_PART,
            _ => &ALONE,
        };
        let parts = cast(gambit, view, accomplice, dice);
        for shape in gambit {
            let drawn = if dice.chance(100) { any_move(dice) } else { *shape };
            scenario.faults.extend(faults_of(drawn, view, &parts, accomplice, scenario.stress, dice));
            view += 1;
        }
        view += REST;
    }
}

fn any_move(dice: &mut Dice) -> Move {
    let absent = if dice.chance(500) { Some(dice.place(N)) } else { None };
    Move { absent, prepares: any_reach(dice), commits: any_reach(dice) }
}

fn any_reach(dice: &mut Dice) -> Reach {
    match dice.below(6) {
        0..=2 => All,
        3 => Nobody,
        4 => EveryOther,
        _ => Only(dice.place(N)),
    }
}

/// The faults by which a move comes about in a view. They wait for it from the beginning.
fn faults_of(
    drawn: Move,
    view: u64,
    parts: &[usize],
    accomplice: Option<usize>,
    stress: Duration,
    dice: &mut Dice,
) -> Vec<Fault> {
    let mut kinds = Vec::new();
    if let Some(part) = drawn.absent {
        kinds.push(FaultKind::Absent(view, parts[part]));
    }
    for (kind, reach) in [(PREPARE, drawn.prepares), (COMMIT, drawn.commits)] {
        let to = match reach {
            All => continue,
            Nobody | EveryOther => (0..N).collect(),
            // The accomplice is no secret's victim: it has to hear of a vote to join it.
            Only(part) => {
                (0..N).filter(|other| *other != parts[part] && Some(*other) != accomplice).collect()
            }
        };
        let parity = if matches!(reach, EveryOther) { Some(dice.below(2)) } else { None };
        let mute = Mute { kinds: vec![kind], from: (0..N).collect(), to, parity, view: Some(view) };
        kinds.push(FaultKind::Mute(mute));
    }
    if !matches!(drawn.commits, All) {
        // What is committed at one alone stays there for the view: nobody fetches it.
        let (from, to) = ((0..N).collect(), (0..N).collect());
        kinds.push(FaultKind::Mute(Mute {
            kinds: vec![Mute::SYNC],
            from,
            to,
            parity: None,
            view: Some(view),
        }));
    }
    let fault = |kind| Fault { at: Duration::ZERO, lasts: stress, kind };
    kinds.into_iter().map(fault).collect()
}

/// Who plays which part. The accomplice plays the last, and leaders are not absent from their views, for
/// nothing happens in a view whose leader is.
fn cast(gambit: &[Move], view: u64, accomplice: Option<usize>, dice: &mut Dice) -> Vec<usize> {
    let mut parts: Vec<usize> = (0..N).collect();
    for _ in 0..TRIES {
        for place in (1..N).rev() {
            parts.swap(place, dice.place(place + 1));
        }
        if let Some(place) = parts.iter().position(|part| Some(*part) == accomplice) {
            parts.swap(place, N - 1);
        }
        let led = |(step, made): (u64, &Move)| {
            let leader = usize::try_from((view + step) % N as u64).unwrap_or(0);
            made.absent.is_none_or(|absent| parts[absent] != leader)
        };
        if (0..).zip(gambit).all(led) {
            break;
        }
    }
    parts
}
