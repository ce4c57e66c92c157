//! Makes certificates that are not: a signature short, one signer twice, signatures of nobody, signers
//! that do not exist, votes of another height; in ViewChanges, in NewViews and in blocks it serves.

use super::{Liar, Parcel, Stage, message_in};
use quorate_node::core::wire::PeerFrame;
use quorate_pbft::Message;
use quorate_types::certificate::Signatures;
use quorate_types::codec;
use quorate_types::ids::{Height, ValidatorIndex, View};
use quorate_types::keys::Signature;

/// See the module.
pub(super) struct CertificateForger;

fn forge(stage: &mut Stage<'_>, signatures: &mut Signatures) {
    let n = u16::try_from(stage.n()).unwrap_or(u16::MAX);
    match stage.dice.below(6) {
        0 => {
            signatures.pop();
        }
        1 => {
            if let Some(first) = signatures.first().cloned() {
                signatures.push(first);
                signatures.sort_by_key(|(signer, _)| *signer);
            }
        }
        2 => {
            if let Some((_, signature)) = signatures.last_mut() {
                *signature = Signature([7; 64]);
            }
        }
        3 => {
            if let Some((signer, _)) = signatures.last_mut() {
                *signer = ValidatorIndex(n + 3);
            }
        }
        4 => signatures.clear(),
        _ => {
            // Each under another's name.
            if let [(first, _), .., (last, _)] = &mut signatures[..] {
                std::mem::swap(first, last);
                signatures.sort_by_key(|(signer, _)| *signer);
            }
        }
    }
}

impl Liar for CertificateForger {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        if !stage.dice.chance(500) {
            stage.out.push(parcel);
            return;
        }
        let (to, me) = (parcel.to, stage.me);
        match message_in(parcel.lane, &parcel.bytes) {
            Some(Message::ViewChange(m)) if m.signer == me => {
                let mut change = m.statement;
                if let Some(certificate) = &mut change.certificate
                    && stage.dice.chance(400)
                {
                    if stage.dice.chance(500) {
                        certificate.commit.height = Height(certificate.commit.height.0 + 2);
                    } else {
                        forge(stage, &mut certificate.signatures);
                    }
                }
                for prepared in &mut change.prepared {
                    match stage.dice.below(3) {
                        0 => forge(stage, &mut prepared.signatures),
                        1 => prepared.view = View(change.view.0.saturating_sub(1)),
                        _ => {}
                    }
                }
                let forged = stage.sign(change);
                stage.say(to, &Message::ViewChange(Box::new(forged)));
            }
            Some(Message::NewView(m)) if m.signer == me => {
                let mut new_view = m.statement;
                if let Some(change) = new_view.view_changes.last_mut() {
                    for prepared in &mut change.statement.prepared {
                        forge(stage, &mut prepared.signatures);
                    }
                    if let Some(certificate) = &mut change.statement.certificate {
                        forge(stage, &mut certificate.signatures);
                    }
                }
                let forged = stage.sign(new_view);
                stage.say(to, &Message::NewView(Box::new(forged)));
            }
            _ => match codec::decode::<PeerFrame>(&parcel.bytes, parcel.bytes.len()) {
                Ok(PeerFrame::Blocks(mut blocks)) => {
                    for certificate in blocks.iter_mut().filter_map(|block| block.certificate.as_mut()) {
                        forge(stage, &mut certificate.signatures);
                    }
                    stage.send(to, parcel.lane, PeerFrame::Blocks(blocks).encode());
                }
                _ => stage.out.push(parcel),
            },
        }
    }
}
