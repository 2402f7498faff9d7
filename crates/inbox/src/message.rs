//! A message to be put, and a message that is read.

use std::time::SystemTime;

use bytes::Bytes;

/// A message's number: the next message has the next number, even in a new file after a damaged
/// file.
pub type Seq = i64;

/// Bytes that a message costs beside its topic, source and payload, as accounted.
pub const OVERHEAD: u64 = 128;

/// A message to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its origin, as the caller names it.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// 0 to 2.
    pub qos: u8,
    /// Any bytes.
    pub payload: Bytes,
}

impl NewMessage {
    /// Returns its size in bytes as accounted.
    pub fn size(&self) -> u64 {
        let bytes = self.source.len().saturating_add(self.topic.len());
        let bytes = bytes.saturating_add(self.payload.len());
        u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(OVERHEAD)
    }
}

/// A message in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub seq: Seq,
    /// The time at which it was put, by the wall clock of that time.
    pub at: SystemTime,
    /// Its origin.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// The message's QoS; in a session's page the lower of the message's and the filter's.
    pub qos: u8,
    /// Any bytes.
    pub payload: Bytes,
}
