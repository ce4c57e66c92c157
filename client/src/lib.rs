//! The thin client of a Quorate chain.

pub mod protocol;
