//! The libraries in the program: names, versions, licences, and the notices that must be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;
use serde::Deserialize;

use crate::step::Invocation;

/// The beginnings of names of files that must be kept.
const KEPT: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A library, as cargo describes it.
#[derive(Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its licence, in SPDX's words.
    pub(crate) license: Option<String>,
    /// The address of its source.
    pub(crate) repository: Option<String>,
    /// `None` for our own packages.
    source: Option<String>,
    manifest_path: String,
}

/// The words of cargo for the program's usual features.
const USUAL: [&str; 2] = ["--features", "lab,udev"];

/// Returns the notices of all libraries that are linked into the agent for `target`.
///
/// # Errors
/// If cargo fails, or a file of a crate cannot be read.
pub(crate) fn of_the_agent(target: &str) -> anyhow::Result<String> {
    written(&linked_into_the_agent(target, &USUAL)?)
}

/// Returns the libraries of others that are linked into the agent for `target`, by name. `features` are words of
/// cargo, beside `--no-default-features`.
///
/// # Errors
/// If cargo fails.
pub(crate) fn linked_into_the_agent(
    target: &str,
    features: &[&str],
) -> anyhow::Result<Vec<Package>> {
    let every =
        cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", target])?;
    let metadata: Metadata = serde_json::from_str(&every)?;
    // The metadata are those of the whole workspace, with the features of all its members.
    let tree = ["tree", "--locked", "--package", "modemfleet", "--target", target];
    let shape =
        ["--edges", "normal", "--prefix", "none", "--format", "{p}", "--no-default-features"];
    let linked = cargo(&[&tree[..], &shape, features].concat())?;
    let linked: BTreeSet<(&str, &str)> = linked.lines().filter_map(named).collect();
    let is_linked = |package: &Package| {
        package.source.is_some() && linked.contains(&(&package.name, &package.version))
    };
    let mut foreign: Vec<_> = metadata.packages.into_iter().filter(is_linked).collect();
    foreign.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    anyhow::ensure!(!foreign.is_empty(), "cargo names no library of the agent");
    Ok(foreign)
}

fn cargo(words: &[&str]) -> anyhow::Result<String> {
    let said = Invocation::cargo(words).said()?;
    anyhow::ensure!(said.success, "cargo {}: {}", words.join(" "), said.errors);
    Ok(said.output)
}

/// Reads a line of `cargo tree`, such as `serde_derive v1.0.229 (proc-macro) (*)`.
fn named(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split(' ');
    Some((words.next()?, words.next()?.strip_prefix('v')?))
}

/// Returns a list of the packages, then each text once with the names of its packages.
fn written(packages: &[Package]) -> anyhow::Result<String> {
    let mut page = String::from("Libraries of other authors in modemfleet, and their notices\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its notice");
        writeln!(page, "{name}: {licence} {}", package.repository.as_deref().unwrap_or(""))?;
        let folder = Path::new(&package.manifest_path).parent().unwrap_or(Path::new("."));
        for text in kept(folder).with_context(|| format!("the notices of {name}"))? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in &texts {
        write!(page, "\n{}\n{}\n\n{text}\n", "-".repeat(72), names.join(", "))?;
    }
    Ok(page)
}

fn kept(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if entry.file_type()?.is_file() && KEPT.iter().any(|kept| name.starts_with(kept)) {
            texts.insert(String::from_utf8_lossy(&fs::read(entry.path())?).trim().to_owned());
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_named_with_its_notice_and_what_only_tests_use_is_not() {
        let notices = of_the_agent("x86_64-unknown-linux-gnu").unwrap();
        let listed = |name: &str| notices.lines().any(|line| line.starts_with(&format!("{name} ")));
        assert!(listed("tokio") && listed("serialport") && listed("libsqlite3-sys"));
        assert!(
            !listed("proptest") && !listed("modem "),
            "proptest is only tested with, modem is ours"
        );
        assert!(notices.contains("Copyright (c) Tokio Contributors"), "no text of a licence");
        assert!(notices.contains("Mozilla Public License"), "serialport's");
    }
}
