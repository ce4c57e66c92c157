//! Whole clusters of replicas in memory, and the rules each message must keep.
//!
//! `cluster` runs replicas under a fake clock and a scripted network; `node` is what the driver owes
//! them; `observer` states again, apart from the replica's code, what must never happen, and looks at
//! every message that leaves. The rest are the cases.

mod bounds;
mod byzantine;
mod cluster;
mod craft;
mod node;
mod observer;

mod happy;
mod messages;
mod network;
mod plans;
mod random;
mod restarts;
mod view_changes;
