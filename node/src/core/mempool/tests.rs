use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::keys::SecretKey;
use quorate_types::transaction::{Operation, Transaction, verify_transaction};

const CHAIN: ChainId = ChainId(Hash([7; 32]));

/// A transaction of member `sender`, told apart by `nonce`, with a value of `size` bytes.
pub(in crate::core) fn transaction(
    sender: u8,
    nonce: u64,
    expires_at: u64,
    size: usize,
) -> VerifiedTransaction {
    let key = SecretKey::from_seed(&[sender; 32]);
    let put = Operation::Put { namespace: "n".into(), key: vec![1], value: vec![0; size], expected: None };
    let transaction = Transaction {
        chain: CHAIN,
        sender: key.public(),
        nonce,
        expires_at: Timestamp(expires_at),
        operations: vec![put],
    };
    let bytes = Bytes::from(codec::encode(&transaction.sign(&key)));
    verify_transaction(&CHAIN, bytes).expect("signed just now")
}

fn tx(sender: u8, nonce: u64) -> VerifiedTransaction {
    transaction(sender, nonce, 250_000, 10)
}

fn block(n: u8) -> BlockHash {
    BlockHash(Hash([n; 32]))
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn pool(limits: Limits) -> Mempool {
    let parameters = Parameters {
        window: 2,
        max_block_transactions: 4,
        max_block_bytes: 1 << 20,
        ..Parameters::default()
    };
    Mempool::new(limits, &parameters)
}

fn put(pool: &mut Mempool, transaction: &VerifiedTransaction, at: u64) -> Result<(), InsertError> {
    pool.insert(transaction.clone(), Origin::LOCAL, ms(at), Timestamp(at))
}

fn ids(transactions: &[VerifiedTransaction]) -> Vec<TransactionId> {
    transactions.iter().map(VerifiedTransaction::id).collect()
}

fn picked(pool: &Mempool, count: usize) -> Vec<TransactionId> {
    pool.candidates().take(count).map(|t| t.id()).collect()
}

/// What every index must say, stated again from the entries.
fn check_consistent(pool: &Mempool) {
    let entries: Vec<&Entry> = pool.entries.iter().map(|(_, entry)| entry).collect();
    let bytes = |quota: bool| -> usize {
        let of = entries.iter().filter(|e| (e.room == Room::Quota) == quota);
        of.map(|e| e.transaction.bytes().len()).sum()
    };
    assert_eq!(pool.used.bytes, bytes(true));
    assert_eq!(pool.used_reserve.bytes, bytes(false));
    assert!(entries.iter().all(|e| e.room == Room::Quota || e.marks > 0));
    assert_eq!(pool.used.transactions + pool.used_reserve.transactions, entries.len());
    assert_eq!(pool.by_expiry.len(), entries.len());
    assert_eq!(pool.senders.values().map(|s| s.held).sum::<usize>(), entries.len());
    assert!(pool.senders.values().all(|s| s.held > 0));
    let queued =
        |e: &&&Entry| pool.senders[&e.transaction.transaction().sender].queue.contains_key(&e.arrival);
    let queued: Vec<&&Entry> = entries.iter().filter(queued).collect();
    assert!(queued.iter().all(|e| e.room != Room::Refused));
    assert_eq!(pool.senders.values().map(|s| s.queue.len()).sum::<usize>(), queued.len());
    assert_eq!(pool.senders.values().map(|s| s.used.bytes).sum::<usize>(), pool.used.bytes);
    assert_eq!(pool.heads.len(), pool.senders.values().filter(|s| !s.queue.is_empty()).count());
    assert!(pool.heads.iter().all(|((since, key), expires_at)| {
        let oldest = pool.senders[key].queue.values().next().map(|slot| &pool.entries[*slot]);
        pool.senders[key].head_since == *since
            && oldest.is_some_and(|oldest| oldest.expires_at == *expires_at)
    }));
    let ready = queued.iter().filter(|e| e.marks == 0).count();
    assert_eq!(pool.senders.values().map(|s| s.ready.len()).sum::<usize>(), ready);
    assert_eq!(pool.slots.len(), entries.len());
    for (slot, entry) in &pool.entries {
        let transaction = entry.transaction.transaction();
        assert_eq!(pool.slots[&entry.transaction.id()], slot);
        assert_eq!((entry.sender, entry.expires_at), (transaction.sender, transaction.expires_at));
        assert_eq!(pool.by_expiry[&(entry.expires_at, entry.arrival)], slot);
        let sender = &pool.senders[&entry.sender];
        for index in [&sender.queue, &sender.ready] {
            assert!(index.get(&entry.arrival).is_none_or(|found| *found == slot));
        }
    }
    // Noted in one place each.
    assert!(pool.marks.keys().all(|id| !pool.contains(id)));
    let marks = entries.iter().map(|e| &e.marks).chain(pool.marks.values());
    let marks: usize = marks.map(|count| *count as usize).sum();
    assert_eq!(marks, pool.proposals.values().map(Vec::len).sum::<usize>());
}

#[test]
fn duplicates_are_told_from_new_ones() {
    let mut pool = pool(Limits::default());
    let first = tx(1, 1);
    assert_eq!(put(&mut pool, &first, 0), Ok(()));
    assert_eq!(put(&mut pool, &first, 1), Err(InsertError::Known));
    assert_eq!((pool.len(), pool.bytes()), (1, first.bytes().len()));
    let other = tx(1, 2);
    assert_eq!(pool.missing(&[other.id(), first.id()]), vec![other.id()]);
    assert_eq!(pool.get(&first.id()), Some(&first));
}

#[test]
fn a_flood_hits_its_own_quota() {
    let limits = Limits { transactions: 100, member_transactions: 10, ..Limits::default() };
    let mut pool = pool(limits);
    for nonce in 0..10 {
        assert_eq!(put(&mut pool, &tx(1, nonce), 0), Ok(()));
    }
    assert!(matches!(put(&mut pool, &tx(1, 10), 0), Err(InsertError::MemberFull { transactions: 10, .. })));
    assert_eq!(put(&mut pool, &tx(2, 0), 0), Ok(()));

    let size = tx(1, 0).bytes().len();
    let mut pool = self::pool(Limits { member_bytes: 3 * size, ..Limits::default() });
    for nonce in 0..3 {
        assert_eq!(put(&mut pool, &tx(1, nonce), 0), Ok(()));
    }
    assert!(matches!(put(&mut pool, &tx(1, 3), 0), Err(InsertError::MemberFull { .. })));
    assert_eq!(put(&mut pool, &tx(2, 0), 0), Ok(()));
}

#[test]
fn many_floods_together_leave_room_for_the_next_member() {
    let limits = Limits { transactions: 120, member_transactions: 40, ..Limits::default() };
    let mut pool = pool(limits);
    for member in 1..=5 {
        let taken = (0..40).filter(|nonce| put(&mut pool, &tx(member, *nonce), 0).is_ok()).count();
        assert!(taken > 0, "member {member} found no room");
    }
    assert!(pool.len() < 120);
    assert_eq!(put(&mut pool, &tx(6, 0), 0), Ok(()), "and so does one that comes after them");
    assert!(matches!(
        put(&mut pool, &tx(1, 99), 0),
        Err(InsertError::MemberFull { .. } | InsertError::Full { .. })
    ));
    check_consistent(&pool);
}

#[test]
fn selection_takes_turns_between_members_and_keeps_each_members_order() {
    // Whichever of the two comes first in the order of their keys.
    for (flooder, other) in [(1, 2), (2, 1)] {
        let mut pool = pool(Limits::default());
        let flood: Vec<_> = (0..6).map(|nonce| tx(flooder, nonce)).collect();
        let few: Vec<_> = (0..2).map(|nonce| tx(other, nonce)).collect();
        for t in flood.iter().chain(&few) {
            put(&mut pool, t, 0).expect("room");
        }
        let order = picked(&pool, 10);
        assert_eq!(order.len(), 8);
        let of = |all: &[VerifiedTransaction]| -> Vec<_> {
            let all = ids(all);
            order.iter().filter(|id| all.contains(id)).copied().collect()
        };
        assert_eq!(of(&flood), ids(&flood));
        assert_eq!(of(&few), ids(&few));
        let early = order[..4].iter().filter(|id| ids(&few).contains(id)).count();
        assert_eq!(early, 2, "both of the few are early");
        assert_eq!(order, picked(&pool, 10), "asking changes nothing");
    }
}

#[test]
fn blocks_too_small_for_all_members_serve_them_in_turn() {
    let mut pool = pool(Limits::default());
    for member in 1..=5 {
        for nonce in 0..10 {
            put(&mut pool, &tx(member, nonce), 0).expect("room");
        }
    }
    let mut served: BTreeMap<PublicKey, usize> = BTreeMap::new();
    for n in 0..5 {
        let chosen: Vec<_> = pool.candidates().take(2).collect();
        for t in &chosen {
            *served.entry(t.transaction().sender).or_default() += 1;
        }
        pool.mark_proposed(block(n), &ids(&chosen));
    }
    assert_eq!(served.values().copied().collect::<Vec<_>>(), [2; 5]);
}

#[test]
fn proposed_ones_are_set_aside_and_come_back_in_their_old_order() {
    let mut pool = pool(Limits::default());
    let all: Vec<_> = (0..6).map(|nonce| tx(1, nonce)).collect();
    for t in &all {
        put(&mut pool, t, 0).expect("room");
    }
    let all = ids(&all);
    pool.mark_proposed(block(1), &all[..2]);
    pool.mark_proposed(block(2), &all[1..4]);
    pool.mark_proposed(block(2), &all[1..4]);
    assert_eq!(picked(&pool, 10), all[4..]);
    assert_eq!(pool.unmark(&block(2)), []);
    assert_eq!(picked(&pool, 10), all[2..], "the second stands in the first proposal still");
    pool.unmark(&block(1));
    assert_eq!(picked(&pool, 10), all);
    check_consistent(&pool);
}

#[test]
fn an_id_proposed_before_its_body_came_is_no_candidate() {
    let mut pool = pool(Limits::default());
    let early = tx(1, 1);
    pool.mark_proposed(block(1), &[early.id()]);
    assert!(pool.is_marked(&early.id()));
    put(&mut pool, &early, 0).expect("room");
    assert_eq!(picked(&pool, 10), []);
    pool.unmark(&block(1));
    assert_eq!(picked(&pool, 10), [early.id()]);
}

#[test]
fn committed_ones_leave_with_their_marks_and_keep_a_trace() {
    let mut pool = pool(Limits::default());
    let all: Vec<_> = (0..3).map(|nonce| tx(1, nonce)).collect();
    let origin = Origin { from: Some(ValidatorIndex(3)), hops: 2 };
    for t in &all {
        pool.insert(t.clone(), origin, ms(5), Timestamp(50)).expect("room");
    }
    pool.mark_proposed(block(1), &ids(&all[..2]));
    pool.committed(&block(1), Height(9), &all[..2], ms(6));
    assert_eq!(picked(&pool, 10), [all[2].id()]);
    assert!(!pool.is_marked(&all[0].id()));
    let trace = Trace { first_seen: Timestamp(50), from: Some(ValidatorIndex(3)), hops: 2, committed: None };
    assert_eq!(pool.trace(&all[2].id()), Some(trace.clone()));
    assert_eq!(pool.trace(&all[0].id()), Some(Trace { committed: Some(Height(9)), ..trace }));
    assert_eq!(pool.trace(&tx(9, 9).id()), None);
    check_consistent(&pool);
}

#[test]
fn expiry_takes_exactly_what_can_commit_no_more() {
    let mut pool = pool(Limits::default());
    let all: Vec<_> =
        [30, 10, 20, 20].iter().zip(0..).map(|(at, nonce)| transaction(1, nonce, *at, 1)).collect();
    for t in &all {
        put(&mut pool, t, 0).expect("room");
    }
    assert_eq!(pool.expire(Timestamp(10)), [], "may still commit at its last moment");
    assert_eq!(pool.expire(Timestamp(21)), ids(&[all[1].clone(), all[2].clone(), all[3].clone()]));
    assert_eq!(picked(&pool, 10), [all[0].id()]);
    assert_eq!(pool.trace(&all[1].id()).expect("kept").committed, None);
    check_consistent(&pool);
}

#[test]
fn what_stands_in_a_proposal_does_not_expire() {
    let mut pool = pool(Limits::default());
    let all: Vec<_> = (0..2).map(|nonce| transaction(1, nonce, 10, 1)).collect();
    for t in &all {
        put(&mut pool, t, 0).expect("room");
    }
    pool.mark_proposed(block(1), &[all[0].id()]);
    pool.lapse(Timestamp(5000));
    assert_eq!(pool.expire(Timestamp(5000)), [all[1].id()]);
    assert!(pool.contains(&all[0].id()), "the block may be proposed again, at the time it has");
    assert_eq!(pool.unmark(&block(1)), []);
    assert_eq!(picked(&pool, 10), [], "nor is it proposed anew");
    assert_eq!(pool.expire(Timestamp(5000)), [all[0].id()]);
    check_consistent(&pool);
}

#[test]
fn what_is_refused_is_there_for_the_proposal_that_names_it_and_for_nothing_else() {
    let mut pool = pool(Limits::default());
    let all: Vec<_> = (0..10).map(|nonce| tx(1, nonce)).collect();
    let refused = |pool: &mut Mempool, t: &VerifiedTransaction| {
        pool.insert_refused(t.clone(), Origin::LOCAL, ms(0), Timestamp(0))
    };
    assert!(matches!(refused(&mut pool, &all[0]), Err(InsertError::Full { .. })), "no proposal names it");
    pool.mark_proposed(block(1), &ids(&all));
    pool.mark_proposed(block(2), &ids(&all[..1]));
    // Window 2 times 4 transactions.
    for t in &all[..8] {
        assert_eq!(refused(&mut pool, t), Ok(()));
    }
    assert!(refused(&mut pool, &all[8]).is_err());
    assert_eq!(refused(&mut pool, &all[0]), Err(InsertError::Known));
    assert_eq!((pool.oldest_waiting(Timestamp(0)), picked(&pool, 10)), (None, vec![]));
    assert_eq!(put(&mut pool, &tx(2, 0), 0), Ok(()), "no one's quota is taken up");
    check_consistent(&pool);

    assert_eq!(pool.unmark(&block(1)), ids(&all[1..8]));
    check_consistent(&pool);
    pool.committed(&block(2), Height(1), &all[..1], ms(1));
    assert_eq!(pool.len(), 1);
    check_consistent(&pool);
}

#[test]
fn the_reserve_is_for_marked_proposals_only_and_bounded() {
    let limits = Limits { member_transactions: 1, ..Limits::default() };
    let mut pool = pool(limits);
    let all: Vec<_> = (0..12).map(|nonce| tx(1, nonce)).collect();
    put(&mut pool, &all[0], 0).expect("room");
    let required = |pool: &mut Mempool, t: &VerifiedTransaction| {
        pool.insert_required(t.clone(), Origin::LOCAL, ms(0), Timestamp(0))
    };
    assert!(matches!(required(&mut pool, &all[1]), Err(InsertError::MemberFull { .. })));
    pool.mark_proposed(block(1), &ids(&all[1..]));
    // Window 2 times 4 transactions.
    for t in &all[1..9] {
        assert_eq!(required(&mut pool, t), Ok(()));
    }
    assert!(required(&mut pool, &all[9]).is_err());
    assert_eq!(required(&mut pool, &all[1]), Err(InsertError::Known));
    assert_eq!(put(&mut pool, &tx(2, 0), 0), Ok(()), "the reserve takes no one's quota");
    check_consistent(&pool);

    // The first commits and leaves room for one; the rest of a dropped proposal has to go.
    pool.committed(&block(9), Height(1), &all[..1], ms(1));
    assert_eq!(pool.unmark(&block(1)), ids(&all[2..9]));
    assert!(pool.contains(&all[1].id()));
    check_consistent(&pool);
}

#[test]
fn suspicion_is_for_the_skipped_and_not_for_a_queue_that_moves() {
    let mut pool = pool(Limits { member_transactions: 1000, ..Limits::default() });
    let wall = Timestamp(0);
    assert_eq!(pool.oldest_waiting(wall), None);
    let all: Vec<_> = (0..4).map(|nonce| tx(1, nonce)).collect();
    for (t, at) in all.iter().zip([10, 11, 12, 13]) {
        put(&mut pool, t, at).expect("room");
    }
    let other = tx(2, 0);
    put(&mut pool, &other, 20).expect("room");
    assert_eq!(pool.oldest_waiting(wall), Some(ms(10)));
    pool.committed(&block(1), Height(1), &all[..1], ms(100));
    assert_eq!(pool.oldest_waiting(wall), Some(ms(20)), "member 1 moves, member 2 does not");
    pool.committed(&block(2), Height(2), &[other], ms(200));
    assert_eq!(pool.oldest_waiting(wall), Some(ms(100)));
    pool.committed(&block(3), Height(3), &all[2..], ms(300));
    assert_eq!(pool.oldest_waiting(wall), Some(ms(100)), "its oldest was skipped");
    pool.reset_waiting(ms(400));
    assert_eq!(pool.oldest_waiting(wall), Some(ms(400)), "a new leader has its time");
    pool.committed(&block(4), Height(4), &all[1..2], ms(500));
    assert_eq!(pool.oldest_waiting(wall), None);
}

#[test]
fn a_flooding_member_cannot_have_leaders_suspected_of_skipping() {
    let mut pool = pool(Limits { member_transactions: 8, ..Limits::default() });
    let all: Vec<_> = (0..6).map(|nonce| tx(1, nonce)).collect();
    for t in &all {
        put(&mut pool, t, 0).expect("room");
    }
    let elsewhere = tx(1, 100);
    pool.committed(&block(1), Height(1), &[elsewhere], ms(50));
    assert_eq!(pool.oldest_waiting(Timestamp(0)), Some(ms(50)));
}

#[test]
fn nobody_is_suspected_over_what_has_expired() {
    let mut pool = pool(Limits::default());
    put(&mut pool, &transaction(1, 1, 100, 1), 10).expect("room");
    put(&mut pool, &transaction(2, 1, 900, 1), 20).expect("room");
    assert_eq!(pool.oldest_waiting(Timestamp(99)), Some(ms(10)));
    assert_eq!(pool.oldest_waiting(Timestamp(100)), Some(ms(20)));
    assert_eq!(pool.oldest_waiting(Timestamp(900)), None);
}

#[test]
fn what_has_lapsed_hides_nobody_and_is_no_candidate() {
    let mut pool = pool(Limits::default());
    let (early, late) = (transaction(1, 1, 100, 1), transaction(1, 2, 5_000, 1));
    put(&mut pool, &early, 10).expect("room");
    put(&mut pool, &late, 20).expect("room");
    assert_eq!(pool.oldest_waiting(Timestamp(101)), None, "the oldest has expired");
    pool.lapse(Timestamp(101));
    assert_eq!(pool.oldest_waiting(Timestamp(101)), Some(ms(20)), "the next waits since it came");
    assert_eq!(picked(&pool, 10), [late.id()]);
    assert!(pool.contains(&early.id()), "a slower clock may still propose it");
    check_consistent(&pool);
    pool.mark_proposed(block(1), &[early.id()]);
    pool.unmark(&block(1));
    assert_eq!(picked(&pool, 10), [late.id()], "a dropped proposal brings it back no more");
    pool.committed(&block(2), Height(1), &[early, late], ms(200));
    assert!(pool.is_empty());
    check_consistent(&pool);
}

/// What may happen to a mempool, on a dozen transactions and three blocks.
#[derive(Debug, Clone)]
enum Event {
    Insert(usize),
    Require(usize),
    Refuse(usize),
    Mark(u8, Vec<usize>),
    Unmark(u8),
    Commit(u8, Vec<usize>),
    Expire(u64),
    Lapse(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let one = 0..12usize;
    let some =
        proptest::collection::btree_set(0..12usize, 0..5).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    prop_oneof![
        4 => one.clone().prop_map(Event::Insert),
        2 => one.clone().prop_map(Event::Require),
        2 => one.prop_map(Event::Refuse),
        2 => (0..3u8, some.clone()).prop_map(|(block, some)| Event::Mark(block, some)),
        2 => (0..3u8).prop_map(Event::Unmark),
        1 => (0..3u8, some).prop_map(|(block, some)| Event::Commit(block, some)),
        1 => (0..5u64).prop_map(Event::Expire),
        1 => (0..5u64).prop_map(Event::Lapse),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_index_agrees_whatever_happens(events in proptest::collection::vec(event(), 1..60)) {
        let all: Vec<_> = (0..12u64).map(|n| transaction(u8::try_from(n % 3).unwrap(), n, 2 + n % 4, 1)).collect();
        let limits = Limits { transactions: 8, member_transactions: 3, ..Limits::default() };
        let mut pool = pool(limits);
        for (event, at) in events.into_iter().zip(0..) {
            let now = ms(at);
            match event {
                Event::Insert(n) => {
                    let _ = put(&mut pool, &all[n], at);
                }
                Event::Require(n) => {
                    let _ = pool.insert_required(all[n].clone(), Origin::LOCAL, now, Timestamp(at));
                }
                Event::Refuse(n) => {
                    let _ = pool.insert_refused(all[n].clone(), Origin::LOCAL, now, Timestamp(at));
                }
                Event::Mark(b, some) => {
                    let some: Vec<_> = some.into_iter().map(|n| all[n].id()).collect();
                    pool.mark_proposed(block(b), &some);
                }
                Event::Unmark(b) => drop(pool.unmark(&block(b))),
                Event::Commit(b, some) => {
                    let some: Vec<_> = some.into_iter().map(|n| all[n].clone()).collect();
                    pool.committed(&block(b), Height(at), &some, now);
                    prop_assert!(some.iter().all(|t| !pool.contains(&t.id())));
                }
                Event::Expire(time) => drop(pool.expire(Timestamp(time))),
                Event::Lapse(wall) => pool.lapse(Timestamp(wall)),
            }
            check_consistent(&pool);
            prop_assert!(pool.used.transactions <= 8);
            prop_assert!(pool.used_reserve.transactions <= 8);
            let candidates = picked(&pool, 100);
            prop_assert!(candidates.iter().all(|id| !pool.is_marked(id)));
        }
    }
}

#[test]
fn a_lifetime_that_a_slow_clock_refuses_accuses_nobody() {
    let mut pool = pool(Limits::default());
    let Parameters { max_lifetime_ms, max_clock_drift_ms, .. } = Parameters::default();
    put(&mut pool, &transaction(1, 0, max_lifetime_ms, 10), 5).expect("room");
    assert_eq!(pool.oldest_waiting(Timestamp(0)), None, "a leader behind by the drift must refuse it");
    let certain = Timestamp(max_clock_drift_ms);
    assert_eq!(pool.oldest_waiting(certain), Some(ms(5)), "now every correct clock accepts it");
}
