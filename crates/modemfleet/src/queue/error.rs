//! Errors of commands on the queue.

use std::io;
use std::path::PathBuf;

use agent::messages::backlog::BacklogError;
use api::client::{ClientError, TargetError};
use queue::OpenError;

/// The reason why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Backlog(#[from] BacklogError),
    #[error("there is no queue in {}", .0.display())]
    NoQueue(PathBuf),
    #[error("no such message is {0}")]
    NoMessage(&'static str),
    #[error("{0}")]
    Usage(&'static str),
    #[error("the server is not a modemfleet agent, or has another version")]
    Strange,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<OpenError> for QueueError {
    fn from(error: OpenError) -> Self {
        Self::Backlog(error.into())
    }
}
