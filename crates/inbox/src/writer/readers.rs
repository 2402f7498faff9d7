//! Readers by name: known from their first read on, with known or unknown cursors.

use super::{
    Age, Cursor, Kind, Message, ReadError, Reader, ReaderPage, Seq, StoreError, Writer, to_u64,
};
use crate::reader::MAX_READERS;

/// The most bytes of payload in a page.
const PAGE_BYTES: usize = 1024 * 1024;

impl Writer {
    /// Notes that a reader was seen; a new reader begins with the first message in the inbox.
    pub(super) fn meet(&mut self, name: &str, now: Age) -> Result<(), ReadError> {
        let key = (Kind::Reader, name.to_owned());
        if let Some(known) = self.readers.get_mut(&key) {
            known.seen = now;
            return Ok(());
        }
        let readers = self.readers.values().filter(|r| r.kind == Kind::Reader && !r.is_over(now));
        if readers.count() >= MAX_READERS {
            return Err(ReadError::TooMany);
        }
        let position = self.line.first.saturating_sub(1);
        let mut reader = Reader::new(Kind::Reader, name, position, now);
        reader.expiry = self.bounds.age;
        self.readers.insert(key, reader);
        Ok(())
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
        let from = after.max(position).max(self.line.first.saturating_sub(1));
        let (mut messages, mut bytes, mut more) = (Vec::new(), 0_usize, false);
        let mut damaged = Vec::new();
        let cursor = self.cursor(0);
        let take = |message: Message, intact: bool| {
            if messages.len() >= limit || bytes >= PAGE_BYTES {
                more = true;
                return false;
            }
            if intact {
                bytes = bytes.saturating_add(message.payload.len());
                messages.push((Cursor { seq: message.seq, ..cursor }, message));
            } else {
                damaged.push(message.seq);
            }
            true
        };
        self.each_message(from, take)?;
        self.note_damaged(damaged);
        Ok(ReaderPage { messages, missed: self.missed(position), more })
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
        let had = position.max(self.line.first.saturating_sub(1));
        if let Some(reader) = self.readers.get_mut(&(Kind::Reader, name.to_owned())) {
            reader.seen = now;
            reader.confirm(through);
        }
        Ok(to_u64(through.saturating_sub(had)))
    }

    fn position(&self, name: &str) -> Result<Seq, ReadError> {
        let reader = self.readers.get(&(Kind::Reader, name.to_owned()));
        reader.map(|reader| reader.position).ok_or(ReadError::UnknownReader)
    }

    /// Returns the message of a cursor, if it is in the inbox, or the reader confirmed it.
    fn known(&self, cursor: &str, position: Seq) -> Result<Seq, ReadError> {
        let cursor: Cursor = cursor.parse().map_err(|_| ReadError::UnknownCursor)?;
        let is_there = cursor.seq >= self.line.first && cursor.seq <= self.line.last;
        let was_had = cursor.seq >= 1 && cursor.seq <= position;
        if self.epoch == Some(cursor.epoch) && (is_there || was_had) {
            Ok(cursor.seq)
        } else {
            Err(ReadError::UnknownCursor)
        }
    }

    fn missed(&self, position: Seq) -> u64 {
        to_u64(self.line.first.saturating_sub(1).saturating_sub(position))
    }

    /// Feeds the messages after `after` to `take`. A file that is damaged there is moved aside.
    pub(super) fn each_message(
        &mut self,
        after: Seq,
        take: impl FnMut(Message, bool) -> bool,
    ) -> Result<(), StoreError> {
        let failing = self.stat.failing.unwrap_or(crate::Failing::Other);
        let Some(ground) = &self.ground else { return Err(StoreError::NotOpen(failing)) };
        let read = ground.store.messages(after, take).map_err(StoreError::from);
        if let Err(error @ StoreError::Corrupt(_)) = &read {
            self.rescue(error, (self.clock)());
        }
        read
    }

    /// Counts messages with wrong checksums; they are passed over.
    pub(super) fn note_damaged(&mut self, found: Vec<Seq>) {
        for seq in found.into_iter().filter(|seq| self.damaged.insert(*seq)) {
            self.stat.dropped.damaged = self.stat.dropped.damaged.saturating_add(1);
            tracing::error!(seq, "a message in the inbox is damaged, and is not delivered");
        }
    }
}
