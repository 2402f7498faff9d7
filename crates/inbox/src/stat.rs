//! The figures of an inbox, kept in memory so that a scrape reads no disk.

use std::time::Duration;

/// The contents of an inbox, and its losses since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Messages held.
    pub messages: u64,
    /// Their accounted size in bytes (see [`OVERHEAD`](crate::OVERHEAD)).
    pub bytes: u64,
    /// Messages stored.
    pub stored: u64,
    /// Messages given up.
    pub dropped: Dropped,
    /// Transactions that failed.
    pub failed_commits: u64,
    /// The reason why the last transaction failed, if it did: nothing can be stored now.
    pub failing: Option<Failing>,
    /// Times that the file was found damaged and moved aside, the opening included.
    pub corruptions: u64,
    /// Readers by name.
    pub readers: Vec<Waiting>,
    /// Sessions that are kept.
    pub sessions: Vec<Waiting>,
}

/// The state of a reader or session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub name: String,
    /// Messages in the inbox that it has not confirmed, including those that its filters do not
    /// want.
    pub behind: u64,
    /// The time for which it was not seen; `None` while it is connected.
    pub away: Option<Duration>,
}

/// Messages given up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Removed for newer messages, since the inbox was full.
    pub full: u64,
    /// Older than the inbox's maximum age.
    pub age: u64,
    /// Refused, since they arrived faster than they could be stored.
    pub slow: u64,
    /// Not stored, since the disk failed.
    pub failed: u64,
    /// Held by a file that was found damaged, or damaged themselves.
    pub damaged: u64,
}

impl Dropped {
    /// Returns the counts with their names, for a metric's label.
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("full", self.full),
            ("age", self.age),
            ("slow", self.slow),
            ("failed", self.failed),
            ("damaged", self.damaged),
        ]
    }
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
    /// Any other error of the storage engine.
    Other,
}

impl Failing {
    /// Returns the failure as the end of a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::DiskFull => "the disk is full",
            Self::ReadOnly => "its file system is read-only",
            Self::Io => "the system reports an input/output error",
            Self::Other => "the storage engine failed",
        }
    }
}
