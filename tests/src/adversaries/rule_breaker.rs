//! Names in its proposals what may stand in no block: transactions that are committed already, and one by a
//! stranger that never expires. It hands out their bodies, too.

use super::{Liar, Parcel, Stage, message_in};
use bytes::Bytes;
use quorate_node::core::wire::PeerFrame;
use quorate_pbft::{Message, PrePrepare};
use quorate_transport::Lane;
use quorate_types::block::transactions_root;
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Timestamp, ValidatorIndex};
use quorate_types::keys::SecretKey;
use quorate_types::transaction::{Operation, SignedTransaction, Transaction};

/// Bodies remembered: of the first that it sees, which are committed soon.
const REMEMBERED: usize = 16;

/// Of so many heights one has a proposal that breaks the rules.
const SELDOM: u64 = 3;

/// See the module.
#[derive(Default)]
pub(super) struct RuleBreaker {
    seen: Vec<(TransactionId, Bytes)>,
}

impl RuleBreaker {
    fn look(&mut self, lane: Lane, frame: &Bytes) {
        if lane != Lane::Gossip || self.seen.len() >= REMEMBERED {
            return;
        }
        if let Ok(PeerFrame::Transactions { transactions, .. }) = codec::decode(frame, frame.len()) {
            for bytes in transactions {
                if let Ok(signed) = codec::decode::<SignedTransaction>(&bytes, bytes.len()) {
                    self.seen.push((signed.transaction.id(), bytes));
                }
            }
        }
    }

    /// What is named besides what may be.
    fn forbidden(&self, stage: &mut Stage<'_>, nonce: u64) -> Vec<(TransactionId, Bytes)> {
        let stranger = SecretKey::from_seed(&[0xee; 32]);
        let operations = vec![Operation::CreateNamespace { namespace: "theirs".to_owned() }];
        let (chain, sender) = (stage.committee.chain, stranger.public());
        let foreign = Transaction { chain, sender, nonce, expires_at: Timestamp(u64::MAX), operations };
        let (id, bytes) = (foreign.id(), codec::encode_bytes(&foreign.sign(&stranger)));
        stage.dice.pick(&self.seen).cloned().into_iter().chain([(id, bytes)]).collect()
    }
}

impl Liar for RuleBreaker {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        self.look(parcel.lane, &parcel.bytes);
        match message_in(parcel.lane, &parcel.bytes) {
            Some(Message::PrePrepare(m))
                if m.signer == stage.me && m.statement.header.height.0.is_multiple_of(SELDOM) =>
            {
                let PrePrepare { view, mut header, mut ids } = m.statement;
                let mut bodies = self.forbidden(stage, header.height.0);
                bodies.retain(|(id, _)| !ids.contains(id));
                ids.extend(bodies.iter().map(|(id, _)| *id));
                header.transaction_count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                header.transactions_root = transactions_root(&ids);
                let proposal = stage.sign(PrePrepare { view, header, ids });
                stage.say(parcel.to, &Message::PrePrepare(Box::new(proposal)));
                let transactions = bodies.into_iter().map(|(_, bytes)| bytes).collect();
                let frame = PeerFrame::Transactions { hops: 1, transactions };
                stage.send(parcel.to, Lane::Gossip, frame.encode());
            }
            _ => stage.out.push(parcel),
        }
    }

    fn hears(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, lane: Lane, bytes: &Bytes) -> bool {
        self.look(lane, bytes);
        true
    }
}
