//! What is wrong with a modem, and what shows that it is over.

use crate::observe::RecoveryCause;

/// The trouble that the ladder is climbed for. A broker that refuses while the modem is registered is a matter
/// of patience, and is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The port answers nothing.
    Mute,
    /// The port answers, and a step before the SIM fails, such as an IMEI that cannot be read.
    Failing,
    /// The SIM does not work, or is not there.
    Sim,
    /// Not registered for too long.
    Unregistered,
    /// The network denies data to this SIM.
    Denied,
    /// The network gives the modem's MQTT service no data, while the modem is registered.
    Service,
    /// The modem's MQTT service does not start, for a reason of its own.
    Wedged,
    /// A session fails, and not by the broker's word, and no other session is sound.
    Sessions,
}

/// What shows that a modem is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The modem identified itself.
    Identified,
    /// Its SIM is ready.
    Card,
    /// It is registered.
    Registered,
    /// Its MQTT service reached a network.
    Service,
    /// A session heard its broker.
    Broker,
    /// No session fails any more but by its broker's word.
    Sessions,
}

impl Cause {
    /// Whether what was tried for the one was tried for the other.
    pub(super) fn is_like(self, other: Self) -> bool {
        let heard = |cause| {
            matches!(
                cause,
                Self::Service | Self::Wedged | Self::Unregistered | Self::Denied | Self::Sessions
            )
        };
        self == other || (heard(self) && heard(other))
    }

    /// Whether its actions count against the budget. A radio that is cycled for a SIM that is denied comes at a pace
    /// of its own.
    pub(super) fn costs(self) -> bool {
        self != Self::Denied
    }

    /// Its word in the metrics.
    pub(crate) fn word(self) -> RecoveryCause {
        match self {
            Self::Mute => RecoveryCause::Mute,
            Self::Failing | Self::Wedged => RecoveryCause::Wedged,
            Self::Sim => RecoveryCause::Sim,
            Self::Unregistered => RecoveryCause::Unregistered,
            Self::Denied => RecoveryCause::Denied,
            Self::Service => RecoveryCause::Service,
            Self::Sessions => RecoveryCause::Sessions,
        }
    }
}

impl Sign {
    pub(super) fn ends(self, cause: Cause) -> bool {
        match self {
            Self::Identified => matches!(cause, Cause::Mute | Cause::Failing),
            Self::Card => cause == Cause::Sim,
            Self::Registered => matches!(cause, Cause::Unregistered | Cause::Denied),
            Self::Service => cause != Cause::Sessions,
            Self::Broker => true,
            Self::Sessions => cause == Cause::Sessions,
        }
    }
}
