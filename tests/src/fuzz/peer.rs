//! Bytes of another validator, or of a stranger.

use super::canonical;
use super::known::{self, chain};
use super::memory::{BINARY, Cap, bounded};
use bytes::Bytes;
use quorate_ledger::{Ledger, StoreError};
use quorate_node::core::PeerInput;
use quorate_node::core::wire::{
    self, FrameError, MAX_BLOCKS, MAX_GOSSIP_FRAME, MAX_IDS, MAX_SYNC_FRAME, MAX_VOTES_FRAME, PeerFrame,
    Repeats,
};
use quorate_pbft::{
    Evidence, MAX_MESSAGE_BYTES, Message, MessageError, Signed, Statement, VerifiedMessage, ViewChange,
};
use quorate_transport::{Lane, decoders};
use quorate_types::block::Block;
use quorate_types::certificate::{Certificate, CertificateError, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::Hash;
use quorate_types::ids::{ValidatorIndex, View};
use quorate_types::keys::{Batch, PublicKey};
use quorate_types::merkle::{self, Path};
use quorate_types::parameters::limits;
use quorate_types::transaction::{
    Operation, SignedTransaction, Transaction, verify_transaction, verify_transactions,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// The longest evidence: two messages and their lengths.
const MAX_EVIDENCE: usize = 2 * MAX_MESSAGE_BYTES + 16;

/// Coefficients of batched checks. Fixed, so that a finding can be had again.
fn coefficients() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// A signed transaction: decoding, form, signature alone and in a batch; then, signed anew, what it does
/// to the ledger.
///
/// # Panics
/// If a promise is broken; so for all targets.
pub fn transaction(bytes: &[u8]) {
    let chain = chain();
    let id = &chain.genesis.chain;
    let decoded: Option<SignedTransaction> = canonical(bytes, limits::TRANSACTION_BYTES);
    let encoded = Bytes::copy_from_slice(bytes);
    let one = bounded(BINARY, bytes.len(), || verify_transaction(id, encoded.clone()));
    let many = bounded(BINARY, 3 * bytes.len(), || {
        verify_transactions(id, &[encoded.clone(), known_transaction(), encoded], &mut coefficients())
    });
    assert!(many[1].is_ok(), "a good transaction was refused because of its neighbours");
    for verdict in [&many[0], &many[2]] {
        assert_eq!(one.as_ref().ok(), verdict.as_ref().ok(), "alone and in a batch");
    }
    let Some(signed) = decoded else {
        assert!(one.is_err(), "verified, and not decoded");
        return;
    };
    if let Ok(verified) = one {
        assert_eq!(verified.id(), signed.transaction.id());
        assert_eq!(verified.bytes(), bytes);
    }
    execute(signed.transaction);
}

/// A transaction that holds.
fn known_transaction() -> Bytes {
    chain().blocks[0].transactions[0].clone()
}

/// Signs the transaction and, if its form holds, lets a block hold it: two ledgers must come to one
/// result, and commit it.
fn execute(transaction: Transaction) {
    let chain = chain();
    let signed = known::resign(transaction);
    let form = signed.transaction.check(&chain.genesis.chain);
    let verified = verify_transaction(&chain.genesis.chain, codec::encode_bytes(&signed));
    // Its form alone decides now; or its length, for that is a limit too.
    assert!(verified.is_err() || form.is_ok(), "the form was not looked at");
    let Ok(verified) = verified else { return };
    assert!((1..=64).contains(&verified.transaction().operations.len()), "too few operations, or too many");
    assert!(verified.transaction().operations.iter().all(keeps_the_rules), "{:?}", signed.transaction);
    let open = || Ledger::open(chain.store.clone(), chain.genesis.clone()).expect("a sound store").0;
    let (mut proposing, mut checking) = (open(), open());
    let parent = proposing.tip().block;
    let last = &chain.blocks[chain.blocks.len() - 1].header;
    let now = known::time_for(signed.transaction.expires_at, last);
    let leader = chain.genesis.validators.leader(View(2));
    let mut candidates = [verified].into_iter();
    let proposed =
        proposing.propose(parent, View(2), leader, now, usize::MAX, &mut candidates).expect("on the tip");
    let Some((header, bodies, result)) = proposed.block else { return };
    assert_eq!(checking.check(&header, &bodies, None), Ok(result), "two ledgers, two results");
    let committed = checking.commit(header.hash()).expect("checked");
    checking.apply(&committed);
}

/// The rules for one operation, stated apart from the code that checks them.
fn keeps_the_rules(operation: &Operation) -> bool {
    let name =
        |name: &str| (1..=64).contains(&name.len()) && name.is_ascii() && !name.contains(['/', ' ', '\0']);
    let key = |key: &[u8]| !key.is_empty() && key.len() <= 256;
    let distinct = |keys: &[PublicKey]| keys.len() <= 64 && keys.windows(2).all(|pair| pair[0] < pair[1]);
    match operation {
        Operation::CreateNamespace { namespace } => name(namespace),
        Operation::SetNamespaceMembers { namespace, owners, writers } => {
            name(namespace) && !owners.is_empty() && distinct(owners) && distinct(writers)
        }
        Operation::Put { namespace, key: of, value, .. } => {
            name(namespace) && key(of) && value.len() <= 512 << 10
        }
        Operation::Delete { namespace, key: of, .. } => name(namespace) && key(of),
        Operation::CreateAsset { asset } => name(asset),
        Operation::Mint { asset, amount, .. }
        | Operation::Transfer { asset, amount, .. }
        | Operation::Burn { asset, amount } => name(asset) && *amount > 0,
    }
}

/// A block as it travels.
pub fn block(bytes: &[u8]) {
    canonical::<Block>(bytes, MAX_SYNC_FRAME);
}

/// A certificate: signers one by one and in a batch; then, endorsed by those it names, again.
pub fn certificate(bytes: &[u8]) {
    let Some(mut certificate) = canonical::<Certificate>(bytes, MAX_MESSAGE_BYTES) else { return };
    check_certificate(&certificate);
    known::endorse(&mut certificate);
    check_certificate(&certificate);
}

fn check_certificate(certificate: &Certificate) {
    let chain = chain();
    let (id, validators) = (&chain.genesis.chain, &chain.genesis.validators);
    let one_by_one = certificate.verify(id, validators);
    let mut batch = Batch::new();
    let gathered = certificate.verify_into(id, validators, &mut batch);
    let batched = gathered.and_then(|()| {
        batch.verify(&mut coefficients()).map_err(|culprits| {
            let (signer, _) = certificate.signatures[culprits[0]];
            CertificateError::BadSignature(signer)
        })
    });
    assert_eq!(one_by_one, batched, "one by one and in a batch");
    if one_by_one.is_ok() {
        assert!(certificate.signatures.len() >= validators.quorum().q);
        assert!(certificate.signatures.iter().all(|(signer, _)| signer.as_usize() < validators.len()));
        assert!(certificate.signatures.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

/// A prepared certificate, and the same endorsed.
pub fn prepared(bytes: &[u8]) {
    let Some(mut prepared) = canonical::<PreparedCertificate>(bytes, MAX_MESSAGE_BYTES) else { return };
    let chain = chain();
    let _refused = prepared.verify(&chain.genesis.chain, &chain.genesis.validators);
    known::endorse_prepared(&mut prepared);
    if prepared.verify(&chain.genesis.chain, &chain.genesis.validators).is_ok() {
        assert_eq!(prepared.header.chain, chain.genesis.chain);
        assert!(prepared.header.view <= prepared.view);
    }
}

/// A message of the ordering protocol: as it came, and signed anew by everyone it names.
pub fn message(bytes: &[u8]) {
    let decoded = canonical::<Message>(bytes, MAX_MESSAGE_BYTES);
    let verdict = check_message(bytes);
    let Some(message) = decoded else {
        assert!(matches!(verdict, Err(MessageError::Decode(_))), "checked, and not decoded");
        return;
    };
    let _verdict = check_message(&codec::encode(&signed_anew(message)));
}

/// What the checks say; if nothing against it, what it says must be within bounds.
fn check_message(bytes: &[u8]) -> Result<VerifiedMessage, MessageError> {
    let committee = &chain().committee;
    let encoded = Bytes::copy_from_slice(bytes);
    let verified = bounded(BINARY, bytes.len(), || VerifiedMessage::decode(encoded, committee))?;
    assert_eq!(verified.bytes(), bytes);
    assert!(codec::encode(verified.message()) == bytes);
    assert!(committee.validators.get(verified.signer()).is_some(), "nobody's message");
    match verified.message() {
        Message::PrePrepare(signed) => {
            assert_eq!(signed.statement.header.transaction_count as usize, signed.statement.ids.len());
            assert_eq!(committee.validators.leader(signed.statement.view), signed.signer);
        }
        Message::NewView(signed) => {
            assert_eq!(committee.validators.leader(signed.statement.view), signed.signer);
            assert!(signed.statement.view_changes.len() >= committee.validators.quorum().q);
            assert!(signed.statement.view_changes.len() <= committee.validators.len());
        }
        Message::ViewChange(signed) => {
            assert!(signed.statement.prepared.len() as u64 <= committee.window);
        }
        Message::Prepare(_) | Message::Commit(_) | Message::Status(_) => {}
    }
    let again = Evidence::of(&verified, &verified);
    assert_eq!(again, None, "a message contradicts itself");
    Ok(verified)
}

fn signed_anew(message: Message) -> Message {
    fn anew<T: Statement>(signed: Signed<T>) -> Signed<T> {
        let key = known::vote_key(signed.signer);
        Signed::new(signed.statement, &chain().genesis.chain, signed.signer, &key)
    }
    fn change(mut signed: Signed<ViewChange>) -> Signed<ViewChange> {
        signed.statement.certificate.iter_mut().for_each(known::endorse);
        signed.statement.prepared.iter_mut().for_each(known::endorse_prepared);
        anew(signed)
    }
    match message {
        Message::PrePrepare(signed) => Message::PrePrepare(Box::new(anew(*signed))),
        Message::Prepare(signed) => Message::Prepare(anew(signed)),
        Message::Commit(signed) => Message::Commit(anew(signed)),
        Message::ViewChange(signed) => Message::ViewChange(Box::new(change(*signed))),
        Message::NewView(mut signed) => {
            let changes = std::mem::take(&mut signed.statement.view_changes);
            signed.statement.view_changes = changes.into_iter().map(change).collect();
            Message::NewView(Box::new(anew(*signed)))
        }
        Message::Status(signed) => Message::Status(anew(signed)),
    }
}

/// Two contradicting messages.
pub fn evidence(bytes: &[u8]) {
    let Some(evidence) = canonical::<Evidence>(bytes, MAX_EVIDENCE) else { return };
    let committee = &chain().committee;
    let verdict = bounded(BINARY, bytes.len(), || evidence.verify(committee));
    if let Ok(Some((signer, _))) = verdict {
        assert!(committee.validators.get(signer).is_some(), "evidence against nobody");
        assert_ne!(evidence.first, evidence.second, "one message convicts nobody");
    }
}

/// A frame on the lane of votes.
pub fn votes_frame(bytes: &[u8]) {
    frame(Lane::Votes, MAX_VOTES_FRAME, bytes);
}

/// A frame on the lane of gossip.
pub fn gossip_frame(bytes: &[u8]) {
    frame(Lane::Gossip, MAX_GOSSIP_FRAME, bytes);
}

/// A frame on the lane of sync.
pub fn sync_frame(bytes: &[u8]) {
    frame(Lane::Sync, MAX_SYNC_FRAME, bytes);
}

/// Verifies a frame between two good ones: they must pass, whatever stands between them.
fn frame(lane: Lane, limit: usize, bytes: &[u8]) {
    let chain = chain();
    let decoded = canonical::<PeerFrame>(bytes, limit);
    let good = PeerFrame::Transactions { hops: 0, transactions: vec![known_transaction()] }.encode();
    let peer = ValidatorIndex(1);
    let frames = [
        (peer, Lane::Gossip, good.clone()),
        (peer, lane, Bytes::copy_from_slice(bytes)),
        (peer, Lane::Gossip, good),
    ];
    let repeats = Repeats::default();
    let verdicts = bounded(BINARY, bytes.len(), || {
        wire::verify(&chain.committee, &repeats, &frames, &mut coefficients())
    });
    let [before, verdict, after] = &verdicts[..] else { panic!("one verdict for each frame") };
    assert!(before.is_ok() && after.is_ok(), "a good frame was refused because of its neighbour");
    let Some(frame) = decoded else {
        assert!(matches!(verdict, Err(FrameError::Decode(_))), "verified, and not decoded");
        return;
    };
    if frame.lane() != lane {
        assert!(matches!(verdict, Err(FrameError::WrongLane)), "on a lane where it does not belong");
        return;
    }
    match verdict {
        Err(_) => {}
        Ok(PeerInput::Transactions { transactions, .. }) => {
            assert!((1..=MAX_IDS).contains(&transactions.len()));
        }
        Ok(PeerInput::Announce(ids) | PeerInput::Pull(ids)) => assert!((1..=MAX_IDS).contains(&ids.len())),
        Ok(PeerInput::Proposal { header, ids }) => {
            assert!((1..=limits::BLOCK_TRANSACTIONS).contains(&ids.len()));
            assert_eq!(header.transaction_count as usize, ids.len());
        }
        Ok(PeerInput::Blocks(blocks)) => {
            assert!((1..=MAX_BLOCKS).contains(&blocks.len()));
            for checked in blocks {
                assert_eq!(checked.hash, checked.block.header.hash());
                if checked.block.certificate.is_some() {
                    assert_eq!(
                        chain.block(checked.block.header.height),
                        Some(checked.hash),
                        "a certified lie"
                    );
                }
            }
        }
        Ok(PeerInput::Consensus(_) | PeerInput::FetchProposal(_) | PeerInput::FetchBlocks { .. }) => {}
    }
}

/// A stream of frames, cut into pieces as a network does: the first four bytes are the limit, the next
/// one says how long the pieces are.
pub fn frames(bytes: &[u8]) {
    let Some((limit, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some((piece, stream)) = rest.split_first() else { return };
    let limit = u32::from_le_bytes(*limit) as usize;
    let piece = usize::from(*piece) + 1;
    // A stream is read piece by piece: no more may be kept for it than twice what has arrived.
    let each = Cap { fixed: 64 << 10, each: 12 };
    let (found, ended) = bounded(each, stream.len(), || decoders::frames(stream.chunks(piece), limit));
    assert!(found.iter().all(|frame| frame.len() <= limit), "a frame longer than allowed");
    let again = decoders::stream(&found);
    assert!(stream.starts_with(&again), "other frames than those of the stream");
    if ended.is_ok() {
        assert_eq!(again.len(), stream.len(), "bytes of the stream are gone");
    }
    let (whole, also) = decoders::frames([stream], limit);
    assert_eq!((whole, also), (found, ended), "cutting a stream changes what it says");
}

/// The first frame of a connection.
pub fn hello(bytes: &[u8]) {
    let cap = Cap { fixed: 4 << 10, each: 2 };
    if let Ok(again) = bounded(cap, bytes.len(), || decoders::hello(bytes, chain().genesis.chain)) {
        assert!(again == bytes, "decoded, and encodes to other bytes");
    }
}

/// The raw public key in a handshake, DER in the outer form of X.509.
pub fn identity(bytes: &[u8]) {
    let cap = Cap { fixed: 4 << 10, each: 2 };
    if let Some(key) = bounded(cap, bytes.len(), || decoders::offered_key(bytes)) {
        assert!(decoders::offer(&key) == bytes, "decoded, and encodes to other bytes");
        let _verdict = key.check();
    }
}

/// A Merkle proof of either kind: root, leaf or older root, index or older size, size, path.
pub fn merkle(bytes: &[u8]) {
    type Claim = (Hash, Hash, u64, u64, Path);
    let Some((root, leaf, index, size, path)) = canonical::<Claim>(bytes, 1 << 20) else { return };
    let alone = merkle::verify_inclusion(&root, &leaf, index, size, &path);
    let together = merkle::verify_multiproof(&root, &[(index, leaf)], size, &path);
    assert_eq!(alone.is_ok(), together.is_ok(), "one leaf, judged in two ways");
    if alone.is_ok() {
        assert!(index < size, "a leaf outside its tree");
        let verify = |index, path: &[Hash]| merkle::verify_inclusion(&root, &leaf, index, size, path);
        refuses_other_paths(&path, |path| verify(index, path).is_ok());
        for other in [index.wrapping_add(1), index.wrapping_sub(1), 0, size - 1, size] {
            assert!(other == index || verify(other, &path).is_err(), "a leaf at two places");
        }
    }
    let (old_root, old_size) = (&leaf, index);
    if merkle::verify_consistency(old_root, old_size, &root, size, &path).is_ok() {
        assert!(old_size <= size, "a tree shrinks");
        refuses_other_paths(&path, |path| {
            merkle::verify_consistency(old_root, old_size, &root, size, path).is_ok()
        });
    }
}

/// A proof that holds stops holding with a node more, a node less, or another node.
fn refuses_other_paths(path: &[Hash], holds: impl Fn(&[Hash]) -> bool) {
    for extra in [Hash::ZERO, path.last().copied().unwrap_or_default()] {
        assert!(!holds(&[path, &[extra]].concat()), "a proof with a node left over");
    }
    for place in 0..path.len() {
        let mut other = path.to_vec();
        other[place].0[0] ^= 1;
        assert!(!holds(&other), "a proof with another node");
        other.remove(place);
        assert!(!holds(&other), "a proof without a node");
    }
}

/// Damage that a store may answer with; anything else is a contradiction.
pub(super) fn is_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Corrupt(_))
}
