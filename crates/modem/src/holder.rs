//! Which process has a tty open, as far as /proc shows it to this user.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A process that has a tty open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its name, as the kernel keeps it: at most 15 bytes.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

/// A tty that another process has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// Which.
    pub tty: PathBuf,
    /// Whose it is, where /proc tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holder: Option<Holder>,
}

impl Holder {
    /// Whether that is this process.
    pub fn is_self(&self) -> bool {
        self.pid == std::process::id()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.is_self() { ", this agent itself" } else { "" };
        write!(f, "{} (pid {}{whose})", self.name, self.pid)
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tty = self.tty.display();
        match &self.holder {
            Some(holder) => write!(f, "{tty} is in use by {holder}"),
            None => write!(
                f,
                "{tty} is in use by another process (as root, `fuser -v {tty}` says which)"
            ),
        }
    }
}

/// Who has each of these ttys open, others before this process. One walk through /proc for all of
/// them: it takes milliseconds, and is nothing for the runtime's thread.
pub fn holders(ttys: &[PathBuf]) -> Vec<Option<Holder>> {
    let devices: Vec<Option<u64>> = ttys.iter().map(|tty| device(tty)).collect();
    let mut found: Vec<Option<Holder>> = vec![None; ttys.len()];
    if devices.iter().all(Option::is_none) {
        return found;
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        for held in files.flatten().filter_map(|file| device(&file.path())) {
            for (slot, _) in
                found.iter_mut().zip(&devices).filter(|(_, device)| **device == Some(held))
            {
                if slot.as_ref().is_none_or(Holder::is_self) {
                    let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                    *slot = Some(Holder { name: name.trim().to_owned(), pid });
                }
            }
        }
    }
    found
}

/// Who has this tty open.
pub fn holder(tty: &Path) -> Option<Holder> {
    holders(&[tty.to_owned()]).pop().flatten()
}

/// Another process that has this tty open. For root the kernel's lock (`TIOCEXCL`) is none, and not
/// every program takes it. Pseudo-terminals have no place in /sys, and no strangers: who made one keeps
/// it open, so that it does not hang up.
pub fn stranger(tty: &Path) -> Option<Holder> {
    let (major, minor) = numbers(device(tty)?);
    let subsystem = fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem")).ok()?;
    if subsystem.file_name() != Some(OsStr::new("tty")) {
        return None;
    }
    holder(tty).filter(|holder| !holder.is_self())
}

/// The number of a device; none for what is no device.
fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.rdev()).filter(|number| *number != 0)
}

/// Major and minor number, as makedev(3) of glibc lays them out.
fn numbers(device: u64) -> (u64, u64) {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    (major, (device & 0xff) | ((device >> 12) & 0xffff_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_device_open_is_found_and_what_nobody_has_is_not() {
        let Ok(_held) = fs::File::open("/dev/full") else { panic!("no /dev/full") };
        let ttys = ["/dev/full", "/dev/no-such-tty", "/"].map(PathBuf::from);
        let found = holders(&ttys);
        // Another process may have it too, and is told first.
        assert!(found.first().is_some_and(Option::is_some), "{found:?}");
        assert_eq!(found.get(1..), Some([None, None].as_slice()));
    }

    #[test]
    fn busy_ports_are_told_with_their_holder_or_with_how_to_find_it() {
        let busy = |holder| Busy { tty: "/dev/ttyUSB2".into(), holder }.to_string();
        let holder = Holder { name: "ModemManager".to_owned(), pid: 812 };
        assert_eq!(busy(Some(holder)), "/dev/ttyUSB2 is in use by ModemManager (pid 812)");
        assert!(busy(None).contains("`fuser -v /dev/ttyUSB2`"), "{}", busy(None));
        assert_eq!(device(Path::new("/dev/full")).map(numbers), Some((1, 7)));
    }
}
