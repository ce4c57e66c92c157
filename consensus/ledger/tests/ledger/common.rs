//! A small consortium in memory.

use quorate_ledger::{Committed, Genesis, Ledger, MemoryStore, StateKey, StateValue, Store};
use quorate_types::block::{Header, transactions_root};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash};
use quorate_types::ids::{Timestamp, ValidatorIndex, View};
use quorate_types::keys::{PublicKey, SecretKey};
use quorate_types::member::{Member, Role};
use quorate_types::outcome::Outcome;
use quorate_types::parameters::Parameters;
use quorate_types::transaction::{Operation, Transaction, VerifiedTransaction, Version, verify_transaction};
use quorate_types::validators::{Validator, ValidatorSet};

/// The founding time, in milliseconds.
pub(crate) const START: u64 = 1_000_000;

/// Members 0 to 2 submit, 3 audits, 4 runs a validator and does not submit.
pub(crate) const ALICE: u8 = 0;
pub(crate) const BOB: u8 = 1;
pub(crate) const CAROL: u8 = 2;
pub(crate) const AUDITOR: u8 = 3;
pub(crate) const OPERATOR: u8 = 4;
/// No member.
pub(crate) const STRANGER: u8 = 9;

pub(crate) fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n + 1; 32])
}

pub(crate) fn key(n: u8) -> PublicKey {
    secret(n).public()
}

/// The keys of these members, in the order lists require.
pub(crate) fn keys(members: &[u8]) -> Vec<PublicKey> {
    let mut keys: Vec<PublicKey> = members.iter().map(|n| key(*n)).collect();
    keys.sort();
    keys
}

pub(crate) fn genesis() -> Genesis {
    genesis_of(Parameters::default())
}

pub(crate) fn genesis_of(parameters: Parameters) -> Genesis {
    let member =
        |n: u8, roles: &[Role]| Member { name: format!("member-{n}"), key: key(n), roles: roles.to_vec() };
    let validator = |n: u8| Validator { member: key(n), vote_key: key(100 + n) };
    Genesis {
        chain: ChainId(Hash([0xcc; 32])),
        parameters,
        members: vec![
            member(ALICE, &[Role::Validator, Role::Submitter]),
            member(BOB, &[Role::Submitter]),
            member(CAROL, &[Role::Submitter]),
            member(AUDITOR, &[Role::Auditor]),
            member(OPERATOR, &[Role::Validator]),
        ],
        validators: ValidatorSet::new(vec![validator(ALICE), validator(OPERATOR)]),
        timestamp: Timestamp(START),
    }
}

/// A transaction that expires `expires_in` milliseconds after the founding.
pub(crate) fn transaction_until(
    sender: u8,
    nonce: u64,
    expires_in: u64,
    operations: Vec<Operation>,
) -> VerifiedTransaction {
    let chain = genesis().chain;
    let expires_at = Timestamp(START + expires_in);
    let signed =
        Transaction { chain, sender: key(sender), nonce, expires_at, operations }.sign(&secret(sender));
    verify_transaction(&chain, codec::encode_bytes(&signed)).expect("well formed")
}

pub(crate) fn transaction(sender: u8, nonce: u64, operations: Vec<Operation>) -> VerifiedTransaction {
    transaction_until(sender, nonce, 60_000, operations)
}

/// The header that an honest leader of view 0 makes on the ledger's tip.
pub(crate) fn header_on_tip<S: Store>(
    ledger: &Ledger<S>,
    transactions: &[VerifiedTransaction],
    time: u64,
) -> Header {
    let mut scratch = Ledger::in_memory(ledger.genesis().clone());
    let tip = ledger.tip();
    let mut header = scratch
        .propose(
            scratch.tip().block,
            View(0),
            ValidatorIndex(0),
            Timestamp(START),
            usize::MAX,
            &mut std::iter::once(transaction(ALICE, u64::MAX, vec![create_asset("x")])),
        )
        .expect("a proposal on nothing")
        .block
        .expect("one transaction fits")
        .0;
    header.height = tip.height.next();
    header.timestamp = Timestamp(time);
    header.parent = tip.block;
    header.parent_result = tip.result;
    let ids: Vec<_> = transactions.iter().map(VerifiedTransaction::id).collect();
    header.transactions_root = transactions_root(&ids);
    header.transaction_count = u32::try_from(transactions.len()).expect("few");
    header
}

/// Proposes on `parent` as the leader of view 0; the block's hash.
pub(crate) fn propose<S: Store>(
    ledger: &mut Ledger<S>,
    parent: BlockHash,
    transactions: Vec<VerifiedTransaction>,
) -> BlockHash {
    let count = transactions.len();
    let now = Timestamp(START);
    let proposed = ledger
        .propose(parent, View(0), ValidatorIndex(0), now, usize::MAX, &mut transactions.into_iter())
        .expect("proposes");
    assert_eq!(proposed.skipped, []);
    let (header, taken, _) = proposed.block.expect("something fits");
    assert_eq!(taken.len(), count);
    header.hash()
}

/// Commits one block of these transactions on the tip.
pub(crate) fn commit(ledger: &mut Ledger<MemoryStore>, transactions: Vec<VerifiedTransaction>) -> Committed {
    let parent = ledger.tip().block;
    let block = propose(ledger, parent, transactions);
    let committed = ledger.commit(block).expect("a child of the tip");
    ledger.apply(&committed);
    committed
}

/// A chain that grows one transaction at a time.
pub(crate) struct Chain {
    pub(crate) ledger: Ledger<MemoryStore>,
    nonce: u64,
}

impl Chain {
    pub(crate) fn new() -> Chain {
        Chain { ledger: Ledger::in_memory(genesis()), nonce: 0 }
    }

    /// Commits a block of one transaction; what came of it.
    pub(crate) fn run(&mut self, sender: u8, operations: Vec<Operation>) -> Outcome {
        self.nonce += 1;
        let transaction = transaction(sender, self.nonce, operations);
        commit(&mut self.ledger, vec![transaction]).outcomes.remove(0)
    }

    pub(crate) fn get(&self, key: &StateKey) -> Option<StateValue> {
        self.ledger.get(key).expect("memory does not fail")
    }

    pub(crate) fn balance(&self, member: u8, asset: &str) -> Option<u128> {
        match self.get(&StateKey::Balance { asset: asset.into(), member: key(member) }) {
            Some(StateValue::Balance(units)) => Some(units),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    pub(crate) fn supply(&self, asset: &str) -> u128 {
        match self.get(&StateKey::Asset(asset.into())) {
            Some(StateValue::Asset(asset)) => asset.supply,
            other => panic!("{other:?}"),
        }
    }

    /// Version and value of an entry of namespace `docs`.
    pub(crate) fn entry(&self, name: &str) -> Option<(u64, Vec<u8>)> {
        match self.get(&entry_key(name)) {
            Some(StateValue::Entry(entry)) => Some((entry.version.0.0, entry.value)),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }
}

pub(crate) fn entry_key(name: &str) -> StateKey {
    StateKey::Entry { namespace: "docs".into(), key: name.as_bytes().to_vec() }
}

pub(crate) fn create_namespace(namespace: &str) -> Operation {
    Operation::CreateNamespace { namespace: namespace.into() }
}

pub(crate) fn set_members(owners: &[u8], writers: &[u8]) -> Operation {
    Operation::SetNamespaceMembers { namespace: "docs".into(), owners: keys(owners), writers: keys(writers) }
}

pub(crate) fn put(name: &str, value: &str) -> Operation {
    put_if(name, value, None)
}

pub(crate) fn put_if(name: &str, value: &str, expected: Option<u64>) -> Operation {
    let expected = expected.map(|height| Version(quorate_types::ids::Height(height)));
    Operation::Put {
        namespace: "docs".into(),
        key: name.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
        expected,
    }
}

pub(crate) fn delete(name: &str, expected: Option<u64>) -> Operation {
    let expected = expected.map(|height| Version(quorate_types::ids::Height(height)));
    Operation::Delete { namespace: "docs".into(), key: name.as_bytes().to_vec(), expected }
}

pub(crate) fn create_asset(asset: &str) -> Operation {
    Operation::CreateAsset { asset: asset.into() }
}

pub(crate) fn mint(to: u8, amount: u128) -> Operation {
    Operation::Mint { asset: "eur".into(), to: key(to), amount }
}

pub(crate) fn transfer(to: u8, amount: u128) -> Operation {
    Operation::Transfer { asset: "eur".into(), to: key(to), amount }
}

pub(crate) fn burn(amount: u128) -> Operation {
    Operation::Burn { asset: "eur".into(), amount }
}
