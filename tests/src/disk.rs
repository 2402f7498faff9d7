//! A disk with faults for the agent of a site: slow syncs, failing writes, or no room.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::agent::Site;

/// An error that the system may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`: the device is broken.
    Io,
    /// `EROFS`: the file system is read-only, as the kernel makes it after errors.
    ReadOnly,
}

impl Fault {
    /// Returns its number on Linux.
    fn number(self) -> u32 {
        match self {
            Self::Io => 5,
            Self::ReadOnly => 30,
        }
    }
}

/// Offsets of the words in the control file, of four bytes each: see `tests/disk/preload.rs`.
mod word {
    pub(super) const SYNC_TAKES: u64 = 0;
    pub(super) const WRITE_FAILS: u64 = 8;
    pub(super) const FULL: u64 = 12;
    pub(super) const BEGUN: u64 = 16;
    pub(super) const ENDED: u64 = 20;
    /// The length of all words, including a word that only the library uses.
    pub(super) const BYTES: usize = 28;
}

/// Controls the disk of a site's queue. Each fault lasts until it is removed, also for agents that
/// start later.
#[derive(Debug)]
pub struct Disk {
    control: File,
}

impl Disk {
    /// Puts the library before the C library of all agents that this site starts from now on.
    ///
    /// # Panics
    /// If the library cannot be built.
    #[must_use]
    pub fn under(site: &mut Site) -> Self {
        let path = site.dir().join("disk-control");
        fs::write(&path, [0; word::BYTES]).unwrap();
        let control = File::options().read(true).write(true).open(&path).unwrap();
        site.environment = vec![
            ("LD_PRELOAD".into(), library()),
            ("FAULTY_DISK_CONTROL".into(), path),
            ("FAULTY_DISK_FOLDER".into(), site.dir().join("queue")),
        ];
        Self { control }
    }

    /// Sets the duration of each sync, also of those under way.
    pub fn sync_takes(&self, time: Duration) {
        self.set(word::SYNC_TAKES, u32::try_from(time.as_millis()).unwrap());
    }

    /// Makes each write fail from now on, or none.
    pub fn writes_fail(&self, fault: Option<Fault>) {
        self.set(word::WRITE_FAILS, fault.map_or(0, Fault::number));
    }

    /// Fills the disk with other files, or frees it. While it is full, the queue's files keep their
    /// blocks, and a block that a file gives back is free for another file. A `fallocate` that
    /// bypasses the C library is not seen. `cargo xtask bench kill --disk full` has a file system
    /// that is full for every call.
    pub fn is_full(&self, full: bool) {
        self.set(word::FULL, u32::from(full));
    }

    /// Returns how many syncs have begun, and how many of them have ended.
    #[must_use]
    pub fn syncs(&self) -> (u32, u32) {
        let ended = self.get(word::ENDED); // first, so that none ends before it began
        (self.get(word::BEGUN), ended)
    }

    fn set(&self, word: u64, value: u32) {
        self.control.write_all_at(&value.to_ne_bytes(), word).unwrap();
    }

    fn get(&self, word: u64) -> u32 {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, word).unwrap();
        u32::from_ne_bytes(bytes)
    }
}

/// Returns the library, built if it is missing or older than its source. It stands outside of the
/// workspace, since its code needs more than the lints allow.
fn library() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("disk/preload.rs");
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join("libfaulty_disk.so");
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if modified(&library).is_some_and(|built| Some(built) > modified(&source)) {
        return library;
    }
    // Tests run at the same time: each builds its own copy, and the last rename wins. Each needs
    // its own folder, since the compiler's object files have the crate's name.
    let folder = library.with_extension(std::process::id().to_string());
    fs::create_dir_all(&folder).unwrap();
    let mine = folder.join("built.so");
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "faulty_disk"]);
    command.args(["-C", "opt-level=2", "-C", "panic=abort", "-C", "strip=symbols", "-o"]);
    let status = command.arg(&mine).arg(source).status().unwrap();
    assert!(status.success(), "rustc failed on the library of the disk with faults");
    fs::rename(&mine, &library).unwrap();
    fs::remove_dir_all(folder).unwrap();
    library
}
