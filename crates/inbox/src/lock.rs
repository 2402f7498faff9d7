//! The writer's lock on an inbox: its folder, and the lock file in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
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
        loop {
            let file = open_private(&path).map_err(prepare)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if !is_deleted(&file) => return Ok(Self { _file: file }),
                // The file was deleted since it was opened: the lock protects nothing.
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(OpenError::Locked { dir: dir.to_owned() });
                }
                Err(errno) => return Err(prepare(errno.into())),
            }
        }
    }
}

/// A file that is held open: SQLite's locks on it end when a process closes any of its descriptors
/// of that file.
#[derive(Debug)]
pub(crate) struct HeldFile {
    file: File,
    /// Its path when it was opened.
    place: Option<PathBuf>,
}

impl HeldFile {
    /// Opens a file that exists.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let place = place(&file);
        Ok(Self { file, place })
    }

    /// Locks it for this program: without the lock file, the folder's lock keeps out no other.
    pub(crate) fn lock(&self) -> io::Result<()> {
        Ok(flock(&self.file, FlockOperation::NonBlockingLockExclusive)?)
    }

    /// Reports whether it was removed, replaced or moved: what is written now is lost at the end.
    pub(crate) fn is_gone(&self) -> bool {
        // Of a deleted file the kernel shows a path with a suffix, even if a file system on top of
        // others (overlayfs) only forgot a name that still exists.
        let is_deleted_name =
            |path: &Path| path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
        let is = place(&self.file).filter(|is| !is_deleted_name(is));
        // If a path is unknown, the file counts as in its place.
        let is_moved = is.zip(self.place.as_ref()).is_some_and(|(is, was)| is != *was);
        is_moved || is_deleted(&self.file)
    }
}

/// Returns the present path of an open file, as the kernel sees it.
fn place(file: &File) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Reports whether an open file has no name any more.
fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|held| held.nlink() == 0)
}

/// Opens a file that only its owner may read, and makes it if missing.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Writes a folder's entries to disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
