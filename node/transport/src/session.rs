//! One connection with a validator while it is up: a writer and a reader per lane.
//!
//! Every stream has a task of its own, because writes to a stream are not cancel-safe and because a
//! lane that waits must not hold up another. All tasks belong to the session and end with it.

use crate::close::{CloseCode, DownReason, close};
use crate::frame::{FrameReader, StreamError, gather, write_error};
use crate::inbox::{Event, LaneSender};
use crate::lane::Lane;
use crate::link::Peer;
use crate::node::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// This side.
    Dialled,
    /// The other side.
    Accepted,
}

/// Why a task of a session ended.
#[derive(Debug)]
enum Ended {
    /// The other side broke the protocol, or the application stopped receiving: close with this.
    Close(CloseCode, String),
    /// The connection is gone; it knows why.
    Gone,
}

/// A connection that is up.
pub(crate) struct Session {
    pub(crate) connection: quinn::Connection,
    pub(crate) direction: Direction,
    /// See [`crate::hello::Sender::Validator`].
    pub(crate) process: u64,
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    /// Which lanes the other side has opened; each may be opened once.
    claimed: Arc<[AtomicBool; 3]>,
    tasks: JoinSet<Ended>,
}

impl Session {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        peer: &Arc<Peer>,
        connection: quinn::Connection,
        direction: Direction,
        process: u64,
    ) -> Session {
        let mut tasks = JoinSet::new();
        for lane in Lane::ALL {
            tasks.spawn(write_lane(connection.clone(), Arc::clone(peer), lane));
        }
        Session {
            connection,
            direction,
            process,
            shared: Arc::clone(shared),
            peer: Arc::clone(peer),
            claimed: Arc::default(),
            tasks,
        }
    }

    /// Runs the session until it ends. Cancelling loses nothing; call again to go on.
    pub(crate) async fn ended(&mut self) -> DownReason {
        loop {
            tokio::select! {
                error = self.connection.closed() => return DownReason::of(&error),
                stream = self.connection.accept_uni() => {
                    if let Ok(stream) = stream {
                        self.read(stream);
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    // A task is aborted only with its session, and none panics.
                    if let Ok(Ended::Close(code, text)) = ended {
                        self.shared.counters.violations.add(u64::from(code != CloseCode::Shutdown));
                        close(&self.connection, code, &text);
                        return DownReason::Here { code, text };
                    }
                }
            }
        }
    }

    fn read(&mut self, stream: quinn::RecvStream) {
        let (shared, peer) = (Arc::clone(&self.shared), Arc::clone(&self.peer));
        let claimed = Arc::clone(&self.claimed);
        self.tasks.spawn(async move { read_lane(&shared, &peer, &claimed, stream).await });
    }

    /// Ends all tasks. No frame of this session is delivered after this.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn write_lane(connection: quinn::Connection, peer: Arc<Peer>, lane: Lane) -> Ended {
    let Ok(mut stream) = connection.open_uni().await else { return Ended::Gone };
    let written = async {
        // Fails only on a closed stream, as does the write after it.
        let _ = stream.set_priority(lane.priority());
        stream.write_all(&[lane.tag()]).await?;
        loop {
            let frames = peer.queue(lane).take().await;
            stream.write_all_chunks(&mut gather(&frames)).await?;
            peer.traffic(lane).sent(&frames);
        }
    };
    let written: Result<std::convert::Infallible, quinn::WriteError> = written.await;
    let Err(error) = written;
    match write_error(&error) {
        StreamError::Stopped(_) => {
            Ended::Close(CloseCode::Malformed, format!("the {lane:?} lane was stopped"))
        }
        _ => Ended::Gone,
    }
}

async fn read_lane(
    shared: &Shared,
    peer: &Peer,
    claimed: &[AtomicBool; 3],
    mut stream: quinn::RecvStream,
) -> Ended {
    let mut tag = [0];
    let lane = match stream.read_exact(&mut tag).await {
        Ok(()) => Lane::from_tag(tag[0]),
        Err(quinn::ReadExactError::ReadError(quinn::ReadError::ConnectionLost(_))) => return Ended::Gone,
        Err(_) => None,
    };
    let Some(lane) = lane else {
        return Ended::Close(CloseCode::Malformed, "a stream of no lane".to_owned());
    };
    if claimed[lane.index()].swap(true, Ordering::Relaxed) {
        return Ended::Close(CloseCode::Malformed, format!("a second stream for the {lane:?} lane"));
    }
    let inbox: &LaneSender = shared.outlets.lane(lane);
    let mut reader = FrameReader::new(stream, shared.config.lane(lane).max_frame_bytes);
    loop {
        match reader.next().await {
            Ok(Some(frame)) => {
                peer.traffic(lane).received(&frame);
                let event = Event::Frame { from: peer.index, lane, frame };
                if inbox.send(event).await.is_err() {
                    return Ended::Close(CloseCode::Shutdown, "no longer receiving".to_owned());
                }
            }
            Err(StreamError::Lost(_)) => return Ended::Gone,
            Err(error @ StreamError::TooLong { .. }) => {
                shared.counters.frames_too_long.add(1);
                return Ended::Close(CloseCode::FrameTooLong, format!("{lane:?} lane: {error}"));
            }
            Ok(None) => {
                return Ended::Close(CloseCode::Malformed, format!("the {lane:?} lane was finished"));
            }
            Err(error) => return Ended::Close(CloseCode::Malformed, format!("{lane:?} lane: {error}")),
        }
    }
}
