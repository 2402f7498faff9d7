//! Readers and sessions: their positions, their filters, and the time for which they are
//! remembered.

use crate::{age::Age, line::Line, message::Seq};

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
    pub(crate) on_disk: OnDisk,
}

/// The state of a reader's row in the file.
///
/// A change makes it stale until it is written. That a reader was seen is written with other
/// changes, or once it lags too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnDisk {
    exists: bool,
    stale: bool,
    /// The age at which the reader was last seen, in the file.
    seen: Age,
}

/// The divisor of a row's lag: it lags at most this part of the time that a reader is remembered.
const LAG: i64 = 16;

impl OnDisk {
    /// Returns the row of a reader that is not in the file.
    fn missing(seen: Age) -> Self {
        Self { exists: false, stale: true, seen }
    }

    /// Returns the row that a file has for a reader.
    pub(crate) fn read(seen: Age, stale: bool) -> Self {
        Self { exists: true, stale, seen }
    }

    /// Reports whether the file has it, whether stale or not.
    pub(crate) fn exists(&self) -> bool {
        self.exists
    }

    /// Reports whether it has to be written.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Notes a change of the reader.
    pub(crate) fn change(&mut self) {
        self.stale = true;
    }

    /// Notes that the file is another one.
    pub(crate) fn lose(&mut self) {
        (self.exists, self.stale) = (false, true);
    }

    /// Notes the time by which the row lags at `now`; the reader was last `seen`, and is remembered
    /// for `expiry`.
    fn lag(&mut self, seen: Age, expiry: i64, now: Age) {
        self.stale |= seen > self.seen && now.saturating_sub(self.seen) >= expiry / LAG;
    }

    /// Notes that it was written.
    fn write(&mut self, seen: Age) {
        *self = Self { exists: true, stale: false, seen };
    }
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
            on_disk: OnDisk::missing(now),
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
            self.on_disk.change();
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
        self.on_disk.change();
    }

    /// Removes a filter. `false` if it was not there.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        let before = self.filters.len();
        self.filters.retain(|known| known.filter != filter);
        self.blocked = None;
        self.on_disk.change();
        self.filters.len() < before
    }

    /// Reports whether it is a session behind the end of the line for an unknown reason.
    pub(crate) fn is_stuck(&self, line: &Line) -> bool {
        // The messages that it lacked may have been removed.
        let is_blocked = self.blocked.is_some_and(|seq| seq >= line.first());
        self.kind == Kind::Session && !is_blocked && self.position < line.last()
    }

    /// Reports whether its row is to be written now.
    pub(crate) fn is_due(&mut self, now: Age) -> bool {
        self.on_disk.lag(self.seen, self.expiry, now);
        self.on_disk.is_stale()
    }

    /// Notes that its row was written.
    pub(crate) fn written(&mut self) {
        self.on_disk.write(self.seen);
    }

    /// Reports whether `user` may have it. A session without an owner is open to all users.
    pub(crate) fn is_open_to(&self, user: Option<&str>) -> bool {
        self.owner.is_none() || user.is_none() || self.owner.as_deref() == user
    }

    /// Reports whether it is to be forgotten now.
    pub(crate) fn is_over(&self, now: Age) -> bool {
        self.attached.is_none() && now.saturating_sub(self.seen) >= self.expiry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_after_a_change_and_when_it_lags() {
        let mut reader = Reader::new(Kind::Reader, "r", 0, 1_000);
        reader.expiry = 16_000;
        assert!(reader.is_due(1_000) && !reader.on_disk.exists(), "the file has none");
        reader.written();
        assert!(!reader.is_due(9_000), "it was not seen since");
        reader.seen = 1_500;
        assert!(!reader.is_due(1_999) && reader.is_due(2_000));
        reader.written();
        assert!(!reader.confirm(0) && !reader.is_due(2_000));
        assert!(reader.confirm(1) && reader.is_due(2_000));
        reader.written();
        reader.on_disk.lose();
        assert!(reader.is_due(2_000) && !reader.on_disk.exists());
    }

    #[test]
    fn unwanted_messages_count_as_confirmed_up_to_the_first_wanted() {
        let matches: Matches = |filter, topic| filter == topic;
        let mut session = Reader::new(Kind::Session, "s", 0, 0);
        session.subscribe("a".to_owned(), 1, 0);
        for (seq, topic) in [(1, "b"), (2, "b"), (3, "a"), (4, "b")] {
            session.pass(matches, seq, topic);
        }
        assert_eq!((session.position, session.blocked), (2, Some(3)));
        assert_eq!(session.wants(matches, 3, "a"), Some(1));
        session.subscribe("b".to_owned(), 2, 4);
        assert_eq!(session.wants(matches, 4, "b"), None, "from before the filter");
        assert!(session.unsubscribe("a") && !session.unsubscribe("a"));
        assert_eq!((session.wants(matches, 3, "a"), session.blocked), (None, None));
    }
}
