//! One stream of submissions.

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
}

/// Serves one stream until the client has ended its side and nothing is in flight.
pub(super) async fn serve(
    desk: &Arc<Desk>,
    member: PublicKey,
    sender: &mut FrameSender,
    receiver: &mut FrameReceiver,
) -> Result<(), Failure> {
    // As long as what is in flight: each entry settles at least one of those.
    let (settled_in, mut settled) = mpsc::unbounded_channel::<Settled>();
    let stream = StreamHandle::new(member, settled_in);
    let mut position = 0u64;
    let mut in_flight = 0usize;
    let mut reading = true;
    while reading || in_flight > 0 {
        tokio::select! {
            // What is done goes out before more comes in.
            biased;
            Some(Settled { frame, count }) = settled.recv() => {
                in_flight = in_flight.saturating_sub(count);
                sender.send(frame).await?;
            }
            frame = receiver.receive(), if reading && in_flight < MAX_IN_FLIGHT => match frame? {
                None => reading = false,
                Some(frame) => {
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
