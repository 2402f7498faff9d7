//! The environment that the modems of one gateway share.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::session::Stagger;
use crate::sim::PinLedger;
use crate::turns::Turns;

/// The environment that the modems of one gateway share.
#[derive(Clone)]
pub struct Environment {
    /// All models. A change of the catalog counts from the next opening of a port.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Spreads CONNECTs.
    pub stagger: Arc<Stagger>,
    /// Records the PINs that were tried.
    pub ledger: Arc<dyn PinLedger>,
    /// Lets one modem be reset at a time.
    pub turns: Arc<Turns>,
    /// Performs actions that need more rights than the agent has.
    pub privileged: Arc<dyn Privileged>,
    /// Ends everything in order.
    pub stop: CancellationToken,
}

/// The reason why a privileged action failed.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegedError {
    /// The action is not available here, and nothing was done.
    #[error("not available: {reason}")]
    Unavailable {
        /// The reason as text.
        reason: String,
    },
    /// Another program has the device: not now.
    #[error("not now: {reason}")]
    Busy {
        /// The program as text.
        reason: String,
    },
    /// The action was tried and failed.
    #[error("failed: {reason}")]
    Failed {
        /// The failure as text.
        reason: String,
    },
}

/// Actions for a modem that only root may perform. An implementation bounds their time.
#[async_trait]
pub trait Privileged: Send + Sync {
    /// Resets the USB device of this tty.
    async fn usb_reset(&self, tty: &Path) -> Result<(), PrivilegedError>;

    /// Runs the script of this name, which cuts a modem's power supply and restores it.
    async fn power(&self, script: &str) -> Result<(), PrivilegedError>;
}

/// Rejects every action.
#[derive(Debug)]
pub struct Unprivileged;

#[async_trait]
impl Privileged for Unprivileged {
    async fn usb_reset(&self, _: &Path) -> Result<(), PrivilegedError> {
        Err(PrivilegedError::Unavailable {
            reason: "this program may not reset devices".to_owned(),
        })
    }

    async fn power(&self, _: &str) -> Result<(), PrivilegedError> {
        Err(PrivilegedError::Unavailable { reason: "this program may not run scripts".to_owned() })
    }
}
