//! The writer's lock on an inbox: its folder, and the lock file in it.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::error::OpenError;

const LOCK_FILE: &str = "inbox.lock";

/// The lock on an inbox's folder, held while this value lives. The file stays after the lock ends.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes `dir` with mode 0700 if missing, and takes its lock at once or not at all.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, OpenError> {
        let prepare = |source| OpenError::Prepare { path: dir.to_owned(), source };
        if !dir.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(prepare)?;
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_dir(parent.unwrap_or(Path::new("."))).map_err(prepare)?;
        }
        let path = dir.join(LOCK_FILE);
        let prepare = |source| OpenError::Prepare { path: path.clone(), source };
        let file = open_private(&path).map_err(prepare)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { dir: dir.to_owned() }),
            Err(errno) => Err(prepare(errno.into())),
        }
    }
}

/// Opens a file that only its owner may read, and makes it if missing.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Writes a folder's entries to disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
