//! The statements: what the writer says to SQLite, one function each, and nothing it decides.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    error::OpenError,
    message::{MessageId, NewMessage},
    queue::Fsync,
    schema,
    tally::{Amount, Bucket, BucketId},
};

/// A message's place in the order: the row's key.
pub(crate) type Seq = i64;

/// The open store. Used by one thread only.
#[derive(Debug)]
pub(crate) struct Store {
    conn: Connection,
    path: PathBuf,
    fsync: Fsync,
    syncs_commits: bool,
    #[cfg(test)]
    pub(crate) faults: Arc<std::sync::atomic::AtomicU32>,
}

/// What the writer must know of a stored message to decide about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) seq: Seq,
    pub(crate) bucket: BucketId,
    pub(crate) id: MessageId,
    pub(crate) size: u64,
    pub(crate) qos: u8,
    /// Milliseconds of the Unix epoch.
    pub(crate) expires_at: Option<i64>,
}

/// A stored message in full.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) at: Located,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
    /// Milliseconds of the Unix epoch.
    pub(crate) appended_at: i64,
    /// Its bytes are those that were stored, as far as its checksum tells.
    pub(crate) intact: bool,
}

/// What came with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: MessageId,
    crc: Option<u32>,
}

/// The columns of [`Located`], in the order of [`located`].
const LOCATED: &str = "seq, bucket, size, expires_at, id, qos";
/// The columns of [`Stored`], in the order of [`stored`].
pub(crate) const STORED: &str =
    "seq, bucket, size, expires_at, id, qos, topic, payload, retain, appended_at, crc";

impl Store {
    pub(crate) fn open(dir: &Path, fsync: Fsync) -> Result<Self, OpenError> {
        let path = dir.join(schema::FILE);
        let conn = schema::open(&path, fsync)?;
        // All statements stay prepared; the default of 16 would prepare some anew each time.
        conn.set_prepared_statement_cache_capacity(32);
        Ok(Self {
            conn,
            path,
            fsync,
            syncs_commits: true,
            #[cfg(test)]
            faults: Arc::default(),
        })
    }

    /// Says whether the next commits are to be synced, under [`Fsync::Always`]; else nothing changes.
    /// Not within a transaction.
    pub(crate) fn sync_commits(&mut self, sync: bool) -> rusqlite::Result<()> {
        if self.fsync == Fsync::Always && self.syncs_commits != sync {
            let until_next = Fsync::Interval(Duration::ZERO);
            let policy = if sync { self.fsync } else { until_next };
            self.conn.execute_batch(schema::synchronous(policy))?;
            self.syncs_commits = sync;
        }
        Ok(())
    }

    pub(crate) fn begin(&self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("begin immediate")?.execute([]).map(drop)
    }

    /// When this returns, all since `begin` is synced to disk, under [`Fsync::Always`] and unless
    /// [`sync_commits`](Self::sync_commits) said otherwise.
    pub(crate) fn commit(&self) -> rusqlite::Result<()> {
        #[cfg(test)]
        tests::fail_if_told(&self.faults)?;
        self.conn.prepare_cached("commit")?.execute([]).map(drop)
    }

    /// Syncs what was committed: the log holds all that is not in the file. SQLite locks the file
    /// and its index and not the log, so that another descriptor of the log does no harm.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        File::open(log)?.sync_data()
    }

    /// Undoes all since `begin`. Some failures have undone it already.
    pub(crate) fn rollback(&self) -> rusqlite::Result<()> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        self.conn.prepare_cached("rollback")?.execute([]).map(drop)
    }

    /// Puts a message into `bucket` at `seq`.
    pub(crate) fn insert(
        &self,
        at: &Located,
        message: &NewMessage,
        now: i64,
    ) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "insert into message (seq, bucket, size, expires_at, appended_at, qos, retain, id,
                    topic, payload, crc) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                at.seq,
                at.bucket.0,
                to_i64(at.size),
                at.expires_at,
                now,
                at.qos,
                message.retain,
                at.id.as_bytes(),
                message.topic,
                message.payload,
                crc(at.id, &message.topic, &message.payload),
            ])
            .map(drop)
    }

    /// Puts a message back as it was, from another file; false if its place or its id is taken.
    pub(crate) fn restore(&self, stored: &Stored) -> rusqlite::Result<bool> {
        let at = &stored.at;
        let done = self
            .conn
            .prepare_cached(
                "insert or ignore into message (seq, bucket, size, expires_at, appended_at, qos,
                    retain, id, topic, payload, crc) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                at.seq,
                at.bucket.0,
                to_i64(at.size),
                at.expires_at,
                stored.appended_at,
                at.qos,
                stored.retain,
                at.id.as_bytes(),
                stored.topic,
                stored.payload,
                crc(at.id, &stored.topic, &stored.payload),
            ])?;
        Ok(done > 0)
    }

    /// The connection, for what a salvage alone has to say.
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    /// A store that holds nothing and is nowhere, for the time between two files.
    pub(crate) fn nowhere() -> rusqlite::Result<Self> {
        Ok(Self {
            conn: Connection::open_in_memory()?,
            path: PathBuf::new(),
            fsync: Fsync::Off,
            syncs_commits: false,
            #[cfg(test)]
            faults: Arc::default(),
        })
    }

    /// Whether this is [`Self::nowhere`].
    pub(crate) fn is_nowhere(&self) -> bool {
        self.path.as_os_str().is_empty()
    }

    /// Removes a message; false if it was not there.
    pub(crate) fn remove(&self, seq: Seq) -> rusqlite::Result<bool> {
        Ok(self.conn.prepare_cached("delete from message where seq = ?")?.execute([seq])? > 0)
    }

    /// Moves a message to another bucket.
    pub(crate) fn rebucket(&self, seq: Seq, bucket: BucketId) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("update message set bucket = ? where seq = ?")?
            .execute([bucket.0, seq])
            .map(drop)
    }

    /// The message of this id.
    pub(crate) fn find(&self, id: MessageId) -> rusqlite::Result<Option<Located>> {
        self.conn
            .prepare_cached(&format!("select {LOCATED} from message where id = ?"))?
            .query_row([id.as_bytes()], located)
            .optional()
    }

    /// The message at `seq`, without its content.
    pub(crate) fn locate(&self, seq: Seq) -> rusqlite::Result<Option<Located>> {
        self.conn
            .prepare_cached(&format!("select {LOCATED} from message where seq = ?"))?
            .query_row([seq], located)
            .optional()
    }

    /// The message at `seq`.
    pub(crate) fn read(&self, seq: Seq) -> rusqlite::Result<Option<Stored>> {
        self.conn
            .prepare_cached(&format!("select {STORED} from message where seq = ?"))?
            .query_row([seq], stored)
            .optional()
    }

    /// The first message of `bucket` after `seq`, without its content.
    pub(crate) fn first_after(
        &self,
        bucket: BucketId,
        seq: Seq,
    ) -> rusqlite::Result<Option<Located>> {
        self.conn
            .prepare_cached(&format!("select {LOCATED} from message {AFTER} limit 1"))?
            .query_row([bucket.0, seq], located)
            .optional()
    }

    /// Feeds the messages of `bucket` after `seq` to `take` in order until it says false.
    pub(crate) fn scan_after(
        &self,
        bucket: BucketId,
        seq: Seq,
        mut take: impl FnMut(Stored) -> bool,
    ) -> rusqlite::Result<()> {
        let mut statement =
            self.conn.prepare_cached(&format!("select {STORED} from message {AFTER}"))?;
        let mut rows = statement.query([bucket.0, seq])?;
        while let Some(row) = rows.next()? {
            if !take(stored(row)?) {
                break;
            }
        }
        Ok(())
    }

    /// Messages whose time is over, the longest overdue first.
    pub(crate) fn expired(&self, now: i64, most: u64) -> rusqlite::Result<Vec<Located>> {
        self.conn
            .prepare_cached(&format!(
                "select {LOCATED} from message where expires_at <= ? order by expires_at limit ?"
            ))?
            .query_map([now, to_i64(most)], located)?
            .collect()
    }

    /// The first moment after `now` at which a message expires.
    pub(crate) fn next_expiry(&self, now: i64) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached("select min(expires_at) from message where expires_at > ?")?
            .query_row([now], |row| row.get(0))
    }

    /// The first messages in order, with the milliseconds of the Unix epoch of their append.
    pub(crate) fn first(&self, most: u64) -> rusqlite::Result<Vec<(Located, i64)>> {
        self.conn
            .prepare_cached(&format!(
                "select {LOCATED}, appended_at from message order by seq limit ?"
            ))?
            .query_map([to_i64(most)], |row| Ok((located(row)?, row.get(6)?)))?
            .collect()
    }

    /// When the message at `seq` was appended.
    pub(crate) fn appended_at(&self, seq: Seq) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached("select appended_at from message where seq = ?")?
            .query_row([seq], |row| row.get(0))
            .optional()
    }

    /// Notes why the message at `seq` is set aside, and where it came from.
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
                "insert into aside (seq, lane, reason, words, at) values (?, ?, ?, ?, ?)",
            )?
            .execute(params![seq, lane, reason, words, now])
            .map(drop)
    }

    /// Forgets why the message at `seq` was set aside; answers the lane it came from.
    pub(crate) fn take_aside(&self, seq: Seq) -> rusqlite::Result<Option<String>> {
        self.conn
            .prepare_cached("delete from aside where seq = ? returning lane")?
            .query_row([seq], |row| row.get(0))
            .optional()
    }

    /// When the oldest message was appended, by order and not by clock.
    pub(crate) fn oldest(&self) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached("select appended_at from message order by seq limit 1")?
            .query_row([], |row| row.get(0))
            .optional()
    }

    /// The last place in the order that is taken.
    pub(crate) fn last_seq(&self) -> rusqlite::Result<Seq> {
        self.conn.query_row("select coalesce(max(seq), 0) from message", [], |row| row.get(0))
    }

    /// What came with this idempotency key.
    pub(crate) fn recall(&self, key: &str) -> rusqlite::Result<Option<Seen>> {
        self.conn
            .prepare_cached("select id, crc from seen where key = ?")?
            .query_row([key], |row| Ok(Seen { id: message_id(row, 0)?, crc: row.get(1)? }))
            .optional()
    }

    /// Remembers an idempotency key, and forgets the oldest beyond `most`. By count and not by
    /// age: a clock that jumps must not forget them all.
    pub(crate) fn remember(
        &self,
        key: &str,
        id: MessageId,
        message: &NewMessage,
        most: i64,
    ) -> rusqlite::Result<()> {
        let crc = crc(id, &message.topic, &message.payload);
        self.conn
            .prepare_cached("insert into seen (key, id, crc) values (?, ?, ?)")?
            .execute(params![key, id.as_bytes(), crc])?;
        let oldest = self.conn.last_insert_rowid().saturating_sub(most);
        self.conn.prepare_cached("delete from seen where n <= ?")?.execute([oldest]).map(drop)
    }

    /// All buckets. Those that hold nothing are cleared away first, unless the disk is full: a
    /// start must not fail for want of room, or the queue could never be drained.
    pub(crate) fn load_buckets(&self) -> rusqlite::Result<Vec<Bucket>> {
        if let Err(error) = self.conn.execute("delete from bucket where messages = 0", []) {
            tracing::warn!(error = %error, "could not clear the queue's empty lanes");
        }
        self.conn
            .prepare("select id, lane, priority, messages, bytes from bucket")?
            .query_map([], |row| {
                Ok(Bucket {
                    id: BucketId(row.get(0)?),
                    lane: Arc::from(row.get::<_, String>(1)?),
                    priority: row.get(2)?,
                    held: Amount { messages: to_u64(row.get(3)?), bytes: to_u64(row.get(4)?) },
                })
            })?
            .collect()
    }

    /// Writes a bucket's totals, beside the messages they count.
    pub(crate) fn save_bucket(&self, bucket: &Bucket) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "insert into bucket (id, lane, priority, messages, bytes) values (?, ?, ?, ?, ?)
                 on conflict (id) do update set messages = excluded.messages, bytes = excluded.bytes",
            )?
            .execute(params![
                bucket.id.0,
                &*bucket.lane,
                bucket.priority,
                to_i64(bucket.held.messages),
                to_i64(bucket.held.bytes),
            ])
            .map(drop)
    }

    /// Reads what every start reads, so that damage there is met now.
    pub(crate) fn probe(&self) -> Result<(), OpenError> {
        let probe = || {
            self.conn.query_row("select count(*), total(messages) from bucket", [], |_| Ok(()))?;
            self.last_seq()?;
            self.oldest()?;
            self.next_expiry(i64::MIN).map(drop)
        };
        probe().map_err(|error| schema::failed(&self.path, error))
    }

    /// Moves the log into the file and closes it; the log's file is then gone.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.conn.flush_prepared_statement_cache();
        // Answers a row (busy, pages in the log, pages moved) that says nothing a close could act on.
        self.conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        self.conn.close().map_err(|(_, error)| error)?;
        // An orderly end is whole whatever the policy. With the connection gone, no lock is lost.
        if let Err(error) = File::open(&self.path).and_then(|file| file.sync_all()) {
            tracing::warn!(error = %error, "could not sync the queue's file at its end");
        }
        Ok(())
    }
}

/// Messages of one bucket in order, by the index on the bucket, which ends in the row's key.
const AFTER: &str = "where bucket = ? and seq > ? order by seq";

fn located(row: &Row<'_>) -> rusqlite::Result<Located> {
    Ok(Located {
        seq: row.get(0)?,
        bucket: BucketId(row.get(1)?),
        size: to_u64(row.get(2)?),
        expires_at: row.get(3)?,
        id: message_id(row, 4)?,
        qos: row.get(5)?,
    })
}

/// Reads a row of the columns [`STORED`].
pub(crate) fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let (at, topic): (_, String) = (located(row)?, row.get(6)?);
    let payload: Vec<u8> = row.get(7)?;
    let sum: Option<u32> = row.get(10)?;
    Ok(Stored {
        intact: sum.is_none_or(|sum| sum == crc(at.id, &topic, &payload)),
        at,
        topic,
        payload,
        retain: row.get(8)?,
        appended_at: row.get(9)?,
    })
}

/// The checksum of what a message is: CRC-32 of its id, its topic and its payload.
impl Seen {
    /// Whether it was another message, by topic and payload; of one of an earlier version nobody knows.
    pub(crate) fn is_other(&self, message: &NewMessage) -> bool {
        self.crc.is_some_and(|sum| sum != crc(self.id, &message.topic, &message.payload))
    }
}

fn crc(id: MessageId, topic: &str, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(id.as_bytes());
    hasher.update(topic.as_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn message_id(row: &Row<'_>, column: usize) -> rusqlite::Result<MessageId> {
    let bytes = row.get_ref(column)?.as_blob()?;
    MessageId::from_slice(bytes).ok_or_else(|| {
        // The column holds 16 bytes in every file we wrote: anything else is damage.
        rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some("a message id is not 16 bytes long".to_owned()),
        )
    })
}

/// SQLite's integers are signed; our amounts never come near the end of either range.
pub(crate) fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn to_u64(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests;
