//! Tests of two agents on the same queue: the second gets the process id of the first.
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

#[test]
fn who_deletes_the_lock_file_lets_nobody_else_in() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Queue::open(config(dir.path())).unwrap();
    std::fs::remove_file(dir.path().join("queue.lock")).unwrap();
    let error = Queue::open(config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    std::fs::remove_file(dir.path().join("queue.lock")).unwrap();
    let error = queue::repair(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
}

#[test]
fn its_files_are_for_their_owner_whatever_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(Queue::open(config(dir.path())).unwrap());
    let _open = Queue::open(config(dir.path())).unwrap();
    for entry in dir.path().read_dir().unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}
