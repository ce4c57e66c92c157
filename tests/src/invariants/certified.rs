//! Every block reported as final extends the one before it, and carries the signatures of a quorum.
//!
//! Written against FORMAT.md and plain SHA-256 and Ed25519, not with the types' own methods: a header's
//! hash is taken over bytes laid out here, signers are counted here.

use super::{Invariant, Observed};
use crate::simulator::consortium::Consortium;
use ed25519_dalek::{Signature, VerifyingKey};
use quorate_types::block::{BlockResult, Header};
use quorate_types::certificate::Certificate;
use quorate_types::hash::ChainId;
use quorate_types::ids::Height;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// See the module.
pub(super) struct Certified {
    chain: ChainId,
    keys: Vec<VerifyingKey>,
    /// Hash and result hash of each block seen.
    known: BTreeMap<Height, ([u8; 32], [u8; 32])>,
    /// Votes whose signatures were found valid: many machines show the same.
    valid: BTreeSet<[u8; 32]>,
}

impl Certified {
    pub(super) fn new(consortium: &Consortium) -> Certified {
        let keys = consortium.vote_keys.iter();
        let keys = keys.filter_map(|key| VerifyingKey::from_bytes(&key.public().0).ok()).collect();
        Certified { chain: consortium.genesis.chain, keys, known: BTreeMap::new(), valid: BTreeSet::new() }
    }

    fn preimage(&self, tag: &str) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(tag.len()).unwrap_or(u8::MAX)];
        bytes.extend(tag.as_bytes());
        bytes.extend(self.chain.0.0);
        bytes
    }

    fn header_hash(&self, header: &Header) -> [u8; 32] {
        let mut bytes = self.preimage("quorate/1/block");
        bytes.extend(header.chain.0.0);
        bytes.extend(header.height.0.to_le_bytes());
        bytes.extend(header.view.0.to_le_bytes());
        bytes.extend(header.proposer.0.to_le_bytes());
        bytes.extend(header.timestamp.0.to_le_bytes());
        bytes.extend(header.parent.0.0);
        bytes.extend(header.parent_result.0.0);
        bytes.extend(header.transactions_root.0);
        bytes.extend(header.transaction_count.to_le_bytes());
        bytes.extend(header.history_root.0);
        bytes.extend(header.validators.0);
        Sha256::digest(&bytes).into()
    }

    fn result_hash(&self, result: &BlockResult) -> [u8; 32] {
        let mut bytes = self.preimage("quorate/1/result");
        bytes.extend(result.state_root.0);
        bytes.extend(result.outcomes_root.0);
        bytes.extend(result.next_validators.0);
        Sha256::digest(&bytes).into()
    }

    fn check_certificate(
        &mut self,
        certificate: &Certificate,
        height: Height,
        block: [u8; 32],
    ) -> Result<(), String> {
        let commit = &certificate.commit;
        if commit.block.0.0 != block || commit.height != height {
            return Err(format!("the certificate of height {height} is another block's"));
        }
        let mut message = self.preimage("quorate/1/commit");
        message.extend(commit.view.0.to_le_bytes());
        message.extend(commit.height.0.to_le_bytes());
        message.extend(commit.block.0.0);
        message.extend(commit.result.0.0);
        let mut signers = BTreeSet::new();
        for (signer, signature) in &certificate.signatures {
            let key = self.keys.get(signer.as_usize()).ok_or(format!("signer {signer} does not exist"))?;
            let vote = Sha256::new_with_prefix(key.as_bytes()).chain_update(signature.0);
            let vote: [u8; 32] = vote.chain_update(&message).finalize().into();
            if !self.valid.contains(&vote) {
                let signature = Signature::from_bytes(&signature.0);
                key.verify_strict(&message, &signature)
                    .map_err(|_| format!("the vote of {signer} at height {height} does not verify"))?;
                self.valid.insert(vote);
            }
            signers.insert(*signer);
        }
        // Two quorums share an honest validator: 2 q - n > f, with n > 3 f.
        let n = self.keys.len();
        let f = (n - 1) / 3;
        if 2 * signers.len() <= n + f {
            return Err(format!("{} of {n} certified height {height}", signers.len()));
        }
        Ok(())
    }
}

impl Invariant for Certified {
    fn name(&self) -> &'static str {
        "hash chain and certificates"
    }

    fn observe(&mut self, _: Duration, _: usize, observed: &Observed<'_>) -> Result<(), String> {
        let Observed::Committed { block, .. } = observed else { return Ok(()) };
        let finality = &block.finality;
        let header = &finality.header;
        let hash = self.header_hash(header);
        let result = self.result_hash(&finality.result);
        if hash != block.hash.0.0 {
            return Err(format!("the hash of the header at height {} is another", header.height));
        }
        let below = match header.height.0 {
            1 => Some(self.chain.0.0),
            height => self.known.get(&Height(height - 1)).map(|(hash, _)| *hash),
        };
        if below.is_some_and(|below| header.parent.0.0 != below) {
            return Err(format!("the block at height {} does not extend the one below", header.height));
        }
        let known = self.known.insert(header.height, (hash, result));
        if known == Some((hash, result)) && finality.descendants.is_empty() {
            // Another machine's certificate for the same block: its votes still have to hold.
            return self.check_certificate(&finality.certificate, header.height, hash);
        }
        let (mut at, mut top, mut top_result) = (header.height, hash, Some(result));
        for next in &finality.descendants {
            let follows = next.height.0 == at.0 + 1
                && next.parent.0.0 == top
                && top_result.is_none_or(|result| next.parent_result.0.0 == result);
            if !follows {
                return Err(format!("the descendant at height {} does not follow", next.height));
            }
            (at, top, top_result) = (next.height, self.header_hash(next), None);
        }
        if top_result.is_some_and(|result| finality.certificate.commit.result.0.0 != result) {
            return Err(format!("the certificate of height {at} is for another result"));
        }
        self.check_certificate(&finality.certificate, at, top)
    }
}
