//! The causes of a modem's trouble, and the signs that it is over.

use crate::observe::RecoveryCause;

/// The trouble for which the ladder is climbed. A broker that refuses while the modem is registered
/// only needs patience, and is not a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The port answers nothing.
    Mute,
    /// The port answers, but a step before the SIM fails, such as reading the IMEI.
    Failing,
    /// The SIM does not work, or is absent.
    Sim,
    /// Not registered for too long.
    Unregistered,
    /// The network denies data to this SIM.
    Denied,
    /// The network gives the modem's MQTT service no data, while the modem is registered.
    Service,
    /// The modem's MQTT service does not start, for a reason of its own.
    Wedged,
    /// A session fails for another reason than its broker, and no other session is sound.
    Sessions,
}

/// A sign that a modem is back.
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
    /// No session fails any more, except because of its broker.
    Sessions,
}

impl Cause {
    /// Reports whether actions tried for one cause count as tried for the other.
    pub(super) fn is_like(self, other: Self) -> bool {
        let heard = |cause| {
            matches!(
                cause,
                Self::Service | Self::Wedged | Self::Unregistered | Self::Denied | Self::Sessions
            )
        };
        self == other || (heard(self) && heard(other))
    }

    /// Reports whether its actions count against the budget. The radio cycles for a denied SIM have
    /// a pace of their own.
    pub(super) fn costs(self) -> bool {
        self != Self::Denied
    }

    /// Returns the cause in the words of the metrics.
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
