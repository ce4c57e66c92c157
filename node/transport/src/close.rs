//! Why a connection ends: codes that travel to the other side, and what this side saw.

use std::fmt;

/// Longest reason text sent or believed, in bytes; it must fit one packet beside the code.
const MAX_REASON_BYTES: usize = 200;

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Application close codes of QUIC connections and streams.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseCode {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know.
            Other(u64),
        }

        impl CloseCode {
            /// The number on the wire.
            pub fn number(self) -> u64 {
                match self {
                    $(CloseCode::$name => $code,)*
                    CloseCode::Other(code) => code,
                }
            }

            /// The code of a number on the wire.
            pub fn from_number(number: u64) -> CloseCode {
                match number {
                    $($code => CloseCode::$name,)*
                    other => CloseCode::Other(other),
                }
            }
        }

        impl fmt::Display for CloseCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(CloseCode::$name => f.write_str($text),)*
                    CloseCode::Other(code) => write!(f, "unknown reason {code}"),
                }
            }
        }
    };
}

close_codes! {
    /// The owner is done with it.
    Done = 0, "done";
    /// The node is shutting down.
    Shutdown = 1, "shutting down";
    /// The hello names a protocol version that the other does not speak.
    WrongVersion = 2, "wrong protocol version";
    /// The hello names another chain.
    WrongChain = 3, "wrong chain";
    /// The hello claims another role or index than the key holds.
    WrongIdentity = 4, "hello contradicts the key";
    /// Both ends hold the same key.
    Oneself = 5, "connection to oneself";
    /// Another connection of this pair stays: the one dialled by the lower index.
    Duplicate = 6, "duplicate connection";
    /// A newer connection of the same key replaced this one.
    Superseded = 7, "superseded by a newer connection";
    /// A frame longer than the lane or the stream allows.
    FrameTooLong = 8, "frame too long";
    /// Bytes or streams that the protocol does not foresee.
    Malformed = 9, "protocol violation";
    /// No hello in time.
    HelloTimeout = 10, "no hello in time";
    /// More connections than are allowed, of this key or in all.
    TooManyConnections = 11, "too many connections";
    /// The application refuses this peer for a while.
    Banned = 12, "banned for now";
    /// A stream was dropped before its end.
    Abandoned = 13, "stream abandoned";
}

impl CloseCode {
    pub(crate) fn varint(self) -> quinn::VarInt {
        quinn::VarInt::from_u64(self.number()).unwrap_or(quinn::VarInt::MAX)
    }
}

/// Why a peer is no longer connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// This side closed the connection.
    #[error("closed here: {code} ({text})")]
    Here {
        /// The code sent.
        code: CloseCode,
        /// The explanation sent.
        text: String,
    },
    /// The other side closed the connection.
    #[error("closed by the other side: {code} ({text})")]
    There {
        /// The code received.
        code: CloseCode,
        /// The explanation received; words of the peer, cut and without control characters.
        text: String,
    },
    /// Nothing was heard for the idle timeout.
    #[error("timed out")]
    TimedOut,
    /// The connection broke at the level of QUIC or TLS.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl DownReason {
    pub(crate) fn of(error: &quinn::ConnectionError) -> DownReason {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => DownReason::There {
                code: CloseCode::from_number(close.error_code.into_inner()),
                text: printable(&close.reason),
            },
            quinn::ConnectionError::TimedOut => DownReason::TimedOut,
            quinn::ConnectionError::LocallyClosed => {
                DownReason::Here { code: CloseCode::Done, text: String::new() }
            }
            other => DownReason::Lost(printable(other.to_string().as_bytes())),
        }
    }

    /// The code with which either side closed the connection, if one did.
    pub fn code(&self) -> Option<CloseCode> {
        match self {
            DownReason::Here { code, .. } | DownReason::There { code, .. } => Some(*code),
            DownReason::TimedOut | DownReason::Lost(_) => None,
        }
    }
}

/// Text that may come from a peer, made fit for a log: cut, and without control characters.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let cut = bytes.get(..MAX_REASON_BYTES).unwrap_or(bytes);
    String::from_utf8_lossy(cut).chars().filter(|c| !c.is_control()).collect()
}

pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, text: &str) {
    let bytes = text.as_bytes();
    connection.close(code.varint(), bytes.get(..MAX_REASON_BYTES).unwrap_or(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire() {
        for number in 0..20 {
            assert_eq!(CloseCode::from_number(number).number(), number);
        }
        assert_eq!(CloseCode::from_number(13), CloseCode::Abandoned);
        assert_eq!(CloseCode::from_number(14), CloseCode::Other(14));
    }

    #[test]
    fn words_of_a_peer_are_cut_and_cleaned() {
        assert_eq!(printable(b"a\x1b[2Jb\nc"), "a[2Jbc");
        assert_eq!(printable(&[b'x'; 4000]).len(), MAX_REASON_BYTES);
        assert_eq!(printable(&[0xff, b'y']), "\u{fffd}y");
    }
}
