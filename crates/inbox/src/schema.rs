//! The file: its tables, its version, its settings, and the moving aside of a damaged file.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::{
    error::{OpenError, StoreError},
    lock,
};

/// The file inside the inbox's folder.
pub(crate) const FILE: &str = "inbox.db";

/// The log of writes that are not in the file yet.
pub(crate) const LOG: &str = "inbox.db-wal";

/// The format this program writes, kept in `user_version`.
const VERSION: i64 = 1;

/// Marks the file as ours (`application_id`): "mfin".
const APPLICATION: i64 = 0x6d66_696e;

/// Small pages keep the writes of a small commit small. The log keeps its space for the next
/// commit.
const SETTINGS: &str = "
    pragma page_size = 1024;
    pragma auto_vacuum = none;
    pragma journal_mode = wal;
    pragma wal_autocheckpoint = 1024;
    pragma journal_size_limit = 4194304;
    pragma temp_store = memory;
    pragma cache_size = -512;
    pragma busy_timeout = 5000;
";

/// `total` is the size of this message and all before it: messages leave at the front only, so that
/// two of these give the size of the content. The payload is the last column, since long payloads
/// spill into pages of their own.
const TABLES: &str = "
    create table message (
        seq     integer primary key,
        total   integer not null,
        size    integer not null,
        at      integer not null,
        aged    integer not null,
        qos     integer not null,
        crc     integer not null,
        source  text not null,
        topic   text not null,
        payload blob not null
    ) strict;
    create table reader (
        kind     integer not null,
        name     text not null,
        owner    text,
        position integer not null,
        expiry   integer not null,
        seen     integer not null,
        attached integer not null,
        primary key (kind, name)
    ) strict, without rowid;
    create table filter (
        name   text not null,
        filter text not null,
        qos    integer not null,
        since  integer not null,
        primary key (name, filter)
    ) strict, without rowid;
    create table state (
        id         integer primary key check (id = 1),
        epoch      integer not null,
        last_seq   integer not null,
        last_total integer not null,
        age        integer not null,
        wall       integer not null
    ) strict;
";

/// Opens the file for the only writer, and makes it if missing.
pub(crate) fn open(path: &Path) -> Result<Connection, OpenError> {
    let prepare = |source| OpenError::Prepare { path: path.to_owned(), source };
    // The log gets the rights of the file.
    drop(lock::open_private(path).map_err(prepare)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| failed(path, e))?;
    let version = check_version(&conn, path)?;
    conn.execute_batch(SETTINGS).map_err(|e| failed(path, e))?;
    if version == 0 {
        // It is one transaction: an interrupted start leaves an empty file.
        conn.execute_batch(&format!(
            "begin immediate; {TABLES}
             pragma application_id = {APPLICATION}; pragma user_version = {VERSION}; commit;"
        ))
        .map_err(|e| failed(path, e))?;
    }
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
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
        (_, APPLICATION) => Ok(VERSION),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

pub(crate) fn failed(path: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Store { path: path.to_owned(), source: StoreError::from(error) }
}

/// Moves a damaged file into a folder `damaged-N` beside it, and returns that folder. The log is
/// moved first: a new file must never find it.
pub(crate) fn set_aside(dir: &Path, wall: i64) -> io::Result<PathBuf> {
    let seconds = wall.div_euclid(1000);
    let names =
        (0..).map(|more: i64| dir.join(format!("damaged-{}", seconds.saturating_add(more))));
    let mut kept = dir.to_owned();
    for name in names {
        match DirBuilder::new().mode(0o700).create(&name) {
            Ok(()) => {
                kept = name;
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    for part in ["-shm", "-wal", ""] {
        let name = format!("{FILE}{part}");
        match fs::rename(dir.join(&name), kept.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    lock::sync_dir(dir)?;
    Ok(kept)
}
