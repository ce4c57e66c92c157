//! **QUIC between identified peers.** The only crate that knows quinn; it carries opaque frames and
//! knows nothing of what they say.
//!
//! One UDP port of a validator serves two classes, told apart by the key that the other side proves in
//! the TLS handshake and that the [`Directory`] must know:
//!
//! - **validators**, by transport key. Each pair keeps one connection, whoever dialled; each [`Lane`]
//!   has one long-lived stream in each direction, with priorities in the order of the lanes;
//! - **clients**, by member key. Each request or subscription is one bidirectional stream
//!   ([`ClientStream`]).
//!
//! ```text
//! send(peer, lane, frame)                                    Inbox { votes, sync, gossip, clients }
//!        │ bounded queue per peer and lane                          ▲ bounded by frames and bytes
//!        ▼                                                          │
//!   session: writer per lane ── stream ── priorities ──────▶ session: reader per lane
//!        ▲                                                          ▲
//!        └── link: one task per validator; dials, keeps one connection of the two
//!                                                                   │
//!   accept: gate ─▶ handshake ─▶ directory ─▶ hello ─┬─ validator ──┘
//!                                                    └─ client: seats, streams
//! ```
//!
//! # What each side owes the other
//!
//! - Upon a first packet: refuse it when [`Config::max_handshakes`] are under way; ask for a proof of the
//!   address when many are. A stranger gets no further than a failed handshake.
//! - Upon a handshake: the dialler sends its hello on a first stream; the acceptor answers with its
//!   own, or closes with a [`CloseCode`]. Only then is anyone up.
//! - Upon a frame: its length is checked before memory is asked for, and memory follows the bytes that
//!   arrive.
//! - Upon a reader that falls behind: its lane is not read, flow control stops the sender, the sender's
//!   queue fills, and [`Node::send`] says so. Nothing else slows down.
//! - Upon a lost connection: queued frames are dropped and counted, the application hears
//!   [`Event::PeerDown`], and the link dials again for ever, with waits that double to a cap.
//!
//! | module | subject |
//! |---|---|
//! | `config`, `directory` | limits and timings; who is admitted |
//! | `identity`, `hello`, `close` | TLS with raw public keys; first frames; reasons for closing |
//! | `frame`, `lane`, `inbox` | framing; what waits to be sent; what waits to be received |
//! | `endpoint`, `gate`, `accept`, `connect` | socket and windows; from first packet to hello, both sides |
//! | `link`, `session` | one other validator; one connection with it |
//! | `clients`, `client` | members' clients, seen from the validator and from the member |
//! | `node`, `stats` | the whole; what is counted |

mod accept;
mod client;
mod clients;
mod close;
mod config;
mod connect;
#[doc(hidden)]
pub mod decoders;
mod directory;
mod endpoint;
mod frame;
mod gate;
mod hello;
mod identity;
mod inbox;
mod lane;
mod link;
mod node;
mod session;
mod stats;

#[cfg(test)]
mod hostile;

pub use client::{Client, Connection};
pub use clients::ClientStream;
pub use close::{CloseCode, DownReason};
pub use config::{ClientConfig, ClientLimits, Config, LaneLimits};
pub use connect::ConnectError;
pub use directory::{Admitted, Directory};
pub use frame::{FrameReceiver, FrameSender, Room, StreamError};
pub use hello::{HelloError, PROTOCOL_VERSION};
pub use inbox::{Event, Inbox, LaneReceiver};
pub use lane::{Lane, SendVerdict};
pub use node::{Node, TransportError};
pub use stats::{LaneStatus, PeerStatus, Stats};
