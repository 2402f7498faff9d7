//! Options of a queue: its folder, its bounds, and its sync policy.

use std::{path::PathBuf, time::Duration};

/// A queue's place and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its directory, made with mode 0700 if missing. Nothing else should be kept in it.
    pub dir: PathBuf,
    /// The most it holds, in bytes as accounted (see [`OVERHEAD`](crate::OVERHEAD)). The file may
    /// be somewhat larger, and keeps the space of its fullest time for reuse.
    pub max_bytes: u64,
    /// The most messages it holds; `None`: as many as fit into `max_bytes`.
    pub max_messages: Option<u64>,
    /// The age at which a message is dropped, unless it is leased; `None`: no limit. Setting the
    /// wall clock changes no age while the machine runs.
    pub max_age: Option<Duration>,
    /// The rule if the queue is full.
    pub when_full: WhenFull,
    /// The time at which written data reaches the disk.
    pub fsync: Fsync,
    /// The interval of the check for damage; after an unclean stop it also runs at once. `None`:
    /// never.
    pub check: Option<Duration>,
}

impl Config {
    /// Returns the defaults: 64 MiB in `dir`, no age limit, every commit synced, new messages
    /// refused when full, and a daily check.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 64 << 20,
            max_messages: None,
            max_age: None,
            when_full: WhenFull::default(),
            fsync: Fsync::default(),
            check: Some(Duration::from_secs(24 * 60 * 60)),
        }
    }
}

/// The time at which written data reaches the disk, and so the loss at a power loss. A killed
/// process loses nothing under any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before the answer: nothing that was answered is lost. Acks follow within a second, or with
    /// the next message: messages acked since then are sent again.
    #[default]
    Always,
    /// At this interval: messages answered since the last sync are lost, and messages acked since
    /// then are sent again. The file stays whole.
    Interval(Duration),
    /// At the system's choice: the file may be torn as well. It is then moved aside, and its
    /// readable part is saved.
    Off,
}

/// The rule if the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuses the append: [`AppendError::Full`](crate::AppendError::Full).
    #[default]
    Reject,
    /// Drops the oldest unleased messages of the lowest priority, but never of a higher priority
    /// than the new message: if only such are left, the new message is dropped.
    DropOldest,
    /// Drops the new message: [`Outcome::Dropped`](crate::Outcome::Dropped).
    DropNewest,
}
