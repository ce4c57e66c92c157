//! Who takes part: keys, members, and the founding facts of a simulated chain.

use super::scenario::Scenario;
use quorate_ledger::Genesis;
use quorate_node::core::mempool::Limits;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::{Timestamp, ValidatorIndex};
use quorate_types::keys::{PublicKey, SecretKey};
use quorate_types::member::{Member, Role};
use quorate_types::validators::{Validator, ValidatorSet};
use std::time::Duration;

/// The wall clock at the beginning, in milliseconds.
pub const START: u64 = 1_800_000_000_000;

/// Members that run no validator and submit transactions. The first is the greedy one.
pub const CLIENTS: usize = 4;

/// Secret keys and founding facts.
#[derive(Debug, Clone)]
pub struct Consortium {
    /// The founding facts.
    pub genesis: Genesis,
    /// The vote key of each validator.
    pub vote_keys: Vec<SecretKey>,
    /// The keys of the members that submit.
    pub client_keys: Vec<SecretKey>,
    /// A key that no member has.
    pub stranger: SecretKey,
}

fn key(kind: u8, number: usize) -> SecretKey {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
    SecretKey::from_seed(&seed)
}

impl Consortium {
    /// The consortium of a scenario. Keys do not depend on the seed: they are made once a run.
    pub fn of(scenario: &Scenario) -> Consortium {
        let n = scenario.n;
        let member_keys: Vec<PublicKey> = (0..n).map(|i| key(1, i).public()).collect();
        let vote_keys: Vec<SecretKey> = (0..n).map(|i| key(2, i)).collect();
        let client_keys: Vec<SecretKey> = (0..CLIENTS).map(|i| key(3, i)).collect();
        let validators = member_keys.iter().enumerate().map(|(i, key)| Member {
            name: format!("v{i}"),
            key: *key,
            roles: vec![Role::Validator],
        });
        let clients = client_keys.iter().enumerate().map(|(i, key)| Member {
            name: format!("c{i}"),
            key: key.public(),
            roles: vec![Role::Submitter],
        });
        let set = member_keys
            .iter()
            .zip(&vote_keys)
            .map(|(member, vote)| Validator { member: *member, vote_key: vote.public() });
        Consortium {
            genesis: Genesis {
                chain: ChainId(Hash::of(&[b"simulated", &scenario.seed.to_le_bytes()])),
                parameters: scenario.parameters.clone(),
                members: validators.chain(clients).collect(),
                validators: ValidatorSet::new(set.collect()),
                timestamp: Timestamp(START),
            },
            vote_keys,
            client_keys,
            stranger: key(4, 0),
        }
    }

    /// What a mempool may hold in this world.
    pub fn limits(scenario: &Scenario) -> Limits {
        if scenario.small_mempool {
            Limits { transactions: 122, bytes: 64 << 10, member_transactions: 60, member_bytes: 32 << 10 }
        } else {
            Limits::default()
        }
    }
}

/// The wall clock of a machine that is off by `skew_ms`.
pub fn wall(now: Duration, skew_ms: i64) -> Timestamp {
    let ms = START + u64::try_from(now.as_millis()).unwrap_or(u64::MAX - START);
    Timestamp(ms.saturating_add_signed(skew_ms))
}

/// A validator's index.
pub fn index(validator: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(validator).unwrap_or(u16::MAX))
}
