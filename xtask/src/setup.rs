//! Set-up: the system's part of build and tests, and how to install missing parts.
//!
//! Checks and actions are apart: [`missing`] and [`plan`] decide from values, so that tests cover
//! other machines than the present one.

mod needs;

use std::path::Path;
use std::{env, fs};

use clap::ValueEnum as _;

use crate::step::Invocation;
use crate::tools;

use needs::{Group, NEEDS, Need, Probe};

pub(crate) use needs::Part;

/// Debian's folders for daemons; not on everyone's `PATH`.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The ways in which this machine can install packages.
#[derive(Debug, Clone, Copy)]
struct Machine {
    /// `apt-get` exists.
    apt: bool,
    /// The user is root.
    root: bool,
    /// `sudo` works without a password.
    sudo: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Install these packages, with `sudo` if set.
    Install { sudo: bool, packages: Vec<&'static str> },
    /// Ask a person to run this command.
    Ask { command: String },
}

/// The reason for which set-up could not finish.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("set-up stops here: the tools above are missing; to install them: {command}")]
    ByHand { command: String },
    #[error("{packages} installed, but still not there: {names}")]
    StillMissing { packages: String, names: String },
    #[error("`cargo {component}` does not run; to install it: rustup component add {package}")]
    NoComponent { component: &'static str, package: &'static str },
}

/// Checks for the needs of the build, and installs the missing ones.
///
/// # Errors
/// If a part is missing, with the way to get it, or an installation fails.
pub(crate) fn build() -> anyhow::Result<()> {
    provide(&missing(NEEDS, present, |group| group == Group::Build))
}

/// Checks for the needs of build and tests, and installs the missing ones. Parts of the tests may
/// be left out.
///
/// # Errors
/// If a part is missing, with the way to get it, or an installation fails.
pub(crate) fn tests(without: &[Part]) -> anyhow::Result<()> {
    components()?;
    let wanted = |part: &Part| !without.contains(part);
    let absent = missing(NEEDS, present, |group| match group {
        Group::Optional(part) => wanted(&part),
        Group::Build | Group::Tests => true,
    });
    let tools = tools::missing(wanted(&Part::Package));
    announce(&absent, &tools);
    provide(&absent)?;
    tools.iter().try_for_each(|tool| tool.provide())?;
    if left_out(without).contains(&Part::Guest) { Ok(()) } else { guest_kernel() }
}

/// Returns the parts of the tests that do not run here: the named ones, and on other machines than
/// CI those that lack a program.
pub(crate) fn left_out(without: &[Part]) -> Vec<Part> {
    let lacks = |part: Part| {
        let is_absent = |need: &&Need| need.group == Group::Optional(part);
        !is_ci() && NEEDS.iter().filter(is_absent).any(|need| !present(need.probe))
    };
    let all = Part::value_variants().iter().copied();
    all.filter(|part| without.contains(part) || lacks(*part)).collect()
}

/// Prints the missing parts with their reasons, and the way to do without.
fn announce(absent: &[&Need], tools: &[tools::Tool]) {
    for need in absent {
        println!(
            "    missing: {} (package {}): {}",
            need.probe.name(),
            packages(&[need]).join(", "),
            need.why
        );
    }
    for tool in tools {
        println!("    missing: {tool}");
    }
    let parts = optional(absent);
    if !parts.is_empty() {
        println!("    to do without these tests: --without {}", parts.join(","));
    }
}

/// Returns the parts of the tests that the absent needs are for, each once.
fn optional(absent: &[&Need]) -> Vec<&'static str> {
    let mut parts: Vec<_> = absent
        .iter()
        .filter_map(|need| match need.group {
            Group::Optional(part) => Some(part.word()),
            Group::Build | Group::Tests => None,
        })
        .collect();
    parts.dedup();
    parts
}

/// Installs the missing parts, or reports the command that does.
fn provide(absent: &[&Need]) -> anyhow::Result<()> {
    if absent.is_empty() {
        return Ok(());
    }
    match plan(absent, this_machine()) {
        Plan::Ask { command } if can_do_without(absent, is_ci()) => {
            println!("    to install it: {command}");
            Ok(())
        }
        Plan::Ask { command } => Err(SetupError::ByHand { command }.into()),
        Plan::Install { sudo, packages } => {
            install(sudo, &packages)?;
            confirm(absent, &packages)
        }
    }
}

/// Reports whether the missing parts only make this machine skip tests. CI skips nothing.
fn can_do_without(absent: &[&Need], ci: bool) -> bool {
    let is_optional = |need: &&Need| matches!(need.group, Group::Optional(_));
    if ci || !absent.iter().all(is_optional) {
        return false;
    }
    println!("    skipped without it: {}", optional(absent).join(", "));
    true
}

/// Fetches the kernel of the guest, once.
fn guest_kernel() -> anyhow::Result<()> {
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

/// Checks again after an installation: a package may not contain the expected file.
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

/// Checks the parts of the toolchain that a minimal installation leaves out.
fn components() -> Result<(), SetupError> {
    for (component, package) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !Invocation::cargo(&[component, "--version"]).succeeds() {
            return Err(SetupError::NoComponent { component, package });
        }
    }
    Ok(())
}

/// Returns the missing needs of the wanted groups.
fn missing(
    needs: &[Need],
    there: impl Fn(Probe) -> bool,
    wanted: impl Fn(Group) -> bool,
) -> Vec<&Need> {
    needs.iter().filter(|need| wanted(need.group) && !there(need.probe)).collect()
}

/// Returns the packages of some needs, without duplicates.
fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<&'static str> = Vec::new();
    for package in needs.iter().flat_map(|need| need.packages) {
        if !packages.contains(package) {
            packages.push(package);
        }
    }
    packages
}

/// Plans the installation of `absent` (at least one need) on `machine`.
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

/// Installs with the present package lists, and with fresh lists if that fails. Lists may be empty
/// (images of containers), or name versions that the mirror has dropped.
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

/// Returns an `apt-get` without questions. `env` carries the variable past sudo, which clears the
/// environment.
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

    fn lacking(there: impl Fn(Probe) -> bool) -> Vec<&'static Need> {
        missing(NEEDS, there, |_| true)
    }

    #[test]
    fn nothing_is_missing_where_all_is_there() {
        assert_eq!(lacking(|_| true), Vec::<&Need>::new());
    }

    #[test]
    fn a_package_that_brings_two_programs_is_named_once() {
        let expected = [
            "gcc",
            "libc6-dev",
            "pkg-config",
            "libudev-dev",
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
        assert_eq!(packages(&lacking(|_| false)), expected);
    }

    #[test]
    fn the_demo_needs_a_compiler_and_libudev() {
        let absent = missing(NEEDS, |_| false, |group| group == Group::Build);
        assert_eq!(packages(&absent), ["gcc", "libc6-dev", "pkg-config", "libudev-dev"]);
    }

    #[test]
    fn tests_of_a_part_are_tests_that_exist() {
        let root = crate::step::root().join("tests/tests");
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let usb = [read("usb/main.rs"), read("usb/power.rs"), read("package.rs")].concat();
        for start in Part::value_variants().iter().flat_map(|part| part.tests()) {
            let (module, test) = start.split_once("::").unwrap_or(("", start));
            let text =
                if module.is_empty() { usb.clone() } else { read(&format!("e2e/{module}.rs")) };
            let is_there = text.contains(&format!("fn {test}")) || module == "power";
            assert!(is_there, "{start}: no test begins so");
        }
    }

    #[test]
    fn a_developer_may_do_without_a_guest_and_ci_may_not() {
        let absent = lacking(|probe| probe != Probe::Program("ModemManager"));
        assert!(can_do_without(&absent, false));
        assert!(!can_do_without(&absent, true));
        let absent = lacking(|probe| probe.name() > "modem");
        assert!(absent.iter().any(|need| need.group == Group::Build), "{absent:?}");
        assert!(!can_do_without(&absent, false), "nothing works without a compiler");
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let absent = lacking(|probe| probe != Probe::Program("mosquitto"));
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
        let absent = lacking(|probe| probe != Probe::Program("mosquitto_sub"));
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
