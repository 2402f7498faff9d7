//! `/api/v1/inbox`: received messages, for named readers that confirm them.

use serde::{Deserialize, Serialize};

use crate::messages::Received;

/// A page of messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Messages that this reader missed because the inbox was full.
    pub missed: u64,
    /// True if more messages follow.
    pub more: bool,
}

/// A stored message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// The place to continue from, and to confirm up to.
    pub cursor: String,
    /// The time of its arrival (RFC 3339, UTC).
    pub at: String,
    /// The message.
    #[serde(flatten)]
    pub message: Received,
}

/// The answer to a confirmation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// The number of messages that were confirmed.
    Confirmed(u64),
    /// The reader of this name was removed.
    Forgotten(String),
}

/// The answer of `GET /api/v1/inbox/readers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Readers {
    /// Messages in the inbox.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The readers.
    pub readers: Vec<Waiting>,
    /// The MQTT sessions.
    pub sessions: Vec<Waiting>,
}

/// A reader or a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    /// Its name.
    pub name: String,
    /// Messages that it has not confirmed.
    pub behind: u64,
    /// Seconds since it was last seen; null while it is connected.
    pub away_seconds: Option<u64>,
}
