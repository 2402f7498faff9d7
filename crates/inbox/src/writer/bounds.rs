//! Removal of messages that all readers have or that are beyond the bounds, and of readers unseen
//! for long.

use super::{Kind, Moment, Reader, Seq, StoreError, Writer};
use crate::store::{Line, Stays};

/// The most messages that a transaction removes: it must not hold up new messages.
const MOST: u32 = 1024;

/// The most messages that a step looks at to see how far a session's filters let it advance.
const LOOKED_AT: usize = 512;

/// The divisor of a reader's lag: its time on disk lags at most this part of the time that it is
/// remembered.
const LAG: i64 = 16;

impl Writer {
    /// Lets sessions pass messages that their filters do not want.
    pub(super) fn advance(&mut self) {
        let (Line { first, last, .. }, matches) = (self.line, self.matches);
        let Some(ground) = &self.ground else { return };
        let mut is_behind = false;
        let stuck = |reader: &&mut Reader| {
            // The messages that it lacked may have been removed.
            let is_blocked = reader.blocked.is_some_and(|seq| seq >= first);
            reader.kind == Kind::Session && !is_blocked && reader.position < last
        };
        for session in self.readers.values_mut().filter(stuck) {
            let mut looked_at = 0;
            let mut position = session.position;
            let mut blocked = None;
            let looked = ground.store.topics(session.position, |seq, topic| {
                if session.wants(matches, seq, topic).is_some() {
                    position = seq.saturating_sub(1);
                    blocked = Some(seq);
                    return false;
                }
                position = seq;
                looked_at += 1;
                looked_at < LOOKED_AT
            });
            // Reads meet an unreadable file by themselves.
            if looked.is_ok() {
                is_behind |= looked_at >= LOOKED_AT;
                session.position = session.position.max(position);
                session.blocked = blocked;
            }
        }
        self.is_behind = is_behind;
    }

    /// Returns the last message that all readers have: all up to it may leave. `None` if there are
    /// no readers.
    fn floor(&self) -> Option<Seq> {
        self.readers.values().map(|reader| reader.position).min()
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
        self.forget(age);
        for reader in self.readers.values_mut() {
            let lag = age.saturating_sub(reader.seen_on_disk);
            reader.dirty |= reader.seen > reader.seen_on_disk && lag >= reader.expiry / LAG;
        }
        let removed = &self.removed.clone();
        let dirty: &Vec<Reader> = &self.readers.values().filter(|r| r.dirty).cloned().collect();
        let stays = self.what_stays(age)?;
        let saved = self.unsaved(now);
        let moves = stays.seq > self.line.first;
        if dirty.is_empty() && !moves && self.removed.is_empty() && saved.is_none() {
            return Ok(());
        }
        let sync = self.is_urgent;
        let (line, epoch) = (self.line, self.epoch.unwrap_or_default());
        let shown = saved.or(self.saved);
        let line_before = line;
        let line = self.transact(sync, |store| {
            let mut next = line;
            if moves {
                let before = store.total_before(stays.seq)?;
                store.remove_through(stays.seq.saturating_sub(1))?;
                next = Line { first: stays.seq, before: before.unwrap_or(line.total), ..line };
            }
            for (kind, name) in removed {
                store.remove_reader(*kind, name)?;
            }
            for reader in dirty {
                store.save_reader(reader)?;
            }
            // An empty line has no message that holds its number.
            let is_empty = moves && next.messages() == 0;
            if let Some(shown) = shown.filter(|_| saved.is_some() || is_empty) {
                store.save_state(epoch, &next, shown)?;
            }
            Ok(next)
        })?;
        self.saved = shown;
        self.is_urgent = false;
        self.is_behind |= stays.seq.saturating_sub(line_before.first) >= i64::from(MOST);
        self.removed.clear();
        for reader in self.readers.values_mut().filter(|reader| reader.dirty) {
            (reader.dirty, reader.on_disk, reader.seen_on_disk) = (false, true, reader.seen);
        }
        self.damaged = self.damaged.split_off(&line.first);
        self.line = line;
        self.stat.dropped.full = self.stat.dropped.full.saturating_add(stays.full);
        self.stat.dropped.age = self.stat.dropped.age.saturating_add(stays.old);
        Ok(())
    }

    /// Returns the first message that stays, and the counts of those before it that are given up.
    fn what_stays(&self, age: i64) -> Result<Stays, StoreError> {
        let first = self.line.first;
        let most = i64::from(MOST);
        let floor = self.floor().unwrap_or(0).min(self.line.last);
        let had = floor.saturating_add(1).clamp(first, first.saturating_add(most));
        let Some(ground) = &self.ground else {
            return Ok(Stays { seq: first, full: 0, old: 0 });
        };
        let bytes = self.line.total.saturating_sub(self.bounds.bytes);
        let aged = age.saturating_sub(self.bounds.age);
        let left = u32::try_from(most.saturating_sub(had.saturating_sub(first))).unwrap_or(0);
        Ok(ground.store.first_that_stays(had, bytes, aged, left)?)
    }

    /// Forgets readers whose time since they were seen is over.
    fn forget(&mut self, age: i64) {
        let over: Vec<(Kind, String)> = self
            .readers
            .iter()
            .filter(|(_, reader)| reader.is_over(age))
            .map(|(key, _)| key.clone())
            .collect();
        for (kind, name) in over {
            tracing::info!(name, "a reader or session was away for too long, and is removed");
            self.remove(kind, &name);
        }
    }
}
