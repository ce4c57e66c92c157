//! A chain in memory with signers, keys and accounts.

use quorate_ledger::{Genesis, Ledger, MemoryStore, Write};
use quorate_tests::bench::workload::{fill, preparation, put};
use quorate_types::block::Header;
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::{Timestamp, ValidatorIndex, View};
use quorate_types::keys::SecretKey;
use quorate_types::member::{Member, Role};
use quorate_types::parameters::Parameters;
use quorate_types::transaction::{Operation, Transaction, VerifiedTransaction, verify_transaction};
use quorate_types::validators::{Validator, ValidatorSet};

/// Transactions of a block.
pub(crate) const BLOCK: u64 = 1000;

/// Keys in the state.
pub(crate) const KEYS: u64 = 100_000;

const SIGNERS: usize = 16;
const PAYLOAD: usize = 512;
const CHAIN: ChainId = ChainId(Hash([3; 32]));
const START: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) struct Fixture {
    pub(crate) ledger: Ledger<MemoryStore>,
    keys: Vec<SecretKey>,
    nonce: u64,
}

impl Fixture {
    /// A chain whose first member is its only validator, with namespaces and accounts.
    pub(crate) fn new() -> Fixture {
        let keys: Vec<SecretKey> = (1..).map(|n| SecretKey::from_seed(&[n; 32])).take(SIGNERS).collect();
        let member = |(n, key): (usize, &SecretKey)| Member {
            name: format!("signer-{n}"),
            key: key.public(),
            roles: vec![Role::Submitter],
        };
        let validator =
            Validator { member: keys[0].public(), vote_key: SecretKey::from_seed(&[99; 32]).public() };
        let mut members: Vec<Member> = keys.iter().enumerate().map(member).collect();
        members[0].roles = vec![Role::Validator, Role::Submitter];
        let ledger = Ledger::in_memory(Genesis {
            chain: CHAIN,
            parameters: Parameters { max_block_bytes: 32 << 20, ..Parameters::default() },
            members,
            validators: ValidatorSet::new(vec![validator]),
            timestamp: START,
        });
        let mut fixture = Fixture { ledger, keys, nonce: 0 };
        let public: Vec<_> = fixture.keys.iter().map(SecretKey::public).collect();
        for (signer, operations) in preparation(&public) {
            let transaction = fixture.sign(signer, operations);
            fixture.commit(&[transaction]);
        }
        fixture
    }

    pub(crate) fn chain(&self) -> ChainId {
        CHAIN
    }

    /// The time of the last block.
    pub(crate) fn now(&self) -> Timestamp {
        self.ledger.tip().timestamp
    }

    /// Puts every key into the state.
    pub(crate) fn fill(&mut self) {
        let transactions: Vec<VerifiedTransaction> = fill(0..KEYS, 0..SIGNERS, PAYLOAD)
            .map(|(signer, operations)| self.sign(signer, operations))
            .collect();
        transactions.chunks(100).for_each(|block| drop(self.commit(block)));
    }

    fn sign(&mut self, signer: usize, operations: Vec<Operation>) -> VerifiedTransaction {
        self.nonce += 1;
        self.signed(signer, self.nonce, operations)
    }

    fn signed(&self, signer: usize, nonce: u64, operations: Vec<Operation>) -> VerifiedTransaction {
        let key = &self.keys[signer % SIGNERS];
        let transaction = Transaction {
            chain: CHAIN,
            sender: key.public(),
            nonce,
            expires_at: START.plus_ms(300_000),
            operations,
        };
        let encoded = codec::encode_bytes(&transaction.sign(key));
        verify_transaction(&CHAIN, encoded).expect("it is well formed and signed")
    }

    /// The `n`th write: of a key far from that of the one before.
    pub(crate) fn write(&self, n: u64) -> VerifiedTransaction {
        let signer = usize::try_from(n).expect("small") % SIGNERS;
        let key = n.wrapping_mul(7_919) % KEYS;
        let value = n.to_le_bytes().into_iter().cycle().take(PAYLOAD).collect();
        self.signed(signer, (1 << 40) + n, vec![put(signer, key, value)])
    }

    /// The `n`th transfer, to the next account.
    pub(crate) fn transfer(&self, n: u64) -> VerifiedTransaction {
        let signer = usize::try_from(n).expect("small") % SIGNERS;
        let to = self.keys[(signer + 1) % SIGNERS].public();
        let transfer = Operation::Transfer { asset: "units".to_owned(), to, amount: 1 };
        self.signed(signer, (1 << 50) + n, vec![transfer])
    }

    /// Proposes a block on the tip, which takes all of these.
    pub(crate) fn propose(&mut self, transactions: &[VerifiedTransaction], now: Timestamp) -> Header {
        let parent = self.ledger.tip().block;
        let mut candidates = transactions.iter().cloned();
        let proposed =
            self.ledger.propose(parent, View(0), ValidatorIndex(0), now, usize::MAX, &mut candidates);
        let (header, taken, _) = proposed.expect("the validator leads").block.expect("there is a block");
        assert_eq!(taken.len(), transactions.len(), "all fit into a block");
        header
    }

    /// Commits a block; what it writes.
    pub(crate) fn commit(&mut self, transactions: &[VerifiedTransaction]) -> Vec<Write> {
        let header = self.propose(transactions, self.now());
        let committed = self.ledger.commit(header.hash()).expect("the block is pending");
        self.ledger.apply(&committed);
        assert!(committed.outcomes.iter().all(|o| *o == quorate_types::outcome::Outcome::Applied));
        committed.writes
    }
}
