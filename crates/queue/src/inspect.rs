//! A look at a queue from outside, also while an agent has it open: nothing is changed or leased.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    error::{OpenError, StoreError},
    message::{ASIDE, MessageId},
    schema,
    stat::{LaneStat, Stat},
    store, writer,
};

/// A queue's file opened for reading. Blocks on the disk: not for an async task.
#[derive(Debug)]
pub struct Inspector {
    conn: Connection,
    path: PathBuf,
}

/// A stored message as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order of the queue; what [`Inspector::messages`] goes on from.
    pub seq: i64,
    /// Its id.
    pub id: MessageId,
    /// The lane it waits in, or came from if it is aside.
    pub lane: String,
    /// Its priority.
    pub priority: u8,
    /// Where it goes.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// As it was handed in.
    pub qos: u8,
    /// As it was handed in.
    pub retain: bool,
    /// The wall clock's time of its append.
    pub appended_at: SystemTime,
    /// When it expires.
    pub expires_at: Option<SystemTime>,
    /// Why it is set aside, if it is.
    pub aside: Option<Aside>,
    /// Its bytes are those that were stored, as far as its checksum tells.
    pub intact: bool,
}

/// Why and since when a message is aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// A word, such as `poison`.
    pub reason: String,
    /// More words.
    pub words: String,
    /// The wall clock's time.
    pub since: SystemTime,
}

/// Which messages are meant: all conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// This one.
    pub id: Option<MessageId>,
    /// Those of this lane; one that is aside counts to the lane it came from.
    pub lane: Option<String>,
    /// Those that are aside, or those that are not.
    pub aside: Option<bool>,
    /// Those that are aside for this reason.
    pub reason: Option<String>,
    /// Those that were appended by then, by the wall clock of their append.
    pub appended_before: Option<SystemTime>,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub records: Vec<Record>,
    /// After which place to go on; `None` at the end.
    pub next: Option<i64>,
}

/// The most rows that one page looks at.
pub const SCAN: i64 = 4096;

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let stored = store::stored(row)?;
    let reason: Option<String> = row.get(13)?;
    let aside = match reason {
        None => None,
        Some(reason) => {
            Some(Aside { reason, words: row.get(14)?, since: writer::time(row.get(15)?) })
        }
    };
    Ok(Record {
        seq: stored.at.seq,
        id: stored.at.id,
        lane: row.get(11)?,
        priority: row.get(12)?,
        topic: stored.topic,
        payload: stored.payload,
        qos: stored.at.qos,
        retain: stored.retain,
        appended_at: writer::time(stored.appended_at),
        expires_at: stored.at.expires_at.map(writer::time),
        aside,
        intact: stored.intact,
    })
}

impl Inspector {
    /// Opens the queue in `dir`, which must exist. Needs no lock; the reader must be allowed to
    /// write the directory all the same, for SQLite keeps its shared index of the log there.
    ///
    /// # Errors
    /// [`OpenError::NewerFormat`], [`OpenError::Foreign`] or [`OpenError::Store`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(schema::FILE);
        Ok(Self { conn: schema::open_for_reading(&path)?, path })
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Up to `limit` messages after place `after` (0: from the first), in the order of append.
    /// Each call is a short read of its own, so that a long listing does not hold the log back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn messages(&self, after: i64, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.select(after, i64::MAX, limit, &Filter::default())
    }

    /// A page of a listing: up to `limit` messages after place `after` that `filter` lets through, in
    /// the order of append. At most [`SCAN`] rows are looked at, so that a page may hold fewer than
    /// there are; `next` then says where to go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn page(&self, after: i64, limit: u32, filter: &Filter) -> Result<Page, StoreError> {
        // What is aside is few, and found by a table of its own.
        let from = if filter.aside == Some(true) { "aside" } else { "message" };
        let end: Option<i64> = self
            .conn
            .prepare_cached(&format!(
                "select seq from {from} where seq > ? order by seq limit 1 offset ?"
            ))?
            .query_row(params![after, SCAN - 1], |row| row.get(0))
            .optional()?;
        let records = self.select(after, end.unwrap_or(i64::MAX), limit, filter)?;
        let full = u32::try_from(records.len()).is_ok_and(|found| found >= limit);
        let next = if full { records.last().map(|record| record.seq) } else { end };
        Ok(Page { records, next })
    }

    fn select(
        &self,
        after: i64,
        end: i64,
        limit: u32,
        filter: &Filter,
    ) -> Result<Vec<Record>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "select message.seq, bucket, size, expires_at, message.id, qos, topic, payload, retain,
                appended_at, crc, coalesce(aside.lane, bucket.lane), priority,
                aside.reason, aside.words, aside.at
             from message join bucket on bucket.id = message.bucket
                left join aside on aside.seq = message.seq
             where message.seq > ?1 and message.seq <= ?2
                and (?3 is null or message.id = ?3)
                and (?4 is null or coalesce(aside.lane, bucket.lane) = ?4)
                and (?5 is null or (aside.seq is not null) = ?5)
                and (?6 is null or aside.reason = ?6)
                and (?7 is null or appended_at <= ?7)
             order by message.seq limit ?8",
        )?;
        let id = filter.id.as_ref().map(|id| id.as_bytes().as_slice());
        let before = filter.appended_before.map(writer::millis);
        let rows = statement.query_map(
            params![after, end, id, filter.lane, filter.aside, filter.reason, before, limit],
            record,
        )?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The message of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: MessageId) -> Result<Option<Record>, StoreError> {
        let seq = self
            .conn
            .prepare_cached("select seq from message where id = ?")?
            .query_row([id.as_bytes()], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(seq) = seq else { return Ok(None) };
        let filter = Filter { id: Some(id), ..Filter::default() };
        Ok(self.select(seq.saturating_sub(1), seq, 1, &filter)?.pop())
    }

    /// What is held, as the file says it; what only a running agent knows is zero.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stat(&self) -> Result<Stat, StoreError> {
        let mut stat = Stat::default();
        let mut statement = self.conn.prepare(
            "select lane, sum(messages), sum(bytes) from bucket where messages > 0 group by lane",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let lane: String = row.get(0)?;
            let messages = store::to_u64(row.get(1)?);
            let held = LaneStat { messages, bytes: store::to_u64(row.get(2)?) };
            stat.messages = stat.messages.saturating_add(held.messages);
            stat.bytes = stat.bytes.saturating_add(held.bytes);
            if lane == ASIDE {
                stat.aside = held;
            } else {
                stat.lanes.insert(lane.into(), held);
            }
        }
        let oldest = self
            .conn
            .query_row(
                "select appended_at from message
                 where not exists (select 1 from aside where aside.seq = message.seq)
                 order by seq limit 1",
                [],
                |row| row.get(0),
            )
            .optional()?;
        stat.oldest = oldest.map(writer::time);
        Ok(stat)
    }

    /// Stops a check that runs on another thread.
    pub(crate) fn interrupt_handle(&self) -> rusqlite::InterruptHandle {
        self.conn.get_interrupt_handle()
    }

    /// SQLite's check of all pages, without that of the indices against the table; else as
    /// [`Self::check`].
    pub(crate) fn quick_check(&self) -> Result<Vec<String>, StoreError> {
        let mut found: Vec<String> = self
            .conn
            .prepare("pragma quick_check(10)")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        found.retain(|line| line != "ok");
        Ok(found)
    }

    /// Looks for damage: SQLite's check of all pages and indices, and whether the totals are those
    /// of the messages. Answers what is wrong, at most some hundred lines; nothing if all is well.
    /// Reads the whole file, and lets a running agent's log grow meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] where the damage is such that the check itself fails.
    pub fn check(&self) -> Result<Vec<String>, StoreError> {
        let mut found: Vec<String> = self
            .conn
            .prepare("pragma integrity_check")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        found.retain(|line| line != "ok");
        let mut statement = self.conn.prepare(
            "select coalesce(lane, '?'), coalesce(priority, -1), coalesce(messages, 0), count(seq)
             from message left join bucket on bucket.id = message.bucket
             group by message.bucket
             having messages is not count(seq) or bytes is not sum(size)
             union all
             select lane, priority, messages, 0 from bucket
             where messages <> 0 and id not in (select bucket from message)
             limit 100",
        )?;
        let wrong = statement.query_map([], |row| {
            let (lane, priority): (String, i64) = (row.get(0)?, row.get(1)?);
            let (kept, counted): (i64, i64) = (row.get(2)?, row.get(3)?);
            Ok(format!(
                "lane {lane:?}, priority {priority}: totals say {kept} messages, there are {counted}"
            ))
        })?;
        for line in wrong {
            found.push(line?);
        }
        self.check_sums(&mut found)?;
        Ok(found)
    }

    /// Each message against its checksum.
    fn check_sums(&self, found: &mut Vec<String>) -> Result<(), StoreError> {
        let sql = format!("select {} from message order by seq", store::STORED);
        let mut statement = self.conn.prepare(&sql)?;
        let torn = statement.query_map([], store::stored)?.filter_map(|stored| match stored {
            Ok(stored) if stored.intact => None,
            Ok(stored) => Some(Ok(format!("message {} does not fit its checksum", stored.at.id))),
            Err(error) => Some(Err(error)),
        });
        for line in torn.take(100) {
            found.push(line?);
        }
        Ok(())
    }
}
