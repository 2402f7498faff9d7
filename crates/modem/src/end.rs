//! Why a modem's service on an open port ended.

use crate::chain::Chain;
use crate::observe::RecoveryAction;
use crate::step::StepError;

/// Why a modem's service on an open port ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It was told to stop, and its sessions signed out.
    Stopped,
    /// Unplugged.
    Gone,
    /// It answers nothing.
    Mute,
    /// It booted, or its SIM is another one now, in words: begin again on the same port.
    Booted(&'static str),
    /// It is not what the fleet file says, or not a model we know.
    Unusable(String),
    /// A step failed in a way that a fresh start may cure.
    Failed(String),
    /// The tty could not be opened: of the modem that says nothing.
    Unopened(String),
    /// The tty is none that speaks AT: another of the device may.
    Foreign(String),
    /// What is due next can only be done from outside.
    Beyond(RecoveryAction, String),
    /// A reset should have brought it back by now, and its port is not there.
    Overdue,
}

impl From<StepError> for End {
    fn from(error: StepError) -> Self {
        if error.is_gone() {
            Self::Gone
        } else if error.is_boot() {
            Self::Booted(BOOTED)
        } else {
            Self::Failed(Chain(&error).to_string())
        }
    }
}

pub(crate) const BOOTED: &str = "the modem booted";

pub(crate) const QUIET_BOOT: &str = "the modem booted without reporting it";

/// A value that is not to be had is left out; a port that is gone and a boot end the service.
pub(crate) fn unless_ended<T>(error: StepError) -> Result<Option<T>, End> {
    if error.is_gone() || error.is_boot() { Err(error.into()) } else { Ok(None) }
}
