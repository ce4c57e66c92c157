//! What the person reads when something goes wrong: the cause, the consequence, the way out.

use crate::error::{ClientError, Exit};
use crate::export::ExportError;
use quorate_types::hash::TransactionId;
use serde_json::json;
use std::fmt;
use std::io::{self, Write};

/// The end of a command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) cause: String,
    /// What that means for what was asked.
    pub(crate) consequence: Option<String>,
    /// What to do now.
    pub(crate) remedy: Option<String>,
    /// The transaction in question.
    pub(crate) transaction: Option<TransactionId>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, cause: impl fmt::Display) -> Failure {
        Failure { exit, cause: cause.to_string(), consequence: None, remedy: None, transaction: None }
    }

    pub(crate) fn usage(cause: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, cause)
    }

    pub(crate) fn so(mut self, consequence: impl Into<String>) -> Failure {
        self.consequence = Some(consequence.into());
        self
    }

    pub(crate) fn way_out(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }

    /// This one, with what the other says beside it.
    pub(crate) fn and(self, other: Failure) -> Failure {
        let join = |one: Option<String>, other: Option<String>| match (one, other) {
            (Some(one), Some(other)) => Some(format!("{one}; {other}")),
            (one, other) => one.or(other),
        };
        Failure {
            cause: format!("{}; {}", self.cause, other.cause),
            consequence: join(self.consequence, other.consequence),
            remedy: join(self.remedy, other.remedy),
            ..self
        }
    }

    pub(crate) fn of_transaction(mut self, id: TransactionId) -> Failure {
        self.transaction = Some(id);
        self
    }

    /// Whether it is only that whoever read our output has read enough, as `head` does.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.exit == Exit::Ok
    }

    /// Prints it on stderr.
    pub(crate) fn print(&self, json: bool) {
        let text = if json {
            let error = json!({
                "exit": self.exit.code(),
                "cause": self.cause,
                "consequence": self.consequence,
                "way_out": self.remedy,
                "transaction": self.transaction,
            });
            json!({ "error": error }).to_string()
        } else {
            self.to_string()
        };
        // With stderr gone there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.cause)?;
        if let Some(consequence) = &self.consequence {
            write!(f, "\n  so: {consequence}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  way out: {remedy}")?;
        }
        Ok(())
    }
}

/// Errors of writing to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, error),
            _ => Failure::new(Exit::Failure, format!("cannot write the output: {error}")),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let failure = Failure::new(error.exit(), &error);
        let failure = match &error {
            ClientError::NoAnswer { .. } if error.exit() == Exit::Unverified => failure
                .so("nothing was taken for true; a validator that lies or is broken was noticed")
                .way_out("tell the member that runs it; ask others with --node NAME"),
            ClientError::NoAnswer { .. } => failure
                .way_out("check the network and `quorate status`; give another --node, or a longer --timeout"),
            ClientError::NotFound { .. } => {
                failure.so("that something is not on the chain cannot be proven, only that nobody shows it")
            }
            ClientError::Refused { .. } if error.exit() == Exit::Rejected => failure
                .so("an honest validator is among those that refuse it for good, so it cannot commit")
                .way_out("correct the cause, then submit anew"),
            ClientError::Refused { id, .. } => failure
                .so("no validator that was asked took it")
                .way_out(format!("wait and try again; `quorate receipt {id}` tells should one have taken it")),
            ClientError::Unknown { id, .. } => failure
                .so("it may or may not have committed; submitting the same again as a new transaction could apply it twice")
                .way_out(format!("ask with `quorate receipt {id}` before anything else")),
            ClientError::NotHandedIn { .. } => failure
                .so("nothing was submitted")
                .way_out("check the network and `quorate status`, then try again"),
            ClientError::Misconfigured(_) | ClientError::Setup(_) => failure,
        };
        match error.transaction() {
            Some(id) => failure.of_transaction(id),
            None => failure,
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Failure {
        match &error {
            ExportError::Write { .. } => Failure::new(Exit::Failure, &error)
                .so("the file was not written; one of that name is unchanged"),
            ExportError::Read { .. } => Failure::new(Exit::Failure, &error),
            ExportError::NotAnExport { .. }
            | ExportError::Version { .. }
            | ExportError::WrongChain { .. } => Failure::new(Exit::Unverified, &error)
                .way_out("check the file, and that --genesis is of its chain"),
            _ => Failure::new(Exit::Unverified, &error)
                .so("the file is not what was exported")
                .way_out("copy it again from where it was made, or export again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_cause_consequence_and_way_out() {
        let error = ClientError::Unknown { id: TransactionId::default(), complaints: Default::default() };
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Unknown);
        let text = failure.to_string();
        assert!(text.starts_with("error: no receipt of transaction 0000"));
        assert!(text.contains("\n  so: ") && text.contains("\n  way out: ask with `quorate receipt 0000"));
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
        assert_eq!(Failure::from(io::Error::other("x")).exit, Exit::Failure);
    }
}
