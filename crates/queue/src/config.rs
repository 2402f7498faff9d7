//! Options of a queue: its folder, its bounds, and when it syncs.

use std::{path::PathBuf, time::Duration};

/// Where a queue lives and how much it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its directory, made with mode 0700 if missing. Nothing else should be kept in it.
    pub dir: PathBuf,
    /// The most it holds, in bytes as accounted (see [`OVERHEAD`](crate::OVERHEAD)). The file may
    /// be somewhat larger, and keeps the space of its fullest time for reuse.
    pub max_bytes: u64,
    /// The most messages it holds; `None`: as many as fit into `max_bytes`.
    pub max_messages: Option<u64>,
    /// How old a message may become before it is dropped, leased ones apart; `None`: as old as it likes.
    /// A wall clock that is set changes no age while the machine runs.
    pub max_age: Option<Duration>,
    /// Who gives way when it is full.
    pub when_full: WhenFull,
    /// When what is written reaches the disk.
    pub fsync: Fsync,
    /// How often the file is looked through for damage; after an unclean stop it is at once.
    /// `None`: never.
    pub check: Option<Duration>,
}

impl Config {
    /// 64 MiB in `dir`, of any age, every commit synced, full means refused, and checked daily.
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

/// When what is written reaches the disk, and so what a power loss takes. A killed process loses
/// nothing under any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before it is answered: nothing that was answered is lost. Acks follow within a second, or with
    /// the next message: what was acked since then comes once more.
    #[default]
    Always,
    /// So often: what was answered since the last time is lost, and what was acked since then comes
    /// once more. The file stays whole.
    Interval(Duration),
    /// When the system likes: the file may be torn as well. It is then moved aside, and what can be
    /// read is saved.
    Off,
}

/// Who gives way when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The caller: [`AppendError::Full`](crate::AppendError::Full).
    #[default]
    Reject,
    /// The oldest messages of the lowest priority that nobody has leased. Never one of a higher
    /// priority than the new message: if only such are left, the new one is dropped.
    DropOldest,
    /// The new message: [`Outcome::Dropped`](crate::Outcome::Dropped).
    DropNewest,
}
