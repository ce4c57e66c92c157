//! What can go wrong between a client and the validators, and the exit code each comes to.

use crate::protocol::SubmitError;
use crate::verify::VerifyError;
use quorate_types::codec::DecodeError;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use std::fmt;
use std::time::Duration;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It could not, for a reason that has no code of its own.
    Failure = 1,
    /// The command line, a file or the configuration is wrong.
    Usage = 2,
    /// The ledger rejected the transaction.
    Rejected = 3,
    /// There is no such thing.
    NotFound = 4,
    /// A transaction may or may not have committed. Ask again by its id.
    Unknown = 5,
    /// Something that claims to be true does not verify.
    Unverified = 6,
    /// No validator could be reached, or they refused.
    Unreachable = 7,
    /// The person interrupted it.
    Interrupted = 130,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// What one validator did instead of giving an answer that verifies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Slow(Duration),
    /// The connection, or the stream, ended in the middle.
    #[error("cut off: {0}")]
    Cut(String),
    /// Its answer does not verify. It lies, or is broken.
    #[error("its answer does not verify: {0}")]
    Lying(#[from] VerifyError),
    /// Its answer is no message of the protocol.
    #[error("its answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Its answer belongs to another question.
    #[error("it answers another question: expected {expected}")]
    OffTopic {
        /// What should have come.
        expected: &'static str,
    },
    /// It calls an older block the latest than this client has verified.
    #[error("it is behind: its latest block is {found}, where {known} is known")]
    Stale {
        /// Its latest.
        found: Height,
        /// The highest this client has verified.
        known: Height,
    },
    /// It says that it has no such thing.
    #[error("it has no such thing")]
    NotFound,
    /// It says that it cannot answer now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It does not take the transaction.
    #[error("refused: {0}")]
    Refused(SubmitError),
}

impl Fault {
    /// Whether the validator said something provably false or senseless.
    pub fn is_lie(&self) -> bool {
        matches!(self, Fault::Lying(_) | Fault::Malformed(_) | Fault::OffTopic { .. })
    }
}

/// A fault, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The validator's name, or its address if it was given by one.
    pub validator: String,
    /// What it did.
    pub fault: Fault,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.validator, self.fault)
    }
}

/// Several complaints in one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    /// Whether any validator lied.
    pub fn any_lie(&self) -> bool {
        self.0.iter().any(|complaint| complaint.fault.is_lie())
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no validator was asked");
        }
        for (index, complaint) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{complaint}")?;
        }
        Ok(())
    }
}

/// Why a client could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No validator gave an answer that verifies.
    #[error("no validator gave {wanted} that verifies ({complaints})")]
    NoAnswer {
        /// What was wanted.
        wanted: String,
        /// What each did instead.
        complaints: Complaints,
    },
    /// So many validators say that there is none that one of them is honest, and none proved otherwise.
    /// Absence of a transaction or block has no proof.
    #[error("{} of {asked} validators say there is no {wanted} ({complaints})", .said.len())]
    NotFound {
        /// What was wanted.
        wanted: String,
        /// Those who say so.
        said: Vec<String>,
        /// How many were asked.
        asked: usize,
        /// What all did.
        complaints: Complaints,
    },
    /// So many validators refused the transaction that one of them is honest: it will not commit.
    #[error("transaction {id} was refused ({complaints})")]
    Refused {
        /// The transaction.
        id: TransactionId,
        /// What each said.
        complaints: Complaints,
    },
    /// Validators took the transaction, or may have, and no receipt came before it expired. One that refused it
    /// may have taken it: a refusal has no proof.
    #[error("no receipt of transaction {id} came ({complaints})")]
    Unknown {
        /// The transaction.
        id: TransactionId,
        /// What each did.
        complaints: Complaints,
    },
    /// The transaction is not handed in: nobody could be reached.
    #[error("transaction {id} could not be handed to any validator ({complaints})")]
    NotHandedIn {
        /// The transaction.
        id: TransactionId,
        /// What each did.
        complaints: Complaints,
    },
    /// What the client was given does not fit the chain: a key of no member, an unknown validator.
    #[error("{0}")]
    Misconfigured(String),
    /// The client itself cannot start: no socket.
    #[error("{0}")]
    Setup(String),
}

impl ClientError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::NoAnswer { complaints, .. } if complaints.any_lie() => Exit::Unverified,
            ClientError::NoAnswer { .. } | ClientError::NotHandedIn { .. } => Exit::Unreachable,
            ClientError::NotFound { .. } => Exit::NotFound,
            ClientError::Refused { complaints, .. } => {
                let by_the_rules = |complaint: &Complaint| {
                    matches!(
                        complaint.fault,
                        Fault::Refused(SubmitError::Invalid(_) | SubmitError::Refused(_))
                    )
                };
                if complaints.0.iter().any(by_the_rules) { Exit::Rejected } else { Exit::Unreachable }
            }
            ClientError::Unknown { .. } => Exit::Unknown,
            ClientError::Misconfigured(_) => Exit::Usage,
            ClientError::Setup(_) => Exit::Failure,
        }
    }

    /// The transaction whose fate is in question.
    pub fn transaction(&self) -> Option<TransactionId> {
        match self {
            ClientError::Refused { id, .. }
            | ClientError::Unknown { id, .. }
            | ClientError::NotHandedIn { id, .. } => Some(*id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_ledger::Refusal;

    fn complaints(faults: impl IntoIterator<Item = Fault>) -> Complaints {
        let complaint = |fault| Complaint { validator: "acme".to_owned(), fault };
        Complaints(faults.into_iter().map(complaint).collect())
    }

    #[test]
    fn each_error_has_its_exit_code() {
        let id = TransactionId::default();
        let lie = || Fault::OffTopic { expected: "a receipt" };
        let down = || Fault::Unreachable("refused".to_owned());
        let wanted = || "a block".to_owned();
        let refused = |error| ClientError::Refused { id, complaints: complaints([Fault::Refused(error)]) };
        let cases = [
            (ClientError::NoAnswer { wanted: wanted(), complaints: complaints([down(), lie()]) }, 6),
            (ClientError::NoAnswer { wanted: wanted(), complaints: complaints([down()]) }, 7),
            (
                ClientError::NotFound {
                    wanted: wanted(),
                    said: vec![],
                    asked: 4,
                    complaints: complaints([]),
                },
                4,
            ),
            (refused(SubmitError::Refused(Refusal::NotSubmitter)), 3),
            (refused(SubmitError::Full("10 waiting".to_owned())), 7),
            (ClientError::Unknown { id, complaints: complaints([down()]) }, 5),
            (ClientError::NotHandedIn { id, complaints: complaints([down()]) }, 7),
            (ClientError::Misconfigured("no such validator".to_owned()), 2),
            (ClientError::Setup("no socket".to_owned()), 1),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit().code(), code, "{error}");
        }
        assert_eq!(Exit::Interrupted.code(), 130);
    }
}
