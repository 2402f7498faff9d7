//! The syncs between commits: each interval where the policy says so, and for acks, whose commits no
//! policy syncs.

use std::time::{Duration, Instant};

use crate::{config::Fsync, store::Store};

/// How long an ack may wait for its sync. A message that a power loss brings back comes once more, and
/// a flash disk is spared half of its syncs.
const ACKS: Duration = Duration::from_secs(1);

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
            Fsync::Always => Some(ACKS),
            Fsync::Interval(interval) => Some(interval),
            Fsync::Off => None,
        };
        Self { interval, synced: 0, due: None, failed: 0 }
    }

    /// How long until the next one is due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// A commit that was synced took what was written before it to the disk as well.
    pub(super) fn synced(&mut self, commits: u64) {
        self.synced = commits;
        self.due = None;
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
                    tracing::error!(error = %error, "could not sync the queue; a power loss may now lose or repeat messages");
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
