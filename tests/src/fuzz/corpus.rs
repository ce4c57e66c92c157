//! The first inputs: real objects of the known chain, and what an attacker would start from.
//!
//! [`seeds`] makes those that are kept as files, `tests/fuzz/corpus/<target>/seed-<name>`; a test holds
//! the files to it, and `QUORATE_FUZZ_CORPUS=write cargo test --release -p quorate-tests --test fuzz`
//! writes them. Other names in those directories are findings: `found-…` reached new code under
//! libFuzzer, `regression-…` once broke a promise.
//!
//! [`oversize`] makes those that are too long to be kept: at the limits, above them, and nested deeply.

use super::known::{DOCUMENT, RECEIPT_FILE, chain, member, vector};
use bytes::Bytes;
use quorate_client::protocol::{Request, Response, Submission, SubmitError, Trace};
use quorate_ledger::{Column, StateKey, StateProof, read};
use quorate_node::core::api::Guard;
use quorate_node::core::records::{inclusions, locate};
use quorate_node::core::wire::{self, PeerFrame};
use quorate_pbft::{MAX_MESSAGE_BYTES, Message, Signed};
use quorate_transport::decoders;
use quorate_types::block::Block;
use quorate_types::certificate::{Certificate, Prepare};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, Hash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::Signature;
use quorate_types::merkle;
use quorate_types::parameters::limits;
use quorate_types::receipt::Receipt;
use quorate_types::transaction::{Operation, Transaction};
use serde::Serialize;

/// An input with the target that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The target.
    pub target: &'static str,
    /// Its own name, unique within the target.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// The directory of the corpus.
pub fn directory() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[derive(Default)]
struct Seeds(Vec<Seed>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let name = name.into();
        assert!(
            self.0.iter().all(|seed| (seed.target, &seed.name) != (target, &name)),
            "{target} {name} twice"
        );
        self.0.push(Seed { target, name, bytes: bytes.into() });
    }

    fn value<T: Serialize>(&mut self, target: &'static str, name: impl Into<String>, value: &T) {
        self.add(target, name, codec::encode(value));
    }

    /// An object of each target, and the hostile forms that any encoding has.
    fn hostile(&mut self) {
        let mut first: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for seed in &self.0 {
            if first.iter().all(|(target, _)| *target != seed.target) {
                first.push((seed.target, seed.bytes.clone()));
            }
        }
        for (target, bytes) in first {
            self.add(target, "empty", []);
            self.add(target, "one-byte", [0]);
            self.add(target, "trailing-byte", [&bytes[..], &[0]].concat());
            self.add(target, "twice", bytes.repeat(2));
            self.add(target, "without-last-byte", &bytes[..bytes.len() - 1]);
            self.add(target, "half", &bytes[..bytes.len() / 2]);
            self.add(target, "all-ones", [0xff; 64]);
        }
    }
}

/// The inputs kept as files.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Seeds::default();
    transactions(&mut seeds);
    messages(&mut seeds);
    frames(&mut seeds);
    proofs(&mut seeds);
    answers(&mut seeds);
    disks(&mut seeds);
    texts(&mut seeds);
    seeds.hostile();
    bombs(&mut seeds);
    seeds.0
}

fn transactions(seeds: &mut Seeds) {
    seeds.add("transaction", "every-operation", vector("types", "transaction_of_every_operation_signed"));
    seeds.add("transaction", "two-operations", vector("types", "signed_transaction"));
    let many = |count, nonce| {
        let operation = Operation::Burn { asset: "eur".into(), amount: u128::MAX };
        let transaction = Transaction {
            chain: chain().genesis.chain,
            sender: member(1).public(),
            nonce,
            expires_at: chain().genesis.timestamp.plus_ms(60_000),
            operations: vec![operation; count],
        };
        transaction.sign(&member(1))
    };
    for count in [0, limits::OPERATIONS, limits::OPERATIONS + 1] {
        seeds.value("transaction", format!("{count}-operations"), &many(count, 5));
    }
    let put = |key: usize| Operation::Put {
        namespace: "registry".into(),
        key: vec![1; key],
        value: Vec::new(),
        expected: None,
    };
    let one = |operation| {
        let mut transaction = many(1, 7).transaction;
        transaction.operations = vec![operation];
        transaction.sign(&member(1))
    };
    for length in [0, limits::KEY_BYTES, limits::KEY_BYTES + 1] {
        seeds.value("transaction", format!("key-of-{length}"), &one(put(length)));
    }
    let asset = "a".repeat(limits::NAME_BYTES + 1);
    seeds.value("transaction", "name-of-65", &one(Operation::CreateAsset { asset }));
    let (namespace, members) = ("registry".to_owned(), vec![member(1).public(); 2]);
    let twice = Operation::SetNamespaceMembers { namespace, owners: members.clone(), writers: members };
    seeds.value("transaction", "owner-twice", &one(twice));
    seeds.value("transaction", "nothing-burnt", &one(Operation::Burn { asset: "eur".into(), amount: 0 }));
    let mut overflow = many(1, 6).transaction;
    overflow.operations = [u128::MAX, 1]
        .map(|amount| Operation::Mint { asset: "eur".into(), to: member(0).public(), amount })
        .into();
    seeds.value("transaction", "supply-overflow", &overflow.sign(&member(1)));
}

fn messages(seeds: &mut Seeds) {
    let names = [
        "pre_prepare",
        "prepare",
        "commit",
        "view_change",
        "view_change_with_certificate",
        "new_view",
        "status_active",
        "status_changing",
        "status_learning",
    ];
    for name in names {
        let bytes = vector("pbft", name);
        let frame = PeerFrame::Consensus(Bytes::from(bytes.clone()));
        seeds.add("votes_frame", name, frame.encode());
        seeds.add("message", name, bytes);
    }
    let golden = |name| codec::decode(&vector("pbft", name), MAX_MESSAGE_BYTES).expect("a golden message");
    if let Message::PrePrepare(mut signed) = golden("pre_prepare") {
        signed.statement.header.transaction_count += 1;
        seeds.value("message", "pre-prepare-of-another-count", &Message::PrePrepare(signed));
    }
    if let Message::NewView(mut signed) = golden("new_view") {
        signed.statement.view_changes.pop();
        seeds.value("message", "new-view-of-one", &Message::NewView(signed));
    }
    seeds.add("evidence", "two-votes", vector("pbft", "evidence"));
    let one = Bytes::from(vector("pbft", "prepare"));
    seeds.value("evidence", "one-vote-twice", &(one.clone(), one));
    let chain = chain();
    let prepare = Prepare { view: View(u64::MAX), height: Height(u64::MAX), block: BlockHash::default() };
    for signer in [2, u16::MAX] {
        let signed = Signed::new(prepare, &chain.genesis.chain, ValidatorIndex(signer), &member(0));
        seeds.value("message", format!("signer-{signer}"), &Message::Prepare(signed));
    }
    let certificate = vector("types", "certificate");
    seeds.add("certificate", "both", certificate.clone());
    seeds.add("prepared", "both", vector("types", "prepared_certificate"));
    let certificate: Certificate = codec::decode(&certificate, 1 << 20).expect("a golden certificate");
    let of = |signers: &[u16]| Certificate {
        commit: certificate.commit,
        signatures: signers.iter().map(|signer| (ValidatorIndex(*signer), Signature([1; 64]))).collect(),
    };
    for signers in [&[][..], &[0], &[0, 0], &[1, 0], &[0, 1, 2], &[0, 1, u16::MAX]] {
        let names: Vec<String> = signers.iter().map(u16::to_string).collect();
        seeds.value("certificate", format!("signers-{}", names.join("-")), &of(signers));
    }
}

fn frames(seeds: &mut Seeds) {
    let chain = chain();
    let id = TransactionId(Hash([7; 32]));
    let bodies = chain.blocks[0].transactions.clone();
    let header = Box::new(chain.blocks[0].header.clone());
    let ids =
        chain.outcomes.iter().filter(|(_, (height, _))| *height == Height(1)).map(|(id, _)| *id).collect();
    let blocks = chain.blocks.clone();
    let all = [
        ("transactions", PeerFrame::Transactions { hops: 1, transactions: bodies }),
        ("no-transactions", PeerFrame::Transactions { hops: 255, transactions: Vec::new() }),
        ("empty-transaction", PeerFrame::Transactions { hops: 0, transactions: vec![Bytes::new()] }),
        ("announce", PeerFrame::Announce(vec![id, id])),
        ("blocks", PeerFrame::Blocks(blocks.clone())),
        ("blocks-reversed", PeerFrame::Blocks(blocks.into_iter().rev().collect())),
        ("pull", PeerFrame::Pull(vec![id])),
        ("fetch-proposal", PeerFrame::FetchProposal(BlockHash(Hash([8; 32])))),
        ("proposal", PeerFrame::Proposal { header, ids }),
        ("fetch-blocks", PeerFrame::FetchBlocks { from: Height(0), to: Height(u64::MAX) }),
    ];
    for (name, frame) in all {
        let (right, wrong) = match frame.lane() {
            quorate_transport::Lane::Gossip => ("gossip_frame", "sync_frame"),
            _ => ("sync_frame", "gossip_frame"),
        };
        seeds.add(right, name, frame.encode());
        if matches!(name, "announce" | "pull") {
            seeds.add(wrong, name, frame.encode());
            seeds.add("votes_frame", name, frame.encode());
        }
    }
    for (number, block) in (1..).zip(&chain.blocks) {
        seeds.value("block", format!("{number}"), block);
    }
    let stream = decoders::stream(&[Bytes::new(), Bytes::from_static(b"vote"), Bytes::from(vec![7; 100])]);
    for (name, limit, piece) in [("small-pieces", 100, 0), ("large-pieces", 1 << 20, 255), ("limit", 99, 6)] {
        let head = [&u32::to_le_bytes(limit)[..], &[piece]].concat();
        seeds.add("frames", name, [&head[..], &stream].concat());
    }
    let gib = (1u32 << 30).to_le_bytes();
    seeds.add("frames", "claims-a-gibibyte", [&gib[..], &[255], &gib, &[1; 600]].concat());
    let hello = [&1u32.to_le_bytes()[..], &chain.genesis.chain.0.0].concat();
    let sender = |kind: u32, rest: &[u8]| [&hello[..], &kind.to_le_bytes(), rest].concat();
    seeds.add("hello", "validator", sender(0, &[1, 0, 9, 0, 0, 0, 0, 0, 0, 0]));
    seeds.add("hello", "client", sender(1, &[]));
    seeds.add("hello", "newer", 2u32.to_le_bytes());
    seeds.add("identity", "member", decoders::offer(&member(0).public()));
    seeds.add("identity", "small-order", [&decoders::offer(&member(0).public())[..12], &[0; 32]].concat());
}

fn proofs(seeds: &mut Seeds) {
    let leaves: Vec<Hash> = (0..9u8).map(|i| merkle::leaf_hash(&[i])).collect();
    for (size, index) in [(1, 0), (7, 4), (9, 8), (8, 7)] {
        let path = merkle::inclusion_proof(&leaves[..size], index).expect("in range");
        let claim = (merkle::root(&leaves[..size]), leaves[index], index as u64, size as u64, path);
        seeds.value("merkle", format!("leaf-{index}-of-{size}"), &claim);
    }
    for (new, old) in [(7, 3), (9, 8), (8, 4), (5, 5), (5, 0)] {
        let path = merkle::consistency_proof(&leaves[..new], old).expect("in range");
        let (root, old_root) = (merkle::root(&leaves[..new]), merkle::root(&leaves[..old]));
        seeds.value("merkle", format!("{old}-within-{new}"), &(root, old_root, old as u64, new as u64, path));
    }
    seeds.value("merkle", "leaf-0-of-0", &(Hash::ZERO, Hash::ZERO, 0u64, 0u64, merkle::Path::new()));
    let path = vec![Hash::ZERO; 64];
    seeds.value("merkle", "largest", &(Hash::ZERO, Hash::ZERO, u64::MAX - 1, u64::MAX, path));
    for name in ["proof_present", "proof_absent_empty", "proof_absent_other"] {
        seeds.add("state_proof", name, vector("chain", name));
    }
    let chain = chain();
    for (number, key) in chain.keys.iter().enumerate().step_by(3) {
        let (_, proof) = read(&chain.store, Height(2), key).expect("a sound store");
        seeds.value("state_proof", format!("of-key-{number}"), &proof);
    }
    for siblings in [256, 257] {
        let mut bytes = codec::encode(&vec![Hash::ZERO; siblings]);
        bytes.extend(1u32.to_le_bytes());
        seeds.add("state_proof", format!("{siblings}-siblings"), bytes);
    }
    for name in ["receipt_own", "receipt_failed", "receipt_descendant"] {
        seeds.add("receipt", name, vector("chain", name));
    }
    seeds.add("receipt_file", "own", RECEIPT_FILE);
    seeds.add("receipt_file", "one-line", RECEIPT_FILE.replace("\n  ", " "));
    seeds.add("receipt_file", "upper-case", RECEIPT_FILE.replace("ab", "AB"));
}

fn golden_receipt(name: &str) -> Receipt {
    codec::decode(&vector("chain", name), Receipt::MAX_BYTES).expect("a golden receipt")
}

fn answers(seeds: &mut Seeds) {
    let chain = chain();
    let id = TransactionId(Hash([7; 32]));
    let key = StateKey::Entry { namespace: "registry".into(), key: b"serde".to_vec() };
    let requests = [
        ("submit", Request::Submit),
        ("read", Request::Read { key: key.clone(), height: Some(Height(u64::MAX)) }),
        ("receipt", Request::Receipt(id)),
        ("block", Request::Block(None)),
        ("blocks", Request::Blocks { from: Height(1), follow: true }),
        ("status", Request::Status),
        ("trace", Request::Trace(id)),
    ];
    for (name, request) in requests {
        seeds.value("request", name, &request);
    }
    let transactions = chain.blocks[0].transactions.clone();
    seeds.value("submission", "transactions", &Submission { transactions });
    let receipt = golden_receipt("receipt_descendant");
    let finality = receipt.finality.clone();
    let height = finality.header.height;
    let (_, proof): (_, StateProof) = read(&chain.store, height, &key).expect("a sound store");
    let first = &chain.blocks[0];
    let ids = chain.outcomes.iter().filter(|(_, (at, _))| *at == first.header.height).map(|(id, _)| id);
    let places = ids.map(|id| (*id, locate(&chain.store, id).expect("a sound store").expect("committed").1));
    let mut places: Vec<(TransactionId, u32)> = places.collect();
    places.sort_by_key(|(_, place)| *place);
    places.pop();
    let committed = inclusions(&chain.store, first.header.height, &places).expect("a sound store");
    let blocks: Vec<Block> = chain.blocks.clone();
    let of_one = golden_receipt("receipt_own").finality;
    let trace = Trace { first_seen: Timestamp(1), from: Some(ValidatorIndex(0)), hops: 1, committed: None };
    let responses = [
        ("state", Response::State { proof, finality }),
        ("receipt", Response::Receipt(Box::new(receipt))),
        ("committed", Response::Committed(committed)),
        ("blocks", Response::Blocks { blocks: blocks.clone(), finality: None }),
        ("block", Response::Blocks { blocks: vec![blocks[0].clone()], finality: Some(Box::new(of_one)) }),
        ("refused", Response::Refused { position: u64::MAX, reason: SubmitError::Expired }),
        ("trace", Response::Trace(trace)),
        ("not-found", Response::NotFound),
        ("unavailable", Response::Unavailable("starting".into())),
    ];
    for (name, response) in responses {
        seeds.value("response", name, &response);
    }
}

fn disks(seeds: &mut Seeds) {
    let chain = chain();
    let mut seen: Vec<(Column, usize)> = Vec::new();
    for (place, (column, key, value)) in (0u16..).zip(&chain.entries) {
        // Two of each shape of key in each column are enough.
        if seen.iter().filter(|shape| **shape == (*column, key.len())).count() < 2 {
            seen.push((*column, key.len()));
            let name = format!("{}-{place}", column.name());
            seeds.add("store", name, [&place.to_le_bytes()[..], value].concat());
        }
    }
    let record = |kind: u8, column: Column, key: &[u8]| {
        let entry = chain.entries.iter().find(|(of, name, _)| *of == column && name.starts_with(key));
        let value = entry.map(|(_, _, value)| value.to_vec()).unwrap_or_default();
        [vec![kind], value].concat()
    };
    seeds.add("records", "block", record(0, Column::Blocks, &[]));
    seeds.add("records", "prepare", record(1, Column::Votes, b"prepare/"));
    seeds.add("records", "commit", record(2, Column::Votes, b"commit/"));
    seeds.add("records", "proposal", record(3, Column::Votes, b"proposal/"));
    seeds.add("records", "bodies", record(4, Column::Bodies, &[]));
    let guard = Guard { view: View(2), height: Height(5), committed: Height(4), votes: 2 };
    seeds.add("records", "guard", [vec![5], codec::encode(&guard)].concat());
    for (name, slots) in
        [("first", [Some(2), None]), ("second", [None, Some(3)]), ("both", [Some(4), Some(3)])]
    {
        seeds.add("guard", name, guard_file(slots, &guard));
    }
    seeds.add("guard", "last-sequence", guard_file([None, Some(u64::MAX)], &guard));
    let id = chain.genesis.chain;
    let marker = format!("format = 1\nchain = \"{id}\"\n");
    seeds.add("marker", "complete", marker.clone());
    seeds.add("marker", "creating", format!("{marker}state = \"creating\"\n"));
    seeds.add("marker", "newer", "format = 2\nnew = [1, 2]\n");
    seeds.add("marker", "another-chain", format!("format = 1\nchain = \"{}\"\n", Hash::ZERO));
    let export = vector("chain", "export");
    let mut claims = export.clone();
    claims[52..56].copy_from_slice(&(33u32 << 20).to_le_bytes());
    seeds.add("export", "three-blocks", export);
    seeds.add("export", "claims-33-mib", claims);
}

/// A guard file as its module documents it; its target replaces inode and time of birth.
fn guard_file(slots: [Option<u64>; 2], guard: &Guard) -> Vec<u8> {
    let mut file = vec![0u8; 4096 + 512];
    for (offset, sequence) in [0, 4096].into_iter().zip(slots) {
        let Some(sequence) = sequence else { continue };
        let mut slot = b"QRTGUARD".to_vec();
        slot.extend(sequence.to_le_bytes());
        slot.extend(1u64.to_le_bytes());
        slot.extend(chain().genesis.chain.0.0);
        for number in [guard.view.0, guard.height.0, guard.committed.0, guard.votes] {
            slot.extend(number.to_le_bytes());
        }
        slot.push(0);
        slot.extend(0u64.to_le_bytes());
        let checksum = Hash::of(&[&slot]);
        slot.extend(checksum.0);
        file[offset..offset + slot.len()].copy_from_slice(&slot);
    }
    file
}

fn texts(seeds: &mut Seeds) {
    seeds.add("genesis", "golden", DOCUMENT);
    let unsigned = DOCUMENT.split("[[signature]]").next().unwrap_or_default();
    seeds.add("genesis", "unsigned", unsigned);
    seeds.add("genesis", "members-twice", DOCUMENT.replace("[[signature]]", "[[member]]"));
    for (number, card) in chain().founding.members().iter().enumerate() {
        let document = quorate_genesis::Document::parse(DOCUMENT).expect("the golden document");
        let card = document.member(&card.name).expect("a member").to_toml();
        seeds.add("card", format!("of-member-{number}"), card);
    }
    let parameters = DOCUMENT.split("[parameters]").nth(1).and_then(|rest| rest.split('[').next());
    seeds.add("parameters", "golden", parameters.unwrap_or_default());
    seeds.add("parameters", "settings", "window=8\nmax_block_bytes = 4294967296\nwindow==\n=\n");
    let key = member(0);
    let digits = const_hex::encode(key.to_seed());
    let header = "quorate member key, version 1";
    for (name, header) in [("member", header), ("of-another-kind", "quorate vote key, version 1")] {
        seeds.add("key_file", name, format!("{header}\nsecret {digits}\npublic {}\n", key.public()));
    }
    let operations = "[{\"create_namespace\": {\"namespace\": \"crates\"}},\n \
        {\"set_namespace_members\": {\"namespace\": \"crates\", \"owners\": [\"acme\"], \"writers\": [\"acme\", \"bolt\"]}},\n \
        {\"put\": {\"namespace\": \"crates\", \"key\": \"serde\", \"value\": {\"hex\": \"00ff\"}, \"expected_version\": 0}},\n \
        {\"delete\": {\"namespace\": \"crates\", \"key\": {\"hex\": \"00ff\"}}},\n \
        {\"transfer\": {\"asset\": \"eur\", \"to\": \"bolt\", \"amount\": \"340282366920938463463374607431768211455\"}},\n \
        {\"mint\": {\"asset\": \"eur\", \"to\": \"crown\", \"amount\": 1}}, {\"burn\": {\"asset\": \"eur\", \"amount\": 5}}]\n";
    seeds.add("operations", "array", operations);
    let line = "{\"create_asset\": {\"asset\": \"eur\"}}\n";
    seeds.add("operations", "lines", line.repeat(3));
    seeds.add("operations", "too-many", format!("[{}]", vec![line.trim(); 65].join(",")));
    let listen = "127.0.0.1:26656".parse().expect("an address");
    let off = quorate_node::config::HttpAddress::Off;
    let example = quorate_node::config::example(listen, off, std::path::Path::new("keys"));
    let settings: Vec<&str> = example.lines().map(|line| line.trim_start_matches("# ")).collect();
    seeds.add("config", "example", example.clone());
    seeds.add(
        "config",
        "settings",
        settings
            .iter()
            .filter(|line| line.contains(" = "))
            .fold(String::new(), |text, line| text + line + "\n"),
    );
    let values = "256 MiB\n18446744073709551615 B\n17179869184 GiB\noff\n[::1]:80\ninfo,quorate=debug\n\
                  a=[{b=c}]=trace\njson\nnode1.acme.example:26656\n[2001:db8::7]:1\n300.1.1.1:1\n";
    seeds.add("config", "values", values);
}

/// Lists, texts and byte strings that claim more than there is, at every place where a target has one.
fn bombs(seeds: &mut Seeds) {
    let real: Vec<Seed> = seeds.0.clone();
    let binary = [
        "block",
        "certificate",
        "evidence",
        "gossip_frame",
        "merkle",
        "message",
        "prepared",
        "receipt",
        "request",
        "response",
        "state_proof",
        "submission",
        "sync_frame",
        "transaction",
        "votes_frame",
    ];
    for target in binary {
        let Some(seed) = real.iter().find(|seed| seed.target == target) else { continue };
        let is_length = |at: usize| {
            let number = seed.bytes[at..].first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
            number.is_some_and(|number| number > 0 && number <= (seed.bytes.len() - at) as u64)
        };
        for at in (0..seed.bytes.len()).filter(|at| is_length(*at)).take(6) {
            let mut bytes = seed.bytes.clone();
            bytes[at..at + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
            seeds.add(target, format!("claims-a-tebibyte-at-{at}"), bytes);
        }
    }
    for (name, start) in
        [("no-list", &[][..]), ("blocks", &[7u8, 0, 0, 0]), ("transactions", &[1, 0, 0, 0, 0])]
    {
        let claim = [start, &u64::MAX.to_le_bytes(), &[0; 8]].concat();
        seeds.add("sync_frame", format!("bomb-{name}"), claim.clone());
        seeds.add("gossip_frame", format!("bomb-{name}"), claim.clone());
        seeds.add("submission", format!("bomb-{name}"), claim);
    }
}

/// Inputs that are not kept: at the limits of what is looked at, above them, and nested deeply.
pub fn oversize() -> Vec<Seed> {
    let mut seeds = Seeds::default();
    let chain = chain();
    // The smallest elements, as many as a length allows: what costs most memory for its bytes.
    let empty = |count: usize| [&(count as u64).to_le_bytes()[..], &vec![0; 8 * count]].concat();
    let fill = |start: &[u8], limit: usize| {
        let count = (limit - start.len() - 8) / 8;
        [start, &empty(count)].concat()
    };
    seeds.add("gossip_frame", "empty-bodies", fill(&[1, 0, 0, 0, 0], wire::MAX_GOSSIP_FRAME));
    seeds.add("submission", "empty-bodies", fill(&[], quorate_client::protocol::MAX_REQUEST_BYTES));
    let header = codec::encode(&chain.blocks[0].header);
    let one_block = [&[7u8, 0, 0, 0][..], &1u64.to_le_bytes(), &header].concat();
    let mut frame = fill(&one_block, wire::MAX_SYNC_FRAME - 1);
    frame.push(0);
    seeds.add("sync_frame", "block-of-empty-bodies", frame.clone());
    seeds.add("response", "block-of-empty-bodies", {
        let mut response = [&[4u8, 0, 0, 0][..], &frame[4..]].concat();
        response.push(0);
        response
    });
    seeds.add("block", "of-empty-bodies", &frame[12..]);
    // The same of the shortest bodies that are taken for transactions, and of blocks without any.
    let body =
        [&(limits::LEAST_TRANSACTION_BYTES as u64).to_le_bytes()[..], &[0; limits::LEAST_TRANSACTION_BYTES]]
            .concat();
    let bodies = |start: &[u8], limit: usize| {
        let count = (limit - start.len() - 9) / body.len();
        [start, &(count as u64).to_le_bytes(), &body.repeat(count), &[0]].concat()
    };
    seeds.add("sync_frame", "block-of-shortest-bodies", bodies(&one_block, wire::MAX_SYNC_FRAME));
    let mut frame = bodies(&[1, 0, 0, 0, 0], wire::MAX_GOSSIP_FRAME);
    frame.pop();
    seeds.add("gossip_frame", "shortest-bodies", frame);
    let block = [&header[..], &0u64.to_le_bytes(), &[0]].concat();
    let count = (wire::MAX_SYNC_FRAME - 12) / block.len();
    let blocks = [&[7u8, 0, 0, 0][..], &(count as u64).to_le_bytes(), &block.repeat(count)].concat();
    seeds.add("sync_frame", "empty-blocks", blocks);
    let transaction = codec::encode(&transaction_of(Vec::new()));
    let name = codec::encode(&Operation::CreateNamespace { namespace: String::new() });
    let room = limits::TRANSACTION_BYTES - transaction.len();
    let mut bytes = transaction[..transaction.len() - 8].to_vec();
    bytes.extend(((room / name.len()) as u64).to_le_bytes());
    bytes.extend(name.repeat(room / name.len()));
    bytes.extend([0; 64]);
    bytes.truncate(limits::TRANSACTION_BYTES);
    seeds.add("transaction", "smallest-operations", bytes);
    let largest = Operation::Put {
        namespace: "registry".into(),
        key: vec![1; limits::KEY_BYTES],
        value: vec![2; limits::VALUE_BYTES],
        expected: None,
    };
    let signed = transaction_of(vec![largest.clone()]).sign(&member(0));
    seeds.value("transaction", "largest-value", &signed);
    let mut larger = transaction_of(vec![largest.clone()]);
    if let [Operation::Put { value, .. }] = &mut larger.operations[..] {
        value.push(2);
    }
    seeds.value("transaction", "larger-value", &larger.sign(&member(0)));
    let signed = transaction_of(vec![largest.clone(), largest]).sign(&member(0));
    seeds.value("transaction", "over-the-limit", &signed);
    over_the_limits(&mut seeds);
    deep(&mut seeds);
    seeds.0
}

fn transaction_of(operations: Vec<Operation>) -> Transaction {
    Transaction {
        chain: chain().genesis.chain,
        sender: member(0).public(),
        nonce: 1,
        expires_at: chain().genesis.timestamp.plus_ms(60_000),
        operations,
    }
}

/// Values that encode well, and to more than may be looked at.
fn over_the_limits(seeds: &mut Seeds) {
    let ids = |bytes: usize| vec![TransactionId::default(); bytes / 32 + 1];
    seeds.value("gossip_frame", "over-the-limit", &PeerFrame::Announce(ids(wire::MAX_GOSSIP_FRAME)));
    seeds.value("gossip_frame", "too-many-ids", &PeerFrame::Announce(ids(32 * wire::MAX_IDS)));
    seeds.value("sync_frame", "over-the-limit", &PeerFrame::Pull(ids(wire::MAX_SYNC_FRAME)));
    let message = Bytes::from(vec![0; MAX_MESSAGE_BYTES + 1]);
    seeds.add("message", "over-the-limit", message.clone());
    seeds.value("votes_frame", "message-over-the-limit", &PeerFrame::Consensus(message));
    let empty = Bytes::from(vec![0; wire::MAX_VOTES_FRAME]);
    seeds.value("votes_frame", "over-the-limit", &PeerFrame::Consensus(empty));
    let key = StateKey::Namespace("x".repeat(quorate_client::protocol::MAX_REQUEST_BYTES));
    seeds.value("request", "over-the-limit", &Request::Read { key, height: None });
    seeds.add("hello", "over-the-limit", [&1u32.to_le_bytes()[..], &[0; 400]].concat());
    seeds.add("identity", "over-the-limit", decoders::offer(&member(0).public()).repeat(1000));
}

/// Texts that recurse.
fn deep(seeds: &mut Seeds) {
    const DEPTH: usize = 50_000;
    let texts = [
        ("arrays", format!("a = {}{}", "[".repeat(DEPTH), "]".repeat(DEPTH))),
        ("open-arrays", format!("a = {}", "[".repeat(DEPTH))),
        ("inline-tables", format!("a = {}1{}", "{a = ".repeat(DEPTH), "}".repeat(DEPTH))),
        ("dotted-key", format!("{}a = 1", "a.".repeat(DEPTH))),
        ("dotted-header", format!("[{}a]\nb = 1", "a.".repeat(DEPTH))),
        ("dotted-list-header", format!("[[{}a]]\nb = 1", "a.".repeat(DEPTH))),
        ("inline-dotted-key", format!("a = {{ {}a = 1 }}", "a.".repeat(DEPTH))),
        ("many-keys", (0..DEPTH).map(|n| format!("k{n}=0\n")).collect()),
        ("many-tables", (0..DEPTH).map(|n| format!("[t{n}]\n")).collect()),
        ("many-members", "[[member]]\n".repeat(DEPTH)),
        ("many-numbers", format!("a=[{}]", "0,".repeat(DEPTH))),
    ];
    for target in ["genesis", "card", "parameters", "config", "marker"] {
        for (name, text) in &texts {
            seeds.add(target, format!("deep-{name}"), text.clone());
        }
    }
    let json = [
        ("arrays", "[".repeat(DEPTH)),
        ("objects", "{\"put\":".repeat(DEPTH)),
        ("operations", format!("[{}]", vec!["{\"create_asset\":{\"asset\":\"\"}}"; DEPTH].join(","))),
        ("owners", {
            let owners = vec!["\"\""; DEPTH].join(",");
            format!(
                "{{\"set_namespace_members\":{{\"namespace\":\"a\",\"owners\":[{owners}],\"writers\":[]}}}}"
            )
        }),
    ];
    for (name, text) in json {
        seeds.add("operations", format!("deep-{name}"), text.clone());
        seeds.add("receipt_file", format!("deep-{name}"), text);
    }
}
