//! The reasons for which the inbox could not be opened, read or written.

use std::{fmt, io, path::PathBuf, sync::Arc};

use rusqlite::ErrorCode;

use crate::stat::Failing;

/// The storage engine's error.
#[derive(Clone, Debug)]
pub struct Cause(Arc<rusqlite::Error>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {}

/// A command without a durable result; the inbox stays usable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system is full.
    #[error("could not write the inbox: the disk is full")]
    DiskFull(#[source] Cause),
    /// The file system is read-only.
    #[error("could not write the inbox: its file system is read-only")]
    ReadOnly(#[source] Cause),
    /// The operating system refused a read, a write or a sync.
    #[error("could not use the inbox: input/output error")]
    Io(#[source] Cause),
    /// The file is damaged: it is moved aside.
    #[error("could not use the inbox: its file is damaged")]
    Corrupt(#[source] Cause),
    /// Any other error of the engine.
    #[error("could not use the inbox: the storage engine failed")]
    Engine(#[source] Cause),
    /// The file could not be opened yet; a further try follows.
    #[error("could not use the inbox: its file is not open")]
    NotOpen(Failing),
    /// The inbox was closed.
    #[error("could not use the inbox: it is closed")]
    Closed,
}

impl StoreError {
    /// Returns the failure for the figures.
    pub fn failing(&self) -> Failing {
        match self {
            Self::DiskFull(_) => Failing::DiskFull,
            Self::ReadOnly(_) => Failing::ReadOnly,
            Self::Io(_) => Failing::Io,
            Self::NotOpen(failing) => *failing,
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
        let cause = Cause(Arc::new(error));
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

/// The reason why an inbox could not be opened, and cannot be while this lasts.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it could not be made.
    #[error("could not prepare the inbox at {}", path.display())]
    Prepare {
        /// The affected path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The inbox is open in another process, or already in this one.
    #[error("could not open the inbox at {}: it is in use by another process", dir.display())]
    Locked {
        /// Its folder.
        dir: PathBuf,
    },
    /// A newer version of this program wrote it.
    #[error(
        "could not open the inbox at {}: its format is version {found}, this program knows up to {known}",
        path.display()
    )]
    NewerFormat {
        /// Its file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The file is another program's database.
    #[error("could not open the inbox at {}: the file belongs to another program", path.display())]
    Foreign {
        /// Its file.
        path: PathBuf,
    },
    /// The file is damaged or its file system failed; see the source.
    #[error("could not open the inbox at {}", path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// The failure.
        source: StoreError,
    },
    /// The writer's thread could not be started.
    #[error("could not start the inbox's writer thread")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// Returns the disk's failure, if it is one: that may pass, and nothing else is wrong.
    pub(crate) fn disk(&self) -> Option<Failing> {
        match self {
            Self::Prepare { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some(Failing::DiskFull)
                }
                io::ErrorKind::ReadOnlyFilesystem => Some(Failing::ReadOnly),
                _ if source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    Some(Failing::Io)
                }
                _ => None,
            },
            Self::Store {
                source:
                    source @ (StoreError::DiskFull(_) | StoreError::ReadOnly(_) | StoreError::Io(_)),
                ..
            } => Some(source.failing()),
            _ => None,
        }
    }
}

/// The reason why a reader gets nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// This reader knows no such message: a bound removed it, or it never existed.
    #[error("the cursor is not known: its message was dropped, or never existed")]
    UnknownCursor,
    /// No reader of this name is known.
    #[error("there is no such reader")]
    UnknownReader,
    /// The number of readers is at its limit.
    #[error("there are {} readers already", crate::MAX_READERS)]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a session cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// It belongs to another user.
    #[error("the session belongs to another user")]
    Owner,
    /// The number of sessions is at its limit.
    #[error("there are {} sessions already", crate::MAX_SESSIONS)]
    TooMany,
    /// The inbox was closed.
    #[error("the inbox is closed")]
    Closed,
}
