//! All kept inputs, as plain tests: the corpora, and past findings.
#![expect(clippy::unwrap_used, reason = "functions of tests fail as tests do")]

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fuzzed::{TARGETS, Target};

/// Folders of `fuzz` with a folder for each target.
const KEPT: [&str; 2] = ["corpus", "crashes"];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Returns the names in a folder; none if there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Counts the panics of all threads: a panic of the queue's thread does not reach the caller.
fn panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
    &PANICS
}

/// Runs the kept inputs of a target.
#[track_caller]
fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let panics = panics();
    let mut inputs = 0;
    for kind in KEPT {
        let folder = fuzz().join(kind).join(name);
        for file in names(&folder) {
            run(target, &folder.join(&file), panics);
            inputs += 1;
        }
    }
    assert!(inputs > 1, "fuzz/corpus/{name} holds {inputs} inputs");
}

fn run(target: &Target, file: &Path, panics: &AtomicUsize) {
    let input = fs::read(file).unwrap();
    let ended = panic::catch_unwind(|| (target.run)(&input));
    let is_well = ended.is_ok() && panics.load(Ordering::SeqCst) == 0;
    assert!(is_well, "a finding: {}", file.display());
}

#[test]
fn api() {
    replay("api");
}

#[test]
fn engine() {
    replay("engine");
}

#[test]
fn fleet() {
    replay("fleet");
}

#[test]
fn inbox() {
    replay("inbox");
}

#[test]
fn listener() {
    replay("listener");
}

#[test]
fn overlay() {
    replay("overlay");
}

#[test]
fn queue() {
    replay("queue");
}

#[test]
fn replies() {
    replay("replies");
}

/// Each target has its test, its program and its corpus.
#[test]
fn each_target_is_replayed_and_has_its_program() {
    let mut known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    known.sort_unstable();
    let programs = names(&fuzz().join("fuzz_targets"));
    let programs: Vec<_> = programs.iter().filter_map(|file| file.strip_suffix(".rs")).collect();
    assert_eq!(programs, known);
    assert_eq!(names(&fuzz().join("corpus")), known);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let replayed = include_str!("replay.rs");
    for name in known {
        assert!(replayed.contains(&format!("replay(\"{name}\")")), "{name} is not replayed");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
    }
    let crashes = names(&fuzz().join("crashes"));
    assert!(crashes.iter().all(|name| programs.contains(&name.as_str())), "{crashes:?}");
}
