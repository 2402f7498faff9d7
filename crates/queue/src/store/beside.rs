//! Statements about the tables beside the messages: reasons for setting aside, outcomes of messages
//! that left, known keys, and the time.

use rusqlite::{OptionalExtension, params};

use super::{Store, mark};
use crate::{
    clock::{Clock, Mark},
    layout::Layout,
    message::{Key, MessageId},
    order::Seq,
    record::{self, Departed, KnownKey},
    row::{Located, message_id, to_u64},
    trace::State,
};

impl Store {
    /// Notes the reason for setting aside the message at `seq`, and its lane.
    pub(crate) fn put_aside(
        &self,
        seq: Seq,
        lane: &str,
        reason: &str,
        words: &str,
        now: i64,
    ) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "insert or replace into aside (seq, lane, reason, words, at) values (?, ?, ?, ?, ?)",
            )?
            .execute(params![seq, lane, reason, words, now])
            .map(drop)
    }

    /// Forgets the reason for setting aside the message at `seq`; returns its lane.
    pub(crate) fn take_aside(&self, seq: Seq) -> rusqlite::Result<Option<String>> {
        self.conn
            .prepare_cached("delete from aside where seq = ? returning lane")?
            .query_row([seq], |row| row.get(0))
            .optional()
    }

    /// Returns the reason for which the message at `seq` is set aside, and the time since then.
    pub(crate) fn aside(&self, seq: Seq) -> rusqlite::Result<Option<(String, String, i64)>> {
        self.conn
            .prepare_cached("select reason, words, at from aside where seq = ?")?
            .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()
    }

    /// Returns the kept mark of the queue's time.
    pub(crate) fn mark(&self) -> Option<Mark> {
        mark(&self.conn)
    }

    /// Keeps the queue's time. An earlier format has no table for it.
    pub(crate) fn keep_time(&self, clock: &Clock) -> rusqlite::Result<()> {
        if self.layout == Layout::Released {
            return Ok(());
        }
        let Mark { boot, uptime, time } = clock.mark();
        self.conn
            .execute(
                "insert or replace into clock (n, boot, uptime, time) values (1, ?, ?, ?)",
                params![boot, uptime, time],
            )
            .map(drop)
    }

    /// Returns the message of this idempotency key.
    pub(crate) fn recall(&mut self, key: &str) -> rusqlite::Result<Option<KnownKey>> {
        let found = self.records.recall(&self.conn, key)?;
        if found.is_some() || self.layout == Layout::Current {
            return Ok(found);
        }
        let id = self
            .conn
            .prepare_cached("select id from seen where key = ?")?
            .query_row([key], |row| message_id(row, 0))
            .optional()?;
        Ok(id.map(KnownKey::of_earlier_format))
    }

    /// Remembers the key of a message whose first copy is `at`.
    pub(crate) fn remember(
        &mut self,
        key: &Key,
        at: &Located,
        copies: usize,
        now: i64,
    ) -> rusqlite::Result<()> {
        self.records.remember(&self.conn, key, at, copies, now)
    }

    /// Records the outcome of a message that leaves.
    pub(crate) fn ended(&mut self, at: &Located, state: &State, now: i64) -> rusqlite::Result<()> {
        self.records.ended(&self.conn, at, state, now)
    }

    /// Recounts the records, after a salvage. Within a transaction.
    pub(crate) fn count_records(&mut self) -> rusqlite::Result<()> {
        let all = "select count(*) from record";
        let count = self.conn.query_row(all, [], |row| row.get(0)).map(to_u64)?;
        self.records.set_count(count);
        Ok(())
    }

    /// Returns the outcome of the message of this id, if it left lately.
    pub(crate) fn record(&self, id: MessageId) -> rusqlite::Result<Option<Departed>> {
        let seq = match self.layout {
            Layout::Current => Some(self.seq_of(id)?),
            Layout::Released => record::seq_of(&self.conn, id)?,
        };
        let found = seq.map_or(Ok(None), |seq| record::find(&self.conn, seq))?;
        Ok(found.filter(|departed| departed.id == id))
    }

    /// Writes and commits existing data, with the space that a message would need.
    pub(crate) fn try_writing(&mut self, clock: &Clock) -> rusqlite::Result<()> {
        self.sync_commits(true)?;
        self.begin()?;
        self.keep_time(clock)?;
        self.ensure_space(true)?;
        self.commit()
    }
}
