//! Facts of the machine, as this process sees them. This module does not judge them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use modem::holder;
use modem::probe;
use queue::Failing;
use rustix::fs::{Access, AtFlags, CWD, accessat, statfs, statvfs};
use rustix::process::{getegid, geteuid, getgroups};
use tokio::time::Instant;

use super::gateway::Gateway;
use super::port::{Node, Port};
use super::rights::Rights;
use super::service::{Disk, QueueReport, Recovery, Refused, Trial, User, Watchdog, Why};
use fleet::Fleet;
use fleet::{accounts, private};

/// The folders of udev's rules (udev(7)), and the name of ours.
const RULES: [&str; 4] =
    ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
const OUR_RULES: &str = "78-modemfleet.rules";

/// The folders of systemd's units (systemd.unit(5)), and the name of ours.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const OUR_UNIT: &str = "modemfleet.service";

const USB: &str = "/sys/bus/usb/devices";
const DRIVER: &str = "/sys/bus/usb-serial/drivers/option1";

/// The number of writes of a trial, and the bytes of each: a small message.
const SYNCS: usize = 9;
const PIECE: [u8; 4_096] = [0x5a; 4_096];

/// Magic numbers of file systems in memory (statfs(2)).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

/// Collects the facts of the machine. It walks through /proc and /sys: do not call it on the
/// runtime's thread.
///
/// `known` are the `vendor:product` of all models; `wants_usb` is true if the fleet looks for
/// modems on USB.
pub fn gateway(known: &[String], wants_usb: bool) -> Gateway {
    let devices = usb_devices(known);
    Gateway {
        time: SystemTime::now(),
        uses_usb: wants_usb || !devices.is_empty(),
        modem_manager: process("ModemManager"),
        has_udevd: discovery::has_udevd(),
        rules: find(&RULES, OUR_RULES),
        has_driver: Path::new(DRIVER).exists(),
        portless: devices
            .into_iter()
            .filter(|(path, _)| !has_tty(path))
            .map(|(path, id)| (name(&path), id))
            .collect(),
    }
}

fn find(folders: &[&str], file: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| Path::new(folder).join(file)).find(|path| path.exists())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the id of a process of this name, as the kernel keeps the name.
fn process(wanted: &str) -> Option<u32> {
    let all = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == wanted)
    })
}

fn usb_devices(known: &[String]) -> Vec<(PathBuf, String)> {
    let attribute = |path: &Path, name: &str| {
        fs::read_to_string(path.join(name)).ok().map(|text| text.trim().to_owned())
    };
    let all = fs::read_dir(USB).into_iter().flatten().flatten().map(|entry| entry.path());
    let with_id = all.filter_map(|path| {
        let id = format!("{}:{}", attribute(&path, "idVendor")?, attribute(&path, "idProduct")?);
        known.contains(&id).then_some((path, id))
    });
    with_id.collect()
}

/// Reports whether an interface of a device has a tty: `1-1/1-1:1.2/ttyUSB2`, or `…/tty/ttyACM0`.
fn has_tty(device: &Path) -> bool {
    let inside = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    inside(device).any(|interface| {
        inside(&interface.path())
            .any(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("tty")))
    })
}

/// Returns the user whose rights this process has.
pub fn user() -> User {
    let uid = geteuid().as_raw();
    let own = getegid();
    let others = getgroups().unwrap_or_default().into_iter().filter(|group| *group != own);
    let names = std::iter::once(own)
        .chain(others)
        .map(|group| accounts::group_name(group.as_raw()))
        .collect();
    User { uid, name: accounts::user_name(uid), groups: names }
}

/// Describes the tty of a modem, and its place on USB.
pub fn port(place: String, tty: Option<PathBuf>, usb_path: Option<&str>) -> Port {
    let node = tty.as_deref().and_then(node);
    let busy = tty
        .as_deref()
        .and_then(holder::stranger)
        .map(|holder| holder::Busy { tty: tty.clone().unwrap_or_default(), holder: Some(holder) });
    let is_plugged = usb_path.is_some_and(|usb_path| Path::new(USB).join(usb_path).exists());
    Port { place, tty, node, busy, is_plugged }
}

fn node(tty: &Path) -> Option<Node> {
    let meta = fs::metadata(tty).ok()?;
    let owner = accounts::user_name(meta.uid()).unwrap_or_else(|| meta.uid().to_string());
    Some(Node {
        is_device: meta.file_type().is_char_device(),
        mode: meta.mode() & 0o777,
        owner,
        group: accounts::group_name(meta.gid()),
        may_open: may(tty, Access::READ_OK | Access::WRITE_OK),
    })
}

fn may(path: &Path, what: Access) -> bool {
    accessat(CWD, path, what, AtFlags::EACCESS).is_ok()
}

/// Tries the disk of the queue: a file is written there, and removed again. `failing` is the
/// agent's report of its commits, if this process is the agent.
pub fn disk(queue: &fleet::Queue, failing: Option<Option<Failing>>) -> Disk {
    let trial = trial(&queue.path).map_err(|error| refused(&error));
    let is_there = || has_open(&queue.path);
    let agent = failing.map(|failing| QueueReport { failing, is_there: is_there() });
    Disk { path: queue.path.clone(), max_bytes: queue.max_bytes, trial, agent }
}

fn refused(error: &io::Error) -> Refused {
    let why = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Why::Full,
        io::ErrorKind::ReadOnlyFilesystem => Why::ReadOnly,
        io::ErrorKind::PermissionDenied => Why::Denied,
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Why::Io,
        _ => Why::Other,
    };
    Refused { why, words: error.to_string() }
}

/// Reports whether this process has a file of the folder open that still has a name in this place.
/// A file in a folder that was moved away does not count.
fn has_open(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return true };
    let is_there = |fd: fs::DirEntry| {
        let Ok(path) = fs::read_link(fd.path()) else { return false };
        // The link leads to the file itself. Neither its words `(deleted)` nor inode numbers are
        // reliable on a file system on top of others: the number of names is.
        let has_name = fs::metadata(fd.path()).is_ok_and(|own| own.is_file() && own.nlink() > 0);
        has_name && path.starts_with(&folder)
    };
    open.flatten().any(is_there)
}

fn trial(folder: &Path) -> io::Result<Trial> {
    // The agent makes the folder if it does not exist yet.
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let path = there.join(format!(".modemfleet-doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let times = file.and_then(|mut file| {
        let each = (0..SYNCS).map(|_| {
            let since = Instant::now();
            file.write_all(&PIECE)?;
            file.sync_data()?;
            Ok(since.elapsed())
        });
        each.collect::<io::Result<Vec<Duration>>>()
    });
    if !matches!(&times, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
        drop(fs::remove_file(&path));
    }
    let mut times = times?;
    times.sort_unstable();
    let space = statvfs(there)?;
    let kind = u64::try_from(statfs(there)?.f_type).unwrap_or_default();
    Ok(Trial {
        median: times.get(SYNCS / 2).copied().unwrap_or_default(),
        worst: times.last().copied().unwrap_or_default(),
        free: space.f_bavail.saturating_mul(space.f_frsize),
        is_volatile: kind == TMPFS || kind == RAMFS,
    })
}

/// Rights of others in the folders of queue and inbox.
pub fn rights(fleet: &Fleet) -> Vec<Rights> {
    let folders = std::iter::once(&fleet.queue.path).chain(fleet.inbox.iter().map(|it| &it.path));
    let seen = folders.map(|path| Rights { path: path.clone(), openings: private::openings(path) });
    seen.collect()
}

/// The socket of `modemfleet recover`.
pub fn recovery(fleet: &Fleet) -> Recovery {
    let is_socket = fs::metadata(&fleet.privileged).is_ok_and(|meta| meta.file_type().is_socket());
    let on_usb = |modem: &fleet::Modem| modem.recovery.usb_reset && is_on_usb(&modem.matching);
    let with_script = fleet.modems.iter().filter(|modem| modem.recovery.power_script.is_some());
    Recovery {
        may_ask: is_socket.then(|| may(&fleet.privileged, Access::WRITE_OK)),
        socket: fleet.privileged.clone(),
        is_wanted: fleet.modems.iter().any(on_usb),
        scripts: with_script.map(|modem| modem.name.to_string()).collect(),
    }
}

/// Reports whether a modem is looked for on USB: by its USB path, without a port, or at a tty of
/// USB.
pub fn is_on_usb(matching: &fleet::Match) -> bool {
    let of_usb = |port: &PathBuf| {
        let name = name(port);
        name.starts_with("ttyUSB") || name.starts_with("ttyACM")
    };
    matching.usb_path.is_some() || matching.port.as_ref().is_none_or(of_usb)
}

/// Returns the watchdog of this process, if it is the agent.
pub fn watched() -> Watchdog {
    sd_notify::watchdog_enabled().map_or(Watchdog::Unwatched, Watchdog::Watched)
}

/// Returns the watchdog of an agent that does not run.
pub fn unit() -> Watchdog {
    let Some(path) = find(&UNITS, OUR_UNIT) else { return Watchdog::NoUnit };
    let text = fs::read_to_string(&path).unwrap_or_default();
    let watches = text.lines().any(|line| {
        line.trim()
            .strip_prefix("WatchdogSec=")
            .is_some_and(|value| !matches!(value.trim(), "" | "0" | "infinity"))
    });
    Watchdog::Unit(path, watches)
}

/// Formats the reason why no modem was identified, with all its causes.
pub fn probe_failed(error: &probe::ProbeError) -> String {
    modem::session::Chain(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_user_and_a_device_are_described() {
        let user = user();
        assert_eq!(user.uid, geteuid().as_raw());
        assert!(!user.groups.is_empty());
        let null = node(Path::new("/dev/null")).unwrap();
        assert!(null.is_device && null.may_open);
        assert_eq!((null.owner.as_str(), null.mode), ("root", 0o666));
        assert_eq!(node(Path::new("/dev/no-such-tty")), None);
        assert_eq!(accounts::user_name(u32::MAX - 7), None);
    }

    #[test]
    fn the_disk_is_tried_and_nothing_stays_there() {
        let folder = tempfile::tempdir().unwrap();
        let tried = trial(&folder.path().join("not/there/yet")).unwrap();
        assert!(tried.median <= tried.worst && tried.worst > Duration::ZERO, "{tried:?}");
        assert!(tried.free > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(trial(&file.join("queue")).is_err(), "a file is no folder");
    }

    #[test]
    fn where_a_modem_is_looked_for_tells_whether_it_is_on_usb() {
        let at = |port: Option<&str>, usb_path: Option<&str>| {
            is_on_usb(&fleet::Match {
                port: port.map(PathBuf::from),
                usb_path: usb_path.map(str::to_owned),
                imei: None,
                iccid: None,
                model: None,
            })
        };
        assert!(at(None, None) && at(None, Some("1-1")) && at(Some("/dev/ttyUSB2"), None));
        assert!(!at(Some("/dev/ttyS1"), None) && !at(Some("/tmp/sim/modem0"), None));
    }
}
