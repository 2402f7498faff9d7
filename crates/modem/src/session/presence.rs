//! First and last message of a session. The will announces an end that is not orderly.

use crate::message::Message;

/// First and last message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Published after each CONNECT, before anything else.
    pub online: Message,
    /// Published before DISC, since the broker then does not publish the will.
    pub offline: Message,
}
