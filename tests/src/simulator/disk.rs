//! A store in memory with the semantics of a disk.
//!
//! Batches are atomic and ordered, as in RocksDB's log. What was written is seen at once, and survives
//! the death of the process; only what was synced survives the death of the machine. Damage shows when
//! it is read, as a checksum shows it, or as a log that ends early.

use super::dice::Dice;
use bytes::Bytes;
use quorate_ledger::{Column, MemoryStore, Store, StoreError, Write};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// Synced batches that damage in the log can take away.
const DAMAGEABLE: usize = 16;

/// How to undo one batch: the entries as they were before.
type Undo = Vec<Write>;

#[derive(Debug, Default)]
struct State {
    live: MemoryStore,
    /// Newest last.
    synced: VecDeque<Undo>,
    unsynced: VecDeque<Undo>,
    damaged: BTreeSet<(Column, Vec<u8>)>,
    damage_seen: bool,
}

/// A disk. Clones are handles of the same one.
#[derive(Debug, Clone, Default)]
pub struct Disk(Rc<RefCell<State>>);

/// A copy of everything on a disk, as a backup makes it.
#[derive(Debug, Clone)]
pub struct Backup(MemoryStore);

impl Disk {
    /// Writes a batch; whole or, if the machine dies before the sync, perhaps not at all.
    pub fn write(&self, batch: &[Write]) {
        let state = &mut *self.0.borrow_mut();
        let mut undo: Undo = Vec::with_capacity(batch.len());
        for write in batch {
            let before = state.live.get(write.column, &write.key).ok().flatten();
            undo.push(Write { column: write.column, key: write.key.clone(), value: before });
            // Written anew is sound again.
            state.damaged.remove(&(write.column, write.key.to_vec()));
        }
        undo.reverse();
        state.live.apply(batch);
        state.unsynced.push_back(undo);
    }

    /// Makes everything written so far survive power loss.
    pub fn sync(&self) {
        let state = &mut *self.0.borrow_mut();
        state.synced.append(&mut state.unsynced);
        while state.synced.len() > DAMAGEABLE {
            state.synced.pop_front();
        }
    }

    /// Power fails: of what was not synced, some first part may survive. Returns how many batches were
    /// lost.
    pub fn lose_power(&self, dice: &mut Dice) -> usize {
        let state = &mut *self.0.borrow_mut();
        let survive = dice.place(state.unsynced.len() + 1);
        let lost = state.unsynced.split_off(survive);
        for undo in lost.iter().rev() {
            state.live.apply(undo);
        }
        // Read back from the log, it is as good as synced.
        state.synced.append(&mut state.unsynced);
        lost.len()
    }

    /// The log is damaged in the middle: recovery ends before it, and all that came later is gone,
    /// synced or not. Returns how many batches were lost.
    pub fn tear(&self, dice: &mut Dice) -> usize {
        let state = &mut *self.0.borrow_mut();
        for undo in state.unsynced.drain(..).rev() {
            state.live.apply(&undo);
        }
        let lost = dice.place(state.synced.len() + 1);
        for _ in 0..lost {
            if let Some(undo) = state.synced.pop_back() {
                state.live.apply(&undo);
            }
        }
        lost
    }

    /// Flips a bit in the value of some entry: whoever reads it finds the checksum wrong. False if there
    /// is nothing to damage.
    pub fn flip(&self, dice: &mut Dice) -> bool {
        let state = &mut *self.0.borrow_mut();
        let columns = [Column::Nodes, Column::Values, Column::Bodies, Column::Blocks, Column::Certificates];
        let Some(column) = dice.pick(&columns).copied() else { return false };
        let Ok(entries) = state.live.range(column, &[], &[0xff; 48], usize::MAX) else { return false };
        let Some((key, _)) = dice.pick(&entries) else { return false };
        state.damaged.insert((column, key.clone()));
        true
    }

    /// Whether damage was met since the disk was last replaced.
    pub fn damage_seen(&self) -> bool {
        self.0.borrow().damage_seen
    }

    /// What is left of it if power fails now, and luck too.
    pub fn after_power_loss(&self) -> MemoryStore {
        let state = self.0.borrow();
        let mut left = state.live.clone();
        state.unsynced.iter().rev().for_each(|undo| left.apply(undo));
        left
    }

    /// Everything as it is now.
    pub fn backup(&self) -> Backup {
        Backup(self.0.borrow().live.clone())
    }

    /// Another disk in its place, with what a backup holds, or empty.
    pub fn replaced(backup: Option<Backup>) -> Disk {
        let live = backup.map(|backup| backup.0).unwrap_or_default();
        Disk(Rc::new(RefCell::new(State { live, ..State::default() })))
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().live.is_empty()
    }

    fn sound<T>(
        &self,
        read: impl FnOnce(&MemoryStore) -> Result<T, StoreError>,
        touches: impl Fn(&T) -> Vec<(Column, Vec<u8>)>,
    ) -> Result<T, StoreError> {
        let mut state = self.0.borrow_mut();
        let found = read(&state.live)?;
        if state.damaged.is_empty() {
            return Ok(found);
        }
        for (column, key) in touches(&found) {
            if state.damaged.contains(&(column, key.clone())) {
                state.damage_seen = true;
                let what = format!("checksum of {} {}", column.name(), const_hex::encode(&key));
                return Err(StoreError::Corrupt(what));
            }
        }
        Ok(found)
    }
}

impl Store for Disk {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.sound(|live| live.get(column, key), |_| vec![(column, key.to_vec())])
    }

    fn range(
        &self,
        column: Column,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        self.sound(
            |live| live.range(column, from, to, limit),
            |found| found.iter().map(|(key, _)| (column, key.clone())).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8, value: u8) -> Write {
        Write::put(Column::Meta, [key], vec![value])
    }

    fn held(disk: &Disk, key: u8) -> Option<u8> {
        disk.get(Column::Meta, &[key]).unwrap().map(|bytes| bytes[0])
    }

    #[test]
    fn what_was_not_synced_may_be_lost_from_the_end_only() {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let disk = Disk::default();
            disk.write(&[put(0, 7)]);
            disk.sync();
            disk.write(&[put(1, 1), put(0, 8)]);
            disk.write(&[put(1, 2)]);
            let lost = disk.lose_power(&mut Dice::new(seed));
            let expected = [(Some(8), Some(2)), (Some(8), Some(1)), (Some(7), None)][lost];
            assert_eq!((held(&disk, 0), held(&disk, 1)), expected);
            seen.insert(lost);
        }
        assert_eq!(seen.len(), 3, "every length of the rest was seen");
    }

    #[test]
    fn a_torn_log_takes_synced_batches_too() {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let disk = Disk::default();
            for value in 1..=3 {
                disk.write(&[put(0, value)]);
                disk.sync();
            }
            let lost = u8::try_from(disk.tear(&mut Dice::new(seed))).unwrap();
            assert_eq!(held(&disk, 0), (lost < 3).then_some(3 - lost));
            seen.insert(lost);
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn a_flipped_bit_is_an_error_when_read_and_mended_when_written() {
        let disk = Disk::default();
        let write = Write::put(Column::Values, [1], vec![1]);
        disk.write(std::slice::from_ref(&write));
        let mut dice = Dice::new(3);
        while !disk.flip(&mut dice) {}
        assert!(matches!(disk.get(Column::Values, &[1]), Err(StoreError::Corrupt(_))));
        assert!(disk.range(Column::Values, &[0], &[9], 9).is_err());
        disk.write(&[write]);
        assert!(disk.get(Column::Values, &[1]).is_ok());
    }
}
