//! The floor: what the arithmetic that no such ledger can avoid costs on this machine at this moment.
//!
//! For each transaction, with `n` validators: one signing; `n` ZIP-215 verifications, in batches of 1024 with
//! the load's number of signers; `n` hashings of its bytes to its id, and of the id to a Merkle leaf; `n`
//! copies of its bytes through QUIC, both ends; and `n` times its bytes on disk, as one stored value for each
//! block and one put of an index whose keys ascend. The work is done for one validator and its time
//! multiplied. Each part is measured by itself, as CPU time in user and kernel mode; QUIC and storage with the
//! settings that their libraries come with.

mod quic;
mod storage;

use super::cpu;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::keys::{Batch, SecretKey};
use quorate_types::merkle;
use quorate_types::signed::Domain;
use quorate_types::transaction::SignedTransaction;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Signatures of one batch.
const BATCH: usize = 1024;

/// The work is repeated until it took this much CPU time, so that clocks are fine enough.
const LEAST: Duration = Duration::from_millis(250);

/// CPU time of each part for 1000 transactions, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Floor {
    /// One signing.
    pub sign: f64,
    /// A verification by every validator.
    pub verify: f64,
    /// Hashing to id and Merkle leaf by every validator.
    pub hash: f64,
    /// A copy to every validator.
    pub network: f64,
    /// Bytes and index on every validator's disk.
    pub store: f64,
}

impl Floor {
    /// All parts.
    pub fn sum(&self) -> f64 {
        self.parts().iter().map(|(_, time)| time).sum()
    }

    /// Each part with its name.
    pub fn parts(&self) -> [(&'static str, f64); 5] {
        let Floor { sign, verify, hash, network, store } = *self;
        [("sign", sign), ("verify", verify), ("hash", hash), ("network", network), ("store", store)]
    }

    /// Measures it for these transactions of a load, at least 1024, signed with these keys, on the disk that the
    /// directory `within` is on. Must not be called in a Tokio runtime, as it starts one.
    ///
    /// # Errors
    /// If a signature does not verify, or network or disk fail.
    pub fn measure(
        chain: &ChainId,
        transactions: &[Bytes],
        keys: &[SecretKey],
        validators: usize,
        within: &Path,
    ) -> Result<Floor> {
        ensure!(transactions.len() >= BATCH, "{} transactions are too few", transactions.len());
        let mut signed: Vec<SignedTransaction> = Vec::with_capacity(transactions.len());
        for bytes in transactions {
            signed.push(codec::decode(bytes, bytes.len())?);
        }
        let preimage = |signed: &SignedTransaction| {
            Domain::Transaction.preimage(chain, &codec::encode(&signed.transaction))
        };
        let preimages: Vec<Vec<u8>> = signed.iter().map(preimage).collect();
        let sign = per_1000(preimages.len(), || {
            for (preimage, key) in preimages.iter().zip(keys.iter().cycle()) {
                std::hint::black_box(key.sign(preimage));
            }
            Ok(())
        })?;
        let verify = verify(&signed, &preimages)?;
        let hash = per_1000(preimages.len(), || {
            for preimage in &preimages {
                let id = Hash::of(&[preimage]);
                std::hint::black_box(merkle::leaf_hash(&id.0));
            }
            Ok(())
        })?;
        let network = quic::per_1000(transactions)?;
        let store = storage::per_1000(transactions, within)?;
        let all = |one: f64| one * validators as f64;
        Ok(Floor { sign, verify: all(verify), hash: all(hash), network: all(network), store: all(store) })
    }
}

fn verify(signed: &[SignedTransaction], preimages: &[Vec<u8>]) -> Result<f64> {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    // Whole batches only: a smaller one costs more for each.
    let whole = signed.len() / BATCH * BATCH;
    per_1000(whole, || {
        for (signed, preimages) in signed.chunks_exact(BATCH).zip(preimages.chunks_exact(BATCH)) {
            let mut batch = Batch::new();
            for (signed, preimage) in signed.iter().zip(preimages) {
                batch.push(&signed.transaction.sender, preimage, &signed.signature);
            }
            ensure!(batch.verify(&mut random).is_ok(), "a signature of the load does not verify");
        }
        Ok(())
    })
}

/// CPU milliseconds of this thread for 1000 pieces of work, when `work` does so many.
fn per_1000(pieces: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let (mut done, mut spent) = (0, Duration::ZERO);
    while spent < LEAST {
        let (result, time) = cpu::of_thread(&mut work)?;
        result?;
        done += pieces;
        spent += time;
    }
    each_1000(spent, done)
}

fn each_1000(spent: Duration, done: usize) -> Result<f64> {
    let done = u32::try_from(done).context("more work than was meant")?;
    Ok(spent.as_secs_f64() * 1e6 / f64::from(done.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let floor = Floor { sign: 1.0, verify: 2.0, hash: 4.0, network: 8.0, store: 16.0 };
        assert_eq!(floor.sum(), 31.0);
        assert_eq!(each_1000(Duration::from_millis(30), 2000).unwrap(), 15.0);
    }
}
