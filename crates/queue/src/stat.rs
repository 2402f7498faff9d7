//! The figures of a queue, kept in memory so that a scrape reads no disk.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use crate::tally::Amount;

/// What a queue holds and what it gave up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Messages held, leased ones included.
    pub messages: u64,
    /// Their accounted size in bytes (see [`OVERHEAD`](crate::OVERHEAD)).
    pub bytes: u64,
    /// When the message that is first in order was appended, by the wall clock of that time; one
    /// that was set aside is not asked.
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
    /// Why the last transaction failed, if the last one did: nothing can be stored or removed now.
    pub failing: Option<Failing>,
    /// Syncs that the system refused since the queue was opened, under [`Fsync::Interval`](crate::Fsync::Interval).
    pub failed_syncs: u64,
    /// Times that the file was found damaged, and replaced by what could be read of it, since the queue
    /// was opened; its opening included.
    pub salvages: u64,
    /// What each lane holds, without what was set aside; lanes that ran empty stay until the queue is opened anew.
    pub lanes: BTreeMap<Arc<str>, LaneStat>,
}

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The file system is full.
    DiskFull,
    /// The file system can only be read.
    ReadOnly,
    /// The system refuses reads, writes or syncs.
    Io,
    /// The folder or its file was removed or replaced under the agent: what is stored now would be gone
    /// at its end.
    Removed,
    /// The storage engine says something else.
    Other,
}

impl Failing {
    /// The word for it, as an API wants it.
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

/// What one lane holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStat {
    /// Messages, leased ones included.
    pub messages: u64,
    /// Their accounted size in bytes.
    pub bytes: u64,
}

impl LaneStat {
    pub(crate) fn amount(&self) -> Amount {
        Amount { messages: self.messages, bytes: self.bytes }
    }
}

/// Messages given up without an ack, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Evicted for a newer message, or sacrificed at hand-in, because the queue was full.
    pub full: u64,
    /// Their time to live was over.
    pub expired: u64,
    /// They were older than the queue keeps any.
    pub age: u64,
    /// An operator removed them.
    pub purged: u64,
    /// They could not be read from a damaged file.
    pub damaged: u64,
}

impl Dropped {
    /// The counts with their names, as a metric's label wants them.
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("full", self.full),
            ("expired", self.expired),
            ("age", self.age),
            ("purged", self.purged),
            ("damaged", self.damaged),
        ]
    }

    /// Counts what another part counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.full = self.full.saturating_add(other.full);
        self.expired = self.expired.saturating_add(other.expired);
        self.age = self.age.saturating_add(other.age);
        self.purged = self.purged.saturating_add(other.purged);
        self.damaged = self.damaged.saturating_add(other.damaged);
    }
}
