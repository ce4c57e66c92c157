//! Each check a message must pass; each reason to refuse one.

use super::cluster::{committee, index, key};
use super::craft::*;
use crate::{
    Committee, Evidence, Message, MessageError, NewView, Phase, PrePrepare, Signed, Status, VerifiedMessage,
    ViewChange,
};
use proptest::prelude::*;
use quorate_types::block::Header;
use quorate_types::certificate::{CertificateError, Prepare, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash};
use quorate_types::ids::{Height, ValidatorIndex, View};
use quorate_types::parameters::limits;
use std::sync::Arc;

fn check(committee: &Committee, message: &Message) -> Result<VerifiedMessage, MessageError> {
    VerifiedMessage::decode(codec::encode_bytes(message), committee)
}

fn refusal(committee: &Committee, message: &Message) -> MessageError {
    check(committee, message).expect_err("refused")
}

fn four() -> Arc<Committee> {
    committee(4, 4)
}

/// Blocks at heights 1 to 5, each on the one before.
fn chain(committee: &Committee) -> Vec<Header> {
    let mut blocks = vec![first_block(committee, 0, "1")];
    for height in 2..=5 {
        blocks.push(child(committee, 0, &blocks[height - 2], &height.to_string()));
    }
    blocks
}

fn change(signed: Signed<ViewChange>) -> Message {
    Message::ViewChange(Box::new(signed))
}

#[test]
fn one_honest_message_of_each_kind_passes_and_keeps_its_bytes() {
    let committee = four();
    let block = first_block(&committee, 0, "a");
    let q = [0, 1, 2];
    let changes = |view| {
        q.map(|s| view_change(&committee, s, view, None, vec![prepared(&committee, 0, &block, &q)])).to_vec()
    };
    for message in [
        proposal(&committee, &block, "a"),
        prepare(&committee, 3, 7, &block),
        commit(&committee, 3, 7, &block),
        change(changes(1)[0].clone()),
        new_view(&committee, 1, changes(1)),
        status(&committee, 2, 9, 9),
    ] {
        let verified = check(&committee, &message).expect("an honest message");
        assert_eq!(*verified.message(), message);
        assert_eq!(*verified.bytes(), codec::encode_bytes(&message));
        assert!(verified.discarded().is_empty());
    }
}

#[test]
fn what_is_not_a_message_is_refused() {
    let committee = four();
    let block = first_block(&committee, 0, "a");
    let bytes = codec::encode(&prepare(&committee, 1, 0, &block));
    for wrong in [&bytes[..bytes.len() - 1], &[bytes.clone(), vec![0]].concat(), &[9, 0, 0, 0], &[]] {
        let decoded = VerifiedMessage::decode(wrong.to_vec().into(), &committee);
        assert!(matches!(decoded, Err(MessageError::Decode(_))), "{wrong:?}");
    }
}

#[test]
fn a_signer_out_of_range_is_refused_and_another_ones_signature_too() {
    let committee = four();
    let block = first_block(&committee, 0, "a");
    assert_eq!(
        refusal(&committee, &prepare(&committee, 4, 0, &block)),
        MessageError::UnknownSigner(index(4))
    );
    let Message::Commit(mut vote) = commit(&committee, 1, 0, &block) else { unreachable!() };
    vote.signer = index(2);
    assert_eq!(refusal(&committee, &Message::Commit(vote)), MessageError::BadSignature(index(2)));
    // A validator removed from the set keeps talking.
    let smaller = self::committee(3, 4);
    assert!(matches!(
        refusal(&smaller, &prepare(&committee, 3, 0, &block)),
        MessageError::UnknownSigner(ValidatorIndex(3))
    ));
}

#[test]
fn votes_replayed_across_view_height_chain_or_kind_are_refused() {
    let committee = four();
    let block = first_block(&committee, 0, "a");
    let Message::Prepare(vote) = prepare(&committee, 1, 0, &block) else { unreachable!() };
    let bad = MessageError::BadSignature(index(1));
    let altered = |alter: &dyn Fn(&mut Prepare)| {
        let mut vote = vote.clone();
        alter(&mut vote.statement);
        refusal(&committee, &Message::Prepare(vote))
    };
    assert_eq!(altered(&|vote| vote.view = View(1)), bad);
    assert_eq!(altered(&|vote| vote.height = Height(2)), bad);
    assert_eq!(altered(&|vote| vote.block = BlockHash(Hash::ZERO)), bad);
    let other_chain = Committee { chain: ChainId(Hash::of(&[b"another"])), ..(*committee).clone() };
    assert_eq!(refusal(&other_chain, &Message::Prepare(vote.clone())), bad);
    // The same bytes and signature as another kind of statement.
    let commit =
        Signed { statement: commit_statement(0, &block), signer: vote.signer, signature: vote.signature };
    assert_eq!(refusal(&committee, &Message::Commit(commit)), bad);
}

#[test]
fn votes_on_the_genesis_height_are_refused() {
    let committee = four();
    let mut block = first_block(&committee, 0, "a");
    block.height = Height::GENESIS;
    assert_eq!(refusal(&committee, &prepare(&committee, 1, 0, &block)), MessageError::HeightZero);
    assert_eq!(refusal(&committee, &commit(&committee, 1, 0, &block)), MessageError::HeightZero);
    let certificate = certificate(&committee, 0, &block, &[0, 1, 2]);
    let message = change(view_change(&committee, 1, 1, Some(certificate), vec![]));
    assert_eq!(refusal(&committee, &message), MessageError::HeightZero);
}

#[test]
fn a_proposal_by_another_than_the_leader_is_refused() {
    let committee = four();
    let block = first_block(&committee, 0, "a");
    let statement = PrePrepare { view: View(0), header: block, ids: ids("a") };
    let message = Message::PrePrepare(Box::new(sign(&committee, 2, statement)));
    assert_eq!(refusal(&committee, &message), MessageError::NotLeader { signer: index(2), view: View(0) });
    let message = new_view(&committee, 1, vec![]);
    let Message::NewView(mut m) = message else { unreachable!() };
    m.signer = index(3);
    assert_eq!(
        refusal(&committee, &Message::NewView(m)),
        MessageError::NotLeader { signer: index(3), view: View(1) }
    );
}

#[test]
fn a_proposal_that_its_header_contradicts_is_refused() {
    let committee = four();
    let block = first_block(&committee, 0, "a");
    type Alter<'a> = &'a dyn Fn(&mut PrePrepare);
    let cases: [(&str, Alter<'_>); 8] = [
        ("chain", &|p| p.header.chain = ChainId(Hash::ZERO)),
        ("view", &|p| p.header.view = View(4)),
        ("proposer", &|p| p.header.proposer = index(1)),
        ("height", &|p| p.header.height = Height::GENESIS),
        ("transaction count", &|p| p.ids.clear()),
        ("transaction count", &|p| p.header.transaction_count = 2),
        ("transaction count", &|p| p.ids.push(p.ids[0])),
        ("transactions root", &|p| p.ids = ids("b")),
    ];
    for (what, alter) in cases {
        let mut statement = PrePrepare { view: View(0), header: block.clone(), ids: ids("a") };
        alter(&mut statement);
        let message = Message::PrePrepare(Box::new(sign(&committee, 0, statement)));
        assert_eq!(refusal(&committee, &message), MessageError::Header(what));
    }
    let many = vec![ids("a")[0]; limits::BLOCK_TRANSACTIONS + 1];
    let statement = PrePrepare { view: View(0), header: block, ids: many };
    let message = Message::PrePrepare(Box::new(sign(&committee, 0, statement)));
    assert_eq!(
        refusal(&committee, &message),
        MessageError::TooManyTransactions(limits::BLOCK_TRANSACTIONS + 1)
    );
}

#[test]
fn view_changes_with_certificates_out_of_place_are_refused() {
    let committee = four();
    let blocks = chain(&committee);
    let q = [0, 1, 2];
    let p = |i: usize, view| prepared(&committee, view, &blocks[i], &q);
    let refused = |view, certificate, prepared| {
        refusal(&committee, &change(view_change(&committee, 1, view, certificate, prepared)))
    };
    assert_eq!(refused(0, None, vec![]), MessageError::ViewZero);
    let window = "a height outside the window above the certificate";
    assert_eq!(refused(3, None, vec![p(4, 0)]), MessageError::Prepared(window));
    let first = certificate(&committee, 0, &blocks[0], &q);
    assert_eq!(refused(3, Some(first.clone()), vec![p(0, 0)]), MessageError::Prepared(window));
    let ascending = "heights not ascending";
    assert_eq!(refused(3, None, vec![p(1, 0), p(0, 0)]), MessageError::Prepared(ascending));
    // Two at one height contradict each other, or are one too many.
    assert_eq!(refused(3, None, vec![p(1, 0), p(1, 1)]), MessageError::Prepared(ascending));
    let late = "a view not below the new one";
    assert_eq!(refused(3, None, vec![p(0, 3)]), MessageError::Prepared(late));
    let many = (0..5).map(|i| p(i, 0)).collect();
    assert_eq!(refused(3, None, many), MessageError::Prepared("more than the window"));
    // A leader copies it into its NewView, which has no room for more: neither for valid signatures nor for others.
    let long = "more signatures than a quorum";
    let all = prepared(&committee, 0, &blocks[0], &[0, 1, 2, 3]);
    assert_eq!(refused(3, None, vec![all.clone()]), MessageError::Prepared(long));
    let mut junk = p(0, 0);
    junk.signatures.extend(vec![all.signatures[0]; 100_000]);
    assert_eq!(refused(3, None, vec![junk]), MessageError::Prepared(long));
    // Gaps, and prepared certificates of older views, are legal; so is the whole window.
    for fine in [vec![p(0, 2), p(2, 0)], vec![p(3, 0)], (0..4).map(|i| p(i, i as u64 % 3)).collect()] {
        let message = change(view_change(&committee, 1, 3, None, fine));
        assert!(check(&committee, &message).expect("legal").discarded().is_empty());
    }
    let above = change(view_change(&committee, 1, 3, Some(first), vec![p(4, 0)]));
    assert!(check(&committee, &above).is_ok());
}

#[test]
fn view_changes_with_a_false_certificate_are_refused() {
    let committee = four();
    let block = first_block(&committee, 0, "a");
    let refused = |certificate| match refusal(
        &committee,
        &change(view_change(&committee, 1, 1, Some(certificate), vec![])),
    ) {
        MessageError::Certificate(error) => error,
        other => panic!("{other}"),
    };
    let make = |signers: &[usize]| certificate(&committee, 0, &block, signers);
    assert_eq!(refused(make(&[])), CertificateError::TooFew { found: 0, quorum: 3 });
    assert_eq!(refused(make(&[0, 1])), CertificateError::TooFew { found: 2, quorum: 3 });
    assert_eq!(refused(make(&[0, 1, 1])), CertificateError::NotAscending);
    assert_eq!(refused(make(&[0, 1, 4])), CertificateError::UnknownSigner(index(4)));
    let mut bogus = make(&[0, 1, 2, 3]);
    bogus.signatures[3].1.0[0] ^= 1;
    assert_eq!(refused(bogus), CertificateError::BadSignature(index(3)));
}

#[test]
fn one_bad_prepared_certificate_is_discarded_and_those_beside_it_count() {
    let committee = four();
    let blocks = chain(&committee);
    let q = [1, 2, 3];
    let mut forged = prepared(&committee, 0, &blocks[1], &q);
    forged.signatures[1].1.0[7] ^= 1;
    let mut later_header = prepared(&committee, 0, &blocks[2], &q);
    later_header.header.view = View(1);
    let few = prepared(&committee, 0, &blocks[3], &q[..2]);
    let good = prepared(&committee, 0, &blocks[0], &q);
    let signed = view_change(&committee, 3, 2, None, vec![good.clone(), forged, later_header, few]);
    let verified = check(&committee, &change(signed.clone())).expect("the ViewChange itself is valid");
    assert_eq!(verified.discarded(), [(index(3), 1), (index(3), 2), (index(3), 3)]);
    let usable = |verified: &VerifiedMessage, signer| -> Vec<PreparedCertificate> {
        let at = |height| verified.usable(signer, &signed.statement, height).cloned();
        (1..=4).map(Height).filter_map(at).collect()
    };
    assert_eq!(usable(&verified, index(3)), std::slice::from_ref(&good));
    // Within a NewView, positions are told apart by signer.
    let honest = |s| view_change(&committee, s, 2, None, vec![good.clone()]);
    let message = new_view(&committee, 2, vec![honest(0), honest(1), signed.clone()]);
    let verified = check(&committee, &message).expect("a NewView may carry it");
    assert_eq!(usable(&verified, index(3)).len(), 1);
    assert_eq!(usable(&verified, index(0)).len(), 4);
}

#[test]
fn new_views_with_too_few_or_wrong_view_changes_are_refused() {
    let committee = four();
    let change = |signer| view_change(&committee, signer, 1, None, vec![]);
    let refused = |changes| refusal(&committee, &new_view(&committee, 1, changes));
    assert_eq!(refused(vec![]), MessageError::NewView("fewer than a quorum"));
    assert_eq!(refused(vec![change(0), change(1)]), MessageError::NewView("fewer than a quorum"));
    let order = "signers not distinct and ascending";
    assert_eq!(refused(vec![change(0), change(1), change(1)]), MessageError::NewView(order));
    assert_eq!(refused(vec![change(0), change(2), change(1)]), MessageError::NewView(order));
    let other = view_change(&committee, 2, 5, None, vec![]);
    let view = "one is for another view";
    assert_eq!(refused(vec![change(0), change(1), other]), MessageError::NewView(view));
    let mut forged = change(2);
    forged.signature.0[3] ^= 1;
    assert_eq!(refused(vec![change(0), change(1), forged]), MessageError::BadSignature(index(2)));
    let out_of_range = view_change(&committee, 9, 1, None, vec![]);
    assert_eq!(refused(vec![change(0), change(1), out_of_range]), MessageError::UnknownSigner(index(9)));
    let zero = |signer| view_change(&committee, signer, 0, None, vec![]);
    let message = new_view(&committee, 0, vec![zero(0), zero(1), zero(2)]);
    assert_eq!(refusal(&committee, &message), MessageError::ViewZero);
}

#[test]
fn evidence_convicts_the_signer_of_two_contradicting_statements_and_nobody_else() {
    let committee = four();
    let (a, b) = (first_block(&committee, 0, "a"), first_block(&committee, 0, "b"));
    let verified = |message: &Message| check(&committee, message).expect("valid");
    let blocks = |i: usize| if i == 0 { (&a, "a") } else { (&b, "b") };
    let with = |prepared| view_change(&committee, 1, 1, None, prepared);
    let q = [0, 1, 2];
    let kinds: [(&str, &dyn Fn(usize) -> Message); 5] = [
        ("two proposals at height 1 in view 0", &|i| proposal(&committee, blocks(i).0, blocks(i).1)),
        ("two Prepare votes at height 1 in view 3", &|i| prepare(&committee, 2, 3, blocks(i).0)),
        ("two Commit votes at height 1 in view 3", &|i| commit(&committee, 2, 3, blocks(i).0)),
        ("two ViewChanges for view 1", &|i| {
            change(with(if i == 0 { vec![] } else { vec![prepared(&committee, 0, &a, &q)] }))
        }),
        ("two NewViews for view 1", &|i| {
            let signers: Vec<usize> = (i..i + 3).collect();
            let changes = signers.iter().map(|s| view_change(&committee, *s, 1, None, vec![]));
            new_view(&committee, 1, changes.collect())
        }),
    ];
    for (what, make) in kinds {
        let (first, second) = (verified(&make(0)), verified(&make(1)));
        assert_eq!(Evidence::of(&first, &first), None, "{what}: the same twice is no contradiction");
        let evidence = Evidence::of(&first, &second).expect(what);
        let verdict = evidence.verify(&committee).expect("made of valid messages");
        assert_eq!(verdict, Some((first.signer(), what.to_owned())));
        let mut tampered = evidence.clone();
        let mut bytes = tampered.second.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        tampered.second = bytes.into();
        assert!(tampered.verify(&committee).is_err(), "{what}");
    }
    let innocent = [
        (prepare(&committee, 2, 3, &a), prepare(&committee, 1, 3, &b)), // two signers
        (prepare(&committee, 2, 3, &a), prepare(&committee, 2, 4, &b)), // two views
        (prepare(&committee, 2, 3, &a), commit(&committee, 2, 3, &b)),  // two kinds
        (status(&committee, 2, 3, 1), status(&committee, 2, 3, 2)),
    ];
    for (first, second) in innocent {
        assert_eq!(Evidence::of(&verified(&first), &verified(&second)), None);
    }
}

/// Statements with arbitrary content: the encoding must carry whatever is signed.
fn any_message() -> impl Strategy<Value = Message> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), 0..4usize, any::<bool>(), 0..6u8);
    numbers.prop_map(|(view, height, salt, signer, flag, kind)| {
        let committee = four();
        let mut block = first_block(&committee, view, &salt.to_string());
        block.height = Height(height.max(1));
        let changes = |n: usize| {
            let prepared = vec![prepared(&committee, view, &block, &[0, 1, 2]); usize::from(flag)];
            let certificate = flag.then(|| certificate(&committee, view, &block, &[1, 2, 3]));
            (0..n).map(|s| view_change(&committee, s, view, certificate.clone(), prepared.clone())).collect()
        };
        match kind {
            0 => proposal(&committee, &block, &salt.to_string()),
            1 => prepare(&committee, signer, view, &block),
            2 => commit(&committee, signer, view, &block),
            3 => {
                let changes: Vec<Signed<ViewChange>> = changes(1);
                Message::ViewChange(Box::new(changes[0].clone()))
            }
            4 => Message::NewView(Box::new(sign(
                &committee,
                signer,
                NewView { view: View(view), view_changes: changes(3) },
            ))),
            _ => {
                let phase = [Phase::Active, Phase::Changing, Phase::Learning][signer % 3];
                let status = Status {
                    view: View(view),
                    phase,
                    height: Height(height),
                    proposals: Height(salt),
                    stalled: flag,
                    founding: !flag,
                };
                Message::Status(sign(&committee, signer, status))
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_message_survives_its_encoding(message in any_message()) {
        let bytes = codec::encode(&message);
        let decoded: Message = codec::decode(&bytes, crate::MAX_MESSAGE_BYTES).expect("its own encoding");
        prop_assert_eq!(&codec::encode(&decoded), &bytes);
        prop_assert_eq!(decoded, message);
    }

    /// A single bit changed anywhere is refused, whatever it hits: decoding, the checks, a signature.
    /// (Inside a ViewChange everything is covered by its signature.)
    #[test]
    fn no_bit_of_a_message_can_be_changed(at in any::<prop::sample::Index>(), bit in 0..8u8, kind in 0..6) {
        let committee = four();
        let block = first_block(&committee, 0, "a");
        let q = [0, 1, 2];
        let p = vec![prepared(&committee, 0, &block, &q)];
        let message = match kind {
            0 => proposal(&committee, &block, "a"),
            1 => prepare(&committee, 3, 7, &block),
            2 => commit(&committee, 3, 7, &block),
            3 => change(view_change(&committee, 1, 1, None, p)),
            4 => new_view(&committee, 1, q.map(|s| view_change(&committee, s, 1, None, p.clone())).to_vec()),
            _ => status(&committee, 2, 9, 9),
        };
        let mut bytes = codec::encode(&message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(VerifiedMessage::decode(bytes.into(), &committee).is_err());
    }
}

/// In which everyone reports a certificate by all, and a whole window of prepared certificates.
#[test]
fn the_largest_new_view_of_any_set_fits_a_message() {
    for n in [1, 4, 31, 62, limits::VALIDATORS] {
        let window = limits::WINDOW.min(limits::WINDOW_TIMES_VALIDATORS / n as u64);
        let committee = committee(n, window);
        let q = committee.validators.quorum().q;
        let block = first_block(&committee, 0, "a");
        let one = prepared(&committee, 0, &block, &(0..q).collect::<Vec<_>>());
        let statement = ViewChange {
            view: View(1),
            certificate: Some(certificate(&committee, 0, &block, &(0..n).collect::<Vec<_>>())),
            prepared: vec![one; usize::try_from(window).expect("small")],
        };
        let change = Signed { statement, signer: index(0), signature: key(0).sign(b"") };
        let new_view = sign(&committee, 1, NewView { view: View(1), view_changes: vec![change; q] });
        let length = codec::encoded_len(&Message::NewView(Box::new(new_view)));
        assert!(length <= crate::MAX_MESSAGE_BYTES, "{n} validators, window {window}: {length} bytes");
    }
}
