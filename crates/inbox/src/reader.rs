//! Readers and sessions: their place, their filters, and for how long they are remembered.

use crate::{age::Age, message::Seq};

/// The most readers by name.
pub const MAX_READERS: usize = 64;

/// The most sessions that are kept.
pub const MAX_SESSIONS: usize = 64;

/// The kind of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It has a name and wants everything.
    Reader,
    /// It has filters.
    Session,
}

impl Kind {
    /// The kind as the file has it.
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
    /// The last message before it was asked for.
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
    /// It has all messages up to this one, or does not want them.
    pub(crate) position: Seq,
    /// In milliseconds: so long it is remembered when it is not seen.
    pub(crate) expiry: i64,
    /// Age at which it was seen last.
    pub(crate) seen: Age,
    /// The connection that has it.
    pub(crate) attached: Option<u64>,
    /// All up to this one may have been sent before.
    pub(crate) sent: Seq,
    /// The first message that it wants and has not confirmed, if that is known.
    pub(crate) blocked: Option<Seq>,
    /// True if the file has a row of it.
    pub(crate) on_disk: bool,
    /// True if that row is not what it should be.
    pub(crate) dirty: bool,
    /// `seen` as the file has it.
    pub(crate) seen_on_disk: Age,
}

/// Says if a filter takes a topic.
pub(crate) type Matches = fn(&str, &str) -> bool;

impl Reader {
    /// One that has everything up to `position`.
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

    /// The QoS with which it wants a message; `None` where it does not.
    pub(crate) fn wants(&self, matches: Matches, seq: Seq, topic: &str) -> Option<u8> {
        if self.kind == Kind::Reader {
            return Some(2);
        }
        let takes = |filter: &&Filter| filter.since < seq && matches(&filter.filter, topic);
        self.filters.iter().filter(takes).map(|filter| filter.qos).max()
    }

    /// Notes a message that was stored: one that it does not want is none that it lacks.
    pub(crate) fn pass(&mut self, matches: Matches, seq: Seq, topic: &str) {
        if self.position.saturating_add(1) != seq {
            return;
        }
        match self.wants(matches, seq, topic) {
            None => self.position = seq,
            Some(_) => self.blocked = Some(seq),
        }
    }

    /// It has everything up to `through`. Returns whether that is news.
    pub(crate) fn confirm(&mut self, through: Seq) -> bool {
        let news = through > self.position;
        if news {
            self.position = through;
            self.blocked = None;
            self.dirty = true;
        }
        news
    }

    /// Asks for messages from now on. A filter that is there keeps its beginning.
    pub(crate) fn subscribe(&mut self, filter: String, qos: u8, last: Seq) {
        let known = self.filters.iter_mut().find(|known| known.filter == filter);
        match known {
            Some(known) => known.qos = qos,
            None => self.filters.push(Filter { filter, qos, since: last }),
        }
        self.dirty = true;
    }

    /// No longer asks for messages. `false` where it did not.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        let before = self.filters.len();
        self.filters.retain(|known| known.filter != filter);
        self.blocked = None;
        self.dirty = true;
        self.filters.len() < before
    }

    /// Says if it is to be forgotten now.
    pub(crate) fn is_over(&self, now: Age) -> bool {
        self.attached.is_none() && now.saturating_sub(self.seen) >= self.expiry
    }
}
