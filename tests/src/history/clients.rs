//! Real clients that read and write a few keys and accounts at the same time, and note what they see.

use super::check::Chain;
use super::{Action, Answer, Call, Effect, History, Key, Place};
use crate::Consortium;
use anyhow::{Context, Result, bail, ensure};
use quorate_client::client::Client;
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_client::error::ClientError;
use quorate_client::verify::VerifiedReceipt;
use quorate_ledger::{StateKey, StateValue};
use quorate_types::ids::Height;
use quorate_types::keys::PublicKey;
use quorate_types::outcome::{Failure, Outcome};
use quorate_types::transaction::{Operation, Version};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Keys that the clients share: few, so that they meet.
const KEYS: Key = 3;

/// What each client holds at the beginning.
pub const UNITS: u128 = 100;

/// How long a transaction may take to commit: short, so that in an outage its client learns nothing of it
/// and goes on.
const LIFETIME: Duration = Duration::from_secs(3);

const NAMESPACE: &str = "shared";
const ASSET: &str = "units";

/// Clients at work.
pub struct Clients {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    running: Vec<JoinHandle<Result<Vec<Call>>>>,
    /// The height of the last block before the history.
    from: Height,
}

impl Clients {
    /// Opens the namespace to these members, endows each, and starts a client for each of them. `seed`
    /// decides what they do.
    ///
    /// # Errors
    /// If the beginning does not commit.
    pub async fn start(consortium: &Consortium, members: &[&str], seed: u64) -> Result<Clients> {
        let mut clients = Vec::new();
        for member in members {
            clients.push(consortium.client(member)?);
        }
        let founder = clients.first().context("there is a client")?;
        let keys = members
            .iter()
            .map(|member| Ok(quorate_genesis::MemberKeys::load(&consortium.keys(member))?.member.public()))
            .collect::<Result<Vec<PublicKey>>>()?;
        let mut writers = keys.clone();
        writers.sort_unstable();
        let mut operations = vec![
            Operation::CreateNamespace { namespace: NAMESPACE.to_owned() },
            Operation::SetNamespaceMembers {
                namespace: NAMESPACE.to_owned(),
                owners: writers.clone(),
                writers,
            },
            Operation::CreateAsset { asset: ASSET.to_owned() },
        ];
        operations.extend(keys.iter().map(|to| Operation::Mint {
            asset: ASSET.to_owned(),
            to: *to,
            amount: UNITS,
        }));
        let receipt = founder.submit(&founder.sign(operations, DEFAULT_LIFETIME)).await?;
        ensure!(*receipt.outcome() == Outcome::Applied, "the beginning failed: {:?}", receipt.outcome());

        let stop = Arc::<AtomicBool>::default();
        let made = Arc::<AtomicU64>::default();
        let began = Instant::now();
        let values = Arc::<AtomicU64>::default();
        let keys = Arc::new(keys);
        let running = clients.into_iter().enumerate().map(|(index, client)| {
            let mut one = One {
                index,
                client,
                keys: Arc::clone(&keys),
                values: Arc::clone(&values),
                rng: StdRng::seed_from_u64(seed.wrapping_mul(1000) + index as u64),
                began,
                versions: [0; KEYS as usize],
            };
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                let mut calls = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    calls.push(one.call().await?);
                    made.fetch_add(1, Ordering::Relaxed);
                }
                Ok(calls)
            })
        });
        let running = running.collect();
        Ok(Clients { stop, made, running, from: receipt.height() })
    }

    /// How many calls have ended so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// The height of the last block before the history.
    pub fn from(&self) -> Height {
        self.from
    }

    /// Lets each client finish its call, and returns what all of them saw.
    ///
    /// # Errors
    /// If a client was told what it never may be.
    pub async fn stop(self) -> Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls = Vec::new();
        for running in self.running {
            calls.extend(running.await??);
        }
        calls.sort_by_key(|call| call.invoked);
        Ok(History { calls })
    }
}

/// The chain from a height on (excluded), verified, as any validator gives it.
///
/// # Errors
/// If it cannot be read to its end.
pub async fn chain(client: &Client, from: Height) -> Result<Chain> {
    let mut blocks = client.blocks(from.next(), false);
    let mut chain = Chain::new();
    while let Some(block) = blocks.next().await? {
        for (index, transaction) in block.transactions().iter().enumerate() {
            let place = Place { height: block.height().0, index: u32::try_from(index)? };
            chain.insert(place, transaction.id());
        }
    }
    Ok(chain)
}

/// One client.
struct One {
    index: usize,
    client: Client,
    keys: Arc<Vec<PublicKey>>,
    values: Arc<AtomicU64>,
    rng: StdRng,
    began: Instant,
    /// The latest version it knows of each key.
    versions: [u64; KEYS as usize],
}

impl One {
    async fn call(&mut self) -> Result<Call> {
        let action = self.choose();
        let id_and_answer = async {
            let invoked = self.began.elapsed();
            let (id, answer) = match action {
                Action::Read { .. } | Action::Balance { .. } => (None, self.read(&action).await?),
                Action::Put { .. } | Action::Transfer { .. } => {
                    let signed = self.client.sign(vec![self.operation(&action)], LIFETIME);
                    (Some(signed.id()), told(self.client.submit(&signed).await)?)
                }
            };
            let answered = self.began.elapsed();
            Ok::<_, anyhow::Error>(Call { client: self.index, action, id, invoked, answered, answer })
        };
        let call = id_and_answer.await?;
        self.learn(&call);
        Ok(call)
    }

    fn choose(&mut self) -> Action {
        let key = self.rng.random_range(0..KEYS);
        match self.rng.random_range(0..100) {
            0..30 => Action::Put { key, value: self.value(), expected: None },
            30..60 => {
                let expected = Some(self.versions[usize::from(key)]);
                Action::Put { key, value: self.value(), expected }
            }
            60..80 => Action::Read { key },
            80..92 => {
                // Half of what all hold together would be too much for most.
                let amount = self.rng.random_range(1..=2 * UNITS);
                let others = self.keys.len() - 1;
                let other = self.rng.random_range(0..others);
                Action::Transfer { to: other + usize::from(other >= self.index), amount }
            }
            _ => Action::Balance { of: self.rng.random_range(0..self.keys.len()) },
        }
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    fn operation(&self, action: &Action) -> Operation {
        match *action {
            Action::Put { key, value, expected } => Operation::Put {
                namespace: NAMESPACE.to_owned(),
                key: vec![key],
                value: value.to_le_bytes().to_vec(),
                expected: expected.map(|version| Version(Height(version))),
            },
            Action::Transfer { to, amount } => {
                Operation::Transfer { asset: ASSET.to_owned(), to: self.keys[to], amount }
            }
            Action::Read { .. } | Action::Balance { .. } => unreachable!("a read is no transaction"),
        }
    }

    async fn read(&self, action: &Action) -> Result<Answer> {
        let key = match *action {
            Action::Balance { of } => StateKey::Balance { asset: ASSET.to_owned(), member: self.keys[of] },
            Action::Read { key } => StateKey::Entry { namespace: NAMESPACE.to_owned(), key: vec![key] },
            Action::Put { .. } | Action::Transfer { .. } => unreachable!("a transaction is no read"),
        };
        let state = match self.client.read(key, None).await {
            Ok(state) => state,
            Err(ClientError::NoAnswer { complaints, .. }) if !complaints.any_lie() => {
                return Ok(Answer::Nothing);
            }
            Err(ClientError::NotFound { .. }) => return Ok(Answer::Nothing),
            Err(error) => return Err(error.into()),
        };
        let at = state.height().0;
        Ok(match (action, state.value()) {
            (Action::Balance { .. }, None) => Answer::Units { at, units: 0 },
            (Action::Balance { .. }, Some(StateValue::Balance(units))) => Answer::Units { at, units: *units },
            (Action::Read { .. }, None) => Answer::Value { at, found: None },
            (Action::Read { .. }, Some(StateValue::Entry(entry))) => {
                let value = u64::from_le_bytes(entry.value.as_slice().try_into()?);
                Answer::Value { at, found: Some((value, entry.version.0.0)) }
            }
            (_, other) => bail!("{action:?} gives {other:?}"),
        })
    }

    fn learn(&mut self, call: &Call) {
        let (key, version) = match (call.action, call.answer) {
            (Action::Put { key, .. }, Answer::Receipt(place, Effect::Applied)) => (key, place.height),
            (Action::Put { key, .. }, Answer::Receipt(_, Effect::Mismatch { found })) => (key, found),
            (Action::Read { key }, Answer::Value { found: Some((_, version)), .. }) => (key, version),
            _ => return,
        };
        self.versions[usize::from(key)] = version;
    }
}

/// What submitting came to.
fn told(submitted: Result<VerifiedReceipt, ClientError>) -> Result<Answer> {
    let receipt = match submitted {
        Ok(receipt) => receipt,
        Err(ClientError::Unknown { .. }) => return Ok(Answer::Unknown),
        Err(ClientError::NotHandedIn { .. }) => return Ok(Answer::Nothing),
        // Who refuses for good does so for a fault of the transaction, and these have none, unless it
        // expired on the way. It may stand on the chain all the same.
        Err(ClientError::Refused { .. }) => return Ok(Answer::Unknown),
        Err(error) => return Err(error.into()),
    };
    let place = Place { height: receipt.height().0, index: receipt.receipt().inclusion.index };
    let effect = match receipt.outcome() {
        Outcome::Applied => Effect::Applied,
        Outcome::Failed { reason: Failure::VersionMismatch { found }, .. } => {
            Effect::Mismatch { found: found.0 }
        }
        Outcome::Failed { reason: Failure::InsufficientBalance { balance }, .. } => {
            Effect::Insufficient { balance: *balance }
        }
        Outcome::Failed { reason, .. } => bail!("a transaction failed: {reason}"),
    };
    Ok(Answer::Receipt(place, effect))
}
