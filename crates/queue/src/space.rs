//! Space reserved in advance: deliveries can be recorded on a disk that others filled.
//!
//! Three things hold after each commit. The file has all its blocks on disk, so that moving the log
//! into it (a checkpoint) only overwrites. A mebibyte of it is ballast: rows that can be given up,
//! a few at a time, for the records of messages that leave. And the log has been written at its
//! full length once, so that it can be filled again.

use std::{
    cell::Cell,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::{layout::Layout, schema};

/// Rows of ballast: with [`ROW`] bytes each the records of more than 10,000 acknowledgements.
const ROWS: u64 = 16;

/// Bytes of a row of ballast.
const ROW: u32 = 64 << 10;

/// Bytes by which the file is extended beyond its need.
const STEP: u64 = 256 << 10;

/// The length of the log from its first day, in bytes: its content when it is moved into the file,
/// and the largest transaction after that.
const LOG: u64 = (5 << 20) / 2;

/// The files of a store, held open: SQLite's locks on a file end when a process closes any of its
/// descriptors of that file.
#[derive(Debug)]
pub(crate) struct Space {
    file: File,
    log: File,
    layout: Layout,
    /// The paths of both when they were opened.
    places: (Option<PathBuf>, Option<PathBuf>),
    /// The number of rows of ballast, if known.
    rows: Cell<Option<u64>>,
}

impl Space {
    /// Opens the file at `path` and its log, which both exist, and makes them private to their
    /// owner.
    pub(crate) fn hold(path: &Path, layout: Layout) -> io::Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().read(true).write(true).mode(0o600).open(path)?;
            let mut mode = file.metadata()?.permissions();
            if mode.mode() & 0o077 != 0 {
                mode.set_mode(0o600);
                file.set_permissions(mode)?;
            }
            Ok::<_, io::Error>(file)
        };
        let log = open(&path.with_file_name(schema::LOG))?;
        let file = open(path)?;
        // A process that deletes the lock file lets another program in: but this lock is on the
        // queue's file itself.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let places = (place(&file), place(&log));
        Ok(Self { file, log, layout, places, rows: Cell::new(None) })
    }

    /// Writes the log to its full length, if it never was.
    pub(crate) fn fill_log(&self) -> io::Result<()> {
        let length = self.log.metadata()?.len();
        // The log grows beyond its content; zeros are not frames.
        if length < LOG {
            write_zeros(&self.log, length, LOG)?;
            self.log.sync_data()?;
        }
        Ok(())
    }

    /// Within a transaction, at its end: reserves the room that the file will need, and restores
    /// the ballast if something is stored.
    pub(crate) fn ensure(&self, conn: &Connection, stores: bool) -> rusqlite::Result<()> {
        if self.layout == Layout::Released {
            return Ok(());
        }
        let number = |sql| conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
        if stores {
            let rows = match self.rows.get() {
                Some(rows) => rows,
                None => u64::try_from(number("select count(*) from ballast")?).unwrap_or(0),
            };
            for _ in rows..ROWS {
                conn.prepare_cached("insert into ballast (space) values (zeroblob(?))")?
                    .execute([ROW])?;
            }
            self.rows.set(Some(rows.max(ROWS)));
        }
        let pages = u64::try_from(number("pragma page_count")?).unwrap_or(0);
        self.lengthen(pages.saturating_mul(self.page())).map_err(as_engine_error)
    }

    /// Within a transaction that lacks room on the disk: gives up some ballast.
    pub(crate) fn burn(&self, conn: &Connection) -> rusqlite::Result<()> {
        if self.layout == Layout::Current {
            self.forget();
            let one = "delete from ballast where rowid = (select max(rowid) from ballast)";
            conn.prepare_cached(one)?.execute([])?;
        }
        Ok(())
    }

    /// Forgets the number of rows after a failed transaction, which undid its changes of the
    /// ballast.
    pub(crate) fn forget(&self) {
        self.rows.set(None);
    }

    fn lengthen(&self, length: u64) -> io::Result<()> {
        let is = self.file.metadata()?.len();
        if is >= length {
            return Ok(());
        }
        // On a nearly full disk only the needed length is reserved.
        self.extend(is, length.saturating_add(STEP)).or_else(|_| self.extend(is, length))?;
        self.file.sync_data()
    }

    fn extend(&self, from: u64, to: u64) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), from, to.saturating_sub(from)) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(&self.file, from, to),
            Err(errno) => Err(errno.into()),
        }
    }

    fn page(&self) -> u64 {
        u64::try_from(self.layout.page()).unwrap_or(u64::MAX)
    }

    /// Syncs the commits: the log holds all that is not in the file.
    pub(crate) fn sync_log(&self) -> io::Result<()> {
        self.log.sync_data()
    }

    /// Syncs the file.
    pub(crate) fn sync_file(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Marks the log as empty, keeping its space. Only after its connection is closed, and all of
    /// it is in the file: its content must never be taken for the log of another file.
    pub(crate) fn empty_log(&self) -> io::Result<()> {
        if self.log.metadata()?.len() > 0 {
            self.log.write_all_at(&[0; 32], 0)?;
            self.log.sync_data()?;
        }
        Ok(())
    }

    /// Returns the present path of a file that was moved since it was opened; `None` if neither
    /// was.
    pub(crate) fn elsewhere(&self) -> Option<PathBuf> {
        let moved = |file: &File, was: &Option<PathBuf>| {
            // If its path is unknown, the file counts as in its place.
            let is = place(file)?;
            let moved = was.as_ref().is_some_and(|was| *was != is) && !says_deleted(&is);
            (moved || is_deleted(file)).then_some(is)
        };
        moved(&self.file, &self.places.0).or_else(|| moved(&self.log, &self.places.1))
    }
}

/// Returns the present path of an open file, as the kernel sees it. The kernel's suffix `(deleted)`
/// is not reliable: a file system on top of others (overlayfs) forgets names that still exist.
fn place(file: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

fn says_deleted(place: &Path) -> bool {
    place.as_os_str().as_encoded_bytes().ends_with(b" (deleted)")
}

/// Reports whether an open file has no name any more: it was removed, or another file replaced it.
pub(crate) fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|held| held.nlink() == 0)
}

/// Reports whether a log holds something that may not be in its file.
pub(crate) fn is_filled(log: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(log).and_then(|log| log.read_exact_at(&mut magic, 0)).is_ok() && magic != [0; 4]
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    const CHUNK: usize = 64 << 10;
    let zeros = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let left = usize::try_from(to.saturating_sub(at)).unwrap_or(CHUNK).min(CHUNK);
        let part = zeros.get(..left).unwrap_or(&zeros);
        file.write_all_at(part, at)?;
        at = at.saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// Converts an error of the system into SQLite's, as if its own write had failed.
fn as_engine_error(error: io::Error) -> rusqlite::Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => rusqlite::ffi::SQLITE_FULL,
        io::ErrorKind::ReadOnlyFilesystem => rusqlite::ffi::SQLITE_READONLY,
        _ => rusqlite::ffi::SQLITE_IOERR,
    };
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(error.to_string()))
}
