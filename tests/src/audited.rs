//! The chain seen from the outside: sound, and nothing acknowledged missing.

use crate::load::Acknowledged;
use anyhow::{Result, anyhow, ensure};
use quorate_client::audit::{self, Totals, Verdict};
use quorate_client::client::Client;
use quorate_types::block::Block;
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::parameters::limits;
use quorate_types::transaction::SignedTransaction;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A chain that was found sound, and where each of its transactions stands.
#[derive(Debug)]
pub struct Audited {
    /// What the audit counted.
    pub totals: Totals,
    /// Every transaction with the heights it stands at: more than one would be a fault.
    pub transactions: BTreeMap<TransactionId, Vec<Height>>,
}

/// Audits all that the validators of this client give, from the genesis document on. `progress` is told
/// of each group of blocks.
///
/// # Errors
/// If the chain is not sound, or cannot be read to its end.
pub async fn audit(client: &Client, mut progress: impl FnMut(&Totals) + Send + 'static) -> Result<Audited> {
    let genesis = client.founding().ledger_genesis();
    let mut blocks = client.unverified_blocks();
    tokio::task::spawn_blocking(move || {
        let found = Arc::new(Mutex::new(BTreeMap::<TransactionId, Vec<Height>>::new()));
        let seen = Arc::clone(&found);
        let blocks = std::iter::from_fn(move || {
            let next = blocks.blocking_next().transpose();
            if let Some(Ok(block)) = &next {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                for id in ids(block) {
                    seen.entry(id).or_default().push(block.header.height);
                }
            }
            next
        });
        let verdict = audit::audit(&genesis, blocks, |totals| progress(totals))?;
        let transactions = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        match verdict {
            Verdict::Sound(totals) => Ok(Audited { totals, transactions }),
            Verdict::Wrong { height, what, .. } => {
                Err(anyhow!("the chain is wrong at height {height}: {what}"))
            }
        }
    })
    .await?
}

/// The ids in a block, computed again. What is no transaction has none; the audit refuses its block.
fn ids(block: &Block) -> impl Iterator<Item = TransactionId> {
    block.transactions.iter().filter_map(|bytes| {
        let signed: SignedTransaction = codec::decode(bytes, limits::TRANSACTION_BYTES).ok()?;
        Some(signed.transaction.id())
    })
}

impl Audited {
    /// Checks that every acknowledged transaction stands on the chain once, at the height that its
    /// receipt named, and that none at all stands there twice.
    ///
    /// # Errors
    /// The first that does not.
    pub fn holds(&self, acknowledged: &Acknowledged) -> Result<()> {
        for (id, height) in &acknowledged.0 {
            let found = self.transactions.get(id).map(Vec::as_slice).unwrap_or_default();
            ensure!(
                found == [*height],
                "transaction {id} was acknowledged at height {height}, and stands at {found:?}"
            );
        }
        let twice = self.transactions.iter().find(|(_, heights)| heights.len() != 1);
        ensure!(twice.is_none(), "a transaction stands on the chain twice: {twice:?}");
        Ok(())
    }
}
