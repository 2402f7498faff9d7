//! Reads a queue from outside, even while an agent has it open: nothing is changed or leased.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rusqlite::{Connection, OptionalExtension};

use crate::{
    clock::{Clock, Sources},
    error::{OpenError, StoreError},
    layout::Layout,
    message::{ASIDE, MessageId},
    order::{BucketId, Seq},
    row::{DAMAGED, STORED, message_id, stored},
    schema,
    stat::Stat,
    store,
    tally::{Amount, Bucket},
};

/// A queue's file opened for reading. Blocks on the disk: not for an async task.
#[derive(Debug)]
pub struct Inspector {
    conn: Connection,
    layout: Layout,
    clock: Clock,
    path: PathBuf,
}

/// A stored message as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order of the queue, from which [`Inspector::messages`] continues.
    pub seq: i64,
    /// Its id.
    pub id: MessageId,
    /// The lane it waits in, or came from if it is aside.
    pub lane: String,
    /// Its priority.
    pub priority: u8,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// As handed in.
    pub qos: u8,
    /// As handed in.
    pub retain: bool,
    /// The wall clock's time of its append.
    pub appended_at: SystemTime,
    /// Its expiry time.
    pub expires_at: Option<SystemTime>,
    /// The reason why it is set aside, if it is.
    pub aside: Option<Aside>,
    /// True if its bytes fit its checksum.
    pub intact: bool,
}

/// The reason why a message is aside, and the time since then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// A word, such as `poison`.
    pub reason: String,
    /// More text.
    pub words: String,
    /// The wall clock's time.
    pub since: SystemTime,
}

/// A filter of messages: all given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The message of this id.
    pub id: Option<MessageId>,
    /// Messages of this lane; a message that is aside counts to the lane it came from.
    pub lane: Option<String>,
    /// Messages that are aside, or messages that are not.
    pub aside: Option<bool>,
    /// Messages that are aside for this reason.
    pub reason: Option<String>,
    /// Messages appended by then, by the wall clock of their append.
    pub appended_before: Option<SystemTime>,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub records: Vec<Record>,
    /// The place to continue after; `None` at the end.
    pub next: Option<i64>,
}

/// The progress of [`Inspector::topics`] through lanes. It stays valid for the seen messages if
/// their lane is renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<BucketId, Seq>);

/// The most rows that one page looks at.
pub const SCAN: i64 = 4096;

/// The data of a message that a filter needs, before its payload is read.
struct Candidate {
    seq: Seq,
    bucket: BucketId,
    appended_at: i64,
    aside: Option<AsideRow>,
}

struct AsideRow {
    lane: String,
    reason: String,
}

impl Inspector {
    /// Opens the queue in `dir`, which must exist. Needs no lock; but the reader must be allowed to
    /// write the directory, since SQLite keeps its shared index of the log there.
    ///
    /// # Errors
    /// [`OpenError::NewerFormat`], [`OpenError::Foreign`] or [`OpenError::Store`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(schema::FILE);
        let (conn, layout) = schema::open_for_reading(&path)?;
        let clock = Clock::new(Sources::real(), store::mark(&conn).as_ref(), None);
        Ok(Self { conn, layout, clock, path })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns up to `limit` messages after place `after` (0: from the first), in the order of
    /// append. Each call is a short read of its own, so that a long listing does not hold the log
    /// back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn messages(&self, after: i64, limit: u32) -> Result<Vec<Record>, StoreError> {
        let (mut records, mut after) = (Vec::new(), after);
        loop {
            let left = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(records.len());
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            if left == 0 {
                return Ok(records);
            }
            let page = self.page(after, left, &Filter::default())?;
            records.extend(page.records);
            match page.next {
                Some(next) => after = next,
                None => return Ok(records),
            }
        }
    }

    /// Returns a page of a listing: up to `limit` messages after place `after` that pass `filter`,
    /// in the order of append. About [`SCAN`] rows are read, so a page may hold fewer messages than
    /// exist; `next` is then the place to continue after.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn page(&self, after: i64, limit: u32, filter: &Filter) -> Result<Page, StoreError> {
        let buckets = self.buckets()?;
        let asked: Vec<&Bucket> = buckets.iter().filter(|it| may_hold(filter, it)).collect();
        let share = SCAN / i64::try_from(asked.len()).unwrap_or(SCAN).max(1);
        let share = usize::try_from(share.max(64)).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // Beyond the first place at which the search of a bucket stopped, other messages may come
        // first.
        let (mut found, mut end) = (Vec::new(), None::<i64>);
        for bucket in asked {
            let (some, stopped) = self.candidates(bucket, after, share, limit, filter)?;
            found.extend(some);
            end = [end, stopped].into_iter().flatten().min();
        }
        found.sort_unstable_by_key(|it| it.seq);
        found.retain(|it| end.is_none_or(|end| it.seq <= end));
        found.truncate(limit);
        let next = if found.len() >= limit { found.last().map(|it| it.seq) } else { end };
        let mut records = Vec::new();
        for candidate in &found {
            records.extend(self.record(&buckets, candidate.bucket, candidate.seq)?);
        }
        Ok(Page { records, next })
    }

    /// Returns the messages of a bucket that pass a filter, and the place if the search stopped
    /// before the end.
    fn candidates(
        &self,
        bucket: &Bucket,
        after: i64,
        share: usize,
        limit: usize,
        filter: &Filter,
    ) -> Result<(Vec<Candidate>, Option<i64>), StoreError> {
        let order = self.layout.in_order();
        let mut statement = self
            .conn
            .prepare_cached(&format!("select seq, appended_at, id from message where {order}"))?;
        let mut rows = statement.query(self.layout.after(bucket.id, after))?;
        let before = filter.appended_before.map(|at| self.clock.of_wall(at));
        let (mut found, mut seen) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let (seq, appended_at): (Seq, i64) = (row.get(0)?, row.get(1)?);
            let aside = if *bucket.lane == *ASIDE { self.aside_row(seq)? } else { None };
            let candidate = Candidate { seq, bucket: bucket.id, appended_at, aside };
            let is_meant = filter.id.is_none_or(|id| {
                row.get_ref(2).ok().and_then(|it| it.as_blob().ok()) == Some(id.as_bytes())
            });
            if is_meant && candidate.passes(&bucket.lane, filter, before) {
                found.push(candidate);
            }
            seen += 1;
            if seen >= share || found.len() >= limit {
                return Ok((found, Some(seq)));
            }
        }
        Ok((found, None))
    }

    /// Shows the id and the topic of each message of a lane that was not `seen` before, and notes
    /// it as seen; each priority in the order of append. Each call is a short read of at most
    /// [`SCAN`] messages, so that a long lane does not hold the log back. Returns false once the
    /// end of the lane was reached. Messages that do not fit their checksum are shown as they are.
    ///
    /// # Errors
    /// [`StoreError`]; messages shown before it are noted.
    pub fn topics(
        &self,
        lane: &str,
        seen: &mut Seen,
        mut show: impl FnMut(MessageId, &str),
    ) -> Result<bool, StoreError> {
        let order = self.layout.in_order();
        let sql = format!("select seq, id, topic from message where {order} limit ?3");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut left = SCAN;
        for bucket in self.buckets()?.iter().filter(|bucket| *bucket.lane == *lane) {
            let last = seen.0.entry(bucket.id).or_default();
            let (one, other) = self.layout.after(bucket.id, *last);
            let mut rows = statement.query((one, other, left))?;
            while let Some(row) = rows.next()? {
                let topic = row.get_ref(2)?.as_bytes().map_err(rusqlite::Error::from)?;
                show(message_id(row, 1)?, &String::from_utf8_lossy(topic));
                *last = row.get(0)?;
                left = left.saturating_sub(1);
            }
            if left == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn aside_row(&self, seq: Seq) -> rusqlite::Result<Option<AsideRow>> {
        self.conn
            .prepare_cached("select lane, reason from aside where seq = ?")?
            .query_row([seq], |row| Ok(AsideRow { lane: row.get(0)?, reason: row.get(1)? }))
            .optional()
    }

    fn buckets(&self) -> Result<Vec<Bucket>, StoreError> {
        Ok(store::buckets(&self.conn)?)
    }

    /// Returns the message at this place, in full.
    fn record(
        &self,
        buckets: &[Bucket],
        id: BucketId,
        seq: Seq,
    ) -> Result<Option<Record>, StoreError> {
        let key = self.layout.key_column();
        let stored = self
            .conn
            .prepare_cached(&format!("select {STORED} from message where {key} = ?"))?
            .query_row([self.layout.key(id, seq)], |row| stored(row, self.layout))
            .optional()?
            .filter(|stored| stored.at.bucket == id);
        let bucket = buckets.iter().find(|it| it.id == id);
        let (Some(stored), Some(bucket)) = (stored, bucket) else { return Ok(None) };
        let aside = self
            .conn
            .prepare_cached("select lane, reason, words, at from aside where seq = ?")?
            .query_row([seq], |row| {
                let since = self.clock.to_wall(row.get(3)?);
                Ok((row.get(0)?, Aside { reason: row.get(1)?, words: row.get(2)?, since }))
            })
            .optional()?
            .filter(|_| *bucket.lane == *ASIDE);
        let (lane, aside) = match aside {
            Some((lane, aside)) => (lane, Some(aside)),
            None => (bucket.lane.to_string(), None),
        };
        Ok(Some(Record {
            seq: stored.at.seq,
            id: stored.at.id,
            lane,
            priority: bucket.priority,
            topic: stored.topic,
            payload: stored.payload,
            qos: stored.at.qos,
            retain: stored.retain,
            appended_at: self.clock.to_wall(stored.appended_at),
            expires_at: stored.at.expires_at.map(|at| self.clock.to_wall(at)),
            aside,
            intact: stored.intact,
        }))
    }

    /// Returns the message of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: MessageId) -> Result<Option<Record>, StoreError> {
        let buckets = self.buckets()?;
        let seq = match self.layout {
            Layout::Current => Some(store::seq_of(&self.conn, id)?),
            Layout::Released => self
                .conn
                .prepare_cached("select seq from message where id = ?")?
                .query_row([id.as_bytes()], |row| row.get::<_, i64>(0))
                .optional()?,
        };
        let Some(seq) = seq else { return Ok(None) };
        for bucket in &buckets {
            let found = self.record(&buckets, bucket.id, seq)?.filter(|record| record.id == id);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Returns the figures in the file; those that only a running agent knows are zero.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stat(&self) -> Result<Stat, StoreError> {
        let mut stat = Stat::default();
        let mut first = None;
        for bucket in self.buckets()?.iter().filter(|bucket| bucket.held.messages > 0) {
            let Amount { messages, bytes } = bucket.held;
            stat.messages = stat.messages.saturating_add(messages);
            stat.bytes = stat.bytes.saturating_add(bytes);
            let is_aside = *bucket.lane == *ASIDE;
            let held = match is_aside {
                true => &mut stat.aside,
                false => stat.lanes.entry(Arc::clone(&bucket.lane)).or_default(),
            };
            held.messages = held.messages.saturating_add(messages);
            held.bytes = held.bytes.saturating_add(bytes);
            if !is_aside {
                let head = store::head(&self.conn, self.layout, bucket.id)?;
                first = [first, head].into_iter().flatten().min();
            }
        }
        stat.oldest = first.map(|(_, appended_at)| self.clock.to_wall(appended_at));
        Ok(stat)
    }

    /// Returns the handle that stops a check on another thread.
    pub(crate) fn interrupt_handle(&self) -> rusqlite::InterruptHandle {
        self.conn.get_interrupt_handle()
    }

    /// Runs SQLite's check of all pages, without that of the indices against the table; otherwise
    /// like [`Self::check`].
    pub(crate) fn quick_check(&self) -> Result<Vec<String>, StoreError> {
        let mut found: Vec<String> = self
            .conn
            .prepare("pragma quick_check(10)")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        found.retain(|line| line != "ok");
        Ok(found)
    }

    /// Checks for damage: runs SQLite's check of all pages and indices, and compares the totals
    /// with the messages. Returns the problems, at most some hundred lines; empty if there are
    /// none. Reads the whole file, and lets a running agent's log grow meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] if the damage makes the check itself fail.
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
             where id > 0 and messages <> 0 and id not in (select bucket from message)
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

    /// Checks each message against its checksum, except those that are aside for that reason.
    fn check_sums(&self, found: &mut Vec<String>) -> Result<(), StoreError> {
        let key = self.layout.key_column();
        let mut statement = self.conn.prepare(&format!(
            "select {STORED} from message
                 where not exists (select 1 from aside
                    where aside.seq = message.seq and reason = '{DAMAGED}')
                 order by {key}"
        ))?;
        let all = statement.query_map([], |row| stored(row, self.layout))?;
        let torn = all.filter_map(|stored| match stored {
            Ok(stored) if stored.intact => None,
            Ok(stored) => Some(Ok(format!("message {} does not match its checksum", stored.at.id))),
            Err(error) => Some(Err(error)),
        });
        for line in torn.take(100) {
            found.push(line?);
        }
        Ok(())
    }
}

/// Reports whether a bucket may hold messages that pass a filter.
fn may_hold(filter: &Filter, bucket: &Bucket) -> bool {
    let is_aside = *bucket.lane == *ASIDE;
    bucket.held.messages > 0
        && filter.aside.is_none_or(|aside| aside == is_aside)
        && (is_aside || filter.lane.as_ref().is_none_or(|lane| **lane == *bucket.lane))
        && (is_aside || filter.reason.is_none())
}

impl Candidate {
    fn passes(&self, bucket_lane: &str, filter: &Filter, before: Option<i64>) -> bool {
        let lane = self.aside.as_ref().map_or(bucket_lane, |aside| &aside.lane);
        let reason = self.aside.as_ref().map(|aside| aside.reason.as_str());
        filter.lane.as_deref().is_none_or(|wanted| wanted == lane)
            && filter.reason.as_deref().is_none_or(|wanted| Some(wanted) == reason)
            && before.is_none_or(|before| self.appended_at <= before)
    }
}
