//! Transactions without end, and a record of what was acknowledged.

use anyhow::{Context, Result, bail, ensure};
use quorate_client::client::Client;
use quorate_client::client::bulk::{BulkOptions, BulkTotals, Fate};
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::transaction::Operation;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Transactions for which a receipt was verified, each with the height the receipt proved.
#[derive(Debug, Clone, Default)]
pub struct Acknowledged(pub BTreeMap<TransactionId, Height>);

impl Acknowledged {
    /// Notes a verified receipt.
    pub fn note(&mut self, id: TransactionId, height: Height) {
        self.0.insert(id, height);
    }

    /// Adds another record to this one.
    pub fn extend(&mut self, other: Acknowledged) {
        self.0.extend(other.0);
    }
}

/// A member that submits transactions until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    receipts: watch::Receiver<u64>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    running: JoinHandle<Result<BulkTotals>>,
    lifetime: Duration,
}

impl Load {
    /// Starts submitting as the member of this client: transaction `n`, from 0, does what
    /// `operations(n)` says. At most `in_flight` await their receipts at a time.
    pub fn start(
        client: Client,
        in_flight: usize,
        operations: impl FnMut(u64) -> Vec<Operation> + Send + 'static,
    ) -> Load {
        Load::lasting(client, BulkOptions { in_flight, lifetime: Duration::from_secs(60) }, operations)
    }

    /// The same with transactions that may take longer, or less long, to commit.
    pub fn lasting(
        client: Client,
        options: BulkOptions,
        mut operations: impl FnMut(u64) -> Vec<Operation> + Send + 'static,
    ) -> Load {
        let lifetime = options.lifetime;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut number = 0;
        let input = std::iter::from_fn(move || {
            (!stopped.load(Ordering::Relaxed)).then(|| {
                number += 1;
                Ok::<_, Infallible>((number, operations(number - 1)))
            })
        });
        let (count, receipts) = watch::channel(0);
        let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
        let record = Arc::clone(&acknowledged);
        let running = tokio::spawn(async move {
            let totals = client
                .bulk(input, &options, |landed, _| {
                    if let Fate::Committed { height, .. } = landed.fate {
                        record.lock().unwrap_or_else(PoisonError::into_inner).note(landed.id, height);
                        count.send_modify(|count| *count += 1);
                    }
                })
                .await;
            totals.context("the load broke off")
        });
        Load { stop, receipts, acknowledged, running, lifetime }
    }

    /// How many receipts were verified so far.
    pub fn receipts(&self) -> u64 {
        *self.receipts.borrow()
    }

    /// The highest block that a receipt so far has proved.
    pub fn highest(&self) -> Height {
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        acknowledged.0.values().copied().max().unwrap_or_default()
    }

    /// Waits for this many further receipts.
    ///
    /// # Errors
    /// If they have not come within `limit`.
    pub async fn progresses(&mut self, by: u64, limit: Duration) -> Result<()> {
        let before = self.receipts();
        let wanted = before + by;
        let came = timeout(limit, self.receipts.wait_for(|count| *count >= wanted)).await;
        match came.map(|came| came.map(|_| ())) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("the load ended by itself"),
            Err(_) => {
                let came = self.receipts() - before;
                bail!("{came} of {by} receipts came within {} s", limit.as_secs())
            }
        }
    }

    /// Submits no more, waits for what is under way, and returns what was acknowledged.
    ///
    /// # Errors
    /// If a transaction was refused or its fate is unknown: each of these is one that a member has to
    /// worry about, and nothing that happens to validators here should lead to one.
    pub async fn stop(self) -> Result<(BulkTotals, Acknowledged)> {
        self.stop.store(true, Ordering::Relaxed);
        // Longer than whatever is under way may take to expire.
        let limit = self.lifetime + Duration::from_secs(30);
        let totals = timeout(limit, self.running).await.context("the load did not end")???;
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(totals.refused == 0, "{} transactions were refused", totals.refused);
        ensure!(totals.unknown == 0, "the fate of {} transactions is unknown", totals.unknown);
        Ok((totals, acknowledged))
    }
}
