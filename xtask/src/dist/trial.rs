//! The artefacts tried: each in a root of its own that has nothing of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::machine::Machine;
use super::{Artefact, Kind};
use crate::package;
use crate::step::{self, Invocation};

/// The result of a trial.
enum Tried {
    /// The parts that were tried.
    Yes(&'static str),
    /// Why not.
    No(String),
}

/// Runs a command of the root `$1` there, with a `/dev`, `/proc` and `/tmp` of its own mount namespace.
const INSIDE: &str = "root=$1; shift; mkdir -p \"$root/dev\" \"$root/proc\" \"$root/tmp\"; \
    mount --rbind /dev \"$root/dev\"; mount -t proc proc \"$root/proc\"; \
    exec chroot $RIGHTS \"$root\" \"$@\"";

/// A stand-in for OpenWrt's rc.common: prints the calls to procd, and starts the service.
const RC_COMMON: &str = "#!/bin/sh\n\
    for call in procd_open_instance procd_set_param procd_close_instance procd_send_signal; do\n\
    eval \"$call() { echo $call \\\"\\$@\\\"; }\"\n\
    done\n\
    logger() { echo \"$@\" >&2; }\n\
    script=$1; action=$2\n\
    . \"$script\"\n\
    [ \"$USE_PROCD\" = 1 ] || exit 1\n\
    \"${action}_service\"\n";

/// Tries every artefact that can be tried here, and prints what was tried and what was not.
///
/// # Errors
/// If an artefact fails.
pub(super) fn run(artefacts: &[Artefact]) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for artefact in artefacts {
        let name = artefact.name();
        match one(artefact) {
            Ok(Tried::Yes(what)) => println!("tried: {name}: {what}"),
            Ok(Tried::No(why)) => println!("not tried: {name}: {why}"),
            Err(error) => {
                println!("FAILED: {name}: {error:#}");
                failed.push(name);
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "these artefacts do not work: {}", failed.join(", "));
    Ok(())
}

fn one(artefact: &Artefact) -> anyhow::Result<Tried> {
    if !is_root() {
        return Ok(Tried::No("a root of its own takes root".to_owned()));
    }
    let Some(runner) = Runner::of(artefact.machine) else {
        return Ok(Tried::No(format!("no {} is here", artefact.machine.qemu())));
    };
    let root = step::root().join("target/dist-try").join(artefact.name());
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
    }
    fs::create_dir_all(&root)?;
    match artefact.kind {
        Kind::Static => archive(artefact, &root, &runner),
        Kind::Ipk => ipk(artefact, &root, &runner),
        Kind::Oci => image(artefact, &root, &runner),
        Kind::Deb => {
            package::trial::run(&artefact.path)?;
            Ok(Tried::Yes("installed in an empty Debian, started by systemd in a guest"))
        }
        Kind::Sbom => Ok(Tried::No("it is not a program".to_owned())),
    }
}

/// Reports whether this process is root: no other may change its root.
fn is_root() -> bool {
    Invocation::new("id", &["-u"]).said().is_ok_and(|said| said.output.trim() == "0")
}

/// The way to run a program of a kind of machine here.
struct Runner {
    qemu: Option<PathBuf>,
}

impl Runner {
    fn of(machine: Machine) -> Option<Self> {
        if machine.is_here() {
            return Some(Self { qemu: None });
        }
        let said = Invocation::new("which", &[machine.qemu()]).said().ok()?;
        said.success.then(|| Self { qemu: Some(said.output.trim().into()) })
    }

    /// Runs a program in a root, and returns its output.
    fn inside(&self, root: &Path, rights: &str, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", INSIDE, "sh"]).arg(root);
        if let Some(qemu) = &self.qemu {
            // A static qemu in the root needs no registration with the kernel.
            fs::copy(qemu, root.join("qemu"))?;
            command.arg("/qemu");
        }
        let done = command.args(words).env("RIGHTS", rights).env_remove("HOME").output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        anyhow::ensure!(
            done.status.success(),
            "{}: {}\n{}{}",
            words.join(" "),
            done.status,
            text(&done.stdout),
            text(&done.stderr)
        );
        Ok(text(&done.stdout))
    }
}

fn unpack(packed: &Path, into: &Path, words: &[&str]) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["-x", "--numeric-owner", "-C"]).arg(into).arg("-f").arg(packed).args(words);
    let status = tar.status()?;
    anyhow::ensure!(status.success(), "{tar:?} ended with {status}");
    Ok(())
}

fn archive(artefact: &Artefact, root: &Path, runner: &Runner) -> anyhow::Result<Tried> {
    unpack(&artefact.path, root, &["--strip-components=1"])?;
    runner.inside(root, "", &["/modemfleet", "--version"])?;
    runner.inside(root, "", &["/modemfleet", "check", "--without-secrets", "/fleet.yaml"])?;
    runner.inside(root, "", &["/modemfleet", "init", "--yes", "/tmp/fleet.yaml"])?;
    if runner.qemu.is_some() {
        // qemu-user knows no TCGETS2, so there is no serial port.
        return Ok(Tried::Yes("--version, check and init in an empty root, under qemu-user"));
    }
    // Names come from files without a library of the system: no agent runs there, which is another exit code.
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 gateway.test\n")?;
    let status =
        runner.inside(root, "", &["/modemfleet", "status", "--url", "http://gateway.test:9"]);
    let said = status.err().map(|error| error.to_string()).unwrap_or_default();
    anyhow::ensure!(said.contains("refused"), "a name of /etc/hosts is not resolved: {said}");
    let shown = runner.inside(root, "", &["/modemfleet", "demo", "--seconds", "3"])?;
    anyhow::ensure!(shown.contains("lost"), "the demo shows no result: {shown}");
    Ok(Tried::Yes("--version, check, init, a name of /etc/hosts and demo in an empty root"))
}

fn ipk(artefact: &Artefact, root: &Path, runner: &Runner) -> anyhow::Result<Tried> {
    let busybox = Invocation::new("which", &["busybox"]).said()?;
    if !busybox.success {
        return Ok(Tried::No("no busybox is here".to_owned()));
    }
    let parts = root.with_extension("parts");
    fs::create_dir_all(&parts)?;
    unpack(&artefact.path, &parts, &[])?;
    unpack(&parts.join("data.tar.gz"), root, &[])?;
    fs::create_dir_all(root.join("bin"))?;
    fs::copy(busybox.output.trim(), root.join("bin/busybox"))?;
    fs::write(root.join("etc/rc.common"), RC_COMMON)?;
    let native = Runner { qemu: None };
    let shell =
        |words: &[&str]| native.inside(root, "", &[&["/bin/busybox", "sh"], words].concat());
    if shell(&["-c", "true"]).is_err() {
        return Ok(Tried::No("busybox is not static here".to_owned()));
    }
    native.inside(root, "", &["/bin/busybox", "--install", "-s", "/bin"])?;
    for script in ["/etc/init.d/modemfleet", "/etc/hotplug.d/usb/20-modemfleet"] {
        shell(&["-n", script])?;
    }
    runner.inside(root, "", &["/usr/bin/modemfleet", "check", "/etc/modemfleet/fleet.yaml"])?;
    if runner.qemu.is_some() {
        return Ok(Tried::Yes("scripts by busybox sh, check under qemu-user"));
    }
    let said = shell(&["/etc/rc.common", "/etc/init.d/modemfleet", "start"])?;
    let command =
        "procd_set_param command /usr/bin/modemfleet run --config /etc/modemfleet/fleet.yaml";
    anyhow::ensure!(said.lines().any(|line| line == command), "procd is given no command: {said}");
    anyhow::ensure!(root.join("srv/modemfleet").exists(), "no folder for the queue");
    Ok(Tried::Yes("unpacked in a busybox root, its script started with a stand-in for procd"))
}

fn image(artefact: &Artefact, root: &Path, runner: &Runner) -> anyhow::Result<Tried> {
    let layout = root.with_extension("layout");
    fs::create_dir_all(&layout)?;
    unpack(&artefact.path, &layout, &[])?;
    let read = |digest: &serde_json::Value| -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&fs::read(blob(&layout, digest)?)?)?)
    };
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let named = index.pointer("/manifests/0/digest").context("no manifest")?;
    let manifest = read(named)?;
    let config = read(manifest.pointer("/config/digest").context("no configuration")?)?;
    let layer = manifest.pointer("/layers/0/digest").context("no layer")?;
    unpack(&blob(&layout, layer)?, root, &["-z"])?;
    let entry = config.pointer("/config/Entrypoint/0").and_then(|it| it.as_str());
    let entry = entry.context("no entry point")?;
    let user = config.pointer("/config/User").and_then(|it| it.as_str()).context("no user")?;
    let rights = format!("--userspec={user}");
    runner.inside(root, &rights, &[entry, "--version"])?;
    runner.inside(root, &rights, &[entry, "init", "--yes", "/var/lib/modemfleet/fleet.yaml"])?;
    Ok(Tried::Yes("unpacked, its program run in its root as its user"))
}

fn blob(layout: &Path, digest: &serde_json::Value) -> anyhow::Result<PathBuf> {
    let digest = digest.as_str().and_then(|text| text.strip_prefix("sha256:"));
    Ok(layout.join("blobs/sha256").join(digest.context("no digest")?))
}
