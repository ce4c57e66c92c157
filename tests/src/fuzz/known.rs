//! The chain that inputs are judged by: that of the golden vectors, executed once, and a block of many keys
//! more, so that the state has pages of both kinds.
//!
//! Its founding document, blocks and messages are those under `tests/vectors/golden`; the seeds of its
//! keys are written there too, so that a target can sign in anyone's name.

use bytes::Bytes;
use quorate_client::verify::Anchor;
use quorate_genesis::{Document, Founding};
use quorate_ledger::{Column, Committed, Genesis, Ledger, MemoryStore, StateKey, StateValue, Store, Write};
use quorate_node::core::records::{BlockRecord, CommitRecord, PrepareRecord, ProposalRecord};
use quorate_pbft::Committee;
use quorate_types::block::{Block, Header};
use quorate_types::certificate::{Certificate, Commit, Prepare, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::{PublicKey, SecretKey, Signature};
use quorate_types::outcome::Outcome;
use quorate_types::transaction::{
    Operation, SignedTransaction, Transaction, VerifiedTransaction, verify_transaction,
};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The founding document.
pub const DOCUMENT: &str = include_str!("../../vectors/golden/genesis.toml");

/// A receipt file.
pub const RECEIPT_FILE: &str = include_str!("../../vectors/golden/receipt.json");

/// The seeds of the members' keys: acme, bolt and crown.
const MEMBERS: [u8; 3] = [3, 6, 9];

/// The seeds of the validators' vote keys: acme and bolt.
const VOTERS: [u8; 2] = [4, 7];

/// The view of what is not golden.
const VIEW: View = View(2);

/// A file of golden vectors: bytes by name.
type Vectors = BTreeMap<String, String>;

static VECTORS: LazyLock<BTreeMap<&str, Vectors>> = LazyLock::new(|| {
    let files = [
        ("types", include_str!("../../vectors/golden/types.json")),
        ("chain", include_str!("../../vectors/golden/chain.json")),
        ("pbft", include_str!("../../vectors/golden/pbft.json")),
        ("genesis", include_str!("../../vectors/golden/genesis.json")),
    ];
    files.map(|(name, text)| (name, serde_json::from_str(text).expect("golden vectors are JSON"))).into()
});

/// The bytes of a golden vector.
///
/// # Panics
/// If there is none of that name.
pub fn vector(file: &str, name: &str) -> Vec<u8> {
    let digits = VECTORS.get(file).and_then(|file| file.get(name));
    let digits = digits.unwrap_or_else(|| panic!("there is no golden vector {name} in {file}"));
    const_hex::decode(digits).expect("golden vectors are hexadecimal")
}

/// The known chain, with all that was ever true of it.
pub struct Chain {
    /// The founding, verified.
    pub founding: Founding,
    /// The same, as the ledger takes it.
    pub genesis: Genesis,
    /// The same, as the replica takes it.
    pub committee: Committee,
    /// The same, as the client takes it.
    pub anchor: Anchor,
    /// The blocks, from height 1, as they travel.
    pub blocks: Vec<Block>,
    /// The store of a validator that committed all of them and has voted on one more.
    pub store: MemoryStore,
    /// Every entry of that store.
    pub entries: Vec<(Column, Vec<u8>, Bytes)>,
    /// Where each transaction stands, and what came of it.
    pub outcomes: BTreeMap<TransactionId, (Height, Outcome)>,
    /// Keys to ask for, some of them absent.
    pub keys: Vec<StateKey>,
    /// What each holds after each height.
    pub values: BTreeMap<(Height, StateKey), Option<StateValue>>,
}

static CHAIN: LazyLock<Chain> = LazyLock::new(build);

/// The known chain; the first call executes it.
pub fn chain() -> &'static Chain {
    &CHAIN
}

/// The vote key of a validator; for an index that none has, somebody's.
pub fn vote_key(index: ValidatorIndex) -> SecretKey {
    let voter = VOTERS.get(index.as_usize()).copied().unwrap_or(VOTERS[0]);
    SecretKey::from_seed(&[voter; 32])
}

/// The secret key of a member, if it is one.
pub fn member_key(key: &PublicKey) -> Option<SecretKey> {
    MEMBERS.map(|seed| SecretKey::from_seed(&[seed; 32])).into_iter().find(|secret| secret.public() == *key)
}

/// The key of a member by its place: acme, bolt, crown.
pub fn member(place: usize) -> SecretKey {
    SecretKey::from_seed(&[MEMBERS[place % MEMBERS.len()]; 32])
}

/// Signatures of every validator.
pub fn by_all(sign: impl Fn(&SecretKey) -> Signature) -> Vec<(ValidatorIndex, Signature)> {
    (0..).map(ValidatorIndex).take(VOTERS.len()).map(|index| (index, sign(&vote_key(index)))).collect()
}

impl Chain {
    /// The hash of the block at a height, if there is one.
    pub fn block(&self, height: Height) -> Option<BlockHash> {
        self.blocks.iter().find(|block| block.header.height == height).map(|block| block.header.hash())
    }

    /// Asserts that nothing but the truth was proven about a key.
    ///
    /// # Panics
    /// If it was.
    pub fn assert_value(&self, height: Height, key: &StateKey, value: Option<&StateValue>) {
        let known = self.values.get(&(height, key.clone()));
        assert_eq!(known.map(Option::as_ref), Some(value), "{key:?} at height {height}");
    }

    /// Asserts that nothing but the truth was proven about a transaction.
    ///
    /// # Panics
    /// If it was.
    pub fn assert_outcome(&self, id: TransactionId, height: Height, outcome: &Outcome) {
        assert_eq!(self.outcomes.get(&id), Some(&(height, outcome.clone())), "transaction {id}");
    }
}

fn keys(genesis: &Genesis) -> Vec<StateKey> {
    let entry = |key: &str| StateKey::Entry { namespace: "registry".into(), key: key.into() };
    let mut keys: Vec<StateKey> = genesis.members.iter().map(|member| StateKey::Member(member.key)).collect();
    keys.extend(genesis.members.iter().map(|m| StateKey::Balance { asset: "eur".into(), member: m.key }));
    keys.extend(["serde", "bytes", "tokio", "none", "absent-0", "absent-1", "wide-0", "wide-39"].map(entry));
    for name in ["chain", "proof_present_key", "proof_absent_empty_key", "proof_absent_other_key"] {
        keys.extend(codec::decode::<StateKey>(&vector("chain", name), 1 << 10).ok());
    }
    keys.extend([StateKey::Namespace("registry".into()), StateKey::Asset("eur".into())]);
    keys.extend([StateKey::Namespace("none".into()), StateKey::Asset("none".into())]);
    keys
}

fn build() -> Chain {
    let document = Document::parse(DOCUMENT).expect("the golden document keeps the rules");
    let founding = document.finalised().expect("the golden document is signed");
    let genesis = founding.ledger_genesis();
    let mut ledger = Ledger::in_memory(genesis.clone());
    let mut blocks = Vec::new();
    let mut node = Vec::new();
    let mut outcomes = BTreeMap::new();
    for number in 1..=3 {
        let bytes = vector("chain", &format!("block_{number}"));
        let block: Block = codec::decode(&bytes, 1 << 20).expect("a golden block");
        let bodies = block.transactions.iter().cloned();
        let bodies: Vec<_> = bodies
            .map(|bytes| verify_transaction(&genesis.chain, bytes).expect("a golden transaction"))
            .collect();
        let committed = ledger.extend(&block.header, &bodies).expect("a golden block holds");
        let height = committed.header.height;
        let of_each = committed.transactions.iter().zip(&committed.outcomes);
        outcomes.extend(of_each.map(|(body, outcome)| (body.id(), (height, outcome.clone()))));
        node.extend(committed_records(&block, &committed));
        blocks.push(block);
    }
    let (block, bodies) = wide_block(&mut ledger);
    let committed = ledger.extend(&block.header, &bodies).expect("a block as proposed");
    outcomes.insert(bodies[0].id(), (committed.header.height, committed.outcomes[0].clone()));
    node.extend(committed_records(&block, &committed));
    blocks.push(block);
    node.extend(voted_records(&mut ledger));
    let mut store = ledger.store().clone();
    store.apply(&node);
    let keys = keys(&genesis);
    let mut values = BTreeMap::new();
    for height in (0..).map(Height).take(1 + blocks.len()) {
        for key in &keys {
            let (value, _) = quorate_ledger::read(&store, height, key).expect("a sound store");
            values.insert((height, key.clone()), value);
        }
    }
    let of_column = |column: Column| {
        let entries = store.range(column, &[], &[0xff; 64], usize::MAX).expect("a store in memory");
        entries.into_iter().map(move |(key, value)| (column, key, value))
    };
    let entries = Column::ALL.into_iter().flat_map(of_column).collect();
    let committee = Committee {
        chain: genesis.chain,
        validators: genesis.validators.clone(),
        window: genesis.parameters.window,
    };
    let anchor = Anchor::of(&founding);
    Chain { founding, genesis, committee, anchor, blocks, store, entries, outcomes, keys, values }
}

/// What a node keeps of a committed block beside the ledger's own entries; the key table is that of
/// `quorate_node::core::records`.
fn committed_records(block: &Block, committed: &Committed) -> Vec<Write> {
    let Committed { header, result, transactions, outcomes, .. } = committed;
    let height = header.height.0.to_be_bytes();
    let ids: Vec<TransactionId> = transactions.iter().map(|body| body.id()).collect();
    let mut writes: Vec<Write> = (0u32..)
        .zip(&ids)
        .map(|(position, id)| {
            let place = [&height[..], &position.to_be_bytes()].concat();
            Write::put(Column::Transactions, id.0.0, place)
        })
        .collect();
    let record =
        BlockRecord { header: header.clone(), ids, outcomes: outcomes.clone(), result: result.clone() };
    let bodies = [&height[..], &header.hash().0.0].concat();
    writes.push(Write::put(Column::Blocks, height, codec::encode(&record)));
    writes.push(Write::put(Column::Bodies, bodies, codec::encode(&block.transactions)));
    if let Some(certificate) = &block.certificate {
        writes.push(Write::put(Column::Certificates, height, codec::encode(certificate)));
    }
    writes.push(Write::put(Column::Meta, *b"node/committed", codec::encode(&header.height)));
    writes
}

/// The leader of view 2 proposes one transaction of acme on the tip.
fn propose(
    ledger: &mut Ledger<MemoryStore>,
    nonce: u64,
    operations: Vec<Operation>,
) -> (Header, Vec<VerifiedTransaction>, ResultHash) {
    let tip = ledger.tip();
    let sender = member(0);
    let chain = ledger.genesis().chain;
    let expires_at = tip.timestamp.plus_ms(1000);
    let transaction = Transaction { chain, sender: sender.public(), nonce, expires_at, operations };
    let bytes = codec::encode_bytes(&transaction.sign(&sender));
    let body = verify_transaction(&chain, bytes).expect("well formed");
    let leader = ledger.genesis().validators.leader(VIEW);
    let candidates = &mut [body].into_iter();
    let proposed = ledger.propose(tip.block, VIEW, leader, tip.timestamp.plus_ms(1), usize::MAX, candidates);
    proposed.expect("the leader proposes on the tip").block.expect("a transaction that may stand in a block")
}

/// A block that makes more keys than one page of the state takes.
fn wide_block(ledger: &mut Ledger<MemoryStore>) -> (Block, Vec<VerifiedTransaction>) {
    let put = |number: u32| Operation::Put {
        namespace: "registry".into(),
        key: format!("wide-{number}").into(),
        value: number.to_le_bytes().into(),
        expected: None,
    };
    let (header, bodies, result) = propose(ledger, 8, (0..40).map(put).collect());
    let commit = Commit { view: VIEW, height: header.height, block: header.hash(), result };
    let signatures = by_all(|key| commit.sign(&header.chain, key));
    let transactions = bodies.iter().map(|body| body.bytes().clone()).collect();
    (Block { header, transactions, certificate: Some(Certificate { commit, signatures }) }, bodies)
}

/// What the first validator keeps after it has voted Prepare and Commit on one more block, and has seen two
/// contradicting votes.
fn voted_records(ledger: &mut Ledger<MemoryStore>) -> Vec<Write> {
    let (tip, view) = (ledger.tip(), VIEW);
    let operations = vec![Operation::CreateNamespace { namespace: "voted".into() }];
    let (header, bodies, result) = propose(ledger, 9, operations);
    let (chain, height, block) = (header.chain, header.height, header.hash());
    let bytes: Vec<Bytes> = bodies.iter().map(|body| body.bytes().clone()).collect();
    let ids = bodies.iter().map(|body| body.id()).collect();
    let prepare = Prepare { view, height, block };
    let prepared = PreparedCertificate {
        header: header.clone(),
        view,
        signatures: by_all(|key| prepare.sign(&chain, key)),
    };
    let commit = Commit { view, height, block, result };
    let at = |prefix: &str| [prefix.as_bytes(), &height.0.to_be_bytes()].concat();
    let vote = |key: Vec<u8>, value: Vec<u8>| Write::put(Column::Votes, key, value);
    vec![
        vote(b"guard".to_vec(), codec::encode(&(view, height, tip.height, 2u64))),
        vote(b"view".to_vec(), vector("pbft", "view_change")),
        vote(at("prepare/"), codec::encode(&PrepareRecord { view, block })),
        vote(at("commit/"), codec::encode(&CommitRecord { commit, prepared })),
        vote([at("proposal/"), block.0.0.to_vec()].concat(), codec::encode(&ProposalRecord { header, ids })),
        Write::put(Column::Bodies, [&height.0.to_be_bytes()[..], &block.0.0].concat(), codec::encode(&bytes)),
        Write::put(Column::Evidence, 0u64.to_be_bytes(), vector("pbft", "evidence")),
    ]
}

/// Puts the signatures of those it names under a certificate, so that only what it says is in question.
pub fn endorse(certificate: &mut Certificate) {
    let chain = chain().genesis.chain;
    for (signer, signature) in &mut certificate.signatures {
        *signature = certificate.commit.sign(&chain, &vote_key(*signer));
    }
}

/// The same for a prepared certificate.
pub fn endorse_prepared(certificate: &mut PreparedCertificate) {
    let chain = chain().genesis.chain;
    let prepare = certificate.prepare();
    for (signer, signature) in &mut certificate.signatures {
        *signature = prepare.sign(&chain, &vote_key(*signer));
    }
}

/// The transaction as its sender would sign it; acme's, if the sender is unknown.
pub fn resign(mut transaction: Transaction) -> SignedTransaction {
    let key = member_key(&transaction.sender).unwrap_or_else(|| member(0));
    transaction.sender = key.public();
    transaction.chain = chain().genesis.chain;
    transaction.sign(&key)
}

/// A time at which the known chain would take a block that holds a transaction of this expiry.
pub fn time_for(expires_at: Timestamp, parent: &Header) -> Timestamp {
    expires_at.max(parent.timestamp).min(parent.timestamp.plus_ms(60_000))
}
