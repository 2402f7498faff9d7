//! Discovery without a guest: umockdev plays the kernel and udevd for one agent.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Process, Site, modemfleet};

/// Debian's own interpreter: the bindings of umockdev are installed for it.
const PYTHON: &str = "/usr/bin/python3";

/// Creates the file without which libudev does not listen to udevd. A machine without udevd gets it
/// in a namespace.
const UDEVD: &str =
    "mount -t tmpfs none /run && mkdir -p /run/udev/data && touch /run/udev/control && exec \"$@\"";

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|done| done.status.success())
}

/// Reports whether umockdev is installed, and prints if not. Under CI the test then fails.
fn can_mock() -> bool {
    let bindings = "import gi; gi.require_version('UMockdev', '1.0')";
    let is_there = succeeds(Command::new("umockdev-run").arg("--version"))
        && succeeds(Command::new(PYTHON).args(["-c", bindings]));
    let ci = std::env::var("CI").is_ok_and(|ci| !["", "0", "false"].contains(&ci.as_str()));
    assert!(is_there || !ci, "umockdev and its python bindings are not installed");
    if !is_there {
        eprintln!("skipped: umockdev and its python bindings are not installed");
    }
    is_there
}

#[test]
fn a_device_that_udev_tells_of_is_seen_and_gone_and_seen_under_other_ttys_and_other_models() {
    if !can_mock() {
        return;
    }
    let mut site = Site::new();
    site.body = "brokers: { lab: { url: \"mqtt://broker.example.com:1883\" } }\nmodems:\n  \
                 m0: { match: { usb_path: 1-1 }, sessions: { s: { broker: lab } } }\n"
        .into();
    let has_udevd = Path::new("/run/udev/control").exists();
    let namespace = ["--map-root-user", "--mount", "sh", "-euc", UDEVD, "sh"];
    let can_pretend = succeeds(Command::new("unshare").args(namespace).arg("true"));
    let mut command = if has_udevd || !can_pretend {
        Command::new("umockdev-run")
    } else {
        let mut command = Command::new("unshare");
        command.args(namespace).arg("umockdev-run");
        command
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("usb/mock.py");
    let url = format!("http://127.0.0.1:{}", site.port());
    command.args(["--", PYTHON]).arg(script).arg(url).arg(modemfleet());
    command.args(["run", "--log", "debug", "--config"]).arg(site.file());
    let models = site.dir().join("models.d");
    std::fs::create_dir(&models).unwrap();
    command.env("MODEMFLEET_MODELS", models);
    let mut mock = Process::start("mock", &mut command);
    let end = mock.end_within(Duration::from_secs(90)).unwrap();
    let log = mock.stderr().join("\n");
    assert!(end.success(), "{end}\n{log}");
    let ports = |first: u32| {
        let roles = ["other", "other", "at", "secondary"];
        let port = |(number, role): (u32, _)| format!("/dev/ttyUSB{} {role}", first + number);
        (0..).zip(roles).map(port).collect::<Vec<_>>().join(", ")
    };
    let nothing = || "nothing".to_owned();
    let unknown =
        "/dev/ttyUSB8 other, /dev/ttyUSB9 other, /dev/ttyUSB10 other, /dev/ttyUSB11 other";
    let known = unknown.replace("9 other", "9 at");
    let seen = [nothing(), ports(0), nothing(), ports(4), nothing(), unknown.to_owned(), known];
    assert_eq!(mock.stdout(), seen);
    // With udevd, or a file that stands for it, events report the device, the kernel's first.
    if has_udevd || can_pretend {
        for event in ["Announced(\"1-1\")", "DeviceCame(\"1-1\")", "Came(Tty", "DeviceWent(\"1-1\""]
        {
            let told = log.matches(&format!("udev change={event}")).count();
            assert!(told >= 2, "{event} was told {told} times\n{log}");
        }
    }
}
