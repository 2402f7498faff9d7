//! What the parts of the demo tell the one that keeps the books.

use tokio::time::Instant;

use super::reading::Reading;
use super::tally::Print;

/// How many pieces of news may wait. When it is full their senders wait too: sensors send later, and the
/// subscriber reads later.
pub(super) const DEPTH: usize = 1_024;

/// A piece of news.
#[derive(Debug)]
pub(super) enum News {
    /// The subscriber will get what is published from now on.
    Subscribed,
    /// The agent answered 202.
    Accepted {
        /// The message's number.
        number: u64,
        /// What to know it by.
        print: Print,
        /// When.
        at: Instant,
    },
    /// The agent did not take a message, for this reason.
    Refused(String),
    /// The subscriber got a message.
    Arrived {
        /// The number in its payload.
        number: u64,
        /// What it is known by.
        print: Print,
        /// When.
        at: Instant,
    },
    /// What the agent says of itself.
    Read(Reading),
    /// Something was done to a modem.
    Done(String),
}
