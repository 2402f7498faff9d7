//! Power cuts: a guest with the queue on its own disk is killed while messages are handed in. Each
//! accepted message must be on that disk afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{modemfleet, run};
use serde_json::Value;

use crate::{can_boot, project};

/// Names the number of cuts; one if not set. `cargo xtask bench power-cut` sets it.
const CUTS: &str = "MODEMFLEET_CUTS";

/// Four applications hand in one message at a time each. The ids of accepted messages go through
/// one pipe to the host, whose file has each line before the next.
const SCRIPT: &str = r#"
modprobe -a virtio_blk ext4
mkdir /run/disk && mount /dev/vda /run/disk || exit 1
cat >/run/fleet.yaml <<'END'
gateway: gw
http: { listen: "127.0.0.1:9810" }
queue: { path: /run/disk/queue, max_bytes: 256MiB }
brokers: { lab: { url: "mqtt://broker.example.com:1883" } }
modems: { m: { match: { port: /run/nothing }, sessions: { s: { broker: lab } } } }
END
"$MODEMFLEET_BINARY" run --config /run/fleet.yaml >/run/agent.log 2>&1 &
until "$MODEMFLEET_BINARY" publish --config /run/fleet.yaml --topic first x >/run/said 2>&1; do sleep 0.1; done
for app in 1 2 3 4; do
  seq -f "$app-%.0f" 1000000 | "$MODEMFLEET_BINARY" publish --config /run/fleet.yaml --topic "app/$app" --lines &
done | cat
"#;

/// Returns a pseudo-random time within three seconds for each cut, counted from the first answer.
fn moment(cut: u32) -> String {
    format!("{:.3}", 0.2 + f64::from(cut.wrapping_mul(7_919) % 2_800) / 1_000.0)
}

/// Makes a file with an empty file system.
fn make_disk(disk: &Path) {
    fs::File::create(disk).unwrap().set_len(64 << 20).unwrap();
    let mut make = Command::new("mke2fs");
    make.env("PATH", path()).args(["-q", "-t", "ext4", "-F"]).arg(disk);
    assert!(run(&mut make, b"").status.success(), "mke2fs");
}

/// Returns the `PATH` with the system folders: Debian puts tools of file systems there.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Copies the files out as a start after the power loss would find them, with the journal replayed.
fn copy_out(disk: &Path, to: &Path) {
    let mut check = Command::new("e2fsck");
    let checked = run(check.env("PATH", path()).args(["-f", "-y"]).arg(disk), b"");
    // 1: it repaired something, such as the journal.
    assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
    let dump = format!("rdump /queue {}", to.display());
    let mut debugfs = Command::new("debugfs");
    assert!(run(debugfs.env("PATH", path()).args(["-R", &dump]).arg(disk), b"").status.success());
}

fn ask_queue(what: &str, dir: &Path) -> String {
    let asked = run(Command::new(modemfleet()).args(["queue", what, "--dir"]).arg(dir), b"");
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(
        asked.status.success(),
        "queue {what}: {said}{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    said
}

/// Cuts once; returns how many messages were accepted, and how many the disk held.
fn cut(number: u32) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let (script, disk) = (dir.path().join("script"), dir.path().join("disk"));
    make_disk(&disk);
    let binary = modemfleet().display();
    fs::write(&script, format!("export MODEMFLEET_BINARY='{binary}'\n{SCRIPT}")).unwrap();
    let mut boot = Command::new(project().join("tests/usb/boot"));
    boot.arg(&script).env("MODEMFLEET_BED_DISK", &disk).env("MODEMFLEET_BED_CUT", moment(number));
    let ended = run(&mut boot, b"");
    let said = String::from_utf8_lossy(&ended.stdout);
    let words = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(137), "the guest was not cut\n{said}\n{words}");
    // The cut may have torn the last line.
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let answered: BTreeSet<&str> = whole.lines().collect();
    copy_out(&disk, dir.path());
    let queue = dir.path().join("queue");
    ask_queue("fsck", &queue);
    let exported = ask_queue("export", &queue);
    let id = |line: &str| -> Option<String> {
        Some(serde_json::from_str::<Value>(line).ok()?["id"].as_str()?.to_owned())
    };
    let held: BTreeSet<String> = exported.lines().map(|line| id(line).unwrap()).collect();
    let lost: Vec<_> = answered.iter().filter(|id| !held.contains(**id)).collect();
    assert!(lost.is_empty(), "cut {number}: of {} answered are lost {lost:?}", answered.len());
    assert!(!answered.is_empty(), "cut {number}: nothing was answered\n{words}");
    (answered.len(), held.len())
}

#[test]
fn what_was_answered_survives_a_power_cut() {
    if !can_boot() {
        return;
    }
    let cuts = std::env::var(CUTS).map_or(1, |cuts| cuts.parse().expect("a number of cuts"));
    let (mut answered, mut held) = (0, 0);
    for number in 0..cuts {
        let (these, those) = cut(number);
        eprintln!("cut {number}: {these} answered, {those} on the disk");
        (answered, held) = (answered + these, held + those);
    }
    eprintln!("{cuts} cuts: {answered} answered, 0 of them lost; {held} on the disks");
}
