//! Events from the demo's parts to the task that counts.

use tokio::time::Instant;

use super::reading::Reading;
use super::tally::Print;

/// The most events that wait. When the channel is full, the senders wait: sensors publish later,
/// and the subscriber reads later.
pub(super) const DEPTH: usize = 1_024;

/// An event.
#[derive(Debug)]
pub(super) enum News {
    /// The subscriber receives all messages from now on.
    Subscribed,
    /// The agent answered 202.
    Accepted {
        /// The message's number.
        number: u64,
        /// Its digest.
        print: Print,
        /// The time of the answer.
        at: Instant,
    },
    /// The agent refused a message, for this reason.
    Refused(String),
    /// The subscriber got a message.
    Arrived {
        /// The number in its payload.
        number: u64,
        /// Its digest.
        print: Print,
        /// The time of its arrival.
        at: Instant,
    },
    /// The agent's state.
    Read(Reading),
    /// A fault began or ended.
    Done(String),
}
