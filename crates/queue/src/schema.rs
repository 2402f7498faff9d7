//! The file format: tables, indices, version, and the settings that make a commit durable.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    config::Fsync,
    error::{OpenError, StoreError},
    layout::Layout,
};

/// The store's file inside the queue's directory.
pub(crate) const FILE: &str = "queue.db";

/// The log of writes that are not in the file yet. It keeps its space for as long as the queue
/// lives.
pub(crate) const LOG: &str = "queue.db-wal";

/// The format this program writes, kept in `user_version`.
const VERSION: i64 = 4;

/// The last format of earlier releases, which is taken over.
const RELEASED: i64 = 3;

/// Marks the file as ours (`application_id`): "mfqu".
const APPLICATION: i64 = 0x6d66_7175;

/// Page size and vacuum mode affect an empty file only, and only before WAL is on. Small pages keep
/// the writes of a small commit small. The log restarts after a mebibyte, whatever the size of a
/// page.
fn settings(layout: Layout) -> String {
    let page = layout.page();
    let log_pages = (1 << 20) / page;
    format!(
        "pragma page_size = {page};
         pragma auto_vacuum = none;
         pragma journal_mode = wal;
         pragma wal_autocheckpoint = {log_pages};
         pragma journal_size_limit = 8388608;
         pragma temp_store = memory;
         pragma cache_size = -512;
         pragma busy_timeout = 5000;"
    )
}

/// `place` is the bucket and, in its lower 44 bits, `seq`: the order, never a clock. A bucket is
/// one priority of one lane and has its own totals, so that nothing is counted at the start. Bucket
/// 0 counts the rows of `record`. Payload is the last column: long payloads spill into overflow
/// pages, which the other columns then do not touch. `former` finds messages whose ids come from an
/// earlier format and hold no place. `record` has a row with the state of each message that had a
/// key or that left.
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
        place       integer primary key,
        size        integer not null,
        expires_at  integer,
        appended_at integer not null,
        qos         integer not null,
        retain      integer not null,
        id          blob not null,
        crc         integer not null,
        topic       text not null,
        payload     blob not null,
        seq         integer generated always as (place & 17592186044415) virtual,
        bucket      integer generated always as (place >> 44) virtual
    ) strict;
    create index message_expiry on message (expires_at) where expires_at is not null;
    create table aside (
        seq    integer primary key,
        lane   text not null,
        reason text not null,
        words  text not null,
        at     integer not null
    ) strict;
    create table former (
        id  blob primary key,
        seq integer not null
    ) strict, without rowid;
    create table clock (
        n      integer primary key,
        boot   text not null,
        uptime integer not null,
        time   integer not null
    ) strict;
    create table ballast (space blob) strict;
";

/// The state of a message that had a key or that left. A file of the released format gets this
/// table too: its own programs ignore it.
pub(crate) const RECORD: &str = "
    create table if not exists record (
        seq    integer primary key,
        id     blob not null,
        qos    integer not null,
        state  integer not null,
        at     integer not null,
        path   text,
        key    text,
        digest integer,
        copies integer not null default 1
    ) strict;
";

/// The tables of version 1; later versions add to them.
const RELEASED_TABLES: &str = "
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

/// Since version 2: a checksum of each message, missing for older messages. And messages set aside:
/// each has an entry beside its row in `message`, which meanwhile is in a bucket of the lane
/// `(aside)`. Made last: the tables of both versions have the same root pages.
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

/// Since version 3: a checksum of the message of each key, missing for older keys.
const SINCE_3: &str = "
    alter table seen add column crc integer;
";

/// Opens the file for the only writer, and makes it if missing. A file of an earlier version is
/// upgraded to the released format.
pub(crate) fn open(path: &Path, fsync: Fsync) -> Result<(Connection, Layout), OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // SQLite gives the log and its index the rights of the file.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError::Prepare { path: path.to_owned(), source })?;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| failed(path, e))?;
    let version = check_version(&conn, path)?;
    let layout = layout_of(version);
    match version {
        0 => create(&conn, Layout::Current),
        1 => prepare(&conn, layout).and_then(|()| upgrade(&conn, &[SINCE_2, SINCE_3])),
        2 => prepare(&conn, layout).and_then(|()| upgrade(&conn, &[SINCE_3])),
        _ => prepare(&conn, layout),
    }
    .and_then(|()| conn.execute_batch(synchronous(fsync)))
    .map_err(|e| failed(path, e))?;
    Ok((conn, layout))
}

fn layout_of(version: i64) -> Layout {
    if (1..=RELEASED).contains(&version) { Layout::Released } else { Layout::Current }
}

/// Applies the settings to an open connection. A close leaves the log in its place:
/// acknowledgements need its space when others have filled the disk.
fn prepare(conn: &Connection, layout: Layout) -> rusqlite::Result<()> {
    conn.execute_batch(&settings(layout))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// Returns the sync setting: `full` syncs the log at each commit, `normal` before its pages are
/// moved into the file, `off` never.
pub(crate) fn synchronous(fsync: Fsync) -> &'static str {
    match fsync {
        Fsync::Always => "pragma synchronous = full",
        Fsync::Interval(_) => "pragma synchronous = normal",
        Fsync::Off => "pragma synchronous = off",
    }
}

/// Opens an existing file for reading; nothing can be changed through it.
pub(crate) fn open_for_reading(path: &Path) -> Result<(Connection, Layout), OpenError> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        // SQLite would delete the log of a file without pages, even read-only.
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        return Err(failed(path, rusqlite::Error::SqliteFailure(error, None)));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| failed(path, e))?;
    conn.execute_batch("pragma busy_timeout = 5000").map_err(|e| failed(path, e))?;
    match check_version(&conn, path)? {
        0 => Err(OpenError::Foreign { path: path.to_owned() }),
        version => Ok((conn, layout_of(version))),
    }
}

/// Returns the file's format version: 0 for a new file, else a version that this program knows.
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
        (_, APPLICATION) => Ok(version_of(conn)),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// Returns the version by the columns of the tables: the number beside them may have lost a bit.
fn version_of(conn: &Connection) -> i64 {
    let has = |sql: &str| conn.prepare(sql).is_ok();
    if has("select place from message") {
        VERSION
    } else if has("select crc from seen") {
        RELEASED
    } else if has("select crc from message") {
        2
    } else {
        1
    }
}

/// Creates the tables of a new file. It is one transaction: an interrupted start leaves an empty
/// file.
pub(crate) fn create(conn: &Connection, layout: Layout) -> rusqlite::Result<()> {
    prepare(conn, layout)?;
    let (tables, version) = match layout {
        Layout::Current => (format!("{TABLES} {RECORD}"), VERSION),
        Layout::Released => (format!("{RELEASED_TABLES} {SINCE_2} {SINCE_3}"), RELEASED),
    };
    conn.execute_batch(&format!(
        "begin immediate; {tables}
         pragma application_id = {APPLICATION}; pragma user_version = {version}; commit;"
    ))
}

/// Upgrades a file of an earlier version to the released format, whole or not at all.
fn upgrade(conn: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let steps = steps.concat();
    conn.execute_batch(&format!(
        "begin immediate; {steps} pragma user_version = {RELEASED}; commit;"
    ))
}

/// Returns an engine failure as an error of opening.
pub(crate) fn failed(path: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Store { path: path.to_owned(), source: StoreError::from(error) }
}
