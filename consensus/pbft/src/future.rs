//! Messages of views this replica has not entered yet.

use crate::message::{Message, VerifiedMessage};
use quorate_types::ids::{Height, ValidatorIndex, View};
use std::collections::BTreeMap;

/// Proposals held of one signer.
const PROPOSALS: usize = 2;

/// Holds proposals and votes that come before their view's NewView. A convenience, not a need: what
/// is dropped here is resent upon a Status.
///
/// Bound: for each signer the messages of one view, the highest it spoke of; of each kind one for
/// each height, and `per_kind` at most, however far ahead it claims to be. Of proposals, which may be
/// ten thousand times as long as votes, [`PROPOSALS`] at most.
#[derive(Debug)]
pub(crate) struct Future {
    per_kind: usize,
    by_signer: BTreeMap<ValidatorIndex, (View, Held)>,
}

/// By kind and height.
type Held = BTreeMap<(u8, Height), VerifiedMessage>;

impl Future {
    /// For a window of `window` proposals: twice that, as a peer may be a window ahead.
    pub(crate) fn new(window: u64) -> Future {
        let per_kind = usize::try_from(window.saturating_mul(2)).unwrap_or(usize::MAX).clamp(2, 128);
        Future { per_kind, by_signer: BTreeMap::new() }
    }

    pub(crate) fn hold(&mut self, message: VerifiedMessage) {
        let (kind, height) = match message.message() {
            Message::PrePrepare(m) => (0, m.statement.header.height),
            Message::Prepare(m) => (1, m.statement.height),
            Message::Commit(m) => (2, m.statement.height),
            Message::ViewChange(_) | Message::NewView(_) | Message::Status(_) => return,
        };
        let view = message.view();
        let (held_view, held) = self.by_signer.entry(message.signer()).or_insert((view, BTreeMap::new()));
        if view > *held_view {
            held.clear();
            *held_view = view;
        }
        let of_kind = held.range((kind, Height::GENESIS)..=(kind, Height(u64::MAX))).count();
        let most = if kind == 0 { PROPOSALS } else { self.per_kind };
        if view == *held_view && of_kind < most {
            held.entry((kind, height)).or_insert(message);
        }
    }

    /// Takes what was held for `view`, and forgets what is older.
    pub(crate) fn release(&mut self, view: View) -> Vec<VerifiedMessage> {
        let mut released = Vec::new();
        self.by_signer.retain(|_, (held_view, held)| {
            if *held_view == view {
                released.extend(std::mem::take(held).into_values());
            }
            *held_view > view
        });
        released
    }

    /// Messages held.
    pub(crate) fn len(&self) -> usize {
        self.by_signer.values().map(|(_, held)| held.len()).sum()
    }
}
