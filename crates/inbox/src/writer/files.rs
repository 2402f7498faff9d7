//! The inbox's files: the folder's lock and the open file, which may be lost and found again.

use std::{io, path::PathBuf, time::Duration};

use crate::{
    age::{Age, Moment},
    error::{OpenError, StoreError},
    lock::{DirLock, HeldFile},
    schema,
    stat::Failing,
    store::{Loaded, Store},
};

/// The wait before a file that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// The interval of the check that the files are in their place.
const LOOK: Duration = Duration::from_secs(1);

/// The inbox's folder, and its file while that is open.
///
/// While the file is not open there is a failure, and a time for the next try. A failure lasts until
/// the file is opened or written.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    open: Option<OpenFile>,
    /// The earliest moment of the next try.
    open_again: Duration,
    /// The moment of the next check that the files are in their place.
    look_at: Duration,
    failing: Option<Failing>,
    failed_commits: u64,
    corruptions: u64,
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

/// An open file. What holds it and its log is closed after it, and the lock is released last.
#[derive(Debug)]
struct OpenFile {
    store: Store,
    held: [HeldFile; 2],
    lock: DirLock,
}

impl Files {
    /// Begins without an open file.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            open: None,
            open_again: Duration::ZERO,
            look_at: Duration::ZERO,
            failing: None,
            failed_commits: 0,
            corruptions: 0,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    /// Opens the file, and makes it if missing. A damaged file is moved aside, and a new file is
    /// begun. `adopt` takes over the content, and returns the first state for a new file.
    pub(super) fn open(
        &mut self,
        now: Moment,
        age: Age,
        adopt: impl FnOnce(Loaded, &Store) -> rusqlite::Result<()>,
    ) -> Result<(), OpenError> {
        let lock = DirLock::acquire(&self.dir)?;
        let (store, loaded) = match self.load(age) {
            Err(OpenError::Store { source: StoreError::Corrupt(cause), path }) => {
                self.move_aside(now, &cause.to_string())
                    .map_err(|source| OpenError::Prepare { path, source })?;
                self.load(age)?
            }
            opened => opened?,
        };
        crate::lock::sync_dir(&self.dir)
            .map_err(|source| OpenError::Prepare { path: self.dir.clone(), source })?;
        let path = self.dir.join(schema::FILE);
        let held = self.hold()?;
        adopt(loaded, &store).map_err(|error| schema::failed(&path, error))?;
        self.open = Some(OpenFile { store, held, lock });
        self.failing = None;
        Ok(())
    }

    fn load(&self, age: Age) -> Result<(Store, Loaded), OpenError> {
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests put faults into it"))]
        let mut store = Store::open(&self.dir)?;
        #[cfg(test)]
        {
            store.faults = std::sync::Arc::clone(&self.faults);
        }
        let path = self.dir.join(schema::FILE);
        let loaded = store.load(age).map_err(|error| schema::failed(&path, error))?;
        Ok((store, loaded))
    }

    /// Holds the file and its log, which exist by now.
    fn hold(&self) -> Result<[HeldFile; 2], OpenError> {
        let [file, log] = [schema::FILE, schema::LOG].map(|name| {
            let path = self.dir.join(name);
            HeldFile::open(&path).map_err(|source| OpenError::Prepare { path, source })
        });
        let (file, log) = (file?, log?);
        match file.lock() {
            Ok(()) => Ok([file, log]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(OpenError::Locked { dir: self.dir.clone() })
            }
            Err(source) => Err(OpenError::Prepare { path: self.dir.join(schema::FILE), source }),
        }
    }

    /// Checks once a second that the files are in their place; closes files that are not, and
    /// returns true then. What they hold is lost with the end of the agent, if not already.
    pub(super) fn are_gone(&mut self, now: Moment) -> bool {
        if now.running < self.look_at {
            return false;
        }
        self.look_at = now.running.saturating_add(LOOK);
        let is_gone = |open: &mut OpenFile| open.held.iter().any(HeldFile::is_gone);
        let Some(OpenFile { store, held, lock }) = self.open.take_if(is_gone) else { return false };
        store.abandon();
        drop((held, lock));
        tracing::error!(
            dir = %self.dir.display(),
            "a file of the inbox was removed or replaced: what it held is not delivered, and a new one is begun"
        );
        true
    }

    /// Reports whether the file is to be tried again now.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.open.is_none() && now.running >= self.open_again
    }

    /// Notes that the file could not be opened for now.
    pub(super) fn cannot_open(&mut self, error: &OpenError, now: Moment) {
        let failing = error.disk().unwrap_or(Failing::Other);
        if self.failing.replace(failing).is_none() {
            let chain: &dyn std::error::Error = error;
            tracing::error!(
                error = chain,
                "received messages are not stored until the inbox can be opened"
            );
        }
        self.open_again = now.running.saturating_add(OPEN_AGAIN);
    }

    /// Closes the damaged file and moves it aside; false if it could not be moved.
    pub(super) fn give_up(&mut self, error: &StoreError, now: Moment) -> bool {
        // Its connection ends before its file is moved.
        self.open = None;
        let moved = self.move_aside(now, &error.to_string());
        if let Err(error) = &moved {
            tracing::error!(error = %error, "could not move the inbox's damaged file aside");
            self.open_again = now.running.saturating_add(OPEN_AGAIN);
        }
        moved.is_ok()
    }

    fn move_aside(&mut self, now: Moment, words: &str) -> io::Result<()> {
        let kept = schema::set_aside(&self.dir, now.wall)?;
        self.corruptions = self.corruptions.saturating_add(1);
        tracing::error!(
            kept = %kept.display(),
            "the inbox's file is damaged ({words}): it was moved aside, its messages are not delivered, and a new file is used"
        );
        Ok(())
    }

    /// Runs a transaction: all that `work` does takes effect, or nothing.
    pub(super) fn transact<T>(
        &mut self,
        sync: bool,
        work: impl FnOnce(&Store) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Some(OpenFile { store, .. }) = &mut self.open else { return Err(self.not_open()) };
        let done = store.sync_commits(sync).and_then(|()| store.begin()).and_then(|()| {
            let done = work(store)?;
            store.commit()?;
            Ok(done)
        });
        match done {
            Ok(done) => {
                if self.failing.take().is_some() {
                    tracing::info!("the inbox can be written again");
                }
                Ok(done)
            }
            Err(error) => {
                store.rollback();
                Err(self.failed(StoreError::from(error)))
            }
        }
    }

    fn failed(&mut self, error: StoreError) -> StoreError {
        self.failed_commits = self.failed_commits.saturating_add(1);
        if self.failing.replace(error.failing()).is_none() {
            let chain: &dyn std::error::Error = &error;
            tracing::error!(
                error = chain,
                "a commit of the inbox failed: received messages are not stored"
            );
        }
        error
    }

    /// Returns the open store, for reading.
    pub(super) fn store(&self) -> Result<&Store, StoreError> {
        self.open.as_ref().map(|open| &open.store).ok_or_else(|| self.not_open())
    }

    fn not_open(&self) -> StoreError {
        StoreError::NotOpen(self.failing.unwrap_or(Failing::Other))
    }

    /// Returns the present failure.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.failing
    }

    /// Returns the number of failed transactions.
    pub(super) fn failed_commits(&self) -> u64 {
        self.failed_commits
    }

    /// Returns the number of times that a damaged file was moved aside.
    pub(super) fn corruptions(&self) -> u64 {
        self.corruptions
    }

    /// Closes the file, and then releases the lock.
    pub(super) fn close(self) {
        let Some(OpenFile { store, held, lock }) = self.open else { return };
        if let Err(error) = store.close() {
            // Nothing is lost: answered messages are in the log, which the next start reads.
            tracing::warn!(error = %error, "could not close the inbox's file cleanly");
        }
        drop((held, lock));
    }
}

#[cfg(test)]
impl Files {
    /// Acts as if the file could not be opened for some time.
    pub(super) fn lose(&mut self, now: Moment) {
        self.open = None;
        self.failing = Some(Failing::Io);
        self.open_again = now.running.saturating_add(OPEN_AGAIN);
    }
}
