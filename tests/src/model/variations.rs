//! The rules, each with one thing wrong.

use std::fmt;

/// One way to break one rule of DESIGN.md ("Ordering: PBFT over a hash chain").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variation {
    /// Rule 7: re-proposals follow the single best certificate by (view, height).
    BestCertificateAlone,
    /// Rule 3: a parent prepared in an older view makes its child prepared.
    ParentPreparedBefore,
    /// A quorum is one less.
    QuorumOneLess,
    /// Rule 6: a replica votes on in a view it has left.
    VotesInViewLeft,
    /// Rule 5: a replica that restarts has forgotten that it left its view.
    ForgetsViewLeft,
    /// Rule 2: a replica votes Prepare twice at one view and height.
    PreparesTwice,
    /// Rule 6: a ViewChange leaves out one prepared certificate.
    DropsCertificate,
    /// Rule 7: the leader cuts the chain short, and nobody recomputes it.
    CutsChain,
    /// Rule 6: the view of a certificate is read from its block's header.
    HeaderView,
    /// Rule 3 against rule 6: ViewChanges end at W heights, Commits do not.
    CommitsBeyondWindow,
}

impl Variation {
    /// All of them, in the order of DESIGN.md.
    pub const ALL: [Variation; 10] = [
        Variation::BestCertificateAlone,
        Variation::ParentPreparedBefore,
        Variation::QuorumOneLess,
        Variation::VotesInViewLeft,
        Variation::ForgetsViewLeft,
        Variation::PreparesTwice,
        Variation::DropsCertificate,
        Variation::CutsChain,
        Variation::HeaderView,
        Variation::CommitsBeyondWindow,
    ];

    /// A name for command lines.
    pub fn name(self) -> &'static str {
        match self {
            Variation::BestCertificateAlone => "best-certificate-alone",
            Variation::ParentPreparedBefore => "parent-prepared-before",
            Variation::QuorumOneLess => "quorum-one-less",
            Variation::VotesInViewLeft => "votes-in-view-left",
            Variation::ForgetsViewLeft => "forgets-view-left",
            Variation::PreparesTwice => "prepares-twice",
            Variation::DropsCertificate => "drops-certificate",
            Variation::CutsChain => "cuts-chain",
            Variation::HeaderView => "header-view",
            Variation::CommitsBeyondWindow => "commits-beyond-window",
        }
    }

    /// What it does, in words.
    pub fn what(self) -> &'static str {
        match self {
            Variation::BestCertificateAlone => {
                "re-proposals follow the single best certificate by (view, height)"
            }
            Variation::ParentPreparedBefore => "prepared counts a parent prepared in an older view",
            Variation::QuorumOneLess => "the quorum is one less",
            Variation::VotesInViewLeft => "a replica votes in a view it has left",
            Variation::ForgetsViewLeft => "a replica forgets, restarting, that it left its view",
            Variation::PreparesTwice => "a replica votes Prepare twice",
            Variation::DropsCertificate => "a prepared certificate is left out of a ViewChange",
            Variation::CutsChain => "the leader cuts the chain short",
            Variation::HeaderView => "a certificate's view is read from the header",
            Variation::CommitsBeyondWindow => "ViewChanges are cut to W heights while Commits are not",
        }
    }
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
