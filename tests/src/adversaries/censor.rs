//! Ignores the transactions of one member: never takes them in, never passes them on, never proposes
//! them.

use super::{Liar, Parcel, Stage};
use crate::simulator::dice::Dice;
use bytes::Bytes;
use quorate_node::core::wire::PeerFrame;
use quorate_transport::Lane;
use quorate_types::codec;
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::PublicKey;
use quorate_types::transaction::SignedTransaction;

/// See the module.
pub(super) struct Censor {
    victim: Option<PublicKey>,
}

impl Censor {
    pub(super) fn new(dice: &mut Dice, clients: &[PublicKey]) -> Censor {
        Censor { victim: dice.pick(clients).copied() }
    }
}

impl Liar for Censor {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        stage.out.push(parcel);
    }

    fn hears(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, lane: Lane, bytes: &Bytes) -> bool {
        if lane != Lane::Gossip {
            return true;
        }
        let Ok(PeerFrame::Transactions { transactions, .. }) = codec::decode(bytes, bytes.len()) else {
            return true;
        };
        !transactions.iter().any(|bytes| {
            codec::decode::<SignedTransaction>(bytes, bytes.len())
                .is_ok_and(|signed| Some(signed.transaction.sender) == self.victim)
        })
    }
}
