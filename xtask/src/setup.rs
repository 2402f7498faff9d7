//! Set-up: what build and tests need from the system, and how to get what is missing.
//!
//! Looking and doing are apart: [`missing`] and [`plan`] decide from values, so tests cover machines
//! other than the one at hand.

use std::path::Path;
use std::{env, fs};

use crate::step::{self, Invocation};
use crate::tools;

/// Where Debian puts daemons; not on the `PATH` of everyone.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Something that the build or the tests cannot do without.
#[derive(Debug, PartialEq, Eq)]
struct Need {
    /// How to see that it is there.
    probe: Probe,
    /// The Debian packages that bring it. Recommended packages are not installed, so what is needed
    /// is named.
    packages: &'static [&'static str],
    /// What for.
    why: &'static str,
    /// The crate that wants it, where only one does: without it in `Cargo.lock` there is no need.
    for_crate: Option<&'static str>,
    /// What is skipped without it, where a developer's machine may do without; CI may not.
    skipped: Option<&'static str>,
}

/// What needs the guest with a kernel of its own.
const GUEST: Option<&str> = Some("the tests on a real kernel (tests/usb)");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// A program on the `PATH` or in a system folder.
    Program(&'static str),
    /// A library, by its pkg-config name.
    Library(&'static str),
    /// A module of the system's own Python.
    Python(&'static str),
    /// A module of the system's own Node.js.
    Node(&'static str),
}

impl Probe {
    fn name(self) -> &'static str {
        match self {
            Self::Program(name) | Self::Library(name) | Self::Python(name) | Self::Node(name) => {
                name
            }
        }
    }
}

const NEEDS: &[Need] = &[
    Need {
        probe: Probe::Program("cc"),
        packages: &["gcc", "libc6-dev"],
        why: "links the programs and compiles the SQLite that comes with the queue",
        for_crate: None,
        skipped: None,
    },
    // Before the libraries: it is what they are looked for with.
    Need {
        probe: Probe::Program("pkg-config"),
        packages: &["pkg-config"],
        why: "finds the system's libraries for the build",
        for_crate: Some("libudev-sys"),
        skipped: None,
    },
    Need {
        probe: Probe::Library("libudev"),
        packages: &["libudev-dev"],
        why: "finds the modems that are plugged in",
        for_crate: Some("libudev-sys"),
        skipped: None,
    },
    Need {
        probe: Probe::Program("mosquitto"),
        packages: &["mosquitto"],
        why: "the broker that the end-to-end tests talk to, each on a port of its own",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("mosquitto_sub"),
        packages: &["mosquitto-clients"],
        why: "shows the end-to-end tests the messages of the broker",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("mosquitto_pub"),
        packages: &["mosquitto-clients"],
        why: "stands for a local application in the end-to-end tests",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Python("paho.mqtt.client"),
        packages: &["python3", "python3-paho-mqtt"],
        why: "stands for an application in Python in the end-to-end tests",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Node("mqtt"),
        packages: &["nodejs", "node-mqtt"],
        why: "stands for Node-RED and its like in the end-to-end tests",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("chromedriver"),
        packages: &["chromium", "chromium-driver"],
        why: "the browser that the status page is tested in",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("python3"),
        packages: &["python3", "python3-venv"],
        why: "holds the dashboards against Grafana's own types",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("systemd-analyze"),
        packages: &["systemd"],
        why: "checks the units and how much they expose",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("dpkg-shlibdeps"),
        packages: &["dpkg-dev", "binutils"],
        why: "finds the libraries that the Debian package needs",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("lintian"),
        packages: &["lintian"],
        why: "checks the Debian package",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("promtool"),
        packages: &["prometheus"],
        why: "checks the metrics, and runs the rules and dashboards against a real agent",
        for_crate: None,
        skipped: None,
    },
    Need {
        probe: Probe::Program("umockdev-run"),
        packages: &["umockdev", "gir1.2-umockdev-1.0", "python3-gi"],
        why: "plays the kernel and udevd for a test of discovery without a guest",
        for_crate: None,
        skipped: Some("the test with a mocked udev"),
    },
    Need {
        probe: Probe::Program("qemu-system-x86_64"),
        packages: &["qemu-system-x86"],
        why: "boots a guest in which USB modems are plugged in",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("busybox"),
        packages: &["busybox-static"],
        why: "starts that guest",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("debugfs"),
        packages: &["e2fsprogs"],
        why: "reads the disk of a guest whose power was cut",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("cpio"),
        packages: &["cpio"],
        why: "packs what starts that guest",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("depmod"),
        packages: &["kmod"],
        why: "finds the drivers of its kernel",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("udevadm"),
        packages: &["udev"],
        why: "names the devices in it",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("setpriv"),
        packages: &["util-linux"],
        why: "is the service's user in it",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("dbus-daemon"),
        packages: &["dbus"],
        why: "is the bus of ModemManager",
        for_crate: None,
        skipped: GUEST,
    },
    Need {
        probe: Probe::Program("ModemManager"),
        packages: &["modemmanager"],
        why: "judges the simulator, and is the neighbour that the udev rules are tried with",
        for_crate: None,
        skipped: GUEST,
    },
];

/// What the machine lets us do about something that is missing.
#[derive(Debug, Clone, Copy)]
struct Machine {
    /// There is an `apt-get`.
    apt: bool,
    /// We are root.
    root: bool,
    /// `sudo` works without asking for a password.
    sudo: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Install these packages, and put the prefix before the commands.
    Install { sudo: bool, packages: Vec<&'static str> },
    /// A person has to.
    Ask { command: String },
}

/// Why set-up could not finish.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("set-up stops here: the tools above are missing; to install them: {command}")]
    ByHand { command: String },
    #[error("{packages} installed, but still not there: {names}")]
    StillMissing { packages: String, names: String },
    #[error("`cargo {component}` does not run; to install it: rustup component add {package}")]
    NoComponent { component: &'static str, package: &'static str },
}

/// Sees to it that everything is there, and installs what is not.
///
/// # Errors
/// What is missing and how to get it, or what the installation said.
pub(crate) fn run() -> anyhow::Result<()> {
    components()?;
    let lock = fs::read_to_string(step::root().join("Cargo.lock")).unwrap_or_default();
    let absent = missing(NEEDS, &lock, present);
    for need in &absent {
        println!(
            "    missing: {} (package {}): {}",
            need.probe.name(),
            packages(&[need]).join(", "),
            need.why
        );
    }
    if !absent.is_empty() {
        match plan(&absent, this_machine()) {
            Plan::Ask { command } if can_do_without(&absent, is_ci()) => {
                println!("    to install it: {command}");
            }
            Plan::Ask { command } => return Err(SetupError::ByHand { command }.into()),
            Plan::Install { sudo, packages } => {
                install(sudo, &packages)?;
                confirm(&absent, &packages)?;
            }
        }
    }
    tools::run()?;
    guest_kernel(&absent)
}

/// Whether all that is missing only makes this machine skip something. CI skips nothing.
fn can_do_without(absent: &[&Need], ci: bool) -> bool {
    let mut skipped: Vec<_> = absent.iter().filter_map(|need| need.skipped).collect();
    if ci || skipped.len() < absent.len() {
        return false;
    }
    skipped.dedup();
    println!("    skipped without it: {}", skipped.join(", "));
    true
}

/// Fetches the kernel of the guest, once.
fn guest_kernel(absent: &[&Need]) -> anyhow::Result<()> {
    let still = |need: &&Need| need.skipped.is_some() && !present(need.probe);
    if absent.iter().any(still) {
        return Ok(());
    }
    let fetched = Invocation::new("tests/usb/boot", &["--prepare"]).run();
    if fetched.is_err() && !is_ci() {
        println!("    skipped without it: the tests on a real kernel (tests/usb)");
        return Ok(());
    }
    fetched
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|ci| !["", "0", "false"].contains(&ci.as_str()))
}

/// Looks again after an installation: a package may not hold what we take it to hold.
fn confirm(absent: &[&Need], packages: &[&str]) -> anyhow::Result<()> {
    let names: Vec<_> = absent
        .iter()
        .map(|need| need.probe)
        .filter(|probe| !present(*probe))
        .map(Probe::name)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(SetupError::StillMissing { packages: packages.join(", "), names: names.join(", ") }.into())
}

/// The parts of the toolchain that a minimal installation leaves out.
fn components() -> Result<(), SetupError> {
    for (component, package) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !Invocation::cargo(&[component, "--version"]).succeeds() {
            return Err(SetupError::NoComponent { component, package });
        }
    }
    Ok(())
}

/// What of `needs` is not there.
fn missing<'a>(needs: &'a [Need], lock: &str, there: impl Fn(Probe) -> bool) -> Vec<&'a Need> {
    let locked = |name: &str| lock.contains(&format!("name = \"{name}\""));
    let wanted = |need: &&Need| need.for_crate.is_none_or(locked);
    needs.iter().filter(wanted).filter(|need| !there(need.probe)).collect()
}

/// The packages of some needs, each once.
fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<&'static str> = Vec::new();
    for package in needs.iter().flat_map(|need| need.packages) {
        if !packages.contains(package) {
            packages.push(package);
        }
    }
    packages
}

/// What to do about `absent` (at least one) on `machine`.
fn plan(absent: &[&Need], machine: Machine) -> Plan {
    let packages = packages(absent);
    if machine.apt && (machine.root || machine.sudo) {
        return Plan::Install { sudo: !machine.root, packages };
    }
    let list = packages.join(" ");
    let command = if machine.apt {
        format!("sudo apt-get install -y --no-install-recommends {list}")
    } else {
        format!("install what your system calls {list} (these are Debian's names)")
    };
    Plan::Ask { command }
}

/// Installs with the package lists that are there, and with fresh ones where that fails: lists may
/// be empty (images of containers) or name versions that the mirror has dropped.
fn install(sudo: bool, packages: &[&str]) -> anyhow::Result<()> {
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    let first = announced(&apt(sudo, &arguments));
    if first.is_err() {
        announced(&apt(sudo, &["update"]))?;
        announced(&apt(sudo, &arguments))?;
    }
    if packages.contains(&"mosquitto") {
        println!(
            "    Debian starts a broker with the package mosquitto; no test needs it: stop it as you like"
        );
    }
    Ok(())
}

fn announced(command: &Invocation) -> anyhow::Result<()> {
    println!("    {command}");
    command.run()
}

/// `apt-get` without questions. `env` carries the variable past sudo, which clears the environment.
fn apt(sudo: bool, arguments: &[&str]) -> Invocation {
    let mut words = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get"];
    words.extend(arguments);
    if !sudo {
        return Invocation::new("env", &words);
    }
    words.splice(0..0, ["-n", "env"]);
    Invocation::new("sudo", &words)
}

fn this_machine() -> Machine {
    Machine {
        apt: present(Probe::Program("apt-get")),
        root: Invocation::new("sh", &["-c", "test \"$(id -u)\" = 0"]).succeeds(),
        sudo: Invocation::new("sudo", &["-n", "true"]).succeeds(),
    }
}

fn present(probe: Probe) -> bool {
    match probe {
        Probe::Program(name) => {
            let path = env::var_os("PATH").unwrap_or_default();
            let system = SYSTEM_FOLDERS.iter().map(|&folder| folder.into());
            env::split_paths(&path).chain(system).any(|folder| is_program(&folder.join(name)))
        }
        Probe::Library(name) => Invocation::new("pkg-config", &["--exists", name]).succeeds(),
        Probe::Python(module) => {
            Invocation::new("/usr/bin/python3", &["-c", &format!("import {module}")]).succeeds()
        }
        Probe::Node(module) => {
            Invocation::new("/usr/bin/node", &["-e", &format!("require('{module}')")])
                .env("NODE_PATH", "/usr/share/nodejs")
                .succeeds()
        }
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: Machine = Machine { apt: false, root: false, sudo: false };
    const LOCK_WITH_UDEV: &str = "[[package]]\nname = \"libudev-sys\"\n";

    fn absent(lock: &str) -> Vec<&'static Need> {
        missing(NEEDS, lock, |_| false)
    }

    #[test]
    fn nothing_is_missing_where_all_is_there() {
        assert_eq!(missing(NEEDS, LOCK_WITH_UDEV, |_| true), Vec::<&Need>::new());
    }

    #[test]
    fn a_package_that_brings_two_programs_is_named_once() {
        let expected = [
            "gcc",
            "libc6-dev",
            "mosquitto",
            "mosquitto-clients",
            "python3",
            "python3-paho-mqtt",
            "nodejs",
            "node-mqtt",
            "chromium",
            "chromium-driver",
            "python3-venv",
            "systemd",
            "dpkg-dev",
            "binutils",
            "lintian",
            "prometheus",
            "umockdev",
            "gir1.2-umockdev-1.0",
            "python3-gi",
            "qemu-system-x86",
            "busybox-static",
            "e2fsprogs",
            "cpio",
            "kmod",
            "udev",
            "util-linux",
            "dbus",
            "modemmanager",
        ];
        assert_eq!(packages(&absent("")), expected);
    }

    #[test]
    fn a_library_is_asked_for_only_where_a_crate_wants_it() {
        let names: Vec<_> = absent(LOCK_WITH_UDEV).iter().map(|need| need.probe.name()).collect();
        assert!(names.contains(&"libudev") && names.contains(&"pkg-config"), "{names:?}");
        let names: Vec<_> =
            absent("name = \"udev\"").iter().map(|need| need.probe.name()).collect();
        assert!(!names.contains(&"libudev") && !names.contains(&"pkg-config"), "{names:?}");
    }

    #[test]
    fn a_developer_may_do_without_a_guest_and_ci_may_not() {
        let absent = missing(NEEDS, "", |probe| probe != Probe::Program("ModemManager"));
        assert!(can_do_without(&absent, false));
        assert!(!can_do_without(&absent, true));
        let absent = missing(NEEDS, "", |probe| probe.name() > "modem");
        assert!(absent.iter().any(|need| need.skipped.is_none()), "{absent:?}");
        assert!(!can_do_without(&absent, false), "nothing works without a compiler");
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let absent = missing(NEEDS, "", |probe| probe != Probe::Program("mosquitto"));
        let packages = vec!["mosquitto"];
        let root = Machine { apt: true, root: true, sudo: true };
        assert_eq!(
            plan(&absent, root),
            Plan::Install { sudo: false, packages: packages.clone() },
            "root needs no sudo"
        );
        let user = Machine { root: false, ..root };
        assert_eq!(plan(&absent, user), Plan::Install { sudo: true, packages });
    }

    #[test]
    fn without_rights_or_apt_a_person_is_told_what_to_type() {
        let absent = missing(NEEDS, "", |probe| probe != Probe::Program("mosquitto_sub"));
        let Plan::Ask { command } = plan(&absent, Machine { apt: true, ..BARE }) else {
            panic!("installs without rights")
        };
        assert_eq!(command, "sudo apt-get install -y --no-install-recommends mosquitto-clients");
        let Plan::Ask { command } = plan(&absent, Machine { root: true, ..BARE }) else {
            panic!("installs without apt-get")
        };
        assert!(command.contains("mosquitto-clients") && !command.contains("apt"), "{command}");
    }

    #[test]
    fn the_installer_never_asks() {
        let update = apt(true, &["update"]).to_string();
        assert_eq!(update, "sudo -n env DEBIAN_FRONTEND=noninteractive apt-get update");
        let update = apt(false, &["update"]).to_string();
        assert_eq!(update, "env DEBIAN_FRONTEND=noninteractive apt-get update");
    }

    #[test]
    fn programs_are_found_by_looking() {
        assert!(present(Probe::Program("sh")));
        assert!(!present(Probe::Program("no-such-program-here")));
        assert!(!is_program(Path::new("/etc/passwd")), "a file that nobody may run");
        assert!(!is_program(Path::new("/usr")), "a folder");
    }
}
