//! First and last word of a session. The end that is not orderly is the will's part.

use crate::message::Message;

/// First and last word of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Published after each CONNECT, before anything else.
    pub online: Message,
    /// Published before DISC, since the broker then publishes no will.
    pub offline: Message,
}
