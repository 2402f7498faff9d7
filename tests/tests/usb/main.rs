//! USB modems on a real kernel: `tests/usb/boot` starts a guest, and the tests of `guest.rs` run
//! inside it.
//!
//! The guest sees the files of this machine, so it runs this same test program with `--ignored`.
//! Tests that change the machine are ignored elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what serves the tests ends at the first surprise, as they do"
)]

mod gadget;
mod guest;
mod power;
mod stranger;

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{modemfleet, run};

/// The programs of the host that the guest needs; `cargo xtask test` installs them if it may.
const PROGRAMS: &[&str] =
    &["qemu-system-x86_64", "busybox", "cpio", "depmod", "ModemManager", "mke2fs", "debugfs"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn is_there(program: &str) -> bool {
    let found = format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}");
    Command::new("sh").args(["-c", &found]).output().is_ok_and(|found| found.status.success())
}

/// Reports whether a guest can start, and prints the reason if not. Under CI the test then fails.
fn can_boot() -> bool {
    let missing: Vec<_> = PROGRAMS.iter().filter(|program| !is_there(program)).collect();
    let prepared = || {
        let boot = project().join("tests/usb/boot");
        let done = run(Command::new(boot).arg("--prepare"), b"");
        (!done.status.success()).then(|| String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let reason = if missing.is_empty() {
        prepared()
    } else {
        Some(format!(
            "not installed: {missing:?}; `cargo xtask test --only setup` tells the packages"
        ))
    };
    let Some(reason) = reason else { return true };
    let ci = std::env::var("CI").is_ok_and(|ci| !["", "0", "false"].contains(&ci.as_str()));
    assert!(!ci, "the tests on a real kernel cannot run here: {reason}");
    eprintln!("skipped: the tests on a real kernel cannot run here: {reason}");
    false
}

#[test]
fn all_that_is_ignored_here_passes_in_a_guest_with_a_real_kernel() {
    if !can_boot() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    // Both paths are quoted for the shell; cargo fails for paths with a quote.
    let lines = format!(
        "export RUST_BACKTRACE=0 MODEMFLEET_BINARY='{}' MODEMFLEET_GUEST=1\n\
         exec '{}' --ignored --test-threads=1 --nocapture\n",
        modemfleet().display(),
        std::env::current_exe().unwrap().display(),
    );
    std::fs::write(&script, lines).unwrap();
    let mut boot = Command::new(project().join("tests/usb/boot"));
    // It takes three minutes, and more than twice as long beside a load of 12.
    let done = run(boot.arg(&script).env("MODEMFLEET_BED_SECONDS", "900"), b"");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    // A guest in which no test ran would prove nothing.
    assert!(said.contains("test result: ok. 9 passed"), "{said}");
    eprintln!("{said}");
}

/// Returns the AT interfaces of the profiles, as `(vendor, product, interface)` in the notation of
/// udev.
fn interfaces() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for profile in std::fs::read_dir(project().join("profiles")).unwrap() {
        let file = profile.unwrap().path().join("models.yaml");
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let models: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        let models = models.get("models").unwrap_or(&models).as_sequence().unwrap();
        let layouts = models.iter().filter_map(|model| model["usb"].as_sequence()).flatten();
        for layout in layouts {
            let (vendor, product) = layout["id"].as_str().unwrap().split_once(':').unwrap();
            for key in ["at", "secondary"] {
                if let Some(number) = layout[key].as_u64() {
                    let (vendor, product) = (vendor.to_owned(), product.to_owned());
                    found.push((vendor, product, format!("{number:02x}")));
                }
            }
        }
    }
    found
}

#[test]
fn the_udev_rules_name_each_at_port_that_a_profile_names() {
    let rules = project().join("deploy/udev/78-modemfleet.rules");
    let rules = std::fs::read_to_string(rules).unwrap();
    let lists = |line: &str, key: &str, value: &str| {
        let list = line.split_once(&format!("ENV{{{key}}}==\"")).map(|(_, rest)| rest);
        list.and_then(|rest| rest.split('"').next())
            .is_some_and(|list| list.split('|').any(|known| known == value))
    };
    let interfaces = interfaces();
    assert!(interfaces.len() >= 4, "{interfaces:?}");
    for (vendor, product, number) in interfaces {
        let named = rules.lines().filter(|line| !line.starts_with('#')).any(|line| {
            lists(line, "ID_VENDOR_ID", &vendor)
                && lists(line, "ID_MODEL_ID", &product)
                && lists(line, "ID_USB_INTERFACE_NUM", &number)
        });
        assert!(named, "deploy/udev lacks interface {number} of {vendor}:{product}");
    }
}
