//! The figures of a queue, kept in memory so that a scrape reads no disk.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

/// What a queue holds and what it gave up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Messages held, leased ones included.
    pub messages: u64,
    /// Their accounted size in bytes (see [`OVERHEAD`](crate::OVERHEAD)).
    pub bytes: u64,
    /// When the message that is first in order was appended, by the wall clock of that time.
    pub oldest: Option<SystemTime>,
    /// Messages handed out and not yet acked or released.
    pub leased: u64,
    /// Messages given up since the queue was opened.
    pub dropped: Dropped,
    /// Transactions synced to disk since the queue was opened.
    pub commits: u64,
    /// What each lane holds; lanes that ran empty stay until the queue is opened anew.
    pub lanes: BTreeMap<Arc<str>, LaneStat>,
}

/// What one lane holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStat {
    /// Messages, leased ones included.
    pub messages: u64,
    /// Their accounted size in bytes.
    pub bytes: u64,
}

/// Messages given up without an ack, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Evicted for a newer message, or sacrificed at hand-in, because the queue was full.
    pub full: u64,
    /// Their time was over.
    pub expired: u64,
}

impl Dropped {
    /// The counts with their names, as a metric's label wants them.
    pub fn by_reason(&self) -> [(&'static str, u64); 2] {
        [("full", self.full), ("expired", self.expired)]
    }
}
