//! Frames between validators, and the checks each must pass on its way in.

use super::api::{PeerInput, VerifiedBlock};
use bytes::Bytes;
use quorate_pbft::{Committee, MessageError, VerifiedMessage};
use quorate_transport::Lane;
use quorate_types::block::{Block, Header, transactions_root};
use quorate_types::certificate::CertificateError;
use quorate_types::codec::{self, DecodeError};
use quorate_types::hash::{BlockHash, Hash, TransactionId};
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::parameters::limits;
use quorate_types::transaction::{
    TransactionError, VerifiedTransaction, deserialize_bodies, verify_transactions,
};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The longest frame on the lane of votes, in bytes: the longest message and its envelope.
pub const MAX_VOTES_FRAME: usize = quorate_pbft::MAX_MESSAGE_BYTES + 64;
/// The longest frame on the lane of gossip, in bytes: one largest transaction, or many small ones.
pub const MAX_GOSSIP_FRAME: usize = 2 * limits::TRANSACTION_BYTES;
/// The longest frame on the lane of sync, in bytes: one largest block with its certificate.
pub const MAX_SYNC_FRAME: usize = limits::BLOCK_BYTES + (4 << 20);
/// Ids in one frame.
pub const MAX_IDS: usize = 4096;
/// Blocks in one frame.
pub const MAX_BLOCKS: usize = 128;
/// Bytes of blocks after which an answer ends; a larger single block still travels.
pub const BLOCKS_FRAME_BYTES: usize = 4 << 20;

/// What a frame holds, in the canonical encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerFrame {
    /// An encoded message of the ordering protocol.
    Consensus(Bytes),
    /// Transactions, pushed or pulled.
    Transactions {
        /// Validators they passed before the receiver.
        hops: u8,
        /// Each an encoded signed transaction.
        #[serde(deserialize_with = "deserialize_bodies")]
        transactions: Vec<Bytes>,
    },
    /// Transactions to be had from the sender.
    Announce(Vec<TransactionId>),
    /// Transactions wanted.
    Pull(Vec<TransactionId>),
    /// A proposal wanted.
    FetchProposal(BlockHash),
    /// The answer.
    Proposal {
        /// The header.
        header: Box<Header>,
        /// The ids.
        ids: Vec<TransactionId>,
    },
    /// Blocks wanted.
    FetchBlocks {
        /// The first height.
        from: Height,
        /// The last height.
        to: Height,
    },
    /// The answer.
    Blocks(Vec<Block>),
}

impl PeerFrame {
    /// The lane it travels on.
    pub fn lane(&self) -> Lane {
        match self {
            PeerFrame::Consensus(_) => Lane::Votes,
            PeerFrame::Transactions { .. } | PeerFrame::Announce(_) => Lane::Gossip,
            // A proposal waits for what is pulled: it must not queue behind gossip.
            PeerFrame::Pull(_)
            | PeerFrame::FetchProposal(_)
            | PeerFrame::Proposal { .. }
            | PeerFrame::FetchBlocks { .. }
            | PeerFrame::Blocks(_) => Lane::Sync,
        }
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Bytes {
        codec::encode_bytes(self)
    }
}

/// Why a frame is refused. Each is the sender's fault: correct validators send none such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not an encoded frame, or too long for its lane.
    #[error("frame: {0}")]
    Decode(#[from] DecodeError),
    /// On a lane where its kind does not belong.
    #[error("a frame on the wrong lane")]
    WrongLane,
    /// More ids, blocks or transactions than a frame may hold, or none.
    #[error("a frame of {0} items")]
    Count(usize),
    /// A message of the ordering protocol that does not hold.
    #[error("message: {0}")]
    Message(#[from] MessageError),
    /// A transaction that does not hold. Correct validators pass on verified ones only.
    #[error("transaction: {0}")]
    Transaction(#[from] TransactionError),
    /// A block whose certificate does not hold.
    #[error("certificate at height {height}: {error}")]
    Certificate {
        /// The block's height.
        height: Height,
        /// What is wrong.
        error: CertificateError,
    },
    /// A block or proposal whose parts do not fit each other.
    #[error("block at height {height}: {what}")]
    Block {
        /// The block's height.
        height: Height,
        /// What does not fit.
        what: &'static str,
    },
}

/// Messages verified a moment ago, by the hash of their bytes.
///
/// A ViewChange is repeated, byte for byte, until its view moves, and every validator passes the
/// NewView on to whoever lacks it. Among many validators each holds hundreds of signatures, and
/// checking them again and again would be all that a machine has time for.
///
/// Bound: [`REPEATS_BYTES`] of messages, the oldest going first. Messages of fewer than
/// [`REPEATS_FROM`] bytes, a vote or a beacon, are cheaper to check than to remember.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    by_hash: BTreeMap<Hash, VerifiedMessage>,
    order: VecDeque<Hash>,
    bytes: usize,
}

/// Bytes of messages remembered as verified.
pub const REPEATS_BYTES: usize = 32 << 20;
/// The least length of a message that is remembered, in bytes.
pub const REPEATS_FROM: usize = 1024;

impl Repeats {
    /// Decodes and checks a message, or finds that exactly these bytes were checked before.
    fn decode(&self, bytes: Bytes, committee: &Committee) -> Result<VerifiedMessage, MessageError> {
        if bytes.len() < REPEATS_FROM {
            return VerifiedMessage::decode(bytes, committee);
        }
        let hash = Hash::of(&[&bytes]);
        if let Some(known) = self.remembered().by_hash.get(&hash) {
            return Ok(known.clone());
        }
        let message = VerifiedMessage::decode(bytes, committee)?;
        let mut remembered = self.remembered();
        if remembered.by_hash.insert(hash, message.clone()).is_none() {
            remembered.order.push_back(hash);
            remembered.bytes += message.bytes().len();
        }
        while remembered.bytes > REPEATS_BYTES {
            let Some(oldest) = remembered.order.pop_front() else { break };
            if let Some(gone) = remembered.by_hash.remove(&oldest) {
                remembered.bytes -= gone.bytes().len();
            }
        }
        Ok(message)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames that were decoded, with transactions whose signatures nobody has looked at.
#[derive(Debug)]
pub struct Decoded(Vec<Result<PeerFrame, FrameError>>);

impl Decoded {
    /// Decodes frames.
    pub fn of(frames: &[(ValidatorIndex, Lane, Bytes)]) -> Decoded {
        Decoded(frames.iter().map(|(_, lane, bytes)| decode(*lane, bytes)).collect())
    }

    /// The encoded transactions of all of them, in order.
    pub fn transactions(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter().flatten().flat_map(|frame| {
            let (gossiped, blocks) = match frame {
                PeerFrame::Transactions { transactions, .. } => (&transactions[..], &[][..]),
                PeerFrame::Blocks(blocks) => (&[][..], &blocks[..]),
                _ => (&[][..], &[][..]),
            };
            gossiped.iter().chain(blocks.iter().flat_map(|block| &block.transactions))
        })
    }

    /// One verdict for each frame, in order. `verified` begins with the verdicts on
    /// [`transactions`](Decoded::transactions), and is left with what comes after them. `repeats` belongs
    /// to this committee.
    pub fn admit(
        self,
        committee: &Committee,
        repeats: &Repeats,
        verified: &mut impl Iterator<Item = Result<VerifiedTransaction, TransactionError>>,
    ) -> Vec<Result<PeerInput, FrameError>> {
        let admit_one = |frame: Result<PeerFrame, FrameError>| {
            let frame = frame?;
            let count = match &frame {
                PeerFrame::Transactions { transactions, .. } => transactions.len(),
                PeerFrame::Blocks(blocks) => blocks.iter().map(|block| block.transactions.len()).sum(),
                _ => 0,
            };
            // Taken before anything can fail, so that the next frame finds its own.
            let transactions: Result<Vec<_>, _> =
                verified.by_ref().take(count).collect::<Vec<_>>().into_iter().collect();
            admit(committee, repeats, frame, transactions?)
        };
        self.0.into_iter().map(admit_one).collect()
    }
}

/// Decodes and verifies frames, the signatures of all their transactions in one batch. One verdict for
/// each frame, in order. `rng` must be unpredictable to the senders; `repeats` belongs to this
/// committee.
pub fn verify<R: CryptoRng>(
    committee: &Committee,
    repeats: &Repeats,
    frames: &[(ValidatorIndex, Lane, Bytes)],
    rng: &mut R,
) -> Vec<Result<PeerInput, FrameError>> {
    let decoded = Decoded::of(frames);
    let encoded: Vec<Bytes> = decoded.transactions().cloned().collect();
    let verified = verify_transactions(&committee.chain, &encoded, rng);
    decoded.admit(committee, repeats, &mut verified.into_iter())
}

fn decode(lane: Lane, bytes: &Bytes) -> Result<PeerFrame, FrameError> {
    let limit = match lane {
        Lane::Votes => MAX_VOTES_FRAME,
        Lane::Gossip => MAX_GOSSIP_FRAME,
        Lane::Sync => MAX_SYNC_FRAME,
    };
    let frame: PeerFrame = codec::decode(bytes, limit)?;
    if frame.lane() != lane {
        return Err(FrameError::WrongLane);
    }
    let (count, most) = match &frame {
        PeerFrame::Transactions { transactions, .. } => (transactions.len(), MAX_IDS),
        PeerFrame::Announce(ids) | PeerFrame::Pull(ids) => (ids.len(), MAX_IDS),
        PeerFrame::Blocks(blocks) => (blocks.len(), MAX_BLOCKS),
        PeerFrame::Proposal { ids, .. } => (ids.len(), limits::BLOCK_TRANSACTIONS),
        PeerFrame::Consensus(_) | PeerFrame::FetchProposal(_) | PeerFrame::FetchBlocks { .. } => (1, 1),
    };
    if (1..=most).contains(&count) { Ok(frame) } else { Err(FrameError::Count(count)) }
}

fn admit(
    committee: &Committee,
    repeats: &Repeats,
    frame: PeerFrame,
    transactions: Vec<VerifiedTransaction>,
) -> Result<PeerInput, FrameError> {
    Ok(match frame {
        PeerFrame::Consensus(bytes) => PeerInput::Consensus(repeats.decode(bytes, committee)?),
        PeerFrame::Transactions { hops, .. } => PeerInput::Transactions { hops, transactions },
        PeerFrame::Announce(ids) => PeerInput::Announce(ids),
        PeerFrame::Pull(ids) => PeerInput::Pull(ids),
        PeerFrame::FetchProposal(block) => PeerInput::FetchProposal(block),
        PeerFrame::Proposal { header, ids } => {
            check_contents(&header, &ids)?;
            PeerInput::Proposal { header, ids }
        }
        PeerFrame::FetchBlocks { from, to } => PeerInput::FetchBlocks { from, to },
        PeerFrame::Blocks(blocks) => PeerInput::Blocks(check_blocks(committee, blocks, transactions)?),
    })
}

fn check_contents(header: &Header, ids: &[TransactionId]) -> Result<(), FrameError> {
    let height = header.height;
    if u64::from(header.transaction_count) != ids.len() as u64 {
        return Err(FrameError::Block { height, what: "another count of transactions than its header's" });
    }
    if transactions_root(ids) != header.transactions_root {
        return Err(FrameError::Block { height, what: "other transactions than its header's" });
    }
    Ok(())
}

fn check_blocks(
    committee: &Committee,
    blocks: Vec<Block>,
    transactions: Vec<VerifiedTransaction>,
) -> Result<Vec<VerifiedBlock>, FrameError> {
    let mut transactions = transactions.into_iter();
    let mut checked: Vec<VerifiedBlock> = Vec::with_capacity(blocks.len());
    for block in blocks {
        let own: Vec<VerifiedTransaction> = transactions.by_ref().take(block.transactions.len()).collect();
        let height = block.header.height;
        if height == Height::GENESIS || block.header.chain != committee.chain {
            return Err(FrameError::Block { height, what: "of another chain, or of height 0" });
        }
        let ids: Vec<TransactionId> = own.iter().map(VerifiedTransaction::id).collect();
        check_contents(&block.header, &ids)?;
        let hash = block.header.hash();
        if let Some(below) = checked.last()
            && (below.block.header.height.next() != height || below.hash != block.header.parent)
        {
            return Err(FrameError::Block { height, what: "does not follow from the block before it" });
        }
        if let Some(certificate) = &block.certificate {
            if certificate.commit.block != hash || certificate.commit.height != height {
                return Err(FrameError::Block { height, what: "the certificate is another block's" });
            }
            certificate
                .verify(&committee.chain, &committee.validators)
                .map_err(|error| FrameError::Certificate { height, error })?;
        }
        checked.push(VerifiedBlock { block, hash, transactions: own });
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_pbft::{Message, Phase, Signed, Status, ViewChange};
    use quorate_types::certificate::{Certificate, Commit};
    use quorate_types::hash::{ChainId, ResultHash};
    use quorate_types::ids::{Timestamp, View};
    use quorate_types::keys::SecretKey;
    use quorate_types::transaction::{Operation, Transaction};
    use quorate_types::validators::{Validator, ValidatorSet};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const CHAIN: ChainId = ChainId(Hash([2; 32]));
    const LANES: [Lane; 3] = [Lane::Votes, Lane::Sync, Lane::Gossip];

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// Four validators with the keys 1 to 4.
    fn four() -> Committee {
        let validator = |seed| Validator { member: key(seed).public(), vote_key: key(seed).public() };
        Committee { chain: CHAIN, validators: ValidatorSet::new((1..=4).map(validator).collect()), window: 4 }
    }

    fn transaction(nonce: u64) -> Bytes {
        let transaction = Transaction {
            chain: CHAIN,
            sender: key(9).public(),
            nonce,
            expires_at: Timestamp(5),
            operations: vec![Operation::CreateNamespace { namespace: "n".into() }],
        };
        codec::encode_bytes(&transaction.sign(&key(9)))
    }

    fn id(transaction: &Bytes) -> TransactionId {
        verify_transactions(&CHAIN, std::slice::from_ref(transaction), &mut ChaCha20Rng::seed_from_u64(1))
            .remove(0)
            .unwrap()
            .id()
    }

    fn certificate(header: &Header, signers: &[(u16, SecretKey)]) -> Certificate {
        let result = ResultHash(Hash([4; 32]));
        let commit = Commit { view: View(0), height: header.height, block: header.hash(), result };
        let sign = |(index, key): &(u16, SecretKey)| (ValidatorIndex(*index), commit.sign(&CHAIN, key));
        Certificate { commit, signatures: signers.iter().map(sign).collect() }
    }

    /// A block of two transactions without a certificate.
    fn block(height: u64) -> Block {
        let transactions = vec![transaction(2 * height), transaction(2 * height + 1)];
        let ids: Vec<TransactionId> = transactions.iter().map(id).collect();
        let header = Header {
            chain: CHAIN,
            height: Height(height),
            view: View(0),
            proposer: ValidatorIndex(0),
            timestamp: Timestamp(1),
            parent: BlockHash(CHAIN.0),
            parent_result: ResultHash(Hash::ZERO),
            transactions_root: transactions_root(&ids),
            transaction_count: 2,
            history_root: Hash::ZERO,
            validators: Hash::ZERO,
        };
        Block { header, transactions, certificate: None }
    }

    fn judge(lane: Lane, frame: &PeerFrame) -> Result<PeerInput, FrameError> {
        let frames = [(ValidatorIndex(1), lane, frame.encode())];
        verify(&four(), &Repeats::default(), &frames, &mut ChaCha20Rng::seed_from_u64(1)).remove(0)
    }

    fn refusal(frame: &PeerFrame) -> FrameError {
        judge(frame.lane(), frame).map(|_| ()).expect_err("refused")
    }

    /// failures.md, row 12: signatures of many frames are verified in one batch.
    #[test]
    fn a_bad_signature_costs_its_own_frame_and_no_other() {
        let mut bad = transaction(2).to_vec();
        *bad.last_mut().unwrap() ^= 1;
        let frames = [vec![transaction(1)], vec![bad.into(), transaction(3)], vec![transaction(4)]];
        let frames = frames.map(|transactions| {
            let frame = PeerFrame::Transactions { hops: 1, transactions };
            (ValidatorIndex(1), Lane::Gossip, frame.encode())
        });
        let verdicts =
            verify(&four(), &Repeats::default(), &frames, &mut ChaCha20Rng::seed_from_u64(1)).into_iter();
        let ids = verdicts.map(|verdict| match verdict {
            Ok(PeerInput::Transactions { transactions, .. }) => {
                Ok(transactions.iter().map(VerifiedTransaction::id).collect::<Vec<_>>())
            }
            Ok(_) => panic!("another kind"),
            Err(error) => Err(error),
        });
        let expected = [
            Ok(vec![id(&transaction(1))]),
            Err(FrameError::Transaction(TransactionError::BadSignature)),
            Ok(vec![id(&transaction(4))]),
        ];
        assert_eq!(ids.collect::<Vec<_>>(), expected);
    }

    /// failures.md, row 37.
    #[test]
    fn each_kind_of_frame_has_its_lane_and_its_limits() {
        let status = Status {
            view: View(0),
            phase: Phase::Active,
            height: Height(0),
            proposals: Height(0),
            stalled: false,
            founding: true,
        };
        let status = Message::Status(Signed::new(status, &CHAIN, ValidatorIndex(1), &key(2)));
        let (honest, ids) = (block(1), vec![id(&transaction(1))]);
        let header = Box::new(honest.header.clone());
        let both: Vec<TransactionId> = honest.transactions.iter().map(id).collect();
        let frames = [
            PeerFrame::Consensus(codec::encode_bytes(&status)),
            PeerFrame::Transactions { hops: 1, transactions: vec![transaction(1)] },
            PeerFrame::Announce(ids.clone()),
            PeerFrame::Pull(ids.clone()),
            PeerFrame::FetchProposal(BlockHash(Hash::ZERO)),
            PeerFrame::Proposal { header: header.clone(), ids: both },
            PeerFrame::FetchBlocks { from: Height(1), to: Height(u64::MAX) },
            PeerFrame::Blocks(vec![honest.clone()]),
        ];
        for frame in &frames {
            for lane in LANES {
                let verdict = judge(lane, frame).map(|_| ());
                let expected = if lane == frame.lane() { Ok(()) } else { Err(FrameError::WrongLane) };
                assert_eq!(verdict, expected, "{frame:?}");
            }
        }
        assert_eq!(refusal(&PeerFrame::Announce(vec![])), FrameError::Count(0));
        assert_eq!(refusal(&PeerFrame::Pull(vec![ids[0]; MAX_IDS + 1])), FrameError::Count(MAX_IDS + 1));
        assert_eq!(refusal(&PeerFrame::Blocks(vec![])), FrameError::Count(0));
        assert_eq!(
            refusal(&PeerFrame::Blocks(vec![honest.clone(); MAX_BLOCKS + 1])),
            FrameError::Count(MAX_BLOCKS + 1)
        );
        // A header over another body, and a run that does not hang together.
        let height = Height(1);
        let other = FrameError::Block { height, what: "other transactions than its header's" };
        let count = FrameError::Block { height, what: "another count of transactions than its header's" };
        assert_eq!(refusal(&PeerFrame::Proposal { header: header.clone(), ids: vec![ids[0]; 2] }), other);
        assert_eq!(refusal(&PeerFrame::Proposal { header, ids }), count);
        let mut swapped = honest.clone();
        swapped.transactions.swap(0, 1);
        assert_eq!(refusal(&PeerFrame::Blocks(vec![swapped])), other);
        let unlinked = refusal(&PeerFrame::Blocks(vec![honest, block(2)]));
        assert!(matches!(unlinked, FrameError::Block { height: Height(2), .. }), "{unlinked}");
    }

    /// failures.md, row 39: whoever is no validator helps no certificate over its quorum, and spoils one
    /// that has it.
    #[test]
    fn an_observers_signature_in_a_fetched_certificate_is_refused() {
        let signers = |others: &[(u16, SecretKey)]| {
            let mut block = block(1);
            block.certificate = Some(certificate(&block.header, others));
            judge(Lane::Sync, &PeerFrame::Blocks(vec![block])).map(|_| ())
        };
        let refused = |error| Err(FrameError::Certificate { height: Height(1), error });
        let [a, b, c, observer] = [1, 2, 3, 77].map(key);
        let unknown = |index| refused(CertificateError::UnknownSigner(ValidatorIndex(index)));
        assert_eq!(signers(&[(0, a.clone()), (1, b.clone()), (2, c.clone())]), Ok(()));
        assert_eq!(signers(&[(0, a.clone()), (1, b.clone()), (4, observer.clone())]), unknown(4));
        assert_eq!(
            signers(&[(0, a.clone()), (1, b.clone()), (2, c), (u16::MAX, observer.clone())]),
            unknown(u16::MAX)
        );
        let bad = refused(CertificateError::BadSignature(ValidatorIndex(2)));
        assert_eq!(signers(&[(0, a), (1, b), (2, observer)]), bad);
    }

    #[test]
    fn only_the_very_bytes_that_were_checked_pass_unchecked_again() {
        let keys: Vec<SecretKey> = (1..=30).map(|seed| SecretKey::from_seed(&[seed; 32])).collect();
        let validator = |key: &SecretKey| Validator { member: key.public(), vote_key: key.public() };
        let committee = Committee {
            chain: ChainId(Hash([2; 32])),
            validators: ValidatorSet::new(keys.iter().map(validator).collect()),
            window: 4,
        };
        let commit = Commit {
            view: View(0),
            height: Height(1),
            block: BlockHash(Hash([3; 32])),
            result: ResultHash(Hash([4; 32])),
        };
        let signatures = (0..)
            .map(ValidatorIndex)
            .zip(keys.iter().map(|key| commit.sign(&committee.chain, key)))
            .collect();
        let change = ViewChange {
            view: View(1),
            certificate: Some(Certificate { commit, signatures }),
            prepared: Vec::new(),
        };
        let signed = Signed::new(change, &committee.chain, ValidatorIndex(0), &keys[0]);
        let bytes = codec::encode_bytes(&Message::ViewChange(Box::new(signed)));
        assert!(bytes.len() > REPEATS_FROM);

        let repeats = Repeats::default();
        let mut forged = bytes.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let forged = Bytes::from(forged);
        for _ in 0..2 {
            assert_eq!(repeats.decode(bytes.clone(), &committee).unwrap().bytes(), &bytes);
            assert!(repeats.decode(forged.clone(), &committee).is_err());
            assert_eq!(repeats.remembered().order.len(), 1, "once, and never what failed");
        }
    }
}
