//! A look at a queue from outside, also while an agent has it open: nothing is changed or leased.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use rusqlite::{Connection, params};

use crate::{
    error::{OpenError, StoreError},
    message::MessageId,
    schema, store, writer,
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
    /// The lane it waits in.
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
        let mut statement = self.conn.prepare_cached(
            "select seq, bucket, size, expires_at, message.id, topic, payload, qos, retain,
                appended_at, crc, lane, priority
             from message join bucket on bucket.id = message.bucket
             where seq > ? order by seq limit ?",
        )?;
        let rows = statement.query_map(params![after, limit], |row| {
            let stored = store::stored(row)?;
            Ok(Record {
                seq: stored.at.seq,
                id: stored.at.id,
                lane: row.get(11)?,
                priority: row.get(12)?,
                topic: stored.topic,
                payload: stored.payload,
                qos: stored.qos,
                retain: stored.retain,
                appended_at: writer::time(stored.appended_at),
                expires_at: stored.at.expires_at.map(writer::time),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
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
