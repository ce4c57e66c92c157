//! What a new view starts from: everyone recomputes it from the same ViewChanges.

use crate::message::{Hashed, VerifiedMessage, ViewChange};
use quorate_types::certificate::{Certificate, PreparedCertificate};
use quorate_types::hash::{BlockHash, ChainId};
use quorate_types::ids::{Height, ValidatorIndex};

/// The base of a view and the blocks that must be re-proposed on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The highest certificate; `None` at genesis.
    pub certificate: Option<Certificate>,
    /// The chain above it, ascending, without gaps.
    pub(crate) reproposals: Vec<Hashed>,
}

impl Plan {
    /// The plan of view 0.
    pub(crate) fn genesis() -> Plan {
        Plan { certificate: None, reproposals: Vec::new() }
    }

    /// The height of the base.
    pub fn base_height(&self) -> Height {
        self.certificate.as_ref().map_or(Height::GENESIS, |c| c.commit.height)
    }

    /// The hash of the base.
    pub fn base_block(&self, chain: &ChainId) -> BlockHash {
        self.certificate.as_ref().map_or(BlockHash(chain.0), |c| c.commit.block)
    }

    /// The re-proposed blocks, ascending.
    pub fn blocks(&self) -> impl Iterator<Item = BlockHash> {
        self.reproposals.iter().map(|r| r.hash)
    }

    /// The re-proposal at `height`, if there is one.
    pub(crate) fn at(&self, height: Height) -> Option<&Hashed> {
        self.reproposals.iter().find(|r| r.header.height == height)
    }
}

/// From the highest certificate upward, at each height the prepared certificate of the **highest
/// view** (of its votes), as long as it extends the one chosen below. The chain ends at the first
/// height without one.
///
/// Following the single best certificate by (view, height) instead would lose blocks: a later view
/// may have re-prepared only the lower part of a committed chain.
///
/// `within` is the message that carries `changes`: it knows which certificates were discarded.
pub fn plan<'a>(
    chain: &ChainId,
    window: u64,
    changes: impl Iterator<Item = (&'a VerifiedMessage, ValidatorIndex, &'a ViewChange)> + Clone,
) -> Plan {
    let certificate = changes
        .clone()
        .filter_map(|(_, _, change)| change.certificate.as_ref())
        .max_by_key(|c| c.commit.height);
    let mut plan = Plan { certificate: certificate.cloned(), reproposals: Vec::new() };
    let base = plan.base_height();
    let mut parent = plan.base_block(chain);
    for above in 1..=window {
        let height = base.plus(above);
        let best: Option<&PreparedCertificate> = changes
            .clone()
            .filter_map(|(within, signer, change)| within.usable(signer, change, height))
            .max_by_key(|prepared| prepared.view);
        match best {
            Some(prepared) if prepared.header.parent == parent => {
                let next = Hashed::new(prepared.header.clone());
                parent = next.hash;
                plan.reproposals.push(next);
            }
            _ => break,
        }
    }
    plan
}
