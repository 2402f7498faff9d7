//! Python with a package of its own, in a virtual environment that later runs use again.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::run;

/// Returns the Python of the environment `name`, which has `package` with its `module`.
///
/// Two tests that run at the same time need two names.
///
/// # Panics
/// If it cannot be made.
pub(crate) fn with(name: &str, package: &str, module: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = dir.join("bin/python");
    let import = format!("import {module}");
    let is_there = Command::new(&python).args(["-c", &import]).output();
    if is_there.is_ok_and(|output| output.status.success()) {
        return python;
    }
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&dir));
    succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", package]));
    python
}

fn succeed(command: &mut Command) {
    let output = run(command, b"");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}
