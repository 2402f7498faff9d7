//! The syncs between commits, where the policy wants one each interval.

use std::time::{Duration, Instant};

use crate::{queue::Fsync, store::Store};

/// When to sync next, and how often that failed.
pub(super) struct Syncs {
    interval: Option<Duration>,
    /// So many commits are on disk.
    synced: u64,
    due: Option<Instant>,
    pub(super) failed: u64,
}

impl Syncs {
    pub(super) fn new(fsync: Fsync) -> Self {
        let interval = match fsync {
            Fsync::Interval(interval) => Some(interval),
            Fsync::Always | Fsync::Off => None,
        };
        Self { interval, synced: 0, due: None, failed: 0 }
    }

    /// How long until the next one is due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// Syncs what `commits` transactions wrote if it is time, and sees to it that the time comes.
    pub(super) fn run(&mut self, store: &Store, commits: u64) {
        let Some(interval) = self.interval else { return };
        if self.due.is_some_and(|due| due <= now()) {
            self.due = None;
            match store.sync() {
                Ok(()) => self.synced = commits,
                Err(error) => {
                    // The system may have forgotten what it could not write: a later success does
                    // not prove that it is there. So it is said, and counted.
                    self.failed = self.failed.saturating_add(1);
                    tracing::error!(error = %error, "could not sync the queue; a power loss may now lose messages");
                }
            }
        }
        if self.due.is_none() && commits > self.synced {
            self.due = now().checked_add(interval);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for real time, and the wall clock may be set"
)]
fn now() -> Instant {
    Instant::now()
}
