//! The ground under the writer: the folder's lock and the open file, which may be lost and found
//! again.

use super::{
    AgeClock, DirLock, Kind, Line, Moment, OPEN_AGAIN, OpenError, Saved, Store, StoreError, Writer,
};
use crate::{schema, stat::Failing, store::Loaded};

/// The lock and the file.
pub(super) struct Ground {
    pub(super) store: Store,
    lock: DirLock,
}

impl Ground {
    /// Closes the file, and then releases the lock.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        let closed = self.store.close();
        drop(self.lock);
        closed
    }
}

impl Writer {
    /// Opens the file. A damaged file is moved aside, and a new file is begun.
    pub(super) fn open(&mut self, now: Moment) -> Result<(), OpenError> {
        let lock = DirLock::acquire(&self.dir)?;
        let (store, loaded) = match self.open_store(now) {
            Err(OpenError::Store { source: StoreError::Corrupt(cause), path }) => {
                self.move_aside(now, &cause.to_string())
                    .map_err(|source| OpenError::Prepare { path, source })?;
                self.open_store(now)?
            }
            opened => opened?,
        };
        crate::lock::sync_dir(&self.dir)
            .map_err(|source| OpenError::Prepare { path: self.dir.clone(), source })?;
        let is_new = loaded.state.is_none();
        self.adopt(loaded, now);
        if is_new {
            // Without it, messages would begin at any number.
            let shown = Saved { age: self.age.at(now), wall: now.wall };
            let path = self.dir.join(schema::FILE);
            store
                .save_state(self.epoch.unwrap_or_default(), &self.line, shown)
                .map_err(|error| schema::failed(&path, error))?;
        }
        self.ground = Some(Ground { store, lock });
        self.stat.failing = None;
        Ok(())
    }

    fn open_store(&self, now: Moment) -> Result<(Store, Loaded), OpenError> {
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests put faults into it"))]
        let mut store = Store::open(&self.dir)?;
        #[cfg(test)]
        {
            store.faults = std::sync::Arc::clone(&self.faults);
        }
        let path = self.dir.join(schema::FILE);
        let loaded = store.load(self.age.at(now)).map_err(|error| schema::failed(&path, error))?;
        Ok((store, loaded))
    }

    /// Takes over the content of the file. Known values take precedence.
    fn adopt(&mut self, loaded: Loaded, now: Moment) {
        let known = self.line;
        self.line = match loaded.state {
            Some(_) if loaded.line.last >= known.last => loaded.line,
            // A new file, or a file that lost its end: numbers are never given twice.
            _ => Line {
                first: known.last.saturating_add(1),
                last: known.last,
                before: known.total,
                total: known.total,
            },
        };
        if self.epoch.is_none() {
            let (epoch, saved) = loaded.state.unzip();
            self.epoch = Some(epoch.unwrap_or_else(|| fastrand::u32(..)));
            self.age = AgeClock::resume(saved, now);
        }
        // The new file, or the new moment, is written with the next commit.
        self.saved = None;
        let age = self.age.at(now);
        let last = self.line.last;
        for reader in self.readers.values_mut() {
            reader.on_disk = false;
            reader.dirty = true;
            if known.last == 0 {
                // It appeared while the file was not open: messages stored from now on are its own.
                reader.seen = age;
                reader.position = last;
                reader.sent = last;
                reader.filters.iter_mut().for_each(|filter| filter.since = last);
            }
        }
        for mut reader in loaded.readers {
            let key = (reader.kind, reader.name.clone());
            if self.readers.contains_key(&key) {
                // Its row is replaced with the next commit.
                continue;
            }
            if reader.dirty {
                // It was connected when the agent ended.
                reader.seen = age;
            }
            reader.expiry = match reader.kind {
                Kind::Reader => self.bounds.age,
                Kind::Session => reader.expiry.min(self.bounds.session),
            };
            reader.seen_on_disk = reader.seen;
            reader.sent = last;
            self.readers.insert(key, reader);
        }
    }

    /// Tries again to open the file, when that is due.
    pub(super) fn open_if_due(&mut self, now: Moment) {
        if self.ground.is_some() || now.running < self.open_again {
            return;
        }
        match self.open(now) {
            Ok(()) => tracing::info!("the inbox is open again"),
            Err(error) => self.cannot_open(&error, now),
        }
    }

    /// Notes that the file is not open for now.
    pub(super) fn cannot_open(&mut self, error: &OpenError, now: Moment) {
        let failing = error.disk().unwrap_or(Failing::Other);
        if self.stat.failing.replace(failing).is_none() {
            let chain: &dyn std::error::Error = error;
            tracing::error!(
                error = chain,
                "received messages are not stored until the inbox can be opened"
            );
        }
        self.open_again = now.running.saturating_add(OPEN_AGAIN);
    }

    /// Moves the damaged file aside, and continues the line in a new file. `false` if that failed.
    pub(super) fn rescue(&mut self, error: &StoreError, now: Moment) -> bool {
        // Its connection ends before its file is moved.
        self.ground = None;
        let words = error.to_string();
        if let Err(error) = self.move_aside(now, &words) {
            tracing::error!(error = %error, "could not move the inbox's damaged file aside");
            self.open_again = now.running.saturating_add(OPEN_AGAIN);
            return false;
        }
        let lost = self.line.messages();
        self.stat.dropped.damaged = self.stat.dropped.damaged.saturating_add(lost);
        self.line.first = self.line.last.saturating_add(1);
        self.line.before = self.line.total;
        match self.open(now) {
            Ok(()) => true,
            Err(error) => {
                self.cannot_open(&error, now);
                false
            }
        }
    }

    fn move_aside(&mut self, now: Moment, words: &str) -> std::io::Result<()> {
        let kept = schema::set_aside(&self.dir, now.wall)?;
        self.stat.corruptions = self.stat.corruptions.saturating_add(1);
        tracing::error!(
            kept = %kept.display(),
            "the inbox's file is damaged ({words}): it was moved aside, its messages are not delivered, and a new file is used"
        );
        Ok(())
    }
}

#[cfg(test)]
impl Writer {
    /// Acts as if the file could not be opened for some time.
    pub(crate) fn lose_ground(&mut self) {
        self.ground = None;
        self.stat.failing = Some(Failing::Io);
        self.open_again = (self.clock)().running.saturating_add(OPEN_AGAIN);
    }
}
