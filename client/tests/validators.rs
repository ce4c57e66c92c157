//! The client against validators that are honest, down, silent or lying, over the real transport.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::node::{Behaviour, Validators, start};
use common::{entry, keys, put};
use quorate_client::audit::{Verdict, audit};
use quorate_client::client::bulk::{BulkError, BulkOptions, Fate, Landed};
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_client::client::{Client, Options};
use quorate_client::error::{ClientError, Complaints, Exit, Fault};
use quorate_client::verify::VerifyError;
use quorate_ledger::StateValue;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use Behaviour::{Behind, Cutter, Down, Empty, Honest, Liar, Misreporter, Refuser, Silent};

fn client_of(validators: &Validators, nodes: &[&str]) -> Client {
    patient(validators, nodes, Duration::from_millis(1500))
}

fn patient(validators: &Validators, nodes: &[&str], timeout: Duration) -> Client {
    let options = Options { nodes: nodes.iter().map(|&node| node.to_owned()).collect(), timeout };
    Client::new(Arc::clone(&validators.consortium.founding), keys(4).member, &options).unwrap()
}

fn namespace() -> Vec<Operation> {
    vec![Operation::CreateNamespace { namespace: "crates".to_owned() }]
}

async fn submit(client: &Client, operations: Vec<Operation>) -> Result<Outcome, ClientError> {
    let signed = client.sign(operations, DEFAULT_LIFETIME);
    client.submit(&signed).await.map(|receipt| {
        assert_eq!(receipt.id(), signed.id());
        receipt.outcome().clone()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn submits_and_reads_with_proofs() {
    let validators = start([Honest; 4]);
    let client = client_of(&validators, &[]);
    assert_eq!(submit(&client, namespace()).await.unwrap(), Outcome::Applied);
    let signed = client.sign(vec![put("crates", "serde", "1.0.229")], DEFAULT_LIFETIME);
    let receipt = client.submit(&signed).await.unwrap();
    assert_eq!(receipt.height(), Height(2));
    // The same again: the same receipt, and one effect.
    assert_eq!(client.submit(&signed).await.unwrap().height(), Height(2));
    let state = client.read(entry("crates", "serde"), None).await.unwrap();
    let Some(StateValue::Entry(found)) = state.value() else { panic!("present") };
    assert_eq!(found.value, b"1.0.229");
    assert_eq!(client.read(entry("crates", "tokio"), None).await.unwrap().value(), None);
    assert_eq!(client.read(entry("crates", "serde"), Some(Height(1))).await.unwrap().value(), None);
    assert_eq!(client.block(Some(Height(2))).await.unwrap().transactions()[0].id(), signed.id());
    assert_eq!(client.receipt(signed.id()).await.unwrap().height(), Height(2));
    assert_eq!(client.highest(), Height(2));
    assert!(client.status().await.iter().all(|(_, status)| status.is_ok()));
    let taken_by = client.hand_in(&signed).await.unwrap();
    assert!(common::NAMES[..4].contains(&taken_by.as_str()), "{taken_by}");
    let failed = submit(&client, vec![put("nowhere", "a", "b")]).await.unwrap();
    assert!(matches!(failed, Outcome::Failed { operation: 0, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_honest_validator_is_enough() {
    for others in [Down, Silent, Liar, Misreporter] {
        let validators = start([others, others, Honest, others]);
        let client = client_of(&validators, &[]);
        assert_eq!(submit(&client, namespace()).await.unwrap(), Outcome::Applied, "{others:?}");
        let state = client.read(entry("crates", "x"), None).await.unwrap();
        assert_eq!(state.value(), None, "{others:?}");
        assert_eq!(client.block(None).await.unwrap().height(), Height(1), "{others:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn liars_are_named_and_nothing_of_theirs_is_believed() {
    let validators = start([Liar; 4]);
    let id = validators.commit(namespace());
    let client = client_of(&validators, &[]);
    let error = client.read(entry("crates", "x"), None).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unverified);
    let ClientError::NoAnswer { complaints, .. } = &error else { panic!("{error}") };
    let liars: HashSet<&str> = complaints.0.iter().map(|c| c.validator.as_str()).collect();
    assert_eq!(liars, HashSet::from(["acme", "bolt", "crown", "dune"]));
    assert!(complaints.0.iter().all(|c| matches!(c.fault, Fault::Lying(VerifyError::Receipt(_)))));
    assert_eq!(client.receipt(id).await.unwrap_err().exit(), Exit::Unverified);
    assert_eq!(client.block(None).await.unwrap_err().exit(), Exit::Unverified);
    // Afterwards an honest one is asked first.
    validators.behave(2, Honest);
    assert_eq!(client.receipt(id).await.unwrap().id(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_exit_code_seven() {
    let validators = start([Down; 4]);
    let client = client_of(&validators, &[]);
    let error = client.block(None).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    let error = submit(&client, namespace()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotHandedIn { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_not_found() {
    let validators = start([Honest, Honest, Honest, Down]);
    validators.commit(namespace());
    let client = client_of(&validators, &[]);
    let error = client.receipt(TransactionId::default()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound);
    assert_eq!(client.block(Some(Height(9))).await.unwrap_err().exit(), Exit::NotFound);
    // One that says so may lie.
    for nodes in [&["acme"][..], &["acme", "dune"], &["acme", "acme"]] {
        let error = client_of(&validators, nodes).receipt(TransactionId::default()).await.unwrap_err();
        assert!(matches!(error, ClientError::NoAnswer { .. }), "{nodes:?}: {error}");
        assert_eq!(error.exit(), Exit::Unreachable, "{nodes:?}");
    }
    let error =
        client_of(&validators, &["acme", "bolt"]).receipt(TransactionId::default()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound);
    // And where somebody was caught lying, that is what there is to say.
    let id = validators.commit(vec![put("crates", "k", "v")]);
    validators.behave(0, Refuser);
    validators.behave(1, Refuser);
    validators.behave(2, Liar);
    assert_eq!(client.receipt(id).await.unwrap_err().exit(), Exit::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_enough_are_a_rejection_and_of_one_are_not() {
    let validators = start([Refuser, Down, Refuser, Silent]);
    let client = client_of(&validators, &[]);
    let error = submit(&client, namespace()).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Rejected);
    let lines = (1..=10u64).map(|n| Ok::<_, Infallible>((n, namespace())));
    let options = BulkOptions { in_flight: 100, lifetime: DEFAULT_LIFETIME };
    let all_refused = |landed: &Landed, _: &_| assert!(matches!(landed.fate, Fate::Refused(_)));
    let totals = client.bulk(lines, &options, all_refused).await.unwrap();
    assert_eq!((totals.submitted, totals.refused), (10, 10));
    validators.behave(2, Honest);
    assert_eq!(submit(&client, namespace()).await.unwrap(), Outcome::Applied);
}

/// Who refuses may lie, and pass the transaction on: its member, told that it took no effect, would make another.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_validator_refuses_is_of_unknown_fate() {
    let validators = start([Refuser, Down, Down, Down]);
    let (_, acme) = validators.consortium.founding.validator_details().next().unwrap();
    let address = format!("localhost:{}", acme.address.port());
    let refused = |complaints: &Complaints| {
        complaints.0.iter().any(|c| c.validator == "acme" && matches!(c.fault, Fault::Refused(_)))
    };
    let client_of = |nodes: &[&str]| patient(&validators, nodes, Duration::from_secs(1));
    let client = client_of(&["acme"]);
    let signed = client.sign(namespace(), DEFAULT_LIFETIME);
    let error = client.hand_in(&signed).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unknown { complaints, .. } if refused(complaints)), "{error}");

    let short = Duration::from_millis(200);
    let submitted = async |nodes: &[&str]| {
        let client = client_of(nodes);
        let signed = client.sign(namespace(), short);
        let error = client.submit(&signed).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unknown, "{nodes:?}: {error}");
        let ClientError::Unknown { complaints, .. } = error else { panic!("{error}") };
        assert!(refused(&complaints), "{nodes:?}: {complaints}");
    };
    let streamed = async {
        let lines = [Ok::<_, Infallible>((7, namespace()))].into_iter();
        let options = BulkOptions { in_flight: 10, lifetime: short };
        let mut fate = None;
        let totals =
            client.bulk(lines, &options, |landed, _| fate = Some(landed.fate.clone())).await.unwrap();
        assert_eq!((totals.submitted, totals.refused, totals.unknown), (1, 0, 1));
        assert!(matches!(fate, Some(Fate::Unknown { refusals }) if refused(&refusals)));
    };
    // All nodes, one, and one by two names: all at a time, as each waits for the transaction to expire.
    let (all, one, twice) = (&[][..], &["acme"][..], &["acme", address.as_str()][..]);
    tokio::join!(submitted(all), submitted(one), submitted(twice), streamed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_than_the_chain_allows_is_not_sent() {
    let validators = start([Honest; 4]);
    validators.commit(namespace());
    let client = client_of(&validators, &[]);
    // Longer than any frame may be, too.
    let huge: Vec<Operation> =
        (0..5).map(|n| put("crates", &format!("h{n}"), &"x".repeat(500_000))).collect();
    let lines = (1..=20u64).map(|n| {
        let operations = match n {
            7 => huge.clone(),
            11 => vec![put("crates", "long", &"x".repeat(65_536))],
            _ => vec![put("crates", &format!("k{n}"), "v")],
        };
        Ok::<_, Infallible>((n, operations))
    });
    let lines: Vec<_> = lines.collect();
    let options = BulkOptions { in_flight: 100, lifetime: DEFAULT_LIFETIME };
    let submitted = Arc::default();
    let mut kept_back = Vec::new();
    let landed = |landed: &Landed, _: &_| {
        if let Fate::TooLarge { limit: 65_536, .. } = landed.fate {
            kept_back.push(landed.line);
        }
    };
    let totals =
        client.bulk_counted(lines.into_iter(), &options, Arc::clone(&submitted), landed).await.unwrap();
    assert_eq!((totals.submitted, totals.applied, totals.refused), (20, 18, 2));
    assert_eq!(submitted.load(Ordering::Relaxed), 20);
    assert_eq!(kept_back, [7, 11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_is_no_loss_and_no_second_effect() {
    let validators = start([Cutter, Cutter, Cutter, Honest]);
    let client = client_of(&validators, &[]);
    assert_eq!(submit(&client, namespace()).await.unwrap(), Outcome::Applied);
    assert_eq!(client.block(None).await.unwrap().height(), Height(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_says_so() {
    let validators = start([Silent; 4]);
    let client = client_of(&validators, &[]);
    let signed = client.sign(namespace(), Duration::from_millis(200));
    let error = client.submit(&signed).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unknown);
    assert_eq!(error.transaction(), Some(signed.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_may_be_named_by_name_or_address() {
    let validators = start([Honest, Down, Down, Honest]);
    validators.commit(namespace());
    let founding = &validators.consortium.founding;
    let (_, dune) = founding.validator_details().last().unwrap();
    for node in ["dune".to_owned(), dune.address.to_string(), format!("localhost:{}", dune.address.port())] {
        let client = client_of(&validators, &[&node]);
        assert_eq!(client.block(None).await.unwrap().height(), Height(1), "{node}");
    }
    let options = Options { nodes: vec!["nobody".to_owned()], ..Options::default() };
    assert!(Client::new(Arc::clone(founding), keys(4).member, &options).is_err());
    let stranger = quorate_types::keys::SecretKey::from_seed(&[99; 32]);
    assert!(Client::new(Arc::clone(founding), stranger, &Options::default()).is_err());
}

async fn bulk(client: &Client, count: u64, in_flight: usize) -> (Vec<u64>, u64) {
    let lines = (1..=count).map(|n| Ok::<_, Infallible>((n, vec![put("crates", &format!("k{n}"), "v")])));
    let options = BulkOptions { in_flight, lifetime: DEFAULT_LIFETIME };
    let mut applied = Vec::new();
    let totals = client
        .bulk(lines, &options, |landed, _| {
            if let Fate::Committed { outcome: Outcome::Applied, .. } = landed.fate {
                applied.push(landed.line);
            }
        })
        .await
        .unwrap();
    assert_eq!(totals.submitted, count);
    assert_eq!(totals.latencies.count(), count);
    applied.sort_unstable();
    (applied, totals.applied)
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_settles_every_line_once() {
    let mixed = [
        [Honest; 4],
        [Honest, Down, Silent, Liar],
        [Cutter, Refuser, Honest, Liar],
        [Misreporter, Misreporter, Honest, Misreporter],
    ];
    for behaviours in mixed {
        let validators = start(behaviours);
        validators.commit(namespace());
        let client = client_of(&validators, &[]);
        let (lines, applied) = bulk(&client, 800, 300).await;
        assert_eq!(applied, 800, "{behaviours:?}");
        assert_eq!(lines, (1..=800).collect::<Vec<_>>(), "{behaviours:?}");
        let chain = validators.shared.chain.lock().unwrap();
        let on_chain: usize = chain.made.iter().map(|made| made.ids.len()).sum();
        assert_eq!(on_chain, 801, "{behaviours:?}: one effect each");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_goes_on_when_a_validator_goes() {
    let mut validators = start([Honest; 4]);
    validators.commit(namespace());
    let client = client_of(&validators, &[]);
    let run = tokio::spawn(async move { bulk(&client, 1500, 100).await });
    while validators.shared.handed_in.load(Ordering::Relaxed) < 300 {
        tokio::task::yield_now().await;
    }
    validators.stop(0).await;
    validators.stop(3).await;
    let (lines, _) = run.await.unwrap();
    assert_eq!(lines, (1..=1500).collect::<Vec<_>>());
}

/// A validator that was killed and is back knows nothing of the stream that a client still has to it. It is
/// dialled again as soon as it is seen to be silent while others commit, not when the stream times out.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_dials_a_silent_validator_again() {
    let validators = start([Honest, Honest, Honest, Silent]);
    validators.commit(namespace());
    let founding = Arc::clone(&validators.consortium.founding);
    let options = Options { timeout: Duration::from_secs(3600), ..Options::default() };
    let client = Client::new(founding, keys(4).member, &options).unwrap();
    let streams = || validators.shared.streams[3].load(Ordering::Relaxed);
    let (give, input) = tokio::sync::mpsc::channel(10);
    let signer = client.clone();
    let run = tokio::spawn(async move { client.bulk_signed(input, 100, |_, _| ()).await.unwrap() });
    let mut lines = 0;
    let dialled_again = async {
        while streams() < 2 {
            if streams() == 1 {
                validators.behave(3, Honest);
            }
            lines += 1;
            let operations = vec![put("crates", &format!("k{lines}"), "v")];
            give.send((lines, signer.sign(operations, DEFAULT_LIFETIME))).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), dialled_again).await.expect("dialled again");
    drop(give);
    assert_eq!(run.await.unwrap().applied, lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_ends_bulk_after_what_was_before_it() {
    let validators = start([Honest; 4]);
    validators.commit(namespace());
    let client = client_of(&validators, &[]);
    let good = (1..=10u64).map(|n| Ok((n, vec![put("crates", "k", "v")])));
    let lines = good.chain([Err(std::io::Error::other("line 11 is bad")), Ok((12, namespace()))]);
    let options = BulkOptions { in_flight: 100, lifetime: DEFAULT_LIFETIME };
    let mut landed = 0;
    let error = client.bulk(lines, &options, |_, _| landed += 1).await.unwrap_err();
    let BulkError::Input { totals, .. } = error else { panic!("{error}") };
    assert_eq!((totals.submitted, totals.applied), (10, 10));
    assert_eq!(landed, 10);
    let validators = start([Down; 4]);
    let client = client_of(&validators, &[]);
    let lines = (1..=10u64).map(|n| Ok::<_, Infallible>((n, namespace())));
    let error = client.bulk(lines, &options, |_, _| ()).await.unwrap_err();
    assert!(matches!(error, BulkError::Client(ClientError::NoAnswer { .. })), "{error}");
}

/// What was signed before, by several members, is handed in by one; a second copy has no second effect.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_before_is_submitted_as_it_comes() {
    for behaviours in [[Honest; 4], [Cutter, Refuser, Honest, Liar]] {
        let validators = start(behaviours);
        validators.commit(namespace());
        let client = client_of(&validators, &[]);
        let founding = Arc::clone(&validators.consortium.founding);
        let other = Client::new(founding, keys(0).member, &Options::default()).unwrap();
        let (give, input) = tokio::sync::mpsc::channel(10);
        let run = tokio::spawn(async move {
            let mut landed = Vec::new();
            let totals = client.bulk_signed(input, 100, |one, _| landed.push(one.clone())).await.unwrap();
            (landed, totals)
        });
        let signer = client_of(&validators, &[]);
        for n in 1..=400u64 {
            let client = if n % 2 == 0 { &signer } else { &other };
            let signed = client.sign(vec![put("crates", &format!("k{n}"), "v")], DEFAULT_LIFETIME);
            if n % 50 == 0 {
                give.send((0, signed.clone())).await.unwrap();
            }
            give.send((n, signed)).await.unwrap();
        }
        drop(give);
        let (landed, totals) = run.await.unwrap();
        assert_eq!(totals.submitted, 408);
        let committed = landed.iter().filter(|one| matches!(one.fate, Fate::Committed { .. })).count();
        assert_eq!(committed, landed.len(), "{behaviours:?}");
        // A copy is reported by itself only where the first has landed before it came.
        let numbers: HashSet<u64> = landed.iter().map(|one| one.line).collect();
        assert!((1..=400).all(|n| numbers.contains(&n)), "{behaviours:?}");
        let chain = validators.shared.chain.lock().unwrap();
        let on_chain: usize = chain.made.iter().map(|made| made.ids.len()).sum();
        assert_eq!(on_chain, 401, "{behaviours:?}: one effect each");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_signed_needs_somebody_to_submit_to() {
    let validators = start([Down; 4]);
    let client = client_of(&validators, &[]);
    let (give, input) = tokio::sync::mpsc::channel(1);
    give.send((1, client.sign(namespace(), DEFAULT_LIFETIME))).await.unwrap();
    let error = client.bulk_signed(input, 100, |_, _| ()).await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_has_no_gap_when_validators_come_and_go() {
    let mut validators = start([Honest; 4]);
    validators.commit(namespace());
    let client = client_of(&validators, &[]);
    let mut blocks = client.blocks(Height(1), true);
    let mut next = 1;
    for round in 0..4 {
        for n in 0..5 {
            validators.commit(vec![put("crates", &format!("{round}-{n}"), "v")]);
        }
        let latest = 1 + 5 * (round + 1);
        while next <= latest {
            assert_eq!(blocks.next().await.unwrap().unwrap().height(), Height(next));
            next += 1;
        }
        if round < 3 {
            // The one it reads from goes away.
            let source = blocks.source().unwrap();
            let index = common::NAMES.iter().position(|name| *name == source).unwrap();
            validators.stop(index).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_chain_ends_a_stream_that_is_not_live() {
    let validators = start([Silent, Honest, Down, Honest]);
    validators.commit(namespace());
    validators.commit(vec![put("crates", "k", "v")]);
    let client = client_of(&validators, &[]);
    let mut blocks = client.blocks(Height(1), false);
    for height in 1..=2 {
        assert_eq!(blocks.next().await.unwrap().unwrap().height(), Height(height));
    }
    assert!(blocks.next().await.unwrap().is_none());
    assert!(client.blocks(Height(7), false).next().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_chain_is_audited() {
    let validators = start([Down, Honest, Honest, Honest]);
    validators.commit(namespace());
    for n in 0..200 {
        validators.commit(vec![put("crates", &format!("{n}"), "v")]);
    }
    let client = client_of(&validators, &[]);
    let mut blocks = client.unverified_blocks();
    let genesis = validators.consortium.founding.ledger_genesis();
    let auditing = tokio::task::spawn_blocking(move || {
        let blocks = std::iter::from_fn(move || blocks.blocking_next().transpose());
        audit(&genesis, blocks, |_| ()).unwrap()
    });
    assert!(matches!(auditing.await.unwrap(), Verdict::Sound(totals) if totals.height == Height(201)));
}

/// Where the chain ends, the validator that is read from does not decide.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_behind_ends_no_stream() {
    let validators = start([Behind, Behind, Behind, Honest]);
    validators.commit(namespace());
    for n in 2..=9 {
        validators.commit(vec![put("crates", &format!("{n}"), "v")]);
    }
    // Each process begins with another validator, and has verified nothing yet.
    for _ in 0..4 {
        let mut blocks = client_of(&validators, &[]).blocks(Height(1), false);
        for height in 1..=9 {
            assert_eq!(blocks.next().await.unwrap().unwrap().height(), Height(height));
        }
        assert!(blocks.next().await.unwrap().is_none());
        assert_eq!(blocks.source().as_deref(), Some("dune"));
        let mut blocks = client_of(&validators, &[]).unverified_blocks();
        for height in 1..=9 {
            assert_eq!(blocks.next().await.unwrap().unwrap().header.height, Height(height));
        }
        assert!(blocks.next().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_at_the_end_without_a_certificate_are_left_out_of_an_audit() {
    let validators = start([Honest; 4]);
    validators.commit(namespace());
    validators.commit_as(vec![put("crates", "a", "v")], false);
    validators.commit(vec![put("crates", "b", "v")]);
    validators.commit_as(vec![put("crates", "c", "v")], false);
    let client = client_of(&validators, &[]);
    let mut blocks = client.unverified_blocks();
    let mut heights = Vec::new();
    while let Some(block) = blocks.next().await.unwrap() {
        heights.push(block.header.height.0);
    }
    assert_eq!(heights, [1, 2, 3]);
    // A block that is held back proves nothing of those below it.
    let client = client_of(&validators, &[]);
    let mut blocks = client.blocks(Height(4), true);
    assert!(tokio::time::timeout(Duration::from_millis(300), blocks.next()).await.is_err());
    assert_eq!(client.highest(), Height::GENESIS);
    let mut blocks = client.blocks(Height(4), false);
    assert!(blocks.next().await.unwrap().is_none());
    assert_eq!(client.highest(), Height(3), "that much is proven");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_without_blocks_hold_nobody_up() {
    let validators = start([Empty, Empty, Empty, Honest]);
    validators.commit(namespace());
    validators.commit(vec![put("crates", "k", "v")]);
    for follow in [true, false] {
        let mut blocks = client_of(&validators, &[]).blocks(Height(1), follow);
        for height in 1..=2 {
            let next = tokio::time::timeout(Duration::from_secs(60), blocks.next()).await.unwrap();
            assert_eq!(next.unwrap().unwrap().height(), Height(height));
        }
    }
}
