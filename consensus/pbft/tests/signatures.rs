//! The signatures of messages between validators are judged like all others: by ZIP-215.
//!
//! The public vectors run through `quorate-types` in full; here they show that this crate has no
//! rule of its own.

use quorate_pbft::{Committee, Message, MessageError, Phase, Signed, Status, VerifiedMessage};
use quorate_types::certificate::{Commit, Prepare};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash};
use quorate_types::ids::{Height, ValidatorIndex, View};
use quorate_types::keys::{PublicKey, Signature};
use quorate_types::validators::{Validator, ValidatorSet};

const ZIP215: &str = include_str!("../../../tests/vectors/ed25519/zip215.json");
const RFC8032: &str = include_str!("../../../tests/vectors/ed25519/rfc8032.json");

/// The hexadecimal values of a field, in order: all that these files need of JSON.
fn field<const N: usize>(json: &str, name: &str) -> Vec<[u8; N]> {
    let name = format!("\"{name}\"");
    json.split(&name)
        .skip(1)
        .map(|rest| {
            let digits = rest.split('"').nth(1).expect("a text follows the name");
            let byte = |i: usize| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("digits");
            assert_eq!(digits.len(), 2 * N);
            std::array::from_fn(byte)
        })
        .collect()
}

fn cases(json: &str, key: &str, signature: &str) -> Vec<(PublicKey, Signature)> {
    let (keys, signatures) = (field(json, key), field(json, signature));
    assert_eq!(keys.len(), signatures.len());
    keys.into_iter().map(PublicKey).zip(signatures.into_iter().map(Signature)).collect()
}

/// One validator, which votes with this key.
fn committee(vote_key: PublicKey) -> Committee {
    let validators = ValidatorSet::new(vec![Validator { member: PublicKey([1; 32]), vote_key }]);
    Committee { chain: ChainId(Hash([9; 32])), validators, window: 4 }
}

fn messages(signature: Signature) -> [Message; 3] {
    let (view, height, block) = (View(0), Height(1), BlockHash(Hash([2; 32])));
    let signer = ValidatorIndex(0);
    let commit = Commit { view, height, block, result: ResultHash(Hash([3; 32])) };
    let status =
        Status { view, phase: Phase::Active, height, proposals: height, stalled: false, founding: false };
    [
        Message::Prepare(Signed { statement: Prepare { view, height, block }, signer, signature }),
        Message::Commit(Signed { statement: commit, signer, signature }),
        Message::Status(Signed { statement: status, signer, signature }),
    ]
}

fn verdicts(key: PublicKey, signature: Signature) -> Vec<Result<(), MessageError>> {
    let verdict = |message| VerifiedMessage::decode(codec::encode_bytes(&message), &committee(key)).map(drop);
    messages(signature).into_iter().map(verdict).collect()
}

/// They fit every message, as keys of small order do; such keys are refused at registration.
#[test]
fn small_order_signatures_verify_as_zip_215_says() {
    let cases = cases(ZIP215, "vk_bytes", "sig_bytes");
    assert_eq!(cases.len(), 196);
    for (key, signature) in cases {
        assert_eq!(verdicts(key, signature), [Ok(()), Ok(()), Ok(())], "{key}");
        assert!(key.check().is_err());
    }
}

#[test]
fn a_signature_over_something_else_does_not() {
    let cases = cases(RFC8032, "pub", "sig");
    assert_eq!(cases.len(), 4);
    for (key, signature) in cases {
        let refused = || Err(MessageError::BadSignature(ValidatorIndex(0)));
        assert_eq!(verdicts(key, signature), [refused(), refused(), refused()], "{key}");
    }
}
