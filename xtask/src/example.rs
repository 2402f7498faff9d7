//! `cargo xtask example`: builds and tests the crate that a third party would write, with the versions and in the
//! target folder of this repository.

use std::env;
use std::fs;

use anyhow::Context as _;

use crate::step::{Invocation, root};

/// Where it lies.
const FOLDER: &str = "profiles/example-out-of-tree";

/// Arguments of `example`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build the program only.
    #[arg(long)]
    build: bool,
}

/// Formats nothing, builds the program, and runs its tests.
///
/// # Errors
/// Where a step of it failed, or the lock file cannot be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // A workspace of its own has a lock file of its own, which would grow old here. Cargo takes from ours what it needs, and
    // then the registry is not asked.
    let lock = root().join(FOLDER).join("Cargo.lock");
    fs::copy(root().join("Cargo.lock"), &lock)
        .with_context(|| format!("cannot write {}", lock.display()))?;
    if !arguments.build {
        cargo(&["fmt"], &["--", "--check"]).run()?;
    }
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let place = ["--offline", "--target-dir", &target];
    if arguments.build {
        return cargo(&["build"], &place).run();
    }
    // Together, since what tests depend on turns on features: a program built without them would be built apart.
    cargo(&["build", "--bins", "--tests"], &place).run()?;
    cargo(&["test", "--lib", "--tests"], &place).run()
}

/// Cargo for the example's manifest.
fn cargo(command: &[&str], more: &[&str]) -> Invocation {
    let manifest = format!("{FOLDER}/Cargo.toml");
    Invocation::cargo(&[command, &["--manifest-path", &manifest], more].concat())
}
