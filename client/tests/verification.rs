//! Everything honest passes; everything tampered with is refused.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::{Chain, eight_blocks, entry};
use quorate_client::receipt_file::{self, ReceiptFileError};
use quorate_client::verify::{Anchor, Finalities, Follower, VerifyError};
use quorate_ledger::{StateProofError, StateValue};
use quorate_types::certificate::CertificateError;
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash, TransactionId};
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::outcome::Outcome;
use quorate_types::receipt::{Inclusions, Receipt, ReceiptError};
use quorate_types::transaction::TransactionError;

#[test]
fn receipts_of_all_blocks_hold() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    for height in 1..=8u64 {
        for index in 0..chain.made(height).ids.len() {
            let id = chain.made(height).ids[index];
            let receipt = anchor.receipt(chain.receipt(height, index), Some(id)).unwrap();
            assert_eq!((receipt.id(), receipt.height()), (id, Height(height)));
        }
    }
    let failed = chain.receipt(3, 3);
    assert!(matches!(failed.outcome(), Outcome::Failed { operation: 0, .. }));
    assert_eq!(chain.receipt(4, 0).finality.descendants.len(), 2);
}

#[test]
fn a_receipt_of_another_transaction_chain_or_consortium_is_refused() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    let asked = chain.made(2).ids[0];
    let error = anchor.receipt(chain.receipt(2, 1), Some(asked)).unwrap_err();
    assert!(matches!(error, VerifyError::WrongTransaction { .. }));
    let validators = anchor.validators().clone();
    let elsewhere = Anchor::new(ChainId(Hash([9; 32])), validators.clone());
    assert!(elsewhere.receipt(chain.receipt(2, 0), None).is_err());
    let fewer = quorate_types::validators::ValidatorSet::new(
        validators.iter().map(|(_, validator)| *validator).take(3).collect(),
    );
    let error = Anchor::new(*anchor.chain(), fewer).receipt(chain.receipt(2, 0), None).unwrap_err();
    assert_eq!(error, VerifyError::Receipt(ReceiptError::WrongValidators));
}

#[test]
fn each_tampered_part_of_a_batch_is_named() {
    let chain = eight_blocks();
    let made = chain.made(3);
    let all: Vec<usize> = (0..made.ids.len()).collect();
    assert!(all.len() > 2, "there is a proof to bend");
    let finality = chain.finality(3);
    let verdict = |inclusions: &Inclusions| inclusions.verify(&finality.header, &finality.result);
    for indexes in [&all[..1], &all[1..], &all[..]] {
        let true_ones = chain.inclusions(3, indexes);
        assert_eq!(verdict(&true_ones), Ok(()));
        let tampered = |tamper: &dyn Fn(&mut Inclusions)| {
            let mut inclusions = true_ones.clone();
            tamper(&mut inclusions);
            verdict(&inclusions).unwrap_err()
        };
        let of_place = |error| matches!(error, ReceiptError::TransactionPath(_));
        let of_outcome = |error| matches!(error, ReceiptError::OutcomePath(_));
        let failed = || Outcome::Failed { operation: 9, reason: quorate_types::outcome::Failure::NotWriter };
        assert!(of_place(tampered(&|i| i.places[0].index ^= 1)));
        assert!(of_place(tampered(&|i| i.places[0].record.transaction.0.0[0] ^= 1)));
        assert!(of_place(tampered(&|i| i.places.push(i.places[0].clone()))));
        assert!(of_place(tampered(&|i| i.transactions.push(Hash::ZERO))));
        assert!(of_outcome(tampered(&|i| i.places[0].record.outcome = failed())));
        assert!(of_outcome(tampered(&|i| i.outcomes.push(Hash::ZERO))));
        if let [_, ..] = true_ones.outcomes[..] {
            assert!(of_place(tampered(&|i| i.transactions[0].0[0] ^= 1)));
            assert!(of_outcome(tampered(&|i| i.outcomes[0].0[0] ^= 1)));
            assert!(of_outcome(tampered(&|i| i.outcomes.truncate(i.outcomes.len() - 1))));
        }
        let alone = true_ones.only().is_some();
        assert_eq!(alone, indexes.len() == 1, "several are no single inclusion");
    }
}

/// Height of the receipt, what is done to it, and which error names that.
type Case = (u64, fn(&mut Receipt), fn(&ReceiptError) -> bool);

#[test]
fn each_tampered_part_of_a_receipt_is_named() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    let tampered = |height: u64, tamper: fn(&mut Receipt)| {
        let mut receipt = chain.receipt(height, 1);
        tamper(&mut receipt);
        match anchor.receipt(receipt, None).unwrap_err() {
            VerifyError::Receipt(error) => error,
            other => panic!("{other}"),
        }
    };
    let certificate = |error| ReceiptError::Certificate(error);
    let cases: [Case; 12] = [
        (
            2,
            |r| r.transaction.signature.0[3] ^= 1,
            |e| *e == ReceiptError::Transaction(TransactionError::BadSignature),
        ),
        (2, |r| r.inclusion.index = 0, |e| matches!(e, ReceiptError::TransactionPath(_))),
        (2, |r| r.inclusion.transaction_path[0].0[0] ^= 1, |e| matches!(e, ReceiptError::TransactionPath(_))),
        (
            2,
            |r| r.inclusion.transaction_path.push(Hash::ZERO),
            |e| matches!(e, ReceiptError::TransactionPath(_)),
        ),
        (
            3,
            |r| {
                r.inclusion.outcome =
                    Outcome::Failed { operation: 0, reason: quorate_types::outcome::Failure::NotWriter }
            },
            |e| matches!(e, ReceiptError::OutcomePath(_)),
        ),
        (
            3,
            |r| {
                r.inclusion.outcome_path.pop();
            },
            |e| matches!(e, ReceiptError::OutcomePath(_)),
        ),
        (2, |r| r.finality.result.state_root.0[0] ^= 1, |e| *e == ReceiptError::WrongCertificate),
        (2, |r| r.finality.header.timestamp.0 += 1, |e| *e == ReceiptError::WrongCertificate),
        (
            2,
            |r| r.finality.certificate.commit.view.0 += 1,
            |e| matches!(e, ReceiptError::Certificate(CertificateError::BadSignature(_))),
        ),
        (
            4,
            |r| {
                r.finality.descendants.pop();
            },
            |e| *e == ReceiptError::WrongCertificate,
        ),
        (
            4,
            |r| {
                r.finality.descendants.remove(0);
            },
            |e| *e == ReceiptError::BrokenChain(Height(6)),
        ),
        (4, |r| r.finality.result.state_root.0[0] ^= 1, |e| *e == ReceiptError::BrokenChain(Height(5))),
    ];
    for (case, (height, tamper, expected)) in cases.into_iter().enumerate() {
        let error = tampered(height, tamper);
        assert!(expected(&error), "case {case}: {error}");
    }
    let few = tampered(2, |r| {
        r.finality.certificate.signatures.truncate(2);
    });
    assert_eq!(few, certificate(CertificateError::TooFew { found: 2, quorum: 3 }));
    let twice = tampered(2, |r| {
        let first = r.finality.certificate.signatures[0];
        r.finality.certificate.signatures.insert(0, first);
    });
    assert_eq!(twice, certificate(CertificateError::NotAscending));
    let stranger = tampered(2, |r| {
        let last = r.finality.certificate.signatures.len() - 1;
        r.finality.certificate.signatures[last].0 = ValidatorIndex(7);
    });
    assert_eq!(stranger, certificate(CertificateError::UnknownSigner(ValidatorIndex(7))));
    let bogus = tampered(3, |r| r.finality.certificate.signatures[3].1.0[0] ^= 1);
    assert_eq!(bogus, certificate(CertificateError::BadSignature(ValidatorIndex(3))));
}

#[test]
fn values_and_absences_are_proven_at_every_height() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    let read = |height: u64, key: &str| {
        let key = entry("crates", key);
        let proof = chain.proof(height, &key);
        anchor.state(&key, Some(Height(height)), &proof, &chain.finality(height)).unwrap()
    };
    for height in 2..=8u64 {
        let state = read(height, "key-1");
        let Some(StateValue::Entry(entry)) = state.value() else { panic!("present at {height}") };
        assert_eq!(entry.value, format!("value 1 of block {height}").as_bytes());
        assert_eq!(entry.version.0, Height(height));
        assert_eq!(read(height, "key-9").value(), None);
    }
    assert_eq!(read(1, "key-1").value(), None);
}

#[test]
fn a_proof_of_another_key_height_or_state_is_refused() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    let (key, other) = (entry("crates", "key-1"), entry("crates", "key-2"));
    let proof = chain.proof(8, &key);
    let finality = chain.finality(8);
    let error = anchor.state(&other, None, &proof, &finality).unwrap_err();
    assert!(matches!(error, VerifyError::State(_)));
    let error = anchor.state(&key, Some(Height(7)), &proof, &finality).unwrap_err();
    assert_eq!(error, VerifyError::WrongHeight { asked: Height(7), found: Height(8) });
    let error = anchor.state(&key, None, &proof, &chain.finality(7)).unwrap_err();
    assert_eq!(error, VerifyError::State(StateProofError::WrongRoot));
    let mut forged = finality.clone();
    forged.result.state_root = Hash::ZERO;
    assert!(matches!(anchor.state(&key, None, &proof, &forged), Err(VerifyError::Receipt(_))));
    // Every byte of the proof counts.
    let bytes = codec::encode(&proof);
    for position in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[position] ^= 1;
        if let Ok(altered) = codec::decode(&bytes, 1 << 20) {
            assert!(anchor.state(&key, None, &altered, &finality).is_err(), "byte {position}");
        }
    }
}

#[test]
fn a_block_is_checked_with_its_contents() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    for height in 1..=8u64 {
        let block = chain.made(height).block.clone();
        let verified = anchor.block(Some(Height(height)), block, &chain.finality(height)).unwrap();
        assert_eq!(verified.hash(), chain.made(height).hash);
    }
    let finality = chain.finality(3);
    let block = || chain.made(3).block.clone();
    let judge = |block| anchor.block(None, block, &finality).unwrap_err();
    let mut fewer = block();
    fewer.transactions.pop();
    assert!(matches!(judge(fewer), VerifyError::TransactionCount { claimed: 4, found: 3, .. }));
    let mut swapped = block();
    swapped.transactions.swap(0, 1);
    assert_eq!(judge(swapped), VerifyError::TransactionsRoot(Height(3)));
    let mut signature = block();
    let mut bytes = signature.transactions[2].to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    signature.transactions[2] = bytes.into();
    assert!(matches!(judge(signature), VerifyError::Transaction { index: 2, .. }));
    let mut header = block();
    header.header.timestamp.0 += 1;
    assert_eq!(judge(header), VerifyError::WrongFinality(Height(3)));
    let mut certificate = block();
    certificate.certificate = chain.made(2).block.certificate.clone();
    assert_eq!(judge(certificate), VerifyError::WrongCertificate(Height(3)));
}

fn follow(chain: &Chain, from: u64) -> Vec<u64> {
    let mut follower = Follower::new(chain.consortium.anchor(), Height(from));
    let mut heights = Vec::new();
    for block in chain.blocks().into_iter().skip(usize::try_from(from).unwrap() - 1) {
        heights.extend(follower.push(block).unwrap().iter().map(|block| block.height().0));
    }
    assert_eq!(follower.held_back(), 0);
    heights
}

#[test]
fn a_run_is_followed_from_any_height() {
    let chain = eight_blocks();
    for from in 1..=8 {
        assert_eq!(follow(&chain, from), (from..=8).collect::<Vec<_>>());
    }
}

#[test]
fn blocks_without_a_certificate_wait_and_are_asked_for_again() {
    let chain = eight_blocks();
    let mut follower = Follower::new(chain.consortium.anchor(), Height(4));
    let blocks = chain.blocks();
    assert!(follower.push(blocks[3].clone()).unwrap().is_empty());
    assert!(follower.push(blocks[4].clone()).unwrap().is_empty());
    assert_eq!((follower.held_back(), follower.due()), (2, Height(4)));
    assert_eq!(follower.resume(), Height(4));
    let error = follower.push(blocks[5].clone()).unwrap_err();
    assert_eq!(error, VerifyError::Gap { expected: Height(4), found: Height(6) });
    for (height, released) in [(4, 0), (5, 0), (6, 3)] {
        assert_eq!(follower.push(blocks[height - 1].clone()).unwrap().len(), released);
    }
    assert_eq!(follower.resume(), Height(7));
}

#[test]
fn a_run_that_does_not_hang_together_is_refused() {
    let chain = eight_blocks();
    let blocks = chain.blocks();
    let mut follower = Follower::new(chain.consortium.anchor(), Height(1));
    follower.push(blocks[0].clone()).unwrap();
    let mut unlinked = blocks[1].clone();
    unlinked.header.parent = chain.made(5).hash;
    assert_eq!(follower.push(unlinked).unwrap_err(), VerifyError::BrokenLink(Height(2)));
    let mut uncertified = blocks[1].clone();
    uncertified.certificate.as_mut().unwrap().signatures[1].1.0[0] ^= 1;
    let error = follower.push(uncertified).unwrap_err();
    assert!(matches!(error, VerifyError::Certificate { height: Height(2), .. }));
    // A forged block without a certificate is held back, and never comes out.
    let mut forged = blocks[1].clone();
    forged.certificate = None;
    forged.header.timestamp.0 += 1;
    assert!(follower.push(forged).unwrap().is_empty());
    assert_eq!(follower.push(blocks[2].clone()).unwrap_err(), VerifyError::BrokenLink(Height(3)));
    assert_eq!(follower.resume(), Height(2));
    assert_eq!(follower.push(blocks[1].clone()).unwrap().len(), 1);
}

#[test]
fn finality_is_verified_once_but_always() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    let mut finalities = Finalities::new();
    let finality = chain.finality(2);
    let mut forged = finality.clone();
    forged.certificate.signatures[0].1.0[0] ^= 1;
    assert!(finalities.check(&anchor, &forged).is_err());
    finalities.check(&anchor, &finality).unwrap();
    // The block and result are known to be final now, whoever says so again.
    finalities.check(&anchor, &forged).unwrap();
    let mut other_result = forged;
    other_result.result.state_root = Hash::ZERO;
    assert!(finalities.check(&anchor, &other_result).is_err());
}

#[test]
fn a_receipt_file_verifies_offline() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    for (height, index) in [(2, 0), (3, 3), (4, 1)] {
        let receipt = anchor.receipt(chain.receipt(height, index), None).unwrap();
        let text = receipt_file::render(&receipt);
        assert_eq!(receipt_file::parse(&text, &anchor).unwrap(), receipt);
    }
}

#[test]
fn every_changed_byte_of_a_receipt_file_is_noticed() {
    let chain = eight_blocks();
    let anchor = chain.consortium.anchor();
    let receipt = anchor.receipt(chain.receipt(4, 1), None).unwrap();
    let text = receipt_file::render(&receipt);
    for position in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        // Stays text, and turns digits into other digits.
        bytes[position] ^= 1;
        let altered = String::from_utf8(bytes).unwrap();
        assert!(receipt_file::parse(&altered, &anchor).is_err(), "byte {position}");
    }
    assert!(receipt_file::parse(&text[..text.len() - 1], &anchor).is_err());
    assert!(receipt_file::parse(&format!("{text} "), &anchor).is_err());
    assert!(receipt_file::parse(&text.to_uppercase(), &anchor).is_err());
    let height = text.replace("\"height\": 4", "\"height\": 5");
    assert_eq!(receipt_file::parse(&height, &anchor), Err(ReceiptFileError::Altered(6)));
    let other = TransactionId::default().to_string();
    let named = text.replacen(&receipt.id().to_string(), &other, 1);
    assert_eq!(receipt_file::parse(&named, &anchor), Err(ReceiptFileError::Altered(4)));
    let version = text.replace("quorate-receipt/1", "quorate-receipt/2");
    assert!(matches!(receipt_file::parse(&version, &anchor), Err(ReceiptFileError::Format(_))));
}
