//! A small chain from fixed seeds, held still to the last byte: state keys and values, blocks,
//! results, receipts, proofs, an export. `tests/vectors/verify.py` checks the same chain.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use bytes::Bytes;
use golden::Golden;
use quorate_ledger::{
    Asset, Committed, Entry, Genesis, Ledger, MemoryStore, Namespace, StateKey, StateProof, StateValue,
    founding_result, history_proof, read,
};
use quorate_types::block::{Block, BlockResult, Header};
use quorate_types::certificate::{Certificate, Commit};
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::{PublicKey, SecretKey};
use quorate_types::member::{Member, Role};
use quorate_types::merkle;
use quorate_types::outcome::{Outcome, OutcomeRecord};
use quorate_types::parameters::Parameters;
use quorate_types::receipt::{Finality, Inclusion, Receipt};
use quorate_types::transaction::{Operation, SignedTransaction, Transaction, Version, verify_transaction};
use quorate_types::validators::{Validator, ValidatorSet};

/// The chain of `golden/genesis.toml`, and when it was founded.
const CHAIN: &str = "9d61774e5dede5630efc2a5ba9deddd0689f3e6aea38ec453846a62575039b28";
const CREATED: u64 = 1_795_334_400_000;

/// The seeds of the members' keys; a validator's vote key is one more.
const ACME: u8 = 3;
const BOLT: u8 = 6;
const CROWN: u8 = 9;

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn key(n: u8) -> PublicKey {
    secret(n).public()
}

fn chain() -> ChainId {
    CHAIN.parse().unwrap()
}

fn genesis() -> Genesis {
    let member =
        |n, name: &str, roles: &[Role]| Member { name: name.into(), key: key(n), roles: roles.into() };
    let validator = |n| Validator { member: key(n), vote_key: key(n + 1) };
    Genesis {
        chain: chain(),
        // Those of the document, written out: tuning a default changes nothing here.
        parameters: Parameters {
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
        },
        members: vec![
            member(ACME, "acme", &[Role::Validator, Role::Submitter]),
            member(BOLT, "bolt", &[Role::Validator, Role::Submitter]),
            member(CROWN, "crown", &[Role::Auditor]),
        ],
        validators: ValidatorSet::new(vec![validator(ACME), validator(BOLT)]),
        timestamp: Timestamp(CREATED),
    }
}

fn transaction(sender: u8, nonce: u64, operations: Vec<Operation>) -> Bytes {
    let expires_at = Timestamp(CREATED + 60_000);
    let transaction = Transaction { chain: chain(), sender: key(sender), nonce, expires_at, operations };
    codec::encode_bytes(&transaction.sign(&secret(sender)))
}

fn put(name: &[u8], value: &[u8], expected: Option<Version>) -> Operation {
    Operation::Put { namespace: "registry".into(), key: name.into(), value: value.into(), expected }
}

fn transfer(to: u8, amount: u128) -> Operation {
    Operation::Transfer { asset: "eur".into(), to: key(to), amount }
}

/// What the members ask for, block by block: most of it works, some of it fails.
fn requests() -> Vec<Vec<Bytes>> {
    let both = {
        let mut keys = vec![key(ACME), key(BOLT)];
        keys.sort();
        keys
    };
    vec![
        vec![
            transaction(
                ACME,
                1,
                vec![
                    Operation::CreateNamespace { namespace: "registry".into() },
                    put(b"serde", b"1.0.229", Some(Version::ABSENT)),
                    put(b"bytes", b"1.12.0", None),
                ],
            ),
            transaction(
                BOLT,
                1,
                vec![
                    Operation::CreateAsset { asset: "eur".into() },
                    Operation::Mint { asset: "eur".into(), to: key(ACME), amount: 1000 },
                ],
            ),
            transaction(BOLT, 2, vec![transfer(ACME, 1), put(b"tokio", b"1.53.0", None)]),
        ],
        vec![
            transaction(
                ACME,
                2,
                vec![
                    Operation::SetNamespaceMembers {
                        namespace: "registry".into(),
                        owners: vec![key(ACME)],
                        writers: both,
                    },
                    put(b"serde", b"1.0.230", Some(Version(Height(1)))),
                    transfer(BOLT, 250),
                ],
            ),
            transaction(BOLT, 3, vec![put(b"tokio", b"1.53.0", None), transfer(CROWN, 251)]),
        ],
        vec![
            transaction(
                BOLT,
                4,
                vec![
                    put(b"tokio", b"1.53.0", None),
                    transfer(CROWN, 50),
                    Operation::Burn { asset: "eur".into(), amount: 200 },
                    Operation::Delete {
                        namespace: "registry".into(),
                        key: b"bytes".to_vec(),
                        expected: None,
                    },
                ],
            ),
            transaction(ACME, 3, vec![put(b"serde", b"1.0.231", Some(Version(Height(1))))]),
        ],
    ]
}

struct Chain {
    ledger: Ledger<MemoryStore>,
    blocks: Vec<Committed>,
}

/// Block 3 is proposed in view 1, whose leader is bolt.
fn view_of(height: u64) -> View {
    View(u64::from(height == 3))
}

fn build() -> Chain {
    let mut ledger = Ledger::in_memory(genesis());
    let mut blocks = Vec::new();
    for (height, encoded) in (1..).zip(requests()) {
        let view = view_of(height);
        let leader = genesis().validators.leader(view);
        let mut candidates =
            encoded.into_iter().map(|bytes| verify_transaction(&chain(), bytes).expect("well formed"));
        let parent = ledger.tip().block;
        let now = Timestamp(CREATED + 1000 * height);
        let proposed = ledger.propose(parent, view, leader, now, usize::MAX, &mut candidates).unwrap();
        assert!(proposed.skipped.is_empty(), "{:?}", proposed.skipped);
        let (header, _, _) = proposed.block.unwrap();
        let committed = ledger.commit(header.hash()).unwrap();
        ledger.apply(&committed);
        blocks.push(committed);
    }
    Chain { ledger, blocks }
}

/// By both validators, in the view in which they voted.
fn certify(header: &Header, result: &BlockResult, view: View) -> Certificate {
    let commit =
        Commit { view, height: header.height, block: header.hash(), result: result.hash(&header.chain) };
    let vote = |index, n| (ValidatorIndex(index), commit.sign(&header.chain, &secret(n)));
    let certificate = Certificate { commit, signatures: vec![vote(0, ACME + 1), vote(1, BOLT + 1)] };
    assert_eq!(certificate.verify(&header.chain, &genesis().validators), Ok(()));
    certificate
}

impl Chain {
    fn block(&self, height: usize) -> &Committed {
        &self.blocks[height - 1]
    }

    /// Blocks 1 and 3 have certificates of their own, block 3 in a later view than its proposal's;
    /// block 2 is final through block 3.
    fn certificate(&self, height: usize) -> Option<Certificate> {
        let Committed { header, result, .. } = self.block(height);
        (height != 2).then(|| certify(header, result, View(if height == 3 { 2 } else { 0 })))
    }

    fn finality(&self, height: usize) -> Finality {
        let Committed { header, result, .. } = self.block(height);
        let certified = (height..).find(|height| self.certificate(*height).is_some()).unwrap();
        let finality = Finality {
            header: header.clone(),
            result: result.clone(),
            descendants: (height + 1..=certified).map(|h| self.block(h).header.clone()).collect(),
            certificate: self.certificate(certified).unwrap(),
        };
        assert_eq!(finality.verify(&chain(), &genesis().validators), Ok(()));
        finality
    }

    fn receipt(&self, height: usize, index: usize) -> Receipt {
        let block = self.block(height);
        let ids: Vec<_> = block.transactions.iter().map(|transaction| transaction.id()).collect();
        let of_ids: Vec<Hash> = ids.iter().map(|id| merkle::leaf_hash(&id.0.0)).collect();
        let records = ids.iter().zip(&block.outcomes);
        let of_outcomes: Vec<Hash> = records
            .map(|(id, outcome)| OutcomeRecord { transaction: *id, outcome: outcome.clone() }.leaf())
            .collect();
        let bytes = block.transactions[index].bytes();
        let transaction: SignedTransaction = codec::decode(bytes, 1 << 20).unwrap();
        let inclusion = Inclusion {
            index: u32::try_from(index).unwrap(),
            transaction_path: merkle::inclusion_proof(&of_ids, index).unwrap(),
            outcome: block.outcomes[index].clone(),
            outcome_path: merkle::inclusion_proof(&of_outcomes, index).unwrap(),
        };
        let receipt = Receipt { transaction, inclusion, finality: self.finality(height) };
        assert_eq!(receipt.verify(&chain(), &genesis().validators), Ok(()));
        receipt
    }

    fn as_travelling(&self, height: usize) -> Block {
        let block = self.block(height);
        Block {
            header: block.header.clone(),
            transactions: block.transactions.iter().map(|t| t.bytes().clone()).collect(),
            certificate: self.certificate(height),
        }
    }

    fn prove(&self, height: u64, key: &StateKey) -> (Option<StateValue>, StateProof) {
        let (value, proof) = read(self.ledger.store(), Height(height), key).unwrap();
        let root = self.block(usize::try_from(height).unwrap()).result.state_root;
        assert_eq!(proof.verify(&root, key), Ok(value.clone()));
        (value, proof)
    }

    /// The first key of a run that is absent from the last state with an ending of this number.
    fn absent(&self, ending: u32) -> (StateKey, StateProof) {
        (0..)
            .map(|n| {
                let key = StateKey::Entry { namespace: "registry".into(), key: format!("absent-{n}").into() };
                let (value, proof) = self.prove(3, &key);
                assert_eq!(value, None);
                (key, proof)
            })
            .find(|(_, proof)| {
                let bytes = codec::encode(proof);
                let siblings = usize::from(bytes[0]);
                bytes[8 + 32 * siblings..][..4] == ending.to_le_bytes()
            })
            .unwrap()
    }
}

fn state_keys() -> Vec<(&'static str, StateKey)> {
    vec![
        ("member", StateKey::Member(key(ACME))),
        ("namespace", StateKey::Namespace("registry".into())),
        ("entry", StateKey::Entry { namespace: "registry".into(), key: b"serde".to_vec() }),
        ("asset", StateKey::Asset("eur".into())),
        ("balance", StateKey::Balance { asset: "eur".into(), member: key(BOLT) }),
    ]
}

/// One of each kind, in the order of their numbers.
fn state_values() -> Vec<(&'static str, StateValue)> {
    let members = genesis().members;
    let namespace = Namespace { owners: vec![key(ACME)], writers: vec![] };
    let entry = Entry { version: Version(Height(2)), value: b"1.0.230".to_vec() };
    vec![
        ("member", StateValue::Member(members[0].clone())),
        ("namespace", StateValue::Namespace(namespace)),
        ("entry", StateValue::Entry(entry)),
        ("asset", StateValue::Asset(Asset { issuer: key(BOLT), supply: 1000 })),
        ("balance", StateValue::Balance(250)),
    ]
}

/// The file that the client's module `export` documents.
fn export(blocks: &[Block]) -> Vec<u8> {
    let mut file = b"quorate-export\0\0".to_vec();
    file.extend(1u32.to_le_bytes());
    file.extend(chain().0.0);
    for block in blocks {
        let encoded = codec::encode(block);
        file.extend(u32::try_from(encoded.len()).unwrap().to_le_bytes());
        file.extend(encoded);
    }
    file.extend(0u32.to_le_bytes());
    file.extend((blocks.len() as u64).to_le_bytes());
    file.extend(Hash::of(&[&file]).0);
    file
}

#[test]
fn the_story_is_the_one_intended() {
    let chain = build();
    let applied: Vec<Vec<bool>> = chain
        .blocks
        .iter()
        .map(|block| block.outcomes.iter().map(|outcome| *outcome == Outcome::Applied).collect())
        .collect();
    assert_eq!(applied, [vec![true, true, false], vec![true, false], vec![true, false]]);
}

#[test]
fn layouts_are_what_they_were() {
    let mut golden = Golden::new();
    golden.text("chain", CHAIN);
    for (name, key) in state_keys() {
        golden.hex(&format!("state_key_{name}"), codec::encode(&key));
        golden.hex(&format!("state_key_{name}_hash"), key.hash().0);
    }
    for (name, value) in state_values() {
        golden.hex(&format!("state_value_{name}"), codec::encode(&value));
    }
    let founding = founding_result(&genesis());
    golden.hex("founding_result", codec::encode(&founding));
    golden.hex("founding_result_hash", founding.hash(&chain()).0.0);

    let chain = build();
    for height in 1..=3 {
        let Committed { header, result, transactions, outcomes, .. } = chain.block(height);
        golden.hex(&format!("block_{height}"), codec::encode(&chain.as_travelling(height)));
        golden.hex(&format!("block_{height}_header"), codec::encode(header));
        golden.hex(&format!("block_{height}_hash"), header.hash().0.0);
        golden.hex(&format!("block_{height}_result"), codec::encode(result));
        golden.hex(&format!("block_{height}_result_hash"), result.hash(&header.chain).0.0);
        for (index, (transaction, outcome)) in transactions.iter().zip(outcomes).enumerate() {
            golden.hex(&format!("block_{height}_transaction_{index}_id"), transaction.id().0.0);
            golden.hex(&format!("block_{height}_transaction_{index}_outcome"), codec::encode(outcome));
        }
    }
    let history = history_proof(chain.ledger.store(), Height(1), 3).unwrap().unwrap();
    golden.hex("history_proof_of_block_1_under_block_3", codec::encode(&history));

    // A receipt of an applied transaction with the block's own certificate; of a failed one; and
    // through a descendant.
    golden.hex("receipt_own", codec::encode(&chain.receipt(1, 1)));
    golden.hex("receipt_failed", codec::encode(&chain.receipt(1, 2)));
    golden.hex("receipt_descendant", codec::encode(&chain.receipt(2, 0)));

    golden.hex("finality_of_block_3", codec::encode(&chain.finality(3)));
    let balance = StateKey::Balance { asset: "eur".into(), member: key(ACME) };
    golden.hex("proof_present_key", codec::encode(&balance));
    golden.hex("proof_present", codec::encode(&chain.prove(3, &balance).1));
    let (absent, proof) = chain.absent(1);
    golden.hex("proof_absent_empty_key", codec::encode(&absent));
    golden.hex("proof_absent_empty", codec::encode(&proof));
    let (absent, proof) = chain.absent(2);
    golden.hex("proof_absent_other_key", codec::encode(&absent));
    golden.hex("proof_absent_other", codec::encode(&proof));

    let blocks: Vec<Block> = (1..=3).map(|height| chain.as_travelling(height)).collect();
    golden.hex("export", export(&blocks));
    golden.check("chain.json");
}

/// Stated apart from the encoder: the numbers of `FORMAT.md` are those in the bytes.
#[test]
fn enums_are_numbered_as_documented() {
    for (number, (name, key)) in (0u32..).zip(state_keys()) {
        assert_eq!(codec::encode(&key)[..4], number.to_le_bytes(), "{name}");
    }
    for (number, (name, value)) in (0u32..).zip(state_values()) {
        assert_eq!(codec::encode(&value)[..4], number.to_le_bytes(), "{name}");
    }
}
