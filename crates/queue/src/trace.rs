//! Where a message stands, and what became of one that left.

use std::{sync::Arc, time::SystemTime};

use crate::MessageId;

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits in its lane.
    Waiting,
    /// Somebody leased it.
    Leased,
    /// It was set aside: see [`Queue::set_aside`](crate::Queue::set_aside).
    DeadLetter {
        /// A word, such as `poison`.
        reason: String,
        /// More words.
        words: String,
    },
    /// It was acknowledged: somebody else is responsible for it.
    Acknowledged {
        /// Who took it, as the caller of [`Queue::ack`](crate::Queue::ack) named it.
        path: Arc<str>,
    },
    /// It was given up without an acknowledgement.
    Dropped {
        /// One of the words of [`Dropped::by_reason`](crate::Dropped::by_reason).
        reason: Reason,
    },
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full.
    Full,
    /// Its time to live was over.
    Expired,
    /// It was older than the queue keeps any.
    Age,
    /// An operator removed it.
    Purged,
    /// It could not be read from a damaged file.
    Damaged,
}

impl Reason {
    /// All reasons, in the order of their numbers on disk.
    pub const ALL: [Self; 5] = [Self::Full, Self::Expired, Self::Age, Self::Purged, Self::Damaged];

    /// The word for it, as a metric's label wants it.
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

/// A message and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The message.
    pub id: MessageId,
    /// Its QoS: at 0 an acknowledgement is the modem's, not the broker's.
    pub qos: u8,
    /// Where it stands.
    pub state: State,
    /// Since when, by the wall clock; for one that waits or is leased, when it was appended.
    pub at: SystemTime,
}
