//! **The ordering protocol as an explicit-state model**: every state of a small scope is visited, and
//! agreement checked in each.
//!
//! | module | subject |
//! |---|---|
//! | [`block`] | blocks, by what tells them apart |
//! | [`state`] | what replicas made durable and said |
//! | [`rules`] | who may say what: rules 2 to 7 of DESIGN.md |
//! | [`actions`] | the steps of the honest replicas; the invariant |
//! | [`forget`] | making states of equal meaning equal |
//! | [`variations`] | the rules, each with one thing wrong |
//! | [`check`] | exploring: to exhaustion, to the shortest violation, by random walks |
//! | [`guide`] | where to look for the deep violations |
//! | [`trace`] | a run as text |
//!
//! # What is modelled
//!
//! Four validators, quorum 3. Three are honest. **The fourth signs anything**: any vote on any block, a
//! ViewChange of whatever certificates can be made, and it takes no steps, as all of that counts as said
//! from the beginning: a quorum is two honest voices. **Any leader proposes anything**: in each view,
//! whoever leads it, replicas may be given different blocks, and any NewView that a quorum of ViewChanges
//! allows, each another one if it likes. An honest leader does some of this, so nothing is lost, and the
//! honest replicas, none of which leads, are interchangeable.
//!
//! **The network** is the set of all that was ever said. Hearing of it late, again, in another order or
//! never is the receiver's freedom; a step is enabled by what was said, and never forced.
//!
//! **A restart** keeps what is durable: votes, promises, the view and its NewView, the committed block.
//! The model holds nothing else. A vote is one step that makes it durable and says it (rule 5), and a
//! crash before that step is the step not taken; a block accepted but not voted on is no state, as a
//! restart would forget it. So restarting by the rules changes nothing, and is a step only where a
//! variation forgets something.
//!
//! | rule | in the model | in `consensus/pbft` |
//! |---|---|---|
//! | 2: what may be accepted, one Prepare | [`Rules::prepares`] | `accept`, `vote_prepare` (`replica/ordering.rs`) |
//! | 3: prepared in this view, Commit within W | [`Rules::commits`] | `vote_commit` |
//! | 4: certificates, ancestors, catching up | [`Rules::has_commits`], [`Rules::catch_ups`] | `commit`, `caught_up` |
//! | 5: durable, then said | a vote is one step | `Output::Persist`, `replica/recovery.rs` |
//! | 6: leaving, joining, ViewChange | [`Rules::leaves`], [`Rules::change`] | `suspect`, `join`, `leave_view` (`replica/views.rs`) |
//! | 7: NewView, re-proposals | [`Rules::plans`] | `plan` (`view_change.rs`), `enter` |
//!
//! Where the model allows more than the code, it does so on purpose: a replica may suspect its leader at
//! any time, catch up to any certificate at once, and vote Commit again on another block of one view and
//! height if that were prepared (the code refuses, the model shows that it need not).
//!
//! **Agreement**: of any two blocks with a certificate, one is the other or its ancestor. As replicas
//! commit certified blocks only, that puts every committed block on one chain.
//!
//! # What is not modelled
//!
//! Liveness; bodies, execution and results (two results for one block never make a certificate, as votes
//! name both); validator sets that change; terms; a replica that lost its memory (`learning.rs`); more
//! than four validators; forged signatures. A header is its height, parent, view and one of at most two
//! choices. The scopes are small: what needs more heights, views or blocks than they have is not seen.
//!
//! States are compared by 64-bit hashes, so that one in about 2⁶⁴ pairs would be taken for one: with ten
//! million states a chance of 1 in 400 000 that some state was skipped.
//!
//! # The variations
//!
//! | [`Variation`] | what it breaks |
//! |---|---|
//! | `best-certificate-alone` | rule 7, "at each height the certificate of the highest view": a later view may have prepared again the lower part only |
//! | `parent-prepared-before` | rule 3, "prepared in this view, recursively": the Commit has no parent in this view to outbid others in the next |
//! | `quorum-one-less` | the quorum: two of them need not share an honest replica |
//! | `votes-in-view-left` | rule 6, "it stops voting in the view": a certificate is completed after the ViewChange did not report it |
//! | `forgets-view-left` | rule 5, "votes in no view below its last ViewChange", over a restart |
//! | `prepares-twice` | rule 2, "once per (view, height)" |
//! | `drops-certificate` | rule 6, "reports every block above its certificate on which it voted Commit" |
//! | `cuts-chain` | rule 7, "everyone recomputes the same re-proposals" |
//! | `header-view` | rule 6, "its view is the votes' view, never the header's" |
//! | `commits-beyond-window` | rule 3, Commits "at most own committed + W", while ViewChanges end there |
//!
//! The three deep ones (`best-certificate-alone`, `parent-prepared-before`, `header-view`) are searched for
//! from where a prefix by the rules leads ([`guide`]); all others from the start. Every search is breadth
//! first, so that what it finds is shortest in its scope, and after its prefix.
//!
//! `cargo run --release -p quorate-tests --bin model` prints what is found in which scope,
//! `-- --trace NAME` a counterexample as text, `-- --walks N` walks at random in a scope too large to
//! exhaust.

pub mod actions;
pub mod block;
pub mod check;
pub mod forget;
pub mod guide;
pub mod rules;
pub mod state;
pub mod trace;
pub mod variations;

pub use check::{Outcome, SCOPES, explore, explore_after, scope_of, unreached, walk};
pub use guide::prefix_of;
pub use rules::{Rules, Scope};
pub use trace::Trace;
pub use variations::Variation;
