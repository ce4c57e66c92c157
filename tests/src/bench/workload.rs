//! What the load asks for.
//!
//! A *payload* is what a user stores: the value of a key. What is signed, sent, hashed and stored is the
//! encoded transaction, which is some 190 bytes longer (chain, sender, nonce, expiry, namespace, key,
//! signature); the floor is measured over those bytes. A transfer has no payload.

use anyhow::{Context, Result, ensure};
use quorate_types::keys::PublicKey;
use quorate_types::parameters::limits;
use quorate_types::transaction::Operation;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use std::fmt;
use std::ops::Range;

/// The asset that is transferred.
const ASSET: &str = "units";

/// What each account is given: more than it could spend.
const ENDOWMENT: u128 = 1 << 100;

/// Zipf's exponent, as in YCSB.
const SKEW: f64 = 0.99;

/// The members that may write to one namespace at most, so the load uses as many namespaces as it needs.
pub const WRITERS: usize = limits::NAMESPACE_MEMBERS;

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes keys, each as likely as another.
    Uniform,
    /// Writes keys, few of them often and many seldom.
    Zipfian,
    /// Moves units from one account to another.
    Transfer,
}

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// What a transaction does.
    pub kind: Kind,
    /// Bytes of a value written.
    pub payload: usize,
    /// Operations of a transaction.
    pub operations: usize,
    /// Distinct members that sign.
    pub signers: usize,
    /// Distinct keys that are written.
    pub keys: u64,
}

impl Workload {
    /// That of the headline: 512-byte writes of single keys, uniform over a million, by 16 signers.
    pub const HEADLINE: Workload =
        Workload { kind: Kind::Uniform, payload: 512, operations: 1, signers: 16, keys: 1_000_000 };

    /// Keys in each of the namespaces that so many signers need.
    pub fn keys_of_a_namespace(&self) -> u64 {
        (self.keys / self.signers.div_ceil(WRITERS).max(1) as u64).max(1)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Uniform => write!(f, "{}-byte uniform writes", self.payload)?,
            Kind::Zipfian => write!(f, "{}-byte Zipfian writes", self.payload)?,
            Kind::Transfer => f.write_str("transfers")?,
        }
        let plural = if self.operations == 1 { "" } else { "s" };
        write!(f, ", {} signers, {} operation{plural}", self.signers, self.operations)
    }
}

/// Makes the transactions of a load, from a seed.
pub struct Generator {
    workload: Workload,
    signers: Vec<PublicKey>,
    random: StdRng,
    zipf: Zipf<f64>,
    turn: usize,
}

impl Generator {
    /// For these signers, as many as the workload has.
    ///
    /// # Errors
    /// If their number is another.
    pub fn new(workload: Workload, signers: Vec<PublicKey>, seed: u64) -> Result<Generator> {
        ensure!(signers.len() == workload.signers, "{} signers for {workload}", signers.len());
        let zipf = Zipf::new(workload.keys_of_a_namespace() as f64, SKEW).context("a number of keys")?;
        Ok(Generator { workload, signers, random: StdRng::seed_from_u64(seed), zipf, turn: 0 })
    }

    /// The next transaction: who signs it, and what it does.
    pub fn next_transaction(&mut self) -> (usize, Vec<Operation>) {
        self.turn += 1;
        let signer = self.turn % self.signers.len();
        let operations = (0..self.workload.operations).map(|_| self.operation(signer)).collect();
        (signer, operations)
    }

    fn operation(&mut self, signer: usize) -> Operation {
        let Workload { kind, payload, .. } = self.workload;
        let keys = self.workload.keys_of_a_namespace();
        let key = match kind {
            Kind::Transfer => {
                let others = self.signers.len() - 1;
                let other = self.random.random_range(0..others.max(1));
                let to = self.signers[(signer + 1 + other) % self.signers.len()];
                return Operation::Transfer { asset: ASSET.to_owned(), to, amount: 1 };
            }
            Kind::Uniform => self.random.random_range(0..keys),
            Kind::Zipfian => {
                // The popular keys are spread over all of them.
                let rank = self.zipf.sample(&mut self.random);
                scatter(whole(rank).saturating_sub(1), keys)
            }
        };
        let mut value = vec![0; payload];
        self.random.fill_bytes(&mut value);
        put(signer, key, value)
    }
}

/// The transactions that put each of these keys once, as many in each as are allowed, signed by turns by these
/// signers, who write to one namespace: the state before the load.
pub fn fill(
    keys: Range<u64>,
    signers: Range<usize>,
    payload: usize,
) -> impl Iterator<Item = (usize, Vec<Operation>)> {
    let step = limits::OPERATIONS as u64;
    let chunks = keys.clone().step_by(limits::OPERATIONS);
    chunks.zip(signers.cycle()).map(move |(first, signer)| {
        let range = first..keys.end.min(first + step);
        (signer, range.map(|key| put(signer, key, vec![b'0'; payload])).collect())
    })
}

/// What has to be done before the load, in order, each by the signer with this number: the namespaces, with
/// all signers among their writers, and accounts with units in them.
pub fn preparation(signers: &[PublicKey]) -> Vec<(usize, Vec<Operation>)> {
    let mut steps = Vec::new();
    for (group, members) in signers.chunks(WRITERS).enumerate() {
        let mut writers = members.to_vec();
        writers.sort_unstable();
        let namespace = namespace(group * WRITERS);
        steps.push((
            group * WRITERS,
            vec![
                Operation::CreateNamespace { namespace: namespace.clone() },
                Operation::SetNamespaceMembers { namespace, owners: writers.clone(), writers },
            ],
        ));
    }
    let asset = || ASSET.to_owned();
    steps.push((0, vec![Operation::CreateAsset { asset: asset() }]));
    let mint = |to: &PublicKey| Operation::Mint { asset: asset(), to: *to, amount: ENDOWMENT };
    steps.extend(signers.chunks(limits::OPERATIONS).map(|some| (0, some.iter().map(mint).collect())));
    steps
}

/// The namespace to which a signer may write.
fn namespace(signer: usize) -> String {
    format!("load-{}", signer / WRITERS)
}

/// A write of one key by a signer.
pub fn put(signer: usize, key: u64, value: Vec<u8>) -> Operation {
    let key = format!("user{key:08}").into_bytes();
    Operation::Put { namespace: namespace(signer), key, value, expected: None }
}

/// A permutation of the numbers below `keys` but for a few that meet: neighbours end far apart.
fn scatter(rank: u64, keys: u64) -> u64 {
    rank.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32) % keys.max(1)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank: whole and not negative")]
fn whole(rank: f64) -> u64 {
    rank as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn signers(count: u8) -> Vec<PublicKey> {
        (0..count).map(|n| PublicKey([n; 32])).collect()
    }

    fn keys_of(kind: Kind, count: usize) -> HashMap<Vec<u8>, usize> {
        let workload = Workload { kind, payload: 1, operations: 2, signers: 3, keys: 1000 };
        let mut generator = Generator::new(workload, signers(3), 1).unwrap();
        let mut found = HashMap::new();
        for _ in 0..count / 2 {
            for operation in generator.next_transaction().1 {
                let Operation::Put { key, .. } = operation else { panic!("a write") };
                *found.entry(key).or_default() += 1;
            }
        }
        found
    }

    #[test]
    fn zipfian_keys_follow_the_law_and_uniform_ones_are_all_alike() {
        let uniform = keys_of(Kind::Uniform, 100_000);
        assert_eq!(uniform.len(), 1000);
        assert!(uniform.values().all(|count| (50..=160).contains(count)));

        let zipfian = keys_of(Kind::Zipfian, 100_000);
        let mut counts: Vec<usize> = zipfian.values().copied().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // The first of a thousand takes 1 / sum(1 / k^0.99) = 13 %, the tenth a tenth of that. Keys that
        // meet when they are scattered move ranks a little.
        assert!((11_500..=15_000).contains(&counts[0]), "{}", counts[0]);
        assert!((1_000..=1_900).contains(&counts[9]), "{}", counts[9]);
        let first: usize = counts.iter().take(100).sum();
        assert!((63_000..=77_000).contains(&first), "{first}");
    }

    #[test]
    fn everybody_signs_by_turns_and_moves_units_to_others() {
        let workload = Workload { kind: Kind::Transfer, payload: 0, operations: 4, signers: 5, keys: 1 };
        let mut generator = Generator::new(workload, signers(5), 1).unwrap();
        let mut signed = [0; 5];
        for _ in 0..50 {
            let (signer, operations) = generator.next_transaction();
            signed[signer] += 1;
            assert_eq!(operations.len(), 4);
            for operation in operations {
                let Operation::Transfer { to, .. } = operation else { panic!("a transfer") };
                assert_ne!(to, PublicKey([u8::try_from(signer).unwrap(); 32]));
            }
        }
        assert_eq!(signed, [10; 5]);
        assert!(Generator::new(workload, signers(4), 1).is_err());
    }

    #[test]
    fn the_state_is_filled_once_by_those_who_may_write_there() {
        let mut keys = HashSet::new();
        for (signer, operations) in fill(0..1000, 2..16, 3) {
            for operation in operations {
                let Operation::Put { namespace: found, key, value, .. } = operation else {
                    panic!("a write")
                };
                assert_eq!((found, value.len()), (namespace(signer), 3));
                assert!(keys.insert(key));
            }
        }
        assert_eq!(keys.len(), 1000);
        assert_eq!(Workload::HEADLINE.keys_of_a_namespace(), 1_000_000);
        assert_eq!(Workload { signers: 100, ..Workload::HEADLINE }.keys_of_a_namespace(), 500_000);

        // A namespace takes no more than 64 writers.
        let steps = preparation(&signers(100));
        let writers: Vec<usize> = steps
            .iter()
            .flat_map(|(_, operations)| operations)
            .filter_map(|operation| match operation {
                Operation::SetNamespaceMembers { writers, .. } => Some(writers.len()),
                _ => None,
            })
            .collect();
        assert_eq!(writers, [64, 36]);
        assert!(steps.iter().all(|(_, operations)| operations.iter().all(|o| o.check().is_ok())));
        assert!(steps.iter().all(|(_, operations)| operations.len() <= limits::OPERATIONS));
    }
}
