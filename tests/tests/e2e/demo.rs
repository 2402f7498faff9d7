//! The demo: it ends by itself or on request, loses nothing, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{PATIENCE, Process, Signal, modemfleet, within};
use tempfile::TempDir;

/// The time of its load and its faults, and several times the rest.
const END: Duration = Duration::from_secs(60);

/// Starts a demo whose temporary files lie in this folder.
fn start(folder: &TempDir, words: &[&str]) -> Process {
    let mut command = Command::new(modemfleet());
    command.arg("demo").args(words).env("TMPDIR", folder.path()).env_remove("MODEMFLEET_LOG");
    Process::start("demo", &mut command)
}

/// Returns the figure that the summary prints for `key`.
fn figure<'a>(lines: &'a [String], key: &str) -> &'a str {
    lines
        .iter()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {key:?} in the summary"))
}

fn count(lines: &[String], key: &str) -> u64 {
    figure(lines, key).parse().unwrap()
}

/// Returns the processes whose command line names the folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

#[track_caller]
fn nothing_is_left(folder: &TempDir) {
    // A killed process disappears a moment later.
    let gone = within(PATIENCE, || processes_of(folder.path()).is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", processes_of(folder.path()));
    let files: Vec<_> =
        fs::read_dir(folder.path()).unwrap().flatten().map(|it| it.path()).collect();
    assert!(files.is_empty(), "left behind: {files:?}");
}

#[test]
fn a_demo_of_so_many_seconds_loses_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(&folder, &["--seconds", "12"]);
    demo.line("where the metrics are", |line| line.starts_with("metrics: curl -s http://127."));
    let status = demo.end_within(END).expect("the demo ends by itself");
    let lines = demo.stdout();
    assert_eq!(status.code(), Some(0), "{lines:#?}");

    let handed_in = count(&lines, "published");
    // Fifteen a second by design; a loaded machine makes fewer.
    assert!(handed_in > 40, "only {handed_in} messages");
    assert_eq!(count(&lines, "received"), handed_in);
    assert!(count(&lines, "acknowledged") >= handed_in);
    assert_eq!(
        (count(&lines, "lost"), count(&lines, "damaged"), count(&lines, "not accepted")),
        (0, 0, 0)
    );
    count(&lines, "duplicates");
    assert!(count(&lines, "reconnects") >= 1, "the modem that was unplugged came back");
    for key in ["latency p50", "latency p99"] {
        assert!(figure(&lines, key).ends_with(" s"), "{key}");
    }
    for event in
        ["south: unplugged", "south: plugged in again", "north: hangs", "north: answers again"]
    {
        assert!(lines.iter().any(|line| line.contains(event)), "{event}");
    }
    // Not a terminal: nothing is redrawn.
    assert!(lines.iter().all(|line| !line.contains('\x1b')));
    nothing_is_left(&folder);
}

#[test]
fn an_interrupted_demo_still_closes_its_books() {
    // The folder's name cannot be an unquoted word of YAML.
    let folder = tempfile::Builder::new().prefix("of a \"demo\": #1, {").tempdir().unwrap();
    let mut demo = start(&folder, &[]);
    demo.line("a message", |line| line.contains("the first message is through"));
    demo.signal(Signal::INT);
    let status = demo.end_within(END).expect("the demo ends when asked to");
    let lines = demo.stdout();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert_eq!(count(&lines, "received"), count(&lines, "published"));
    nothing_is_left(&folder);
}

#[test]
fn a_reader_that_has_enough_ends_it_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(modemfleet());
    command.arg("demo").env("TMPDIR", folder.path()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = within(END, || child.try_wait().unwrap());
    drop(child.kill());
    assert!(ended.is_some(), "it goes on without a reader");
    nothing_is_left(&folder);
}

#[test]
fn no_time_at_all_is_wrong_usage() {
    for seconds in ["0", "-1", "x", "99999999999"] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = start(&folder, &["--seconds", seconds]);
        assert_eq!(demo.end_within(END).unwrap().code(), Some(2), "{seconds}");
        nothing_is_left(&folder);
    }
}
