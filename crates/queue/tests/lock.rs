//! Two agents on one queue: the second learns who holds it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on must panic"
)]

use std::os::unix::fs::PermissionsExt;

use queue::{Config, OpenError, Queue};

fn config(dir: &std::path::Path) -> Config {
    Config { max_bytes: 1 << 20, ..Config::new(dir) }
}

#[test]
fn a_second_opener_is_told_the_holders_pid_and_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/below");
    let first = Queue::open(config(&path)).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let error = Queue::open(config(&path)).unwrap_err();
    let OpenError::Locked { holder, .. } = &error else { panic!("{error:?}") };
    assert_eq!(holder.pid, Some(std::process::id()));
    let program = std::env::args().next().unwrap();
    assert!(holder.command.as_ref().unwrap().starts_with(&program), "{holder}");
    let text = error.to_string();
    assert!(text.contains(&format!("in use by process {} (", std::process::id())), "{text}");

    drop(first);
    Queue::open(config(&path)).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Queue::open(config(&file.join("queue"))).unwrap_err();
    assert!(matches!(error, OpenError::Prepare { .. }), "{error:?}");
    assert!(error.to_string().ends_with("file/queue"), "{error}");
}
