//! Members' clients: requests and answers, refusals, bounds.

mod common;

use bytes::Bytes;
use common::*;
use quorate_transport::{Client, ClientConfig, CloseCode, ConnectError, StreamError};
use quorate_types::hash::{ChainId, Hash};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_on_their_own_streams() {
    let Running { node, mut inbox } = start(config(), 0, vec![], directory(1));
    let server = tokio::spawn(async move {
        while let Some(mut stream) = inbox.clients.recv().await {
            assert_eq!(stream.member, member_key(1).public());
            tokio::spawn(async move {
                while let Ok(Some(request)) = stream.receive().await {
                    let answer = [b"answer to ".as_slice(), &request].concat();
                    stream.send(Bytes::from(answer)).await.expect("sends");
                }
                stream.finish();
                let (mut sender, _receiver) = stream.split();
                sender.delivered().await.expect("delivered");
            });
        }
    });
    let client = client(1);
    let connection = connect(&client, &node, validator_key(0).public()).await;
    let mut streams = Vec::new();
    for n in 0..40u8 {
        let (mut send, receive) = connection.open().await.expect("opens");
        send.send(Bytes::from(vec![n; 70_000])).await.expect("sends");
        send.send(Bytes::from(vec![n])).await.expect("sends");
        send.finish();
        streams.push((n, send, receive));
    }
    for (n, _send, mut receive) in streams {
        let long = soon("an answer", receive.receive()).await.expect("receives").expect("a frame");
        assert_eq!(long.len(), 70_010);
        let short = soon("an answer", receive.receive()).await.expect("receives").expect("a frame");
        assert_eq!(short, [b"answer to ".as_slice(), &[n]].concat());
        assert_eq!(soon("the end", receive.receive()).await, Ok(None));
    }
    assert!(connection.bytes_in() > 40 * 70_000 && connection.bytes_out() > 40 * 70_000);
    assert!(!connection.is_closed());
    assert_eq!(node.stats().clients_connected, 1);
    assert_eq!(node.stats().client_streams, 40);
    connection.close();
    until("the seat to be given back", || node.stats().clients_connected == 0).await;
    node.shutdown().await;
    soon("the server to end", server).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_their_cause() {
    let running = start(config(), 0, vec![], directory(1));
    let address = running.node.local_addr().to_string();
    let right_key = validator_key(0).public();

    let error =
        client(1).connect(&address, validator_key(9).public(), PATIENCE).await.err().expect("refused");
    assert!(matches!(error, ConnectError::WrongKey { proved, .. } if proved == right_key));
    let text = format!("the node at {address} proves another key than the genesis document names");
    assert!(error.to_string().starts_with(&text), "{error}");

    let error = client(50).connect(&address, right_key, PATIENCE).await.err().expect("refused");
    assert!(matches!(error, ConnectError::NotAdmitted { .. }), "{error}");
    assert!(error.to_string().contains("not admitted"));

    let other_chain = ChainId(Hash([8; 32]));
    let lost = Client::new(&member_key(1), other_chain, ClientConfig::default()).expect("client");
    let error = lost.connect(&address, right_key, PATIENCE).await.err().expect("refused");
    assert!(matches!(error, ConnectError::Refused { code: CloseCode::WrongChain, .. }), "{error}");

    // A validator's key is no client's.
    let posing = Client::new(&validator_key(0), CHAIN, ClientConfig::default()).expect("client");
    let error = posing.connect(&address, right_key, PATIENCE).await.err().expect("refused");
    assert!(matches!(error, ConnectError::Refused { code: CloseCode::Oneself, .. }), "{error}");

    let error = client(1).connect("nowhere.invalid:1", right_key, PATIENCE).await.err().expect("refused");
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");

    let silent = std::net::UdpSocket::bind(loopback(0)).expect("bound");
    let silent = silent.local_addr().expect("bound").to_string();
    let short = std::time::Duration::from_millis(200);
    let error = client(1).connect(&silent, right_key, short).await.err().expect("refused");
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_member_are_bounded() {
    let mut config = config();
    config.clients.max_connections_per_member = 2;
    let running = start(config, 0, vec![], directory(1));
    let key = validator_key(0).public();
    let address = running.node.local_addr().to_string();
    let member = client(1);
    let first = connect(&member, &running.node, key).await;
    let _second = connect(&member, &running.node, key).await;
    let error = member.connect(&address, key, PATIENCE).await.err().expect("refused");
    assert!(matches!(error, ConnectError::Refused { code: CloseCode::TooManyConnections, .. }), "{error}");
    let _other_member = connect(&client(2), &running.node, key).await;
    first.close();
    until("the seat to be given back", || running.node.stats().clients_connected == 2).await;
    let _third = connect(&member, &running.node, key).await;
    assert_eq!(running.node.stats().clients_refused, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_connection_are_bounded() {
    let mut config = config();
    config.clients.max_streams = 7;
    let mut running = start(config, 0, vec![], directory(1));
    let client = client(1);
    let connection = connect(&client, &running.node, validator_key(0).public()).await;
    let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let greedy = connection.clone();
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        for _ in 0..100 {
            let (mut send, receive) = greedy.open().await.expect("opens");
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            send.send(Bytes::from_static(b"mine")).await.expect("sends");
            held.push((send, receive));
        }
    });
    let mut served = Vec::new();
    for _ in 0..7 {
        let mut stream = soon("a stream", running.inbox.clients.recv()).await.expect("runs");
        assert_eq!(soon("a frame", stream.receive()).await, Ok(Some(Bytes::from_static(b"mine"))));
        served.push(stream);
    }
    assert_eq!(running.node.stats().client_streams, 7);
    assert!(opened.load(std::sync::atomic::Ordering::Relaxed) <= 7);
    // Another member's stream passes meanwhile.
    let other = common::client(2);
    let other = connect(&other, &running.node, validator_key(0).public()).await;
    let (mut send, _receive) = other.open().await.expect("opens");
    send.send(Bytes::from_static(b"yours")).await.expect("sends");
    let mut stream = soon("a stream", running.inbox.clients.recv()).await.expect("runs");
    assert_eq!(stream.member, member_key(2).public());
    assert_eq!(soon("a frame", stream.receive()).await, Ok(Some(Bytes::from_static(b"yours"))));
    assert_eq!(running.node.stats().client_streams, 8, "the greedy one still waits at its limit");
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_answers_have_limits_and_ends() {
    let mut config = config();
    config.clients.max_request_bytes = 1000;
    config.clients.max_unfinished_bytes = 1000;
    let mut running = start(config, 0, vec![], directory(1));
    let client = client(1);
    let connection = connect(&client, &running.node, validator_key(0).public()).await;

    let (mut send, mut receive) = connection.open().await.expect("opens");
    send.send(Bytes::from(vec![1; 1001])).await.expect("this client allows itself more");
    let mut stream = soon("a stream", running.inbox.clients.recv()).await.expect("runs");
    let error = soon("the refusal", stream.receive()).await.expect_err("too long");
    assert_eq!(error, StreamError::TooLong { found: 1001, limit: 1000 });
    // An answer cut short is not taken for a whole one.
    stream.send(Bytes::from_static(b"half")).await.expect("sends");
    drop(stream);
    let mut seen = soon("an answer", receive.receive()).await;
    if seen == Ok(Some(Bytes::from_static(b"half"))) {
        seen = soon("the end", receive.receive()).await;
    }
    assert_eq!(seen, Err(StreamError::Stopped(CloseCode::Abandoned)));
    assert!(!connection.is_closed(), "one bad request does not cost the others");

    let (mut send, _receive) = connection.open().await.expect("opens");
    let too_long = send.send(Bytes::from(vec![1; (2 << 20) + 1])).await;
    assert!(matches!(too_long, Err(StreamError::TooLong { .. })));
    send.send(Bytes::from_static(b"fits")).await.expect("the stream is as before");
    let mut stream = soon("a stream", running.inbox.clients.recv()).await.expect("runs");
    assert_eq!(soon("a frame", stream.receive()).await, Ok(Some(Bytes::from_static(b"fits"))));
    drop(send);
    assert_eq!(soon("the end", stream.receive()).await, Err(StreamError::Stopped(CloseCode::Abandoned)));
}

/// An answer that nobody reads is given up with its stream; the connection's other streams go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_read_is_given_up() {
    let mut config = config();
    config.clients.answer_patience = std::time::Duration::from_millis(200);
    let mut running = start(config, 0, vec![], directory(1));
    let client = client(1);
    let connection = connect(&client, &running.node, validator_key(0).public()).await;
    let (mut send, mut receive) = connection.open().await.expect("opens");
    send.send(Bytes::from_static(b"all of it")).await.expect("sends");
    let mut stream = soon("a stream", running.inbox.clients.recv()).await.expect("runs");
    let answer = Bytes::from(vec![5; 1 << 20]);
    let mut sent = 0;
    let error = soon("patience to end", async {
        loop {
            match stream.send(answer.clone()).await {
                Ok(()) => sent += 1,
                Err(error) => return error,
            }
        }
    });
    assert_eq!(error.await, StreamError::Stalled(std::time::Duration::from_millis(200)));
    assert!(sent <= 4, "{sent} MiB lie with the client and on their way to it");
    assert_eq!(stream.send(answer.clone()).await, Err(StreamError::Finished));
    drop(stream);
    let end = soon("the end", async {
        loop {
            match receive.receive().await {
                Ok(Some(whole)) => assert_eq!(whole.len(), answer.len()),
                end => return end,
            }
        }
    });
    assert_eq!(end.await, Err(StreamError::Stopped(CloseCode::Abandoned)));

    let (mut send, mut receive) = connection.open().await.expect("opens");
    send.send(Bytes::from_static(b"again")).await.expect("sends");
    let mut stream = soon("a stream", running.inbox.clients.recv()).await.expect("runs");
    // As long as it reads on, it is waited for.
    let serve = tokio::spawn(async move {
        for _ in 0..8 {
            stream.send(answer.clone()).await.expect("it is read");
        }
        stream.finish();
        stream
    });
    for _ in 0..8 {
        assert_eq!(
            soon("a frame", receive.receive()).await.map(|frame| frame.map(|f| f.len())),
            Ok(Some(1 << 20))
        );
    }
    soon("the server", serve).await.expect("no panic");
}

/// What was received and has to wait takes room from the connection's other streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_keeps_its_room_until_that_is_given_back() {
    let mut config = config();
    config.clients.max_request_bytes = 1000;
    config.clients.max_unfinished_bytes = 1000;
    let mut running = start(config, 0, vec![], directory(1));
    let client = client(1);
    let connection = connect(&client, &running.node, validator_key(0).public()).await;
    let mut streams = Vec::new();
    for n in 0..2u8 {
        let (mut send, receive) = connection.open().await.expect("opens");
        send.send(Bytes::from(vec![n; 1000])).await.expect("sends");
        let stream = soon("a stream", running.inbox.clients.recv()).await.expect("runs");
        streams.push((send, receive, stream.split()));
    }
    let (_, _, (_, second)) = &mut streams.pop().expect("two");
    let (_, _, (_, first)) = &mut streams.pop().expect("two");
    let (_, room) = soon("a frame", first.receive_in_its_room()).await.expect("receives").expect("a frame");
    let waits = tokio::time::timeout(std::time::Duration::from_millis(100), second.receive()).await;
    assert!(waits.is_err(), "there is no room: {waits:?}");
    drop(room);
    assert_eq!(soon("a frame", second.receive()).await, Ok(Some(Bytes::from(vec![1; 1000]))));
}
