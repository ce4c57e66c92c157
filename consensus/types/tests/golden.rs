//! Every layout of this crate, held still, and the examples of `FORMAT.md`, held to the same bytes.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use golden::Golden;
use quorate_types::block::{BlockResult, Header, transactions_root};
use quorate_types::certificate::{Certificate, Commit, Prepare, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::{PublicKey, SecretKey, Signature};
use quorate_types::member::{Member, Role};
use quorate_types::merkle;
use quorate_types::outcome::{Failure, Outcome, OutcomeRecord};
use quorate_types::parameters::Parameters;
use quorate_types::signed::Domain;
use quorate_types::transaction::{Operation, Transaction, Version};
use quorate_types::validators::{Validator, ValidatorSet};
use std::collections::{BTreeMap, BTreeSet};

/// The chain of `golden/genesis.toml`.
fn chain() -> ChainId {
    "9d61774e5dede5630efc2a5ba9deddd0689f3e6aea38ec453846a62575039b28".parse().unwrap()
}

/// The key of 32 equal bytes: 3 acme, 4 its vote key; 6 bolt, 7 its vote key; 9 crown.
fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn key(n: u8) -> PublicKey {
    secret(n).public()
}

fn sorted(mut keys: Vec<PublicKey>) -> Vec<PublicKey> {
    keys.sort();
    keys
}

/// One of each operation, in the order of their numbers, and the forms an optional field can take.
fn operations() -> Vec<(&'static str, Operation)> {
    let (namespace, asset) = (|| "registry".to_owned(), || "eur".to_owned());
    vec![
        ("create_namespace", Operation::CreateNamespace { namespace: namespace() }),
        (
            "set_namespace_members",
            Operation::SetNamespaceMembers {
                namespace: namespace(),
                owners: vec![key(3)],
                writers: sorted(vec![key(3), key(6)]),
            },
        ),
        (
            "put",
            Operation::Put {
                namespace: namespace(),
                key: b"serde".to_vec(),
                value: b"1.0.229".to_vec(),
                expected: Some(Version(Height(7))),
            },
        ),
        ("delete", Operation::Delete { namespace: namespace(), key: b"serde".to_vec(), expected: None }),
        ("create_asset", Operation::CreateAsset { asset: asset() }),
        ("mint", Operation::Mint { asset: asset(), to: key(6), amount: u128::MAX }),
        ("transfer", Operation::Transfer { asset: asset(), to: key(6), amount: 250 }),
        ("burn", Operation::Burn { asset: asset(), amount: 1 }),
    ]
}

/// One of each failure, in the order of their numbers.
fn failures() -> Vec<(&'static str, Failure)> {
    vec![
        ("namespace_exists", Failure::NamespaceExists),
        ("no_such_namespace", Failure::NoSuchNamespace),
        ("not_owner", Failure::NotOwner),
        ("not_writer", Failure::NotWriter),
        ("version_mismatch", Failure::VersionMismatch { found: Height(3) }),
        ("no_such_key", Failure::NoSuchKey),
        ("asset_exists", Failure::AssetExists),
        ("no_such_asset", Failure::NoSuchAsset),
        ("not_issuer", Failure::NotIssuer),
        ("insufficient_balance", Failure::InsufficientBalance { balance: 40 }),
        ("supply_overflow", Failure::SupplyOverflow),
        ("no_such_member", Failure::NoSuchMember),
    ]
}

fn transaction() -> Transaction {
    Transaction {
        chain: chain(),
        sender: key(3),
        nonce: 0x0102_0304_0506_0708,
        expires_at: Timestamp(1_795_334_460_000),
        operations: vec![
            Operation::Put {
                namespace: "registry".into(),
                key: b"serde".to_vec(),
                value: b"1.0.229".to_vec(),
                expected: Some(Version::ABSENT),
            },
            Operation::Transfer { asset: "eur".into(), to: key(6), amount: 250 },
        ],
    }
}

fn validators() -> ValidatorSet {
    let validator = |member, vote| Validator { member: key(member), vote_key: key(vote) };
    ValidatorSet::new(vec![validator(3, 4), validator(6, 7)])
}

fn header() -> Header {
    Header {
        chain: chain(),
        height: Height(5),
        view: View(2),
        proposer: ValidatorIndex(0),
        timestamp: Timestamp(1_795_334_405_000),
        parent: BlockHash(Hash([0xb4; 32])),
        parent_result: ResultHash(Hash([0x74; 32])),
        transactions_root: transactions_root(&[transaction().id()]),
        transaction_count: 1,
        history_root: Hash([0x10; 32]),
        validators: validators().hash(&chain()),
    }
}

fn result() -> BlockResult {
    BlockResult {
        state_root: Hash([0x57; 32]),
        outcomes_root: record().leaf(),
        next_validators: validators().hash(&chain()),
    }
}

fn record() -> OutcomeRecord {
    OutcomeRecord { transaction: transaction().id(), outcome: Outcome::Applied }
}

fn codec_rules(golden: &mut Golden) {
    golden.hex("codec_example", codec::encode(&(1u16, 2u32, "ab", Some(3u8))));
    golden.hex("codec_u64", codec::encode(&0x0102_0304_0506_0708_u64));
    golden.hex("codec_u128", codec::encode(&250u128));
    golden.hex("codec_none", codec::encode(&None::<u8>));
    golden.hex("codec_list", codec::encode(&vec![1u16, 2]));
    for (n, name) in [(3, "acme"), (4, "acme_vote"), (6, "bolt"), (7, "bolt_vote"), (9, "crown")] {
        golden.hex(&format!("key_{name}"), key(n).0);
    }
    // Written out, so that tuning a default changes nothing here.
    let parameters = Parameters {
        window: 4,
        term_blocks: 1000,
        max_block_transactions: 10_000,
        max_block_bytes: 4 << 20,
        max_transaction_bytes: 64 << 10,
        max_lifetime_ms: 300_000,
        max_clock_drift_ms: 10_000,
        view_timeout_ms: 400,
        max_view_timeout_ms: 10_000,
        request_timeout_ms: 2_000,
    };
    golden.hex("parameters", codec::encode(&parameters));
    let roles = vec![Role::Validator, Role::Submitter, Role::Auditor];
    golden.hex("member", codec::encode(&Member { name: "acme".into(), key: key(3), roles }));
}

fn transactions(golden: &mut Golden) {
    for (name, operation) in operations() {
        golden.hex(&format!("operation_{name}"), codec::encode(&operation));
    }
    let signed = transaction().sign(&secret(3));
    golden.hex("transaction", codec::encode(&transaction()));
    golden
        .hex("transaction_preimage", Domain::Transaction.preimage(&chain(), &codec::encode(&transaction())));
    golden.hex("transaction_id", transaction().id().0.0);
    golden.hex("transaction_signature", signed.signature.0);
    golden.hex("signed_transaction", codec::encode(&signed));
    let every =
        Transaction { operations: operations().into_iter().map(|(_, o)| o).collect(), ..transaction() };
    golden.hex("transaction_of_every_operation_signed", codec::encode(&every.clone().sign(&secret(3))));
    golden.hex("transaction_of_every_operation_id", every.id().0.0);
    golden.hex("outcome_applied", codec::encode(&Outcome::Applied));
    for (name, reason) in failures() {
        golden.hex(&format!("outcome_{name}"), codec::encode(&Outcome::Failed { operation: 1, reason }));
    }
    golden.hex("outcome_record", codec::encode(&record()));
    golden.hex("outcome_record_leaf", record().leaf().0);
}

fn blocks(golden: &mut Golden) {
    let chain = chain();
    golden.hex("validators", codec::encode(&validators()));
    golden.hex("validators_hash", validators().hash(&chain).0);
    golden.hex("header", codec::encode(&header()));
    golden.hex("header_hash", header().hash().0.0);
    golden.hex("result", codec::encode(&result()));
    golden.hex("result_hash", result().hash(&chain).0.0);
    let prepare = Prepare { view: View(2), height: Height(5), block: header().hash() };
    golden.hex("prepare", codec::encode(&prepare));
    golden.hex("prepare_preimage", prepare.preimage(&chain));
    golden.hex("prepare_signature", prepare.sign(&chain, &secret(4)).0);
    let (view, height, block) = (View(3), Height(5), header().hash());
    let commit = Commit { view, height, block, result: result().hash(&chain) };
    golden.hex("commit", codec::encode(&commit));
    golden.hex("commit_preimage", commit.preimage(&chain));
    let signatures: Vec<_> = [(0, 4), (1, 7)].map(|(i, n)| (ValidatorIndex(i), secret(n))).into();
    let by = |sign: &dyn Fn(&SecretKey) -> Signature| signatures.iter().map(|(i, k)| (*i, sign(k))).collect();
    let certificate = Certificate { commit, signatures: by(&|key| commit.sign(&chain, key)) };
    assert_eq!(certificate.verify(&chain, &validators()), Ok(()));
    golden.hex("certificate", codec::encode(&certificate));
    let prepared = PreparedCertificate {
        header: header(),
        view: View(2),
        signatures: by(&|key| prepare.sign(&chain, key)),
    };
    assert_eq!(prepared.verify(&chain, &validators()), Ok(()));
    golden.hex("prepared_certificate", codec::encode(&prepared));
}

/// Leaf i is the one byte i.
fn trees(golden: &mut Golden) {
    let leaves: Vec<Hash> = (0..9u8).map(|i| merkle::leaf_hash(&[i])).collect();
    for size in 0..=9 {
        golden.hex(&format!("merkle_root_of_{size}"), merkle::root(&leaves[..size]).0);
    }
    let joined = |path: merkle::Path| path.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
    golden.hex("merkle_inclusion_of_4_in_7", joined(merkle::inclusion_proof(&leaves[..7], 4).unwrap()));
    golden.hex("merkle_inclusion_of_8_in_9", joined(merkle::inclusion_proof(&leaves, 8).unwrap()));
    golden.hex("merkle_consistency_of_3_with_7", joined(merkle::consistency_proof(&leaves[..7], 3).unwrap()));
    let id = TransactionId(Hash([1; 32]));
    golden.hex("transactions_root_of_one", transactions_root(&[id]).0);
}

#[test]
fn layouts_are_what_they_were() {
    let mut golden = Golden::new();
    golden.text("chain", &chain().to_string());
    codec_rules(&mut golden);
    transactions(&mut golden);
    blocks(&mut golden);
    trees(&mut golden);
    golden.check("types.json");
}

/// Stated apart from the encoder: the numbers of `FORMAT.md` are those in the bytes.
#[test]
fn enums_are_numbered_as_documented() {
    for (number, (name, operation)) in (0u32..).zip(operations()) {
        assert_eq!(codec::encode(&operation)[..4], number.to_le_bytes(), "{name}");
    }
    for (number, (name, reason)) in (0u32..).zip(failures()) {
        assert_eq!(codec::encode(&reason)[..4], number.to_le_bytes(), "{name}");
        let outcome = Outcome::Failed { operation: 1, reason };
        assert_eq!(codec::encode(&outcome)[..6], [1, 0, 0, 0, 1, 0], "{name}");
    }
    for (number, role) in (0u32..).zip([Role::Validator, Role::Submitter, Role::Auditor]) {
        assert_eq!(codec::encode(&role), number.to_le_bytes());
    }
}

/// Examples in `FORMAT.md` are blocks that name the golden value they show:
///
/// ````text
/// ```golden types.json commit
/// 0300000000000000  # view
/// …
/// ```
/// ````
fn examples(document: &str) -> Vec<(String, String, String)> {
    let mut examples = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```golden ") else { continue };
        let (file, name) = name.split_once(' ').unwrap_or_else(|| panic!("{line}: name a file and a value"));
        let digits = lines.by_ref().take_while(|line| *line != "```").map(|line| {
            let bytes = line.split('#').next().unwrap_or_default();
            bytes.split_whitespace().collect::<String>()
        });
        examples.push((file.to_owned(), name.to_owned(), digits.collect()));
    }
    examples
}

#[test]
fn the_examples_of_the_document_are_golden() {
    let root = golden::path("").join("../../..");
    let document = std::fs::read_to_string(root.join("FORMAT.md")).unwrap();
    let mut files: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for entry in std::fs::read_dir(golden::path("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Ok(values) = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()) {
            files.insert(name, values);
        }
    }
    let examples = examples(&document);
    let mut shown = BTreeSet::new();
    for (file, name, digits) in &examples {
        let golden = files.get(file).and_then(|file| file.get(name));
        let golden = golden.unwrap_or_else(|| panic!("FORMAT.md shows {name} of {file}, which is not there"));
        assert_eq!(digits, golden, "FORMAT.md shows other bytes for {name} of {file}");
        shown.insert(format!("{file} {name}"));
    }
    // What a reader cannot do without.
    for needed in [
        "genesis.json content",
        "genesis.json chain_id",
        "genesis.json founding_preimage",
        "genesis.json card_preimage",
        "types.json transaction_preimage",
        "types.json transaction_id",
        "types.json signed_transaction",
        "types.json header",
        "types.json header_hash",
        "types.json result",
        "types.json result_hash",
        "types.json validators",
        "types.json validators_hash",
        "types.json outcome_record",
        "types.json prepare_preimage",
        "types.json commit_preimage",
        "types.json certificate",
        "types.json prepared_certificate",
        "chain.json receipt_own",
        "chain.json proof_present",
        "chain.json proof_absent_empty",
        "chain.json proof_absent_other",
        "chain.json export",
        "pbft.json evidence",
    ] {
        assert!(shown.contains(needed), "FORMAT.md shows no example of {needed}");
    }
    for (name, _) in operations() {
        assert!(shown.contains(&format!("types.json operation_{name}")), "no example of {name}");
    }
}

/// The files of several crates tell of one chain.
#[test]
fn the_files_agree() {
    let read = |name: &str| -> BTreeMap<String, String> {
        serde_json::from_str(&std::fs::read_to_string(golden::path(name)).unwrap()).unwrap()
    };
    let (types, genesis, chain) = (read("types.json"), read("genesis.json"), read("chain.json"));
    assert_eq!(genesis["chain_id"], types["chain"]);
    assert_eq!(genesis["chain_id"], chain["chain"]);
    assert_eq!(genesis["founding_result"], chain["founding_result"]);
    assert_eq!(genesis["founding_result_hash"], chain["founding_result_hash"]);
    assert_eq!(genesis["validators_hash"], types["validators_hash"]);
}
