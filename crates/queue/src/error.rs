//! The reasons for which a queue could not be opened, or a message was not taken.

use std::{fmt, io, path::PathBuf, sync::Arc};

use rusqlite::ErrorCode;

use crate::{
    message::{InvalidMessage, MessageId},
    stat::Failing,
};

/// The storage engine's error; the source of [`StoreError`] and [`OpenError`].
#[derive(Clone, Debug)]
pub struct Cause(Arc<rusqlite::Error>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {}

impl From<rusqlite::Error> for Cause {
    fn from(error: rusqlite::Error) -> Self {
        Self(Arc::new(error))
    }
}

/// A command without a durable result. Nothing of it was accepted; the queue stays usable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system is full. Acks usually still succeed, and make room.
    #[error("could not write the queue: the disk is full")]
    DiskFull(#[source] Cause),
    /// The file system is read-only: it was mounted so, or became so after an error.
    #[error("could not write the queue: its file system is read-only")]
    ReadOnly(#[source] Cause),
    /// The operating system refused a read, a write or a sync.
    #[error("could not write the queue: input/output error")]
    Io(#[source] Cause),
    /// The file is damaged; see [`Inspector::check`](crate::Inspector::check).
    #[error("could not use the queue: its file is damaged")]
    Corrupt(#[source] Cause),
    /// Any other error of the engine.
    #[error("could not use the queue: the storage engine failed")]
    Engine(#[source] Cause),
    /// The folder of the queue, or a file in it, was removed or replaced while it was open.
    #[error("could not write the queue: its files were removed or replaced")]
    Removed,
    /// The queue was closed.
    #[error("could not use the queue: it is closed")]
    Closed,
}

impl StoreError {
    /// Returns the failure for the figures.
    pub(crate) fn failing(&self) -> Failing {
        match self {
            Self::DiskFull(_) => Failing::DiskFull,
            Self::ReadOnly(_) => Failing::ReadOnly,
            Self::Io(_) => Failing::Io,
            Self::Removed => Failing::Removed,
            Self::Corrupt(_) | Self::Engine(_) | Self::Closed => Failing::Other,
        }
    }
}

/// Reports whether a column holds a value that is never written there, or is missing. The tables
/// accept no such values, and SQLite checks neither each value that it reads nor the names in its
/// schema: bits were flipped.
fn is_misread(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, SqlInputError,
        Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | SqlInputError { .. }
            | Utf8Error(..)
    )
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let cause = Cause::from(error);
        match code {
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(cause),
            Some(ErrorCode::DiskFull) => Self::DiskFull(cause),
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied,
            ) => Self::Io(cause),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(cause),
            _ if is_misread(&cause.0) => Self::Corrupt(cause),
            Some(_) | None => Self::Engine(cause),
        }
    }
}

/// The reason why a message was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Its key came before with another topic or payload: a caller that is answered that it was
    /// taken would never see it arrive.
    #[error(
        "could not append: its idempotency key was used before with another topic or payload, for message {id}; a new message needs a new key"
    )]
    OtherContent {
        /// The earlier message.
        id: MessageId,
    },
    /// The queue is full and the policy drops nothing. Try again after an ack.
    #[error(
        "could not append: the queue is full, with at most {max_bytes} bytes{}",
        max_messages.map_or_else(String::new, |most| format!(" and {most} messages"))
    )]
    Full {
        /// The bound of the queue in bytes.
        max_bytes: u64,
        /// Its bound in messages, if any.
        max_messages: Option<u64>,
    },
    /// The message would not fit into an empty queue.
    #[error("could not append a message of {size} bytes: at most {max_bytes} fit")]
    TooLarge {
        /// Its size as accounted.
        size: u64,
        /// The most that fits, in bytes.
        max_bytes: u64,
    },
    /// The message cannot be stored.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or the lock file could not be made or synced.
    #[error("could not prepare the queue at {}", path.display())]
    Prepare {
        /// The affected path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The queue is open in another process, or already in this one.
    #[error("could not open the queue at {}: it is in use by {holder}", dir.display())]
    Locked {
        /// The queue's directory.
        dir: PathBuf,
        /// The process that has it open.
        holder: Holder,
    },
    /// A newer version of this program wrote it.
    #[error(
        "could not open the queue at {}: its format is version {found}, this program knows up to {known}",
        path.display()
    )]
    NewerFormat {
        /// The store's file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The file is another program's database.
    #[error("could not open the queue at {}: the file belongs to another program", path.display())]
    Foreign {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is damaged or its file system failed; see the source.
    #[error("could not open the queue at {}", path.display())]
    Store {
        /// The store's file.
        path: PathBuf,
        /// The error.
        source: StoreError,
    },
    /// The writer's thread could not be started.
    #[error("could not start the queue's writer thread")]
    Thread(#[source] io::Error),
}

/// The process that has a queue open, as far as known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id from the lock file; `None` if that was not readable.
    pub pid: Option<u32>,
    /// Its command line from `/proc`, if available.
    pub command: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} ({command})"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("an unknown process"),
        }
    }
}
