//! Validators among themselves: lanes, crossing dials, restarts, refusals.

mod common;

use bytes::Bytes;
use common::*;
use quorate_transport::{CloseCode, DownReason, Event, Lane, SendVerdict, TransportError};
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::ValidatorIndex;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_every_lane_arrive_in_order() {
    let (mut zero, mut one) = pair(config());
    assert_eq!(zero.up().await, ValidatorIndex(1));
    assert_eq!(one.up().await, ValidatorIndex(0));
    let long = Bytes::from(vec![5u8; 1_500_000]);
    for lane in Lane::ALL {
        for n in 0..100u8 {
            assert_eq!(zero.send(1, lane, vec![n; usize::from(n)]), SendVerdict::Queued);
        }
        assert_eq!(zero.send(1, lane, long.clone()), SendVerdict::Queued);
        assert_eq!(one.send(0, lane, vec![9]), SendVerdict::Queued);
    }
    for lane in Lane::ALL {
        for n in 0..100u8 {
            assert_eq!(one.frame(lane).await, vec![n; usize::from(n)]);
        }
        assert_eq!(one.frame(lane).await, long);
        assert_eq!(zero.frame(lane).await, vec![9]);
    }
    let status = zero.node.peers().remove(0);
    assert!(status.connected && status.rtt.is_some() && status.since.is_some());
    assert_eq!(status.lane(Lane::Sync).frames_out, 101);
    assert_eq!(one.node.peers()[0].lane(Lane::Sync).bytes_in, 4950 + 1_500_000);
    assert_eq!(zero.send(0, Lane::Votes, vec![1]), SendVerdict::NotConnected, "oneself is no peer");
    assert_eq!(zero.send(1, Lane::Gossip, vec![0; 3 << 20]), SendVerdict::TooLong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_dials_end_in_one_connection() {
    let (port_0, port_1) = (free_port(), free_port());
    let configured = |port| {
        let mut config = config();
        config.listen = loopback(port);
        config
    };
    let mut zero = start(configured(port_0), 0, vec![at(1, port_1)], directory(2));
    let mut one = start(configured(port_1), 1, vec![at(0, port_0)], directory(2));
    zero.up().await;
    one.up().await;
    // Whatever crossed, frames soon pass both ways, and then nothing changes any more.
    for round in 0..20u8 {
        soon("an exchange", async {
            loop {
                zero.send(1, Lane::Votes, vec![round]);
                let answer = tokio::time::timeout(Duration::from_millis(500), one.frame(Lane::Votes)).await;
                if answer.is_ok_and(|frame| frame == vec![round]) {
                    break;
                }
            }
        })
        .await;
    }
    until("both to agree", || zero.node.peers()[0].connected && one.node.peers()[0].connected).await;
    let settled = (zero.node.peers()[0].connects, one.node.peers()[0].connects);
    assert!(settled.0 <= 3 && settled.1 <= 3, "no flapping: {settled:?}");
    for round in 0..20u8 {
        one.send(0, Lane::Votes, vec![round]);
        assert_eq!(zero.frame(Lane::Votes).await, vec![round]);
    }
    assert_eq!(settled, (zero.node.peers()[0].connects, one.node.peers()[0].connects));
}

/// QUIC sends a first packet that nobody took again after a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_from_before_the_peer_listened_does_not_cost_the_connection_that_the_peer_dialled() {
    let unheard = tokio::net::UdpSocket::bind(loopback(0)).await.expect("a free port");
    let port = unheard.local_addr().expect("bound").port();
    let mut zero = start(config(), 0, vec![at(1, port)], directory(2));
    soon("a first packet", unheard.recv(&mut [0; 2048])).await.expect("received");
    drop(unheard);
    let mut config = config();
    config.listen = loopback(port);
    let mut one = start(config, 1, vec![at(0, zero.node.local_addr().port())], directory(2));
    zero.up().await;
    one.up().await;
    let up = Instant::now();
    while up.elapsed() < Duration::from_millis(2_500) {
        zero.send(1, Lane::Votes, vec![1]);
        assert_eq!(one.frame(Lane::Votes).await, vec![1]);
    }
    let status = |running: &Running| (running.node.peers()[0].connects, running.node.stats().superseded);
    assert_eq!((status(&zero), status(&one)), ((1, 0), (1, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_found_again() {
    let (mut zero, mut one) = pair(config());
    zero.up().await;
    one.up().await;
    let port = zero.node.local_addr().port();
    zero.node.shutdown().await; // and the port is free
    let reason = one.down().await;
    assert_eq!(reason.code(), Some(CloseCode::Shutdown), "{reason}");
    assert_eq!(one.send(0, Lane::Votes, vec![1]), SendVerdict::NotConnected);

    let mut config = config();
    config.listen = loopback(port);
    let mut zero = start(config, 0, vec![], directory(2));
    zero.up().await;
    one.up().await;
    assert_eq!(one.send(0, Lane::Votes, vec![2]), SendVerdict::Queued);
    assert_eq!(zero.frame(Lane::Votes).await, vec![2]);
    assert_eq!(one.node.peers()[0].connects, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_with_the_same_key_takes_over_and_the_first_is_told() {
    let (mut zero, mut one) = pair(config());
    zero.up().await;
    one.up().await;
    let port = zero.node.local_addr().port();
    let mut second = start(config(), 1, vec![at(0, port)], directory(2));
    second.up().await;
    let reason = one.down().await;
    assert_eq!(reason, DownReason::There { code: CloseCode::Superseded, text: String::new() });
    assert!(matches!(zero.down().await, DownReason::Here { code: CloseCode::Superseded, .. }));
    assert!(zero.node.stats().superseded >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_not_read_delays_no_other() {
    let (mut zero, mut one) = pair(config());
    zero.up().await;
    one.up().await;
    // Nobody reads gossip at node 1: fill its inbox, the windows, and the queue here.
    let frame = Bytes::from(vec![3u8; 1 << 20]);
    let mut queued = 0;
    soon("gossip to come to a stop", async {
        loop {
            match zero.send(1, Lane::Gossip, frame.clone()) {
                SendVerdict::Queued => queued += 1,
                SendVerdict::Full if one.node.peers()[0].lane(Lane::Gossip).frames_in >= 32 => break,
                SendVerdict::Full => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(queued <= 32 + 16 + 16, "what a stalled reader can hold is bounded: {queued} MiB");
    for n in 0..50u8 {
        assert_eq!(zero.send(1, Lane::Votes, vec![n]), SendVerdict::Queued);
        assert_eq!(one.frame(Lane::Votes).await, vec![n]);
        assert_eq!(zero.send(1, Lane::Sync, vec![n; 100_000]), SendVerdict::Queued);
        assert_eq!(one.frame(Lane::Sync).await.len(), 100_000);
    }
    // Read on, and everything that was accepted arrives.
    for _ in 0..queued {
        assert_eq!(one.frame(Lane::Gossip).await.len(), 1 << 20);
    }
    assert!(zero.node.peers()[0].lane(Lane::Gossip).dropped > 0, "refusals were counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused() {
    let listening = start(config(), 0, vec![], directory(2));
    let port = listening.node.local_addr().port();
    // To itself it is validator 2; the other's directory has only 0 and 1.
    let stranger = start(config(), 2, vec![at(0, port)], directory(3));
    until("the refusal", || {
        stranger.node.peers()[0].last_failure.as_ref().is_some_and(|why| why.contains("not admitted"))
    })
    .await;
    assert!(listening.node.stats().strangers >= 1);
    assert!(!stranger.node.peers()[0].connected && !listening.node.peers()[0].connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_at_the_address_is_refused() {
    let two = start(config(), 2, vec![], directory(3));
    let port = two.node.local_addr().port();
    let one = start(config(), 1, vec![at(0, port)], directory(3)); // 0 is said to be where 2 is
    until("the refusal", || {
        let expected = format!("the node at 127.0.0.1:{port} proves another key than the genesis document");
        one.node.peers()[0].last_failure.as_ref().is_some_and(|why| why.starts_with(&expected))
    })
    .await;
    assert!(!one.node.peers()[0].connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oneself_is_refused() {
    let port = free_port();
    let mut config = config();
    config.listen = loopback(port);
    // Validator 1 is said to be where validator 0 itself is; its own entry is ignored.
    let zero = start(config, 0, vec![at(1, port), at(0, port)], directory(2));
    until("the refusal", || {
        zero.node.peers()[0].last_failure.as_ref().is_some_and(|why| why.contains("is this node itself"))
    })
    .await;
    assert_eq!(zero.node.peers().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_chain_is_refused() {
    let zero = start(config(), 0, vec![], directory(2));
    let port = zero.node.local_addr().port();
    let other = ChainId(Hash([8; 32]));
    let one = start_on(config(), 1, other, vec![at(0, port)], directory(2));
    until("the refusal", || {
        one.node.peers()[0].last_failure.as_ref().is_some_and(|why| why.contains("wrong chain"))
    })
    .await;
    assert!(!zero.node.peers()[0].connected);
    assert!(zero.node.stats().hellos_refused >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_told_why_and_comes_back_after() {
    let (mut zero, mut one) = pair(config());
    zero.up().await;
    one.up().await;
    zero.node.disconnect(ValidatorIndex(1), "sent\nnonsense", Duration::from_millis(300));
    let reason = one.down().await;
    assert_eq!(reason, DownReason::There { code: CloseCode::Banned, text: "sentnonsense".to_owned() });
    zero.down().await;
    zero.up().await;
    one.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_times_out() {
    let mut config = config();
    config.keep_alive = Duration::from_millis(100);
    config.idle_timeout = Duration::from_millis(400);
    let zero = start(config.clone(), 0, vec![], directory(2));
    let port = zero.node.local_addr().port();
    // The peer's whole runtime stops without a word, as a machine that loses power.
    let (told, hears) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let peer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut one = start(config, 1, vec![at(0, port)], directory(2));
            one.up().await;
            told.send(()).expect("the test runs");
            stopped.recv().ok(); // blocks the only thread of its runtime
        });
    });
    let mut zero = zero;
    zero.up().await;
    hears.recv().expect("the peer runs");
    assert_eq!(zero.down().await, DownReason::TimedOut);
    drop(stop);
    peer.join().expect("the peer ends");
}

#[tokio::test]
async fn a_node_is_who_its_directory_says() {
    let result = quorate_transport::Node::start(
        config(),
        &validator_key(1),
        ValidatorIndex(0),
        CHAIN,
        directory(2),
        vec![],
    );
    assert!(matches!(result.err(), Some(TransportError::WrongIdentity(ValidatorIndex(0)))));
    let taken = start(config(), 0, vec![], directory(1));
    let mut config = config();
    config.listen = taken.node.local_addr();
    let result = quorate_transport::Node::start(
        config,
        &validator_key(0),
        ValidatorIndex(0),
        CHAIN,
        Arc::clone(&directory(1)),
        vec![],
    );
    assert!(matches!(result.err(), Some(TransportError::Bind { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inbox_ends_when_the_node_does() {
    let (mut zero, mut one) = pair(config());
    zero.up().await;
    one.up().await;
    zero.node.shutdown().await;
    assert_eq!(soon("the end", zero.inbox.sync.recv()).await, None);
    assert_eq!(soon("the end", zero.inbox.votes.recv()).await, None::<Event>);
    drop(one.node);
    assert_eq!(soon("the end", one.inbox.gossip.recv()).await, None);
}
