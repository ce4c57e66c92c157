//! Each rule a block and a transaction must meet.

use crate::common::*;
use quorate_ledger::{InvalidBlock, Ledger, LedgerError, MemoryStore, Refusal, founding_result};
use quorate_types::block::Header;
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash, ResultHash};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::parameters::Parameters;
use quorate_types::transaction::{Operation, VerifiedTransaction};

fn ledger() -> Ledger<MemoryStore> {
    Ledger::in_memory(genesis())
}

fn asset(nonce: u64) -> VerifiedTransaction {
    transaction(ALICE, nonce, vec![create_asset(&format!("asset-{nonce}"))])
}

/// Checks a block whose header one change makes invalid, and sees that nothing became pending.
fn refused(change: impl FnOnce(&mut Header)) -> InvalidBlock {
    let mut ledger = ledger();
    let transactions = [asset(1), asset(2)];
    let mut header = header_on_tip(&ledger, &transactions, START);
    change(&mut header);
    let refusal = ledger.check(&header, &transactions, Some(Timestamp(START))).expect_err("invalid");
    assert_eq!(ledger.pending_count(), 0);
    refusal
}

#[test]
fn every_header_field_is_checked() {
    let genesis = genesis();
    let other = Hash([1; 32]);
    assert_eq!(refused(|h| h.chain = ChainId(other)), InvalidBlock::WrongChain(ChainId(other)));
    assert_eq!(refused(|h| h.height = Height(0)), InvalidBlock::Decided { found: Height(0), tip: Height(0) });
    assert_eq!(
        refused(|h| h.height = Height(2)),
        InvalidBlock::WrongHeight { found: Height(2), expected: Height(1) }
    );
    assert_eq!(
        refused(|h| h.height = Height(u64::MAX)),
        InvalidBlock::WrongHeight { found: Height(u64::MAX), expected: Height(1) }
    );
    assert_eq!(refused(|h| h.parent = BlockHash(other)), InvalidBlock::UnknownParent(BlockHash(other)));
    assert_eq!(
        refused(|h| h.parent_result = ResultHash(other)),
        InvalidBlock::WrongParentResult {
            found: ResultHash(other),
            expected: founding_result(&genesis).hash(&genesis.chain)
        }
    );
    assert_eq!(
        refused(|h| h.validators = other),
        InvalidBlock::WrongValidators { found: other, expected: genesis.validators.hash(&genesis.chain) }
    );
    let wrong_proposer = |found, expected| InvalidBlock::WrongProposer {
        found: ValidatorIndex(found),
        expected: ValidatorIndex(expected),
    };
    assert_eq!(refused(|h| h.proposer = ValidatorIndex(1)), wrong_proposer(1, 0));
    assert_eq!(refused(|h| h.proposer = ValidatorIndex(u16::MAX)), wrong_proposer(u16::MAX, 0));
    assert_eq!(refused(|h| h.view = View(3)), wrong_proposer(0, 1));
    assert!(matches!(refused(|h| h.history_root = other), InvalidBlock::WrongHistoryRoot { .. }));
    assert!(matches!(refused(|h| h.transactions_root = other), InvalidBlock::WrongTransactionsRoot { .. }));
    assert_eq!(refused(|h| h.transaction_count = 3), InvalidBlock::WrongCount { header: 3, found: 2 });
    assert_eq!(refused(|h| h.transaction_count = 0), InvalidBlock::WrongCount { header: 0, found: 2 });
}

/// failures.md, row 45: far ahead, behind, equal.
#[test]
fn the_time_of_a_block() {
    let drift = Parameters::default().max_clock_drift_ms;
    assert!(matches!(refused(|h| h.timestamp.0 -= 1), InvalidBlock::BeforeParent { .. }));
    assert!(matches!(refused(|h| h.timestamp.0 += drift + 1), InvalidBlock::AheadOfClock { .. }));
    assert!(matches!(refused(|h| h.timestamp.0 = u64::MAX), InvalidBlock::AheadOfClock { .. }));
    let accepts = |time: u64, clock: Option<u64>| {
        let mut ledger = ledger();
        let transactions = [transaction_until(ALICE, 1, 300_000, vec![create_asset("a")])];
        let header = header_on_tip(&ledger, &transactions, time);
        ledger.check(&header, &transactions, clock.map(Timestamp)).is_ok()
    };
    assert!(accepts(START, Some(START)));
    assert!(accepts(START + drift, Some(START)));
    assert!(accepts(START, Some(START + drift)));
    assert!(!accepts(START, Some(START + drift + 1)));
    // A re-proposed old block skips the clock; a clock that lags accepts the time agreed already.
    assert!(accepts(START + 250_000, None));
    assert!(accepts(START, Some(0)));
    assert!(!accepts(START + 1, Some(0)));
}

#[test]
fn a_leader_whose_clock_lags_repeats_the_parents_time() {
    let mut ledger = ledger();
    let base = ledger.tip().block;
    let first = propose(&mut ledger, base, vec![asset(1)]);
    let early = Timestamp(START - 500_000);
    let proposed = ledger
        .propose(first, View(0), ValidatorIndex(0), early, usize::MAX, &mut [asset(2)].into_iter())
        .unwrap();
    let (header, transactions, result) = proposed.block.unwrap();
    assert_eq!(header.timestamp, Timestamp(START));
    let mut replica = Ledger::in_memory(genesis());
    let parent = ledger.pending(first).unwrap().clone();
    replica.check(&parent.header, &parent.transactions, Some(Timestamp(START))).unwrap();
    assert_eq!(replica.check(&header, &transactions, Some(early)), Ok(result));
}

#[test]
fn the_limits_of_a_block() {
    let one = asset(1).bytes().len();
    let parameters = Parameters {
        max_block_transactions: 3,
        max_block_bytes: u32::try_from(2 * one + 1).unwrap(),
        ..Parameters::default()
    };
    let check = |transactions: &[VerifiedTransaction], parameters: &Parameters| {
        let mut ledger = Ledger::in_memory(genesis_of(parameters.clone()));
        let header = header_on_tip(&ledger, transactions, START);
        ledger.check(&header, transactions, None).map(|_| ())
    };
    assert_eq!(check(&[], &parameters), Err(InvalidBlock::Empty));
    assert_eq!(check(&[asset(1), asset(2)], &parameters), Ok(()));
    let bytes = InvalidBlock::TooManyBytes { found: 3 * one, limit: parameters.max_block_bytes };
    assert_eq!(check(&[asset(1), asset(2), asset(3)], &parameters), Err(bytes));
    let roomy = Parameters { max_block_bytes: 1 << 20, ..parameters.clone() };
    let four = [asset(1), asset(2), asset(3), asset(4)];
    assert_eq!(check(&four, &roomy), Err(InvalidBlock::TooManyTransactions { found: 4, limit: 3 }));

    // A leader stays within both, in order, and leaves the rest.
    let mut tight = Ledger::in_memory(genesis_of(parameters));
    let mut candidates = four.clone().into_iter();
    let parent = tight.tip().block;
    let now = Timestamp(START);
    let proposed =
        tight.propose(parent, View(0), ValidatorIndex(0), now, usize::MAX, &mut candidates).unwrap();
    assert_eq!(proposed.block.unwrap().1, four[..2]);
    let mut roomy = Ledger::in_memory(genesis_of(roomy));
    let mut candidates = four.clone().into_iter();
    let proposed =
        roomy.propose(parent, View(0), ValidatorIndex(0), now, usize::MAX, &mut candidates).unwrap();
    assert_eq!(proposed.block.unwrap().1, four[..3]);
    assert_eq!(candidates.next().map(|t| t.id()), Some(four[3].id()), "not drawn without need");
}

#[test]
fn transactions_that_may_not_stand_in_a_block() {
    let lifetime = Parameters::default().max_lifetime_ms;
    let operations = || vec![create_asset("a")];
    let large =
        Operation::Put { namespace: "n".into(), key: vec![1], value: vec![0; 70_000], expected: None };
    let foreign = {
        let chain = ChainId(Hash([3; 32]));
        let sender = key(ALICE);
        let transaction = quorate_types::transaction::Transaction {
            chain,
            sender,
            nonce: 0,
            expires_at: Timestamp(START),
            operations: operations(),
        };
        let bytes = codec::encode_bytes(&transaction.sign(&secret(ALICE)));
        quorate_types::transaction::verify_transaction(&chain, bytes).unwrap()
    };
    let large = transaction(ALICE, 1, vec![large]);
    let (expires_at, time) = (Timestamp(START - 1), Timestamp(START));
    let expired = {
        // Expired when the block's time has come one millisecond past it.
        let transaction = quorate_types::transaction::Transaction {
            chain: genesis().chain,
            sender: key(ALICE),
            nonce: 0,
            expires_at,
            operations: operations(),
        };
        let bytes = codec::encode_bytes(&transaction.sign(&secret(ALICE)));
        quorate_types::transaction::verify_transaction(&genesis().chain, bytes).unwrap()
    };
    let latest = Timestamp(START + lifetime);
    let cases = [
        (foreign, Refusal::WrongChain),
        (transaction(STRANGER, 1, operations()), Refusal::UnknownSender),
        (transaction(AUDITOR, 1, operations()), Refusal::NotSubmitter),
        (transaction(OPERATOR, 1, operations()), Refusal::NotSubmitter),
        (large.clone(), Refusal::TooLarge { bytes: large.bytes().len(), limit: 64 << 10 }),
        (expired, Refusal::Expired { expires_at, time }),
        (
            transaction_until(ALICE, 1, lifetime + 1, operations()),
            Refusal::TooFarAhead { expires_at: Timestamp(START + lifetime + 1), latest },
        ),
    ];
    for (bad, refusal) in cases {
        let mut ledger = ledger();
        // At ingress,
        assert_eq!(ledger.admit(&bad, Timestamp(START)), Err(refusal.clone()));
        // in another's proposal,
        let transactions = [asset(7), bad.clone()];
        let header = header_on_tip(&ledger, &transactions, START);
        let expected = InvalidBlock::Transaction { index: 1, id: bad.id(), refusal: refusal.clone() };
        assert_eq!(ledger.check(&header, &transactions, None), Err(expected));
        // and in one's own.
        let parent = ledger.tip().block;
        let now = Timestamp(START);
        let proposed = ledger
            .propose(parent, View(0), ValidatorIndex(0), now, usize::MAX, &mut transactions.into_iter())
            .unwrap();
        assert_eq!(proposed.skipped, [(bad.id(), refusal)]);
        assert_eq!(proposed.block.unwrap().1, [asset(7)]);
    }
    // The ends of the range are inside it.
    for expires_in in [0, lifetime] {
        let transactions = [transaction_until(ALICE, 1, expires_in, operations())];
        let mut ledger = ledger();
        assert_eq!(ledger.admit(&transactions[0], Timestamp(START)), Ok(()));
        let header = header_on_tip(&ledger, &transactions, START);
        assert!(ledger.check(&header, &transactions, None).is_ok());
    }
}

#[test]
fn admission_holds_against_clock_and_tip() {
    let mut ledger = ledger();
    let parent = ledger.tip().block;
    let now = Timestamp(START + 5_000);
    let proposed = ledger
        .propose(parent, View(0), ValidatorIndex(0), now, usize::MAX, &mut [asset(1)].into_iter())
        .unwrap();
    ledger.commit(proposed.block.unwrap().0.hash()).unwrap();
    let short = transaction_until(ALICE, 2, 4_000, vec![create_asset("b")]);
    // The clock lags behind the tip: the tip decides.
    let expired = Refusal::Expired { expires_at: Timestamp(START + 4_000), time: now };
    assert_eq!(ledger.admit(&short, Timestamp(START)), Err(expired));
    assert_eq!(ledger.admit(&asset(1), Timestamp(START)), Err(Refusal::AlreadyCommitted));
    assert_eq!(ledger.admit(&asset(2), Timestamp(START)), Ok(()));
}

#[test]
fn only_the_leader_of_the_view_proposes_and_only_on_what_is_known() {
    let mut ledger = ledger();
    let (parent, now) = (ledger.tip().block, Timestamp(START));
    let mut attempt = |parent, view, proposer| {
        ledger
            .propose(
                parent,
                View(view),
                ValidatorIndex(proposer),
                now,
                usize::MAX,
                &mut [asset(1)].into_iter(),
            )
            .map(|_| ())
    };
    assert!(matches!(attempt(parent, 0, 1), Err(LedgerError::NotLeader { .. })));
    assert!(matches!(attempt(parent, 1, 0), Err(LedgerError::NotLeader { .. })));
    let unknown = BlockHash(Hash([8; 32]));
    assert_eq!(attempt(unknown, 0, 0), Err(LedgerError::UnknownParent(unknown)));
    assert_eq!(attempt(parent, 1, 1), Ok(()));
}

#[test]
fn no_candidates_no_block() {
    let mut ledger = ledger();
    let parent = ledger.tip().block;
    let proposed = ledger
        .propose(parent, View(0), ValidatorIndex(0), Timestamp(START), usize::MAX, &mut std::iter::empty())
        .unwrap();
    assert!(proposed.block.is_none());
    assert_eq!(ledger.pending_count(), 0);
}

/// failures.md, row 41: what is not canonical, too large or has too few or too many operations never
/// becomes a verified transaction, which is all the ledger takes.
#[test]
fn malformed_transactions_stop_at_the_edge() {
    use quorate_types::transaction::{Transaction, verify_transaction};
    let chain = genesis().chain;
    let signed = |operations| {
        let expires_at = Timestamp(START);
        codec::encode(
            &Transaction { chain, sender: key(ALICE), nonce: 0, expires_at, operations }.sign(&secret(ALICE)),
        )
    };
    let verify = |bytes: Vec<u8>| verify_transaction(&chain, bytes.into()).is_ok();
    let good = signed(vec![create_asset("a")]);
    assert!(verify(good.clone()));
    assert!(!verify([&good[..], &[0]].concat()));
    assert!(!verify(good[..good.len() - 1].to_vec()));
    assert!(!verify(signed(vec![])));
    assert!(verify(signed(vec![create_asset("a"); 64])));
    assert!(!verify(signed(vec![create_asset("a"); 65])));
    assert!(!verify(signed(vec![create_asset("")])));
    let put = |key: usize, value: usize| {
        let operation = Operation::Put {
            namespace: "n".into(),
            key: vec![0; key],
            value: vec![0; value],
            expected: None,
        };
        signed(vec![operation])
    };
    assert!(verify(put(256, 512 << 10)));
    assert!(!verify(put(0, 1)));
    assert!(!verify(put(257, 1)));
    assert!(!verify(put(1, (512 << 10) + 1)));
    let mut bomb = good.clone();
    bomb[32 + 32 + 8 + 8..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(!verify(bomb));
}
