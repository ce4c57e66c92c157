//! Validators that lie. One behaviour a file.
//!
//! A liar runs a whole honest node with its own keys, so that it knows everything an honest validator
//! knows and is believed in everything else; its behaviour then changes, drops, delays or adds to what
//! that node says. Up to f of them lie at once, each in its own way.

mod accomplice;
mod censor;
mod certificate_forger;
mod double_voter;
mod equivocating_leader;
mod far_future;
mod garbage;
mod mutator;
mod overstayer;
mod replayer;
mod rule_breaker;
mod slow_leader;
mod sync_liar;
mod view_change_liar;
mod withholder;

use crate::simulator::dice::Dice;
use bytes::Bytes;
use quorate_node::core::wire::PeerFrame;
use quorate_pbft::{Committee, Message, Signed, Statement};
use quorate_transport::Lane;
use quorate_types::codec;
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::{PublicKey, SecretKey};
use std::time::Duration;

/// Ways to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// As a leader proposes one block to some and another to others, and votes for both.
    EquivocatingLeader,
    /// Votes for two blocks at one height.
    DoubleVoter,
    /// Does not vote, or not to everyone.
    Withholder,
    /// Proposes just before it would be suspected.
    SlowLeader,
    /// Goes on proposing past its term.
    Overstayer,
    /// Ignores the transactions of one member.
    Censor,
    /// Proposes what may stand in no block.
    RuleBreaker,
    /// Plays back what it heard long ago.
    Replayer,
    /// Makes certificates that are not.
    CertificateForger,
    /// Leaves out, or makes up, what it reports in a view change; opens views with other reports.
    ViewChangeLiar,
    /// Serves wrong blocks, claims heights it does not have, or serves nothing.
    SyncLiar,
    /// Votes for views and heights far ahead.
    FarFuture,
    /// Sends bytes that are nothing.
    Garbage,
    /// Changes one number of a real message, or its recipient.
    Mutator,
    /// Two correct copies with one key, each seen by some of the others.
    Twins,
    /// Joins every vote it hears of, and reports none of it: drawn in sieges, where there is something to join.
    Accomplice,
}

impl Behaviour {
    /// Every behaviour; the last one has its place in sieges.
    pub const ALL: [Behaviour; 16] = [
        Behaviour::EquivocatingLeader,
        Behaviour::DoubleVoter,
        Behaviour::Withholder,
        Behaviour::SlowLeader,
        Behaviour::Overstayer,
        Behaviour::Censor,
        Behaviour::RuleBreaker,
        Behaviour::Replayer,
        Behaviour::CertificateForger,
        Behaviour::ViewChangeLiar,
        Behaviour::SyncLiar,
        Behaviour::FarFuture,
        Behaviour::Garbage,
        Behaviour::Mutator,
        Behaviour::Twins,
        Behaviour::Accomplice,
    ];

    /// Those that do harm in any world.
    pub fn anywhere() -> &'static [Behaviour] {
        &Behaviour::ALL[..15]
    }

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Behaviour::EquivocatingLeader => "equivocating leader",
            Behaviour::DoubleVoter => "double voter",
            Behaviour::Withholder => "vote withholder",
            Behaviour::SlowLeader => "slow leader",
            Behaviour::Overstayer => "overstaying leader",
            Behaviour::Censor => "censor",
            Behaviour::RuleBreaker => "rule breaker",
            Behaviour::Replayer => "replayer",
            Behaviour::CertificateForger => "certificate forger",
            Behaviour::ViewChangeLiar => "view change liar",
            Behaviour::SyncLiar => "sync liar",
            Behaviour::FarFuture => "far-future flooder",
            Behaviour::Garbage => "garbage encoder",
            Behaviour::Mutator => "mutator",
            Behaviour::Twins => "twins",
            Behaviour::Accomplice => "accomplice",
        }
    }

    /// A liar of this kind. Twins need none: each of them is honest by itself.
    pub fn liar(
        self,
        dice: &mut Dice,
        view_timeout: Duration,
        clients: &[PublicKey],
    ) -> Option<Box<dyn Liar>> {
        Some(match self {
            Behaviour::EquivocatingLeader => Box::new(equivocating_leader::EquivocatingLeader::default()),
            Behaviour::DoubleVoter => Box::new(double_voter::DoubleVoter::default()),
            Behaviour::Withholder => Box::new(withholder::Withholder::new(dice)),
            Behaviour::SlowLeader => Box::new(slow_leader::SlowLeader::new(dice, view_timeout)),
            Behaviour::Overstayer => Box::new(overstayer::Overstayer),
            Behaviour::Censor => Box::new(censor::Censor::new(dice, clients)),
            Behaviour::RuleBreaker => Box::new(rule_breaker::RuleBreaker::default()),
            Behaviour::Replayer => Box::new(replayer::Replayer::default()),
            Behaviour::CertificateForger => Box::new(certificate_forger::CertificateForger),
            Behaviour::ViewChangeLiar => Box::new(view_change_liar::ViewChangeLiar::default()),
            Behaviour::SyncLiar => Box::new(sync_liar::SyncLiar),
            Behaviour::FarFuture => Box::new(far_future::FarFuture),
            Behaviour::Garbage => Box::new(garbage::Garbage),
            Behaviour::Mutator => Box::new(mutator::Mutator),
            Behaviour::Twins => return None,
            Behaviour::Accomplice => Box::new(accomplice::Accomplice::default()),
        })
    }
}

/// A frame on its way out.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// To whom.
    pub to: ValidatorIndex,
    /// On which lane.
    pub lane: Lane,
    /// The frame.
    pub bytes: Bytes,
    /// Kept back for so long.
    pub delay: Duration,
}

/// What a liar has at hand when it acts.
pub struct Stage<'a> {
    /// Its choices.
    pub dice: &'a mut Dice,
    /// Who it is.
    pub me: ValidatorIndex,
    /// The key it votes with.
    pub key: &'a SecretKey,
    /// The validators and the chain.
    pub committee: &'a Committee,
    /// What leaves, in order.
    pub out: Vec<Parcel>,
}

impl Stage<'_> {
    /// How many validators there are.
    pub fn n(&self) -> usize {
        self.committee.validators.len()
    }

    /// Another validator, by chance.
    pub fn other(&mut self) -> ValidatorIndex {
        let n = self.n();
        let place = self.dice.place(n);
        let place = if place == self.me.as_usize() { (place + 1) % n } else { place };
        ValidatorIndex(u16::try_from(place).unwrap_or(0))
    }

    /// Every other validator.
    pub fn others(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        let me = self.me;
        let n = u16::try_from(self.n()).unwrap_or(u16::MAX);
        (0..n).map(ValidatorIndex).filter(move |other| *other != me)
    }

    /// Lets a frame out.
    pub fn send(&mut self, to: ValidatorIndex, lane: Lane, bytes: Bytes) {
        self.out.push(Parcel { to, lane, bytes, delay: Duration::ZERO });
    }

    /// Signs a statement and wraps it up.
    pub fn sign<T: Statement>(&self, statement: T) -> Signed<T> {
        Signed::new(statement, &self.committee.chain, self.me, self.key)
    }

    /// Sends a message of the ordering protocol.
    pub fn say(&mut self, to: ValidatorIndex, message: &Message) {
        let bytes = frame_of(message);
        self.send(to, Lane::Votes, bytes);
    }
}

/// A way to lie.
pub trait Liar {
    /// The honest node would send this: what leaves instead is up to the liar.
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel);

    /// A frame came; whether the honest node gets to see it.
    fn hears(&mut self, _stage: &mut Stage<'_>, _from: ValidatorIndex, _lane: Lane, _bytes: &Bytes) -> bool {
        true
    }

    /// A moment passed: time to say something unasked.
    fn idle(&mut self, _stage: &mut Stage<'_>) {}
}

/// The message in a frame, if it is one of the ordering protocol.
pub fn message_in(lane: Lane, bytes: &Bytes) -> Option<Message> {
    if lane != Lane::Votes {
        return None;
    }
    match codec::decode::<PeerFrame>(bytes, bytes.len()).ok()? {
        PeerFrame::Consensus(message) => codec::decode(&message, message.len()).ok(),
        _ => None,
    }
}

/// The frame of a message.
pub fn frame_of(message: &Message) -> Bytes {
    PeerFrame::Consensus(codec::encode_bytes(message)).encode()
}
