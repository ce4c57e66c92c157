//! The bytes of signed messages and of evidence, held still.

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use bytes::Bytes;
use golden::Golden;
use quorate_pbft::{
    Committee, Evidence, Message, NewView, Phase, PrePrepare, Signed, Statement, Status, VerifiedMessage,
    ViewChange,
};
use quorate_types::block::{Header, transactions_root};
use quorate_types::certificate::{Certificate, Commit, Prepare, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::SecretKey;
use quorate_types::validators::{Validator, ValidatorSet};

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// The validators of `golden/genesis.toml`: acme votes with the key of seed 4, bolt with that of 7.
fn committee() -> Committee {
    let validator =
        |member, vote| Validator { member: secret(member).public(), vote_key: secret(vote).public() };
    Committee {
        chain: "9d61774e5dede5630efc2a5ba9deddd0689f3e6aea38ec453846a62575039b28".parse().expect("hex"),
        validators: ValidatorSet::new(vec![validator(3, 4), validator(6, 7)]),
        window: 4,
    }
}

fn signed<T: Statement>(statement: T, signer: u16) -> Signed<T> {
    let key = secret(if signer == 0 { 4 } else { 7 });
    Signed::new(statement, &committee().chain, ValidatorIndex(signer), &key)
}

const ID: TransactionId = TransactionId(Hash([0x1d; 32]));

fn header(chain: ChainId, timestamp: u64) -> Header {
    Header {
        chain,
        height: Height(1),
        view: View(0),
        proposer: ValidatorIndex(0),
        timestamp: Timestamp(timestamp),
        parent: BlockHash(chain.0),
        parent_result: ResultHash(Hash([0x74; 32])),
        transactions_root: transactions_root(&[ID]),
        transaction_count: 1,
        history_root: Hash([0x10; 32]),
        validators: committee().validators.hash(&chain),
    }
}

fn both<S>(sign: impl Fn(&SecretKey) -> S) -> Vec<(ValidatorIndex, S)> {
    vec![(ValidatorIndex(0), sign(&secret(4))), (ValidatorIndex(1), sign(&secret(7)))]
}

/// Encodes, and checks that what is held still would be accepted.
fn encode(message: &Message) -> Bytes {
    let bytes = codec::encode_bytes(message);
    let verified = VerifiedMessage::decode(bytes.clone(), &committee()).expect("a good message");
    assert_eq!(verified.message(), message);
    bytes
}

#[test]
fn layouts_are_what_they_were() {
    let chain = committee().chain;
    let header = header(chain, 1_795_334_401_000);
    let block = header.hash();
    let mut golden = Golden::new();

    let pre_prepare = PrePrepare { view: View(0), header: header.clone(), ids: vec![ID] };
    golden.hex("pre_prepare", encode(&Message::PrePrepare(Box::new(signed(pre_prepare, 0)))));

    let prepare = Prepare { view: View(0), height: Height(1), block };
    golden.hex("prepare", encode(&Message::Prepare(signed(prepare, 0))));

    let commit = Commit { view: View(0), height: Height(1), block, result: ResultHash(Hash([0x7e; 32])) };
    golden.hex("commit", encode(&Message::Commit(signed(commit, 1))));

    let prepared = PreparedCertificate {
        header: header.clone(),
        view: View(0),
        signatures: both(|key| prepare.sign(&chain, key)),
    };
    let at_genesis = ViewChange { view: View(1), certificate: None, prepared: vec![prepared] };
    let certificate = Certificate { commit, signatures: both(|key| commit.sign(&chain, key)) };
    let after_one = ViewChange { view: View(1), certificate: Some(certificate), prepared: Vec::new() };
    let changes = vec![signed(at_genesis, 0), signed(after_one, 1)];
    golden.hex("view_change", encode(&Message::ViewChange(Box::new(changes[0].clone()))));
    golden.hex("view_change_with_certificate", encode(&Message::ViewChange(Box::new(changes[1].clone()))));

    let new_view = NewView { view: View(1), view_changes: changes };
    golden.hex("new_view", encode(&Message::NewView(Box::new(signed(new_view, 1)))));

    for (phase, name) in
        [(Phase::Active, "active"), (Phase::Changing, "changing"), (Phase::Learning, "learning")]
    {
        let (height, proposals) = (Height(8), Height(9));
        let status = Status { view: View(3), phase, height, proposals, stalled: true, founding: false };
        golden.hex(&format!("status_{name}"), encode(&Message::Status(signed(status, 0))));
    }

    let other = Prepare { block: self::header(chain, 1_795_334_402_000).hash(), ..prepare };
    let message = |vote| {
        let bytes = encode(&Message::Prepare(signed(vote, 0)));
        VerifiedMessage::decode(bytes, &committee()).expect("just checked")
    };
    let evidence =
        Evidence::of(&message(prepare), &message(other)).expect("two votes at one height and view");
    let (convicted, _) = evidence.verify(&committee()).expect("both hold").expect("they contradict");
    assert_eq!(convicted, ValidatorIndex(0));
    golden.hex("evidence", codec::encode(&evidence));
    golden.check("pbft.json");
}
