//! The figures of a queue, kept in memory so that a scrape reads no disk.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use crate::tally::Amount;

/// The present content of a queue, and the losses so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Messages held, leased ones included.
    pub messages: u64,
    /// Their accounted size in bytes (see [`OVERHEAD`](crate::OVERHEAD)).
    pub bytes: u64,
    /// The append time of the first message in order, by the wall clock of that time; messages set
    /// aside do not count.
    pub oldest: Option<SystemTime>,
    /// Messages handed out and not yet acked or released.
    pub leased: u64,
    /// Messages given up since the queue was opened.
    pub dropped: Dropped,
    /// Of the messages held, those that were set aside.
    pub aside: LaneStat,
    /// Transactions committed since the queue was opened.
    pub commits: u64,
    /// Transactions that failed since the queue was opened: nothing of them was taken.
    pub failed_commits: u64,
    /// The reason why the last transaction failed, if it did: nothing can be stored or removed now.
    pub failing: Option<Failing>,
    /// Syncs that the system refused since the queue was opened, under [`Fsync::Interval`](crate::Fsync::Interval).
    pub failed_syncs: u64,
    /// Times that the file was found damaged, and replaced by its readable part, since the queue
    /// was opened; its opening included.
    pub salvages: u64,
    /// The content of each lane, without messages set aside; lanes that ran empty stay until the
    /// queue is reopened.
    pub lanes: BTreeMap<Arc<str>, LaneStat>,
}

/// The reason why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The file system is full.
    DiskFull,
    /// The file system is read-only.
    ReadOnly,
    /// The system refuses reads, writes or syncs.
    Io,
    /// The folder or its file was removed or replaced under the agent: messages stored now would be
    /// lost at its end.
    Removed,
    /// Any other error of the storage engine.
    Other,
}

impl Failing {
    /// Returns the word for it, for an API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Io => "io",
            Self::Removed => "removed",
            Self::Other => "other",
        }
    }
}

/// The content of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStat {
    /// Messages, leased ones included.
    pub messages: u64,
    /// Their accounted size in bytes.
    pub bytes: u64,
}

impl From<Amount> for LaneStat {
    fn from(held: Amount) -> Self {
        Self { messages: held.messages, bytes: held.bytes }
    }
}

impl LaneStat {
    pub(crate) fn amount(&self) -> Amount {
        Amount { messages: self.messages, bytes: self.bytes }
    }
}

/// Messages given up without an ack, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Evicted for a newer message, or dropped at hand-in, because the queue was full.
    pub full: u64,
    /// Expired by their time to live.
    pub expired: u64,
    /// Older than the queue's maximum age.
    pub age: u64,
    /// Removed by an operator.
    pub purged: u64,
    /// Not readable from a damaged file.
    pub damaged: u64,
}

impl Dropped {
    /// Returns the counts with their names, for a metric's label.
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("full", self.full),
            ("expired", self.expired),
            ("age", self.age),
            ("purged", self.purged),
            ("damaged", self.damaged),
        ]
    }

    /// Adds the counts of another part.
    pub(crate) fn add(&mut self, other: Self) {
        self.full = self.full.saturating_add(other.full);
        self.expired = self.expired.saturating_add(other.expired);
        self.age = self.age.saturating_add(other.age);
        self.purged = self.purged.saturating_add(other.purged);
        self.damaged = self.damaged.saturating_add(other.damaged);
    }
}
