//! `modemfleet init`, by the built binary: on a machine without modems, and for fixed ports.

#![allow(clippy::unwrap_used, reason = "clippy.toml frees only the test functions")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the program, and returns its exit code, its output and its errors.
fn call(words: &[&str], file: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modemfleet"));
    let done = command.args(words).arg(file).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_first_file_is_written_once_and_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/fleet.yaml");
    let authority = rcgen::generate_simple_self_signed(vec!["b".to_owned()]).unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.cert.pem()).unwrap();
    let ca = ca.to_str().unwrap();
    let broker = ["--broker", "mqtts://b.example.com", "--ca", ca];
    let words = [&["init", "--yes", "--port", "/dev/pts/7"], &broker[..]].concat();
    let (code, out, err) = call(&words, &file);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("next:") && out.contains("modemfleet check"), "{out}");
    let (code, _, err) = call(&["check", "--without-secrets"], &file);
    assert_eq!(code, Some(0), "{err}");

    let before = fs::read(&file).unwrap();
    let (code, _, err) = call(&["init", "--yes"], &file);
    assert_eq!(code, Some(2));
    assert!(err.contains("--force"), "{err}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let (code, _, err) = call(&["init", "--yes", "--force"], &file);
    assert_eq!(code, Some(0), "{err}");
    assert_ne!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_broker_that_is_wrong_writes_nothing_and_a_dash_prints() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    let (code, _, err) = call(&["init", "--broker", "b.example.com"], &file);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("url") && !file.exists(), "{err}");
    let (code, _, err) = call(&["init", "--broker", "mqtts://b.example.com"], &file);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("--ca") && !file.exists(), "{err}");
    let (code, out, err) = call(&["init"], Path::new("-"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("modems:\n"), "{out}");
}
