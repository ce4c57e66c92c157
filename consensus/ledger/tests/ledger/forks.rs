//! Blocks that compete: each sees its own ancestors and nothing else.

use crate::common::*;
use quorate_ledger::{Committed, InvalidBlock, Ledger, LedgerError, MemoryStore, Refusal};
use quorate_types::hash::BlockHash;
use quorate_types::ids::{Timestamp, ValidatorIndex, View};
use quorate_types::outcome::Outcome;
use quorate_types::parameters::Parameters;
use quorate_types::transaction::VerifiedTransaction;

fn furnished() -> Ledger<MemoryStore> {
    let mut ledger = Ledger::in_memory(genesis());
    let setup = vec![
        create_namespace("docs"),
        create_asset("eur"),
        mint(ALICE, 100),
        set_members(&[ALICE], &[ALICE, BOB]),
    ];
    let committed = commit(&mut ledger, vec![transaction(ALICE, 0, setup)]);
    assert_eq!(committed.outcomes, [Outcome::Applied]);
    ledger
}

fn put_by(sender: u8, nonce: u64, name: &str, value: &str) -> VerifiedTransaction {
    transaction(sender, nonce, vec![put(name, value)])
}

/// Executes the blocks one after the other in another ledger, each committed before the next.
fn linear(blocks: &[&Committed]) -> Ledger<MemoryStore> {
    let mut ledger = Ledger::in_memory(genesis());
    for block in blocks {
        let again = ledger.extend(&block.header, &block.transactions).expect("valid for everyone");
        assert_eq!((&again.result, &again.outcomes), (&block.result, &block.outcomes));
    }
    ledger
}

#[test]
fn siblings_do_not_see_one_another() {
    let mut ledger = Ledger::in_memory(genesis());
    let setup = vec![create_namespace("docs"), create_asset("eur"), mint(ALICE, 100)];
    let first = commit(&mut ledger, vec![transaction(ALICE, 0, setup)]);
    let base = ledger.tip().block;
    // Both spend the same 100 units; each branch is three blocks high.
    let mut branch = |nonce: u64, to: u8| -> Vec<BlockHash> {
        let mut parent = base;
        let mut blocks = Vec::new();
        let steps = [vec![transfer(to, 100)], vec![put("k", &nonce.to_string())], vec![delete("k", None)]];
        for (step, operations) in steps.into_iter().enumerate() {
            parent = propose(&mut ledger, parent, vec![transaction(ALICE, nonce + step as u64, operations)]);
            blocks.push(parent);
        }
        blocks
    };
    let left = branch(10, BOB);
    let right = branch(20, CAROL);
    for block in left.iter().chain(&right) {
        assert_eq!(ledger.pending(*block).unwrap().outcomes, [Outcome::Applied]);
    }
    assert_eq!(ledger.pending_count(), 6);

    assert_eq!(ledger.commit(right[1]).unwrap_err(), LedgerError::NotNext(right[1]));
    let mut committed = vec![first];
    for block in &right {
        // Children stay pending across their parent's commit, before and after it is applied.
        committed.push(ledger.commit(*block).unwrap());
        assert!(left.iter().all(|block| ledger.pending(*block).is_none()));
    }
    for block in &committed[1..] {
        ledger.apply(block);
    }
    assert_eq!(ledger.commit(left[0]).unwrap_err(), LedgerError::NotPending(left[0]));
    let blocks: Vec<&Committed> = committed.iter().collect();
    let linear = linear(&blocks);
    assert_eq!(linear.tip(), ledger.tip());
    assert_eq!(linear.store(), ledger.store(), "the same entries, byte for byte");
}

/// failures.md, row 40: in the same block, in an ancestor, after the commit; but a fork that did not
/// happen is no obstacle.
#[test]
fn a_transaction_has_one_effect() {
    let mut ledger = furnished();
    let base = ledger.tip().block;
    let twice = put_by(ALICE, 1, "a", "1");
    let refused = |refusal| vec![(twice.id(), refusal)];
    let now = Timestamp(START);
    let attempt = |ledger: &mut Ledger<MemoryStore>, parent, transactions: Vec<VerifiedTransaction>| {
        ledger
            .propose(parent, View(0), ValidatorIndex(0), now, usize::MAX, &mut transactions.into_iter())
            .unwrap()
    };
    // In the same block.
    let both = vec![twice.clone(), twice.clone()];
    let header = header_on_tip(&ledger, &both, START);
    // The helper's header is for the first block; only the history root differs on this chain.
    let proposed = attempt(&mut ledger, base, both.clone());
    assert_eq!(proposed.skipped, refused(Refusal::AlreadyPending));
    let (good, _, _) = proposed.block.unwrap();
    let header = quorate_types::block::Header { history_root: good.history_root, ..header };
    let refusal = Refusal::AlreadyPending;
    let expected = InvalidBlock::Transaction { index: 1, id: twice.id(), refusal };
    assert_eq!(ledger.check(&header, &both, None), Err(expected));
    // In an ancestor, and in an ancestor's ancestor.
    let with = good.hash();
    assert!(attempt(&mut ledger, with, vec![twice.clone()]).block.is_none());
    let child = propose(&mut ledger, with, vec![put_by(ALICE, 2, "b", "1")]);
    assert_eq!(attempt(&mut ledger, child, vec![twice.clone()]).skipped, refused(Refusal::AlreadyPending));
    // Beside it, it may stand: only one of the two will happen.
    let sibling = propose(&mut ledger, base, vec![put_by(ALICE, 3, "c", "1")]);
    let nephew = propose(&mut ledger, sibling, vec![twice.clone()]);
    // Once the fork without it has won, it may be proposed still, and only once.
    let committed = ledger.commit(sibling).unwrap();
    ledger.apply(&committed);
    assert!(ledger.pending(with).is_none() && ledger.pending(nephew).is_some());
    assert_eq!(ledger.admit(&twice, now), Ok(()));
    let committed = ledger.commit(nephew).unwrap();
    ledger.apply(&committed);
    assert_eq!(ledger.admit(&twice, now), Err(Refusal::AlreadyCommitted));
    let tip = ledger.tip().block;
    assert_eq!(attempt(&mut ledger, tip, vec![twice.clone()]).skipped, refused(Refusal::AlreadyCommitted));
}

#[test]
fn checking_again_changes_nothing() {
    let mut leader = furnished();
    let base = leader.tip().block;
    let block = propose(&mut leader, base, vec![put_by(ALICE, 1, "a", "1")]);
    let executed = leader.pending(block).unwrap().clone();
    let result = executed.result.hash(&genesis().chain);
    // While pending, whatever the clock says by now; a re-proposal may come much later.
    let late = Some(Timestamp(START + 10_000_000));
    assert_eq!(leader.check(&executed.header, &executed.transactions, late), Ok(result));
    assert_eq!(leader.pending_count(), 1);
    leader.commit(block).unwrap();
    assert_eq!(leader.check(&executed.header, &executed.transactions, None), Ok(result));
    assert_eq!(leader.pending_count(), 0);
    assert_eq!(leader.result(block), Some(&executed.result));
}

#[test]
fn a_block_of_a_decided_height_is_refused() {
    let mut ledger = furnished();
    let base = ledger.tip().block;
    let one = propose(&mut ledger, base, vec![put_by(ALICE, 1, "a", "1")]);
    let other = propose(&mut ledger, base, vec![put_by(ALICE, 2, "a", "2")]);
    let lost = ledger.pending(other).unwrap().clone();
    ledger.commit(one).unwrap();
    assert!(matches!(
        ledger.check(&lost.header, &lost.transactions, None),
        Err(InvalidBlock::Decided { .. })
    ));
}

/// Committed writes are read from memory until they are said to have arrived, however late.
#[test]
fn storage_may_lag_behind() {
    let mut prompt = Ledger::in_memory(genesis());
    let (mut lagging, founding) = Ledger::open(MemoryStore::new(), genesis()).unwrap();
    let mut late = vec![founding];
    let setup = vec![create_namespace("docs"), create_asset("eur"), mint(ALICE, 1_000)];
    for n in 0..30u64 {
        let operations = match n {
            0 => setup.clone(),
            n => vec![
                put(&format!("k{}", n % 7), "v"),
                transfer(BOB, 1),
                delete(&format!("k{}", n % 7), Some(n + 1)),
            ],
        };
        let committed = commit(&mut prompt, vec![transaction(ALICE, n, operations)]);
        assert_eq!(committed.outcomes, [Outcome::Applied]);
        lagging.check(&committed.header, &committed.transactions, None).unwrap();
        late.push(lagging.commit(committed.header.hash()).unwrap().writes);
        if n == 20 {
            // Everything arrives at once, and the node starts again before the ledger hears of it.
            let mut store = lagging.store().clone();
            late.iter().for_each(|writes| store.apply(writes));
            let (reopened, none) = Ledger::open(store, genesis()).unwrap();
            assert_eq!((reopened.tip(), none.len()), (lagging.tip(), 0));
            lagging = reopened;
            late.clear();
        }
    }
    assert_eq!(lagging.tip(), prompt.tip());
}

#[test]
fn pending_blocks_are_bounded_and_may_return() {
    let mut ledger = Ledger::in_memory(genesis_of(Parameters { window: 1, ..Parameters::default() }));
    let base = ledger.tip().block;
    let mut blocks = Vec::new();
    let kept = propose(&mut ledger, base, vec![transaction(ALICE, 0, vec![create_asset("kept")])]);
    let on_kept = propose(&mut ledger, kept, vec![transaction(ALICE, 1, vec![create_asset("on-kept")])]);
    for n in 2..20 {
        blocks.push(propose(&mut ledger, base, vec![transaction(ALICE, n, vec![create_asset("a")])]));
        let executed = ledger.pending(on_kept).unwrap().clone();
        ledger.check(&executed.header, &executed.transactions, None).unwrap();
    }
    assert_eq!(ledger.pending_count(), 8);
    assert!(ledger.pending(kept).is_some(), "in use, because a block in use is built on it");
    assert_eq!(ledger.commit(blocks[0]).unwrap_err(), LedgerError::NotPending(blocks[0]));
    // What was given up is valid as before.
    let transactions = [transaction(ALICE, 2, vec![create_asset("a")])];
    let header = header_on_tip(&ledger, &transactions, START);
    assert_eq!(header.hash(), blocks[0]);
    ledger.check(&header, &transactions, None).unwrap();
    ledger.commit(blocks[0]).unwrap();
    assert_eq!(ledger.pending_count(), 0);
}
