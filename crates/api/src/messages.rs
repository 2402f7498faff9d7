//! Messages that applications hand in, what becomes of them, and those that come down.

use serde::{Deserialize, Serialize};

/// The answer of `POST /api/v1/publish`: the message is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Taken {
    /// The id of the message, or of its first copy.
    pub id: String,
    /// Whether it was thrown away, since the queue is full and its policy is that.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dropped: bool,
    /// The ids of all copies, where a route makes several.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub copies: Vec<String>,
}

/// A message that came down, in the stream of `GET /api/v1/messages`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Received {
    /// The modem.
    pub modem: String,
    /// The session.
    pub session: String,
    /// Its topic.
    pub topic: String,
    /// The most that its quality of service can be.
    pub qos: u8,
    /// Its payload.
    pub payload_base64: String,
}

/// The event `dropped` of a stream.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Missed {
    /// Events that this reader missed.
    pub missed: u64,
}

/// The receipt of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The message.
    pub id: String,
    /// The quality of service that it was handed in with.
    pub qos: u8,
    /// Its state.
    #[serde(flatten)]
    pub standing: Standing,
}

/// The state of a message. Times are those of the gateway's clock (RFC 3339, UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It is in the queue.
    Waiting {
        /// When it was handed in.
        appended: String,
    },
    /// A session has it, and its acknowledgement has not come or is not on disk yet.
    Given {
        /// When it was handed in.
        appended: String,
        /// The session, as `modem/session`.
        path: String,
    },
    /// It left the queue: somebody else is responsible for it.
    Acknowledged {
        /// When that was recorded.
        at: String,
        /// The session over which it went.
        path: String,
        /// Its owner from then on.
        by: By,
    },
    /// It was set aside, and waits for an operator.
    DeadLetter {
        /// When.
        at: String,
        /// A word: `refused`, `poison` or `damaged`.
        reason: String,
        /// More words.
        words: String,
    },
    /// It was given up.
    Dropped {
        /// When.
        at: String,
        /// A word: `full`, `expired`, `age`, `purged` or `damaged`.
        reason: String,
    },
}

/// The one that accepted a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The broker, by PUBACK or PUBCOMP.
    Broker,
    /// The modem: at QoS 0 no broker acknowledges anything.
    Modem,
}
