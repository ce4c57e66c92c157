//! Differential tests: whatever is done to a signature, all paths give the same verdict.
//!
//! Signatures are made here out of their parts, so that key, R and s can each be bent in the ways
//! in which verifiers are known to differ: torsion added, other encodings of a point, s moved by
//! the group's order, bits flipped. What the verdict must be follows from how they were made.

use crate::json;
use crate::paths::*;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;
use quorate_types::keys::{PublicKey, Signature};
use quorate_types::transaction::SignedTransaction;
use sha2::{Digest, Sha512};

/// The order of the prime-order subgroup, little endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// What becomes of a signature.
#[derive(Debug, Clone)]
enum Bend {
    /// Left as RFC 8032 makes it.
    None,
    /// The key gets one of the eight small-order points added; signing takes that into account.
    KeyTorsion(usize),
    /// R gets one added.
    RTorsion(usize),
    /// Both do.
    BothTorsion(usize, usize),
    /// R is replaced by one of the fourteen encodings of a small-order point, s made to fit.
    SmallR(usize),
    /// The key is; anyone can sign.
    SmallKey(usize),
    /// Both are.
    SmallBoth(usize, usize),
    /// s gets the group's order added so many times.
    SPlusOrder(u8),
    /// One bit of the signature is flipped.
    Flip(usize),
    /// The key is another one's.
    OtherKey,
}

fn bends() -> impl Strategy<Value = Bend> {
    prop_oneof![
        Just(Bend::None),
        (0..8usize).prop_map(Bend::KeyTorsion),
        (0..8usize).prop_map(Bend::RTorsion),
        (0..8usize, 0..8usize).prop_map(|(key, r)| Bend::BothTorsion(key, r)),
        (0..14usize).prop_map(Bend::SmallR),
        (0..14usize).prop_map(Bend::SmallKey),
        (0..14usize, 0..14usize).prop_map(|(key, r)| Bend::SmallBoth(key, r)),
        (1..=8u8).prop_map(Bend::SPlusOrder),
        (0..512usize).prop_map(Bend::Flip),
        Just(Bend::OtherKey),
    ]
}

/// All encodings of the small-order points, as the ZIP-215 vectors list them.
fn small_encodings() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = json("ed25519/zip215.json")
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| const_hex::decode_to_array(vector["vk_bytes"].as_str().unwrap()).unwrap())
        .collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 14);
    all
}

fn plus_order(s: [u8; 32]) -> Option<[u8; 32]> {
    let mut sum = [0u8; 32];
    let mut carry = 0u16;
    for i in 0..32 {
        let digit = u16::from(s[i]) + u16::from(ORDER[i]) + carry;
        sum[i] = u8::try_from(digit & 0xff).unwrap();
        carry = digit >> 8;
    }
    (carry == 0).then_some(sum)
}

/// A key, from the seed, and what bending it does.
struct Made {
    key: PublicKey,
    signature: Signature,
    valid: bool,
}

/// Signs `message(key)` with the key of `seed`, bent.
fn make(seed: u64, bend: &Bend, small: &[[u8; 32]], message: impl Fn(PublicKey) -> Vec<u8>) -> Made {
    let scalar = |what: &str| {
        let digest = Sha512::new().chain_update(what.as_bytes()).chain_update(seed.to_le_bytes()).finalize();
        Scalar::from_bytes_mod_order_wide(&digest.into())
    };
    let (mut a, mut r) = (scalar("key"), scalar("nonce"));
    let torsion = |index: usize| EIGHT_TORSION[index];
    let encode = |point: EdwardsPoint| point.compress().to_bytes();
    let mut key_bytes = encode(ED25519_BASEPOINT_POINT * a);
    let mut r_bytes = encode(ED25519_BASEPOINT_POINT * r);
    if let Bend::KeyTorsion(t) | Bend::BothTorsion(t, _) = bend {
        key_bytes = encode(ED25519_BASEPOINT_POINT * a + torsion(*t));
    }
    if let Bend::RTorsion(t) | Bend::BothTorsion(_, t) = bend {
        r_bytes = encode(ED25519_BASEPOINT_POINT * r + torsion(*t));
    }
    if let Bend::SmallKey(i) | Bend::SmallBoth(i, _) = bend {
        (a, key_bytes) = (Scalar::ZERO, small[*i]);
    }
    if let Bend::SmallR(i) | Bend::SmallBoth(_, i) = bend {
        (r, r_bytes) = (Scalar::ZERO, small[*i]);
    }
    if let Bend::OtherKey = bend {
        key_bytes = encode(ED25519_BASEPOINT_POINT * scalar("other"));
    }
    let key = PublicKey(key_bytes);
    let digest =
        Sha512::new().chain_update(r_bytes).chain_update(key_bytes).chain_update(message(key)).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&digest.into());
    let mut s = (r + k * a).to_bytes();
    let mut valid = !matches!(bend, Bend::OtherKey);
    if let Bend::SPlusOrder(times) = bend {
        for _ in 0..*times {
            s = plus_order(s).unwrap_or(s);
        }
        valid = false;
    }
    let mut signature = [0u8; 64];
    signature[..32].copy_from_slice(&r_bytes);
    signature[32..].copy_from_slice(&s);
    if let Bend::Flip(bit) = bend {
        signature[bit / 8] ^= 1 << (bit % 8);
        valid = false;
    }
    Made { key, signature: Signature(signature), valid }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Alone, in a batch of one, among good ones, all in one: always the verdict that ZIP-215 gives.
    #[test]
    fn single_and_batch_agree(bends in prop::collection::vec((any::<u64>(), bends()), 1..24)) {
        let small = small_encodings();
        let cases: Vec<Case> = bends
            .iter()
            .map(|(seed, bend)| {
                let message = seed.to_be_bytes().to_vec();
                let Made { key, signature, valid } = make(*seed, bend, &small, |_| message.clone());
                Case { name: format!("{bend:?} of {seed}"), key, message, signature, valid }
            })
            .collect();
        for case in &cases {
            prop_assert_eq!(single(case), case.valid, "alone: {}", case.name);
            prop_assert_eq!(batch_of_one(case), case.valid, "batch of one: {}", case.name);
            prop_assert_eq!(batch_with_good(case), case.valid, "batch with good ones: {}", case.name);
        }
        assert_one_batch(&cases);
    }

    /// The same for signatures over what is really signed: transactions, Commit and Prepare votes.
    #[test]
    fn transactions_and_certificates_agree(bends in prop::collection::vec((any::<u64>(), bends()), 1..12)) {
        let small = small_encodings();
        let mut signed = Vec::new();
        let mut valid = Vec::new();
        for (nonce, (seed, bend)) in (0..).zip(&bends) {
            let made = make(*seed, bend, &small, |key| transaction_preimage(&transaction(key, nonce)));
            signed.push(SignedTransaction { transaction: transaction(made.key, nonce), signature: made.signature });
            valid.push(made.valid);

            let made = make(*seed, bend, &small, |_| COMMIT.preimage(&CHAIN));
            assert_commit_certificate(made.key, made.signature, made.valid);

            let made = make(*seed, bend, &small, |_| prepare_preimage());
            assert_prepared_certificate(made.key, made.signature, made.valid);
        }
        assert_transactions(&signed, &valid);
    }

    /// Bytes out of nothing: whatever the verdict, it is one.
    #[test]
    fn any_bytes_agree(key: [u8; 32], r: [u8; 32], s: [u8; 32], message: Vec<u8>, low: bool) {
        let mut bytes = [r, s].concat();
        if low {
            // Else nearly every s is refused for its size alone.
            bytes[63] &= 0x0f;
        }
        let signature = Signature(bytes.try_into().unwrap());
        let mut case = Case { name: "bytes".into(), key: PublicKey(key), message, signature, valid: false };
        case.valid = single(&case);
        prop_assert_eq!(batch_of_one(&case), case.valid);
        prop_assert_eq!(batch_with_good(&case), case.valid);
    }
}

/// Each way of bending, once for certain.
#[test]
fn every_bend_has_its_verdict() {
    let small = small_encodings();
    let eight = || 0..8usize;
    let all = [Bend::None, Bend::OtherKey]
        .into_iter()
        .chain(eight().map(Bend::KeyTorsion))
        .chain(eight().map(Bend::RTorsion))
        .chain(eight().flat_map(|key| eight().map(move |r| Bend::BothTorsion(key, r))))
        .chain((0..14).map(Bend::SmallR))
        .chain((0..14).map(Bend::SmallKey))
        .chain((1..=15).map(Bend::SPlusOrder))
        .chain((0..512).step_by(17).map(Bend::Flip));
    let mut cases = Vec::new();
    for (seed, bend) in (1..).zip(all) {
        let Made { key, signature, valid } = make(seed, &bend, &small, |_| b"bent".to_vec());
        let name = format!("{bend:?}");
        cases.push(Case { name, key, message: b"bent".to_vec(), signature, valid });
    }
    for case in &cases {
        assert_eq!(single(case), case.valid, "{}", case.name);
    }
    assert_one_batch(&cases);
}
