//! `/api/v1/queue`: figures, listing, requeue, purge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The figures of a queue. Those without a value are known to a running agent only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Whether they are those of a running agent.
    pub running: bool,
    /// Messages in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was set aside.
    pub set_aside: Amount,
    /// The lanes that hold messages.
    pub lanes: Vec<Lane>,
    /// How long the oldest message has waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<u64>,
    /// Messages handed out and not yet acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leased: Option<u64>,
    /// Messages that were given up, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<BTreeMap<String, u64>>,
    /// Times that the file was found damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corruptions: Option<u64>,
    /// Transactions that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_errors: Option<u64>,
    /// Why the last transaction failed, in a word, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// The most bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// The most messages, where they are bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_messages: Option<u64>,
}

/// A number of messages.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Amount {
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A lane that holds messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lane {
    /// Its name.
    pub lane: String,
    /// What it holds.
    #[serde(flatten)]
    pub held: Amount,
}

/// A page of messages. A client that passes them on reads them as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<M = Message> {
    /// The messages, oldest first.
    pub messages: Vec<M>,
    /// The place where the next page goes on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
}

/// A message that is stored. Times are RFC 3339, UTC.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// `waiting` or `set_aside`.
    pub state: String,
    /// Its topic.
    pub topic: String,
    /// Its payload, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Its quality of service.
    pub qos: u8,
    /// Whether the broker is to keep it for later subscribers.
    pub retain: bool,
    /// The lane it waits in, or came from.
    pub lane: String,
    /// Its priority.
    pub priority: u8,
    /// When it was handed in.
    pub appended: String,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Why it was set aside, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More words for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// When it was set aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
    /// False where its bytes are not those that were stored; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intact: Option<bool>,
}

/// A page of messages that were changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    /// What was done, and to how many.
    #[serde(flatten)]
    pub done: Done,
    /// Messages that were left alone, since they are on their way.
    #[serde(default)]
    pub left: u64,
    /// The place where the next page goes on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
}

/// A change, and the number of messages it was made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// They were brought back.
    Requeued(u64),
    /// They were deleted.
    Purged(u64),
}

impl Done {
    /// The number of messages.
    pub fn count(self) -> u64 {
        let (Self::Requeued(count) | Self::Purged(count)) = self;
        count
    }
}
