//! The actions that need root.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use modem::holder::{self, Busy};
use nusb::MaybeFuture;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use tokio::process::Command;

use agent::recover::{Answer, PrivilegedAction, UsbPath};
use fleet::Name;

/// The only environment variable of a script.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Mode bits: write permission for group and others, and execute permission.
const OTHERS_WRITE: u32 = 0o022;
const EXECUTE: u32 = 0o111;

/// The attempts to authorize a device again, and the pause between two.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// Paths, and the time limit of a script.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    /// The folder of the power scripts.
    pub(crate) scripts: PathBuf,
    /// The folder of the kernel's devices: `/sys`.
    pub(crate) sysfs: PathBuf,
    /// The folder of the USB devices' nodes: `/dev/bus/usb`.
    pub(crate) usbfs: PathBuf,
    /// The time after which a script is killed, with all its children.
    pub(crate) patience: Duration,
}

impl Means {
    /// Runs the action if it is allowed.
    ///
    /// # Cancel safety
    /// A running script is killed; its children may continue.
    pub(crate) async fn perform(&self, action: &PrivilegedAction) -> Answer {
        match action {
            PrivilegedAction::UsbReset(place) => self.usb_reset(place).await,
            PrivilegedAction::Power(script) => self.power(script).await,
        }
    }

    /// Resets the device's port, which gives the device a new address and loads its drivers again.
    /// If that fails, its drivers are removed and restored (Documentation/usb/authorization.rst of
    /// the kernel). Only for a device with a tty, so that no disk or keyboard can be switched off.
    async fn usb_reset(&self, place: &UsbPath) -> Answer {
        let device = self.sysfs.join("bus/usb/devices").join(place.as_str());
        let authorized = device.join("authorized");
        if !authorized.exists() {
            return Answer::Unavailable(format!("there is no USB device at {}", place.as_str()));
        }
        if !has_tty(&device, place) {
            return Answer::Unavailable(format!("the USB device at {} has no tty", place.as_str()));
        }
        if let Some(busy) = stranger(&device) {
            return Answer::Busy(busy.to_string());
        }
        match self.reset_port(&device) {
            Ok(()) => return Answer::Done,
            Err(reason) => fleet::printable::complain(&format!("no reset of the port: {reason}")),
        }
        let set = |word: &str| fs::write(&authorized, word);
        match take_and_give_back(set, PAUSE).await {
            Ok(()) => Answer::Done,
            Err(reason) => Answer::Failed(format!("{}: {reason}", authorized.display())),
        }
    }

    /// Sends `USBDEVFS_RESET` to the device's node.
    fn reset_port(&self, device: &Path) -> Result<(), String> {
        let number = |name: &str| {
            let path = device.join(name);
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            text.trim().parse::<u16>().map_err(|e| format!("{}: {e}", path.display()))
        };
        let node = format!("{:03}/{:03}", number("busnum")?, number("devnum")?);
        let node = self.usbfs.join(node);
        let open = File::options().read(true).write(true).open(&node);
        let file = open.map_err(|error| format!("{}: {error}", node.display()))?;
        let device = nusb::Device::from_fd(file.into()).wait();
        let reset = device.and_then(|device| device.reset().wait());
        reset.map_err(|error| format!("{}: {error}", node.display()))
    }

    async fn power(&self, script: &Name) -> Answer {
        let path = self.scripts.join(script.as_str());
        if let Err(reason) = self.trusted(&path) {
            return Answer::Unavailable(reason);
        }
        let mut command = Command::new(&path);
        command.env_clear().env("PATH", PATH).current_dir("/").stdin(Stdio::null());
        // The script's output goes to the journal, not to the socket.
        command.stdout(io::stderr()).process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Answer::Failed(format!("{}: {error}", path.display())),
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        match tokio::time::timeout(self.patience, child.wait()).await {
            Ok(Ok(status)) if status.success() => Answer::Done,
            Ok(Ok(status)) => Answer::Failed(format!("{}: {status}", path.display())),
            Ok(Err(error)) => Answer::Failed(format!("{}: {error}", path.display())),
            Err(_) => {
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                Answer::Failed(format!("{} took longer than {:?}", path.display(), self.patience))
            }
        }
    }

    /// Checks that only the owner can have written a script, and that the owner is root or this
    /// user. Links are not followed: another user may control their targets.
    fn trusted(&self, script: &Path) -> Result<(), String> {
        let own = geteuid().as_raw();
        let look = |path: &Path| match fs::symlink_metadata(path) {
            Ok(is) if is.is_symlink() => Err(format!(
                "{} is a link, and links are not followed; replace it with its target",
                path.display()
            )),
            Ok(is) if is.uid() != 0 && is.uid() != own => {
                Err(format!("{} does not belong to root", path.display()))
            }
            Ok(is) if is.mode() & OTHERS_WRITE != 0 => {
                Err(format!("other users than the owner can write to {}", path.display()))
            }
            Ok(is) => Ok(is),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        let folder: Metadata = look(&self.scripts)?;
        let file = look(script)?;
        if !folder.is_dir() || !file.is_file() || file.mode() & EXECUTE == 0 {
            return Err(format!("{} is not a program", script.display()));
        }
        Ok(())
    }
}

/// Removes a device's authorization and restores it, in several attempts if the kernel refuses.
/// Without authorization the device is off and has no tty, so no later request would be accepted.
async fn take_and_give_back(
    set: impl Fn(&str) -> io::Result<()>,
    pause: Duration,
) -> Result<(), String> {
    set("0").map_err(|error| error.to_string())?;
    let mut tries = 1;
    loop {
        let Err(error) = set("1") else { return Ok(()) };
        if tries == TRIES {
            return Err(format!(
                "the device is off, and could not be switched on again in {TRIES} tries: {error}; write 1 to it, or \
                 unplug the device and plug it in again"
            ));
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        // A device that did not answer counts as authorized, and writing 1 would change nothing.
        let _ = set("0");
    }
}

/// Reports whether an interface of the device has a tty.
fn has_tty(device: &Path, place: &UsbPath) -> bool {
    let interface = format!("{}:", place.as_str());
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let is_tty = |name: &String| name == "tty" || name.starts_with("ttyUSB");
    let interfaces = names(device).into_iter().filter(|name| name.starts_with(&interface));
    interfaces.into_iter().any(|name| names(&device.join(name)).iter().any(is_tty))
}

/// Returns another program than the agent that has a node of the device open, and may be writing
/// its firmware. The agent checks that before its request, but only root can see the files of other
/// users.
fn stranger(device: &Path) -> Option<Busy> {
    let nodes = holder::nodes(device);
    let holders = holder::holders(&nodes);
    nodes.into_iter().zip(holders).find_map(|(tty, holder)| {
        let holder = holder.filter(|holder| !holder.is_self() && holder.name != "modemfleet")?;
        Some(Busy { tty, holder: Some(holder) })
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    struct Place {
        dir: TempDir,
        means: Means,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let scripts = dir.path().join("power.d");
            fs::create_dir(&scripts).unwrap();
            mode(&scripts, 0o755);
            let sysfs = dir.path().join("sys");
            let patience = Duration::from_secs(60);
            let usbfs = dir.path().join("usbfs");
            Self { dir, means: Means { scripts, sysfs, usbfs, patience } }
        }

        fn script(&self, name: &str, text: &str, bits: u32) -> PathBuf {
            let path = self.means.scripts.join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            mode(&path, bits);
            path
        }

        async fn ask(&self, line: &str) -> Answer {
            self.means.perform(&line.parse().unwrap()).await
        }

        #[track_caller]
        fn refused(answer: &Answer, words: &str) {
            let Answer::Unavailable(reason) = answer else { panic!("{answer}") };
            assert!(reason.contains(words), "{reason}");
        }
    }

    fn mode(path: &Path, bits: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
    }

    #[tokio::test]
    async fn a_script_runs_alone_and_tells_how_it_ended() {
        let place = Place::new();
        let out = place.dir.path().join("out");
        place.script("good", &format!("env > {}; cat >> {}", out.display(), out.display()), 0o755);
        place.script("bad", "exit 3", 0o700);
        assert_eq!(place.ask("power good").await, Answer::Done);
        let environment = fs::read_to_string(out).unwrap();
        // A shell adds PWD and the like; no variable of this process is there.
        assert!(environment.contains(PATH) && !environment.contains("CARGO"), "{environment}");
        let Answer::Failed(words) = place.ask("power bad").await else { panic!() };
        assert!(words.contains('3'), "{words}");
    }

    #[tokio::test]
    async fn a_script_that_does_not_end_is_killed_with_its_children() {
        let mut place = Place::new();
        place.means.patience = Duration::from_millis(300);
        let pid = place.dir.path().join("pid");
        place.script("slow", &format!("sleep 600 & echo $! > {}; wait", pid.display()), 0o755);
        let Answer::Failed(words) = place.ask("power slow").await else { panic!() };
        assert!(words.contains("took longer than"), "{words}");
        let child = fs::read_to_string(pid).unwrap();
        let state = format!("/proc/{}/stat", child.trim());
        for _ in 0..500 {
            match fs::read_to_string(&state) {
                Ok(stat) if !stat.contains(") Z ") => {}
                _ => return,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the script's child lives on");
    }

    #[tokio::test]
    async fn only_what_its_owner_alone_can_have_written_is_run() {
        let place = Place::new();
        Place::refused(&place.ask("power none").await, "No such file");
        place.script("group", "true", 0o775);
        Place::refused(&place.ask("power group").await, "can write");
        place.script("world", "true", 0o757);
        Place::refused(&place.ask("power world").await, "can write");
        place.script("data", "true", 0o644);
        Place::refused(&place.ask("power data").await, "not a program");
        let good = place.script("good", "true", 0o755);
        symlink(&good, place.means.scripts.join("link")).unwrap();
        Place::refused(&place.ask("power link").await, "is a link");
        fs::create_dir(place.means.scripts.join("folder")).unwrap();
        Place::refused(&place.ask("power folder").await, "not a program");
        assert_eq!(place.ask("power good").await, Answer::Done);
        mode(&place.means.scripts, 0o777);
        Place::refused(&place.ask("power good").await, "can write");
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_is_not_given_back_at_once_is_tried_again() {
        for (failing, is_on) in [(0, true), (1, true), (4, true), (5, false)] {
            let said = RefCell::new(Vec::new());
            let set = |word: &str| {
                said.borrow_mut().push(word.to_owned());
                let given = said.borrow().iter().filter(|word| *word == "1").count();
                let fails = word == "1" && given <= failing;
                if fails { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
            };
            let done = take_and_give_back(set, PAUSE).await;
            assert_eq!(done.is_ok(), is_on, "{failing}");
            assert!(done.is_ok() || done.unwrap_err().contains("the device is off"));
            let given: Vec<String> = said.into_inner();
            assert_eq!(given.last().map(String::as_str), Some("1"), "it is never left at 0");
            assert_eq!(given.len(), 2 * (failing + usize::from(is_on)), "{given:?}");
        }
        let set = |_: &str| Err(io::ErrorKind::PermissionDenied.into());
        assert!(
            !take_and_give_back(set, PAUSE).await.unwrap_err().contains("off"),
            "nothing was taken"
        );
    }

    #[tokio::test]
    async fn a_device_with_a_tty_is_taken_away_and_given_back() {
        let place = Place::new();
        let device = place.means.sysfs.join("bus/usb/devices/1-1.4");
        let authorized = device.join("authorized");
        Place::refused(&place.ask("usb-reset 1-1.4").await, "no USB device");
        fs::create_dir_all(device.join("1-1.4:1.0")).unwrap();
        fs::write(&authorized, "1\n").unwrap();
        Place::refused(&place.ask("usb-reset 1-1.4").await, "no tty");
        assert_eq!(fs::read_to_string(&authorized).unwrap(), "1\n", "untouched");
        fs::create_dir_all(device.join("1-1.4:1.2/ttyUSB2")).unwrap();
        assert_eq!(place.ask("usb-reset 1-1.4").await, Answer::Done);
        // There are no nodes here. The kernel takes the words one by one; a plain file keeps the
        // last.
        assert_eq!(fs::read_to_string(&authorized).unwrap(), "1");
    }
}
