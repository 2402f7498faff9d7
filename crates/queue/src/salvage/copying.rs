//! The copying of messages from one file into a new one.

use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use super::wreck::Wreck;
use crate::{
    layout::Layout,
    message::{ASIDE, DEFAULT_PRIORITY},
    order::BucketId,
    record,
    row::{DAMAGED, TORN, message_id},
    store::Store,
    tally::{Bucket, Tally},
};

/// The lane of a message whose own lane is no longer known. No fleet has it, so its messages are
/// routed again.
const NO_LANE: &str = "salvaged";

/// Messages that one transaction saves.
const BATCH: usize = 512;

/// The numbers of copied and of lost messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) saved: u64,
    pub(crate) lost: u64,
}

/// Copies the readable part of a file into a new file.
pub(crate) fn copy(made: &mut Store, wreck: &Wreck) -> rusqlite::Result<Count> {
    let copying = Copying { wreck };
    copying.run(made)
}

/// A copy from the damaged file into the new file.
struct Copying<'a> {
    wreck: &'a Wreck,
}

impl Copying<'_> {
    fn run(&self, made: &mut Store) -> rusqlite::Result<Count> {
        let (mut buckets, held) = self.wreck.buckets();
        let next = buckets.keys().map(|id| id.0).max().unwrap_or(0).saturating_add(1);
        let new =
            |id: i64, lane: &str| Bucket::empty(BucketId(id), Arc::from(lane), DEFAULT_PRIORITY);
        let (stray, aside) = (new(next, NO_LANE), new(next.saturating_add(1), ASIDE));
        let (stray_id, aside_id) = (stray.id, aside.id);
        buckets.insert(stray_id, stray);
        let known = buckets.values();
        let mut known: Vec<Bucket> =
            known.map(|it| Bucket::empty(it.id, Arc::clone(&it.lane), it.priority)).collect();
        let is_aside = |it: &&Bucket| *it.lane == *ASIDE && it.priority == DEFAULT_PRIORITY;
        let aside_id = known.iter().find(is_aside).map_or(aside_id, |it| it.id);
        if aside_id == aside.id {
            known.push(aside);
        }
        let mut tally = Tally::new(known);
        let (keys, set_aside) = (self.wreck.keys(), self.wreck.set_aside());
        let mut count = Count::default();
        for batch in keys.chunks(BATCH) {
            made.begin()?;
            for key in batch {
                let Some(mut stored) = self.wreck.message(*key) else { continue };
                let lane = buckets.get(&stored.at.bucket).map(|it| Arc::clone(&it.lane));
                if lane.is_none() {
                    // A message that was set aside is not to be sent, whatever else is lost.
                    let is_aside = set_aside.contains(&stored.at.seq);
                    stored.at.bucket = if is_aside { aside_id } else { stray_id };
                }
                let is_torn = !stored.intact
                    && stored.at.bucket != aside_id
                    && lane.as_deref() != Some(ASIDE);
                if is_torn {
                    stored.at.bucket = aside_id;
                }
                // Two rows of the same id are impossible; the first row stays.
                if made.restore(&stored)? {
                    tally.add(stored.at.bucket, stored.at.size);
                    count.saved = count.saved.saturating_add(1);
                    if is_torn {
                        let lane = lane.as_deref().unwrap_or(NO_LANE);
                        made.put_aside(stored.at.seq, lane, DAMAGED, TORN, stored.appended_at)?;
                    }
                }
            }
            for bucket in tally.drain_changed() {
                made.save_bucket(&bucket)?;
            }
            made.commit()?;
        }
        made.begin()?;
        self.copy_aside(made, &tally)?;
        self.copy_records(made)?;
        self.copy_clock(made);
        made.commit()?;
        let known = held.unwrap_or(count.saved);
        count.lost = known.saturating_sub(count.saved);
        Ok(count)
    }

    /// Copies the reasons for which messages were set aside. If a reason is lost, the message stays
    /// aside under a reason that says so.
    fn copy_aside(&self, made: &Store, tally: &Tally) -> rusqlite::Result<()> {
        let conn = made.connection();
        let mut insert = conn.prepare(
            "insert or ignore into aside (seq, lane, reason, words, at)
             select ?, ?, ?, ?, ? where exists (select 1 from message where place = ?)",
        )?;
        let ids: Vec<BucketId> = tally.aside_buckets().map(|bucket| bucket.id).collect();
        self.wreck.both_ways(
            "select seq, lane, reason, words, at from aside order by seq",
            |row| {
                let (seq, at): (i64, i64) = (row.get(0)?, row.get(4)?);
                let text = |n: usize| row.get::<_, String>(n);
                for id in &ids {
                    let place = made.layout().key(*id, seq);
                    insert.execute(params![seq, text(1)?, text(2)?, text(3)?, at, place])?;
                }
                Ok(())
            },
        );
        for id in &ids {
            let (end, start) = made.layout().after(*id, 0);
            conn.execute(
                "insert or ignore into aside (seq, lane, reason, words, at)
                 select seq, ?, 'unknown', 'its reason was lost with the damaged file', appended_at
                 from message where place <= ? and place > ?",
                params![NO_LANE, end, start],
            )?;
        }
        Ok(())
    }

    /// Copies the outcomes of messages, and the keys of either format.
    fn copy_records(&self, made: &mut Store) -> rusqlite::Result<()> {
        let copied = if self.wreck.has("select digest from record") {
            let mut insert = made.connection().prepare(
                "insert or ignore into record (seq, id, qos, state, at, path, key, digest, copies)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            let mut former = made
                .connection()
                .prepare("insert or ignore into former (id, seq) values (?, ?)")?;
            let all = "select seq, id, qos, state, at, path, key, digest, copies from record order by seq";
            self.wreck.both_ways(all, |row| {
                let value = |n: usize| row.get::<_, rusqlite::types::Value>(n);
                let values: Vec<_> = (0..9).map(value).collect::<rusqlite::Result<_>>()?;
                insert.execute(rusqlite::params_from_iter(values))?;
                let (seq, id) = (row.get(0)?, message_id(row, 1)?);
                if id.seq() != seq {
                    former.execute(params![id.as_bytes(), seq])?;
                }
                Ok(())
            });
            self.wreck.layout == Layout::Current
        } else {
            false
        };
        if !copied && self.wreck.has("select n from seen") {
            self.copy_keys(made)?;
        }
        made.count_records()
    }

    /// Copies the keys of an earlier format: those of held messages at their places, the others
    /// before all places, in their order.
    fn copy_keys(&self, made: &Store) -> rusqlite::Result<()> {
        let conn = made.connection();
        let mut insert = conn.prepare(
            "insert or ignore into record (seq, id, qos, state, at, key) values (?, ?, 1, ?, 0, ?)",
        )?;
        let mut place = conn.prepare("select seq from former where id = ?")?;
        let all = "select n, key, id from seen not indexed order by n";
        self.wreck.both_ways(all, |row| {
            let (n, key, id): (i64, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if id.len() != 16 {
                return Ok(());
            }
            let held: Option<i64> = place.query_row([&id], |row| row.get(0)).optional()?;
            let (seq, state) = match held {
                Some(seq) => (seq, record::HELD),
                None => (n.saturating_sub(i64::from(u32::MAX)), record::UNKNOWN),
            };
            insert.execute(params![seq, id, state, key]).map(drop)
        });
        Ok(())
    }

    /// Copies the time, so that old messages stay old.
    fn copy_clock(&self, made: &Store) {
        let read = self.wreck.conn.query_row("select boot, uptime, time from clock", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        if let Ok((boot, uptime, time)) = read {
            let sql = "insert or replace into clock (n, boot, uptime, time) values (1, ?, ?, ?)";
            if let Err(error) = made.connection().execute(sql, params![boot, uptime, time]) {
                tracing::warn!(error = %error, "could not keep the queue's time");
            }
        }
    }
}
