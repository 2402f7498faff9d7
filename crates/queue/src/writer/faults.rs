//! The faults of the disk: failed transactions until their end, and files that were taken away.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::presence::Presence;
use crate::{
    clock::{Clock, now},
    error::StoreError,
    stat::Failing,
    store::Store,
};

/// The interval of tries to store something again, if no command does.
const EACH: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5_000 });

/// The present fault of the disk, and the number of failed transactions.
///
/// A failure lasts until a success of its kind: if something could not be stored, until something is
/// stored. Removing a message may succeed meanwhile.
#[derive(Debug, Default)]
pub(super) struct Faults {
    last: Option<Failure>,
    presence: Presence,
    failed_commits: u64,
}

#[derive(Debug)]
struct Failure {
    why: Failing,
    /// True if something was to be stored.
    stores: bool,
    tried: Instant,
}

impl Faults {
    /// Looks whether the files are in their place, and tries to store something if that failed.
    pub(super) fn look(&mut self, store: &mut Store, folder: &Path, clock: &Clock) {
        self.presence.look(store, folder);
        let Some(failure) = self.last.as_mut().filter(|last| last.tried.elapsed() >= EACH) else {
            return;
        };
        failure.tried = now();
        if store.try_writing(clock).is_ok() {
            self.succeeded(true);
        } else if let Err(error) = store.rollback() {
            tracing::error!(error = %error, "could not roll the queue back");
        }
    }

    /// Refuses a transaction that `stores` something in files that were taken away.
    pub(super) fn refuse(&mut self, stores: bool) -> Result<(), StoreError> {
        if stores && self.presence.is_lost() {
            self.failed_commits = self.failed_commits.saturating_add(1);
            return Err(StoreError::Removed);
        }
        Ok(())
    }

    /// Notes a failed transaction.
    pub(super) fn failed(&mut self, why: Failing, stores: bool) {
        self.failed_commits = self.failed_commits.saturating_add(1);
        let stores = stores || self.last.as_ref().is_some_and(|last| last.stores);
        self.last = Some(Failure { why, stores, tried: now() });
    }

    /// Notes a successful transaction.
    pub(super) fn succeeded(&mut self, stores: bool) {
        self.last.take_if(|last| stores || !last.stores);
    }

    /// Returns the present fault.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.presence.failing().or(self.last.as_ref().map(|last| last.why))
    }

    /// Returns the number of failed transactions.
    pub(super) fn failed_commits(&self) -> u64 {
        self.failed_commits
    }

    /// Returns the time until the next try.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.last.as_ref().map(|last| EACH.saturating_sub(last.tried.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lasts_until_a_success_of_its_kind() {
        let mut faults = Faults::default();
        assert_eq!((faults.failing(), faults.patience()), (None, None));
        faults.failed(Failing::Io, false);
        faults.succeeded(false);
        assert_eq!(faults.failing(), None);
        faults.failed(Failing::DiskFull, true);
        faults.failed(Failing::Io, false);
        faults.succeeded(false);
        assert_eq!(faults.failing(), Some(Failing::Io), "nothing was stored yet");
        assert!(faults.patience().is_some());
        faults.succeeded(true);
        assert_eq!((faults.failing(), faults.failed_commits()), (None, 3));
        assert!(faults.refuse(true).is_ok(), "the files are there");
    }
}
