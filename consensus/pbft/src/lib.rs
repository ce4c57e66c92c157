//! **In which order.** One replica of PBFT over a hash chain, as a deterministic state machine.
//!
//! The crate reads no clock, makes no randomness, touches no disk or socket. [`Replica`] is told what
//! happened and says, through [`Output`], what must be made durable, sent, executed and committed.
//!
//! # The rules
//!
//! `n` validators, `f = ⌊(n−1)/3⌋` of them may be faulty, `q = ⌈(n+f+1)/2⌉` is a quorum
//! ([`Quorum`](quorate_types::validators::Quorum)). The leader of view v is validator `v mod n`. At
//! most W proposals are in flight.
//!
//! - **Upon a free slot, the leader** proposes a block on its last accepted one:
//!   `PrePrepare(view, header, ids)`, sent once its own Prepare is durable, so that a leader that
//!   restarts never proposes twice. It stops at the end of its term. (`replica/ordering.rs`)
//! - **Upon a PrePrepare** of this view's leader: accept it if the height is within own committed + W
//!   and the term, its parent is the view's base, accepted in this view or committed here, and nothing
//!   was accepted at that height and view. What comes early waits in its slot.
//! - **Upon acceptance** obtain every body and execute on top of the parent; if all header fields are
//!   what this replica computed, vote Prepare, once per (view, height).
//! - **Upon q Prepares** on an executed block whose parent is committed, or prepared *in this view*:
//!   it is prepared; vote Commit on block and result, if the height is within own committed + W.
//! - **Upon q Commits** on one block and result: commit it and its uncertified ancestors.
//! - **Upon suspicion** (`suspicion.rs`): a proposal or transaction that waits too long, a leader that
//!   is slow again and again, an invalid proposal, the end of the term: stop voting in the view and
//!   send ViewChange for the next, the same bytes until the view moves.
//!   A replica that is behind, or hears fewer than a quorum, blames itself and not the leader.
//! - **Upon f+1 validators at or above a higher view**: join the highest such view.
//! - **Upon q ViewChanges** for its view, the leader sends NewView with them. (`replica/views.rs`) So that they
//!   fit into it, one whose prepared certificates have more than q signatures is refused. (`message.rs`)
//! - **Upon a NewView**: everyone recomputes the same base and re-proposals (`view_change.rs`) and
//!   treats those as accepted. There is no separate PrePrepare for them: headers come with the
//!   certificates, ids and bodies are fetched by hash from those who voted for them.
//! - **Upon a Status** of a stalled peer: resend what it lacks, and no proposal that it says it has, unless
//!   it voted on another one. A replica that waits for nothing asks it for proposals of this view that it says
//!   it has, and are lacking here. (`replica/resend.rs`)
//!
//! # Where this departs from the paper
//!
//! A commit certificate at every height replaces checkpoints. Commit votes sign the result too.
//! Proposals are chained, and *prepared* is recursive within a view. Nothing is re-proposed above a
//! gap; there are no null requests.
//!
//! # Why it is safe
//!
//! Suppose block B at height h has a certificate from view v: q validators voted Commit on it in v, so
//! each honest one of them held, durably, prepared certificates of view v for B and for every ancestor
//! above its own committed block (recursion within the view), and all of these stand in its next
//! ViewChange, because a Commit is only cast within own committed + W. Let v' > v be the least view
//! with a NewView under which another block could be accepted at h. Its q ViewChanges share an honest
//! validator with the q Commits. That validator reports, at every height up to h above its
//! certificate, a prepared certificate of a view at least v. Two certificates of one view and height
//! are for one block, since two quorums share an honest validator and that votes Prepare once. So at
//! each height no certificate of view v contradicts B's chain; none of views between v and v' does, by
//! induction over views, since in those only that chain was re-proposed; and older views are outbid.
//! Hence the recomputed chain passes through B, or the base is already above it, and in v' too nothing
//! else can be accepted at h. A replica votes in no view it has left, so no votes are added to the past.
//!
//! # What the driver owes
//!
//! Outputs come in order. Everything after an [`Output::Persist`] waits until that record is synced.
//! Records and commits are made durable in order. On restart, the records come back through [`Recovered`].

mod evidence;
mod future;
mod learning;
mod message;
mod output;
mod replica;
mod slot;
mod suspicion;
mod timer;
mod view_change;

#[cfg(test)]
mod tests;

pub use evidence::Evidence;
pub use learning::Learning;
pub use message::{
    Committee, MAX_MESSAGE_BYTES, Message, MessageError, NewView, Phase, PrePrepare, Signed, Statement,
    Status, VerifiedMessage, ViewChange,
};
pub use output::{Output, Record, To};
pub use replica::{Committed, Config, Held, Recovered, Rejection, Replica, Slot as ProposalSlot};
pub use view_change::{Plan, plan};
