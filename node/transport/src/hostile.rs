//! Peers that are admitted and then misbehave.
