//! Clients: honest ones that retry, a greedy one, and those that send what must be refused.

use super::consortium::{CLIENTS, Consortium, wall};
use super::dice::Dice;
use super::scenario::Scenario;
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash, TransactionId};
use quorate_types::ids::{Height, Timestamp};
use quorate_types::keys::SecretKey;
use quorate_types::transaction::{
    Operation, Transaction, TransactionError, VerifiedTransaction, Version, verify_transaction,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a client sends to a validator.
pub struct Submission {
    /// To these machines.
    pub to: Vec<usize>,
    /// What the validator's edge makes of it.
    pub transactions: Vec<Result<VerifiedTransaction, TransactionError>>,
}

/// Every client of a world.
pub struct Clients {
    dice: Dice,
    n: usize,
    keys: Vec<SecretKey>,
    stranger: SecretKey,
    chain: ChainId,
    lifetime_ms: u64,
    repeats: u64,
    malformed: u64,
    nonce: u64,
    /// Some that were sent, to be sent again.
    sent: Vec<VerifiedTransaction>,
    /// Must never commit.
    forbidden: BTreeSet<TransactionId>,
}

/// Longer than any run lasts, and any clock is wrong.
const A_DAY_MS: u64 = 86_400_000;

/// Sent transactions that are remembered.
const REMEMBERED: usize = 40;

impl Clients {
    /// The clients of a scenario.
    pub fn new(scenario: &Scenario, consortium: &Consortium, dice: Dice) -> Clients {
        Clients {
            dice,
            n: scenario.n,
            keys: consortium.client_keys.clone(),
            stranger: consortium.stranger.clone(),
            chain: consortium.genesis.chain,
            lifetime_ms: scenario.parameters.max_lifetime_ms,
            repeats: scenario.load.repeats,
            malformed: scenario.load.malformed,
            nonce: 0,
            sent: Vec::new(),
            forbidden: BTreeSet::new(),
        }
    }

    fn operation(&mut self) -> Operation {
        let dice = &mut self.dice;
        let namespace = format!("space-{}", dice.below(2));
        let key = format!("key-{}", dice.below(6)).into_bytes();
        let asset = format!("asset-{}", dice.below(2));
        let to = self.keys[1 + dice.place(CLIENTS - 1)].public();
        let expected = match dice.below(4) {
            0 => Some(Version::ABSENT),
            1 => Some(Version(Height(dice.below(40)))),
            _ => None,
        };
        let amount = if dice.chance(30) { u128::MAX } else { u128::from(dice.between(1, 50)) };
        match dice.below(12) {
            0 => Operation::CreateNamespace { namespace },
            1 => {
                let mut members: Vec<_> = self.keys.iter().map(SecretKey::public).collect();
                members.sort_unstable();
                Operation::SetNamespaceMembers { namespace, owners: members.clone(), writers: members }
            }
            2..=5 => {
                let value = vec![b'v'; dice.place(60)];
                Operation::Put { namespace, key, value, expected }
            }
            6 => Operation::Delete { namespace, key, expected },
            7 => Operation::CreateAsset { asset },
            8 => Operation::Mint { asset, to, amount },
            9 | 10 => Operation::Transfer { asset, to, amount },
            _ => Operation::Burn { asset, amount },
        }
    }

    fn make(&mut self, client: usize, now: Duration, lifetime_ms: u64) -> (Transaction, SecretKey) {
        let count = if self.dice.chance(800) { 1 } else { self.dice.between(2, 5) };
        let operations = (0..count).map(|_| self.operation()).collect();
        self.nonce += 1;
        let key = self.keys[client].clone();
        let transaction = Transaction {
            chain: self.chain,
            sender: key.public(),
            nonce: self.nonce,
            expires_at: wall(now, 0).plus_ms(lifetime_ms),
            operations,
        };
        (transaction, key)
    }

    fn lifetime(&mut self) -> u64 {
        let most = self.lifetime_ms.saturating_sub(5_000).max(1_000);
        self.dice.between(1_000, most)
    }

    fn verify(
        &self,
        transaction: Transaction,
        key: &SecretKey,
    ) -> Result<VerifiedTransaction, TransactionError> {
        verify_transaction(&self.chain, codec::encode_bytes(&transaction.sign(key)))
    }

    /// A transaction that must commit, if anyone submits it in time.
    pub fn probe(&mut self, now: Duration) -> VerifiedTransaction {
        let client = 1 + self.dice.place(CLIENTS - 1);
        let (transaction, key) = self.make(client, now, self.lifetime_ms - 5_000);
        self.verify(transaction, &key).unwrap_or_else(|error| unreachable!("a sound transaction: {error}"))
    }

    /// What one client does at a moment of load.
    pub fn act(&mut self, now: Duration) -> Submission {
        let one = self.dice.place(self.n);
        if self.dice.chance(self.malformed) {
            let transactions = vec![self.malformed(now)];
            return Submission { to: vec![one], transactions };
        }
        if self.dice.chance(self.repeats)
            && let Some(again) = self.dice.pick(&self.sent).cloned()
        {
            return Submission { to: vec![one], transactions: vec![Ok(again)] };
        }
        let client = 1 + self.dice.place(CLIENTS - 1);
        let lifetime = self.lifetime();
        let (transaction, key) = self.make(client, now, lifetime);
        let transaction = self.verify(transaction, &key);
        if let Ok(sound) = &transaction {
            if self.sent.len() < REMEMBERED {
                self.sent.push(sound.clone());
            } else {
                let place = self.dice.place(REMEMBERED);
                self.sent[place] = sound.clone();
            }
        }
        let mut to = vec![one];
        if self.dice.chance(self.repeats) {
            to.push(self.dice.place(self.n));
        }
        Submission { to, transactions: vec![transaction] }
    }

    /// The greedy member sends a burst.
    pub fn burst(&mut self, now: Duration, count: usize) -> Submission {
        let transactions = (0..count)
            .map(|_| {
                let lifetime = self.lifetime();
                let (transaction, key) = self.make(0, now, lifetime);
                self.verify(transaction, &key)
            })
            .collect();
        Submission { to: vec![self.dice.place(self.n)], transactions }
    }

    fn malformed(&mut self, now: Duration) -> Result<VerifiedTransaction, TransactionError> {
        let lifetime = self.lifetime();
        let (mut transaction, mut key) = self.make(1, now, lifetime);
        let mut signed_by_another = false;
        match self.dice.below(7) {
            0 => transaction.chain = ChainId(Hash([1; 32])),
            1 => transaction.operations.clear(),
            2 => transaction.operations = vec![Operation::CreateAsset { asset: "x".into() }; 65],
            3 => transaction.expires_at = Timestamp(wall(now, 0).0.saturating_sub(60_000)),
            // By no clock of this run is it ever near enough.
            4 => transaction.expires_at = wall(now, 0).plus_ms(self.lifetime_ms + A_DAY_MS),
            5 => {
                key = self.stranger.clone();
                transaction.sender = key.public();
            }
            _ => signed_by_another = true,
        }
        self.forbidden.insert(transaction.id());
        if signed_by_another {
            let mut signed = transaction.sign(&key);
            signed.signature = key.sign(b"something else");
            return verify_transaction(&self.chain, codec::encode_bytes(&signed));
        }
        self.verify(transaction, &key)
    }

    /// Whether a transaction must never commit.
    pub fn is_forbidden(&self, id: &TransactionId) -> bool {
        self.forbidden.contains(id)
    }
}
