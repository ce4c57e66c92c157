//! Frames on a stream: a length (`u32`, little endian), then so many bytes.
//!
//! A claimed length is checked before anything is allocated for it, and the memory of a frame grows
//! with the bytes that have arrived, so a claim alone costs nothing. Received bytes are copied out of
//! the packets: a small frame cut from a large datagram would keep all of it alive.

use crate::close::{CloseCode, DownReason};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const LENGTH_BYTES: usize = 4;

/// First memory of a frame; it doubles from there as bytes arrive.
const FIRST_RESERVE_BYTES: usize = 4 * 1024;

/// Bytes taken from QUIC at a time.
const READ_BYTES: usize = 64 * 1024;

/// Frames up to this length are copied next to their neighbours, so that many go in one write; longer
/// ones are handed over as they are.
const COALESCE_BYTES: usize = 8 * 1024;

/// Bytes of an answer to a client given to QUIC at a time, as a copy: what is not acknowledged keeps its whole
/// piece of memory, and a byte of a frame handed over as it is would keep the frame.
const PIECE_BYTES: usize = 32 * 1024;

/// Why a stream of frames ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The frame is longer than this end allows. Nothing was allocated or sent for it.
    #[error("a frame of {found} bytes where at most {limit} are allowed")]
    TooLong {
        /// Length of the frame, in bytes.
        found: usize,
        /// Length allowed, in bytes.
        limit: usize,
    },
    /// The stream ended in the middle of a frame.
    #[error("the stream ended in the middle of a frame")]
    Truncated,
    /// The other side gave the stream up.
    #[error("the other side ended the stream: {0}")]
    Stopped(CloseCode),
    /// The connection is gone.
    #[error(transparent)]
    Lost(DownReason),
    /// The other side took nothing for as long as this end is patient.
    #[error("the other side has read nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The stream was finished, or an earlier send was cancelled in the middle of a frame.
    #[error("the stream is already finished")]
    Finished,
}

fn read_error(error: &quinn::ReadError) -> StreamError {
    match error {
        quinn::ReadError::Reset(code) => StreamError::Stopped(CloseCode::from_number(code.into_inner())),
        quinn::ReadError::ConnectionLost(error) => StreamError::Lost(DownReason::of(error)),
        quinn::ReadError::ClosedStream
        | quinn::ReadError::IllegalOrderedRead
        | quinn::ReadError::ZeroRttRejected => StreamError::Finished,
    }
}

pub(crate) fn write_error(error: &quinn::WriteError) -> StreamError {
    match error {
        quinn::WriteError::Stopped(code) => StreamError::Stopped(CloseCode::from_number(code.into_inner())),
        quinn::WriteError::ConnectionLost(error) => StreamError::Lost(DownReason::of(error)),
        quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => StreamError::Finished,
    }
}

/// The length that goes before a frame.
fn length_of(frame: &Bytes) -> u32 {
    u32::try_from(frame.len()).expect("every limit on frames is at most 1 GiB and was checked before")
}

/// What an [`Assembler`] found in the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All bytes are used up.
    Hungry,
    /// A frame of so many bytes begins; told once per frame.
    Begins(usize),
    /// A whole frame.
    Frame(Bytes),
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    input: Bytes,
    length: [u8; LENGTH_BYTES],
    length_found: usize,
    missing: Option<usize>,
    body: Vec<u8>,
}

impl Assembler {
    /// Adds received bytes. Call only when [`step`](Assembler::step) was [`Step::Hungry`].
    pub(crate) fn feed(&mut self, input: Bytes) {
        debug_assert!(self.input.is_empty(), "unused input would be lost");
        self.input = input;
    }

    /// Whether the stream may end here.
    pub(crate) fn between_frames(&self) -> bool {
        self.length_found == 0 && self.missing.is_none()
    }

    pub(crate) fn step(&mut self, limit: usize) -> Result<Step, StreamError> {
        let Some(missing) = self.missing else {
            return self.step_length(limit);
        };
        let take = missing.min(self.input.len());
        if self.body.capacity() - self.body.len() < take {
            let doubled = self.body.len().max(FIRST_RESERVE_BYTES).max(take);
            self.body.reserve_exact(doubled.min(missing));
        }
        self.body.extend_from_slice(&self.input.split_to(take));
        self.missing = Some(missing - take);
        if take < missing {
            self.input = Bytes::new(); // empty, but it would keep its packet alive
            return Ok(Step::Hungry);
        }
        self.missing = None;
        Ok(Step::Frame(Bytes::from(std::mem::take(&mut self.body))))
    }

    fn step_length(&mut self, limit: usize) -> Result<Step, StreamError> {
        let take = (LENGTH_BYTES - self.length_found).min(self.input.len());
        self.input.copy_to_slice(&mut self.length[self.length_found..self.length_found + take]);
        self.length_found += take;
        if self.length_found < LENGTH_BYTES {
            self.input = Bytes::new();
            return Ok(Step::Hungry);
        }
        let found = usize::try_from(u32::from_le_bytes(self.length)).unwrap_or(usize::MAX);
        if found > limit {
            return Err(StreamError::TooLong { found, limit });
        }
        self.length_found = 0;
        self.missing = Some(found);
        Ok(Step::Begins(found))
    }
}

/// Reads frames from a stream. Cancelling a read loses nothing.
pub(crate) struct FrameReader {
    stream: quinn::RecvStream,
    assembler: Assembler,
    limit: usize,
    /// What all unfinished frames of the connection may claim together.
    budget: Option<Arc<Semaphore>>,
    claim: Option<u32>,
    claimed: Option<OwnedSemaphorePermit>,
}

/// The room that a received frame has in the budget of its connection; given back when dropped.
#[derive(Debug, Default)]
pub struct Room(#[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl FrameReader {
    pub(crate) fn new(stream: quinn::RecvStream, limit: usize) -> FrameReader {
        FrameReader {
            stream,
            assembler: Assembler::default(),
            limit,
            budget: None,
            claim: None,
            claimed: None,
        }
    }

    /// Waits for room in `budget` before the body of each frame. Whoever has room finishes its frame
    /// without needing more, so a peer that trickles holds up only its own connection.
    pub(crate) fn within(mut self, budget: Arc<Semaphore>) -> FrameReader {
        self.budget = Some(budget);
        self
    }

    /// The next frame; `None` when the other side finished the stream between two frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        Ok(self.next_in_its_room().await?.map(|(frame, _room)| frame))
    }

    /// The next frame, which counts against the budget until its room is dropped.
    pub(crate) async fn next_in_its_room(&mut self) -> Result<Option<(Bytes, Room)>, StreamError> {
        loop {
            if let (Some(budget), Some(claim)) = (&self.budget, self.claim) {
                // The semaphore is never closed, so an error is impossible; without one there is no limit.
                self.claimed = Arc::clone(budget).acquire_many_owned(claim).await.ok();
                self.claim = None;
            }
            match self.assembler.step(self.limit) {
                Ok(Step::Frame(frame)) => return Ok(Some((frame, Room(self.claimed.take())))),
                Ok(Step::Begins(length)) => {
                    self.claim = self.budget.as_ref().and_then(|_| u32::try_from(length).ok());
                }
                Ok(Step::Hungry) => match self.stream.read_chunk(READ_BYTES, true).await {
                    Ok(Some(chunk)) => self.assembler.feed(chunk.bytes),
                    Ok(None) if self.assembler.between_frames() => return Ok(None),
                    Ok(None) => return Err(StreamError::Truncated),
                    Err(error) => return Err(read_error(&error)),
                },
                Err(error) => {
                    // Stopping fails only when the stream is gone, which is what was wanted.
                    let _ = self.stream.stop(CloseCode::FrameTooLong.varint());
                    return Err(error);
                }
            }
        }
    }
}

/// Frames as they go on the wire: lengths and short frames gathered, long frames as they are.
pub(crate) fn gather(frames: &[Bytes]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut gathered = BytesMut::new();
    for frame in frames {
        gathered.put_u32_le(length_of(frame));
        if frame.len() <= COALESCE_BYTES {
            gathered.extend_from_slice(frame);
        } else {
            chunks.push(gathered.split().freeze());
            chunks.push(frame.clone());
        }
    }
    if !gathered.is_empty() {
        chunks.push(gathered.freeze());
    }
    chunks
}

/// The sending half of one request or subscription.
///
/// Dropping it before [`finish`](FrameSender::finish) tells the other side that the stream was
/// abandoned, so that a cut answer is never taken for a whole one.
pub struct FrameSender {
    stream: quinn::SendStream,
    limit: usize,
    /// How long the other side may take nothing of a frame; `None` for ever.
    patience: Option<Duration>,
    state: SendState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendState {
    /// Between two frames.
    Open,
    /// In the middle of a frame; stays so when a send fails or is cancelled.
    Broken,
    /// Finished on purpose.
    Finished,
}

impl FrameSender {
    pub(crate) fn new(stream: quinn::SendStream, limit: usize) -> FrameSender {
        FrameSender { stream, limit, patience: None, state: SendState::Open }
    }

    /// Gives up a frame of which the other side takes nothing for so long.
    pub(crate) fn patient_for(mut self, patience: Duration) -> FrameSender {
        self.patience = Some(patience);
        self
    }

    /// Sends one frame; waits while the other side takes no more, towards a client only as long as
    /// [`ClientLimits::answer_patience`](crate::ClientLimits::answer_patience) without any progress.
    ///
    /// Not cancel-safe: a send cancelled half-way closes the stream.
    ///
    /// # Errors
    /// See [`StreamError`]. After [`StreamError::TooLong`] the stream is as it was before.
    pub async fn send(&mut self, frame: Bytes) -> Result<(), StreamError> {
        if frame.len() > self.limit {
            return Err(StreamError::TooLong { found: frame.len(), limit: self.limit });
        }
        if self.state != SendState::Open {
            return Err(StreamError::Finished);
        }
        self.state = SendState::Broken;
        let mut chunks = gather(&[frame]);
        match self.patience {
            None => self.stream.write_all_chunks(&mut chunks).await.map_err(|error| write_error(&error))?,
            Some(patience) => {
                for chunk in &chunks {
                    self.send_in_pieces(chunk, patience).await?;
                }
            }
        }
        self.state = SendState::Open;
        Ok(())
    }

    /// Each as soon as the other side takes any of it.
    async fn send_in_pieces(&mut self, mut bytes: &[u8], patience: Duration) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
            let written = tokio::time::timeout(patience, self.stream.write(piece)).await;
            let written = written.map_err(|_| StreamError::Stalled(patience))?;
            bytes = &bytes[written.map_err(|error| write_error(&error))?..];
        }
        Ok(())
    }

    /// Says that no more will come. What was sent is still delivered.
    pub fn finish(&mut self) {
        if self.state == SendState::Open {
            self.state = SendState::Finished;
            // Fails only when the other side gave the stream up before.
            let _ = self.stream.finish();
        }
    }

    /// Waits until the other side has all that was sent before [`finish`](FrameSender::finish), or has
    /// stopped the stream.
    ///
    /// # Errors
    /// [`StreamError::Stopped`] or [`StreamError::Lost`].
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(StreamError::Stopped(CloseCode::from_number(code.into_inner()))),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(StreamError::Lost(DownReason::of(&error))),
            Err(quinn::StoppedError::ZeroRttRejected) => Err(StreamError::Finished),
        }
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        if self.state != SendState::Finished {
            // Without this, quinn would finish the stream. Fails only when it is gone already.
            let _ = self.stream.reset(CloseCode::Abandoned.varint());
        }
    }
}

/// The receiving half of one request or subscription.
pub struct FrameReceiver {
    reader: FrameReader,
}

impl FrameReceiver {
    pub(crate) fn new(reader: FrameReader) -> FrameReceiver {
        FrameReceiver { reader }
    }

    /// The next frame; `None` when the other side finished. Cancelling loses nothing.
    ///
    /// The unfinished frames of one connection share a budget: poll a receive until it yields rather
    /// than letting a half-received frame lie while waiting for another stream of that connection.
    ///
    /// # Errors
    /// See [`StreamError`]. After an error the stream is of no more use.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.reader.next().await
    }

    /// As [`receive`](FrameReceiver::receive), for a frame that will have to wait here: it counts against the
    /// budget of its connection until its room is dropped.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn receive_in_its_room(&mut self) -> Result<Option<(Bytes, Room)>, StreamError> {
        self.reader.next_in_its_room().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(frames: &[&[u8]]) -> Vec<u8> {
        let frames: Vec<Bytes> = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
        gather(&frames).concat()
    }

    fn cut(bytes: &[u8], piece: usize, limit: usize) -> Result<Vec<Bytes>, StreamError> {
        let mut assembler = Assembler::default();
        let mut frames = Vec::new();
        for chunk in bytes.chunks(piece) {
            assembler.feed(Bytes::copy_from_slice(chunk));
            loop {
                match assembler.step(limit)? {
                    Step::Hungry => break,
                    Step::Begins(_) => {}
                    Step::Frame(frame) => frames.push(frame),
                }
            }
        }
        if assembler.between_frames() { Ok(frames) } else { Err(StreamError::Truncated) }
    }

    #[test]
    fn frames_survive_any_cutting() {
        let long = vec![7u8; 3 * COALESCE_BYTES];
        let frames: [&[u8]; 5] = [b"", b"a", &long, b"bc", b""];
        let bytes = wire(&frames);
        for piece in [1, 2, 3, 5, 1000, bytes.len()] {
            let found = cut(&bytes, piece, long.len()).expect("whole");
            assert_eq!(found, frames);
        }
        assert_eq!(cut(&bytes[..bytes.len() - 1], 9, long.len()), Err(StreamError::Truncated));
    }

    #[test]
    fn short_frames_share_a_chunk_and_long_ones_are_not_copied() {
        let long = Bytes::from(vec![7u8; COALESCE_BYTES + 1]);
        let short = Bytes::from_static(b"x");
        let chunks = gather(&[short.clone(), short.clone(), long.clone(), short]);
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[1].as_ptr(), long.as_ptr());
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut assembler = Assembler::default();
        let limit = 48 << 20;
        assembler.feed(Bytes::copy_from_slice(&(48u32 << 20).to_le_bytes()));
        assert_eq!(assembler.step(limit), Ok(Step::Begins(limit)));
        assert_eq!(assembler.step(limit), Ok(Step::Hungry));
        assert_eq!(assembler.body.capacity(), 0);
        assembler.feed(Bytes::from(vec![0; 1200]));
        assert_eq!(assembler.step(limit), Ok(Step::Hungry));
        assert!(assembler.body.capacity() <= 2 * FIRST_RESERVE_BYTES);
        assembler.feed(Bytes::from(vec![0; 100_000]));
        assert_eq!(assembler.step(limit), Ok(Step::Hungry));
        assert!(assembler.body.capacity() <= 250_000);
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_by_its_length() {
        assert_eq!(cut(&wire(&[b"abc"]), 4, 2), Err(StreamError::TooLong { found: 3, limit: 2 }));
        let mut endless = u32::MAX.to_le_bytes().to_vec();
        endless.push(0);
        let found = usize::try_from(u32::MAX).expect("64 bits");
        assert_eq!(cut(&endless, 5, 1 << 30), Err(StreamError::TooLong { found, limit: 1 << 30 }));
    }
}
