//! Newtypes for numbers that must not be confused with one another.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Position of a block in the chain. Height 0 is the genesis document; the first block is 1.
    Height(u64)
}

number! {
    /// A period under one leader. Views only grow.
    View(u64)
}

number! {
    /// Position of a validator in its [`ValidatorSet`](crate::validators::ValidatorSet).
    ValidatorIndex(u16)
}

number! {
    /// Milliseconds since the Unix epoch. Inside the ledger this is agreed block time, never the
    /// clock of one machine.
    Timestamp(u64)
}

impl Height {
    /// The height of the genesis document.
    pub const GENESIS: Height = Height(0);

    /// The height above this one.
    ///
    /// Saturates: no chain reaches 2^64 blocks, and a hostile number must not panic.
    pub fn next(self) -> Height {
        Height(self.0.saturating_add(1))
    }

    /// The height `count` above this one, saturating.
    pub fn plus(self, count: u64) -> Height {
        Height(self.0.saturating_add(count))
    }

    /// The height below this one; `None` at genesis.
    pub fn previous(self) -> Option<Height> {
        self.0.checked_sub(1).map(Height)
    }
}

impl View {
    /// The view after this one, saturating.
    pub fn next(self) -> View {
        View(self.0.saturating_add(1))
    }
}

impl ValidatorIndex {
    /// As an index into a slice.
    pub fn as_usize(self) -> usize {
        usize::from(self.0)
    }
}

impl Timestamp {
    /// This time plus `milliseconds`, saturating.
    pub fn plus_ms(self, milliseconds: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(milliseconds))
    }

    /// This time minus `milliseconds`, saturating at the epoch.
    pub fn minus_ms(self, milliseconds: u64) -> Timestamp {
        Timestamp(self.0.saturating_sub(milliseconds))
    }
}
