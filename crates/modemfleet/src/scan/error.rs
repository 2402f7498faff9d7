//! Errors of a scan.

use std::io;

use api::client::{ClientError, TargetError};
use fleet::models::ModelsError;

/// The path of the agent's devices.
pub(crate) const DEVICES: &str = "/api/v1/devices";

/// The reason why there are no devices to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the server at {DEVICES} is not a modemfleet agent, or has another version")]
    Strange(#[from] serde_json::Error),
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error("could not look for USB devices")]
    Discovery(#[source] anyhow::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}
