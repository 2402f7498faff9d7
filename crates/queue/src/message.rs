//! Input and output of the queue: ids, messages, receipts, leases, and the accounted size of a
//! message.

use std::{fmt, str::FromStr, time::SystemTime};

use uuid::Uuid;

use crate::order::{SEQ_MASK, Seq};

/// The cost of every message against [`Config::max_bytes`](crate::Config::max_bytes) beyond its
/// topic and payload: row header, id, index entries and their share of half-filled pages.
///
/// A message is accounted as `topic.len() + payload.len() + OVERHEAD` bytes.
pub const OVERHEAD: u64 = 128;

/// The highest priority; 0 is the lowest.
pub const MAX_PRIORITY: u8 = 9;

/// The default priority.
pub const DEFAULT_PRIORITY: u8 = 4;

/// Longest lane name and longest idempotency key, in bytes. Both are stored in index entries, which
/// must stay small against a page.
pub const MAX_NAME: usize = 256;

/// Longest topic in bytes: MQTT's own limit for a string (MQTT 3.1.1 §1.5.3).
pub const MAX_TOPIC: usize = 65_535;

/// Largest size of a message whatever the bound of the queue; SQLite's limit for a row is 1 GB.
pub(crate) const MAX_SIZE: u64 = 256 * 1024 * 1024;

/// The name of a message for its whole life: a UUID of version 7, given at hand-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Uuid);

impl MessageId {
    /// Returns a fresh id that holds no place.
    #[cfg(test)]
    pub(crate) fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the id of a new message at this place in the order. Its last 44 bits are the place,
    /// so that no index of ids is needed; of the others, 48 are the time and some 30 are random.
    pub(crate) fn at(seq: Seq) -> Self {
        Self(Uuid::now_v7()).copy_at(seq)
    }

    /// Returns the id of a copy of this message at another place.
    pub(crate) fn copy_at(self, seq: Seq) -> Self {
        let mask = u128::from(SEQ_MASK.unsigned_abs());
        let seq = u128::from(seq.unsigned_abs()) & mask;
        Self(Uuid::from_u128((self.0.as_u128() & !mask) | seq))
    }

    /// Returns the place in the order that an id of [`Self::at`] holds.
    pub(crate) fn seq(self) -> Seq {
        let [.., a, b, c, d, e, f] = *self.0.as_bytes();
        i64::from_be_bytes([0, 0, a, b, c, d, e, f]) & SEQ_MASK
    }

    /// Returns an id that no message has.
    pub fn nil() -> Self {
        Self(Uuid::nil())
    }

    /// Returns the id stored as these bytes; `None` if there are not 16.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// Returns the id as 16 bytes, in the order of its text form.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The idempotency key of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// At most [`MAX_NAME`] bytes.
    pub name: String,
    /// A checksum of all that makes up the message: the same key with another digest is refused.
    pub digest: u32,
}

/// A message to be stored by [`Queue::append`](crate::Queue::append).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The lane it waits in; at most [`MAX_NAME`] bytes. A lane exists once a message was put in
    /// it.
    pub lane: String,
    /// The topic to publish to; at most [`MAX_TOPIC`] bytes. Not interpreted.
    pub topic: String,
    /// Any bytes; may be empty.
    pub payload: Vec<u8>,
    /// 0, 1 or 2. Not interpreted.
    pub qos: u8,
    /// Not interpreted.
    pub retain: bool,
    /// 0 to [`MAX_PRIORITY`]; higher priorities leave first, and lower priorities are evicted
    /// first.
    pub priority: u8,
    /// The moment of the wall clock after which it is dropped instead of handed out. If a gateway's
    /// clock jumps forward at its first time sync, the new time counts.
    pub expires_at: Option<SystemTime>,
    /// A second append with a remembered key stores nothing and is answered with the first
    /// message's id. All lanes share the same keys; those of the newest
    /// [`REMEMBERED`](crate::REMEMBERED) messages are remembered, even after the message left.
    pub key: Option<Key>,
}

impl NewMessage {
    /// Creates a message of QoS 1 and default priority that never expires and has no key.
    pub fn new(
        lane: impl Into<String>,
        topic: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            lane: lane.into(),
            topic: topic.into(),
            payload: payload.into(),
            qos: 1,
            retain: false,
            priority: DEFAULT_PRIORITY,
            expires_at: None,
            key: None,
        }
    }

    /// Returns its cost against the queue's bound, in bytes (see [`OVERHEAD`]).
    pub fn size(&self) -> u64 {
        let length = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        length(self.topic.len()).saturating_add(length(self.payload.len())).saturating_add(OVERHEAD)
    }

    /// Refuses a message that the store's format cannot hold.
    pub(crate) fn validate(&self) -> Result<(), InvalidMessage> {
        check_lane(&self.lane)?;
        if self.topic.len() > MAX_TOPIC {
            return Err(InvalidMessage::Topic { length: self.topic.len() });
        }
        if self.qos > 2 {
            return Err(InvalidMessage::Qos(self.qos));
        }
        if self.priority > MAX_PRIORITY {
            return Err(InvalidMessage::Priority(self.priority));
        }
        match &self.key {
            Some(Key { name, .. }) if name.len() > MAX_NAME => {
                Err(InvalidMessage::Key { length: name.len() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The lane of messages that were set aside. Callers can neither append to it nor lease from it.
pub(crate) const ASIDE: &str = "(aside)";

/// The longest reason or explanation that is kept with a message set aside, in bytes.
const MAX_WORDS: usize = 400;

/// Returns the beginning of a text, at most [`MAX_WORDS`] bytes.
pub(crate) fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_WORDS)).unwrap_or_default().to_owned()
}

/// Refuses a lane name that is too long for an index entry, and the reserved name.
pub(crate) fn check_lane(lane: &str) -> Result<(), InvalidMessage> {
    if lane.len() > MAX_NAME {
        return Err(InvalidMessage::Lane { length: lane.len() });
    }
    if lane == ASIDE {
        return Err(InvalidMessage::Reserved);
    }
    Ok(())
}

/// The reason why a message cannot be stored, whatever the state of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// The lane's name is longer than [`MAX_NAME`].
    #[error("a lane name of {length} bytes is too long (at most {})", MAX_NAME)]
    Lane {
        /// Its length in bytes.
        length: usize,
    },
    /// The lane is reserved for messages that were set aside.
    #[error("the lane name {:?} is reserved", ASIDE)]
    Reserved,
    /// The topic is longer than [`MAX_TOPIC`].
    #[error("a topic of {length} bytes is too long (at most {})", MAX_TOPIC)]
    Topic {
        /// Its length in bytes.
        length: usize,
    },
    /// The key is longer than [`MAX_NAME`].
    #[error("an idempotency key of {length} bytes is too long (at most {})", MAX_NAME)]
    Key {
        /// Its length in bytes.
        length: usize,
    },
    /// QoS is 0, 1 or 2.
    #[error("QoS {0} does not exist (0, 1 or 2)")]
    Qos(u8),
    /// Priority is 0 to [`MAX_PRIORITY`].
    #[error("priority {0} does not exist (0 to {max})", max = MAX_PRIORITY)]
    Priority(u8),
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is on disk.
    Stored,
    /// Its key was seen before; the receipt names the earlier message.
    Duplicate,
    /// The message was given up and counted: the queue was full and the policy drops the new
    /// message, or it had already expired.
    Dropped,
}

/// The answer to an append; its outcome is on disk by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message's id; for a duplicate that of the first message.
    pub id: MessageId,
    /// The outcome.
    pub outcome: Outcome,
}

/// The messages that a lease asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The lane.
    pub lane: String,
    /// The most messages to lease, and at most [`MAX_LEASES`](crate::MAX_LEASES).
    pub limit: usize,
    /// The lowest priority to lease; lower ones wait.
    pub floor: u8,
}

impl Wanted {
    /// Asks for messages of any priority.
    pub fn of(lane: impl Into<String>, limit: usize) -> Self {
        Self { lane: lane.into(), limit, floor: 0 }
    }
}

/// A message handed out: no other caller gets it until it is released or the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The message's id, for ack, release and transfer.
    pub id: MessageId,
    /// The lane it was leased from.
    pub lane: String,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// As handed in.
    pub qos: u8,
    /// As handed in.
    pub retain: bool,
    /// As handed in.
    pub priority: u8,
    /// The wall clock's time when it was appended; for age only, order never depends on it.
    pub appended_at: SystemTime,
    /// The number of its leases since this process opened the queue, this lease included.
    pub attempts: u32,
}
