//! The process that has a tty open, as far as /proc shows it to this user.

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
    /// Its process id.
    pub pid: u32,
}

/// A tty that another process has open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// The tty.
    pub tty: PathBuf,
    /// The process that has it open, if /proc shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holder: Option<Holder>,
}

impl Holder {
    /// Reports whether it is this process.
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
            None => {
                write!(f, "{tty} is in use by another process (as root, `fuser -v {tty}` names it)")
            }
        }
    }
}

/// Returns the process that has each of these ttys open; other processes come before this process.
/// One walk through /proc finds them all. It takes milliseconds, too long for the runtime's thread.
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

/// Returns the process that has this tty open.
pub fn holder(tty: &Path) -> Option<Holder> {
    holders(&[tty.to_owned()]).pop().flatten()
}

/// Returns another process that has this tty open. The kernel's lock (`TIOCEXCL`) does not hold for
/// root, and not every program takes it. Pseudo-terminals are not in /sys and have no strangers:
/// the process that made one keeps it open, so that it does not hang up.
pub fn stranger(tty: &Path) -> Option<Holder> {
    if subsystem(tty)? != "tty" {
        return None;
    }
    holder(tty).filter(|holder| !holder.is_self())
}

/// Returns the folder of a node in /sys.
pub fn sys_folder(node: &Path) -> Option<PathBuf> {
    let (major, minor) = numbers(device(node)?);
    fs::canonicalize(format!("/sys/dev/char/{major}:{minor}")).ok()
}

/// Returns the subsystem of a node in the kernel's words, such as `tty`.
pub fn subsystem(node: &Path) -> Option<String> {
    let subsystem = fs::read_link(sys_folder(node)?.join("subsystem")).ok()?;
    Some(subsystem.file_name()?.to_str()?.to_owned())
}

/// Returns another process that has a node of this tty's USB device open. `None` for a tty that is
/// not of a USB device.
pub fn stranger_of_device(tty: &Path) -> Option<Busy> {
    let nodes = usb_device(tty).map(|device| nodes(&device)).unwrap_or_default();
    let holders = holders(&nodes);
    nodes.into_iter().zip(holders).find_map(|(tty, holder)| {
        let holder = holder.filter(|holder| !holder.is_self())?;
        Some(Busy { tty, holder: Some(holder) })
    })
}

/// Returns the folder in /sys of the USB device of this tty; links to ttys are followed.
pub fn usb_device(tty: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(tty).ok();
    let names = [Some(tty), real.as_deref()].into_iter().flatten().filter_map(Path::file_name);
    let folder = |name: &OsStr| fs::canonicalize(Path::new("/sys/class/tty").join(name)).ok();
    let folder = names.filter_map(folder).next()?;
    folder.ancestors().find(|above| above.join("idVendor").is_file()).map(Path::to_owned)
}

/// Returns the nodes of a USB device by its folder in /sys: its ttys, its control ports
/// (`cdc-wdm0`), and the node with which programs bypass the kernel's drivers.
pub fn nodes(device: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let named =
        |path: &Path| path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let mut names = Vec::new();
    for interface in inside(device).iter().filter(|path| named(path).contains(':')) {
        for entry in inside(interface) {
            match &*named(&entry) {
                "tty" | "usbmisc" => names.extend(inside(&entry).iter().map(|node| named(node))),
                port if port.starts_with("tty") => names.push(port.to_owned()),
                _ => {}
            }
        }
    }
    let number =
        |name: &str| fs::read_to_string(device.join(name)).ok()?.trim().parse::<u16>().ok();
    if let (Some(bus), Some(device)) = (number("busnum"), number("devnum")) {
        names.push(format!("bus/usb/{bus:03}/{device:03}"));
    }
    names.sort_unstable();
    names.into_iter().map(|name| Path::new("/dev").join(name)).collect()
}

/// Returns the number of a device; `None` for a path that is not a device.
fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.rdev()).filter(|number| *number != 0)
}

/// Returns the major and minor number in glibc's layout (makedev(3)).
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
        // Another process may have it too, and comes first.
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

    #[test]
    fn the_nodes_of_a_device_are_all_by_which_a_program_may_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path();
        for path in [
            "1-1:1.0/ttyUSB0/tty/ttyUSB0",
            "1-1:1.2/ttyUSB1",
            "1-1:1.3/tty/ttyACM0",
            "1-1:1.4/usbmisc/cdc-wdm0",
            "1-1:1.4/net/wwan0",
            "1-1.2/1-1.2:1.0/ttyUSB7",
        ] {
            fs::create_dir_all(device.join(path)).unwrap();
        }
        for (name, value) in [("busnum", "1\n"), ("devnum", "12\n"), ("idVendor", "2c7c\n")] {
            fs::write(device.join(name), value).unwrap();
        }
        let expected = ["bus/usb/001/012", "cdc-wdm0", "ttyACM0", "ttyUSB0", "ttyUSB1"];
        let expected = expected.map(|name| Path::new("/dev").join(name));
        assert_eq!(nodes(device), expected);
        // A pseudo-terminal does not belong to a device, and its maker keeps it open.
        assert_eq!(usb_device(Path::new("/dev/pts/0")), None);
        assert_eq!(stranger_of_device(Path::new("/dev/full")), None);
    }
}
