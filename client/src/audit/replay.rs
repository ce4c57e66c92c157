//! Executing the chain again, block after block.

use super::check::Checked;
use super::store::LatestStore;
use super::{Totals, Wrong};
use quorate_ledger::{Genesis, InvalidBlock, Ledger, LedgerError, founding_result};
use quorate_types::hash::BlockHash;
use quorate_types::ids::Height;
use quorate_types::outcome::Outcome;
use quorate_types::receipt::MAX_DESCENDANTS;

/// The chain up to the last block that was found sound.
pub(super) struct Replay {
    ledger: Ledger<LatestStore>,
    totals: Totals,
    /// The lowest block that no certificate reaches yet.
    uncertified: Option<Height>,
}

impl Replay {
    pub(super) fn new(genesis: &Genesis) -> Result<Replay, LedgerError> {
        let (mut ledger, writes) = Ledger::open(LatestStore::default(), genesis.clone())?;
        ledger.store().apply(writes);
        ledger.applied(Height::GENESIS);
        let totals = Totals {
            height: Height::GENESIS,
            block: genesis.block(),
            timestamp: genesis.timestamp,
            state_root: founding_result(genesis).state_root,
            transactions: 0,
            failed: 0,
            bytes: 0,
        };
        Ok(Replay { ledger, totals, uncertified: None })
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Executes the next block; the first thing wrong, if anything, with the height to blame.
    pub(super) fn push(&mut self, block: Checked) -> Result<Option<(Height, Wrong)>, LedgerError> {
        let tip = self.ledger.tip();
        let height = tip.height.next();
        let header = &block.header;
        if header.height != height {
            return Ok(Some((height, Wrong::Height(header.height))));
        }
        // A certified block stands for itself: what it does not fit is then the block below, if no
        // certificate stands for that one.
        let blame_below = self.uncertified.is_some() && block.certificate.is_some() && block.wrong.is_none();
        if header.parent != tip.block {
            let (found, expected) = (tip.block, header.parent);
            return Ok(Some(if blame_below {
                (tip.height, Wrong::NotTheAncestor { found, expected })
            } else {
                (height, Wrong::Parent { found: expected, expected: found })
            }));
        }
        if let Some(wrong) = block.wrong {
            return Ok(Some((height, wrong)));
        }
        let computed = match self.ledger.check(header, &block.transactions, None) {
            Ok(computed) => computed,
            Err(InvalidBlock::Store(error)) => return Err(error.into()),
            Err(InvalidBlock::WrongParentResult { found, expected }) if blame_below => {
                return Ok(Some((tip.height, Wrong::Result { certified: found, computed: expected })));
            }
            Err(invalid) => return Ok(Some((height, Wrong::Invalid(invalid)))),
        };
        if let Some(certificate) = &block.certificate {
            let certified = certificate.commit.result;
            if certified != computed {
                return Ok(Some((height, Wrong::Result { certified, computed })));
            }
        }
        self.commit(block.hash)?;
        let first = self.uncertified.unwrap_or(height);
        self.uncertified = if block.certificate.is_some() { None } else { Some(first) };
        // An honest chain certifies a descendant within this many.
        if self.uncertified.is_some() && height.0 - first.0 > MAX_DESCENDANTS as u64 {
            return Ok(Some((first, Wrong::NoCertificate)));
        }
        Ok(None)
    }

    fn commit(&mut self, block: BlockHash) -> Result<(), LedgerError> {
        let committed = self.ledger.commit(block)?;
        let height = committed.header.height;
        self.ledger.store().apply(committed.writes);
        self.ledger.applied(height);
        let failed = committed.outcomes.iter().filter(|outcome| **outcome != Outcome::Applied).count();
        let bytes: usize = committed.transactions.iter().map(|transaction| transaction.bytes().len()).sum();
        self.totals = Totals {
            height,
            block,
            timestamp: committed.header.timestamp,
            state_root: committed.result.state_root,
            transactions: self.totals.transactions + committed.transactions.len() as u64,
            failed: self.totals.failed + failed as u64,
            bytes: self.totals.bytes + bytes as u64,
        };
        Ok(())
    }

    /// What is wrong if the chain ends here.
    pub(super) fn finish(&self) -> Option<(Height, Wrong)> {
        self.uncertified.map(|first| (first, Wrong::NoCertificate))
    }
}
