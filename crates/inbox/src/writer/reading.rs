//! Reading: pages of messages for sessions and readers.

use super::Writer;
use crate::{
    age::Age,
    cursor::Cursor,
    error::{ReadError, StoreError},
    message::{Message, Seq},
    number::to_u64,
    reader::Kind,
};

/// The most bytes of payload in a session's page.
const SESSION_BYTES: usize = 256 * 1024;

/// The most messages that are looked at for a session's page.
const PAGE_LOOKS: usize = 1024;

/// The most bytes of payload in a reader's page.
const READER_BYTES: usize = 1024 * 1024;

/// Messages for a session.
#[derive(Debug)]
pub struct Page {
    /// Messages that its filters take, in order.
    pub messages: Vec<Message>,
    /// All messages up to this one were looked at.
    pub through: Seq,
}

/// Messages for a reader.
#[derive(Debug, PartialEq, Eq)]
pub struct ReaderPage {
    /// In order, each with the cursor that names it.
    pub messages: Vec<(Cursor, Message)>,
    /// The number of messages that a bound removed since the reader's last confirmed message.
    pub missed: u64,
    /// True if there are more.
    pub more: bool,
}

impl Writer {
    /// Returns the next messages for a session.
    pub(super) fn next(
        &mut self,
        name: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Page, StoreError> {
        // A copy: a file that is found damaged meanwhile is replaced, with all that is known of the
        // readers.
        let Some(session) = self.readers.get(Kind::Session, name).cloned() else {
            // Another client ended it: there is nothing left for this connection.
            return Ok(Page { messages: Vec::new(), through: self.line.last() });
        };
        let matches = self.readers.matches();
        let (mut messages, mut bytes, mut looks) = (Vec::new(), 0_usize, 0);
        let mut through = after;
        let mut damaged = Vec::new();
        let mut ended = true;
        let take = |message: Message, intact: bool| {
            if messages.len() >= limit || bytes >= SESSION_BYTES || looks >= PAGE_LOOKS {
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
            through = through.max(self.line.last());
        }
        self.figures.damaged(damaged);
        self.readers.sent(name, through);
        Ok(Page { messages, through })
    }

    /// Returns the next messages after a cursor, or after the last confirmed message.
    pub(super) fn read(
        &mut self,
        name: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ReaderPage, ReadError> {
        let position = self.position(name)?;
        let after = after.map_or(Ok(position), |cursor| self.known(cursor, position))?;
        let from = self.line.behind(after.max(position));
        let (mut messages, mut bytes, mut more) = (Vec::new(), 0_usize, false);
        let mut damaged = Vec::new();
        let epoch = self.epoch.unwrap_or_default();
        let take = |message: Message, intact: bool| {
            if messages.len() >= limit || bytes >= READER_BYTES {
                more = true;
                return false;
            }
            if intact {
                bytes = bytes.saturating_add(message.payload.len());
                messages.push((Cursor { epoch, seq: message.seq }, message));
            } else {
                damaged.push(message.seq);
            }
            true
        };
        self.each_message(from, take)?;
        self.figures.damaged(damaged);
        Ok(ReaderPage { messages, missed: self.line.missed(position), more })
    }

    /// Confirms everything up to and including this message. Returns the number of those messages.
    pub(super) fn confirm_read(
        &mut self,
        name: &str,
        through: &str,
        now: Age,
    ) -> Result<u64, ReadError> {
        let position = self.position(name)?;
        let through = self.known(through, position)?;
        let had = self.line.behind(position);
        self.readers.see(name, now);
        self.readers.confirm(Kind::Reader, name, through);
        Ok(to_u64(through.saturating_sub(had)))
    }

    fn position(&self, name: &str) -> Result<Seq, ReadError> {
        let reader = self.readers.get(Kind::Reader, name);
        reader.map(|reader| reader.position).ok_or(ReadError::UnknownReader)
    }

    /// Returns the message of a cursor, if it is in the inbox, or the reader confirmed it.
    fn known(&self, cursor: &str, position: Seq) -> Result<Seq, ReadError> {
        let cursor: Cursor = cursor.parse().map_err(|_| ReadError::UnknownCursor)?;
        let was_had = cursor.seq >= 1 && cursor.seq <= position;
        if self.epoch == Some(cursor.epoch) && (self.line.holds(cursor.seq) || was_had) {
            Ok(cursor.seq)
        } else {
            Err(ReadError::UnknownCursor)
        }
    }

    /// Feeds the messages after `after` to `take`. A file that is damaged there is moved aside.
    fn each_message(
        &mut self,
        after: Seq,
        take: impl FnMut(Message, bool) -> bool,
    ) -> Result<(), StoreError> {
        let read = self.files.store()?.messages(after, take).map_err(StoreError::from);
        if let Err(error @ StoreError::Corrupt(_)) = &read {
            self.rescue(error, (self.clock)());
        }
        read
    }
}
