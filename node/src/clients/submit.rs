//! One stream of submissions.

use super::budget::{Budget, Claim};
use super::router::StreamHandle;
use super::{Desk, Failure};
use crate::runtime::{Class, Work};
use bytes::Bytes;
use quorate_client::protocol::{MAX_IN_FLIGHT, MAX_REQUEST_BYTES, MAX_SUBMISSION, Submission};
use quorate_transport::{FrameReceiver, FrameSender};
use quorate_types::codec;
use quorate_types::keys::PublicKey;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Transactions of one frame, on their way to the verify pool.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// Whose they are.
    pub(crate) stream: StreamHandle,
    /// The position of the first among all that the stream submitted.
    pub(crate) first: u64,
    /// Encoded.
    pub(crate) transactions: Vec<Bytes>,
}

/// A frame to the client, and how many of its transactions it settles.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) frame: Bytes,
    pub(crate) count: usize,
    /// On what may wait for the member.
    pub(super) claim: Claim,
}

/// Serves one stream until the client has ended its side and nothing is in flight, or leaves so much unread
/// that there is no room for the next answer.
pub(super) async fn serve(
    desk: &Arc<Desk>,
    member: PublicKey,
    room: Budget,
    sender: &mut FrameSender,
    receiver: &mut FrameReceiver,
) -> Result<(), Failure> {
    // As long as what is in flight, for each entry settles at least one of those, and within the member's room.
    let (settled_in, settled) = mpsc::unbounded_channel::<Settled>();
    let stream = StreamHandle::new(member, room, settled_in);
    let overrun = stream.overrun();
    tokio::select! {
        // Whoever is told nothing of some transactions is told nothing more: it has to ask again.
        biased;
        () = overrun.notified() => Err(Failure::unavailable(
            "too much of what became of this member's transactions is not read; hand them in again, they commit once",
        )),
        outcome = exchange(desk, &stream, settled, sender, receiver) => outcome,
    }
}

async fn exchange(
    desk: &Arc<Desk>,
    stream: &StreamHandle,
    mut settled: mpsc::UnboundedReceiver<Settled>,
    sender: &mut FrameSender,
    receiver: &mut FrameReceiver,
) -> Result<(), Failure> {
    let mut position = 0u64;
    let mut in_flight = 0usize;
    let mut reading = true;
    while reading || in_flight > 0 {
        tokio::select! {
            // What is done goes out before more comes in.
            biased;
            Some(Settled { frame, count, claim }) = settled.recv() => {
                in_flight = in_flight.saturating_sub(count);
                sender.send(frame).await?;
                drop(claim);
            }
            frame = receiver.receive_in_its_room(), if reading && in_flight < MAX_IN_FLIGHT => match frame? {
                None => reading = false,
                // While it waits for the core, the connection's other streams have so much less room.
                Some((frame, _room)) => {
                    let transactions = decode(&frame)?;
                    let count = transactions.len();
                    let claim = desk.claim(frame.len()).await;
                    let submitted = Submitted { stream: stream.clone(), first: position, transactions };
                    desk.pool.push(Class::Clients, Work::Submission(submitted), claim);
                    position += count as u64;
                    in_flight += count;
                }
            },
            // Before `finish` this ends only when the other side is gone or has had enough.
            _ = sender.delivered() => return Err(Failure::Gone),
        }
    }
    Ok(())
}

fn decode(frame: &Bytes) -> Result<Vec<Bytes>, Failure> {
    let submission: Submission = codec::decode(frame, MAX_REQUEST_BYTES)
        .map_err(|error| Failure::unavailable(format!("the submission is malformed: {error}")))?;
    let count = submission.transactions.len();
    if !(1..=MAX_SUBMISSION).contains(&count) {
        let text = format!("a submission of {count} transactions, where 1 to {MAX_SUBMISSION} are allowed");
        return Err(Failure::unavailable(text));
    }
    Ok(submission.transactions)
}
