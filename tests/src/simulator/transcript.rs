//! A run as text: who sent what to whom, what arrived, what changed; and its digest, which two runs of
//! one seed must share.

use bytes::Bytes;
use quorate_node::core::wire::PeerFrame;
use quorate_pbft::Message;
use quorate_transport::Lane;
use quorate_types::codec;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

/// Keeps the digest always, and the lines when asked to.
#[derive(Debug, Default)]
pub struct Transcript {
    digest: DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Transcript {
    /// One that keeps every line, or only the digest.
    pub fn new(lines: bool) -> Transcript {
        Transcript { digest: DefaultHasher::new(), lines: lines.then(Vec::new) }
    }

    /// Whether lines are kept.
    pub fn is_verbose(&self) -> bool {
        self.lines.is_some()
    }

    /// Something happened: `bytes` go into the digest, and `line` becomes a line.
    pub fn note(&mut self, at: Duration, bytes: &[u8], line: impl FnOnce() -> String) {
        self.digest.write_u128(at.as_nanos());
        self.digest.write_usize(bytes.len());
        self.digest.write(bytes);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.3} ms  {}", at.as_secs_f64() * 1000.0, line()));
        }
    }

    /// Something happened that its text tells wholly.
    pub fn say(&mut self, at: Duration, line: &str) {
        self.note(at, line.as_bytes(), || line.to_owned());
    }

    /// The digest of everything so far, and the lines.
    pub fn finish(self) -> (u64, Vec<String>) {
        (self.digest.finish(), self.lines.unwrap_or_default())
    }
}

/// A frame in words.
pub fn describe(lane: Lane, bytes: &Bytes) -> String {
    match codec::decode::<PeerFrame>(bytes, bytes.len()) {
        Err(error) => format!("{} bytes on {lane:?} ({error})", bytes.len()),
        Ok(PeerFrame::Consensus(message)) => match codec::decode::<Message>(&message, message.len()) {
            Ok(message) => describe_message(&message),
            Err(error) => format!("a message that is none ({error})"),
        },
        Ok(PeerFrame::Transactions { hops, transactions }) => {
            format!("Transactions {} after {hops} hops", transactions.len())
        }
        Ok(PeerFrame::Announce(ids)) => format!("Announce {}", ids.len()),
        Ok(PeerFrame::Pull(ids)) => format!("Pull {}", ids.len()),
        Ok(PeerFrame::FetchProposal(block)) => format!("FetchProposal {block:?}"),
        Ok(PeerFrame::Proposal { header, ids }) => {
            format!("Proposal height {} with {} ids", header.height, ids.len())
        }
        Ok(PeerFrame::FetchBlocks { from, to }) => format!("FetchBlocks {from} to {to}"),
        Ok(PeerFrame::Blocks(blocks)) => {
            let heights: Vec<u64> = blocks.iter().map(|block| block.header.height.0).collect();
            format!("Blocks {heights:?}")
        }
    }
}

/// A message of the ordering protocol in words.
pub fn describe_message(message: &Message) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match message {
        Message::PrePrepare(m) => {
            let header = &m.statement.header;
            write!(
                text,
                "PrePrepare view {} height {} {:?} on {:?}, {} transactions",
                m.statement.view,
                header.height,
                header.hash(),
                header.parent,
                m.statement.ids.len()
            )
        }
        Message::Prepare(m) => {
            let s = &m.statement;
            write!(text, "Prepare view {} height {} {:?}", s.view, s.height, s.block)
        }
        Message::Commit(m) => {
            let s = &m.statement;
            write!(text, "Commit view {} height {} {:?} {:?}", s.view, s.height, s.block, s.result)
        }
        Message::ViewChange(m) => {
            let prepared: Vec<_> =
                m.statement.prepared.iter().map(|p| (p.header.height.0, p.view.0, p.header.hash())).collect();
            write!(
                text,
                "ViewChange view {} certificate {} prepared {prepared:?}",
                m.statement.view,
                m.statement.height()
            )
        }
        Message::NewView(m) => {
            let from: Vec<u16> = m.statement.view_changes.iter().map(|change| change.signer.0).collect();
            write!(text, "NewView view {} with {from:?}", m.statement.view)
        }
        Message::Status(m) => {
            let s = &m.statement;
            let stalled = if s.stalled { ", stalled" } else { "" };
            write!(text, "Status view {} {:?} height {}{stalled}", s.view, s.phase, s.height)
        }
    };
    let _ = write!(text, " [signed by {}]", message.signer());
    text
}
