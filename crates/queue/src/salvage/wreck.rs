//! The readable part of a damaged file, or of a file of an earlier format.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use rusqlite::{Connection, OpenFlags, Row};

use crate::{
    error::OpenError,
    layout::Layout,
    message::{MAX_PRIORITY, OVERHEAD},
    order::{BucketId, Seq},
    row::{STORED, Stored, stored, to_u64},
    schema::failed,
    tally::Bucket,
};

/// A damaged file that can still be opened, or a file of an earlier format.
pub(crate) struct Wreck {
    pub(super) conn: Connection,
    pub(super) layout: Layout,
    /// The columns of a message: a file of version 1 has no checksums.
    columns: String,
}

impl Wreck {
    /// Returns the file, if any part of it is readable. Failures unrelated to damage are errors: a
    /// sound file must not be taken for a wreck for want of a file descriptor.
    pub(crate) fn find(file: &Path) -> Result<Option<Self>, OpenError> {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, OutOfMemory, PermissionDenied,
        };
        let passing = [CannotOpen, DatabaseBusy, DatabaseLocked, OutOfMemory, PermissionDenied];
        match Self::open(file) {
            Ok(wreck) => Ok(Some(wreck)),
            Err(error) if error.sqlite_error_code().is_some_and(|code| passing.contains(&code)) => {
                Err(failed(file, error))
            }
            Err(_damage) => Ok(None),
        }
    }

    /// Opens it read-only: nothing of the log is moved into the file. With a writable schema SQLite
    /// accepts a file that is shorter than its first page says.
    fn open(file: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(file, flags)?;
        conn.execute_batch("pragma writable_schema = on; pragma cache_size = -512;")?;
        conn.query_row("select 1 from sqlite_schema where name = 'message'", [], |_| Ok(()))?;
        let has = |sql: &str| conn.prepare(sql).is_ok();
        let layout =
            if has("select place from message") { Layout::Current } else { Layout::Released };
        let columns = match has("select crc from message") {
            true => STORED.to_owned(),
            false => STORED.replace("crc", "null"),
        };
        Ok(Self { conn, layout, columns })
    }

    /// Reports whether its version can answer this query.
    pub(super) fn has(&self, sql: &str) -> bool {
        self.conn.prepare(sql).is_ok()
    }

    /// Reads rows from the beginning until an error, and then from the end until an error. `sql`
    /// ends with the key to order by. Returns whether all rows were read.
    pub(super) fn both_ways(
        &self,
        sql: &str,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> bool {
        let mut read = |direction: &str| -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare(&format!("{sql} {direction}"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // An impossible value is not a reason to skip the rest.
                if let Err(error) = take(row) {
                    tracing::debug!(error = %error, "a row of the damaged file makes no sense");
                }
            }
            Ok(())
        };
        read("asc").is_ok() || {
            let _ = read("desc");
            false
        }
    }

    /// Returns the keys of all messages in the table, or in an index of the released format. If a
    /// page of the table is torn, those on either side of it are found.
    pub(super) fn keys(&self) -> Vec<i64> {
        let mut keys = Vec::new();
        match self.layout {
            Layout::Released => {
                for sql in [
                    "select seq from message not indexed order by seq",
                    "select seq from message indexed by message_next order by bucket",
                    "select seq from message indexed by message_id order by id",
                ] {
                    self.both_ways(sql, |row| {
                        keys.push(row.get(0)?);
                        Ok(())
                    });
                }
            }
            Layout::Current => {
                for bucket in self.buckets().0.keys() {
                    self.keys_of(*bucket, &mut keys);
                }
                // These may be of unreadable buckets.
                self.both_ways("select place from message not indexed order by place", |row| {
                    keys.push(row.get(0)?);
                    Ok(())
                });
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Reads the keys of a bucket. If a page is torn, the next readable key is sought in steps that
    /// double. From there keys are read backwards as far as possible.
    fn keys_of(&self, bucket: BucketId, keys: &mut Vec<i64>) {
        let (end, start) = self.layout.after(bucket, 0);
        let mut from = start;
        while let Err(torn) = self.read_on(from, end, keys) {
            let mut step = 1;
            let next = loop {
                let at = torn.saturating_add(step);
                if at > end {
                    return;
                }
                match self.first_from(at, end) {
                    Ok(Some(next)) => break next,
                    Ok(None) => return,
                    Err(_) => step = step.saturating_mul(2),
                }
            };
            self.read_back(next, torn, keys);
            keys.push(next);
            from = next;
        }
    }

    /// Reads keys after `from`; the error is the last key before a page that is unreadable or out
    /// of order.
    fn read_on(&self, from: i64, end: i64, keys: &mut Vec<i64>) -> Result<(), i64> {
        let sql = "select place from message not indexed where place > ? and place <= ?
            order by place";
        let (mut last, mut in_order) = (from, true);
        let read = self.each_key(sql, [from, end], |key| {
            in_order = key > last && key <= end;
            if in_order {
                last = key;
                keys.push(key);
            }
            in_order
        });
        if read.is_ok() && in_order { Ok(()) } else { Err(last) }
    }

    /// Reads keys before `from` and after `torn`, from the last to the first, as far as possible.
    fn read_back(&self, from: i64, torn: i64, keys: &mut Vec<i64>) {
        let sql = "select place from message not indexed where place < ? and place > ?
            order by place desc";
        let mut last = from;
        drop(self.each_key(sql, [from, torn], |key| {
            let in_order = key < last && key > torn;
            if in_order {
                last = key;
                keys.push(key);
            }
            in_order
        }));
    }

    /// Returns the first key from `at` on; a key out of order is damage.
    fn first_from(&self, at: i64, end: i64) -> rusqlite::Result<Option<i64>> {
        let sql = "select place from message not indexed where place >= ? and place <= ?
            order by place limit 1";
        let mut found = None;
        self.each_key(sql, [at, end], |key| {
            found = Some(key);
            false
        })?;
        match found {
            Some(key) if !(at..=end).contains(&key) => {
                let code = rusqlite::ffi::SQLITE_CORRUPT;
                Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
            }
            found => Ok(found),
        }
    }

    /// Feeds keys to `take` until it returns false.
    fn each_key(
        &self,
        sql: &str,
        range: [i64; 2],
        mut take: impl FnMut(i64) -> bool,
    ) -> rusqlite::Result<()> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            if !take(row.get(0)?) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the readable buckets, and the number of messages if all buckets are readable.
    pub(super) fn buckets(&self) -> (HashMap<BucketId, Bucket>, Option<u64>) {
        let mut buckets = HashMap::new();
        let whole = self.both_ways(
            "select id, lane, priority, messages from bucket not indexed where id > 0 order by id",
            |row| {
                let id = BucketId(row.get(0)?);
                let (lane, priority): (String, u8) = (row.get(1)?, row.get(2)?);
                let mut bucket = Bucket::empty(id, Arc::from(lane), priority.min(MAX_PRIORITY));
                bucket.held.messages = to_u64(row.get(3)?);
                buckets.insert(id, bucket);
                Ok(())
            },
        );
        let all = buckets.values().map(|bucket: &Bucket| bucket.held.messages).sum();
        (buckets, whole.then_some(all))
    }

    /// Returns the places of the messages that were set aside, as far as they are readable.
    pub(super) fn set_aside(&self) -> HashSet<Seq> {
        let mut places = HashSet::new();
        self.both_ways("select seq from aside order by seq", |row| {
            places.insert(row.get(0)?);
            Ok(())
        });
        places
    }

    /// Returns the message of this key, if readable; its bytes may be torn.
    pub(super) fn message(&self, key: i64) -> Option<Stored> {
        let column = self.layout.key_column();
        let sql = format!("select {} from message not indexed where {column} = ?", self.columns);
        let mut statement = self.conn.prepare_cached(&sql).ok()?;
        let mut stored = statement.query_row([key], |row| stored(row, self.layout)).ok()?;
        let length = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let size = length(stored.topic.len())
            .saturating_add(length(stored.payload.len()))
            .saturating_add(OVERHEAD);
        stored.intact &= stored.at.size == size && stored.at.qos <= 2;
        stored.at.size = size;
        stored.at.qos = stored.at.qos.min(2);
        (stored.at.seq > 0).then_some(stored)
    }
}
