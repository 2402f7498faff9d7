//! `/api/v1/queue`: figures, listing, requeue, purge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The figures of a queue. Optional ones are known only while an agent runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// True if they come from a running agent.
    pub running: bool,
    /// Messages in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dead letters.
    pub set_aside: Amount,
    /// The lanes that hold messages.
    pub lanes: Vec<Lane>,
    /// The age of the oldest message, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<u64>,
    /// Messages that are leased and not yet acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leased: Option<u64>,
    /// Dropped messages, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<BTreeMap<String, u64>>,
    /// The number of times that the file was found damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corruptions: Option<u64>,
    /// Transactions that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_errors: Option<u64>,
    /// The reason of the last transaction's failure in a word, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// The bound in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// The bound in messages, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_messages: Option<u64>,
}

/// A number of messages.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Amount {
    /// The number of messages.
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
    /// The messages in it.
    #[serde(flatten)]
    pub held: Amount,
}

/// A page of messages. A client that forwards them uses a raw type as `M`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<M = Message> {
    /// The messages, oldest first.
    pub messages: Vec<M>,
    /// The place to continue from; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
}

/// A stored message. Times are RFC 3339, UTC.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// `waiting` or `set_aside`.
    pub state: String,
    /// Its topic.
    pub topic: String,
    /// Its payload, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The size of its payload.
    pub bytes: usize,
    /// Its quality of service.
    pub qos: u8,
    /// True if the broker is to keep it for later subscribers.
    pub retain: bool,
    /// The lane it waits in, or came from.
    pub lane: String,
    /// Its priority.
    pub priority: u8,
    /// The time of the publish.
    pub appended: String,
    /// Its expiry time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The reason why it is a dead letter, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Details of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The time at which it became a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
    /// False if its bytes do not fit their checksum; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intact: Option<bool>,
}

/// The result of a change to one page of messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    /// The change, and the number of messages.
    #[serde(flatten)]
    pub done: Done,
    /// Messages that were not changed because they are leased.
    #[serde(default)]
    pub left: u64,
    /// The place to continue from; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
}

/// A change, and the number of changed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// They are back in the queue.
    Requeued(u64),
    /// They were deleted.
    Purged(u64),
}

impl Done {
    /// Returns the number of messages.
    pub fn count(self) -> u64 {
        let (Self::Requeued(count) | Self::Purged(count)) = self;
        count
    }
}
