//! What the modems of one gateway share.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::session::Stagger;
use crate::sim::PinLedger;
use crate::turns::Turns;

/// What the modems of one gateway share.
#[derive(Clone)]
pub struct Environment {
    /// All models. Another catalog may come: it is asked at the next opening of a port.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Spreads CONNECTs.
    pub stagger: Arc<Stagger>,
    /// Remembers PINs that were tried.
    pub ledger: Arc<dyn PinLedger>,
    /// Lets one modem be reset at a time.
    pub turns: Arc<Turns>,
    /// Does what takes more rights than the agent has.
    pub privileged: Arc<dyn Privileged>,
    /// Ends everything in order.
    pub stop: CancellationToken,
}

/// Why a privileged means came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegedError {
    /// It is not to be had here, and nothing was done.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why, in words.
        reason: String,
    },
    /// Another program has the device: not now.
    #[error("not now: {reason}")]
    Busy {
        /// Who, in words.
        reason: String,
    },
    /// It was tried and went wrong.
    #[error("failed: {reason}")]
    Failed {
        /// How, in words.
        reason: String,
    },
}

/// What only root may do for a modem. Whoever implements it bounds its time.
#[async_trait]
pub trait Privileged: Send + Sync {
    /// Resets the USB device that has this tty.
    async fn usb_reset(&self, tty: &Path) -> Result<(), PrivilegedError>;

    /// Runs the script of this name, which takes a modem's supply away and gives it back.
    async fn power(&self, script: &str) -> Result<(), PrivilegedError>;
}

/// Nobody does any of it.
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
