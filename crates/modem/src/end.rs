//! The reason for the end of a modem's service on an open port.

use crate::chain::Chain;
use crate::observe::RecoveryAction;
use crate::step::StepError;

/// The reason for the end of a modem's service on an open port.
#[derive(Debug)]
pub(crate) enum End {
    /// The stop was requested, and the sessions signed out.
    Stopped,
    /// Unplugged.
    Gone,
    /// It answers nothing.
    Mute,
    /// The modem booted, or its SIM is another one now, as text: the service restarts on the same
    /// port.
    Booted(&'static str),
    /// The modem differs from the fleet file, or its model is not known.
    Unusable(String),
    /// A step failed in a way that a fresh start may cure.
    Failed(String),
    /// The tty could not be opened, which is not evidence about the modem.
    Unopened(String),
    /// The tty does not speak AT: another tty of the device may.
    Foreign(String),
    /// The next action that is due needs more rights than the agent has.
    Beyond(RecoveryAction, String),
    /// The modem did not come back from a reset in time, and its port is absent.
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

/// Turns a missing value into `None`; a port that is gone and a boot end the service.
pub(crate) fn unless_ended<T>(error: StepError) -> Result<Option<T>, End> {
    if error.is_gone() || error.is_boot() { Err(error.into()) } else { Ok(None) }
}
