//! Micro-benchmarks of the hot pieces, one after the other, on one thread:
//!
//! ```text
//! cargo bench -p quorate-tests            all
//! cargo bench -p quorate-tests verify     those whose names hold the word
//! ```
//!
//! A *block* is 1000 transactions, each a write of 512 bytes to one of 100 000 keys, by 16 signers. A block
//! is executed when it is proposed or checked, so "execute" is a check, and what it costs beyond that of a
//! block of transfers between 16 accounts is the tree.

mod fixture;

use criterion::{BatchSize, Criterion, Throughput};
use fixture::{BLOCK, Fixture, KEYS};
use quorate_ledger::Write;
use quorate_node::config;
use quorate_node::storage::Storage;
use quorate_types::block::transactions_root;
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Timestamp, ValidatorIndex, View};
use quorate_types::keys::Batch;
use quorate_types::parameters::limits;
use quorate_types::signed::Domain;
use quorate_types::transaction::{SignedTransaction, VerifiedTransaction, verify_transactions};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::hint::black_box;

/// Signatures of one batch.
const BATCH: usize = 1024;

/// Blocks whose writes are stored by turns.
const STORED: u64 = 32;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let fixture = Fixture::new();
    verify(&mut criterion, &fixture);
    encoding(&mut criterion, &fixture);
    blocks(&mut criterion, fixture);
    criterion.final_summary();
}

fn verify(criterion: &mut Criterion, fixture: &Fixture) {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    let encoded: Vec<_> = (0..).map(|n| fixture.write(n).bytes().clone()).take(BATCH).collect();
    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("1024 transactions, decoded and in one batch", |bencher| {
        bencher.iter(|| verify_transactions(&fixture.chain(), &encoded, &mut random));
    });
    let signed: Vec<(SignedTransaction, Vec<u8>)> = encoded
        .iter()
        .map(|bytes| {
            let signed: SignedTransaction =
                codec::decode(bytes, limits::TRANSACTION_BYTES).expect("it was encoded");
            let preimage =
                Domain::Transaction.preimage(&fixture.chain(), &codec::encode(&signed.transaction));
            (signed, preimage)
        })
        .collect();
    group.bench_function("1024 signatures in one batch", |bencher| {
        bencher.iter(|| {
            let mut batch = Batch::new();
            for (signed, preimage) in &signed {
                batch.push(&signed.transaction.sender, preimage, &signed.signature);
            }
            batch.verify(&mut random).expect("all are good");
        });
    });
    group.finish();
}

fn encoding(criterion: &mut Criterion, fixture: &Fixture) {
    let transaction = fixture.write(1);
    let bytes = transaction.bytes().clone();
    let signed: SignedTransaction = codec::decode(&bytes, limits::TRANSACTION_BYTES).expect("it was encoded");
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode a transaction", |bencher| bencher.iter(|| codec::encode(&signed)));
    group.bench_function("decode a transaction", |bencher| {
        bencher.iter(|| codec::decode::<SignedTransaction>(&bytes, limits::TRANSACTION_BYTES));
    });
    group.finish();
}

fn blocks(criterion: &mut Criterion, mut fixture: Fixture) {
    fixture.fill();
    let writes: Vec<VerifiedTransaction> = (0..BLOCK).map(|n| fixture.write(KEYS + n)).collect();
    let transfers: Vec<VerifiedTransaction> = (0..BLOCK).map(|n| fixture.transfer(n)).collect();
    let mut group = criterion.benchmark_group("block");
    group.throughput(Throughput::Elements(BLOCK));

    let ids: Vec<TransactionId> = writes.iter().map(VerifiedTransaction::id).collect();
    group.bench_function("root over the ids", |bencher| bencher.iter(|| transactions_root(black_box(&ids))));

    // No two blocks are the same, or the second would be known: each has a later time.
    let mut time = fixture.now().0;
    let mut tick = || {
        time += 1;
        Timestamp(time)
    };
    for (name, transactions) in
        [("execute transfers", &transfers), ("execute writes, update the tree", &writes)]
    {
        let header = fixture.propose(transactions, tick());
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || quorate_types::block::Header { timestamp: tick(), ..header.clone() },
                |header| fixture.ledger.check(&header, transactions, None).expect("a valid block"),
                BatchSize::PerIteration,
            );
        });
    }
    let parent = fixture.ledger.tip().block;
    group.bench_function("assemble: propose writes, and execute them", |bencher| {
        bencher.iter_batched(
            &mut tick,
            |now| {
                let mut candidates = writes.iter().cloned();
                let proposed = fixture.ledger.propose(
                    parent,
                    View(0),
                    ValidatorIndex(0),
                    now,
                    usize::MAX,
                    &mut candidates,
                );
                proposed.expect("a leader may propose").block.expect("all transactions fit")
            },
            BatchSize::PerIteration,
        );
    });

    let directory = tempfile::tempdir().expect("a temporary directory");
    let (data, guard) = (directory.path().join("data"), directory.path().join("guard"));
    let storage = Storage::open(&data, &guard, &fixture.chain(), &config::Storage::default());
    let store = storage.expect("a new database").store;
    let stored: Vec<Vec<Write>> = (1..=STORED)
        .map(|round| {
            let first = KEYS + (round + 1) * BLOCK;
            let transactions: Vec<_> = (first..first + BLOCK).map(|n| fixture.write(n)).collect();
            fixture.commit(&transactions)
        })
        .collect();
    let mut turn = stored.iter().cycle();
    group.bench_function("store the writes of its state, synced", |bencher| {
        bencher.iter(|| store.apply(turn.next().expect("it never ends"), true).expect("there is room"));
    });
    group.finish();
}
