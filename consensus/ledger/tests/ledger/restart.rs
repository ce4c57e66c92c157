//! Opening a store: a new one, one's own, another chain's, a damaged one.

use crate::common::*;
use quorate_ledger::{
    Column, Genesis, Ledger, LedgerError, MemoryStore, Refusal, Store, StoreError, Write, founding_result,
};
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::parameters::Parameters;
use quorate_types::transaction::VerifiedTransaction;

/// Commits one block at the given time.
fn commit_at(ledger: &mut Ledger<MemoryStore>, time: u64, transactions: Vec<VerifiedTransaction>) {
    let parent = ledger.tip().block;
    let mut candidates = transactions.into_iter();
    let proposed = ledger
        .propose(parent, View(0), ValidatorIndex(0), Timestamp(START + time), usize::MAX, &mut candidates)
        .unwrap();
    assert_eq!(proposed.skipped, []);
    let committed = ledger.commit(proposed.block.unwrap().0.hash()).unwrap();
    ledger.apply(&committed);
}

fn asset_until(nonce: u64, expires_in: u64) -> VerifiedTransaction {
    transaction_until(ALICE, nonce, expires_in, vec![create_asset(&format!("a{nonce}"))])
}

#[test]
fn founding_writes_what_opening_reads() {
    let (ledger, writes) = Ledger::open(MemoryStore::new(), genesis()).unwrap();
    assert_eq!(ledger.tip().height, Height(0));
    assert_eq!(ledger.tip().block.0, genesis().chain.0);
    assert_eq!(ledger.result(ledger.tip().block), Some(&founding_result(&genesis())));
    // Lost before they were applied: the store is founded again, with the same writes.
    assert_eq!(Ledger::open(MemoryStore::new(), genesis()).unwrap().1, writes);
    let mut store = MemoryStore::new();
    store.apply(&writes);
    let (reopened, none) = Ledger::open(store, genesis()).unwrap();
    assert_eq!(none, []);
    assert_eq!(reopened.tip(), ledger.tip());
}

#[test]
fn the_founding_state_depends_on_the_members_alone() {
    let mut reversed = genesis();
    reversed.members.reverse();
    assert_eq!(founding_result(&reversed), founding_result(&genesis()));
    let fewer = Genesis { members: genesis().members[1..].to_vec(), ..genesis() };
    assert_ne!(founding_result(&fewer).state_root, founding_result(&genesis()).state_root);
}

/// failures.md, row 40: after a restart.
#[test]
fn a_restart_forgets_nothing() {
    let mut ledger = Ledger::in_memory(genesis());
    for n in 0..10 {
        commit_at(
            &mut ledger,
            100 * n,
            vec![asset_until(2 * n, 1_000 + 100 * n), asset_until(2 * n + 1, 50_000)],
        );
        let (reopened, _) = Ledger::open(ledger.store().clone(), genesis()).unwrap();
        assert_eq!(reopened.tip(), ledger.tip());
        for nonce in 0..=n {
            let again = asset_until(2 * nonce, 1_000 + 100 * nonce);
            assert_eq!(reopened.admit(&again, Timestamp(START)), Err(Refusal::AlreadyCommitted));
        }
        ledger = reopened;
    }
}

/// Ids are forgotten when they expire, in memory and in the store, and not before.
#[test]
fn expired_ids_are_forgotten() {
    let mut ledger = Ledger::in_memory(genesis());
    let records = |ledger: &Ledger<MemoryStore>| {
        ledger.store().range(Column::Meta, b"ledger/ids/", b"ledger/ids0", 100).unwrap().len()
    };
    commit_at(&mut ledger, 0, vec![asset_until(0, 1_000)]);
    commit_at(&mut ledger, 500, vec![asset_until(1, 2_000)]);
    commit_at(&mut ledger, 1_000, vec![asset_until(2, 3_000)]);
    assert_eq!(records(&ledger), 3);
    assert_eq!(ledger.admit(&asset_until(0, 1_000), Timestamp(START)), Err(Refusal::AlreadyCommitted));
    commit_at(&mut ledger, 1_001, vec![asset_until(3, 3_000)]);
    assert_eq!(records(&ledger), 3);
    let expired = |ledger: &Ledger<MemoryStore>, nonce, expires_in| {
        matches!(
            ledger.admit(&asset_until(nonce, expires_in), Timestamp(START)),
            Err(Refusal::Expired { .. })
        )
    };
    assert!(expired(&ledger, 0, 1_000));
    commit_at(&mut ledger, 10_000, vec![asset_until(4, 10_000)]);
    assert_eq!(records(&ledger), 1);
    for (nonce, expires_in) in [(0, 1_000), (1, 2_000), (2, 3_000), (3, 3_000)] {
        assert!(expired(&ledger, nonce, expires_in));
    }
    // The last moment of a transaction's life is part of it, in memory as after a restart.
    let (reopened, _) = Ledger::open(ledger.store().clone(), genesis()).unwrap();
    for ledger in [&ledger, &reopened] {
        assert_eq!(ledger.admit(&asset_until(4, 10_000), Timestamp(START)), Err(Refusal::AlreadyCommitted));
    }
}

/// More blocks than are read at once.
#[test]
fn many_records_of_ids() {
    let mut ledger = Ledger::in_memory(genesis());
    for n in 0..200 {
        commit_at(&mut ledger, 0, vec![asset_until(n, 60_000)]);
    }
    let (reopened, _) = Ledger::open(ledger.store().clone(), genesis()).unwrap();
    for n in 0..200 {
        assert_eq!(
            reopened.admit(&asset_until(n, 60_000), Timestamp(START)),
            Err(Refusal::AlreadyCommitted),
            "{n}"
        );
    }
    assert_eq!(reopened.admit(&asset_until(200, 60_000), Timestamp(START)), Ok(()));
}

fn open(store: MemoryStore) -> Result<(), LedgerError> {
    Ledger::open(store, genesis()).map(|_| ())
}

#[test]
fn stores_that_are_not_ours() {
    let mut ledger = Ledger::in_memory(genesis());
    commit_at(&mut ledger, 0, vec![asset_until(0, 1_000)]);
    let good = ledger.store().clone();
    assert_eq!(open(good.clone()), Ok(()));

    let other = Genesis { chain: ChainId(Hash([1; 32])), ..genesis() };
    let found = Ledger::in_memory(other.clone()).store().clone();
    assert_eq!(open(found), Err(LedgerError::OtherChain { found: other.chain, expected: genesis().chain }));

    let mut newer = good.clone();
    newer.apply(&[Write::put(Column::Meta, *b"ledger/format", codec::encode(&2u32))]);
    assert_eq!(open(newer), Err(LedgerError::NewerFormat { found: 2, known: 1 }));

    // Every single entry that opening rests on, missing or cut short.
    let root = [&1u64.to_be_bytes()[..], &[0xff]].concat();
    let entries: [(Column, &[u8]); 5] = [
        (Column::Meta, b"ledger/format"),
        (Column::Meta, b"ledger/chain"),
        (Column::Meta, b"ledger/tip"),
        (Column::Meta, b"ledger/ids/\0\0\0\0\0\0\0\x01"),
        (Column::Nodes, &root),
    ];
    for (column, key) in entries {
        let value = good.get(column, key).unwrap().expect("written");
        let mut missing = good.clone();
        missing.apply(&[Write::delete(column, key)]);
        let mut cut = good.clone();
        cut.apply(&[Write::put(column, key, value.slice(..value.len() - 1))]);
        // A block without a record of ids is what pruning leaves: only a record that is there can be
        // seen to be damaged.
        if !key.starts_with(b"ledger/ids/") {
            assert!(matches!(open(missing), Err(LedgerError::Store(StoreError::Corrupt(_)))), "{key:?}");
        }
        assert!(matches!(open(cut), Err(LedgerError::Store(StoreError::Corrupt(_)))), "{key:?}");
    }
}

/// A page that is gone is a named failure of the store, and nobody's invalid block.
#[test]
fn a_missing_page_is_damage() {
    let mut ledger = Ledger::in_memory(genesis_of(Parameters::default()));
    commit_at(&mut ledger, 0, vec![asset_until(0, 1_000)]);
    let mut store = ledger.store().clone();
    let pages = store.range(Column::Nodes, &1u64.to_be_bytes(), &2u64.to_be_bytes(), 100).unwrap();
    for (key, _) in pages.iter().filter(|(key, _)| key[8] != 0xff) {
        store.apply(&[Write::delete(Column::Nodes, key.clone())]);
    }
    let (mut ledger, _) = Ledger::open(store, genesis()).unwrap();
    let parent = ledger.tip().block;
    let now = Timestamp(START);
    let refused = ledger.propose(
        parent,
        View(0),
        ValidatorIndex(0),
        now,
        usize::MAX,
        &mut [asset_until(1, 1_000)].into_iter(),
    );
    assert!(matches!(refused, Err(LedgerError::Store(StoreError::Corrupt(_)))));
    assert_eq!(ledger.pending_count(), 0);
}
