//! The state of a message that is held, and the outcome of a message that left.

use std::{sync::Arc, time::SystemTime};

use crate::MessageId;

/// The state of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits in its lane.
    Waiting,
    /// It is leased.
    Leased,
    /// It was set aside: see [`Queue::set_aside`](crate::Queue::set_aside).
    DeadLetter {
        /// A word, such as `poison`.
        reason: String,
        /// More text.
        words: String,
    },
    /// It was acknowledged: another party is responsible for it.
    Acknowledged {
        /// The new holder, as the caller of [`Queue::ack`](crate::Queue::ack) named it.
        path: Arc<str>,
    },
    /// It was given up without an acknowledgement.
    Dropped {
        /// One of the words of [`Dropped::by_reason`](crate::Dropped::by_reason).
        reason: Reason,
    },
}

/// The reason why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full.
    Full,
    /// It expired by its time to live.
    Expired,
    /// It was older than the queue's maximum age.
    Age,
    /// An operator removed it.
    Purged,
    /// It was not readable from a damaged file.
    Damaged,
}

impl Reason {
    /// All reasons, in the order of their numbers on disk.
    pub const ALL: [Self; 5] = [Self::Full, Self::Expired, Self::Age, Self::Purged, Self::Damaged];

    /// Returns the word for it, for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Expired => "expired",
            Self::Age => "age",
            Self::Purged => "purged",
            Self::Damaged => "damaged",
        }
    }
}

/// A message and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The message.
    pub id: MessageId,
    /// Its QoS: at 0 an acknowledgement is the modem's, not the broker's.
    pub qos: u8,
    /// Its state.
    pub state: State,
    /// The time at which it entered the state, by the wall clock; if it waits or is leased, its
    /// append time.
    pub at: SystemTime,
}
