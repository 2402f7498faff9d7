//! The two ends of a connection: what admission gives, and why it is over.

use std::io;

use crate::mqtt::wire::{Connect, ConnectReason, Reason};

/// A client that may come in.
pub(super) struct Admitted {
    pub(super) connect: Box<Connect>,
    /// Its client id if this side gave it one.
    pub(super) assigned: Option<String>,
    /// Its client id.
    pub(super) name: String,
    /// Its user, if users are checked.
    pub(super) user: Option<String>,
}

/// How a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client said so.
    Left,
    /// The client said so and wants its will published.
    LeftWithWill,
    /// The connection broke, or the client closed it without a word.
    Broken,
    /// CONNECT is refused.
    Refused(ConnectReason),
    /// The client did, or sent, what cannot be served.
    Fault(Reason, String),
    /// The agent ends.
    Stopping,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

pub(super) fn fault(reason: Reason, words: impl Into<String>) -> End {
    End::Fault(reason, words.into())
}

pub(super) fn taken_over() -> End {
    fault(Reason::SessionTakenOver, "another client connected with its client id")
}
