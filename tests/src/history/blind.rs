//! Whether the writes that clients saw can be put into one order at all, judged by what they saw alone.
//!
//! The chain is not looked at. `stateright`'s tester searches for an order of the calls in which each
//! gives the answer that its client got, and which keeps to real time: a call that was over before another
//! began comes first. Calls without a definite answer may come at any time after their invocation, or
//! never. Linearizability is local, so each key is judged by itself; accounts are one object, for a
//! transfer touches two.

use super::{Action, Answer, Effect, History, Key};
use anyhow::{Result, ensure};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is known of the version that a key has in an order under trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// This one.
    Known(u64),
    /// Written by a call that was never answered: this one or a later one.
    AtLeast(u64),
}

/// One key. Its value plays no part: versions name values.
#[derive(Debug, Clone)]
struct Register(Version);

impl Register {
    /// Whether the version may be this one; from then on it is.
    fn has(&mut self, version: u64) -> bool {
        let may = match self.0 {
            Version::Known(known) => known == version,
            Version::AtLeast(least) => version >= least,
        };
        if may {
            self.0 = Version::Known(version);
        }
        may
    }

    fn least(&self) -> u64 {
        match self.0 {
            Version::Known(version) | Version::AtLeast(version) => version,
        }
    }
}

/// The expected version of a put.
type Expected = Option<u64>;

/// What a put came to, with the version it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Applied(u64),
    Mismatch(u64),
}

impl SequentialSpec for Register {
    type Op = Expected;
    type Ret = Written;

    /// Of a call without an answer, which the tester may also leave out: so it applies wherever it can.
    fn invoke(&mut self, expected: &Expected) -> Written {
        let least = self.least();
        if expected.is_some_and(|expected| !self.has(expected)) {
            return Written::Mismatch(least);
        }
        self.0 = Version::AtLeast(least.max(1));
        Written::Applied(least.max(1))
    }

    fn is_valid_step(&mut self, expected: &Expected, written: &Written) -> bool {
        match *written {
            Written::Applied(version) => {
                let applies = expected.is_none_or(|expected| self.has(expected));
                let grows = version >= self.least();
                self.0 = Version::Known(version);
                applies && grows
            }
            Written::Mismatch(found) => *expected != Some(found) && self.has(found),
        }
    }
}

/// All accounts.
#[derive(Debug, Clone)]
struct Accounts(Vec<u128>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transfer {
    from: usize,
    to: usize,
    amount: u128,
}

impl SequentialSpec for Accounts {
    type Op = Transfer;
    type Ret = Effect;

    fn invoke(&mut self, transfer: &Transfer) -> Effect {
        let balance = self.0[transfer.from];
        if balance < transfer.amount {
            return Effect::Insufficient { balance };
        }
        self.0[transfer.from] -= transfer.amount;
        self.0[transfer.to] += transfer.amount;
        Effect::Applied
    }
}

/// Checks that there is an order of the writes that explains what every client saw. `units` is what each
/// of `clients` held at the beginning.
///
/// # Errors
/// The object for whose calls there is none.
pub fn linearizable(history: &History, clients: usize, units: u128) -> Result<()> {
    let keys: BTreeSet<Key> = history
        .calls
        .iter()
        .filter_map(|call| match call.action {
            Action::Put { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    for key in keys {
        let found = explained(history, Register(Version::Known(0)), |call| match call.action {
            Action::Put { key: other, expected, .. } if other == key => Some((
                expected,
                match call.answer {
                    Answer::Receipt(place, Effect::Applied) => Some(Written::Applied(place.height)),
                    Answer::Receipt(_, Effect::Mismatch { found }) => Some(Written::Mismatch(found)),
                    _ => None,
                },
            )),
            _ => None,
        })?;
        ensure!(found, "no order of the writes to key {key} explains what the clients saw");
    }
    let found = explained(history, Accounts(vec![units; clients]), |call| match call.action {
        Action::Transfer { to, amount } => Some((
            Transfer { from: call.client, to, amount },
            match call.answer {
                Answer::Receipt(_, effect) => Some(effect),
                _ => None,
            },
        )),
        _ => None,
    })?;
    ensure!(found, "no order of the transfers explains what the clients saw");
    Ok(())
}

/// A moment of a client's call.
enum Event<S: SequentialSpec> {
    Invoke(S::Op),
    Return(S::Ret),
}

/// Whether the tester finds an order of those calls of which `as_call` makes an operation, and its answer
/// if there was a definite one.
fn explained<S>(
    history: &History,
    object: S,
    as_call: impl Fn(&super::Call) -> Option<(S::Op, Option<S::Ret>)>,
) -> Result<bool>
where
    S: SequentialSpec + Clone,
    S::Op: Clone + std::fmt::Debug,
    S::Ret: Clone + std::fmt::Debug,
{
    let mut events: Vec<(Duration, usize, Event<S>)> = Vec::new();
    for call in &history.calls {
        // What was handed to nobody did not happen.
        let Some((operation, answer)) = as_call(call).filter(|_| call.answer != Answer::Nothing) else {
            continue;
        };
        events.push((call.invoked, call.client, Event::Invoke(operation)));
        if let Some(answer) = answer {
            events.push((call.answered, call.client, Event::Return(answer)));
        }
    }
    // At the same time, an invocation comes first: that forbids less.
    events.sort_by_key(|(time, _, event)| (*time, matches!(event, Event::Return(_))));
    let mut tester = LinearizabilityTester::new(object);
    // A call that stays open occupies its thread: its client goes on as another.
    let mut lives: BTreeMap<usize, usize> = BTreeMap::new();
    let mut open: BTreeSet<usize> = BTreeSet::new();
    for (_, client, event) in events {
        let done = match event {
            Event::Invoke(operation) => {
                if !open.insert(client) {
                    *lives.entry(client).or_default() += 1;
                }
                let thread = (client, lives.get(&client).copied().unwrap_or_default());
                tester.on_invoke(thread, operation).map(|_| ())
            }
            Event::Return(answer) => {
                open.remove(&client);
                let thread = (client, lives.get(&client).copied().unwrap_or_default());
                tester.on_return(thread, answer).map(|_| ())
            }
        };
        done.map_err(|error| anyhow::anyhow!("a client has two calls at a time: {error}"))?;
    }
    Ok(tester.is_consistent())
}
