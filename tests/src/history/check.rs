//! A history against the chain it led to.

use super::world::World;
use super::{Action, Answer, Call, Effect, History, Place};
use anyhow::{Context, Result, bail, ensure};
use quorate_types::hash::TransactionId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The transactions of a chain that was found sound, in order, from some height on.
pub type Chain = BTreeMap<Place, TransactionId>;

/// What a history held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions with a receipt.
    pub receipts: usize,
    /// Those of them that failed, by a version or balance.
    pub failed: usize,
    /// Transactions whose fate their client never learned.
    pub unknown: usize,
    /// Those of them that stand on the chain.
    pub unknown_committed: usize,
    /// Reads with an answer.
    pub reads: usize,
}

/// Checks that the chain explains everything that the clients saw; see [the module](super). `before` is
/// the state before the chain's first transaction.
///
/// # Errors
/// The first call that it does not explain, or the first transaction that no call explains.
pub fn check(history: &History, chain: &Chain, before: &World) -> Result<Counts> {
    let mut counts = Counts::default();
    let places = exactly_once(history, chain, &mut counts)?;
    real_time(history, &places)?;
    let states = outcomes(history, chain, before)?;
    reads(history, &states, &mut counts)?;
    Ok(counts)
}

/// The place of each call's transaction that has one.
fn exactly_once(
    history: &History,
    chain: &Chain,
    counts: &mut Counts,
) -> Result<BTreeMap<TransactionId, Place>> {
    let mut places: BTreeMap<TransactionId, Place> = BTreeMap::new();
    for (place, id) in chain {
        if let Some(first) = places.insert(*id, *place) {
            bail!("transaction {id} stands on the chain twice: at {first:?} and {place:?}");
        }
    }
    let mut submitted: BTreeMap<TransactionId, &Call> = BTreeMap::new();
    for call in &history.calls {
        let Some(id) = call.id else { continue };
        ensure!(submitted.insert(id, call).is_none(), "transaction {id} was submitted twice");
        let stands = places.get(&id);
        match call.answer {
            Answer::Receipt(place, effect) => {
                counts.receipts += 1;
                counts.failed += usize::from(effect != Effect::Applied);
                ensure!(
                    stands == Some(&place),
                    "the receipt names {place:?}, it stands at {stands:?}: {call:?}"
                );
            }
            Answer::Unknown => {
                counts.unknown += 1;
                counts.unknown_committed += usize::from(stands.is_some());
            }
            Answer::Nothing => {
                ensure!(stands.is_none(), "handed to nobody, it stands at {stands:?}: {call:?}")
            }
            Answer::Value { .. } | Answer::Units { .. } => bail!("a transaction is no read: {call:?}"),
        }
    }
    for (id, place) in &places {
        ensure!(submitted.contains_key(id), "nobody submitted transaction {id} at {place:?}");
    }
    Ok(places)
}

/// Whatever was over before another call began stands before it.
fn real_time(history: &History, places: &BTreeMap<TransactionId, Place>) -> Result<()> {
    // The latest place of any call that was over at a time.
    let mut over: BTreeMap<Duration, (Place, &Call)> = BTreeMap::new();
    let mut answered: Vec<&Call> = history.calls.iter().collect();
    answered.sort_by_key(|call| call.answered);
    let mut latest: Option<(Place, &Call)> = None;
    for call in answered {
        if let Answer::Receipt(place, _) = call.answer {
            if latest.is_none_or(|(before, _)| before < place) {
                latest = Some((place, call));
            }
            if let Some(latest) = latest {
                over.insert(call.answered, latest);
            }
        }
    }
    for call in &history.calls {
        let Some(place) = call.id.and_then(|id| places.get(&id)) else { continue };
        let Some((_, (before, earlier))) = over.range(..call.invoked).next_back() else { continue };
        ensure!(
            before < place,
            "a call was over before another began, and stands after it: {earlier:?}, then {call:?} at {place:?}"
        );
    }
    Ok(())
}

/// Replays the chain, and compares every outcome that a client was told. Returns the state after each
/// block that changed it.
fn outcomes(history: &History, chain: &Chain, before: &World) -> Result<BTreeMap<u64, World>> {
    let calls: BTreeMap<TransactionId, &Call> =
        history.calls.iter().filter_map(|call| Some((call.id?, call))).collect();
    let mut world = before.clone();
    let mut states = BTreeMap::from([(0, world.clone())]);
    for (place, id) in chain {
        let call = calls.get(id).context("every transaction has its call")?;
        let effect = world.apply(call.client, &call.action, place.height);
        if let Answer::Receipt(_, told) = call.answer {
            ensure!(told == effect, "at its place it must have come to {effect:?}: {call:?}");
        }
        states.insert(place.height, world.clone());
    }
    Ok(states)
}

/// Every read is of the state after the block it names, and no client is led back in time.
fn reads(history: &History, states: &BTreeMap<u64, World>, counts: &mut Counts) -> Result<()> {
    let mut known: BTreeMap<usize, u64> = BTreeMap::new();
    for call in &history.calls {
        let state = |at: u64| states.range(..=at).next_back().map(|(_, world)| world);
        let at = match (call.action, call.answer) {
            (Action::Read { key }, Answer::Value { at, found }) => {
                let world = state(at).context("there is a state before all")?;
                let holds = world.registers.get(&key).copied();
                ensure!(found == holds, "after block {at} the key held {holds:?}: {call:?}");
                at
            }
            (Action::Balance { of }, Answer::Units { at, units }) => {
                let world = state(at).context("there is a state before all")?;
                let holds = world.balances[of];
                ensure!(units == holds, "after block {at} the balance was {holds}: {call:?}");
                at
            }
            (_, Answer::Receipt(place, _)) => {
                let known = known.entry(call.client).or_default();
                *known = place.height.max(*known);
                continue;
            }
            _ => continue,
        };
        counts.reads += 1;
        let known = known.entry(call.client).or_default();
        ensure!(at >= *known, "this client knew of block {known} already: {call:?}");
        *known = at;
    }
    Ok(())
}
