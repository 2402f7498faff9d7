//! The reasons for which a connection ends.

use std::io;

use super::wire::{ConnectReason, Reason};

/// The end of a connection.
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
    /// The client broke the protocol, or asked for a thing that is not served.
    Fault(Reason, String),
    /// The agent ends.
    Stopping,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// The end of a client that is at fault, with words for it and for the log.
pub(super) fn fault(reason: Reason, words: impl Into<String>) -> End {
    End::Fault(reason, words.into())
}

/// The end of a client whose client id another one has now.
pub(super) fn taken_over() -> End {
    fault(Reason::SessionTakenOver, "another client connected with its client id")
}
