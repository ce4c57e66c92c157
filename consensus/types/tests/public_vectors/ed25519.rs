//! Ed25519: one verdict, that of ZIP-215, on every path.

use crate::json;
use crate::paths::*;
use quorate_types::keys::{KeyError, PublicKey, Signature};
use quorate_types::transaction::SignedTransaction;
use std::collections::BTreeMap;

fn bytes(value: &serde_json::Value, field: &str) -> Vec<u8> {
    const_hex::decode(value[field].as_str().unwrap()).unwrap()
}

fn key(value: &serde_json::Value, field: &str) -> PublicKey {
    PublicKey(bytes(value, field).try_into().unwrap())
}

fn signature(value: &serde_json::Value, field: &str) -> Signature {
    Signature(bytes(value, field).try_into().unwrap())
}

/// Every pair of the fourteen encodings of small-order points, as key and as R, with s = 0. All
/// are valid by ZIP-215, over any message; a good half is not by other rules.
fn zip215() -> Vec<Case> {
    let list = json("ed25519/zip215.json");
    let case = |(index, vector): (usize, &serde_json::Value)| Case {
        name: format!("zip215 {index}"),
        key: key(vector, "vk_bytes"),
        // The message of the whole set.
        message: b"Zcash".to_vec(),
        signature: signature(vector, "sig_bytes"),
        valid: vector["valid_zip215"].as_bool().unwrap(),
    };
    list.as_array().unwrap().iter().enumerate().map(case).collect()
}

/// RFC 8032, section 7.1: what every verifier accepts.
fn rfc8032() -> Vec<Case> {
    let list = json("ed25519/rfc8032.json");
    let case = |(index, vector): (usize, &serde_json::Value)| Case {
        name: format!("rfc8032 {index}"),
        key: key(vector, "pub"),
        message: bytes(vector, "msg"),
        signature: signature(vector, "sig"),
        valid: true,
    };
    list.as_array().unwrap().iter().enumerate().map(case).collect()
}

/// The verdict of ZIP-215 on the twelve cases of `speccheck.json`, and why. The file gives none:
/// it exists because implementations differ on them. `verify.py` reaches the same verdicts from
/// the equation alone.
const SPECCHECK: [(bool, &str); 12] = [
    (true, "key and R of small order, s = 0: both sides are the identity; weak keys are no matter here"),
    (true, "key of small order, R with a torsion part: the equation holds even without the cofactor"),
    (true, "key with a torsion part, R of small order: the same"),
    (true, "key and R with torsion parts that cancel: the same"),
    (true, "torsion parts that do not cancel: the equation holds after multiplication by 8, which decides"),
    (true, "the same, and wrong only for those who reduce 8k modulo the group's order before using it"),
    (false, "s is not below the group's order: a second spelling of s"),
    (false, "s far above the group's order"),
    (false, "R is not canonical, and was hashed in its canonical form; the hash covers the bytes as sent"),
    (true, "R is not canonical, and was hashed as sent"),
    (true, "key of order 2, not canonical, hashed in its canonical form; 8 removes what was hashed"),
    (true, "key of order 2, not canonical, hashed as sent"),
];

fn speccheck() -> Vec<Case> {
    let list = json("ed25519/speccheck.json");
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), SPECCHECK.len());
    let case = |(index, (vector, (valid, why))): (usize, (&serde_json::Value, &(bool, &str)))| Case {
        name: format!("speccheck {index} ({why})"),
        key: key(vector, "pub_key"),
        message: bytes(vector, "message"),
        signature: signature(vector, "signature"),
        valid: *valid,
    };
    list.iter().zip(&SPECCHECK).enumerate().map(case).collect()
}

fn all() -> Vec<Case> {
    [zip215(), rfc8032(), speccheck()].concat()
}

#[test]
fn the_sets_are_complete() {
    assert_eq!((zip215().len(), rfc8032().len(), speccheck().len()), (196, 4, 12));
    assert!(zip215().iter().all(|case| case.valid));
}

#[test]
fn alone() {
    for case in all() {
        assert_eq!(single(&case), case.valid, "{}", case.name);
    }
}

#[test]
fn in_a_batch_of_one() {
    for case in all() {
        assert_eq!(batch_of_one(&case), case.valid, "{}", case.name);
    }
}

#[test]
fn in_a_batch_with_good_ones() {
    for case in all() {
        assert_eq!(batch_with_good(&case), case.valid, "{}", case.name);
    }
}

#[test]
fn all_in_one_batch_and_exactly_the_invalid_are_named() {
    assert_one_batch(&all());
    let mut interleaved = all();
    // Culprits next to good ones of every set, rather than in one place.
    interleaved.sort_by_key(|case| case.signature);
    assert_one_batch(&interleaved);
}

/// Whether the signature is valid over whatever message. With a key of small order the factor 8 of
/// ZIP-215 removes all that was hashed from the equation: anyone can sign, and one signature fits
/// everything. That is why such keys are never registered.
fn fits_any_message(case: &Case) -> bool {
    let small = ["zip215 ", "speccheck 0 ", "speccheck 1 ", "speccheck 10 ", "speccheck 11 "];
    small.iter().any(|prefix| case.name.starts_with(prefix))
}

/// A vector's signature is over its own message. As the signature of a transaction it is over
/// another, so it is wrong, but for keys of small order.
#[test]
fn as_signatures_of_transactions() {
    let mut signed = Vec::new();
    let mut valid = Vec::new();
    for (nonce, case) in (0..).zip(all()) {
        let transaction = transaction(case.key, nonce);
        let any_message = fits_any_message(&case);
        let preimage = transaction_preimage(&transaction);
        assert_eq!(case.key.verify(&preimage, &case.signature).is_ok(), any_message, "{}", case.name);
        signed.push(SignedTransaction { transaction, signature: case.signature });
        valid.push(any_message);
    }
    assert_transactions(&signed, &valid);
}

/// The same for votes.
#[test]
fn as_votes_of_certificates() {
    for case in all() {
        let any_message = fits_any_message(&case);
        assert_commit_certificate(case.key, case.signature, any_message);
        assert_prepared_certificate(case.key, case.signature, any_message);
    }
}

/// Which keys of the vectors might be registered: none of those under which anyone can sign, or
/// that have a second spelling or a torsion part.
#[test]
fn registration_refuses_every_key_made_for_mischief() {
    let mut verdicts = BTreeMap::new();
    for case in zip215() {
        verdicts.insert(case.key, case.key.check());
    }
    let count = |wanted| verdicts.values().filter(|verdict| **verdict == Err(wanted)).count();
    assert_eq!(verdicts.len(), 14);
    assert_eq!(count(KeyError::SmallOrder), 8, "the canonical encodings of the eight small-order points");
    assert_eq!(count(KeyError::NotCanonical), 6, "the others of six of them");

    for case in rfc8032() {
        assert_eq!(case.key.check(), Ok(()), "{}", case.name);
    }

    let expected = [
        Err(KeyError::SmallOrder),
        Err(KeyError::SmallOrder),
        Err(KeyError::Torsion),
        Err(KeyError::Torsion),
        Err(KeyError::Torsion),
        Err(KeyError::Torsion),
        Ok(()),
        Ok(()),
        Err(KeyError::Torsion),
        Err(KeyError::Torsion),
        Err(KeyError::NotCanonical),
        Err(KeyError::NotCanonical),
    ];
    for (case, expected) in speccheck().iter().zip(expected) {
        assert_eq!(case.key.check(), expected, "{}", case.name);
    }
}
