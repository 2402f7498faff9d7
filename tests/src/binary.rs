//! The binary under test: built by the same cargo, in the same profile, and always up to date.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Names another binary to test, such as that of an installed package. It is used without a build.
const OVERRIDE: &str = "MODEMFLEET_BINARY";

/// Returns the path of `modemfleet`. It is built if it is missing or older than its sources.
///
/// # Panics
/// If it cannot be built.
pub fn modemfleet() -> &'static Path {
    // A failure is kept as well, so that the second test does not wait for the same errors.
    static BINARY: OnceLock<Result<PathBuf, &'static str>> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os(OVERRIDE) {
            return Ok(binary.into());
        }
        let folder = profile_folder();
        let binary = folder.join("modemfleet");
        if is_fresh(&binary) || build(&folder) && binary.is_file() {
            return Ok(binary);
        }
        Err("`cargo build -p modemfleet` failed")
    });
    binary.as_ref().unwrap_or_else(|fault| panic!("{fault}"))
}

/// Returns the program of the example outside of the workspace. It is built as [`modemfleet`] is.
///
/// # Panics
/// If it cannot be built.
pub fn acmefleet() -> &'static Path {
    static BINARY: OnceLock<Result<PathBuf, &'static str>> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let binary = profile_folder().join("acmefleet");
        let build = || {
            let done = cargo().args(["xtask", "example", "--build"]).status();
            done.is_ok_and(|status| status.success())
        };
        if is_fresh(&binary) || build() && binary.is_file() {
            return Ok(binary);
        }
        Err("`cargo xtask example --build` failed")
    });
    binary.as_ref().unwrap_or_else(|fault| panic!("{fault}"))
}

/// Returns `target/<profile>`: test executables lie in its folder `deps`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_owned()
}

/// Reports whether the binary is at least as new as all sources that cargo noted.
fn is_fresh(binary: &Path) -> bool {
    let built = modified(binary);
    let Ok(notes) = std::fs::read_to_string(binary.with_extension("d")) else { return false };
    // The format is `binary: source source …`, with spaces in names escaped.
    let sources = notes.split_once(": ").map_or("", |(_, sources)| sources).replace("\\ ", "\0");
    sources.split_whitespace().all(|source| {
        let source = modified(Path::new(&source.replace('\0', " ")));
        matches!((source, built), (Some(source), Some(built)) if source <= built)
    })
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}

/// Returns cargo without the variables of this package that the cargo above set. Build scripts
/// would take them for a change, and all dependents would be built again.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let is_ours = |name: &str| {
        let starts = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME"];
        starts.iter().any(|start| name.starts_with(start))
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| is_ours(name)).for_each(|name| {
        command.env_remove(name);
    });
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn build(folder: &Path) -> bool {
    let profile = folder.file_name().unwrap().to_string_lossy().into_owned();
    let profile = if profile == "debug" { "dev".to_owned() } else { profile };
    cargo()
        .args(["build", "--quiet", "--package", "modemfleet", "--bin", "modemfleet"])
        .args(["--profile", &profile, "--target-dir"])
        .arg(folder.parent().unwrap())
        .status()
        .is_ok_and(|status| status.success())
}
