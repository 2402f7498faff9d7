//! The writer's SQL statements, a function each, without decisions.

use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, config::DbConfig, params};

use crate::{
    age::{Age, Saved},
    error::OpenError,
    line::Line,
    message::{Message, NewMessage, Seq},
    number::{to_i64, to_u64},
    reader::{Filter, Kind, OnDisk, Reader},
    schema,
};

/// The number of consecutive messages with unreadable size or age that means a damaged file: the
/// bounds could not be kept.
const MISREAD: u64 = 64;

/// The open file. Used by a single thread.
#[derive(Debug)]
pub(crate) struct Store {
    conn: Connection,
    syncs: bool,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

/// The contents of a file when it was opened.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `None` for a file that was just made, like the state.
    pub(crate) line: Option<Line>,
    pub(crate) state: Option<(u32, Saved)>,
    pub(crate) readers: Vec<Reader>,
}

impl Store {
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let conn = schema::open(&dir.join(schema::FILE))?;
        Ok(Self {
            conn,
            // SQLite's own default.
            syncs: true,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        })
    }

    /// Sets whether commits are synced from now on. Not within a transaction.
    pub(crate) fn sync_commits(&mut self, sync: bool) -> rusqlite::Result<()> {
        if self.syncs != sync {
            let level = if sync { "full" } else { "normal" };
            self.conn.execute_batch(&format!("pragma synchronous = {level}"))?;
            self.syncs = sync;
        }
        Ok(())
    }

    pub(crate) fn begin(&self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("begin immediate")?.execute([]).map(drop)
    }

    pub(crate) fn commit(&self) -> rusqlite::Result<()> {
        #[cfg(test)]
        crate::tests::fail_if_told(&self.faults)?;
        self.conn.prepare_cached("commit")?.execute([]).map(drop)
    }

    /// Undoes all since `begin`. Some failures have undone it already.
    pub(crate) fn rollback(&self) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("rollback")
        {
            tracing::warn!(error = %error, "could not roll back a transaction of the inbox");
        }
    }

    /// Reads the data that every start needs.
    pub(crate) fn load(&self, now: Age) -> rusqlite::Result<Loaded> {
        let state = self
            .conn
            .query_row("select epoch, last_seq, last_total, age, wall from state", [], |row| {
                let saved = Saved { age: row.get(3)?, wall: row.get(4)? };
                Ok(((row.get::<_, u32>(0)?, saved), row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let mut line = Line::default();
        if let Some((_, last, total)) = state {
            line = Line::empty(last, total);
        }
        if let Some((first, last)) = self.ends()? {
            let total = self.last_total()?.unwrap_or(line.total());
            let before = self.total_before(first)?.unwrap_or(total);
            line = Line::of(first, last, before, total);
        }
        let readers = self.load_readers(now)?;
        let line = state.is_some().then_some(line);
        Ok(Loaded { line, state: state.map(|(state, ..)| state), readers })
    }

    /// Returns the numbers of the first and the last message.
    ///
    /// The two come from the ends of the tree. If a flipped bit made the first number larger than the
    /// last, a search in the tree finds nothing, and messages that are put later are not read either.
    fn ends(&self) -> rusqlite::Result<Option<(Seq, Seq)>> {
        let sql = "select (select min(seq) from message), (select max(seq) from message)";
        let ends = self.conn.query_row(sql, [], |row| {
            let (first, last): (Option<Seq>, Option<Seq>) = (row.get(0)?, row.get(1)?);
            Ok(first.zip(last))
        })?;
        match ends {
            Some((first, last)) if first > last => Err(corrupt("messages are out of order")),
            ends => Ok(ends),
        }
    }

    /// Returns the size of all messages up to the last one whose total is readable.
    fn last_total(&self) -> rusqlite::Result<Option<i64>> {
        let sql = "select total from message where typeof(total) = 'integer'
                   order by seq desc limit 1";
        self.conn.query_row(sql, [], |row| row.get(0)).optional()
    }

    fn load_readers(&self, now: Age) -> rusqlite::Result<Vec<Reader>> {
        let mut readers = self
            .conn
            .prepare("select kind, name, owner, position, expiry, seen, attached from reader")?;
        let rows = readers.query_map([], |row| {
            let kind = if row.get::<_, i64>(0)? == 0 { Kind::Reader } else { Kind::Session };
            let name: String = row.get(1)?;
            let seen = if row.get(6)? { now } else { row.get(5)? };
            let mut reader = Reader::new(kind, &name, row.get(3)?, seen);
            reader.owner = row.get(2)?;
            reader.expiry = row.get(4)?;
            // It was connected when the agent ended.
            reader.on_disk = OnDisk::read(seen, row.get(6)?);
            Ok(reader)
        })?;
        let mut all = Vec::new();
        for reader in rows {
            let mut reader = reader?;
            if reader.kind == Kind::Session {
                reader.filters = self.load_filters(&reader.name)?;
            }
            all.push(reader);
        }
        Ok(all)
    }

    fn load_filters(&self, name: &str) -> rusqlite::Result<Vec<Filter>> {
        self.conn
            .prepare_cached("select filter, qos, since from filter where name = ?")?
            .query_map([name], |row| {
                Ok(Filter { filter: row.get(0)?, qos: row.get(1)?, since: row.get(2)? })
            })?
            .collect()
    }

    pub(crate) fn save_state(&self, epoch: u32, line: &Line, saved: Saved) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "insert or replace into state (id, epoch, last_seq, last_total, age, wall)
                 values (1, ?, ?, ?, ?, ?)",
            )?
            .execute(params![epoch, line.last(), line.total(), saved.age, saved.wall])
            .map(drop)
    }

    /// Writes the last message of the line.
    pub(crate) fn insert(
        &self,
        line: &Line,
        message: &NewMessage,
        aged: Age,
        wall: i64,
    ) -> rusqlite::Result<()> {
        let seq = line.last();
        self.conn
            .prepare_cached(
                "insert into message (seq, total, size, at, aged, qos, crc, source, topic, payload)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                seq,
                line.total(),
                to_i64(message.size()),
                wall,
                aged,
                message.qos,
                crc(seq, wall, message.qos, &message.source, &message.topic, &message.payload),
                message.source,
                message.topic,
                &message.payload[..],
            ])
            .map(drop)
    }

    /// Removes all messages up to `through`.
    pub(crate) fn remove_through(&self, through: Seq) -> rusqlite::Result<()> {
        self.conn.prepare_cached("delete from message where seq <= ?")?.execute([through]).map(drop)
    }

    /// Returns the size of all messages before `seq`, by the next readable total; `None` if there
    /// is none.
    pub(crate) fn total_before(&self, seq: Seq) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached(
                "select total - size from message
                 where seq >= ? and typeof(total) = 'integer' and typeof(size) = 'integer'
                 order by seq limit 1",
            )?
            .query_row([seq], |row| row.get(0))
            .optional()
    }

    /// Returns the first of the next `most` messages from `from` that may stay: each message before
    /// it begins within the first `bytes` of all that were ever put, or was stored at `aged` or
    /// earlier. A message with unreadable columns leaves with the messages after it.
    pub(crate) fn first_that_stays(
        &self,
        from: Seq,
        bytes: i64,
        aged: Age,
        most: u32,
    ) -> rusqlite::Result<Stays> {
        let mut statement = self.conn.prepare_cached(
            "select seq, total, size, aged from message where seq >= ? order by seq limit ?",
        )?;
        let mut rows = statement.query(params![from, most])?;
        let mut stays = Stays { seq: from, full: 0, old: 0 };
        let mut misread = 0;
        while let Some(row) = rows.next()? {
            let seq: Seq = row.get(0)?;
            let Ok((before, stored)) = begins(row) else {
                misread += 1;
                continue;
            };
            if before < bytes {
                stays.full += 1 + misread;
            } else if stored <= aged {
                stays.old += 1 + misread;
            } else {
                return Ok(stays);
            }
            (misread, stays.seq) = (0, seq.saturating_add(1));
        }
        if misread >= MISREAD {
            return Err(corrupt("no message tells its size and age"));
        }
        Ok(stays)
    }

    /// Feeds the numbers and topics after `after` to `take` until it returns false.
    pub(crate) fn topics(
        &self,
        after: Seq,
        mut take: impl FnMut(Seq, &str) -> bool,
    ) -> rusqlite::Result<()> {
        let mut statement = self
            .conn
            .prepare_cached("select seq, topic from message where seq > ? order by seq")?;
        let mut rows = statement.query([after])?;
        while let Some(row) = rows.next()? {
            if !take(row.get(0)?, row.get_ref(1)?.as_str()?) {
                break;
            }
        }
        Ok(())
    }

    /// Feeds the messages after `after` to `take` until it returns false; the flag is true if the
    /// message is whole.
    pub(crate) fn messages(
        &self,
        after: Seq,
        mut take: impl FnMut(Message, bool) -> bool,
    ) -> rusqlite::Result<()> {
        let mut statement = self.conn.prepare_cached(
            "select seq, at, qos, crc, source, topic, payload from message
             where seq > ? order by seq",
        )?;
        let mut rows = statement.query([after])?;
        let mut last = after;
        while let Some(row) = rows.next()? {
            let (message, intact) = message(row)?;
            // A page of another place: a caller that continues after it would read the same
            // messages again and again.
            if message.seq <= last {
                return Err(corrupt("messages are out of order"));
            }
            last = message.seq;
            if !take(message, intact) {
                break;
            }
        }
        Ok(())
    }

    /// Writes the position of a reader.
    pub(crate) fn save_reader(&self, reader: &Reader) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "insert or replace into reader (kind, name, owner, position, expiry, seen, attached)
                 values (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                reader.kind.number(),
                reader.name,
                reader.owner,
                reader.position,
                reader.expiry,
                reader.seen,
                reader.attached.is_some(),
            ])?;
        if reader.kind == Kind::Session {
            self.save_filters(reader)?;
        }
        Ok(())
    }

    fn save_filters(&self, reader: &Reader) -> rusqlite::Result<()> {
        let known = self.load_filters(&reader.name)?;
        for gone in known.iter().filter(|known| !reader.filters.contains(known)) {
            self.conn
                .prepare_cached("delete from filter where name = ? and filter = ?")?
                .execute([&reader.name, &gone.filter])?;
        }
        let mut insert = self
            .conn
            .prepare_cached("insert into filter (name, filter, qos, since) values (?, ?, ?, ?)")?;
        for wanted in reader.filters.iter().filter(|wanted| !known.contains(wanted)) {
            insert.execute(params![reader.name, wanted.filter, wanted.qos, wanted.since])?;
        }
        Ok(())
    }

    /// Forgets a reader.
    pub(crate) fn remove_reader(&self, kind: Kind, name: &str) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("delete from reader where kind = ? and name = ?")?
            .execute(params![kind.number(), name])?;
        if kind == Kind::Session {
            self.conn.prepare_cached("delete from filter where name = ?")?.execute([name])?;
        }
        Ok(())
    }

    /// Closes the file and leaves its log as it is: another file's log may have that name by now.
    pub(crate) fn abandon(self) {
        let kept = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        if let Err(error) = kept {
            tracing::debug!(error = %error, "could not keep the log of a removed file");
        }
    }

    /// Moves the log into the file and closes it.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.conn.flush_prepared_statement_cache();
        // The returned row has nothing that a close could act on.
        self.conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        self.conn.close().map_err(|(_, error)| error)
    }
}

/// Makes an error of damage that SQLite finds only when it checks the whole file.
fn corrupt(words: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(words.to_owned()))
}

/// Reads the size of all messages before this message, and the age at which it was stored.
fn begins(row: &Row<'_>) -> rusqlite::Result<(i64, Age)> {
    let (total, size): (i64, i64) = (row.get(1)?, row.get(2)?);
    Ok((total.saturating_sub(size), row.get(3)?))
}

/// The result of [`Store::first_that_stays`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stays {
    pub(crate) seq: Seq,
    /// Messages before it that exceed the room.
    pub(crate) full: u64,
    /// Messages before it that are too old.
    pub(crate) old: u64,
}

/// Reads a message, and whether it is whole. A message with unreadable columns is not, and later
/// messages are still read.
fn message(row: &Row<'_>) -> rusqlite::Result<(Message, bool)> {
    let seq: Seq = row.get(0)?;
    Ok(content(row, seq).unwrap_or_else(|_| {
        let (source, topic, payload) = (String::new(), String::new(), Bytes::new());
        (Message { seq, at: UNIX_EPOCH, source, topic, qos: 0, payload }, false)
    }))
}

fn content(row: &Row<'_>, seq: Seq) -> rusqlite::Result<(Message, bool)> {
    let (wall, qos, sum): (i64, u8, u32) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let (source, topic): (String, String) = (row.get(4)?, row.get(5)?);
    let payload = row.get_ref(6)?.as_blob()?;
    let intact = sum == crc(seq, wall, qos, &source, &topic, payload);
    let at = UNIX_EPOCH + Duration::from_millis(to_u64(wall));
    let payload = Bytes::copy_from_slice(payload);
    Ok((Message { seq, at, source, topic, qos, payload }, intact))
}

fn crc(seq: Seq, wall: i64, qos: u8, source: &str, topic: &str, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(&wall.to_le_bytes());
    hasher.update(&[qos]);
    // The lengths mark the end of each text.
    for part in [source.as_bytes(), topic.as_bytes(), payload] {
        hasher.update(&to_i64(u64::try_from(part.len()).unwrap_or(u64::MAX)).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}
