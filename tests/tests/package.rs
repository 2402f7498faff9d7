//! The Debian package: made, checked by lintian, installed, upgraded, removed and purged.
//!
//! It is installed on a copy of a root file system, which is dropped afterwards. The copy is of
//! this machine's own root. A second test, ignored here and run by `cargo xtask package --try`,
//! uses an empty Debian.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "what serves the tests ends at the first surprise, as they do"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use e2e::{Process, modemfleet, run};

const UNITS: [&str; 3] = ["modemfleet.service", "modemfleet.socket", "modemfleet-recover.socket"];

/// Units that an administrator enables by hand.
const PORTS: [&str; 2] = ["modemfleet-http.socket", "modemfleet-mqtt.socket"];

/// The groups of the agent's user, in any order.
const GROUPS: [&str; 2] = ["modemfleet", "modemfleet-devices"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let done = run(command, b"");
    let said = words(&done);
    assert!(done.status.success(), "{command:?}: {said}");
    said
}

/// Returns the package under test: the one that `MODEMFLEET_DEB` names, or one made of the binary
/// under test.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        if let Some(package) = std::env::var_os("MODEMFLEET_DEB") {
            return package.into();
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["xtask", "package", "--program"]).arg(modemfleet()).current_dir(project());
        let said = succeed(&mut cargo);
        let made = said.lines().find_map(|line| line.split_once(".deb: ").map(|(path, _)| path));
        format!("{}.deb", made.unwrap_or_else(|| panic!("no package is named: {said}"))).into()
    })
}

/// Reports whether this machine can try a package. Under CI the test fails if it cannot.
fn can_try() -> bool {
    let root = run(Command::new("id").arg("-u"), b"").stdout == b"0\n";
    let dpkg = Path::new("/usr/bin/dpkg-deb").exists();
    let ci = std::env::var("CI").is_ok_and(|ci| !["", "0", "false"].contains(&ci.as_str()));
    assert!(!ci || root && dpkg, "the package cannot be tried: root {root}, dpkg {dpkg}");
    if !(root && dpkg) {
        eprintln!("skipped: the package is tried by root on Debian and its relatives");
    }
    root && dpkg
}

/// A root file system whose changes are in memory, and dropped at the end.
struct Root {
    holder: Process,
    place: PathBuf,
    _dir: tempfile::TempDir,
}

impl Root {
    /// Makes a root on top of the one at `below`.
    fn on(below: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = "set -eu\nmount -t tmpfs memory \"$2\"\ncd \"$2\"\nmkdir upper work root\n\
                      mount -t overlay overlay -o \"lowerdir=$1,upperdir=upper,workdir=work\" root\n\
                      for folder in proc dev sys; do mount --rbind /$folder root/$folder; done\n\
                      mount -t tmpfs run root/run\nmkdir -p root/run/package\n\
                      echo ready\nexec sleep 3600";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        unshare.arg(below).arg(dir.path());
        let holder = Process::start("root", &mut unshare);
        holder.line("the root", |line| line == "ready");
        Self { holder, place: dir.path().join("root"), _dir: dir }
    }

    /// Returns a command that runs inside.
    fn command(&self, words: &[&str]) -> Command {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.holder.pid().to_string(), "--mount", "--"]);
        enter.args(["chroot"]).arg(&self.place).args(words);
        enter.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        enter.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        enter
    }

    /// Runs a line of shell, which has to succeed.
    #[track_caller]
    fn sh(&self, line: &str) -> String {
        succeed(&mut self.command(&["sh", "-euc", line]))
    }

    /// Reports whether a line of shell succeeds.
    fn holds(&self, line: &str) -> bool {
        run(&mut self.command(&["sh", "-euc", line]), b"").status.success()
    }

    /// Installs a package of the host.
    #[track_caller]
    fn install(&self, package: &Path) -> String {
        let mut enter = self.command(&["sh", "-euc", "cat >/run/package/one.deb"]);
        let copied = run(&mut enter, &fs::read(package).unwrap());
        assert!(copied.status.success(), "{}", words(&copied));
        self.sh("dpkg --force-confold --install /run/package/one.deb")
    }

    /// Returns mode, owner and group.
    #[track_caller]
    fn rights(&self, path: &str) -> String {
        self.sh(&format!("stat -c '%a %U %G' {path}")).trim().to_owned()
    }

    /// Returns the units that are enabled.
    fn enabled(&self) -> Vec<&'static str> {
        let linked =
            |unit: &&str| self.holds(&format!("test -e /etc/systemd/system/*.wants/{unit}"));
        UNITS.into_iter().chain(PORTS).filter(linked).collect()
    }
}

/// Makes the same package as another revision, with another fleet file.
fn next_revision(package: &Path, dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    succeed(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree));
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let newer = text.replace("-1\n", "-2\n");
    assert_ne!(newer, text);
    fs::write(&control, newer).unwrap();
    let fleet = tree.join("etc/modemfleet/fleet.yaml");
    let text = fs::read_to_string(&fleet).unwrap();
    fs::write(&fleet, format!("{text}# of the next revision\n")).unwrap();
    let built = dir.join("next.deb");
    // Not compressed: that would take longer than the rest.
    succeed(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "--build"])
            .arg(&tree)
            .arg(&built),
    );
    built
}

/// Runs all steps from the installation to the purge, on a root without modemfleet.
fn whole_life(root: &Root) {
    assert!(!root.holds("getent passwd modemfleet || test -e /etc/modemfleet"), "it is there");
    installed(root);
    upgraded(root);
    removed_and_purged(root);
}

fn installed(root: &Root) {
    root.install(package());
    assert_eq!(root.rights("/etc/modemfleet/fleet.yaml"), "640 root modemfleet");
    assert_eq!(root.rights("/etc/modemfleet/credentials"), "700 root root");
    assert_eq!(root.rights("/etc/modemfleet/power.d"), "755 root root");
    assert_eq!(root.enabled(), Vec::<&str>::new(), "somebody has to write the fleet file first");
    let as_user = "setpriv --reuid=modemfleet --regid=modemfleet --clear-groups";
    let said = root.sh(&format!("{as_user} modemfleet check /etc/modemfleet/fleet.yaml"));
    assert!(said.contains("fleet.yaml: ok (1 modem"), "{said}");
    let other = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    assert!(!root.holds(&format!("{other} cat /etc/modemfleet/fleet.yaml")), "everybody reads it");
    let groups = root.sh("id --name --groups modemfleet");
    let mut groups: Vec<&str> = groups.split_whitespace().collect();
    groups.sort_unstable();
    assert_eq!(groups, GROUPS, "the agent's user");
    root.sh("systemctl enable modemfleet 2>&1");
    assert_eq!(root.enabled(), UNITS);
}

/// An administrator's changes survive an upgrade, and the new file lies beside the old. The version
/// before had no group of devices.
fn upgraded(root: &Root) {
    root.sh("groupdel modemfleet-devices && systemctl enable modemfleet-http.socket 2>&1");
    root.sh("sed -i s/broker.example.com/10.0.0.1/ /etc/modemfleet/fleet.yaml");
    root.sh("chmod 0600 /etc/modemfleet/fleet.yaml");
    root.sh("echo word >/etc/modemfleet/credentials/broker-password");
    root.sh("mkdir -p /var/lib/modemfleet/queue; echo 1 >/var/lib/modemfleet/queue/messages");
    let dir = tempfile::tempdir().unwrap();
    root.install(&next_revision(package(), dir.path()));
    let edited = root.sh("cat /etc/modemfleet/fleet.yaml");
    assert!(edited.contains("10.0.0.1") && !edited.contains("of the next revision"), "{edited}");
    assert!(root.holds("grep -q 'of the next' /etc/modemfleet/fleet.yaml.dpkg-dist"));
    assert_eq!(root.rights("/etc/modemfleet/fleet.yaml"), "600 root modemfleet");
    assert_eq!(root.enabled(), [&UNITS[..], &PORTS[..1]].concat());
    for group in GROUPS {
        assert!(
            root.holds(&format!("id --name --groups modemfleet | grep -qw {group}")),
            "{group}"
        );
    }
    let version = root.sh("dpkg-query --show --showformat '${Version}' modemfleet");
    assert!(version.ends_with("-2"), "{version}");
}

fn removed_and_purged(root: &Root) {
    root.sh("dpkg --remove modemfleet");
    assert!(!root.holds("command -v modemfleet"));
    for kept in [
        "/etc/modemfleet/fleet.yaml",
        "/etc/modemfleet/credentials/broker-password",
        "/var/lib/modemfleet/queue/messages",
    ] {
        assert!(root.holds(&format!("test -e {kept}")), "{kept} is gone");
    }
    root.install(package());
    assert!(root.holds("grep -q 10.0.0.1 /etc/modemfleet/fleet.yaml"));
    let enabled = [&UNITS[..], &PORTS[..1]].concat();
    assert_eq!(root.enabled(), enabled, "what was enabled stays so over a removal");
    root.sh("dpkg --purge modemfleet");
    for gone in ["/etc/modemfleet", "/var/lib/modemfleet", "/usr/share/modemfleet"] {
        assert!(!root.holds(&format!("test -e {gone}")), "{gone} is left");
    }
    assert_eq!(root.enabled(), Vec::<&str>::new());
    let known =
        "ls /var/lib/systemd/deb-systemd-helper-*/* /etc/systemd/system/* | grep modemfleet";
    assert!(!root.holds(known), "links or notes of units are left");
}

/// Checks the files of the package and their modes.
fn holds_what_it_should() {
    let dir = tempfile::tempdir().unwrap();
    succeed(Command::new("dpkg-deb").arg("--extract").arg(package()).arg(dir.path()));
    let mode =
        |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("usr/bin/modemfleet"), 0o755);
    assert_eq!(mode("etc/modemfleet/fleet.yaml"), 0o640);
    for there in [
        "usr/lib/udev/rules.d/78-modemfleet.rules",
        "usr/lib/systemd/system/modemfleet.service",
        "usr/lib/systemd/system/modemfleet.socket",
        "usr/lib/systemd/system/modemfleet-recover.socket",
        "usr/lib/systemd/system/modemfleet-recover@.service",
        "usr/lib/systemd/system/modemfleet-http.socket",
        "usr/lib/systemd/system/modemfleet-mqtt.socket",
        "usr/lib/sysusers.d/modemfleet.conf",
        "usr/share/man/man1/modemfleet.1.gz",
        "usr/share/man/man1/modemfleet-recover.1.gz",
        "usr/share/bash-completion/completions/modemfleet",
        "usr/share/zsh/vendor-completions/_modemfleet",
        "usr/share/fish/vendor_completions.d/modemfleet.fish",
        "usr/share/modemfleet/models/simcom.yaml",
        "usr/share/modemfleet/models/quectel.yaml",
        "usr/share/modemfleet/prometheus/modemfleet.rules.yml",
        "usr/share/modemfleet/grafana/dashboards/modemfleet-fleet.json",
        "usr/share/doc/modemfleet/third-party-notices.gz",
    ] {
        assert_eq!(mode(there), 0o644, "{there}");
    }
    documents_lead_to_one_another(&dir.path().join("usr/share/doc/modemfleet"));
}

/// Each link between the documents leads to a file of the package, except links into the sources.
fn documents_lead_to_one_another(root: &Path) {
    let index = fs::read_to_string(root.join("docs/README.md")).unwrap();
    assert!(index.contains("](first-modem.md)"), "{index}");
    let listed = succeed(Command::new("find").arg(root).args(["-name", "*.md"]));
    for page in listed.lines().map(Path::new) {
        let text = fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            let is_source =
                ["crates/", "78-modemfleet.rules", "power.d/", "models.yaml", "LICENSE"]
                    .iter()
                    .any(|part| link.contains(part));
            let there = link.contains("://") || page.parent().unwrap().join(link).exists();
            assert!(there || is_source, "{}: {link:?} is not in the package", page.display());
        }
    }
}

/// Checks lintian; deploy/debian/lintian-overrides has the overrides and their reasons.
fn lintian_is_silent() {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]);
    succeed(lintian.arg(package()));
}

// One test: a package takes seconds to make.
#[test]
fn the_package_is_judged_installed_upgraded_removed_and_purged() {
    if !can_try() {
        return;
    }
    holds_what_it_should();
    lintian_is_silent();
    whole_life(&Root::on(Path::new("/")));
}

#[test]
#[ignore = "needs an empty Debian: cargo xtask package --try"]
fn an_empty_debian_installs_upgrades_removes_and_purges_it() {
    let below = std::env::var_os("MODEMFLEET_DEBIAN").expect("cargo xtask package --try names it");
    whole_life(&Root::on(Path::new(&below)));
}

#[test]
#[ignore = "needs an empty Debian: cargo xtask package --try"]
fn systemd_starts_it_and_starts_it_again_in_a_guest() {
    let root = std::env::var_os("MODEMFLEET_DEBIAN").expect("cargo xtask package --try names it");
    let mut boot = Command::new(project().join("tests/usb/boot"));
    boot.arg(project().join("tests/usb/service")).env("MODEMFLEET_BED_SYSTEMD", "1");
    boot.env("MODEMFLEET_BED_ROOT", root).env("MODEMFLEET_BED_FILE", package());
    // The processor is emulated, and a package is unpacked twice.
    let said = succeed(boot.env("MODEMFLEET_BED_SECONDS", "1500"));
    eprintln!("{said}");
    for what in [
        "first publish",
        "recover",
        "sockets",
        "hot plug",
        "killed",
        "reload",
        "upgrade",
        "stop",
        "wrong file",
        "purge",
    ] {
        assert!(
            said.lines().any(|line| line.starts_with(&format!("ok: {what}"))),
            "{what}: {said}"
        );
    }
}
