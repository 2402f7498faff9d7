//! The file format: tables, indices, version, and the settings that make a commit durable.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{
    error::{OpenError, StoreError},
    queue::Fsync,
};

/// The store's file inside the queue's directory.
pub(crate) const FILE: &str = "queue.db";

/// The log of what is not in the file yet. An orderly end takes it away.
pub(crate) const LOG: &str = "queue.db-wal";

/// The format this program writes, kept in `user_version`.
const VERSION: i64 = 3;

/// Marks the file as ours (`application_id`): "mfqu".
const APPLICATION: i64 = 0x6d66_7175;

/// The size of a page, in bytes; the settings below say the same.
pub(crate) const PAGE: usize = 2048;

/// Page size and vacuum mode act on an empty file only, and only before WAL is on. 2 KiB pages and short checkpoints keep what a small commit writes small, and
/// the log keeps its space so that an ack needs none on a full disk.
const SETTINGS: &str = "
    pragma page_size = 2048;
    pragma auto_vacuum = none;
    pragma journal_mode = wal;
    pragma wal_autocheckpoint = 512;
    pragma journal_size_limit = 8388608;
    pragma temp_store = memory;
    pragma cache_size = -512;
    pragma busy_timeout = 5000;
";

/// `seq` is the order, never a clock. A bucket is one priority of one lane and carries its own
/// totals, so that nothing is counted at the start. Payload comes last: long ones spill into
/// overflow pages, which the other columns then do not touch.
const TABLES: &str = "
    create table bucket (
        id        integer primary key,
        lane      text not null,
        priority  integer not null,
        messages  integer not null,
        bytes     integer not null,
        unique (lane, priority)
    ) strict;
    create table message (
        seq         integer primary key,
        bucket      integer not null,
        size        integer not null,
        expires_at  integer,
        appended_at integer not null,
        qos         integer not null,
        retain      integer not null,
        id          blob not null,
        topic       text not null,
        payload     blob not null
    ) strict;
    create unique index message_id on message (id);
    create index message_next on message (bucket);
    create index message_expiry on message (expires_at) where expires_at is not null;
    create table seen (
        n   integer primary key,
        key text not null unique,
        id  blob not null
    ) strict;
";

/// Since version 2: a checksum of each message, none for one that came before; and what was set aside, beside its row in `message`, which is in a bucket of the
/// lane `(aside)` meanwhile. Made last: the tables of both versions have the same root pages.
const SINCE_2: &str = "
    alter table message add column crc integer;
    create table aside (
        seq    integer primary key,
        lane   text not null,
        reason text not null,
        words  text not null,
        at     integer not null
    ) strict;
";

/// Since version 3: a checksum of what came with each key, none for one that came before.
const SINCE_3: &str = "
    alter table seen add column crc integer;
";

/// Opens the file for the one writer, and makes it if there is none.
pub(crate) fn open(path: &Path, fsync: Fsync) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| failed(path, e))?;
    match check_version(&conn, path)? {
        0 => create(&conn),
        1 => conn.execute_batch(SETTINGS).and_then(|()| upgrade(&conn, &[SINCE_2, SINCE_3])),
        2 => conn.execute_batch(SETTINGS).and_then(|()| upgrade(&conn, &[SINCE_3])),
        _ => conn.execute_batch(SETTINGS),
    }
    .and_then(|()| conn.execute_batch(synchronous(fsync)))
    .map_err(|e| failed(path, e))?;
    Ok(conn)
}

/// `full` syncs the log at each commit, `normal` before its pages go into the file, `off` never.
pub(crate) fn synchronous(fsync: Fsync) -> &'static str {
    match fsync {
        Fsync::Always => "pragma synchronous = full",
        Fsync::Interval(_) => "pragma synchronous = normal",
        Fsync::Off => "pragma synchronous = off",
    }
}

/// Opens an existing file to look at; nothing can be changed through it.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        // SQLite would delete the log of a file without pages, read-only or not.
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        return Err(failed(path, rusqlite::Error::SqliteFailure(error, None)));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| failed(path, e))?;
    conn.execute_batch("pragma busy_timeout = 5000").map_err(|e| failed(path, e))?;
    if check_version(&conn, path)? == 0 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    Ok(conn)
}

/// The file's format version: 0 for a new file, else one that this program knows.
fn check_version(conn: &Connection, path: &Path) -> Result<i64, OpenError> {
    let number = |sql: &str| -> Result<i64, OpenError> {
        conn.query_row(sql, [], |row| row.get(0)).map_err(|e| failed(path, e))
    };
    let found = number("pragma user_version")?;
    let application = number("pragma application_id")?;
    let tables = number("select count(*) from sqlite_schema")?;
    match (tables, application) {
        (0, _) => Ok(0),
        (_, APPLICATION) if found > VERSION => {
            Err(OpenError::NewerFormat { path: path.to_owned(), found, known: VERSION })
        }
        (_, APPLICATION) => Ok(found),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// Lays out a new file. One transaction: a start that is cut short leaves an empty file.
fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(SETTINGS)?;
    conn.execute_batch(&format!(
        "begin immediate; {TABLES} {SINCE_2} {SINCE_3}
         pragma application_id = {APPLICATION}; pragma user_version = {VERSION}; commit;"
    ))
}

/// Brings a file of an earlier version up to date, whole or not at all.
fn upgrade(conn: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let steps = steps.concat();
    conn.execute_batch(&format!(
        "begin immediate; {steps} pragma user_version = {VERSION}; commit;"
    ))
}

/// An engine failure on the way to an open store.
pub(crate) fn failed(path: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Store { path: path.to_owned(), source: StoreError::from(error) }
}
