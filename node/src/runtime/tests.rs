//! The storage thread by itself: what it says, when, and what it does when it cannot write.

use super::mailbox::{Mailbox, Next};
use super::writer::{Disk, WriteQueue, Writer};
use crate::config;
use crate::core::api::{Guard, Input, Ready, Report};
use crate::metrics::Metrics;
use crate::storage::{RocksStore, Standing, Storage};
use quorate_ledger::{Column, Store, Write};
use quorate_transport::{Config, Directory, Node};
use quorate_types::hash::{ChainId, Hash, TransactionId};
use quorate_types::ids::{Height, ValidatorIndex, View};
use quorate_types::keys::SecretKey;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const CHAIN: ChainId = ChainId(Hash([7; 32]));
const RESERVE: u64 = 1000;

struct Bench {
    mailbox: Arc<Mailbox>,
    queue: Arc<WriteQueue>,
    disk: Arc<Disk>,
    free: Arc<AtomicU64>,
    store: RocksStore,
    reports: mpsc::Receiver<Vec<Report>>,
    thread: JoinHandle<Result<(), super::StorageFailure>>,
    _inbox: quorate_transport::Inbox,
}

/// A storage thread on a database in `dir`, with so much free space. To be called within a runtime.
fn bench(dir: &Path, free: u64) -> Bench {
    let free = Arc::new(AtomicU64::new(free));
    let looked_at = Arc::clone(&free);
    bench_looking(dir, free, move || looked_at.load(Ordering::SeqCst))
}

/// The same with whatever each look finds free.
fn bench_looking(dir: &Path, free: Arc<AtomicU64>, look: impl Fn() -> u64 + Send + 'static) -> Bench {
    let storage =
        Storage::open(&dir.join("data"), &dir.join("guard"), &CHAIN, &config::Storage::default()).unwrap();
    let key = SecretKey::from_seed(&[1; 32]);
    let directory = Directory { validators: vec![key.public()], ..Directory::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let started =
        Node::start(Config::new(listen), &key, ValidatorIndex(0), CHAIN, Arc::new(directory), Vec::new());
    let (node, inbox) = started.unwrap();
    let (mailbox, queue, disk) =
        (Arc::new(Mailbox::new()), Arc::<WriteQueue>::default(), Arc::<Disk>::default());
    let (reports_in, reports) = mpsc::channel(8);
    let writer = Writer {
        queue: Arc::clone(&queue),
        store: storage.store.clone(),
        guard: storage.guard,
        votes_at_start: storage.held.votes,
        min_free_bytes: RESERVE,
        free_bytes: Box::new(move || Ok(look())),
        node: Arc::new(node),
        reports: reports_in,
        mailbox: Arc::clone(&mailbox),
        disk: Arc::clone(&disk),
        metrics: Arc::new(Metrics::new(String::new(), String::new())),
    };
    let thread = std::thread::spawn(move || writer.run());
    Bench { mailbox, queue, disk, free, store: storage.store, reports, thread, _inbox: inbox }
}

fn guard(votes: u64) -> Guard {
    Guard { view: View(0), height: Height(votes), committed: Height(0), votes }
}

fn ready(number: u64) -> Ready {
    let guard = guard(number);
    Ready {
        number,
        persist: vec![Write::put(Column::Votes, b"guard".to_vec(), quorate_types::codec::encode(&guard))],
        sync: true,
        reports: vec![Report::Expired(vec![TransactionId(Hash::of(&[&number.to_le_bytes()]))])],
        guard: Some(guard),
        awaited: true,
        ..Ready::default()
    }
}

impl Bench {
    fn wait_persisted(&self, number: u64) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.mailbox.next(deadline, false) {
                Next::Inputs(inputs) => match inputs[..] {
                    [Input::Persisted(told)] if told == number => return,
                    [Input::Persisted(told)] => assert!(told < number),
                    _ => panic!("{number} was not written: {inputs:?}"),
                },
                other => panic!("{number} was not written: {other:?}"),
            }
        }
    }

    fn finish(self) -> Result<(), super::StorageFailure> {
        self.queue.close();
        self.thread.join().unwrap()
    }
}

#[tokio::test]
async fn written_then_said_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), u64::MAX);
    for number in 1..=200 {
        bench.queue.push(ready(number));
    }
    let mut expected = 1u64;
    while expected <= 200 {
        let group =
            tokio::time::timeout(Duration::from_secs(30), bench.reports.recv()).await.unwrap().unwrap();
        for report in group {
            // Whatever is reported can be read.
            let bytes = bench.store.get(Column::Votes, b"guard").unwrap().unwrap();
            let held: Guard = quorate_types::codec::decode(&bytes, 32).unwrap();
            assert!(held.votes >= expected);
            let id = TransactionId(Hash::of(&[&expected.to_le_bytes()]));
            assert!(matches!(report, Report::Expired(ids) if ids == [id]));
            expected += 1;
        }
    }
    bench.wait_persisted(200);
    bench.finish().unwrap();
    let config = config::Storage::default();
    let storage = Storage::open(&dir.path().join("data"), &dir.path().join("guard"), &CHAIN, &config);
    let storage = storage.unwrap();
    assert_eq!((storage.standing, storage.guard.last()), (Standing::Settled, guard(200)));
}

#[tokio::test]
async fn the_core_is_told_of_what_it_awaits() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), u64::MAX);
    bench.queue.push(Ready { awaited: false, ..ready(1) });
    bench.reports.recv().await.unwrap();
    let next = bench.mailbox.next(Instant::now(), false);
    assert!(matches!(next, Next::Tick), "{next:?}");
    bench.queue.push(ready(2));
    bench.wait_persisted(2);
    bench.finish().unwrap();
}

#[tokio::test]
async fn a_core_that_is_held_back_hears_of_anything() {
    let dir = tempfile::tempdir().unwrap();
    let bench = bench(dir.path(), 0);
    for number in 1..=1000 {
        bench.queue.push(Ready { awaited: false, reports: Vec::new(), ..ready(number) });
    }
    while bench.disk.trouble().is_none() {
        std::thread::yield_now();
    }
    assert!(bench.queue.is_behind());
    let (mailbox, free) = (Arc::clone(&bench.mailbox), Arc::clone(&bench.free));
    let (told_in, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || told_in.send(mailbox.next(Instant::now(), true)));
    free.store(u64::MAX, Ordering::SeqCst);
    let next = told.recv_timeout(Duration::from_secs(30)).expect("it is told something");
    assert!(matches!(&next, Next::Inputs(inputs) if matches!(inputs[..], [Input::Persisted(_)])), "{next:?}");
    bench.finish().unwrap();
}

/// What needs no write may be said at once then, and at no other time.
#[tokio::test]
async fn it_is_idle_when_all_is_written_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), u64::MAX);
    assert!(bench.queue.is_idle());
    bench.free.store(0, Ordering::SeqCst);
    bench.queue.push(ready(1));
    while bench.disk.trouble().is_none() || !bench.queue.is_empty() {
        std::thread::yield_now();
    }
    assert!(!bench.queue.is_idle(), "one is being written");
    bench.free.store(u64::MAX, Ordering::SeqCst);
    bench.reports.recv().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !bench.queue.is_idle() {
        assert!(Instant::now() < deadline, "there is nothing more to do");
        std::thread::yield_now();
    }
    bench.queue.close();
    bench.thread.join().unwrap().unwrap();
    assert!(!bench.queue.is_idle(), "nobody writes any more");
}

/// One that has nothing to write says so, too, and goes on when there is space.
#[tokio::test]
async fn a_disk_that_fills_up_is_noticed_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let bench = bench(dir.path(), 0);
    while bench.disk.trouble().is_none() {
        std::thread::yield_now();
    }
    bench.free.store(u64::MAX, Ordering::SeqCst);
    while bench.disk.trouble().is_some() {
        std::thread::yield_now();
    }
    bench.queue.push(ready(1));
    bench.wait_persisted(1);
    bench.finish().unwrap();
}

/// There may be space again between any two looks at it.
#[tokio::test]
async fn whichever_look_finds_space_first_says_so() {
    for full in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let looks = AtomicU64::new(0);
        let look = move || if looks.fetch_add(1, Ordering::SeqCst) < full { 0 } else { u64::MAX };
        let bench = bench_looking(dir.path(), Arc::default(), look);
        let deadline = Instant::now() + Duration::from_secs(30);
        for trouble in [true, false] {
            while bench.disk.trouble().is_some() != trouble {
                assert!(Instant::now() < deadline, "{full} looks found it full, and then: {trouble}");
                std::thread::yield_now();
            }
        }
        bench.finish().unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), u64::MAX);
    bench.queue.push(ready(1));
    bench.wait_persisted(1);
    bench.reports.recv().await.unwrap();

    bench.free.store(RESERVE - 1, Ordering::SeqCst);
    bench.queue.push(ready(2));
    while bench.disk.trouble().is_none() {
        std::thread::yield_now();
    }
    assert!(bench.disk.trouble().unwrap().contains("the disk is full"));
    let held = bench.store.get(Column::Votes, b"guard").unwrap().unwrap();
    assert_eq!(quorate_types::codec::decode::<Guard>(&held, 32).unwrap(), guard(1));
    assert!(bench.reports.try_recv().is_err());

    bench.free.store(u64::MAX, Ordering::SeqCst);
    bench.wait_persisted(2);
    bench.reports.recv().await.unwrap();
    assert_eq!(bench.disk.trouble(), None);
    bench.finish().unwrap();
}

#[tokio::test]
async fn a_full_disk_does_not_keep_the_node_from_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), 0);
    bench.queue.push(ready(1));
    while bench.disk.trouble().is_none() {
        std::thread::yield_now();
    }
    bench.queue.close();
    assert!(bench.reports.recv().await.is_none());
    bench.finish().unwrap();
}

#[tokio::test]
async fn a_database_that_refuses_ends_the_thread_and_nothing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), u64::MAX);
    bench.store.close().unwrap();
    bench.queue.push(ready(1));
    assert!(bench.reports.recv().await.is_none());
    let error = bench.finish().unwrap_err();
    assert!(matches!(error, super::StorageFailure::Write(_)), "{error}");
}

#[tokio::test]
async fn a_thread_that_nobody_hears_ends_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), u64::MAX);
    bench.reports.close();
    bench.queue.push(ready(1));
    let thread = tokio::task::spawn_blocking(|| bench.thread.join().unwrap());
    let error = tokio::time::timeout(Duration::from_secs(30), thread).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, super::StorageFailure::Unheard), "{error}");
}

/// Each part says its name when it ends, also by a panic; the first is the cause.
#[test]
fn whatever_ends_is_named() {
    let (ended_in, mut ended) = mpsc::unbounded_channel();
    let endings = super::Endings(ended_in);
    let ending = endings.of("verify-1");
    let panics = std::thread::spawn(move || {
        let _ending = ending;
        panic!("as a bug would");
    });
    assert!(panics.join().is_err());
    drop(endings.of("core"));
    assert_eq!(ended.try_recv().unwrap(), "verify-1");
    assert_eq!(ended.try_recv().unwrap(), "core");
}

#[test]
fn the_core_is_held_back_before_memory_runs_out() {
    let queue = WriteQueue::default();
    assert!(!queue.is_behind());
    for number in 1..=1000 {
        queue.push(ready(number));
    }
    assert!(queue.is_behind());
    let queue = WriteQueue::default();
    let large = Write::put(Column::Bodies, [1], vec![0; 32 << 20]);
    for number in 1..=4 {
        queue.push(Ready { number, persist: vec![large.clone()], ..Ready::default() });
    }
    assert!(queue.is_behind());
}
