//! Published messages, their receipts, and received messages.

use serde::{Deserialize, Serialize};

/// The answer of `POST /api/v1/publish`: the message is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Taken {
    /// The id of the message, or of its first copy.
    pub id: String,
    /// True if the message was discarded because the queue is full and its policy drops new
    /// messages.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dropped: bool,
    /// The ids of all copies, if a route makes several.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub copies: Vec<String>,
}

/// A received message, in the stream of `GET /api/v1/messages`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Received {
    /// The modem.
    pub modem: String,
    /// The session.
    pub session: String,
    /// The topic.
    pub topic: String,
    /// The highest quality of service that it can have.
    pub qos: u8,
    /// The payload.
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
    /// The quality of service of the publish.
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
        /// The time of the publish.
        appended: String,
    },
    /// A session has it; the acknowledgement has not come, or is not on disk yet.
    Given {
        /// The time of the publish.
        appended: String,
        /// The session, as `modem/session`.
        path: String,
    },
    /// It left the queue: the broker or the modem is responsible for it.
    Acknowledged {
        /// The time at which that was recorded.
        at: String,
        /// The session that sent it.
        path: String,
        /// The party that accepted it.
        by: By,
    },
    /// It is a dead letter, and waits for the operator.
    DeadLetter {
        /// The time at which it became a dead letter.
        at: String,
        /// The reason in a word: `refused`, `poison` or `damaged`.
        reason: String,
        /// Details of the reason.
        words: String,
    },
    /// It was dropped.
    Dropped {
        /// The time of that.
        at: String,
        /// The reason in a word: `full`, `expired`, `age`, `purged` or `damaged`.
        reason: String,
    },
}

/// The party that accepted a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The broker, by PUBACK or PUBCOMP.
    Broker,
    /// The modem: at QoS 0 a broker acknowledges nothing.
    Modem,
}
