//! Committing: by votes, or by catching up.

use super::proposals::bodies_write;
use super::records::{self, BlockRecord};
use super::{CommittedBlock, Core, Report};
use quorate_ledger::{Column, InvalidBlock, Pieces, Store, Write};
use quorate_types::block::Header;
use quorate_types::certificate::Certificate;
use quorate_types::codec;
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::receipt::Finality;
use quorate_types::transaction::VerifiedTransaction;
use std::sync::Arc;

impl<S: Store> Core<S> {
    /// The replica's certificate commits executed blocks, the last of them the certified one.
    pub(super) fn commit(&mut self, blocks: &[BlockHash], certificate: &Certificate) {
        self.commit_run(blocks, certificate, false);
    }

    fn commit_run(&mut self, blocks: &[BlockHash], certificate: &Certificate, caught_up: bool) {
        let headers: Vec<Header> = blocks
            .iter()
            .filter_map(|block| self.ledger.pending(*block).map(|executed| executed.header.clone()))
            .collect();
        for (position, block) in blocks.iter().enumerate() {
            let committed = match self.ledger.commit(*block) {
                Ok(committed) => committed,
                Err(error) => {
                    // The replica executed it through this ledger: losing it is a defect.
                    self.replica.halt(format!("a certified block cannot be committed: {error}"));
                    return;
                }
            };
            let height = committed.header.height;
            let descendants = headers.get(position + 1..).unwrap_or_default().to_vec();
            let finality = Finality {
                header: committed.header.clone(),
                result: committed.result.clone(),
                descendants,
                certificate: certificate.clone(),
            };
            let ids: Vec<TransactionId> =
                committed.transactions.iter().map(VerifiedTransaction::id).collect();
            let stored = self.settle_proposals(height, block);
            let writes = &mut self.building.persist;
            writes.extend(committed.writes);
            if !stored {
                writes.push(bodies_write(height, block, &committed.transactions));
            }
            // In the order of the keys: a sorted table takes neighbours one after the other at less cost.
            let mut places: Vec<(&TransactionId, u32)> = ids.iter().zip(0u32..).collect();
            places.sort_unstable();
            let mut entries = Pieces::with_capacity(2 * places.len());
            for (id, position) in places {
                entries.add(|key| key.extend_from_slice(&id.0.0));
                entries.add(|place| place.extend_from_slice(&records::place(height, position)));
            }
            writes.extend(entries.finish().as_chunks::<2>().0.iter().map(|[key, place]| Write {
                column: Column::Transactions,
                key: key.clone(),
                value: Some(place.clone()),
            }));
            if certificate.commit.height == height {
                writes.push(Write::put(
                    Column::Certificates,
                    records::height_key(height),
                    codec::encode(certificate),
                ));
            }
            let record = BlockRecord {
                header: committed.header,
                ids: ids.clone(),
                outcomes: committed.outcomes.clone(),
                result: committed.result,
            };
            writes.push(Write::put(Column::Blocks, records::height_key(height), codec::encode(&record)));
            writes.push(Write::put(Column::Meta, records::COMMITTED, codec::encode(&height)));

            let now = self.now.monotonic;
            self.mempool.committed(block, height, &committed.transactions, now);
            self.gossip.committed(&ids, now);
            self.sync.own_height(height, *block, now);
            self.pace.committed(height, now);
            self.guard.committed = height;
            self.applying.insert(self.next_number, height);
            self.building.reports.push(Report::Committed(Arc::new(CommittedBlock {
                finality,
                hash: *block,
                transactions: committed.transactions,
                outcomes: committed.outcomes,
                trees: committed.trees,
                caught_up,
            })));
        }
        self.replica.waiting(self.mempool.oldest_waiting(self.now.wall));
    }

    /// Executes and commits final blocks that were fetched, up to the next certificate: what the
    /// replica makes of it comes before the next. `budget` is the number of transactions left for this
    /// step.
    pub(super) fn catch_up(&mut self, budget: &mut usize) -> bool {
        let mut run: Vec<BlockHash> = Vec::new();
        // A run that was begun is finished: only its last block says that it is final.
        while !run.is_empty() || *budget > 0 {
            let Some((peer, fetched)) = self.sync.next_ready() else { break };
            if self.replica.halted().is_some() {
                return false;
            }
            let height = fetched.block.header.height;
            if height <= self.ledger.tip().height {
                continue;
            }
            *budget = budget.saturating_sub(fetched.transactions.len());
            let result = match self.ledger.check(&fetched.block.header, &fetched.transactions, None) {
                Ok(result) => result,
                Err(InvalidBlock::Store(error)) => {
                    self.replica.halt(format!("the state cannot be read: {error}"));
                    return true;
                }
                // Sync gives final blocks only: a quorum has executed this one.
                Err(invalid) => {
                    let what = format!(
                        "a final block, {} at height {height}, is invalid here: {invalid}",
                        fetched.hash
                    );
                    self.sync.refused(peer, self.now.monotonic);
                    self.replica.halt(what);
                    return true;
                }
            };
            run.push(fetched.hash);
            if let Some(certificate) = fetched.block.certificate {
                if certificate.commit.result != result {
                    self.replica.halt(format!(
                        "executing block {} at height {height} gave another result here than a quorum has \
                         signed; this node must not go on: compare its software version, then rebuild its \
                         directory from its peers",
                        fetched.hash
                    ));
                    return true;
                }
                self.commit_run(&run, &certificate, true);
                self.replica.caught_up(self.now.monotonic, certificate);
                return true;
            }
        }
        false
    }
}
