//! The package tried without anything else of this project: in an empty Debian, and there under
//! systemd in a guest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::step::{self, Invocation};

/// The release of the empty Debian: the oldest that the program's glibc allows.
const RELEASE: &str = "bookworm";

/// Packages that the guest needs and the package does not depend on: systemd as the first program,
/// its kernel's drivers, and a broker.
const MORE: &str = "--include=systemd-sysv,udev,dbus,kmod,iproute2,mosquitto,mosquitto-clients";

/// Runs the tests that are ignored elsewhere, for this package.
///
/// # Errors
/// If debootstrap or a test fails.
pub(crate) fn run(package: &Path) -> anyhow::Result<()> {
    let root = empty_debian()?;
    let tests = ["nextest", "run", "--package", "e2e", "--test", "package"];
    let words = [&tests[..], &["--run-ignored", "only", "--no-capture"]].concat();
    let tests = Invocation::cargo(&words)
        .env("MODEMFLEET_DEB", &package.display().to_string())
        .env("MODEMFLEET_DEBIAN", &root.display().to_string());
    println!("    {tests}");
    tests.run()
}

/// Returns the root of an empty Debian, fetched once. The tests do not write to it.
fn empty_debian() -> anyhow::Result<PathBuf> {
    let root = step::root().join("target/debian").join(RELEASE);
    if root.exists() {
        return Ok(root);
    }
    let unfinished = root.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let path = unfinished.display().to_string();
    let fetch = Invocation::new("debootstrap", &["--variant=minbase", MORE, RELEASE, &path]);
    println!("    {fetch}");
    fetch.run().context("no empty Debian: root and the package debootstrap are needed")?;
    fs::rename(&unfinished, &root)?;
    Ok(root)
}
