//! `/api/v1/inbox`: messages that came down, for readers that have a name and confirm what they have.

use serde::{Deserialize, Serialize};

use crate::messages::Received;

/// A page of messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Messages that this reader missed, since the inbox had no room for them.
    pub missed: u64,
    /// Whether there are more.
    pub more: bool,
}

/// A message that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// Its place, to go on from and to confirm.
    pub cursor: String,
    /// When it came (RFC 3339, UTC).
    pub at: String,
    /// The message.
    #[serde(flatten)]
    pub message: Received,
}

/// The answer to a confirmation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// So many messages were confirmed.
    Confirmed(u64),
    /// The reader of this name was forgotten.
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
    /// For how many seconds it was not seen; null while it is connected.
    pub away_seconds: Option<u64>,
}
