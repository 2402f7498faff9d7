//! Names the commit that the program is built from.
//!
//! The first known of these counts: `MODEMFLEET_COMMIT` from a packager, the file that
//! `git archive` fills in, and the checkout. Only an optimised build asks the checkout: in a
//! development build each commit would rebuild the agent and all packages above it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The variable by which a packager names the commit.
const NAMED: &str = "MODEMFLEET_COMMIT";

/// The most characters of a commit's name: git's longest names have 64 digits.
const LONGEST: usize = 64;

/// The paths that change the program, below the root of the repository.
const SOURCES: [&str; 4] = ["crates", "profiles", "Cargo.toml", "Cargo.lock"];

fn main() -> Result<(), String> {
    let here =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo gives no output folder")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=commit.txt");
    println!("cargo::rerun-if-env-changed={NAMED}");
    let optimised = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match (named()?, archived(&here)) {
        (Some(commit), _) | (None, Some(commit)) => commit,
        (None, None) if optimised => checked_out(&here).unwrap_or_default(),
        (None, None) => String::new(),
    };
    let version = env::var("CARGO_PKG_VERSION").map_err(|_| "cargo gives no version")?;
    let shown = if commit.is_empty() { version } else { format!("{version} ({commit})") };
    println!("cargo::rustc-env=MODEMFLEET_BUILT_FROM={commit}");
    println!("cargo::rustc-env=MODEMFLEET_VERSION={shown}");
    Ok(())
}

/// Returns the commit that the environment names. An empty value counts as none.
fn named() -> Result<Option<String>, String> {
    let Some(value) = env::var_os(NAMED).filter(|value| !value.is_empty()) else { return Ok(None) };
    let plain = |text: &&str| {
        text.len() <= LONGEST
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    match value.to_str().filter(plain) {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(format!(
            "{NAMED} is {value:?}: a commit's name is up to {LONGEST} letters, digits, -, _, . and +"
        )),
    }
}

/// Returns the commit that `git archive` wrote; in a checkout the file holds a placeholder.
fn archived(here: &Path) -> Option<String> {
    let text = fs::read_to_string(here.join("commit.txt")).ok()?;
    let digits = text.trim();
    let is_name = !digits.is_empty() && digits.len() <= LONGEST;
    (is_name && digits.chars().all(|c| c.is_ascii_hexdigit())).then(|| digits.to_owned())
}

/// Returns the commit of the checkout, marked if the sources differ from it. None without git, and
/// none if this folder merely lies inside another repository.
fn checked_out(here: &Path) -> Option<String> {
    let root = here.parent()?.parent()?;
    let top = fs::canonicalize(git(root, &["rev-parse", "--show-toplevel"])?).ok()?;
    if top != fs::canonicalize(root).ok()? {
        return None;
    }
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    rerun_with(root);
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(SOURCES);
    let differs = git(root, &status)?;
    Some(if differs.is_empty() { commit } else { format!("{commit}-modified") })
}

/// Asks again when the sources change or another commit is checked out.
fn rerun_with(root: &Path) {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let inside = ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    let inside = inside.filter_map(|name| git(root, &["rev-parse", "--git-path", name]));
    // A missing file would count as changed in each build.
    for path in inside.chain(SOURCES.map(str::to_owned)).map(|path| root.join(path)) {
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// Returns git's output without its last line end; none if git fails or is missing.
fn git(root: &Path, words: &[&str]) -> Option<String> {
    let said = Command::new("git").arg("-C").arg(root).args(words).output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    said.status.success().then(|| text.trim_end().to_owned())
}
