//! Messages of views this replica has not entered yet.

use crate::message::{Message, VerifiedMessage};
use quorate_types::ids::{ValidatorIndex, View};
use std::collections::BTreeMap;

/// Holds proposals and votes that come before their view's NewView. A convenience, not a need: what
/// is dropped here is resent upon a Status.
///
/// Bound: for each signer the messages of one view, the highest it spoke of, and at most
/// `per_signer` of them, however far ahead it claims to be.
#[derive(Debug)]
pub(crate) struct Future {
    per_signer: usize,
    by_signer: BTreeMap<ValidatorIndex, (View, Vec<VerifiedMessage>)>,
}

impl Future {
    /// For a window of `window` proposals: a proposal and two votes a height, twice over.
    pub(crate) fn new(window: u64) -> Future {
        let per_signer = usize::try_from(window.saturating_mul(6)).unwrap_or(usize::MAX).clamp(6, 384);
        Future { per_signer, by_signer: BTreeMap::new() }
    }

    pub(crate) fn hold(&mut self, message: VerifiedMessage) {
        debug_assert!(matches!(
            message.message(),
            Message::PrePrepare(_) | Message::Prepare(_) | Message::Commit(_)
        ));
        let view = message.view();
        let (held_view, held) = self.by_signer.entry(message.signer()).or_insert((view, Vec::new()));
        if view > *held_view {
            held.clear();
            *held_view = view;
        }
        if view == *held_view && held.len() < self.per_signer {
            held.push(message);
        }
    }

    /// Takes what was held for `view`, and forgets what is older.
    pub(crate) fn release(&mut self, view: View) -> Vec<VerifiedMessage> {
        let mut released = Vec::new();
        self.by_signer.retain(|_, (held_view, held)| {
            if *held_view == view {
                released.append(held);
            }
            *held_view > view
        });
        released
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_signer.values().map(|(_, held)| held.len()).sum()
    }
}
