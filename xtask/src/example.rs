//! `cargo xtask example`: builds and tests the crate of a third party, with the versions and in the
//! target folder of this repository.

use std::env;
use std::fs;

use anyhow::Context as _;

use crate::step::{Invocation, root};

/// The folder of the example.
const FOLDER: &str = "profiles/example-out-of-tree";

/// Arguments of `example`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build the program only.
    #[arg(long)]
    build: bool,
}

/// Checks the format, builds the program, and runs its tests.
///
/// # Errors
/// If one of these steps fails, or the lock file cannot be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // The example's workspace has its own lock file, which would become outdated here. Cargo takes
    // the needed versions from ours, and then does not ask the registry.
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
    // One build for both: tests change the features of shared crates, so the program alone would be
    // built differently.
    cargo(&["build", "--bins", "--tests"], &place).run()?;
    cargo(&["test", "--lib", "--tests"], &place).run()
}

/// Returns a cargo command for the example's manifest.
fn cargo(command: &[&str], more: &[&str]) -> Invocation {
    let manifest = format!("{FOLDER}/Cargo.toml");
    Invocation::cargo(&[command, &["--manifest-path", &manifest], more].concat())
}
