//! The decoders that a stranger's bytes meet before anyone knows who it is, in plain reach.
//!
//! For the fuzz targets of `tests/` only: nothing in the node calls this module. What it hands out is
//! what the readers of streams and handshakes use, with the socket left out.

use crate::frame::{Assembler, Step, StreamError, gather};
use crate::hello::{Hello, HelloError};
use crate::identity;
use bytes::Bytes;
use quorate_types::hash::ChainId;
use quorate_types::keys::PublicKey;

/// The frames in a stream that arrives in these pieces, and how it ends.
pub fn frames<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<Bytes>, Result<(), StreamError>) {
    let mut assembler = Assembler::default();
    let mut frames = Vec::new();
    for piece in pieces {
        assembler.feed(Bytes::copy_from_slice(piece));
        loop {
            match assembler.step(limit) {
                Ok(Step::Hungry) => break,
                Ok(Step::Begins(_)) => {}
                Ok(Step::Frame(frame)) => frames.push(frame),
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    let ended = if assembler.between_frames() { Ok(()) } else { Err(StreamError::Truncated) };
    (frames, ended)
}

/// The bytes that these frames travel as.
pub fn stream(frames: &[Bytes]) -> Vec<u8> {
    gather(frames).concat()
}

/// The hello of either side: what it would encode to again.
///
/// # Errors
/// See [`HelloError`].
pub fn hello(bytes: &[u8], chain: ChainId) -> Result<Vec<u8>, HelloError> {
    Hello::decode(bytes, chain).map(|hello| hello.encode())
}

/// The key in the SubjectPublicKeyInfo that a side offers in the handshake.
pub fn offered_key(spki: &[u8]) -> Option<PublicKey> {
    identity::from_spki(spki)
}

/// The SubjectPublicKeyInfo of a key.
pub fn offer(key: &PublicKey) -> Vec<u8> {
    identity::to_spki(key)
}
