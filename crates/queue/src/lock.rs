//! The lock file, which names the process that has the queue open: a queue has one writer.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    error::{Holder, OpenError},
    space::is_deleted,
};

const LOCK_FILE: &str = "queue.lock";

/// The most bytes to read of a lock file or a command line.
const MAX_READ: u64 = 256;

/// The lock on a queue's directory, held while this value lives.
///
/// The file stays after the lock ends: if it were unlinked, a third process could lock a new file
/// while a second process waits on the old file.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes `dir` if needed (mode 0700) and takes its lock at once or not at all.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, OpenError> {
        make_dir(dir).map_err(|source| OpenError::Prepare { path: dir.to_owned(), source })?;
        let path = dir.join(LOCK_FILE);
        let prepare = |source| OpenError::Prepare { path: path.clone(), source };
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        };
        let mut file = open().map_err(prepare)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if !is_deleted(&file) => break,
                // The file was deleted since it was opened: the lock protects nothing.
                Ok(()) => file = open().map_err(prepare)?,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let holder = holder(&mut file);
                    return Err(OpenError::Locked { dir: dir.to_owned(), holder });
                }
                Err(errno) => return Err(prepare(errno.into())),
            }
        }
        if let Err(error) = sign(&mut file) {
            // A full disk must not prevent draining: a second opener then gets no process id.
            tracing::warn!(error = %error, path = %path.display(), "could not sign the lock file");
        }
        Ok(Self { _file: file })
    }
}

/// Makes the directory and its missing parents, and makes its entry survive a power loss.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    sync_dir(&parent(dir))
}

/// Makes a directory that only its owner may use.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

/// Writes a new file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

/// Returns the directory that holds the entry `dir`.
fn parent(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Writes a directory's entries to disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes our process id for a second opener.
fn sign(file: &mut File) -> io::Result<()> {
    let name = format!("{}\n", std::process::id());
    // Overwritten and then truncated, so that the file keeps its block on a full disk.
    file.seek(SeekFrom::Start(0))?;
    file.write_all(name.as_bytes())?;
    file.set_len(u64::try_from(name.len()).unwrap_or(u64::MAX))
}

/// Returns the process that signed the lock file, or neither id nor command if it has not signed
/// yet.
fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let pid = match file.take(MAX_READ).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().ok(),
        Err(_) => None,
    };
    Holder { pid, command: pid.and_then(command) }
}

/// Returns the command line of a process, on one line and without control characters.
fn command(pid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = text.split('\0').filter(|word| !word.is_empty()).collect();
    let line: String =
        words.join(" ").chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    (!line.is_empty()).then_some(line)
}
