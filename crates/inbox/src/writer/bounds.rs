//! Removal of messages that all readers have or that are beyond the bounds, and of readers unseen
//! for long.

use super::Writer;
use crate::{
    age::{Age, Moment},
    error::StoreError,
    store::Stays,
};

/// The most messages that a transaction removes: it must not hold up new messages.
const MOST: u32 = 1024;

impl Writer {
    /// Lets sessions pass messages that their filters do not want.
    pub(super) fn advance(&mut self) {
        let Ok(store) = self.files.store() else { return };
        self.is_behind = self.readers.advance(&self.line, |after, take| store.topics(after, take));
    }

    /// Writes the changes, and removes messages that may leave.
    pub(super) fn save(&mut self, now: Moment) -> Result<(), StoreError> {
        let saved = match self.save_once(now) {
            Err(error @ StoreError::Corrupt(_)) if self.rescue(&error, now) => self.save_once(now),
            saved => saved,
        };
        if saved.is_err() {
            // The failure was logged; changed readers stay dirty.
            self.publish(self.age.at(now));
        }
        saved
    }

    fn save_once(&mut self, now: Moment) -> Result<(), StoreError> {
        let age = self.age.at(now);
        self.readers.forget(age);
        let lacks = self.readers.unwritten(age);
        let stays = self.what_stays(age)?;
        let moves = stays.seq > self.line.first();
        let due = self.age.due(now);
        if lacks.is_empty() && !moves && due.is_none() {
            return Ok(());
        }
        let (line, epoch) = (self.line, self.epoch.unwrap_or_default());
        let state = due.or(self.age.in_file());
        self.line = self.files.transact(lacks.is_urgent, |store| {
            let mut next = line;
            if moves {
                let before = store.total_before(stays.seq)?;
                store.remove_through(stays.seq.saturating_sub(1))?;
                next = line.from(stays.seq, before);
            }
            for (kind, name) in &lacks.removed {
                store.remove_reader(*kind, name)?;
            }
            for reader in &lacks.stale {
                store.save_reader(reader)?;
            }
            // An empty line has no message that holds its number.
            let is_empty = moves && next.messages() == 0;
            if let Some(state) = state.filter(|_| due.is_some() || is_empty) {
                store.save_state(epoch, &next, state)?;
            }
            Ok(next)
        })?;
        self.age.written(state);
        self.readers.written();
        self.is_behind |= stays.seq.saturating_sub(line.first()) >= i64::from(MOST);
        self.figures.gave_up(self.line.first(), stays.full, stays.old);
        Ok(())
    }

    /// Returns the first message that stays, and the counts of those before it that are given up.
    fn what_stays(&self, age: Age) -> Result<Stays, StoreError> {
        let first = self.line.first();
        let most = i64::from(MOST);
        let floor = self.readers.floor().unwrap_or(0).min(self.line.last());
        let had = floor.saturating_add(1).clamp(first, first.saturating_add(most));
        let Ok(store) = self.files.store() else {
            return Ok(Stays { seq: first, full: 0, old: 0 });
        };
        let bytes = self.line.total().saturating_sub(self.bounds.bytes);
        let aged = age.saturating_sub(self.bounds.age);
        let left = u32::try_from(most.saturating_sub(had.saturating_sub(first))).unwrap_or(0);
        Ok(store.first_that_stays(had, bytes, aged, left)?)
    }
}
