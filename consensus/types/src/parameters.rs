//! What the founders of a chain choose, once, in the genesis document.

use serde::{Deserialize, Serialize};

/// Limits no chain may exceed, whatever its parameters: they bound every buffer of a node before a
/// chain is even known.
pub mod limits {
    /// Bytes of one encoded, signed transaction.
    pub const TRANSACTION_BYTES: usize = 1 << 20;
    /// Bytes of the shortest encoded, signed transaction that keeps the rules: one operation on a name
    /// of one letter.
    pub const LEAST_TRANSACTION_BYTES: usize = 32 + 32 + 8 + 8 + 8 + (4 + 8 + 1) + 64;
    /// Operations of one transaction.
    pub const OPERATIONS: usize = 64;
    /// Bytes of a key in a namespace.
    pub const KEY_BYTES: usize = 256;
    /// Bytes of a value in a namespace.
    pub const VALUE_BYTES: usize = 512 << 10;
    /// Bytes of the name of a member, namespace or asset.
    pub const NAME_BYTES: usize = 64;
    /// Owners, or writers, of one namespace.
    pub const NAMESPACE_MEMBERS: usize = 64;
    /// Transactions of one block.
    pub const BLOCK_TRANSACTIONS: usize = 20_000;
    /// Bytes of the transactions of one block.
    pub const BLOCK_BYTES: usize = 32 << 20;
    /// Validators of one chain.
    pub const VALIDATORS: usize = 128;
    /// Members of one chain.
    pub const MEMBERS: usize = 1024;
    /// Proposals in flight.
    pub const WINDOW: u64 = 64;
    /// The same, for sizes in memory.
    pub const WINDOW_PROPOSALS: usize = 64;
    /// Proposals in flight times validators: the NewView of a chain, in which each of a quorum reports a certificate
    /// by all, and a window of prepared certificates by a quorum, must fit into one message of 8 MiB.
    pub const WINDOW_TIMES_VALIDATORS: u64 = 1984;
}

/// What the founders of a chain choose. Every validator must use the same values, so they are part
/// of the genesis document and of the chain id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Proposals in flight (watermark window W), 1 to 64, and at most 1984 divided by the number of
    /// validators. Default 4.
    pub window: u64,
    /// Blocks after which leadership moves on, at least 1. Default 256.
    pub term_blocks: u64,
    /// Transactions a block may hold. Default 10 000.
    pub max_block_transactions: u32,
    /// Bytes of transactions a block may hold. Default 4 MiB.
    pub max_block_bytes: u32,
    /// Bytes of one encoded, signed transaction. Default 64 KiB.
    pub max_transaction_bytes: u32,
    /// How far ahead of block time a transaction's `expires_at` may lie, in milliseconds; also how
    /// long ids are remembered against replay. At least
    /// `max_clock_drift_ms` and `request_timeout_ms` together. Default 300 000 (five minutes).
    pub max_lifetime_ms: u64,
    /// How far a new block's timestamp may differ from a validator's clock, in milliseconds.
    /// Default 10 000.
    pub max_clock_drift_ms: u64,
    /// How long a proposal may stay without progress, or a transaction without any proposal, before
    /// the leader is suspected, in milliseconds. Default 600.
    pub view_timeout_ms: u64,
    /// The cap of the growing view timeout, in milliseconds. Default 10 000.
    pub max_view_timeout_ms: u64,
    /// How long a transaction may wait at a validator before the leader is suspected of censoring
    /// it, in milliseconds. Default 2 000.
    pub request_timeout_ms: u64,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            window: 4,
            term_blocks: 256,
            max_block_transactions: 10_000,
            max_block_bytes: 4 << 20,
            max_transaction_bytes: 64 << 10,
            max_lifetime_ms: 300_000,
            max_clock_drift_ms: 10_000,
            view_timeout_ms: 600,
            max_view_timeout_ms: 10_000,
            request_timeout_ms: 2_000,
        }
    }
}

/// A parameter outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter `{name}` is {value}; it must be {rule}")]
pub struct ParameterError {
    /// The parameter's name in the genesis document.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// What is allowed.
    pub rule: String,
}

impl Parameters {
    /// Checks every parameter against its range and the others.
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn check(&self) -> Result<(), ParameterError> {
        let block_bytes = u64::from(self.max_block_bytes);
        let rules = [
            ("window", self.window, 1, limits::WINDOW),
            ("term_blocks", self.term_blocks, 1, u64::MAX),
            (
                "max_block_transactions",
                self.max_block_transactions.into(),
                1,
                limits::BLOCK_TRANSACTIONS as u64,
            ),
            ("max_block_bytes", block_bytes, 1024, limits::BLOCK_BYTES as u64),
            (
                "max_transaction_bytes",
                self.max_transaction_bytes.into(),
                512,
                block_bytes.min(limits::TRANSACTION_BYTES as u64),
            ),
            // A leader is suspected for ignoring a transaction only when every clock within the drift
            // would accept it: there must be such lifetimes, longer than the patience with leaders.
            (
                "max_lifetime_ms",
                self.max_lifetime_ms,
                self.max_clock_drift_ms.saturating_add(self.request_timeout_ms).max(1_000),
                86_400_000,
            ),
            ("max_clock_drift_ms", self.max_clock_drift_ms, 100, 3_600_000),
            ("view_timeout_ms", self.view_timeout_ms, 10, 60_000),
            ("max_view_timeout_ms", self.max_view_timeout_ms, self.view_timeout_ms, 600_000),
            ("request_timeout_ms", self.request_timeout_ms, self.view_timeout_ms, 600_000),
        ];
        for (name, value, least, most) in rules {
            if value < least || value > most {
                return Err(ParameterError { name, value, rule: format!("from {least} to {most}") });
            }
        }
        Ok(())
    }

    /// Checks the window against the number of validators.
    ///
    /// # Errors
    /// If NewViews could become too large for a message.
    pub fn check_window(&self, validators: usize) -> Result<(), ParameterError> {
        let most = limits::WINDOW_TIMES_VALIDATORS / (validators as u64).max(1);
        if self.window <= most {
            return Ok(());
        }
        let rule = format!("at most {most} with {validators} validators");
        Err(ParameterError { name: "window", value: self.window, rule })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_new_view_fits_into_a_message() {
        for validators in 1..=limits::VALIDATORS {
            let most = (1..=limits::WINDOW)
                .filter(|window| {
                    Parameters { window: *window, ..Parameters::default() }.check_window(validators).is_ok()
                })
                .max()
                .expect("every set can have a window");
            // A header with a view and a length takes 238 bytes, a signature with its signer 66; a ViewChange also
            // has a certificate, which may be by all, and its own 91 bytes.
            let quorum = crate::validators::Quorum::of(validators).q as u64;
            let view_change = 91 + 96 + 66 * validators as u64 + most * (238 + 66 * quorum);
            let new_view = 256 + quorum * view_change;
            assert!(new_view < 8 << 20, "{validators} validators, window {most}: {new_view} bytes");
            assert!(most == 64 || (most + 1) * validators as u64 > limits::WINDOW_TIMES_VALIDATORS);
        }
    }

    #[test]
    fn thirty_one_validators_may_have_the_largest_window() {
        let largest = Parameters { window: 64, ..Parameters::default() };
        assert_eq!(largest.check_window(31), Ok(()));
        let error = largest.check_window(32).expect_err("too many");
        assert_eq!(error.to_string(), "parameter `window` is 64; it must be at most 62 with 32 validators");
    }
}
