//! A file of the released format, rewritten in the current format.
//!
//! The new file is made beside the old file, synced, and takes its name in one step. An interrupted
//! takeover leaves the old file unchanged, and restarts. The old format stays in use if the disk
//! has no room for a second file. The same holds if the queue is so large that a start would take
//! long.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    config::Fsync,
    error::OpenError,
    layout::Layout,
    lock::{make_private_dir, sync_dir},
    salvage::{Wreck, copy},
    schema, space,
    store::Store,
};

/// The folder in which the new file is made, in the queue's directory.
const WORKSHOP: &str = "takeover";

/// The largest file that is taken over, in bytes: a larger file would hold up a start for many
/// seconds. It is taken over at a later start, when it has been drained.
const LARGEST: u64 = 256 << 20;

/// Opens the store in `dir`, in the current format if possible.
pub(crate) fn open(dir: &Path, fsync: Fsync) -> Result<Store, OpenError> {
    clear(dir);
    let store = Store::open(dir, fsync)?;
    if store.layout() == Layout::Current {
        return Ok(store);
    }
    store.probe()?;
    let path = dir.join(schema::FILE);
    // The content of the log is moved into the file first.
    let closed = store.close().map_err(|error| schema::failed(&path, error));
    match closed.and_then(|()| take_over(dir)) {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!("the queue's file is large; it stays in the format of earlier releases");
        }
        Err(error) => {
            let chain: &dyn std::error::Error = &error;
            tracing::warn!(
                error = chain,
                "could not rewrite the queue's file; it stays in the format of earlier releases"
            );
        }
    }
    clear(dir);
    Store::open(dir, fsync)
}

/// Removes the rest of an interrupted takeover.
fn clear(dir: &Path) {
    let workshop = dir.join(WORKSHOP);
    if let Err(error) = fs::remove_dir_all(&workshop)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(error = %error, path = %workshop.display(), "could not be removed");
    }
}

/// Rewrites the closed file; false if it would take too long now.
fn take_over(dir: &Path) -> Result<bool, OpenError> {
    let (file, workshop) = (dir.join(schema::FILE), dir.join(WORKSHOP));
    let prepare = |source| OpenError::Prepare { path: workshop.clone(), source };
    let size = fs::metadata(&file).map_err(prepare)?.len();
    if size > LARGEST || is_log_needed(&file) {
        return Ok(false);
    }
    if size.saturating_mul(2) > free(dir) {
        return Err(prepare(io::ErrorKind::StorageFull.into()));
    }
    make_private_dir(&workshop).map_err(prepare)?;
    let made_file = workshop.join(schema::FILE);
    let failed = |error| schema::failed(&made_file, error);
    let mut made = Store::open(&workshop, Fsync::Off)?;
    let Some(wreck) = Wreck::find(&file)? else { return Ok(false) };
    let count = copy(&mut made, &wreck).map_err(failed)?;
    drop(wreck);
    if count.lost > 0 {
        // It is damaged: the old format finds and mends that.
        return Ok(false);
    }
    made.close().map_err(failed)?;
    File::open(&made_file).and_then(|file| file.sync_all()).map_err(prepare)?;
    put_in_place(dir, &file, &made_file).map_err(prepare)?;
    tracing::info!(messages = count.saved, "the queue's file was rewritten in the current format");
    Ok(true)
}

/// Replaces the old file, whose log is empty by now. Its log index must not be found beside the new
/// file.
fn put_in_place(dir: &Path, file: &Path, made: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        let mut beside: PathBuf = file.to_owned();
        beside.as_mut_os_string().push(suffix);
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_dir(dir)?;
    fs::rename(made, file)?;
    sync_dir(dir)
}

/// Reports whether the log holds writes that are not in the file, since closing could not move
/// them.
fn is_log_needed(file: &Path) -> bool {
    space::is_filled(&file.with_file_name(schema::LOG))
}

/// Returns the free bytes on the file system of `dir`.
fn free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}
