//! One writer per queue: the lock file that says who has it open.

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

/// How much of a lock file or a command line is worth reading.
const MAX_READ: u64 = 256;

/// The lock on a queue's directory, held while this value lives.
///
/// The file stays when the lock goes: to unlink it would let a third process lock a new file
/// while a second one waits on the old.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes `dir` if need be (mode 0700) and takes its lock at once or not at all.
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
                // It was deleted since it was opened: the lock is on nothing.
                Ok(()) => file = open().map_err(prepare)?,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let holder = holder(&mut file);
                    return Err(OpenError::Locked { dir: dir.to_owned(), holder });
                }
                Err(errno) => return Err(prepare(errno.into())),
            }
        }
        if let Err(error) = sign(&mut file) {
            // A full disk must not keep us from draining: then a second opener learns no name.
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

/// The directory that holds the entry `dir`.
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

/// Leaves our process id for the one who comes second.
fn sign(file: &mut File) -> io::Result<()> {
    let name = format!("{}\n", std::process::id());
    // Overwritten and then cut, so that the file keeps its block on a full disk.
    file.seek(SeekFrom::Start(0))?;
    file.write_all(name.as_bytes())?;
    file.set_len(u64::try_from(name.len()).unwrap_or(u64::MAX))
}

/// Who signed the lock file. The holder may be just about to sign: then nobody is named.
fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let pid = match file.take(MAX_READ).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().ok(),
        Err(_) => None,
    };
    Holder { pid, command: pid.and_then(command) }
}

/// The command line of a process, on one line and without control characters.
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
