//! What can be checked of a block without its parent: signatures, in batches.

use super::Wrong;
use crate::verify::Anchor;
use quorate_types::block::{Block, Header};
use quorate_types::certificate::Certificate;
use quorate_types::hash::BlockHash;
use quorate_types::keys::Batch;
use quorate_types::transaction::{VerifiedTransaction, verify_transactions};

/// A block whose signatures were checked.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) header: Header,
    pub(super) hash: BlockHash,
    /// All of them, unless `wrong` says otherwise.
    pub(super) transactions: Vec<VerifiedTransaction>,
    /// Its signatures hold, and it is of this block, unless `wrong` says otherwise.
    pub(super) certificate: Option<Certificate>,
    pub(super) wrong: Option<Wrong>,
}

/// Checks the signatures of a group of blocks: all transactions in one batch, all certificates in
/// another.
pub(super) fn check_group(anchor: &Anchor, group: Vec<Block>) -> Vec<Checked> {
    let rng = &mut rand::rng();
    let encoded: Vec<bytes::Bytes> =
        group.iter().flat_map(|block| block.transactions.iter().cloned()).collect();
    let mut verdicts = verify_transactions(anchor.chain(), &encoded, rng).into_iter();
    let mut checked: Vec<Checked> = group
        .into_iter()
        .map(|block| {
            let hash = block.header.hash();
            let mut wrong = None;
            let mut transactions = Vec::with_capacity(block.transactions.len());
            for (index, verdict) in verdicts.by_ref().take(block.transactions.len()).enumerate() {
                match verdict {
                    Ok(transaction) => transactions.push(transaction),
                    Err(error) => wrong = wrong.or(Some(Wrong::Transaction { index, error })),
                }
            }
            if let Some(certificate) = &block.certificate
                && (certificate.commit.block != hash || certificate.commit.height != block.header.height)
            {
                // First, as it tells that the header is not the one that was agreed.
                wrong = Some(Wrong::OtherCertificate(certificate.commit.block));
            }
            Checked { header: block.header, hash, transactions, certificate: block.certificate, wrong }
        })
        .collect();
    let mut batch = Batch::new();
    for block in &mut checked {
        if let Some(certificate) = &block.certificate
            && let Err(error) = certificate.verify_into(anchor.chain(), anchor.validators(), &mut batch)
        {
            block.wrong = block.wrong.take().or(Some(Wrong::Certificate(error)));
        }
    }
    if batch.verify(rng).is_err() {
        // Rare: somebody forged. One by one tells who.
        for block in &mut checked {
            if let Some(certificate) = &block.certificate
                && let Err(error) = certificate.verify(anchor.chain(), anchor.validators())
            {
                block.wrong = block.wrong.take().or(Some(Wrong::Certificate(error)));
            }
        }
    }
    checked
}
