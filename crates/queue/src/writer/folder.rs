//! The queue's folder: held by its lock, and its file replaced if that is found damaged.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    clock::now,
    config::{Config, Fsync},
    error::OpenError,
    lock::DirLock,
    salvage::{self, Salvage},
    store::Store,
};

/// The wait after a failed salvage (the disk may be full), so that not each command tries again.
const RETRY: Duration = Duration::from_secs(60);

/// The queue's folder. It has one writer, while the lock is held.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    fsync: Fsync,
    lock: DirLock,
    /// The number of times that the file was replaced.
    salvages: u64,
    /// The time for the next salvage after a failed one.
    retry_at: Option<Instant>,
}

/// A file that was opened in the place of a damaged one.
pub(super) struct Replaced {
    pub(super) store: Store,
    /// The result of the salvage; if it failed, the damaged file serves its readable part.
    pub(super) salvaged: Result<Salvage, OpenError>,
}

impl Folder {
    /// Begins after an opening, which replaced the file if there is a salvage.
    pub(super) fn new(config: &Config, lock: DirLock, salvage: Option<&Salvage>) -> Self {
        Self {
            path: config.dir.clone(),
            fsync: config.fsync,
            lock,
            salvages: u64::from(salvage.is_some()),
            retry_at: None,
        }
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of times that the file was replaced.
    pub(super) fn salvages(&self) -> u64 {
        self.salvages
    }

    /// Reports whether a salvage may be tried now.
    pub(super) fn may_salvage(&self) -> bool {
        self.retry_at.is_none_or(|at| at <= now())
    }

    /// Replaces the file by its readable part, and opens what is in its place then.
    pub(super) fn replace(&self, damaged: Store) -> Result<Replaced, Box<dyn std::error::Error>> {
        if let Err(error) = damaged.close() {
            tracing::debug!(error = %error, "the damaged file did not close cleanly");
        }
        let salvaged = salvage::salvage(&self.path);
        // After a failure between the two renames, opening would make an empty file in its place.
        let ended = salvage::resume(&self.path)?;
        let store = Store::open(&self.path, self.fsync)?;
        Ok(Replaced { store, salvaged: ended.map_or(salvaged, Ok) })
    }

    /// Notes whether the last salvage succeeded.
    pub(super) fn tried(&mut self, succeeded: bool) {
        if succeeded {
            self.salvages = self.salvages.saturating_add(1);
        } else {
            self.retry_at = now().checked_add(RETRY);
        }
    }

    /// Releases the lock.
    pub(super) fn leave(self) {
        drop(self.lock);
    }
}
