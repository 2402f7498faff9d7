//! Sessions: taken up by a connection, given filters, left again.

use std::time::Duration;

use super::{
    Age, AttachError, Attached, Kind, Message, Page, Reader, Seq, StoreError, Wish, Writer, millis,
    to_u64,
};
use crate::reader::MAX_SESSIONS;

/// The most bytes of payload in a page.
pub(super) const PAGE_BYTES: usize = 256 * 1024;

/// The most messages that are looked at for a page.
const PAGE_LOOKS: usize = 1024;

/// Reports whether `user` may have a session of `owner`. A session without an owner is open to all
/// users.
pub(crate) fn may_have(owner: Option<&str>, user: Option<&str>) -> bool {
    owner.is_none() || user.is_none() || owner == user
}

impl Writer {
    /// Takes up a session, or begins it. `None` if there is none and none is wanted.
    pub(super) fn attach(&mut self, wish: Wish, now: Age) -> Result<Option<Attached>, AttachError> {
        let Wish { name, owner, clean, expiry } = wish;
        let key = (Kind::Session, name.clone());
        if let Some(known) = self.readers.get(&key)
            && !may_have(known.owner.as_deref(), owner.as_deref())
        {
            return Err(AttachError::Owner);
        }
        if clean {
            self.remove(Kind::Session, &name);
        }
        let expiry = expiry.map_or(self.bounds.session, millis).min(self.bounds.session);
        let present = self.readers.contains_key(&key);
        if !present {
            if expiry == 0 {
                return Ok(None);
            }
            let sessions =
                self.readers.values().filter(|r| r.kind == Kind::Session && !r.is_over(now));
            if sessions.count() >= MAX_SESSIONS {
                return Err(AttachError::TooMany);
            }
            let made = Reader::new(Kind::Session, &name, self.line.last, now);
            self.readers.insert(key.clone(), made);
        }
        self.holds = self.holds.saturating_add(1);
        let Some(session) = self.readers.get_mut(&key) else { return Ok(None) };
        session.attached = Some(self.holds);
        session.expiry = expiry;
        session.seen = now;
        session.owner = owner.or(session.owner.take());
        session.dirty = true;
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
    pub(super) fn detach(&mut self, name: &str, hold: u64, expiry: Option<Duration>, now: Age) {
        let key = (Kind::Session, name.to_owned());
        let Some(session) = self.readers.get_mut(&key) else { return };
        if session.attached != Some(hold) {
            return;
        }
        session.attached = None;
        session.seen = now;
        session.dirty = true;
        if let Some(expiry) = expiry {
            session.expiry = millis(expiry).min(self.bounds.session);
        }
        if session.expiry == 0 {
            self.remove(Kind::Session, name);
        }
    }

    /// Ends the rest of a session, which its client no longer wants.
    pub(super) fn end(&mut self, name: &str, user: Option<&str>) {
        let known = self.readers.get(&(Kind::Session, name.to_owned()));
        if known.is_some_and(|session| may_have(session.owner.as_deref(), user)) {
            self.remove(Kind::Session, name);
        }
    }

    /// Adds filters. Returns true if the file has the session.
    pub(super) fn subscribe(&mut self, name: &str, filters: Vec<(String, u8)>) -> bool {
        let last = self.line.last;
        let Some(session) = self.readers.get_mut(&(Kind::Session, name.to_owned())) else {
            return false;
        };
        for (filter, qos) in filters {
            session.subscribe(filter, qos, last);
        }
        self.is_urgent = true;
        session.on_disk
    }

    /// Removes filters. Returns for each whether it was there.
    pub(super) fn unsubscribe(&mut self, name: &str, filters: &[String]) -> Vec<bool> {
        let session = self.readers.get_mut(&(Kind::Session, name.to_owned()));
        let Some(session) = session else { return vec![false; filters.len()] };
        self.is_urgent = true;
        filters.iter().map(|filter| session.unsubscribe(filter)).collect()
    }

    /// Returns the next messages for a session.
    pub(super) fn next(
        &mut self,
        name: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let key = (Kind::Session, name.to_owned());
        // A copy: a file that is found damaged meanwhile is replaced, with all that is known of the
        // readers.
        let Some(session) = self.readers.get(&key).cloned() else {
            // Another client ended it: there is nothing left for this connection.
            return Ok(Page { messages: Vec::new(), through: self.line.last });
        };
        let matches = self.matches;
        let (mut messages, mut bytes, mut looks) = (Vec::new(), 0_usize, 0);
        let mut through = after;
        let mut damaged = Vec::new();
        let mut ended = true;
        let take = |message: Message, intact: bool| {
            if messages.len() >= limit || bytes >= PAGE_BYTES || looks >= PAGE_LOOKS {
                ended = false;
                return false;
            }
            looks += 1;
            through = message.seq;
            if !intact {
                damaged.push(message.seq);
            } else if let Some(qos) = session.wants(matches, message.seq, &message.topic) {
                bytes = bytes.saturating_add(message.payload.len());
                let qos = qos.min(message.qos);
                messages.push(Message { qos, ..message });
            }
            true
        };
        self.each_message(after, take)?;
        if ended {
            through = through.max(self.line.last);
        }
        self.note_damaged(damaged);
        if let Some(session) = self.readers.get_mut(&key) {
            session.sent = session.sent.max(through);
        }
        Ok(Page { messages, through })
    }
}
