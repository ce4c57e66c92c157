//! Votes, and the certificates that a quorum of them makes.

use crate::block::Header;
use crate::codec;
use crate::hash::{BlockHash, ChainId, ResultHash};
use crate::ids::{Height, ValidatorIndex, View};
use crate::keys::{Batch, SecretKey, Signature};
use crate::signed::Domain;
use crate::validators::ValidatorSet;
use serde::{Deserialize, Serialize};

/// What a Prepare vote signs, behind [`Domain::Prepare`]: the order of one block in one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The view voted in (not the header's).
    pub view: View,
    /// The block's height.
    pub height: Height,
    /// The block.
    pub block: BlockHash,
}

/// What a Commit vote signs, behind [`Domain::Commit`]: the order of a block and what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The view voted in (not the header's).
    pub view: View,
    /// The block's height.
    pub height: Height,
    /// The block.
    pub block: BlockHash,
    /// Hash of its result.
    pub result: ResultHash,
}

impl Prepare {
    /// The signed bytes.
    pub fn preimage(&self, chain: &ChainId) -> Vec<u8> {
        Domain::Prepare.preimage(chain, &codec::encode(self))
    }

    /// This vote, signed with a vote key.
    pub fn sign(&self, chain: &ChainId, key: &SecretKey) -> Signature {
        key.sign(&self.preimage(chain))
    }
}

impl Commit {
    /// The signed bytes.
    pub fn preimage(&self, chain: &ChainId) -> Vec<u8> {
        Domain::Commit.preimage(chain, &codec::encode(self))
    }

    /// This vote, signed with a vote key.
    pub fn sign(&self, chain: &ChainId, key: &SecretKey) -> Signature {
        key.sign(&self.preimage(chain))
    }
}

/// Signatures of distinct validators, in ascending order of their indexes.
pub type Signatures = Vec<(ValidatorIndex, Signature)>;

/// Why signatures do not make a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Fewer signatures than a quorum.
    #[error("{found} signatures where a quorum is {quorum}")]
    TooFew {
        /// Signatures found.
        found: usize,
        /// Signatures needed.
        quorum: usize,
    },
    /// A signer twice, or signers out of ascending order.
    #[error("signers are not distinct and ascending")]
    NotAscending,
    /// A signer that the validator set does not have.
    #[error("signer {0} is not in the validator set")]
    UnknownSigner(ValidatorIndex),
    /// A signature that does not verify. One is enough to refuse the whole, even beyond the quorum.
    #[error("the signature of validator {0} does not verify")]
    BadSignature(ValidatorIndex),
    /// A prepared certificate's header belongs to another chain, or to a view after its votes.
    #[error("the header is of another chain, or of a later view than its votes")]
    WrongHeader,
}

/// Checks everything about signers but the signatures themselves: distinct, ascending, known, and
/// at least a quorum of them.
fn check_signers(signatures: &Signatures, validators: &ValidatorSet) -> Result<(), CertificateError> {
    if !signatures.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(CertificateError::NotAscending);
    }
    if let Some((signer, _)) = signatures.iter().find(|(signer, _)| validators.get(*signer).is_none()) {
        return Err(CertificateError::UnknownSigner(*signer));
    }
    // Distinct and known, so this counts validators, not messages.
    let quorum = validators.quorum().q;
    if signatures.len() < quorum {
        return Err(CertificateError::TooFew { found: signatures.len(), quorum });
    }
    Ok(())
}

fn verify_quorum(
    signatures: &Signatures,
    validators: &ValidatorSet,
    preimage: &[u8],
) -> Result<(), CertificateError> {
    check_signers(signatures, validators)?;
    for (signer, signature) in signatures {
        let validator = validators.get(*signer).ok_or(CertificateError::UnknownSigner(*signer))?;
        validator
            .vote_key
            .verify(preimage, signature)
            .map_err(|_| CertificateError::BadSignature(*signer))?;
    }
    Ok(())
}

/// A quorum of Commit votes on one block and its result: the block is final, and so are its
/// ancestors. It is also PBFT's stable checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// What all of them signed.
    pub commit: Commit,
    /// Who signed.
    pub signatures: Signatures,
}

impl Certificate {
    /// Checks signers and signatures, one by one.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify(&self, chain: &ChainId, validators: &ValidatorSet) -> Result<(), CertificateError> {
        verify_quorum(&self.signatures, validators, &self.commit.preimage(chain))
    }

    /// Checks signers, and leaves the signatures to `batch`: the certificate holds if the batch does.
    ///
    /// # Errors
    /// See [`CertificateError`]; never `BadSignature`.
    pub fn verify_into(
        &self,
        chain: &ChainId,
        validators: &ValidatorSet,
        batch: &mut Batch,
    ) -> Result<(), CertificateError> {
        check_signers(&self.signatures, validators)?;
        let preimage = self.commit.preimage(chain);
        for (signer, signature) in &self.signatures {
            let validator = validators.get(*signer).ok_or(CertificateError::UnknownSigner(*signer))?;
            batch.push(&validator.vote_key, &preimage, signature);
        }
        Ok(())
    }
}

/// A full header and a quorum of Prepare votes on it: no other block can be prepared at this height
/// in the votes' view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedCertificate {
    /// The block.
    pub header: Header,
    /// The view **of the votes**, which for a re-proposed block is above the header's.
    pub view: View,
    /// Who voted.
    pub signatures: Signatures,
}

impl PreparedCertificate {
    /// The vote that all of them signed.
    pub fn prepare(&self) -> Prepare {
        Prepare { view: self.view, height: self.header.height, block: self.header.hash() }
    }

    /// Checks chain, signers and signatures.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify(&self, chain: &ChainId, validators: &ValidatorSet) -> Result<(), CertificateError> {
        if self.header.view > self.view || self.header.chain != *chain {
            return Err(CertificateError::WrongHeader);
        }
        verify_quorum(&self.signatures, validators, &self.prepare().preimage(chain))
    }
}
