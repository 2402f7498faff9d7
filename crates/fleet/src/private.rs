//! The files of queue and inbox: for the agent's user only, whatever the folder and the umask.
//!
//! New files are made so. Earlier versions made some files with the rights of the umask, and a folder that was there
//! before keeps its own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;

/// Files that the agent makes in its folders, by the beginnings of the names.
const OURS: [&str; 8] =
    ["queue.", "inbox.", "damaged-", "salvage", "takeover", "pins.", "access-points.", "budget."];

/// The rights of all but the owner.
const OTHERS: u32 = 0o077;

/// The rights that let others take files away, or put others in their place.
pub const OTHERS_WRITE: u32 = 0o022;

/// The rights in a folder of users who do not own it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Openings {
    /// They may look into the folder or write to it; its mode.
    pub folder: Option<u32>,
    /// They may read or write these files of ours, or look into these folders.
    pub files: Vec<PathBuf>,
}

impl Openings {
    /// Returns the mode of the folder if others may write to it.
    pub fn is_writable(&self) -> Option<u32> {
        self.folder.filter(|mode| mode & OTHERS_WRITE != 0)
    }
}

/// Reads the rights of other users; finds none if this user may not look.
pub fn openings(folder: &Path) -> Openings {
    let is_open = |path: &PathBuf| {
        let meta = fs::symlink_metadata(path);
        meta.is_ok_and(|meta| !meta.is_symlink() && meta.permissions().mode() & OTHERS != 0)
    };
    let mut files: Vec<PathBuf> = ours(folder).into_iter().filter(is_open).collect();
    files.sort();
    let meta = fs::metadata(folder).ok().filter(fs::Metadata::is_dir);
    let mode = meta.map(|meta| meta.permissions().mode() & 0o7777);
    Openings { folder: mode.filter(|mode| mode & OTHERS != 0), files }
}

fn ours(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|name| OURS.iter().any(|ours| name.starts_with(ours)))
    };
    all.filter(is_ours).map(|entry| entry.path()).collect()
}

/// Removes the rights of others from the files that an earlier version left in a folder. A file system without rights
/// is only warned of. In a folder of several users another one's file may have such a name, too, and stays as it is.
pub fn tighten(folder: &Path) {
    tighten_of(folder, geteuid().as_raw());
}

fn tighten_of(folder: &Path, user: u32) {
    for path in ours(folder) {
        if let Err(error) = tighten_one(&path, user) {
            tracing::warn!(path = %path.display(), %error, "could not deny other users access");
        }
    }
}

fn tighten_one(path: &Path, user: u32) -> io::Result<()> {
    // Opening may do something, if not a regular file.
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() != user) {
        return Ok(());
    }
    // A link may lead to the files of others.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOENT) => return Ok(()),
        opened => File::from(opened?),
    };
    let meta = file.metadata()?;
    let mut rights = meta.permissions();
    // It may be another one by now.
    if meta.uid() != user || rights.mode() & OTHERS == 0 {
        return Ok(());
    }
    rights.set_mode(rights.mode() & !OTHERS);
    file.set_permissions(rights)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn give(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_an_earlier_version_left_open_is_closed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("damaged-7")).unwrap();
        for name in ["queue.db", "queue.db-shm", "pins.json", "pins.new", "another's"] {
            fs::write(at(name), "x").unwrap();
            give(&at(name), 0o644);
        }
        give(&at("damaged-7"), 0o755);
        symlink(at("another's"), at("queue.link")).unwrap();
        give(dir.path(), 0o755);
        let seen = openings(dir.path());
        let names = ["damaged-7", "pins.json", "pins.new", "queue.db", "queue.db-shm"];
        assert_eq!(seen, Openings { folder: Some(0o755), files: names.map(at).to_vec() });
        assert_eq!(seen.is_writable(), None);
        tighten_of(dir.path(), geteuid().as_raw() + 1);
        assert_eq!(openings(dir.path()), seen, "another user's files stay as they are");
        tighten(dir.path());
        for name in &names[1..] {
            assert_eq!(mode(&at(name)), 0o600, "{name}");
        }
        assert_eq!((mode(&at("damaged-7")), mode(&at("another's"))), (0o700, 0o644));
        assert_eq!(openings(dir.path()), Openings { folder: Some(0o755), files: Vec::new() });
        give(dir.path(), 0o770);
        assert_eq!(openings(dir.path()).is_writable(), Some(0o770));
        give(dir.path(), 0o700);
        assert_eq!(openings(dir.path()), Openings::default());
        assert_eq!(openings(&at("not there")), Openings::default());
    }
}
