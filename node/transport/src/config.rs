//! Limits and timings of an endpoint, each with its unit, default and reason.

use std::net::SocketAddr;
use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// No frame limit may be set above this: a length travels as `u32`, and one frame is one piece of
/// memory.
const FRAME_CEILING_BYTES: usize = 1024 * MIB;

/// How a validator's endpoint behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen (UDP). Port 0 takes a free one; see [`Node::local_addr`](crate::Node::local_addr).
    pub listen: SocketAddr,
    /// Limits of the lane of votes.
    pub votes: LaneLimits,
    /// Limits of the lane of blocks and bodies.
    pub sync: LaneLimits,
    /// Limits of the lane of gossiped transactions.
    pub gossip: LaneLimits,
    /// Limits of clients.
    pub clients: ClientLimits,
    /// Handshakes under way at once; further ones are refused. A quarter may come from one source
    /// (an IPv4 address, or an IPv6 /64), and an eighth is kept for sources at which validators are. Default
    /// 256: what strangers can take of the node's memory ends here.
    pub max_handshakes: usize,
    /// Time for a handshake, and again for the hello after it. Default 5 s.
    pub handshake_timeout: Duration,
    /// Silence after which a keep-alive is sent. Default 3 s.
    pub keep_alive: Duration,
    /// Silence after which a connection is lost. Default 10 s: three keep-alives.
    pub idle_timeout: Duration,
    /// First wait before dialling again; doubles up to [`reconnect_max`](Config::reconnect_max), each
    /// shortened at random by up to half so that restarts do not march in step. Default 100 ms.
    pub reconnect_min: Duration,
    /// Longest wait before dialling again. Default 5 s: a healed network is noticed within seconds.
    pub reconnect_max: Duration,
    /// How old a connection with a validator must be before a new one that the other side dialled takes its
    /// place; doubles up to [`reconnect_max`](Config::reconnect_max) while each is replaced in turn. Default 1 s.
    pub supersede_after: Duration,
    /// Whether the kernel cuts large sends into packets (UDP GSO). Default true; turn it off behind
    /// network cards or tunnels that mangle such packets.
    pub gso: bool,
    /// Send and receive buffer asked of the kernel for the socket, in bytes. Default 4 MiB. The kernel
    /// may grant less (`net.core.rmem_max`), which costs packets under load.
    pub socket_buffer_bytes: usize,
}

impl Config {
    /// The defaults, listening at `listen`.
    pub fn new(listen: SocketAddr) -> Config {
        Config {
            listen,
            votes: LaneLimits {
                max_frame_bytes: 8 * MIB, // a NewView carries a quorum of ViewChanges, a PrePrepare 20 000 ids
                queue_frames: 4096,
                queue_bytes: 32 * MIB,
                inbox_frames: 1024,
                inbox_bytes: 64 * MIB,
            },
            sync: LaneLimits {
                max_frame_bytes: 48 * MIB, // a block with its bodies
                queue_frames: 256,
                queue_bytes: 96 * MIB,
                inbox_frames: 64,
                inbox_bytes: 96 * MIB,
            },
            gossip: LaneLimits {
                max_frame_bytes: 2 * MIB,
                queue_frames: 1024,
                queue_bytes: 16 * MIB,
                inbox_frames: 256,
                inbox_bytes: 32 * MIB,
            },
            clients: ClientLimits::default(),
            max_handshakes: 256,
            handshake_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            supersede_after: Duration::from_secs(1),
            gso: true,
            socket_buffer_bytes: 4 * MIB,
        }
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        for lane in [&self.votes, &self.sync, &self.gossip] {
            lane.check()?;
        }
        self.clients.check()?;
        if self.max_handshakes == 0 {
            return Err("max_handshakes must be at least 1");
        }
        if self.reconnect_min.is_zero() || self.reconnect_max < self.reconnect_min {
            return Err("reconnect_min must be above zero and at most reconnect_max");
        }
        if self.keep_alive >= self.idle_timeout {
            return Err("keep_alive must be shorter than idle_timeout");
        }
        if self.idle_timeout > Duration::from_secs(3600) {
            return Err("idle_timeout must be at most an hour");
        }
        Ok(())
    }
}

/// Limits of one lane. Queues are per peer, the inbox is shared by all peers.
#[derive(Debug, Clone, Copy)]
pub struct LaneLimits {
    /// Longest frame sent or accepted, in bytes. Also what one peer can make us hold of a frame that it
    /// has not finished sending.
    pub max_frame_bytes: usize,
    /// Frames waiting to be sent to one peer; at the limit the newest is refused.
    pub queue_frames: usize,
    /// Bytes waiting to be sent to one peer; at the limit the newest frame is refused.
    pub queue_bytes: usize,
    /// Received frames waiting for the application; at the limit the lane's streams are no longer
    /// read, and flow control stops the senders.
    pub inbox_frames: usize,
    /// Bytes of received frames waiting for the application; at the limit as above.
    pub inbox_bytes: usize,
}

impl LaneLimits {
    fn check(&self) -> Result<(), &'static str> {
        if self.max_frame_bytes == 0 || self.max_frame_bytes > FRAME_CEILING_BYTES {
            return Err("max_frame_bytes must be between 1 byte and 1 GiB");
        }
        if self.queue_bytes < self.max_frame_bytes || self.inbox_bytes < self.max_frame_bytes {
            return Err("queue_bytes and inbox_bytes must hold at least one frame");
        }
        if self.queue_frames == 0 || self.inbox_frames == 0 {
            return Err("queue_frames and inbox_frames must be at least 1");
        }
        Ok(())
    }
}

/// What members' client connections may take of a validator.
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    /// Client connections in all. Default 1024.
    pub max_connections: usize,
    /// Connections of one member, so that none crowds out the others. Default 8.
    pub max_connections_per_member: usize,
    /// Streams open at once on one connection. Default 64. QUIC announces room given back by ended
    /// streams an eighth at a time, so keep long-lived ones below seven eighths of this.
    pub max_streams: u32,
    /// Longest frame accepted from a client, in bytes. Default 2 MiB.
    pub max_request_bytes: usize,
    /// Longest frame sent to a client, in bytes. Default 48 MiB: a block with its bodies.
    pub max_response_bytes: usize,
    /// Bytes that the unfinished frames of one connection may claim together, over all its streams.
    /// Default 4 MiB. At the limit, further streams of that connection wait.
    pub max_unfinished_bytes: usize,
    /// How long a client may take nothing of an answer before its stream is given up. Default 20 s: what
    /// waits for it is memory of this node, and a client that still wants it may ask again.
    pub answer_patience: Duration,
    /// Newly opened streams waiting for the application. Default 256; at the limit streams are not
    /// accepted, and their clients wait.
    pub inbox_streams: usize,
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits {
            max_connections: 1024,
            max_connections_per_member: 8,
            max_streams: 64,
            max_request_bytes: 2 * MIB,
            max_response_bytes: 48 * MIB,
            max_unfinished_bytes: 4 * MIB,
            answer_patience: Duration::from_secs(20),
            inbox_streams: 256,
        }
    }
}

impl ClientLimits {
    fn check(&self) -> Result<(), &'static str> {
        if self.max_request_bytes == 0 || self.max_request_bytes > FRAME_CEILING_BYTES {
            return Err("max_request_bytes must be between 1 byte and 1 GiB");
        }
        if self.max_response_bytes == 0 || self.max_response_bytes > FRAME_CEILING_BYTES {
            return Err("max_response_bytes must be between 1 byte and 1 GiB");
        }
        if self.max_unfinished_bytes < self.max_request_bytes {
            return Err("max_unfinished_bytes must hold at least one request");
        }
        if self.inbox_streams == 0 || self.max_streams == 0 {
            return Err("inbox_streams and max_streams must be at least 1");
        }
        Ok(())
    }
}

/// How a member's [`Client`](crate::Client) behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Longest frame sent to a validator, in bytes. Default 2 MiB, as validators accept.
    pub max_request_bytes: usize,
    /// Longest frame accepted from a validator, in bytes. Default 48 MiB.
    pub max_response_bytes: usize,
    /// Bytes that the unfinished frames of one connection may claim together. Default 96 MiB; a lying
    /// validator gets no more memory of a client than this.
    pub max_unfinished_bytes: usize,
    /// Silence after which a keep-alive is sent. Default 3 s.
    pub keep_alive: Duration,
    /// Silence after which a connection is lost. Default 10 s.
    pub idle_timeout: Duration,
    /// As [`Config::gso`].
    pub gso: bool,
    /// As [`Config::socket_buffer_bytes`]. Default 2 MiB.
    pub socket_buffer_bytes: usize,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            max_request_bytes: 2 * MIB,
            max_response_bytes: 48 * MIB,
            max_unfinished_bytes: 96 * MIB,
            keep_alive: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(10),
            gso: true,
            socket_buffer_bytes: 2 * MIB,
        }
    }
}

impl ClientConfig {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let limits = ClientLimits {
            max_request_bytes: self.max_response_bytes, // what a client receives is a response
            max_response_bytes: self.max_request_bytes,
            max_unfinished_bytes: self.max_unfinished_bytes,
            ..ClientLimits::default()
        };
        limits.check()?;
        if self.keep_alive >= self.idle_timeout || self.idle_timeout > Duration::from_secs(3600) {
            return Err("keep_alive must be shorter than idle_timeout, and that at most an hour");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_contradictions_do_not() {
        let config = Config::new(([127, 0, 0, 1], 0).into());
        assert_eq!(config.check(), Ok(()));
        assert_eq!(ClientConfig::default().check(), Ok(()));
        let mut tight = config.clone();
        tight.sync.inbox_bytes = tight.sync.max_frame_bytes - 1;
        assert!(tight.check().is_err());
        let mut silent = config.clone();
        silent.keep_alive = silent.idle_timeout;
        assert!(silent.check().is_err());
        let mut huge = config;
        huge.votes.max_frame_bytes = FRAME_CEILING_BYTES + 1;
        assert!(huge.check().is_err());
    }
}
