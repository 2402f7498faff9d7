//! Facts of this machine: kernel, USB, ttys and their holders, udev, services.
//!
//! Programs are asked for single facts by name, never for all of them: a unit's environment may
//! hold a secret.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::bundle::Bundle;

/// The time limit of a program; after it the program's output is left out.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of one file.
const LARGEST: usize = 64 * 1024;

/// Files that are added whole.
const FILES: [(&str, &str); 5] = [
    ("kernel", "/proc/version"),
    ("system", "/etc/os-release"),
    ("load", "/proc/loadavg"),
    ("uptime", "/proc/uptime"),
    ("memory", "/proc/meminfo"),
];

/// Beginnings of the names of modems' drivers.
const DRIVERS: [&str; 12] = [
    "option",
    "usb_wwan",
    "usbserial",
    "qmi_wwan",
    "cdc_",
    "rndis",
    "qcserial",
    "sierra",
    "cp210x",
    "ftdi",
    "ch341",
    "pl2303",
];

/// Folders with udev's rules.
const RULES: [&str; 4] =
    ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];

/// Services of this program, and services that take modems' ports.
const UNITS: [&str; 6] = [
    "modemfleet.service",
    "modemfleet.socket",
    "modemfleet-recover.socket",
    "ModemManager.service",
    "brltty.service",
    "systemd-udevd.service",
];

const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,\
                          ExecMainStatus,ExecMainStartTimestamp,FragmentPath,DropInPaths,MemoryCurrent,WatchdogUSec";

/// Adds the facts to the bundle.
pub(super) async fn facts(bundle: &mut Bundle) {
    for (name, path) in FILES {
        match read(Path::new(path)) {
            Ok(text) => bundle.text(&format!("machine/{name}.txt"), path, text),
            Err(error) => bundle.missing_part(&format!("machine/{name}.txt"), error.to_string()),
        }
    }
    type Look = fn() -> io::Result<String>;
    let looks: [(&str, &str, Look); 4] = [
        ("usb", "/sys/bus/usb/devices", usb),
        ("ttys", "/dev", ttys),
        ("drivers", "/proc/modules", drivers),
        ("udev-rules", "the folders of udev's rules", rules),
    ];
    for (name, from, look) in looks {
        let name = format!("machine/{name}.txt");
        // Finding the holder of a tty needs a walk through /proc.
        match tokio::task::spawn_blocking(look)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
        {
            Ok(text) => bundle.text(&name, from, text),
            Err(error) => bundle.missing_part(&name, error.to_string()),
        }
    }
    let units: Vec<&str> = ["show", PROPERTIES].into_iter().chain(UNITS).collect();
    for (name, program, args) in [
        ("udev", "udevadm", &["--version"][..]),
        ("modemmanager", "mmcli", &["--version"]),
        ("modemmanager-modems", "mmcli", &["--list-modems"]),
        ("units", "systemctl", &units),
    ] {
        let name = format!("machine/{name}.txt");
        match ask(program, args).await {
            Ok(text) => bundle.text(&name, program, text),
            Err(reason) => bundle.missing_part(&name, reason),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    let shown = bytes.get(..LARGEST).unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(shown).into_owned())
}

/// Runs a program and returns its output.
async fn ask(program: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true).env("LC_ALL", "C");
    let failed = |words: String| format!("`{program} {}` {words}", args.join(" "));
    let output = match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("the program {program} is not installed"));
        }
        Ok(Err(error)) => return Err(failed(format!("failed: {error}"))),
        Err(_) => return Err(failed(format!("took more than {} s", PATIENCE.as_secs()))),
    };
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..LARGEST).unwrap_or(bytes)).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(failed(format!("ended with {}: {}", output.status, text(&output.stderr).trim())))
}

/// Returns the paths in a folder, sorted.
fn names(folder: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns a line for each USB device and interface, without serial numbers.
fn usb() -> io::Result<String> {
    let mut text = String::new();
    for device in names("/sys/bus/usb/devices")? {
        let fact = |file: &str| fs::read_to_string(device.join(file)).unwrap_or_default();
        let driver = fs::read_link(device.join("driver")).map(|to| name(&to)).unwrap_or_default();
        let facts: Vec<String> = [
            "idVendor",
            "idProduct",
            "manufacturer",
            "product",
            "speed",
            "bConfigurationValue",
            "bInterfaceNumber",
            "bInterfaceClass",
            "bInterfaceSubClass",
            "bInterfaceProtocol",
        ]
        .iter()
        .map(|file| (file, fact(file)))
        .filter(|(_, fact)| !fact.trim().is_empty())
        .map(|(file, fact)| format!("{file}={:?}", fact.trim()))
        .collect();
        // Writing into a string does not fail.
        let _ = writeln!(text, "{} {} driver={driver}", name(&device), facts.join(" "));
    }
    Ok(text)
}

/// Returns a line for each tty that may be a modem's: its permissions and its holder.
fn ttys() -> io::Result<String> {
    let is_modem = |path: &PathBuf| {
        ["ttyUSB", "ttyACM", "cdc-wdm", "ttyS", "ttyAMA"]
            .iter()
            .any(|it| name(path).starts_with(it))
    };
    let ttys: Vec<PathBuf> = names("/dev")?.into_iter().filter(is_modem).collect();
    let holders = modem::holder::holders(&ttys);
    let mut text = String::new();
    for (tty, holder) in ttys.iter().zip(holders) {
        let rights = match fs::metadata(tty) {
            Ok(meta) => format!("mode={:o} uid={} gid={}", meta.mode(), meta.uid(), meta.gid()),
            Err(error) => error.to_string(),
        };
        let holder = holder.map(|it| format!(" in use by {it}")).unwrap_or_default();
        let _ = writeln!(text, "{} {rights}{holder}", tty.display());
    }
    Ok(text)
}

/// Returns the loaded kernel modules of modems' drivers.
fn drivers() -> io::Result<String> {
    let modules = fs::read_to_string("/proc/modules")?;
    let is_one = |line: &&str| DRIVERS.iter().any(|driver| line.starts_with(driver));
    Ok(modules.lines().filter(is_one).fold(String::new(), |all, line| all + line + "\n"))
}

/// Returns the names of rules about modems; the rules of this program in full.
fn rules() -> io::Result<String> {
    let mut text = String::new();
    for rule in RULES.iter().flat_map(|folder| names(folder).unwrap_or_default()) {
        let file = name(&rule);
        if file.contains("modemfleet") {
            let _ = writeln!(text, "{}\n{}", rule.display(), read(&rule).unwrap_or_default());
        } else if ["mm-", "modem", "usb", "tty", "brltty"].iter().any(|word| file.contains(word)) {
            let _ = writeln!(text, "{}", rule.display());
        }
    }
    Ok(text)
}
