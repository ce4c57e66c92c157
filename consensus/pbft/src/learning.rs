//! A replica that may have forgotten votes follows without voting until it cannot contradict them.
//!
//! Let v be any view it may have voted in or left, and h any height it may have voted on. Once its
//! committed height is at least h, all its later votes are on heights it never voted on; once its
//! view is at least v, no vote of it and no ViewChange it may have sent speak against one another.
//!
//! Where the guard file beside the database names v and h, they are the barrier. Where everything is
//! gone, they are bounded by what others say. A replica votes in a view only under a NewView, for
//! which q validators sent ViewChanges; it leaves for a view at most one above one that f+1 honest
//! validators have reached; and it commits a block only with q votes on it, of which the honest are at
//! most W heights behind, and votes at most W above that. Among q *other* validators at least one
//! honest one has seen as much. So the barrier is one view and 2 W heights above the most that q
//! others claim. (A liar among them can make the barrier too high, so keeping this replica, and none
//! else, from voting; it can not make it too low.)
//!
//! While it learns it enters the views that others open, and records that. Such a record is no vote: whoever
//! keeps count of votes, to tell after a restart that memory is whole again, must leave it out, or the barrier
//! would be forgotten with the restart.
//!
//! When q − 1 others know of no block, the chain is being founded, and a replica whose directory is new
//! votes at once. (It may have voted on the first blocks and forgotten that, if its disk was lost in that
//! very minute, or while a loss of power could still take the first block from the others; it then counts
//! among the f faulty, and its second vote is evidence against it. Asking for others that never *voted*
//! would found no chain whose first leader votes before all have heard one another.)
//!
//! One that *knows* that it forgot has no such excuse: before the first block it may have voted in many
//! views that came to nothing. It waits until the others have founded the chain and gone on beyond its
//! barrier. Where it is the only validator there is nobody to wait for, and it votes at once.

use quorate_types::ids::{Height, ValidatorIndex, View};
use std::collections::BTreeMap;

/// What a replica knows of votes it may have forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learning {
    /// Its memory is whole.
    No,
    /// Its directory is new: the chain is being founded, or everything was lost.
    Fresh,
    /// It ran before, and nothing tells how far it voted: its directory is a copy, or the guard file is gone.
    Lost,
    /// It votes again at this height and view.
    Until {
        /// The highest height it may have voted on.
        height: Height,
        /// The highest view it may have voted in or left.
        view: View,
    },
}

/// What another validator claims of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) view: View,
    pub(crate) height: Height,
    pub(crate) founding: bool,
}

impl Learning {
    /// Draws the barrier when enough others were heard.
    pub(crate) fn hear(&mut self, claims: &BTreeMap<ValidatorIndex, Claim>, quorum: usize, window: u64) {
        let may_found = match self {
            Learning::Fresh => true,
            Learning::Lost => quorum == 1,
            Learning::No | Learning::Until { .. } => return,
        };
        if may_found && claims.values().filter(|claim| claim.founding).count() + 1 >= quorum {
            *self = Learning::No;
        } else if claims.len() >= quorum {
            let height = claims.values().map(|c| c.height).max().unwrap_or_default().plus(2 * window);
            let view = claims.values().map(|c| c.view).max().unwrap_or_default().next();
            *self = Learning::Until { height, view };
        }
    }

    /// Ends learning when the barrier is reached; true if that happened now.
    pub(crate) fn reach(&mut self, committed: Height, view: View) -> bool {
        match self {
            Learning::Until { height, view: barrier } if committed >= *height && view >= *barrier => {
                *self = Learning::No;
                true
            }
            _ => false,
        }
    }
}
