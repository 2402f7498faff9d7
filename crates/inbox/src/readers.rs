//! All readers and sessions: which there are, what they have, and what of that is not in the file.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    age::{Age, millis},
    error::{AttachError, ReadError},
    line::Line,
    message::Seq,
    number::to_u64,
    reader::{Kind, MAX_READERS, MAX_SESSIONS, Matches, OnDisk, Reader},
    stat::Waiting,
};

/// The most messages that are looked at to see how far a session's filters let it advance.
const LOOKED_AT: usize = 512;

/// A client's request for a session.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) owner: Option<String>,
    /// True if the rest of an earlier session is to be removed.
    pub(crate) clean: bool,
    /// The time for which the session outlives its connection; `None`: as long as the bound allows.
    pub(crate) expiry: Option<Duration>,
}

/// A session held by a connection.
#[derive(Debug)]
pub struct Attached {
    /// True if it was there before.
    pub present: bool,
    /// The time for which it outlives the connection.
    pub expiry: Duration,
    /// Its filters with their QoS.
    pub filters: Vec<(String, u8)>,
    /// The position: all messages up to this one are confirmed or unwanted.
    pub position: Seq,
    /// All messages up to this one may have been sent before.
    pub sent: Seq,
    pub(crate) hold: u64,
}

/// The times, in milliseconds, after which readers and sessions are forgotten if unseen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) reader: i64,
    /// The most for a session.
    pub(crate) session: i64,
}

type Key = (Kind, String);

/// All readers and sessions.
///
/// Requests change them at once. The file follows: what it lacks is either a stale row of a reader,
/// or a key in `removed`, until [`Self::written`].
#[derive(Debug)]
pub(crate) struct Readers {
    matches: Matches,
    memory: Memory,
    all: BTreeMap<Key, Reader>,
    /// Rows to remove from the file.
    removed: BTreeSet<Key>,
    /// The number of the last connection that took up a session.
    holds: u64,
    /// True while a session was granted something that is not on disk yet.
    is_urgent: bool,
}

/// The changes that the file lacks.
pub(crate) struct Unwritten {
    /// Rows to remove, before the others are written.
    pub(crate) removed: Vec<(Kind, String)>,
    pub(crate) stale: Vec<Reader>,
    /// True if a caller waits for them to be on disk.
    pub(crate) is_urgent: bool,
}

impl Unwritten {
    pub(crate) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.stale.is_empty()
    }
}

impl Readers {
    pub(crate) fn new(matches: Matches, memory: Memory) -> Self {
        let (all, removed) = (BTreeMap::new(), BTreeSet::new());
        Self { matches, memory, all, removed, holds: 0, is_urgent: false }
    }

    /// Takes up a session, or begins it at the end of the line. `None` if there is none and none is
    /// wanted.
    pub(crate) fn attach(
        &mut self,
        wish: Wish,
        line: &Line,
        now: Age,
    ) -> Result<Option<Attached>, AttachError> {
        let Wish { name, owner, clean, expiry } = wish;
        let key = (Kind::Session, name);
        if self.all.get(&key).is_some_and(|known| !known.is_open_to(owner.as_deref())) {
            return Err(AttachError::Owner);
        }
        if clean {
            self.remove(Kind::Session, &key.1);
        }
        let expiry = self.expiry(expiry);
        let present = self.all.contains_key(&key);
        if !present {
            if expiry == 0 {
                return Ok(None);
            }
            if self.count(Kind::Session, now) >= MAX_SESSIONS {
                return Err(AttachError::TooMany);
            }
            let new = Reader::new(Kind::Session, &key.1, line.last(), now);
            self.all.insert(key.clone(), new);
        }
        self.holds = self.holds.saturating_add(1);
        let Some(session) = self.all.get_mut(&key) else { return Ok(None) };
        session.attached = Some(self.holds);
        session.expiry = expiry;
        session.seen = now;
        session.owner = owner.or(session.owner.take());
        session.on_disk.change();
        Ok(Some(Attached {
            present,
            expiry: Duration::from_millis(to_u64(expiry)),
            filters: session.filters.iter().map(|f| (f.filter.clone(), f.qos)).collect(),
            position: session.position,
            sent: session.sent,
            hold: self.holds,
        }))
    }

    /// Notes that a connection left its session, unless another connection holds it by now.
    pub(crate) fn detach(&mut self, name: &str, hold: u64, expiry: Option<Duration>, now: Age) {
        let expiry = expiry.map(|expiry| self.expiry(Some(expiry)));
        let Some(session) = self.get_mut(Kind::Session, name) else { return };
        if session.attached != Some(hold) {
            return;
        }
        session.attached = None;
        session.seen = now;
        session.expiry = expiry.unwrap_or(session.expiry);
        session.on_disk.change();
        if session.expiry == 0 {
            self.remove(Kind::Session, name);
        }
    }

    fn expiry(&self, wanted: Option<Duration>) -> i64 {
        wanted.map_or(self.memory.session, millis).min(self.memory.session)
    }

    /// Ends the rest of a session, which its client no longer wants.
    pub(crate) fn end(&mut self, name: &str, user: Option<&str>) {
        if self.get(Kind::Session, name).is_some_and(|session| session.is_open_to(user)) {
            self.remove(Kind::Session, name);
        }
    }

    /// Adds filters for messages after the last one. Returns true if the file has the session.
    pub(crate) fn subscribe(&mut self, name: &str, filters: Vec<(String, u8)>, last: Seq) -> bool {
        let Some(session) = self.get_mut(Kind::Session, name) else { return false };
        for (filter, qos) in filters {
            session.subscribe(filter, qos, last);
        }
        let is_on_disk = session.on_disk.exists();
        self.is_urgent = true;
        is_on_disk
    }

    /// Removes filters. Returns for each whether it was there.
    pub(crate) fn unsubscribe(&mut self, name: &str, filters: &[String]) -> Vec<bool> {
        let Some(session) = self.get_mut(Kind::Session, name) else {
            return vec![false; filters.len()];
        };
        let found = filters.iter().map(|filter| session.unsubscribe(filter)).collect();
        self.is_urgent = true;
        found
    }

    /// Notes that a reader was seen; a new reader begins with the first message of the line.
    pub(crate) fn meet(&mut self, name: &str, line: &Line, now: Age) -> Result<(), ReadError> {
        if let Some(known) = self.get_mut(Kind::Reader, name) {
            known.seen = now;
            return Ok(());
        }
        if self.count(Kind::Reader, now) >= MAX_READERS {
            return Err(ReadError::TooMany);
        }
        let mut reader = Reader::new(Kind::Reader, name, line.behind(0), now);
        reader.expiry = self.memory.reader;
        self.all.insert((Kind::Reader, name.to_owned()), reader);
        Ok(())
    }

    /// Confirms everything up to `through`.
    pub(crate) fn confirm(&mut self, kind: Kind, name: &str, through: Seq) {
        if let Some(reader) = self.get_mut(kind, name) {
            reader.confirm(through);
        }
    }

    /// Notes that a reader was seen.
    pub(crate) fn see(&mut self, name: &str, now: Age) {
        if let Some(reader) = self.get_mut(Kind::Reader, name) {
            reader.seen = now;
        }
    }

    /// Notes that a session may have got all messages up to this one.
    pub(crate) fn sent(&mut self, name: &str, through: Seq) {
        if let Some(session) = self.get_mut(Kind::Session, name) {
            session.sent = session.sent.max(through);
        }
    }

    /// Forgets a reader or a session; false if there is none.
    pub(crate) fn remove(&mut self, kind: Kind, name: &str) -> bool {
        let key = (kind, name.to_owned());
        let found = self.all.remove(&key).is_some();
        if found {
            self.removed.insert(key);
        }
        found
    }

    /// Forgets those whose time since they were seen is over.
    pub(crate) fn forget(&mut self, now: Age) {
        let over = self.all.iter().filter(|(_, reader)| reader.is_over(now));
        let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
        for (kind, name) in over {
            tracing::info!(name, "a reader or session was away for too long, and is removed");
            self.remove(kind, &name);
        }
    }

    /// Notes a stored message: it passes all that do not want it.
    pub(crate) fn pass(&mut self, seq: Seq, topic: &str) {
        for reader in self.all.values_mut() {
            reader.pass(self.matches, seq, topic);
        }
    }

    /// Lets sessions pass messages that their filters do not want. `topics` feeds the numbers and
    /// topics after a message to a function until that returns false, and fails if it cannot read
    /// them. Returns true if there is more to look at than was looked at.
    pub(crate) fn advance<E>(
        &mut self,
        line: &Line,
        mut topics: impl FnMut(Seq, &mut dyn FnMut(Seq, &str) -> bool) -> Result<(), E>,
    ) -> bool {
        let (matches, mut is_behind) = (self.matches, false);
        for session in self.all.values_mut().filter(|reader| reader.is_stuck(line)) {
            let mut looked_at = 0;
            let mut position = session.position;
            let mut blocked = None;
            let looked = topics(session.position, &mut |seq, topic| {
                if session.wants(matches, seq, topic).is_some() {
                    position = seq.saturating_sub(1);
                    blocked = Some(seq);
                    return false;
                }
                position = seq;
                looked_at += 1;
                looked_at < LOOKED_AT
            });
            // Reads meet an unreadable file by themselves.
            if looked.is_ok() {
                is_behind |= looked_at >= LOOKED_AT;
                session.position = session.position.max(position);
                session.blocked = blocked;
            }
        }
        is_behind
    }

    /// Returns the last message that all have: all up to it may leave. `None` if there are no
    /// readers.
    pub(crate) fn floor(&self) -> Option<Seq> {
        self.all.values().map(|reader| reader.position).min()
    }

    /// Returns what the file lacks.
    pub(crate) fn unwritten(&mut self, now: Age) -> Unwritten {
        let stale = self.all.values_mut().filter_map(|it| it.is_due(now).then(|| it.clone()));
        Unwritten {
            stale: stale.collect(),
            removed: self.removed.iter().cloned().collect(),
            is_urgent: self.is_urgent,
        }
    }

    /// Notes that the file lacks nothing.
    pub(crate) fn written(&mut self) {
        self.is_urgent = false;
        self.removed.clear();
        self.all.values_mut().filter(|it| it.on_disk.is_stale()).for_each(Reader::written);
    }

    /// Takes over those of another file; known ones stay as they are. `is_first` is true for the
    /// first file of this run: those that appeared before it get messages stored from now on.
    pub(crate) fn adopt(&mut self, found: Vec<Reader>, is_first: bool, line: &Line, now: Age) {
        let last = line.last();
        for reader in self.all.values_mut() {
            reader.on_disk.lose();
            if is_first {
                reader.seen = now;
                reader.position = last;
                reader.sent = last;
                reader.filters.iter_mut().for_each(|filter| filter.since = last);
            }
        }
        for mut reader in found {
            let key = (reader.kind, reader.name.clone());
            if self.all.contains_key(&key) {
                // Its row is replaced with the next commit.
                continue;
            }
            if reader.on_disk.is_stale() {
                // It was connected when the agent ended.
                reader.seen = now;
            }
            reader.expiry = match reader.kind {
                Kind::Reader => self.memory.reader,
                Kind::Session => reader.expiry.min(self.memory.session),
            };
            reader.on_disk = OnDisk::read(reader.seen, reader.on_disk.is_stale());
            reader.sent = last;
            self.all.insert(key, reader);
        }
    }

    /// Returns the reader or session of this name.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Reader> {
        self.all.get(&(kind, name.to_owned()))
    }

    fn get_mut(&mut self, kind: Kind, name: &str) -> Option<&mut Reader> {
        self.all.get_mut(&(kind, name.to_owned()))
    }

    fn count(&self, kind: Kind, now: Age) -> usize {
        self.all.values().filter(|it| it.kind == kind && !it.is_over(now)).count()
    }

    /// Reports whether a filter takes a topic.
    pub(crate) fn matches(&self) -> Matches {
        self.matches
    }

    /// Returns the figures of all of a kind.
    pub(crate) fn waiting(&self, kind: Kind, line: &Line, now: Age) -> Vec<Waiting> {
        let of_kind = self.all.values().filter(|reader| reader.kind == kind);
        let figures = of_kind.map(|reader| {
            let away = to_u64(now.saturating_sub(reader.seen));
            let behind = line.last().saturating_sub(line.behind(reader.position));
            Waiting {
                name: reader.name.clone(),
                behind: to_u64(behind),
                away: reader.attached.is_none().then(|| Duration::from_millis(away)),
            }
        });
        figures.collect()
    }

    /// Returns the owners of the sessions.
    pub(crate) fn owners(&self) -> HashMap<String, Option<String>> {
        let sessions = self.all.values().filter(|reader| reader.kind == Kind::Session);
        sessions.map(|session| (session.name.clone(), session.owner.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn readers() -> Readers {
        let memory = Memory { reader: 7 * DAY, session: DAY };
        Readers::new(|filter, topic| filter == topic, memory)
    }

    fn wish(name: &str, owner: Option<&str>) -> Wish {
        let (name, owner) = (name.to_owned(), owner.map(str::to_owned));
        Wish { name, owner, clean: false, expiry: None }
    }

    fn attach(readers: &mut Readers, wish: Wish) -> Option<Attached> {
        readers.attach(wish, &Line::empty(5, 0), 0).unwrap()
    }

    #[test]
    fn what_the_file_lacks_is_known_until_it_is_written() {
        let mut readers = readers();
        assert!(readers.unwritten(0).is_empty());
        let hold = attach(&mut readers, wish("s", None)).unwrap().hold;
        assert!(!readers.subscribe("s", vec![("t".to_owned(), 1)], 5), "no file has it");
        let lacks = readers.unwritten(0);
        assert_eq!((lacks.stale.len(), lacks.removed.len(), lacks.is_urgent), (1, 0, true));
        assert!(!readers.unwritten(0).is_empty(), "the commit may have failed");
        readers.written();
        assert!(readers.unwritten(0).is_empty() && !readers.unwritten(0).is_urgent);
        assert!(readers.subscribe("s", Vec::new(), 5));
        readers.written();
        readers.detach("s", hold, Some(Duration::ZERO), 0);
        assert_eq!(readers.unwritten(0).removed, [(Kind::Session, "s".to_owned())]);
        // Begun again before that was written: first removed, then written.
        attach(&mut readers, wish("s", None)).unwrap();
        let lacks = readers.unwritten(0);
        assert_eq!((lacks.stale.len(), lacks.removed.len()), (1, 1));
        assert!(lacks.stale[0].filters.is_empty());
    }

    #[test]
    fn a_session_belongs_to_its_owner_and_to_its_last_connection() {
        let mut readers = readers();
        let first = attach(&mut readers, wish("s", Some("a"))).unwrap();
        let refused = readers.attach(wish("s", Some("b")), &Line::default(), 0);
        assert!(matches!(refused, Err(AttachError::Owner)));
        let second = attach(&mut readers, wish("s", Some("a"))).unwrap();
        assert!(second.present && second.hold != first.hold);
        readers.detach("s", first.hold, Some(Duration::ZERO), 0);
        readers.end("s", Some("b"));
        assert_eq!(readers.owners().get("s"), Some(&Some("a".to_owned())));
        readers.forget(DAY);
        assert_eq!(readers.owners().len(), 1, "it is connected");
        readers.detach("s", second.hold, None, 0);
        readers.forget(DAY - 1);
        assert_eq!(readers.owners().len(), 1);
        readers.forget(DAY);
        assert_eq!(readers.owners().len(), 0);
    }

    #[test]
    fn messages_may_leave_once_all_have_them() {
        let mut readers = readers();
        assert_eq!(readers.floor(), None);
        let line = Line::of(3, 5, 0, 0);
        readers.meet("r", &line, 0).unwrap();
        attach(&mut readers, wish("s", None)).unwrap();
        readers.subscribe("s", vec![("t".to_owned(), 1)], 5);
        assert_eq!(readers.floor(), Some(2), "a reader begins at the front, a session at the end");
        readers.confirm(Kind::Reader, "r", 7);
        readers.pass(6, "u");
        assert_eq!(readers.floor(), Some(6), "the session does not want it");
        readers.pass(7, "t");
        assert_eq!(readers.floor(), Some(6));
        readers.confirm(Kind::Session, "s", 7);
        assert_eq!(readers.floor(), Some(7));
    }

    #[test]
    fn a_session_without_a_wanted_message_advances_in_steps() {
        let mut readers = readers();
        attach(&mut readers, wish("s", None)).unwrap();
        readers.subscribe("s", vec![("t".to_owned(), 1)], 5);
        let line = Line::of(1, 700, 0, 0);
        let topics = |after: Seq, take: &mut dyn FnMut(Seq, &str) -> bool| {
            let topic = |seq| if seq == 600 { "t" } else { "u" };
            let _ = (after + 1..=700).all(|seq| take(seq, topic(seq)));
            Ok::<_, ()>(())
        };
        assert!(readers.advance(&line, topics), "there is more");
        assert_eq!(readers.floor(), Some(5 + 512));
        assert!(!readers.advance(&line, topics));
        assert_eq!(readers.floor(), Some(599));
        let unread = |_: Seq, _: &mut dyn FnMut(Seq, &str) -> bool| -> Result<(), ()> {
            panic!("it is blocked")
        };
        assert!(!readers.advance(&line, unread));
    }
}
