//! The end of a connection that the stop did not ask for.

use super::context::Lost;
use crate::mqtt::Scope;
use crate::observe::DisconnectReason;

/// A connection that ended before the stop.
pub(super) struct Broken {
    pub(super) reason: DisconnectReason,
    pub(super) words: String,
    pub(super) scope: Scope,
}

impl Broken {
    pub(super) fn forbidden() -> Self {
        let words = "roaming, which `roaming: deny` forbids".to_owned();
        Self { reason: DisconnectReason::Agent, words, scope: Scope::Session }
    }

    pub(super) fn asked() -> Self {
        let words = "a person asked for a new connection".to_owned();
        Self { reason: DisconnectReason::Agent, words, scope: Scope::Session }
    }
}

impl From<Lost> for Broken {
    fn from(lost: Lost) -> Self {
        let reason =
            if lost.by_broker { DisconnectReason::Broker } else { DisconnectReason::Network };
        Self { reason, words: lost.cause.to_owned(), scope: Scope::Session }
    }
}
