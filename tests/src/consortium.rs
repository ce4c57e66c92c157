//! A consortium on this machine: founded by the ceremony, run by real processes.
//!
//! # Its directory
//!
//! ```text
//! genesis.toml             the final document, signed by every validator
//! acme/                    one directory for each member, as if it were a machine of its own
//!   keys/                  member.key; for a validator vote.key and transport.key too
//!   card.toml              what it told the others
//!   node/                  validators only, written by `quorate-node init`
//!     node.toml, genesis.toml, data/, ...
//!     log                  what the node wrote to stderr, appended to at every start
//! ```
//!
//! # Addresses
//!
//! Tests run side by side, each with several validators, and a genesis document fixes addresses long
//! before anyone listens there. So each process takes a loopback address of its own, made of its
//! process id, and ports below those that the system hands out: nobody else can take them meanwhile.
//!
//! # Ending
//!
//! Validators run in process groups of their own, so that Ctrl-C reaches only whoever started them.
//! They are killed when the consortium is dropped, and by the kernel should this process be killed.

mod founding;
mod http;
mod process;
mod settings;

pub use founding::{Consortium, Member, Plan, free_addresses, name};
