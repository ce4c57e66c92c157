//! Messages of the ordering protocol, and the checks each must pass before a replica sees it.
//!
//! A message is judged by its signer, never by the connection it came by.

use bytes::Bytes;
use quorate_types::block::Header;
use quorate_types::certificate::{Certificate, CertificateError, Commit, Prepare, PreparedCertificate};
use quorate_types::codec::{self, DecodeError};
use quorate_types::hash::{BlockHash, ChainId, TransactionId};
use quorate_types::ids::{Height, ValidatorIndex, View};
use quorate_types::keys::{SecretKey, Signature};
use quorate_types::parameters::limits;
use quorate_types::signed::Domain;
use quorate_types::validators::ValidatorSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who votes, and by which window: what every check needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committee {
    /// The chain.
    pub chain: ChainId,
    /// The validators.
    pub validators: ValidatorSet,
    /// Proposals in flight, W.
    pub window: u64,
}

/// A statement that validators sign.
pub trait Statement: Serialize {
    /// The tag behind which it is signed.
    const DOMAIN: Domain;
}

/// A statement with the validator that signs it and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// What is said.
    pub statement: T,
    /// Who says it.
    pub signer: ValidatorIndex,
    /// Its signature over the statement behind its domain.
    pub signature: Signature,
}

impl<T: Statement> Signed<T> {
    /// Signs `statement` as validator `signer`.
    pub fn new(statement: T, chain: &ChainId, signer: ValidatorIndex, key: &SecretKey) -> Signed<T> {
        let signature = key.sign(&T::DOMAIN.preimage(chain, &codec::encode(&statement)));
        Signed { statement, signer, signature }
    }

    fn verify_signature(&self, committee: &Committee) -> Result<(), MessageError> {
        let validator =
            committee.validators.get(self.signer).ok_or(MessageError::UnknownSigner(self.signer))?;
        let preimage = T::DOMAIN.preimage(&committee.chain, &codec::encode(&self.statement));
        validator
            .vote_key
            .verify(&preimage, &self.signature)
            .map_err(|_| MessageError::BadSignature(self.signer))
    }
}

/// A leader's proposal. Not a vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrePrepare {
    /// The view it is proposed in; equals the header's.
    pub view: View,
    /// The block.
    pub header: Header,
    /// Its transactions, in order; their bodies travel by gossip.
    pub ids: Vec<TransactionId>,
}

/// A validator's report on leaving every view below `view`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    /// The view it moves to.
    pub view: View,
    /// The certificate of its last committed block; `None` at genesis.
    pub certificate: Option<Certificate>,
    /// For every block above that on which it voted Commit: the prepared certificate of its last such
    /// vote, by ascending height.
    pub prepared: Vec<PreparedCertificate>,
}

impl ViewChange {
    /// The height of the certificate.
    pub fn height(&self) -> Height {
        self.certificate.as_ref().map_or(Height::GENESIS, |c| c.commit.height)
    }
}

/// A leader's opening of its view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewView {
    /// The view.
    pub view: View,
    /// A quorum of ViewChanges for it, by ascending signer.
    pub view_changes: Vec<Signed<ViewChange>>,
}

/// Where a replica stands within its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Takes proposals and votes.
    Active,
    /// Has left the views below, and waits for the NewView.
    Changing,
    /// Lost its memory: follows without voting until it cannot contradict itself.
    Learning,
}

/// A validator's beacon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The view it is in, or moves to.
    pub view: View,
    /// Where it stands in that view.
    pub phase: Phase,
    /// Its last committed height.
    pub height: Height,
    /// Up to where it needs no proposals of its view: its last committed height, and above it as far as it has
    /// them without a gap.
    pub proposals: Height,
    /// It waits for something and asks to be sent again what it lacks.
    pub stalled: bool,
    /// It knows of no block yet: its chain is being founded.
    pub founding: bool,
}

impl Statement for PrePrepare {
    const DOMAIN: Domain = Domain::PrePrepare;
}
impl Statement for Prepare {
    const DOMAIN: Domain = Domain::Prepare;
}
impl Statement for Commit {
    const DOMAIN: Domain = Domain::Commit;
}
impl Statement for ViewChange {
    const DOMAIN: Domain = Domain::ViewChange;
}
impl Statement for NewView {
    const DOMAIN: Domain = Domain::NewView;
}
impl Statement for Status {
    const DOMAIN: Domain = Domain::Status;
}

/// Everything validators say to each other about the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A proposal, signed by the leader.
    PrePrepare(Box<Signed<PrePrepare>>),
    /// A vote for the order.
    Prepare(Signed<Prepare>),
    /// A vote for the order and the result.
    Commit(Signed<Commit>),
    /// A report on leaving a view.
    ViewChange(Box<Signed<ViewChange>>),
    /// The opening of a view.
    NewView(Box<Signed<NewView>>),
    /// A beacon.
    Status(Signed<Status>),
}

impl Message {
    /// Who signed it.
    pub fn signer(&self) -> ValidatorIndex {
        match self {
            Message::PrePrepare(m) => m.signer,
            Message::Prepare(m) => m.signer,
            Message::Commit(m) => m.signer,
            Message::ViewChange(m) => m.signer,
            Message::NewView(m) => m.signer,
            Message::Status(m) => m.signer,
        }
    }

    /// The view it speaks of.
    pub fn view(&self) -> View {
        match self {
            Message::PrePrepare(m) => m.statement.view,
            Message::Prepare(m) => m.statement.view,
            Message::Commit(m) => m.statement.view,
            Message::ViewChange(m) => m.statement.view,
            Message::NewView(m) => m.statement.view,
            Message::Status(m) => m.statement.view,
        }
    }
}

/// Why a message is refused before any replica sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not an encoded message.
    #[error("not a message: {0}")]
    Decode(#[from] DecodeError),
    /// An index that the validator set does not have.
    #[error("signer {0} is not in the validator set")]
    UnknownSigner(ValidatorIndex),
    /// The signer's signature does not verify.
    #[error("the signature of validator {0} does not verify")]
    BadSignature(ValidatorIndex),
    /// A proposal or NewView by another validator than the view's leader.
    #[error("validator {signer} does not lead view {view}")]
    NotLeader {
        /// Who signed.
        signer: ValidatorIndex,
        /// The view.
        view: View,
    },
    /// A proposal whose header contradicts it: chain, view, proposer, count, or no transactions.
    #[error("the proposal's header has another {0}")]
    Header(&'static str),
    /// More transactions than any block may hold.
    #[error("a proposal of {0} transactions")]
    TooManyTransactions(usize),
    /// A view change into view 0, which needs none.
    #[error("a view change into view 0")]
    ViewZero,
    /// A ViewChange's certificate does not hold.
    #[error("certificate of a view change: {0}")]
    Certificate(CertificateError),
    /// A ViewChange's prepared certificates are not ascending, not within the window above its
    /// certificate, not of earlier views, or longer than a quorum makes them.
    #[error("prepared certificates of a view change: {0}")]
    Prepared(&'static str),
    /// A NewView without a quorum of distinct signers, ascending, all for its view.
    #[error("view changes of a new view: {0}")]
    NewView(&'static str),
    /// A vote on height 0, which is the genesis document's.
    #[error("a vote on height 0")]
    HeightZero,
}

/// The longest encoding of a message, in bytes: a proposal of the most transactions, or a NewView of
/// the largest set.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// A message that passed its checks, with its bytes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VerifiedMessage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    message: Message,
    bytes: Bytes,
    /// Of each ViewChange within, by signer and position: prepared certificates that do not verify.
    /// They are discarded; what stands beside them still counts.
    discarded: Vec<(ValidatorIndex, usize)>,
}

impl VerifiedMessage {
    /// Decodes and checks a message from a peer or a disk.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn decode(bytes: Bytes, committee: &Committee) -> Result<VerifiedMessage, MessageError> {
        let message: Message = codec::decode(&bytes, MAX_MESSAGE_BYTES)?;
        VerifiedMessage::check(message, bytes, committee)
    }

    /// Checks a decoded message whose encoding is `bytes`.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn check(
        message: Message,
        bytes: Bytes,
        committee: &Committee,
    ) -> Result<VerifiedMessage, MessageError> {
        let mut discarded = Vec::new();
        match &message {
            Message::PrePrepare(signed) => check_pre_prepare(signed, committee)?,
            Message::Prepare(signed) => check_vote(signed.statement.height, signed, committee)?,
            Message::Commit(signed) => check_vote(signed.statement.height, signed, committee)?,
            Message::ViewChange(signed) => check_view_change(signed, committee, &mut discarded)?,
            Message::NewView(signed) => check_new_view(signed, committee, &mut discarded)?,
            Message::Status(signed) => signed.verify_signature(committee)?,
        }
        Ok(VerifiedMessage(Arc::new(Inner { message, bytes, discarded })))
    }

    /// A message that this replica has just signed, out of parts it had verified.
    pub(crate) fn own(message: Message, discarded: Vec<(ValidatorIndex, usize)>) -> VerifiedMessage {
        let bytes = codec::encode_bytes(&message);
        // Or nobody could read it. What others put into it is bounded, see `check_view_change`.
        assert!(bytes.len() <= MAX_MESSAGE_BYTES, "a message of {} bytes is signed", bytes.len());
        VerifiedMessage(Arc::new(Inner { message, bytes, discarded }))
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.0.message
    }

    /// Its canonical encoding, as it arrived.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Who signed it.
    pub fn signer(&self) -> ValidatorIndex {
        self.message().signer()
    }

    /// The view it speaks of.
    pub fn view(&self) -> View {
        self.message().view()
    }

    /// The prepared certificate at `height` of a ViewChange signed by `signer` within this message, if there is
    /// one that counts.
    pub(crate) fn usable<'a>(
        &self,
        signer: ValidatorIndex,
        change: &'a ViewChange,
        height: Height,
    ) -> Option<&'a PreparedCertificate> {
        // At ascending heights: that was checked.
        let position = change.prepared.binary_search_by_key(&height, |p| p.header.height).ok()?;
        (!self.0.discarded.contains(&(signer, position))).then(|| &change.prepared[position])
    }

    /// What was discarded, for a NewView that carries this ViewChange on.
    pub(crate) fn discarded(&self) -> &[(ValidatorIndex, usize)] {
        &self.0.discarded
    }
}

fn check_vote<T: Statement>(
    height: Height,
    signed: &Signed<T>,
    committee: &Committee,
) -> Result<(), MessageError> {
    if height == Height::GENESIS {
        return Err(MessageError::HeightZero);
    }
    signed.verify_signature(committee)
}

fn check_leader(signer: ValidatorIndex, view: View, committee: &Committee) -> Result<(), MessageError> {
    if committee.validators.leader(view) == signer {
        Ok(())
    } else {
        Err(MessageError::NotLeader { signer, view })
    }
}

fn check_pre_prepare(signed: &Signed<PrePrepare>, committee: &Committee) -> Result<(), MessageError> {
    let PrePrepare { view, header, ids } = &signed.statement;
    check_leader(signed.signer, *view, committee)?;
    if ids.len() > limits::BLOCK_TRANSACTIONS {
        return Err(MessageError::TooManyTransactions(ids.len()));
    }
    let wrong = [
        (header.chain != committee.chain, "chain"),
        (header.view != *view, "view"),
        (header.proposer != signed.signer, "proposer"),
        (header.height == Height::GENESIS, "height"),
        (ids.is_empty() || u64::from(header.transaction_count) != ids.len() as u64, "transaction count"),
        (header.transactions_root != quorate_types::block::transactions_root(ids), "transactions root"),
    ];
    if let Some((_, what)) = wrong.iter().find(|(is_wrong, _)| *is_wrong) {
        return Err(MessageError::Header(what));
    }
    signed.verify_signature(committee)
}

fn check_view_change(
    signed: &Signed<ViewChange>,
    committee: &Committee,
    discarded: &mut Vec<(ValidatorIndex, usize)>,
) -> Result<(), MessageError> {
    let change = &signed.statement;
    if change.view == View(0) {
        return Err(MessageError::ViewZero);
    }
    if change.prepared.len() as u64 > committee.window {
        return Err(MessageError::Prepared("more than the window"));
    }
    // Whatever a leader puts into its NewView must fit there, beside what the others say. A certificate that does
    // not verify stays in the message, so this is no matter of the certificate alone.
    let quorum = committee.validators.quorum().q;
    if change.prepared.iter().any(|p| p.signatures.len() > quorum) {
        return Err(MessageError::Prepared("more signatures than a quorum"));
    }
    let heights = || change.prepared.iter().map(|p| p.header.height);
    if !heights().is_sorted_by(|a, b| a < b) {
        return Err(MessageError::Prepared("heights not ascending"));
    }
    let base = change.height();
    if heights().any(|height| height <= base || height > base.plus(committee.window)) {
        return Err(MessageError::Prepared("a height outside the window above the certificate"));
    }
    if change.prepared.iter().any(|p| p.view >= change.view) {
        return Err(MessageError::Prepared("a view not below the new one"));
    }
    signed.verify_signature(committee)?;
    if let Some(certificate) = &change.certificate {
        if certificate.commit.height == Height::GENESIS {
            return Err(MessageError::HeightZero);
        }
        certificate.verify(&committee.chain, &committee.validators).map_err(MessageError::Certificate)?;
    }
    for (position, prepared) in change.prepared.iter().enumerate() {
        if prepared.verify(&committee.chain, &committee.validators).is_err() {
            discarded.push((signed.signer, position));
        }
    }
    Ok(())
}

fn check_new_view(
    signed: &Signed<NewView>,
    committee: &Committee,
    discarded: &mut Vec<(ValidatorIndex, usize)>,
) -> Result<(), MessageError> {
    let NewView { view, view_changes } = &signed.statement;
    check_leader(signed.signer, *view, committee)?;
    if view_changes.iter().any(|change| change.statement.view != *view) {
        return Err(MessageError::NewView("one is for another view"));
    }
    if !view_changes.is_sorted_by(|a, b| a.signer < b.signer) {
        return Err(MessageError::NewView("signers not distinct and ascending"));
    }
    if view_changes.len() < committee.validators.quorum().q {
        return Err(MessageError::NewView("fewer than a quorum"));
    }
    signed.verify_signature(committee)?;
    for change in view_changes {
        check_view_change(change, committee, discarded)?;
    }
    Ok(())
}

/// What a header and its hash are to the protocol: kept together so that a header is hashed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) header: Header,
    pub(crate) hash: BlockHash,
}

impl Hashed {
    pub(crate) fn new(header: Header) -> Hashed {
        let hash = header.hash();
        Hashed { header, hash }
    }
}
