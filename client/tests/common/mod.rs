//! A consortium of four validators and a member that only submits, and a chain that it really could
//! have made: proposed and executed by the ledger, certified with the validators' keys.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a failed step is the test's finding")]

pub mod node;

use quorate_client::verify::Anchor;
use quorate_genesis::keys::ValidatorKeys;
use quorate_genesis::{Card, CardFile, Document, Founding, MemberKeys};
use quorate_ledger::{Ledger, MemoryStore, StateKey, StateProof};
use quorate_types::block::{Block, BlockResult, Header};
use quorate_types::certificate::{Certificate, Commit};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::SecretKey;
use quorate_types::member::Role;
use quorate_types::outcome::{Outcome, OutcomeRecord};
use quorate_types::parameters::Parameters;
use quorate_types::receipt::{BlockTrees, Finality, Inclusion, Inclusions, Place, Receipt};
use quorate_types::transaction::{
    Operation, SignedTransaction, Transaction, VerifiedTransaction, verify_transaction,
};
use std::sync::Arc;

pub const CREATED: Timestamp = Timestamp(1_800_000_000_000);

/// Ascending, as the genesis document has them; the last is no validator.
pub const NAMES: [&str; 5] = ["acme", "bolt", "crown", "dune", "shop"];

pub fn keys(index: usize) -> MemberKeys {
    let key = |kind: u8| SecretKey::from_seed(&[u8::try_from(index).unwrap() * 8 + kind + 1; 32]);
    let validator = (index < 4).then(|| ValidatorKeys { vote: key(1), transport: key(2) });
    MemberKeys { member: key(0), validator }
}

pub struct Consortium {
    pub founding: Arc<Founding>,
    pub genesis_toml: String,
}

impl Consortium {
    /// With validators at these ports of the loopback.
    pub fn at(ports: [u16; 4], created: Timestamp) -> Consortium {
        let cards = NAMES.iter().enumerate().map(|(index, name)| {
            let roles: &[Role] =
                if index < 4 { &[Role::Validator, Role::Submitter] } else { &[Role::Submitter] };
            let address = ports.get(index).map(|port| format!("127.0.0.1:{port}").parse().unwrap());
            let card = Card::export(&keys(index), name, roles, address).unwrap();
            CardFile::parse(&card.to_toml(), "card.toml").unwrap()
        });
        let mut document =
            Document::assemble("test", created, Parameters::default(), cards.collect()).unwrap();
        for index in 0..4 {
            document.sign(&keys(index)).unwrap();
        }
        let founding = Arc::new(document.finalised().unwrap());
        Consortium { founding, genesis_toml: document.to_toml() }
    }

    pub fn new() -> Consortium {
        Consortium::at([26656, 26657, 26658, 26659], CREATED)
    }

    pub fn anchor(&self) -> Anchor {
        Anchor::of(&self.founding)
    }

    /// A transaction of `NAMES[sender]`.
    pub fn transaction(
        &self,
        sender: usize,
        nonce: u64,
        expires_at: Timestamp,
        operations: Vec<Operation>,
    ) -> SignedTransaction {
        let key = keys(sender).member;
        let transaction =
            Transaction { chain: self.founding.chain(), sender: key.public(), nonce, expires_at, operations };
        transaction.sign(&key)
    }

    pub fn verified(&self, signed: &SignedTransaction) -> VerifiedTransaction {
        verify_transaction(&self.founding.chain(), codec::encode_bytes(signed)).unwrap()
    }

    /// A certificate by these validators.
    pub fn certificate(&self, header: &Header, result: ResultHash, signers: &[u16]) -> Certificate {
        let chain = self.founding.chain();
        let commit = Commit { view: header.view, height: header.height, block: header.hash(), result };
        let sign = |index: &u16| {
            let vote = keys(usize::from(*index)).validator.unwrap().vote;
            (ValidatorIndex(*index), commit.sign(&chain, &vote))
        };
        Certificate { commit, signatures: signers.iter().map(sign).collect() }
    }
}

/// What is known of a committed block.
#[derive(Clone)]
pub struct Made {
    pub block: Block,
    pub hash: BlockHash,
    pub result: BlockResult,
    pub ids: Vec<TransactionId>,
    pub outcomes: Vec<Outcome>,
}

pub struct Chain {
    pub consortium: Consortium,
    ledger: Ledger<MemoryStore>,
    /// What the ledger wrote, for proofs. The ledger itself reads from memory.
    store: MemoryStore,
    pub made: Vec<Made>,
    nonce: u64,
}

impl Chain {
    pub fn new(consortium: Consortium) -> Chain {
        let (ledger, writes) =
            Ledger::open(MemoryStore::new(), consortium.founding.ledger_genesis()).unwrap();
        let mut store = MemoryStore::new();
        store.apply(&writes);
        Chain { consortium, ledger, store, made: Vec::new(), nonce: 0 }
    }

    pub fn height(&self) -> Height {
        self.ledger.tip().height
    }

    /// The height of the last block that has a certificate.
    pub fn final_height(&self) -> u64 {
        let certified = self.made.iter().rposition(|made| made.block.certificate.is_some());
        certified.map_or(0, |index| index as u64 + 1)
    }

    /// Signed by the member that only submits, unless said otherwise.
    pub fn transaction(&mut self, operations: Vec<Operation>) -> VerifiedTransaction {
        self.nonce += 1;
        let expires_at = self.ledger.tip().timestamp.plus_ms(100_000);
        let signed = self.consortium.transaction(4, self.nonce, expires_at, operations);
        self.consortium.verified(&signed)
    }

    /// Commits a block; with a certificate of its own, or leaving that to a later block.
    pub fn commit(&mut self, transactions: Vec<VerifiedTransaction>, certified: bool) -> &Made {
        let now = self.ledger.tip().timestamp.plus_ms(10);
        self.commit_at(transactions, certified, now)
    }

    pub fn commit_at(
        &mut self,
        transactions: Vec<VerifiedTransaction>,
        certified: bool,
        now: Timestamp,
    ) -> &Made {
        let tip = self.ledger.tip();
        let view = View(tip.height.0 / 3);
        let proposer = self.consortium.founding.validators().leader(view);
        let proposed = self
            .ledger
            .propose(tip.block, view, proposer, now, usize::MAX, &mut transactions.into_iter())
            .unwrap();
        assert!(proposed.skipped.is_empty(), "{:?}", proposed.skipped);
        let (header, transactions, result_hash) = proposed.block.unwrap();
        let committed = self.ledger.commit(header.hash()).unwrap();
        self.store.apply(&committed.writes);
        let signers: &[u16] = if header.height.0 % 2 == 0 { &[0, 1, 3] } else { &[0, 1, 2, 3] };
        let certificate = certified.then(|| self.consortium.certificate(&header, result_hash, signers));
        let made = Made {
            hash: header.hash(),
            ids: transactions.iter().map(VerifiedTransaction::id).collect(),
            block: Block {
                header,
                transactions: transactions.iter().map(|t| t.bytes().clone()).collect(),
                certificate,
            },
            result: committed.result,
            outcomes: committed.outcomes,
        };
        self.made.push(made);
        self.made.last().unwrap()
    }

    pub fn made(&self, height: u64) -> &Made {
        &self.made[usize::try_from(height).unwrap() - 1]
    }

    pub fn blocks(&self) -> Vec<Block> {
        self.made.iter().map(|made| made.block.clone()).collect()
    }

    /// By the block's own certificate or a descendant's.
    pub fn finality(&self, height: u64) -> Finality {
        let made = self.made(height);
        let rest = &self.made[usize::try_from(height).unwrap() - 1..];
        let certified = rest.iter().position(|made| made.block.certificate.is_some()).unwrap();
        Finality {
            header: made.block.header.clone(),
            result: made.result.clone(),
            descendants: rest[1..=certified].iter().map(|made| made.block.header.clone()).collect(),
            certificate: rest[certified].block.certificate.clone().unwrap(),
        }
    }

    pub fn inclusions(&self, height: u64, indexes: &[usize]) -> Inclusions {
        let made = self.made(height);
        let place = |index: &usize| Place {
            index: u32::try_from(*index).unwrap(),
            record: OutcomeRecord { transaction: made.ids[*index], outcome: made.outcomes[*index].clone() },
        };
        BlockTrees::new(&made.ids, &made.outcomes).inclusions(indexes.iter().map(place).collect()).unwrap()
    }

    pub fn inclusion(&self, height: u64, index: usize) -> Inclusion {
        self.inclusions(height, &[index]).only().unwrap().1
    }

    pub fn receipt(&self, height: u64, index: usize) -> Receipt {
        let bytes = &self.made(height).block.transactions[index];
        Receipt {
            transaction: codec::decode(bytes, 1 << 20).unwrap(),
            inclusion: self.inclusion(height, index),
            finality: self.finality(height),
        }
    }

    /// Height and index of a transaction.
    pub fn locate(&self, id: &TransactionId) -> Option<(u64, usize)> {
        self.made.iter().find_map(|made| {
            let index = made.ids.iter().position(|known| known == id)?;
            Some((made.block.header.height.0, index))
        })
    }

    pub fn proof(&self, height: u64, key: &StateKey) -> StateProof {
        quorate_ledger::read(&self.store, Height(height), key).unwrap().1
    }
}

pub fn put(namespace: &str, key: &str, value: &str) -> Operation {
    Operation::Put {
        namespace: namespace.to_owned(),
        key: key.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
        expected: None,
    }
}

pub fn entry(namespace: &str, key: &str) -> StateKey {
    StateKey::Entry { namespace: namespace.to_owned(), key: key.as_bytes().to_vec() }
}

/// Eight blocks: a namespace, puts, a failing transaction, an asset. Blocks 4 and 5 are certified by
/// block 6 only.
pub fn eight_blocks() -> Chain {
    let mut chain = Chain::new(Consortium::new());
    let first = chain.transaction(vec![Operation::CreateNamespace { namespace: "crates".to_owned() }]);
    chain.commit(vec![first], true);
    for height in 2..=8u64 {
        let mut transactions = Vec::new();
        for n in 0..height {
            let value = format!("value {n} of block {height}");
            transactions.push(chain.transaction(vec![put("crates", &format!("key-{n}"), &value)]));
        }
        if height == 3 {
            transactions.push(chain.transaction(vec![put("nowhere", "key", "value")]));
        }
        chain.commit(transactions, height != 4 && height != 5);
    }
    chain
}
