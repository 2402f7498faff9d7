//! The syncs between commits: at the policy's interval, and for acks, whose commits no policy
//! syncs.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{clock::now, config::Fsync};

/// The longest time until an ack is synced. A message that a power loss restores is sent again, and
/// a flash disk is spared half of its syncs.
const ACKS: Duration = Duration::from_secs(1);

/// The commits since the queue was opened, and the syncs after them.
///
/// While some commits are not on disk a sync is due, unless the policy never syncs.
#[derive(Debug)]
pub(super) struct Syncs {
    interval: Option<Duration>,
    /// True if the policy syncs commits by themselves, unless one is excepted.
    with_commits: bool,
    commits: u64,
    /// The number of commits on disk.
    synced: u64,
    due: Option<Instant>,
    failed: u64,
}

impl Syncs {
    pub(super) fn new(fsync: Fsync) -> Self {
        let interval = match fsync {
            Fsync::Always => Some(ACKS),
            Fsync::Interval(interval) => Some(interval),
            Fsync::Off => None,
        };
        let with_commits = fsync == Fsync::Always;
        Self { interval, with_commits, commits: 0, synced: 0, due: None, failed: 0 }
    }

    /// Returns the number of commits.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Returns the number of failed syncs.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Returns the time until the next sync is due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// Notes a transaction. `changed` is true if it wrote something; `synced` is true if it was to
    /// be synced, which takes earlier writes to the disk as well.
    pub(super) fn committed(&mut self, changed: bool, synced: bool) {
        self.commits = self.commits.saturating_add(u64::from(changed));
        if synced && self.with_commits {
            self.synced = self.commits;
            self.due = None;
        }
    }

    /// Syncs the commits by `sync` if it is time, and schedules the next sync.
    pub(super) fn run(&mut self, sync: impl FnOnce() -> io::Result<()>) {
        let Some(interval) = self.interval else { return };
        if self.due.is_some_and(|due| due <= now()) {
            self.due = None;
            match sync() {
                Ok(()) => self.synced = self.commits,
                Err(error) => {
                    // The system may have forgotten data that it could not write: a later success
                    // does not prove that it is there. So the failure is logged, and counted.
                    self.failed = self.failed.saturating_add(1);
                    tracing::error!(error = %error, "could not sync the queue; a power loss may now lose or repeat messages");
                }
            }
        }
        if self.due.is_none() && self.commits > self.synced {
            self.due = now().checked_add(interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_were_not_synced_are_synced_later() {
        let refused = || -> io::Result<()> { Err(io::ErrorKind::StorageFull.into()) };
        let mut syncs = Syncs::new(Fsync::Always);
        syncs.committed(true, true);
        syncs.run(refused);
        assert_eq!(syncs.patience(), None, "it was synced by itself");
        syncs.committed(true, false);
        syncs.run(refused);
        assert!(syncs.patience().is_some());
        syncs.committed(true, true);
        assert_eq!((syncs.patience(), syncs.commits(), syncs.failed()), (None, 3, 0));

        let mut syncs = Syncs::new(Fsync::Interval(Duration::ZERO));
        syncs.committed(true, true);
        syncs.run(refused);
        assert_eq!(syncs.failed(), 0, "it is due after that");
        syncs.run(refused);
        assert_eq!((syncs.failed(), syncs.patience().is_some()), (1, true), "tried again");
        syncs.run(|| Ok(()));
        assert_eq!((syncs.failed(), syncs.patience()), (1, None));

        let mut syncs = Syncs::new(Fsync::Off);
        syncs.committed(true, true);
        syncs.run(refused);
        assert_eq!((syncs.patience(), syncs.failed()), (None, 0));
    }
}
