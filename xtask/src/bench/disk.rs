//! Disks for one agent: one with slow syncs, and a small one that other files can fill up.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::Process;

/// The source of the preloaded library, below the repository's root. Its words are four bytes each.
const PRELOAD: &str = "tests/disk/preload.rs";

/// The size of the library's control file, in bytes.
const CONTROL: usize = 28;

/// A disk on which each sync takes a given time.
pub(super) struct SlowDisk {
    control: File,
    control_path: PathBuf,
    library: PathBuf,
    folder: PathBuf,
}

impl SlowDisk {
    /// Builds the library, by rustc alone. Only files below `folder` are slow; `dir` is for its own
    /// files.
    pub(super) fn new(dir: &Path, folder: &Path) -> anyhow::Result<Self> {
        let (library, control_path) = (dir.join("libfaulty_disk.so"), dir.join("disk-control"));
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args([
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "--crate-name",
            "faulty_disk",
        ]);
        command.args(["-C", "opt-level=2", "-C", "panic=abort", "-o"]).arg(&library);
        let status = command.arg(crate::step::root().join(PRELOAD)).status();
        ensure!(status.context("cannot start rustc")?.success(), "rustc failed on {PRELOAD}");
        fs::write(&control_path, [0; CONTROL])?;
        let control = File::options().write(true).open(&control_path)?;
        Ok(Self { control, control_path, library, folder: folder.to_owned() })
    }

    /// Returns the program's command on this disk.
    pub(super) fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("LD_PRELOAD", &self.library);
        command.env("FAULTY_DISK_CONTROL", &self.control_path);
        command.env("FAULTY_DISK_FOLDER", &self.folder);
        command
    }

    /// Sets the duration of each sync, also of those under way.
    pub(super) fn sync_takes(&self, time: Duration) -> anyhow::Result<()> {
        let millis = u32::try_from(time.as_millis())?;
        Ok(self.control.write_all_at(&millis.to_ne_bytes(), 0)?)
    }
}

/// A small file system in memory, in its own mount namespace, which ends with the process that
/// holds it.
pub(super) struct SmallDisk {
    holder: Process,
    folder: PathBuf,
    /// True if the namespace is also a user namespace, which needs no root.
    user: bool,
}

impl SmallDisk {
    /// Mounts it on an existing folder, as root or as root of a user namespace.
    ///
    /// # Errors
    /// If neither is possible here.
    pub(super) fn mount(folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        let script = format!(
            "mount -t tmpfs -o size={bytes} none \"$1\" && echo mounted && exec sleep infinity"
        );
        for user in [false, true] {
            let mut command = Command::new("unshare");
            command.arg(if user { "-rm" } else { "-m" }).args(["sh", "-c", &script, "sh"]);
            command.arg(folder).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut holder = Process::start(&mut command)?;
            let out = holder.output().context("the holder has no output")?;
            if BufReader::new(out).lines().next().is_some_and(|line| line.is_ok()) {
                return Ok(Self { holder, folder: folder.to_owned(), user });
            }
        }
        anyhow::bail!(
            "no small file system can be mounted here: root is needed, or user namespaces for all users"
        )
    }

    /// Returns a command that runs the program with this file system. It keeps its process id.
    pub(super) fn run(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if self.user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }

    /// Returns a path below the folder, as seen from outside of the namespace.
    pub(super) fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        let below = self.folder.strip_prefix("/").context("the folder's path is relative")?;
        Ok(PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(below).join(name))
    }

    /// Fills the disk to its last byte, as other programs may.
    pub(super) fn fill(&self) -> anyhow::Result<u64> {
        let mut file = File::options().create(true).append(true).open(self.path("others")?)?;
        let mut bytes = 0;
        for size in [1 << 16, 1 << 12, 1] {
            while let Ok(more) = file.write(&vec![0x55; size]) {
                bytes += u64::try_from(more)?;
            }
        }
        Ok(bytes)
    }

    /// Removes the files that filled it.
    pub(super) fn free(&self) -> anyhow::Result<()> {
        let others = self.path("others")?;
        if others.exists() {
            fs::remove_file(others)?;
        }
        Ok(())
    }
}
