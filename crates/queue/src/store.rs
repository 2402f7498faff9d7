//! The writer's SQL statements, a function each, without decisions.

mod beside;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    clock::Mark,
    config::Fsync,
    error::{Holder, OpenError},
    layout::Layout,
    message::{MessageId, NewMessage},
    order::{BucketId, Seq},
    record::Records,
    row::{Content, LOCATED, Located, STORED, Stored, located, stored, to_i64, to_u64},
    schema,
    space::Space,
    tally::{Amount, Bucket},
};

/// The open store. Used by one thread only.
#[derive(Debug)]
pub(crate) struct Store {
    conn: Connection,
    path: PathBuf,
    layout: Layout,
    /// Closed after the connection, whose locks would otherwise end. `None` for [`Store::nowhere`].
    space: Option<Space>,
    records: Records,
    /// True if some ids come from an earlier format, and hold no place.
    former: bool,
    fsync: Fsync,
    syncs_commits: bool,
    #[cfg(test)]
    pub(crate) faults: Arc<std::sync::atomic::AtomicU32>,
}

/// The number of messages at the end of a bucket among which a sound one is sought.
const LAST: u32 = 8;

/// The row of `bucket` that counts the records; no lane has this name.
const RECORDS: &str = "(records)";

impl Store {
    /// Opens the queue's file in `dir`, and makes it if missing.
    pub(crate) fn open(dir: &Path, fsync: Fsync) -> Result<Self, OpenError> {
        let path = dir.join(schema::FILE);
        let failed = |e| schema::failed(&path, e);
        let (conn, layout) = schema::open(&path, fsync)?;
        // All statements stay prepared; the default of 16 would prepare some of them again each
        // time.
        conn.set_prepared_statement_cache_capacity(48);
        let (records, former) = records(&conn, layout).map_err(failed)?;
        let hold = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock => {
                let holder = Holder { pid: None, command: None };
                OpenError::Locked { dir: dir.to_owned(), holder }
            }
            _ => OpenError::Prepare { path: path.clone(), source },
        };
        // The first transaction makes the log, if missing.
        conn.execute_batch("begin immediate; commit").map_err(failed)?;
        let space = Space::hold(&path, layout).map_err(hold)?;
        let store = Self {
            conn,
            layout,
            space: Some(space),
            records,
            former,
            fsync,
            syncs_commits: true,
            #[cfg(test)]
            faults: Arc::default(),
            path,
        };
        store.fill_space();
        Ok(store)
    }

    /// Reserves the space that acknowledgements need. A start on a full disk goes on without it,
    /// since the queue must be drained.
    fn fill_space(&self) {
        let Some(space) = &self.space else { return };
        let ensure = || {
            self.begin()?;
            space.ensure(&self.conn, true)?;
            self.conn.prepare_cached("commit")?.execute([])?;
            // The reserved space is written, and the log restarts.
            self.conn.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(()))
        };
        if let Err(error) = ensure() {
            drop(self.rollback());
            tracing::warn!(error = %error, "could not reserve space in the queue's file");
        }
        if let Err(error) = space.fill_log() {
            tracing::warn!(error = %error, "could not reserve space for the queue's log");
        }
    }

    /// Reserves the space that a later acknowledgement needs. Within a transaction, at its end;
    /// `stores` is true if it stores something.
    pub(crate) fn ensure_space(&self, stores: bool) -> rusqlite::Result<()> {
        self.space.as_ref().map_or(Ok(()), |space| space.ensure(&self.conn, stores))
    }

    /// Gives up some of the space that is kept for a full disk. Within a transaction.
    pub(crate) fn burn_ballast(&self) -> rusqlite::Result<()> {
        self.space.as_ref().map_or(Ok(()), |space| space.burn(&self.conn))
    }

    /// Returns the present path of a file that is no longer in its place.
    pub(crate) fn elsewhere(&self) -> Option<PathBuf> {
        self.space.as_ref().and_then(Space::elsewhere)
    }

    /// Returns the format of the file.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Sets whether the next commits are synced, under [`Fsync::Always`]; otherwise has no effect.
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

    /// Commits all since `begin`, and syncs it to disk under [`Fsync::Always`], unless
    /// [`sync_commits`](Self::sync_commits) turned that off.
    pub(crate) fn commit(&mut self) -> rusqlite::Result<()> {
        #[cfg(test)]
        tests::fail_if_told(&self.faults)?;
        if let Some(count) = self.records.changed().filter(|_| self.layout == Layout::Current) {
            self.conn
                .prepare_cached(
                    "insert into bucket (id, lane, priority, messages, bytes) values (0, ?, 0, ?, 0)
                     on conflict (id) do update set messages = excluded.messages",
                )?
                .execute(params![RECORDS, to_i64(count)])?;
        }
        self.conn.prepare_cached("commit")?.execute([])?;
        self.records.keep();
        Ok(())
    }

    /// Syncs the commits: the log holds all that is not in the file.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.space.as_ref().map_or(Ok(()), Space::sync_log)
    }

    /// Undoes all since `begin`. Some failures have undone it already.
    pub(crate) fn rollback(&self) -> rusqlite::Result<()> {
        if let Some(space) = &self.space {
            space.forget();
        }
        if self.conn.is_autocommit() {
            return Ok(());
        }
        self.conn.prepare_cached("rollback")?.execute([]).map(drop)
    }

    /// Forgets the records of a transaction that was undone.
    pub(crate) fn undone(&mut self) {
        self.records.undo();
    }

    /// Puts a message into its place.
    pub(crate) fn insert(
        &self,
        at: &Located,
        message: &NewMessage,
        now: i64,
    ) -> rusqlite::Result<()> {
        let content = Content {
            at,
            topic: &message.topic,
            payload: &message.payload,
            retain: message.retain,
            appended_at: now,
        };
        self.put(&content, "insert", content.crc(self.layout)).map(drop)
    }

    /// Restores a message from another file; false if its place or its id is taken. A torn message
    /// stays torn.
    pub(crate) fn restore(&self, stored: &Stored) -> rusqlite::Result<bool> {
        let content = stored.content();
        let crc = content.crc(self.layout);
        let crc = if stored.intact { crc } else { !crc };
        let is_put = self.put(&content, "insert or ignore", crc)? > 0;
        if is_put && self.layout == Layout::Current && stored.at.id.seq() != stored.at.seq {
            self.conn
                .prepare_cached("insert or ignore into former (id, seq) values (?, ?)")?
                .execute(params![stored.at.id.as_bytes(), stored.at.seq])?;
        }
        Ok(is_put)
    }

    fn put(&self, content: &Content<'_>, verb: &str, crc: u32) -> rusqlite::Result<usize> {
        let at = content.at;
        let columns = "size, expires_at, appended_at, qos, retain, id, topic, payload, crc";
        let sql = match self.layout {
            Layout::Current => format!(
                "{verb} into message ({columns}, place) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ),
            Layout::Released => format!(
                "{verb} into message ({columns}, seq, bucket)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {})",
                at.bucket.0
            ),
        };
        self.conn.prepare_cached(&sql)?.execute(params![
            to_i64(at.size),
            at.expires_at,
            content.appended_at,
            at.qos,
            content.retain,
            at.id.as_bytes(),
            content.topic,
            content.payload,
            crc,
            self.layout.key(at.bucket, at.seq),
        ])
    }

    /// Returns the connection, for the statements of a salvage.
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Returns a store that is empty and without a file, for the time between two files.
    pub(crate) fn nowhere() -> rusqlite::Result<Self> {
        Ok(Self {
            conn: Connection::open_in_memory()?,
            path: PathBuf::new(),
            layout: Layout::Current,
            space: None,
            records: Records::new(0, false, false),
            former: false,
            fsync: Fsync::Off,
            syncs_commits: false,
            #[cfg(test)]
            faults: Arc::default(),
        })
    }

    /// Reports whether this is [`Self::nowhere`].
    pub(crate) fn is_nowhere(&self) -> bool {
        self.path.as_os_str().is_empty()
    }

    /// Removes a message; false if it was not there.
    pub(crate) fn remove(&self, at: &Located) -> rusqlite::Result<bool> {
        let sql = format!("delete from message where {} = ?", self.layout.key_column());
        let key = self.layout.key(at.bucket, at.seq);
        Ok(self.conn.prepare_cached(&sql)?.execute([key])? > 0)
    }

    /// Moves a message to another bucket; false if it was not there.
    pub(crate) fn rebucket(&self, at: &Located, bucket: BucketId) -> rusqlite::Result<bool> {
        let Some(mut stored) = self.read(at.bucket, at.seq)? else { return Ok(false) };
        self.remove(at)?;
        stored.at.bucket = bucket;
        let content = stored.content();
        let crc = content.crc(self.layout);
        let crc = if stored.intact { crc } else { !crc };
        self.put(&content, "insert", crc)?;
        Ok(true)
    }

    /// Returns the message of this id; `buckets` are those that may hold it.
    pub(crate) fn find(
        &self,
        id: MessageId,
        buckets: impl IntoIterator<Item = BucketId>,
    ) -> rusqlite::Result<Option<Located>> {
        if self.layout == Layout::Released {
            return self
                .conn
                .prepare_cached(&format!("select {LOCATED} from message where id = ?"))?
                .query_row([id.as_bytes()], located)
                .optional();
        }
        let seq = self.seq_of(id)?;
        for bucket in buckets {
            let found = self.locate(bucket, seq)?.filter(|at| at.id == id);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Returns the place in the order that a message of this id has or had.
    fn seq_of(&self, id: MessageId) -> rusqlite::Result<Seq> {
        if !self.former {
            return Ok(id.seq());
        }
        seq_of(&self.conn, id)
    }

    /// Returns the message at `seq` of a bucket, without its content.
    pub(crate) fn locate(&self, bucket: BucketId, seq: Seq) -> rusqlite::Result<Option<Located>> {
        let key = self.layout.key_column();
        self.conn
            .prepare_cached(&format!("select {LOCATED} from message where {key} = ?"))?
            .query_row([self.layout.key(bucket, seq)], located)
            .optional()
    }

    /// Returns the message at `seq` of a bucket.
    pub(crate) fn read(&self, bucket: BucketId, seq: Seq) -> rusqlite::Result<Option<Stored>> {
        let key = self.layout.key_column();
        self.conn
            .prepare_cached(&format!("select {STORED} from message where {key} = ?"))?
            .query_row([self.layout.key(bucket, seq)], |row| stored(row, self.layout))
            .optional()
    }

    /// Returns the first message of `bucket` after `seq`, without its content.
    pub(crate) fn first_after(
        &self,
        bucket: BucketId,
        seq: Seq,
    ) -> rusqlite::Result<Option<Located>> {
        let order = self.layout.in_order();
        self.conn
            .prepare_cached(&format!("select {LOCATED} from message where {order} limit 1"))?
            .query_row(self.layout.after(bucket, seq), located)
            .optional()
    }

    /// Feeds the messages of `bucket` after `seq` to `take` in order until it returns false.
    pub(crate) fn scan_after(
        &self,
        bucket: BucketId,
        seq: Seq,
        mut take: impl FnMut(Stored) -> bool,
    ) -> rusqlite::Result<()> {
        let order = self.layout.in_order();
        let mut statement =
            self.conn.prepare_cached(&format!("select {STORED} from message where {order}"))?;
        let mut rows = statement.query(self.layout.after(bucket, seq))?;
        while let Some(row) = rows.next()? {
            if !take(stored(row, self.layout)?) {
                break;
            }
        }
        Ok(())
    }

    /// Returns expired messages, the longest overdue first.
    pub(crate) fn expired(&self, now: i64, most: u64) -> rusqlite::Result<Vec<Located>> {
        self.conn
            .prepare_cached(&format!(
                "select {LOCATED} from message where expires_at <= ? order by expires_at limit ?"
            ))?
            .query_map([now, to_i64(most)], located)?
            .collect()
    }

    /// Returns the first moment after `now` at which a message expires.
    pub(crate) fn next_expiry(&self, now: i64) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached("select min(expires_at) from message where expires_at > ?")?
            .query_row([now], |row| row.get(0))
    }

    /// Returns the first messages of a bucket in order, with their append times.
    pub(crate) fn first(
        &self,
        bucket: BucketId,
        most: u64,
    ) -> rusqlite::Result<Vec<(Located, i64)>> {
        let (end, start) = self.layout.after(bucket, 0);
        let order = self.layout.in_order();
        self.conn
            .prepare_cached(&format!(
                "select {LOCATED}, appended_at from message where {order} limit ?3"
            ))?
            .query_map([end, start, to_i64(most)], |row| Ok((located(row)?, row.get(6)?)))?
            .collect()
    }

    /// Returns the append time of the message at `seq` of a bucket.
    pub(crate) fn appended_at(&self, bucket: BucketId, seq: Seq) -> rusqlite::Result<Option<i64>> {
        let key = self.layout.key_column();
        self.conn
            .prepare_cached(&format!("select appended_at from message where {key} = ?"))?
            .query_row([self.layout.key(bucket, seq)], |row| row.get(0))
            .optional()
    }

    /// Returns the last place in the order that was ever taken, as far as the file shows it.
    pub(crate) fn last_seq(&self, buckets: &[Bucket]) -> rusqlite::Result<Seq> {
        let last = "select coalesce(max(seq), 0) from record";
        let mut last = self.conn.query_row(last, [], |row| row.get(0)).unwrap_or(0);
        if self.layout == Layout::Released {
            let sql = "select coalesce(max(seq), 0) from message";
            return self.conn.query_row(sql, [], |row| row.get(0)).map(|seq: Seq| seq.max(last));
        }
        for bucket in buckets {
            last = last.max(self.last_of(bucket.id)?.map_or(0, |(seq, _)| seq));
        }
        Ok(last)
    }

    /// Returns the first message of a bucket, and its append time.
    pub(crate) fn head(&self, bucket: BucketId) -> rusqlite::Result<Option<(Seq, i64)>> {
        head(&self.conn, self.layout, bucket)
    }

    /// Returns the last message of a bucket, and its append time.
    fn last_of(&self, bucket: BucketId) -> rusqlite::Result<Option<(Seq, i64)>> {
        let order = self.layout.in_order();
        self.conn
            .prepare_cached(&format!(
                "select seq, appended_at from message where {order} desc limit 1"
            ))?
            .query_row(self.layout.after(bucket, 0), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    /// Returns the latest append time of a held message. A time does not count if its message does
    /// not fit its checksum: after a flipped bit it may be far in the future, where all messages
    /// are too old.
    pub(crate) fn newest(&self, buckets: &[Bucket]) -> rusqlite::Result<Option<i64>> {
        let order = self.layout.in_order();
        let sql = format!("select {STORED} from message where {order} desc limit {LAST}");
        let mut statement = self.conn.prepare(&sql)?;
        let mut newest = None;
        for bucket in buckets {
            let last = statement
                .query_map(self.layout.after(bucket.id, 0), |row| stored(row, self.layout))?;
            let mut sound = last.filter_map(Result::ok).filter(|stored| stored.intact);
            newest = newest.max(sound.next().map(|stored| stored.appended_at));
        }
        Ok(newest)
    }

    /// Returns all buckets. Empty buckets are removed first, unless the disk is full: a start must
    /// not fail for want of room, or the queue could never be drained.
    pub(crate) fn load_buckets(&self) -> rusqlite::Result<Vec<Bucket>> {
        if let Err(error) =
            self.conn.execute("delete from bucket where messages = 0 and id > 0", [])
        {
            tracing::warn!(error = %error, "could not clear the queue's empty lanes");
        }
        buckets(&self.conn)
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

    /// Gives the buckets of a lane another name.
    pub(crate) fn rename_lane(&self, from: &str, to: &str) -> rusqlite::Result<()> {
        let sql = "update bucket set lane = ? where lane = ? and id > 0";
        self.conn.prepare_cached(sql)?.execute([to, from]).map(drop)
    }

    /// Removes an empty bucket. Its row may not show that yet: totals are saved last.
    pub(crate) fn remove_bucket(&self, bucket: BucketId) -> rusqlite::Result<()> {
        let sql = "delete from bucket where id = ?";
        self.conn.prepare_cached(sql)?.execute([bucket.0]).map(drop)
    }

    /// Reads everything that a start reads, so that damage there is met now.
    pub(crate) fn probe(&self) -> Result<(), OpenError> {
        let probe = || {
            let buckets = self.load_buckets()?;
            self.last_seq(&buckets)?;
            for bucket in &buckets {
                self.first_after(bucket.id, 0)?;
            }
            self.next_expiry(i64::MIN).map(drop)
        };
        probe().map_err(|error| schema::failed(&self.path, error))
    }

    /// Moves the log into the file and closes it. The log keeps its space, and is marked as empty.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.conn.flush_prepared_statement_cache();
        let moved = "pragma wal_checkpoint(full)";
        // The row: whether it was busy, pages in the log, pages moved.
        let is_whole = self.conn.query_row(moved, [], |row| {
            let (busy, pages, done): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(busy == 0 && pages == done)
        })?;
        self.conn.close().map_err(|(_, error)| error)?;
        let Some(space) = self.space else { return Ok(()) };
        // An orderly end syncs whatever the policy. With the connection closed, no lock is lost.
        let synced = space.sync_file();
        if let Err(error) = &synced {
            tracing::warn!(error = %error, "could not sync the queue's file at its end");
        }
        if is_whole
            && synced.is_ok()
            && let Err(error) = space.empty_log()
        {
            tracing::warn!(error = %error, "could not empty the queue's log at its end");
        }
        Ok(())
    }
}

/// Returns all buckets of a file.
pub(crate) fn buckets(conn: &Connection) -> rusqlite::Result<Vec<Bucket>> {
    conn.prepare_cached("select id, lane, priority, messages, bytes from bucket where id > 0")?
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

/// Returns the first message of a bucket, and its append time.
pub(crate) fn head(
    conn: &Connection,
    layout: Layout,
    bucket: BucketId,
) -> rusqlite::Result<Option<(Seq, i64)>> {
    let order = layout.in_order();
    conn.prepare_cached(&format!("select seq, appended_at from message where {order} limit 1"))?
        .query_row(layout.after(bucket, 0), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Returns the kept mark of the queue's time, if the format has it.
pub(crate) fn mark(conn: &Connection) -> Option<Mark> {
    let read = conn.query_row("select boot, uptime, time from clock limit 1", [], |row| {
        Ok(Mark { boot: row.get(0)?, uptime: row.get(1)?, time: row.get(2)? })
    });
    read.ok()
}

/// Returns the records of the file, and whether some ids come from an earlier format.
fn records(conn: &Connection, layout: Layout) -> rusqlite::Result<(Records, bool)> {
    let number = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).optional();
    if layout == Layout::Released {
        if let Err(error) = conn.execute_batch(schema::RECORD) {
            tracing::warn!(error = %error, "could not make the table of the queue's records");
        }
        let count = number("select count(*) from record");
        let kept = count.is_ok();
        return Ok((Records::new(to_u64(count.ok().flatten().unwrap_or(0)), false, kept), false));
    }
    let count = number("select messages from bucket where id = 0")?.unwrap_or(0);
    let former = number("select 1 from former limit 1")?.is_some();
    Ok((Records::new(to_u64(count), former, true), former))
}

/// Returns the place in the order that a message of this id has or had.
pub(crate) fn seq_of(conn: &Connection, id: MessageId) -> rusqlite::Result<Seq> {
    let former = conn
        .prepare_cached("select seq from former where id = ?")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(former.unwrap_or_else(|| id.seq()))
}

#[cfg(test)]
mod tests;
