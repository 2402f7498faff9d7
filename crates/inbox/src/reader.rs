//! Readers and sessions: their positions, their filters, and the time for which they are
//! remembered.

use crate::{age::Age, message::Seq};

/// The most readers by name.
pub const MAX_READERS: usize = 64;

/// The most sessions that are kept.
pub const MAX_SESSIONS: usize = 64;

/// The kind of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A reader has a name and gets all messages.
    Reader,
    /// A session has filters.
    Session,
}

impl Kind {
    /// Returns the kind's number in the file.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Reader => 0,
            Self::Session => 1,
        }
    }
}

/// A filter that a session asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    /// The last message before the request.
    pub(crate) since: Seq,
}

/// A reader or a session.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The user who made it.
    pub(crate) owner: Option<String>,
    pub(crate) filters: Vec<Filter>,
    /// The position: all messages up to this one are confirmed or unwanted.
    pub(crate) position: Seq,
    /// The time, in milliseconds, after which it is forgotten if unseen.
    pub(crate) expiry: i64,
    /// The age at which it was last seen.
    pub(crate) seen: Age,
    /// The connection that holds it.
    pub(crate) attached: Option<u64>,
    /// All messages up to this one may have been sent before.
    pub(crate) sent: Seq,
    /// The first wanted and unconfirmed message, if known.
    pub(crate) blocked: Option<Seq>,
    /// True if the file has a row for it.
    pub(crate) on_disk: bool,
    /// True if that row is out of date.
    pub(crate) dirty: bool,
    /// The value of `seen` in the file.
    pub(crate) seen_on_disk: Age,
}

/// Reports whether a filter takes a topic.
pub(crate) type Matches = fn(&str, &str) -> bool;

impl Reader {
    /// Makes a reader with everything up to `position`.
    pub(crate) fn new(kind: Kind, name: &str, position: Seq, now: Age) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            owner: None,
            filters: Vec::new(),
            position,
            expiry: 0,
            seen: now,
            attached: None,
            sent: position,
            blocked: None,
            on_disk: false,
            dirty: true,
            seen_on_disk: now,
        }
    }

    /// Returns the QoS of a wanted message; `None` if it is not wanted.
    pub(crate) fn wants(&self, matches: Matches, seq: Seq, topic: &str) -> Option<u8> {
        if self.kind == Kind::Reader {
            return Some(2);
        }
        let takes = |filter: &&Filter| filter.since < seq && matches(&filter.filter, topic);
        self.filters.iter().filter(takes).map(|filter| filter.qos).max()
    }

    /// Notes a stored message: an unwanted message counts as confirmed.
    pub(crate) fn pass(&mut self, matches: Matches, seq: Seq, topic: &str) {
        if self.position.saturating_add(1) != seq {
            return;
        }
        match self.wants(matches, seq, topic) {
            None => self.position = seq,
            Some(_) => self.blocked = Some(seq),
        }
    }

    /// Confirms everything up to `through`. Returns whether the position changed.
    pub(crate) fn confirm(&mut self, through: Seq) -> bool {
        let news = through > self.position;
        if news {
            self.position = through;
            self.blocked = None;
            self.dirty = true;
        }
        news
    }

    /// Adds a filter for messages from now on. A known filter keeps its beginning.
    pub(crate) fn subscribe(&mut self, filter: String, qos: u8, last: Seq) {
        let known = self.filters.iter_mut().find(|known| known.filter == filter);
        match known {
            Some(known) => known.qos = qos,
            None => self.filters.push(Filter { filter, qos, since: last }),
        }
        self.dirty = true;
    }

    /// Removes a filter. `false` if it was not there.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        let before = self.filters.len();
        self.filters.retain(|known| known.filter != filter);
        self.blocked = None;
        self.dirty = true;
        self.filters.len() < before
    }

    /// Reports whether it is to be forgotten now.
    pub(crate) fn is_over(&self, now: Age) -> bool {
        self.attached.is_none() && now.saturating_sub(self.seen) >= self.expiry
    }
}
