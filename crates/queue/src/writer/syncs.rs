//! The syncs between commits: at the policy's interval, and for acks, whose commits no policy
//! syncs.

use std::time::{Duration, Instant};

use crate::{config::Fsync, store::Store};

/// The longest time until an ack is synced. A message that a power loss restores is sent again, and
/// a flash disk is spared half of its syncs.
const ACKS: Duration = Duration::from_secs(1);

/// The time of the next sync, and the number of failures.
pub(super) struct Syncs {
    interval: Option<Duration>,
    /// The number of commits on disk.
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

    /// Returns the time until the next sync is due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// Notes a synced commit, which took earlier writes to the disk as well.
    pub(super) fn synced(&mut self, commits: u64) {
        self.synced = commits;
        self.due = None;
    }

    /// Syncs the writes of `commits` transactions if it is time, and schedules the next sync.
    pub(super) fn run(&mut self, store: &Store, commits: u64) {
        let Some(interval) = self.interval else { return };
        if self.due.is_some_and(|due| due <= now()) {
            self.due = None;
            match store.sync() {
                Ok(()) => self.synced = commits,
                Err(error) => {
                    // The system may have forgotten data that it could not write: a later success
                    // does not prove that it is there. So the failure is logged, and counted.
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
