//! Every way in which this crate comes to a verdict on a signature, behind one question each.

use bytes::Bytes;
use quorate_types::block::Header;
use quorate_types::certificate::{Certificate, CertificateError, Commit, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::{Batch, PublicKey, SecretKey, Signature};
use quorate_types::signed::{Domain, Verify};
use quorate_types::transaction::{
    Operation, SignedTransaction, Transaction, TransactionError, verify_transaction, verify_transactions,
};
use quorate_types::validators::{Validator, ValidatorSet};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub(crate) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(0x5a17)
}

/// A signature as a vector gives it, or as an attacker would.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) key: PublicKey,
    pub(crate) message: Vec<u8>,
    pub(crate) signature: Signature,
    pub(crate) valid: bool,
}

/// Alone: [`PublicKey::verify`].
pub(crate) fn single(case: &Case) -> bool {
    case.key.verify(&case.message, &case.signature).is_ok()
}

/// A batch of this one.
pub(crate) fn batch_of_one(case: &Case) -> bool {
    let mut batch = Batch::new();
    batch.push(&case.key, &case.message, &case.signature);
    match batch.verify(&mut rng()) {
        Ok(()) => true,
        Err(culprits) => {
            assert_eq!(culprits, [0]);
            false
        }
    }
}

/// In the middle of a batch of good ones, which must not be blamed.
pub(crate) fn batch_with_good(case: &Case) -> bool {
    const BEFORE: u8 = 3;
    let mut batch = Batch::new();
    let push_good = |batch: &mut Batch, n: u8| {
        let key = SecretKey::from_seed(&[n; 32]);
        batch.push(&key.public(), &[n], &key.sign(&[n]));
    };
    (0..BEFORE).for_each(|n| push_good(&mut batch, n));
    batch.push(&case.key, &case.message, &case.signature);
    (0..5).for_each(|n| push_good(&mut batch, n));
    match batch.verify(&mut rng()) {
        Ok(()) => true,
        Err(culprits) => {
            assert_eq!(culprits, [usize::from(BEFORE)], "{}: a good signature was blamed", case.name);
            false
        }
    }
}

/// All cases in one batch, at several offsets, so that halving the batch cuts it in several ways.
pub(crate) fn assert_one_batch(cases: &[Case]) {
    for skip in 0..5.min(cases.len()) {
        let cases = &cases[skip..];
        let mut batch = Batch::new();
        for case in cases {
            batch.push(&case.key, &case.message, &case.signature);
        }
        let invalid: Vec<usize> = (0..cases.len()).filter(|i| !cases[*i].valid).collect();
        let expected = if invalid.is_empty() { Ok(()) } else { Err(invalid) };
        assert_eq!(batch.verify(&mut rng()), expected, "without the first {skip}");
    }
}

pub(crate) const CHAIN: ChainId = ChainId(Hash([0xc4; 32]));

pub(crate) fn transaction(sender: PublicKey, nonce: u64) -> Transaction {
    let operations = vec![Operation::CreateAsset { asset: "gold".into() }];
    Transaction { chain: CHAIN, sender, nonce, expires_at: Timestamp(1), operations }
}

/// What the signature of a transaction covers.
pub(crate) fn transaction_preimage(transaction: &Transaction) -> Vec<u8> {
    Domain::Transaction.preimage(&CHAIN, &codec::encode(transaction))
}

/// As the signature of a transaction whose sender is this key: the three ways to verify one must
/// agree, and give this verdict.
pub(crate) fn assert_transactions(signed: &[SignedTransaction], valid: &[bool]) {
    let encoded: Vec<Bytes> = signed.iter().map(codec::encode_bytes).collect();
    let together = verify_transactions(&CHAIN, &encoded, &mut rng());
    assert_eq!(together.len(), signed.len());
    for (index, (signed, valid)) in signed.iter().zip(valid).enumerate() {
        let expected = if *valid { Ok(()) } else { Err(TransactionError::BadSignature) };
        assert_eq!(signed.verify(&CHAIN), expected, "Verify::verify of {index}");
        let alone = verify_transaction(&CHAIN, encoded[index].clone());
        assert_eq!(alone.as_ref().map(drop), expected.as_ref().map(drop), "verify_transaction of {index}");
        assert_eq!(
            together[index].as_ref().map(drop),
            expected.as_ref().map(drop),
            "verify_transactions of {index}"
        );
        if let (Ok(alone), Ok(together)) = (&alone, &together[index]) {
            assert_eq!(alone.id(), signed.transaction.id());
            assert_eq!(together.id(), signed.transaction.id());
        }
    }
}

/// A set in which this key votes alone: its vote is a quorum.
pub(crate) fn alone(key: PublicKey) -> ValidatorSet {
    ValidatorSet::new(vec![Validator { member: PublicKey([1; 32]), vote_key: key }])
}

pub(crate) const COMMIT: Commit = Commit {
    view: View(0),
    height: Height(1),
    block: BlockHash(Hash([0xb1; 32])),
    result: ResultHash(Hash([0x7e; 32])),
};

pub(crate) fn header() -> Header {
    Header {
        chain: CHAIN,
        height: Height(1),
        view: View(0),
        proposer: ValidatorIndex(0),
        timestamp: Timestamp(1),
        parent: BlockHash(CHAIN.0),
        parent_result: ResultHash(Hash([2; 32])),
        transactions_root: Hash([3; 32]),
        transaction_count: 1,
        history_root: Hash([4; 32]),
        validators: Hash([5; 32]),
    }
}

/// What a Prepare vote for [`header`] covers.
pub(crate) fn prepare_preimage() -> Vec<u8> {
    PreparedCertificate { header: header(), view: View(0), signatures: Vec::new() }.prepare().preimage(&CHAIN)
}

/// As the one vote of a commit certificate, checked alone and through a batch.
pub(crate) fn assert_commit_certificate(key: PublicKey, signature: Signature, valid: bool) {
    let set = alone(key);
    let certificate = Certificate { commit: COMMIT, signatures: vec![(ValidatorIndex(0), signature)] };
    let expected = if valid { Ok(()) } else { Err(CertificateError::BadSignature(ValidatorIndex(0))) };
    assert_eq!(certificate.verify(&CHAIN, &set), expected);
    let mut batch = Batch::new();
    assert_eq!(certificate.verify_into(&CHAIN, &set, &mut batch), Ok(()));
    assert_eq!(batch.verify(&mut rng()), if valid { Ok(()) } else { Err(vec![0]) });
}

/// As the one vote of a prepared certificate.
pub(crate) fn assert_prepared_certificate(key: PublicKey, signature: Signature, valid: bool) {
    let certificate = PreparedCertificate {
        header: header(),
        view: View(0),
        signatures: vec![(ValidatorIndex(0), signature)],
    };
    let expected = if valid { Ok(()) } else { Err(CertificateError::BadSignature(ValidatorIndex(0))) };
    assert_eq!(certificate.verify(&CHAIN, &alone(key)), expected);
}
