//! Statements about the records: the known keys, and the outcomes of messages that left.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    message::{Key, MessageId},
    order::Seq,
    row::{Located, message_id},
    trace::{Reason, State},
};

/// The number of records kept, the newest ones: the receipts and keys of that many messages are
/// known.
pub const REMEMBERED: u32 = 100_000;

/// The number of records removed at a time.
const TRIM: u64 = 512;

/// The time for which a receipt is kept, in milliseconds: 30 days. A key without a receipt is kept
/// as long.
const KEPT: i64 = 30 * 24 * 60 * 60 * 1_000;

/// A message that is held, whose key is remembered.
pub(crate) const HELD: i64 = 0;
const ACKNOWLEDGED: i64 = 1;
/// A key from an earlier format, whose message is gone.
pub(crate) const UNKNOWN: i64 = 2;
/// The first code of the drop reasons, in their order.
const DROPPED: i64 = 10;

/// A message that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Departed {
    pub(crate) id: MessageId,
    pub(crate) qos: u8,
    pub(crate) state: State,
    /// By the queue's clock.
    pub(crate) at: i64,
}

/// An idempotency key that came before, and its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) id: MessageId,
    /// The digest of the message's content; unknown for an earlier format.
    digest: Option<u32>,
    /// The number of stored copies, at consecutive places.
    copies: i64,
}

impl KnownKey {
    /// Returns an entry whose content is not known.
    pub(crate) fn of_earlier_format(id: MessageId) -> Self {
        Self { id, digest: None, copies: 1 }
    }

    /// Returns the ids of all copies.
    pub(crate) fn ids(&self) -> impl Iterator<Item = MessageId> + use<> {
        let (first, seq) = (self.id, self.id.seq());
        let others = (1..self.copies).map(move |n| first.copy_at(seq.saturating_add(n)));
        std::iter::once(first).chain(others)
    }

    /// Reports whether the key came with another message.
    pub(crate) fn is_other(&self, key: &Key) -> bool {
        self.digest.is_some_and(|digest| digest != key.digest)
    }
}

/// The remembered keys, by a hash, read at the first message that has a key.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: Option<HashMap<u64, Seq>>,
    hasher: RandomState,
}

impl Keys {
    /// Returns the message that came with this key.
    pub(crate) fn recall(
        &mut self,
        conn: &Connection,
        key: &str,
    ) -> rusqlite::Result<Option<KnownKey>> {
        let hash = self.hasher.hash_one(key);
        let known = match &self.known {
            Some(known) => known,
            None => self.known.insert(load(conn, &self.hasher)?),
        };
        let Some(seq) = known.get(&hash) else { return Ok(None) };
        let row = conn
            .prepare_cached("select id, key, digest, copies from record where seq = ?")?
            .query_row([seq], |row| {
                let seen =
                    KnownKey { id: message_id(row, 0)?, digest: row.get(2)?, copies: row.get(3)? };
                Ok((row.get::<_, Option<String>>(1)?, seen))
            })
            .optional()?;
        // A failed transaction may leave a key in the map that is not in the file.
        Ok(row.filter(|(found, _)| found.as_deref() == Some(key)).map(|(_, seen)| seen))
    }

    fn learn(&mut self, key: &str, seq: Seq) {
        if let Some(known) = &mut self.known {
            known.insert(self.hasher.hash_one(key), seq);
        }
    }

    fn forget(&mut self, key: &str, seq: Seq) {
        let Some(known) = &mut self.known else { return };
        let hash = self.hasher.hash_one(key);
        if known.get(&hash) == Some(&seq) {
            known.remove(&hash);
        }
    }
}

fn load(conn: &Connection, hasher: &RandomState) -> rusqlite::Result<HashMap<u64, Seq>> {
    let mut statement =
        conn.prepare("select seq, key from record where key is not null order by seq")?;
    let mut rows = statement.query([])?;
    let mut known = HashMap::new();
    while let Some(row) = rows.next()? {
        known.insert(hasher.hash_one(row.get_ref(1)?.as_str()?), row.get(0)?);
    }
    Ok(known)
}

/// The records of a file.
#[derive(Debug)]
pub(crate) struct Records {
    keys: Keys,
    /// Their number.
    count: u64,
    /// Their number after the last commit.
    committed: u64,
    /// True if some ids come from an earlier format.
    former: bool,
    /// True if there is a table for them: missing in a file of an earlier format if the disk had no
    /// room for it.
    kept: bool,
}

impl Records {
    /// Begins with this many records; `former` is true if some ids come from an earlier format.
    pub(crate) fn new(count: u64, former: bool, kept: bool) -> Self {
        Self { keys: Keys::default(), count, committed: count, former, kept }
    }

    /// Returns the number of records, if it changed since the last commit.
    pub(crate) fn changed(&self) -> Option<u64> {
        (self.count != self.committed).then_some(self.count)
    }

    /// Sets the number of records.
    pub(crate) fn set_count(&mut self, count: u64) {
        self.count = count;
    }

    /// Notes that the transaction is on disk.
    pub(crate) fn keep(&mut self) {
        self.committed = self.count;
    }

    /// Notes that the transaction failed.
    pub(crate) fn undo(&mut self) {
        if self.count != self.committed {
            self.count = self.committed;
            // The map may lack some keys that are in the file.
            self.keys.known = None;
        }
    }

    /// Returns the message that came with this key.
    pub(crate) fn recall(
        &mut self,
        conn: &Connection,
        key: &str,
    ) -> rusqlite::Result<Option<KnownKey>> {
        if self.kept { self.keys.recall(conn, key) } else { Ok(None) }
    }

    /// Notes the key of a message.
    pub(crate) fn remember(
        &mut self,
        conn: &Connection,
        key: &Key,
        at: &Located,
        copies: usize,
        now: i64,
    ) -> rusqlite::Result<()> {
        if !self.kept {
            return Ok(());
        }
        let copies = i64::try_from(copies).unwrap_or(1);
        let id = at.id.as_bytes();
        conn.prepare_cached(
            "insert into record (seq, id, qos, state, at, key, digest, copies)
             values (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![at.seq, id, at.qos, HELD, now, key.name, key.digest, copies])?;
        self.count = self.count.saturating_add(1);
        self.keys.learn(&key.name, at.seq);
        self.trim(conn, now)
    }

    /// Notes the outcome of a message that leaves.
    pub(crate) fn ended(
        &mut self,
        conn: &Connection,
        at: &Located,
        state: &State,
        now: i64,
    ) -> rusqlite::Result<()> {
        if !self.kept {
            return Ok(());
        }
        let (code, path) = match state {
            State::Acknowledged { path } if path.is_empty() => return self.forget(conn, at.seq),
            State::Acknowledged { path } => (ACKNOWLEDGED, Some(path)),
            State::Dropped { reason } => (DROPPED + code(*reason), None),
            State::Waiting | State::Leased | State::DeadLetter { .. } => return Ok(()),
        };
        let known = conn
            .prepare_cached("update record set state = ?, at = ?, path = ? where seq = ?")?
            .execute(params![code, now, path, at.seq])?;
        if known == 0 {
            conn.prepare_cached(
                "insert into record (seq, id, qos, state, at, path) values (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![at.seq, at.id.as_bytes(), at.qos, code, now, path])?;
            self.count = self.count.saturating_add(1);
        }
        self.trim(conn, now)
    }

    /// Forgets a message that was withdrawn: it was never there, and its key may be used again.
    fn forget(&mut self, conn: &Connection, seq: Seq) -> rusqlite::Result<()> {
        let gone: Option<Option<String>> = conn
            .prepare_cached("delete from record where seq = ? returning key")?
            .query_row([seq], |row| row.get(0))
            .optional()?;
        if let Some(key) = gone {
            self.count = self.count.saturating_sub(1);
            if let Some(key) = key {
                self.keys.forget(&key, seq);
            }
        }
        Ok(())
    }

    /// Removes the oldest beyond [`REMEMBERED`], many at a time: a small commit stays small.
    fn trim(&mut self, conn: &Connection, now: i64) -> rusqlite::Result<()> {
        let most = u64::from(REMEMBERED).saturating_add(TRIM);
        if self.count >= most {
            self.remove_oldest(conn, self.count.saturating_sub(u64::from(REMEMBERED)), i64::MAX)?;
        } else if self.count.is_multiple_of(TRIM) {
            self.remove_oldest(conn, TRIM, now.saturating_sub(KEPT))?;
        }
        Ok(())
    }

    fn remove_oldest(&mut self, conn: &Connection, most: u64, until: i64) -> rusqlite::Result<()> {
        let most = i64::try_from(most.min(2 * TRIM)).unwrap_or(i64::MAX);
        let mut statement = conn.prepare_cached(
            "delete from record where seq in
                (select seq from (select seq, at from record order by seq limit ?) where at <= ?)
             returning seq, key, id",
        )?;
        let gone: Vec<(Seq, Option<String>, MessageId)> = statement
            .query_map(params![most, until], |row| {
                Ok((row.get(0)?, row.get(1)?, message_id(row, 2)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        for (seq, key, id) in &gone {
            if self.former {
                conn.prepare_cached("delete from former where id = ?")?.execute([id.as_bytes()])?;
            }
            if let Some(key) = key {
                self.keys.forget(key, *seq);
            }
        }
        let gone = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        self.count = self.count.saturating_sub(gone);
        Ok(())
    }
}

/// Returns the record at this place, of a message that left; `None` if there is none.
pub(crate) fn find(conn: &Connection, seq: Seq) -> rusqlite::Result<Option<Departed>> {
    let row = conn
        .prepare_cached("select id, qos, state, at, path from record where seq = ?")?
        .query_row([seq], |row| {
            let path: Option<String> = row.get(4)?;
            Ok((message_id(row, 0)?, row.get(1)?, row.get(2)?, row.get(3)?, path))
        })
        .optional()?;
    Ok(row.and_then(|(id, qos, code, at, path)| {
        let state = state(code, path)?;
        Some(Departed { id, qos, state, at })
    }))
}

/// Returns the place of the message of this id, in a file of an earlier format. It has no index of
/// ids: all records are searched.
pub(crate) fn seq_of(conn: &Connection, id: MessageId) -> rusqlite::Result<Option<Seq>> {
    let Ok(mut statement) = conn.prepare_cached("select seq from record where id = ?") else {
        return Ok(None);
    };
    statement.query_row([id.as_bytes()], |row| row.get(0)).optional()
}

fn state(code: i64, path: Option<String>) -> Option<State> {
    match code {
        ACKNOWLEDGED => Some(State::Acknowledged { path: Arc::from(path.unwrap_or_default()) }),
        HELD | UNKNOWN => None,
        code => {
            let number = usize::try_from(code.checked_sub(DROPPED)?).ok()?;
            let reason = *Reason::ALL.get(number)?;
            Some(State::Dropped { reason })
        }
    }
}

fn code(reason: Reason) -> i64 {
    let at = Reason::ALL.iter().position(|known| *known == reason);
    at.and_then(|at| i64::try_from(at).ok()).unwrap_or(0)
}
