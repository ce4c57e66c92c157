//! Verdicts of the audit: sound chains are sound, and every kind of corruption names its height.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::{Chain, Consortium, eight_blocks, put};
use quorate_client::audit::{AuditError, Totals, Verdict, Wrong, audit};
use quorate_ledger::{InvalidBlock, Refusal};
use quorate_types::block::{Block, transactions_root};
use quorate_types::certificate::CertificateError;
use quorate_types::codec;
use quorate_types::hash::{BlockHash, Hash, ResultHash};
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::receipt::MAX_DESCENDANTS;
use quorate_types::transaction::{SignedTransaction, TransactionError};
use std::convert::Infallible;

fn run(consortium: &Consortium, blocks: Vec<Block>) -> Verdict {
    let genesis = consortium.founding.ledger_genesis();
    audit::<Infallible, _>(&genesis, blocks.into_iter().map(Ok), |_| ()).unwrap()
}

fn sound(chain: &Chain) -> Totals {
    match run(&chain.consortium, chain.blocks()) {
        Verdict::Sound(totals) => totals,
        Verdict::Wrong { height, what, .. } => panic!("{height}: {what}"),
    }
}

/// The verdict on the eight blocks after `tamper`; everything below the wrong height was sound.
fn tampered(tamper: impl Fn(&Chain, &mut Vec<Block>)) -> (u64, Wrong) {
    let chain = eight_blocks();
    let mut blocks = chain.blocks();
    tamper(&chain, &mut blocks);
    match run(&chain.consortium, blocks) {
        Verdict::Wrong { height, what, sound } => {
            assert!(sound.height.0 + 1 >= height.0, "{height}: {what}, sound up to {}", sound.height);
            (height.0, what)
        }
        Verdict::Sound(_) => panic!("the audit did not notice"),
    }
}

#[test]
fn a_sound_chain_is_sound() {
    let chain = eight_blocks();
    let totals = sound(&chain);
    assert_eq!(totals.height, Height(8));
    assert_eq!(totals.transactions, 1 + (2..=8).sum::<u64>() + 1);
    assert_eq!(totals.failed, 1);
    assert_eq!(totals.state_root, chain.made(8).result.state_root);
    assert_eq!(totals.block, chain.made(8).hash);
}

#[test]
fn an_empty_chain_is_sound_at_genesis() {
    let chain = Chain::new(Consortium::new());
    let totals = sound(&chain);
    assert_eq!((totals.height, totals.block), (Height(0), BlockHash(chain.consortium.founding.chain().0)));
}

#[test]
fn long_chains_are_audited_in_groups() {
    let mut chain = Chain::new(Consortium::new());
    let create = quorate_types::transaction::Operation::CreateNamespace { namespace: "n".to_owned() };
    let first = chain.transaction(vec![create]);
    chain.commit(vec![first], true);
    for height in 2..=300u64 {
        // Keys enough that most pages are stored as what changed.
        let puts = (0..40).map(|n| put("n", &format!("{}", (height * 40 + n) * 7919 % 2000), "v"));
        let transaction = chain.transaction(puts.collect());
        chain.commit(vec![transaction], height % 5 == 0);
    }
    let mut told = Vec::new();
    let genesis = chain.consortium.founding.ledger_genesis();
    let blocks = chain.blocks().into_iter().map(Ok::<_, Infallible>);
    let verdict = audit(&genesis, blocks, |totals| told.push(totals.height.0)).unwrap();
    assert!(matches!(verdict, Verdict::Sound(Totals { height: Height(300), .. })));
    assert!(told.is_sorted() && told.len() > 2 && told.last() == Some(&300));
    // One wrong block among many is named, wherever it stands in its group.
    for height in [1, 64, 65, 150, 300] {
        let mut blocks = chain.blocks();
        let transactions = &mut blocks[height - 1].transactions;
        let mut bytes = transactions[0].to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        transactions[0] = bytes.into();
        match run(&chain.consortium, blocks) {
            Verdict::Wrong { height: found, what, .. } => {
                assert_eq!(found.0, height as u64);
                assert_eq!(what, Wrong::Transaction { index: 0, error: TransactionError::BadSignature });
            }
            Verdict::Sound(_) => panic!("the audit did not notice block {height}"),
        }
    }
}

#[test]
fn missing_doubled_and_foreign_blocks() {
    assert_eq!(
        tampered(|_, blocks| {
            blocks.remove(2);
        }),
        (3, Wrong::Height(Height(4)))
    );
    assert_eq!(tampered(|_, blocks| blocks.insert(2, blocks[2].clone())).0, 4);
    assert_eq!(tampered(|_, blocks| blocks.swap(1, 2)).0, 2);
    assert_eq!(
        tampered(|_, blocks| {
            blocks.remove(0);
        }),
        (1, Wrong::Height(Height(2)))
    );
    let other = Chain::new(Consortium::at([1, 2, 3, 4], common::CREATED));
    match run(&other.consortium, eight_blocks().blocks()) {
        Verdict::Wrong { height: Height(1), .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers() {
    let of_header =
        |height: usize, tamper: fn(&mut Block)| tampered(move |_, blocks| tamper(&mut blocks[height - 1]));
    // With a certificate of its own, any changed header is not the one that was certified.
    let fields: [fn(&mut Block); 9] = [
        |b| b.header.view.0 += 4,
        |b| b.header.proposer = ValidatorIndex(3),
        |b| b.header.timestamp.0 += 1,
        |b| b.header.parent_result = ResultHash(Hash::ZERO),
        |b| b.header.transactions_root = Hash::ZERO,
        |b| b.header.transaction_count += 1,
        |b| b.header.history_root = Hash::ZERO,
        |b| b.header.validators = Hash::ZERO,
        |b| b.header.chain.0 = Hash::ZERO,
    ];
    for (case, tamper) in fields.into_iter().enumerate() {
        let (height, what) = of_header(7, tamper);
        assert_eq!(height, 7, "field {case}");
        assert!(matches!(what, Wrong::OtherCertificate(_)), "field {case}: {what}");
    }
    assert_eq!(of_header(7, |b| b.header.parent = BlockHash(Hash::ZERO)).0, 7);
    // Without one, the rules and the certified descendant tell.
    for (case, tamper) in fields.into_iter().enumerate() {
        let (height, what) = of_header(5, tamper);
        assert_eq!(height, 5, "field {case}: {what}");
    }
    let (_, what) = of_header(5, |b| b.header.timestamp.0 += 1);
    assert!(matches!(what, Wrong::NotTheAncestor { .. }), "{what}");
}

/// A quorum that signs whatever it is shown: only execution can tell.
#[test]
fn a_lying_quorum_is_found_out_by_the_rules() {
    let resigned = |height: usize, tamper: fn(&mut Block)| {
        tampered(move |chain, blocks| {
            tamper(&mut blocks[height - 1]);
            let result = chain.made(height as u64).result.hash(&chain.consortium.founding.chain());
            let header = blocks[height - 1].header.clone();
            blocks[height - 1].certificate = Some(chain.consortium.certificate(&header, result, &[0, 1, 2]));
        })
    };
    let invalid = |height: usize, tamper: fn(&mut Block)| match resigned(height, tamper) {
        (found, Wrong::Invalid(invalid)) if found == height as u64 => invalid,
        (found, other) => panic!("{found}: {other}"),
    };
    assert!(matches!(
        invalid(3, |b| b.header.proposer = ValidatorIndex(3)),
        InvalidBlock::WrongProposer { .. }
    ));
    assert!(matches!(invalid(3, |b| b.header.timestamp.0 = 1), InvalidBlock::BeforeParent { .. }));
    assert!(matches!(
        invalid(3, |b| b.header.history_root = Hash::ZERO),
        InvalidBlock::WrongHistoryRoot { .. }
    ));
    assert!(matches!(invalid(3, |b| b.header.validators = Hash::ZERO), InvalidBlock::WrongValidators { .. }));
    assert!(matches!(invalid(3, |b| b.header.chain.0 = Hash::ZERO), InvalidBlock::WrongChain(_)));
    assert!(matches!(
        invalid(3, |b| b.header.transactions_root = Hash::ZERO),
        InvalidBlock::WrongTransactionsRoot { .. }
    ));
    assert!(matches!(invalid(3, |b| b.header.transaction_count = 9), InvalidBlock::WrongCount { .. }));
    let parent_result = invalid(3, |b| b.header.parent_result = ResultHash(Hash::ZERO));
    assert!(matches!(parent_result, InvalidBlock::WrongParentResult { .. }));
    let empty = invalid(3, |b| {
        b.transactions.clear();
        b.header.transaction_count = 0;
        b.header.transactions_root = transactions_root(&[]);
    });
    assert_eq!(empty, InvalidBlock::Empty);
}

#[test]
fn a_certified_result_that_execution_does_not_lead_to() {
    let (height, what) = tampered(|chain, blocks| {
        let header = &blocks[6].header;
        let result = ResultHash(Hash([5; 32]));
        blocks[6].certificate = Some(chain.consortium.certificate(header, result, &[1, 2, 3]));
    });
    assert_eq!(height, 7);
    assert!(matches!(what, Wrong::Result { certified: ResultHash(Hash([5, ..])), .. }));
}

#[test]
fn the_same_transaction_twice() {
    let (height, what) = tampered(|chain, blocks| {
        let again = blocks[1].transactions[0].clone();
        let block = &mut blocks[7];
        block.transactions[0] = again;
        let ids: Vec<_> = block
            .transactions
            .iter()
            .map(|bytes| codec::decode::<SignedTransaction>(bytes, 1 << 20).unwrap().transaction.id())
            .collect();
        block.header.transactions_root = transactions_root(&ids);
        let result = chain.made(8).result.hash(&chain.consortium.founding.chain());
        block.certificate = Some(chain.consortium.certificate(&block.header.clone(), result, &[0, 1, 2]));
    });
    assert_eq!(height, 8);
    assert!(
        matches!(
            what,
            Wrong::Invalid(InvalidBlock::Transaction { index: 0, refusal: Refusal::AlreadyCommitted, .. })
        ),
        "{what}"
    );
}

#[test]
fn transactions() {
    let of_bytes = |tamper: fn(&mut Vec<u8>)| {
        tampered(move |_, blocks| {
            let mut bytes = blocks[5].transactions[3].to_vec();
            tamper(&mut bytes);
            blocks[5].transactions[3] = bytes.into();
        })
    };
    let (height, what) = of_bytes(|bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!((height, what), (6, Wrong::Transaction { index: 3, error: TransactionError::BadSignature }));
    assert_eq!(of_bytes(|bytes| bytes.push(0)).0, 6);
    assert_eq!(of_bytes(|bytes| bytes[0] ^= 1).0, 6);
    assert_eq!(
        tampered(|_, blocks| {
            blocks[5].transactions.pop();
        })
        .0,
        6
    );
    assert_eq!(tampered(|_, blocks| blocks[5].transactions.swap(0, 1)).0, 6);
    assert_eq!(tampered(|_, blocks| blocks[5].transactions[1] = blocks[5].transactions[0].clone()).0, 6);
}

#[test]
fn certificates() {
    let of =
        |height: usize, tamper: fn(&mut Block)| tampered(move |_, blocks| tamper(&mut blocks[height - 1]));
    let wrong = |error| (7, Wrong::Certificate(error));
    assert_eq!(
        of(7, |b| b.certificate.as_mut().unwrap().signatures.truncate(2)),
        wrong(CertificateError::TooFew { found: 2, quorum: 3 })
    );
    assert_eq!(
        of(7, |b| b.certificate.as_mut().unwrap().signatures[2].1.0[0] ^= 1),
        wrong(CertificateError::BadSignature(ValidatorIndex(2)))
    );
    assert_eq!(
        of(7, |b| b.certificate.as_mut().unwrap().signatures.swap(0, 1)),
        wrong(CertificateError::NotAscending)
    );
    assert_eq!(
        of(7, |b| b.certificate.as_mut().unwrap().signatures[3].0 = ValidatorIndex(4)),
        wrong(CertificateError::UnknownSigner(ValidatorIndex(4)))
    );
    assert_eq!(of(7, |b| b.certificate.as_mut().unwrap().commit.view.0 += 1).0, 7);
    assert_eq!(of(7, |b| b.certificate.as_mut().unwrap().commit.result.0.0[0] ^= 1).0, 7);
    // The last block must be certified itself; one in the middle need not be.
    assert_eq!(of(8, |b| b.certificate = None), (8, Wrong::NoCertificate));
    assert_eq!(tampered(|_, blocks| blocks.truncate(5)), (4, Wrong::NoCertificate));
    let chain = eight_blocks();
    let mut blocks = chain.blocks();
    blocks[1].certificate = None;
    assert!(matches!(run(&chain.consortium, blocks), Verdict::Sound(_)));
}

#[test]
fn too_many_blocks_without_a_certificate() {
    let mut chain = Chain::new(Consortium::new());
    for height in 1..=(MAX_DESCENDANTS as u64 + 3) {
        let operation =
            quorate_types::transaction::Operation::CreateNamespace { namespace: format!("n{height}") };
        let transaction = chain.transaction(vec![operation]);
        chain.commit(vec![transaction], height == 1);
    }
    match run(&chain.consortium, chain.blocks()) {
        Verdict::Wrong { height: Height(2), what: Wrong::NoCertificate, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_source_that_fails_gives_no_verdict() {
    let chain = eight_blocks();
    let blocks = chain.blocks().into_iter().take(3).map(Ok);
    let failing = blocks.chain([Err(std::io::Error::other("the disk is gone"))]);
    let genesis = chain.consortium.founding.ledger_genesis();
    match audit(&genesis, failing, |_| ()) {
        Err(AuditError::Source { sound, .. }) => assert_eq!(sound.height, Height(3)),
        other => panic!("{other:?}"),
    }
}
