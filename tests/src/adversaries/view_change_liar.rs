//! Leaves out of its ViewChange what may have been decided, goes back to an older certificate, tells
//! different stories to different validators; and opens its views with another quorum's reports for each.

use super::{Liar, Parcel, Stage, message_in};
use bytes::Bytes;
use quorate_pbft::{Message, Signed, ViewChange};
use quorate_transport::Lane;
use quorate_types::certificate::{Certificate, PreparedCertificate};
use quorate_types::ids::ValidatorIndex;
use std::collections::BTreeMap;

/// Certificates remembered.
const REMEMBERED: usize = 32;

/// See the module.
#[derive(Default)]
pub(super) struct ViewChangeLiar {
    /// Reports of others for the highest view heard of.
    reports: BTreeMap<ValidatorIndex, Signed<ViewChange>>,
    old: Vec<Certificate>,
    prepared: Vec<PreparedCertificate>,
}

impl ViewChangeLiar {
    fn note(&mut self, change: &Signed<ViewChange>) {
        let known = self.reports.get(&change.signer).map(|known| known.statement.view);
        if known.is_none_or(|known| known <= change.statement.view) {
            self.reports.insert(change.signer, change.clone());
        }
        if self.old.len() < REMEMBERED {
            self.old.extend(change.statement.certificate.clone());
        }
        for prepared in &change.statement.prepared {
            if self.prepared.len() < REMEMBERED {
                self.prepared.push(prepared.clone());
            }
        }
    }

    fn lie(&self, stage: &mut Stage<'_>, mut change: ViewChange) -> ViewChange {
        match stage.dice.below(5) {
            0 => change.prepared.clear(),
            1 => {
                change.prepared.pop();
            }
            2 => {
                let place = stage.dice.place(change.prepared.len());
                if !change.prepared.is_empty() {
                    change.prepared.remove(place);
                }
            }
            3 => {
                // An older certificate, and what belonged above it then.
                change.certificate = stage.dice.pick(&self.old).cloned();
                let base = change.height();
                let window = stage.committee.window;
                let fits = |p: &&PreparedCertificate| {
                    p.header.height > base && p.header.height <= base.plus(window) && p.view < change.view
                };
                let mut prepared: Vec<PreparedCertificate> =
                    self.prepared.iter().filter(fits).cloned().collect();
                prepared.sort_by_key(|p| p.header.height);
                prepared.dedup_by_key(|p| p.header.height);
                change.prepared = prepared;
            }
            _ => {}
        }
        change
    }
}

impl Liar for ViewChangeLiar {
    fn send(&mut self, stage: &mut Stage<'_>, parcel: Parcel) {
        let (to, me) = (parcel.to, stage.me);
        match message_in(parcel.lane, &parcel.bytes) {
            Some(Message::ViewChange(m)) if m.signer == me => {
                self.note(&m);
                let lie = self.lie(stage, m.statement);
                let lie = stage.sign(lie);
                stage.say(to, &Message::ViewChange(Box::new(lie)));
            }
            Some(Message::NewView(m)) if m.signer == me => {
                let mut new_view = m.statement;
                let quorum = stage.committee.validators.quorum().q;
                let own = new_view.view_changes.iter().find(|change| change.signer == me).cloned();
                let mut chosen: BTreeMap<ValidatorIndex, Signed<ViewChange>> = BTreeMap::new();
                if let Some(own) = own {
                    let lie = self.lie(stage, own.statement);
                    chosen.insert(me, stage.sign(lie));
                }
                let known: Vec<_> = self
                    .reports
                    .values()
                    .chain(&new_view.view_changes)
                    .filter(|change| change.statement.view == new_view.view && change.signer != me)
                    .cloned()
                    .collect();
                let mut order: Vec<usize> = (0..known.len()).collect();
                while chosen.len() < quorum && !order.is_empty() {
                    let change = &known[order.swap_remove(stage.dice.place(order.len()))];
                    chosen.entry(change.signer).or_insert_with(|| change.clone());
                }
                if chosen.len() == quorum {
                    new_view.view_changes = chosen.into_values().collect();
                }
                let lie = stage.sign(new_view);
                stage.say(to, &Message::NewView(Box::new(lie)));
            }
            _ => stage.out.push(parcel),
        }
    }

    fn hears(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, lane: Lane, bytes: &Bytes) -> bool {
        match message_in(lane, bytes) {
            Some(Message::ViewChange(m)) => self.note(&m),
            Some(Message::NewView(m)) => m.statement.view_changes.iter().for_each(|change| self.note(change)),
            _ => {}
        }
        true
    }
}
