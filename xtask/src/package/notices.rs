//! The libraries in the program: names, versions, licences, and the notices that must be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use anyhow::Context as _;
use serde::Deserialize;

use crate::step;

/// The beginnings of names of files that must be kept.
const KEPT: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    /// `None` for our own packages.
    source: Option<String>,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    /// `None` for a linked package; otherwise `dev` or `build`.
    kind: Option<String>,
}

/// Returns the notices of all libraries that are linked into the agent for `target`.
///
/// # Errors
/// If cargo fails, or a file of a crate cannot be read.
pub(crate) fn of_the_agent(target: &str) -> anyhow::Result<String> {
    let said = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target])
        .current_dir(step::root())
        .output()
        .context("cargo metadata")?;
    anyhow::ensure!(
        said.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&said.stdout)?;
    let linked = linked(&metadata, "modemfleet");
    let mut foreign: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some() && linked.contains(package.id.as_str()))
        .collect();
    foreign.sort_by_key(|package| (&package.name, &package.version));
    anyhow::ensure!(!foreign.is_empty(), "cargo metadata names no library of the agent");
    written(&foreign)
}

/// Returns the ids of all packages that `name` is linked with.
fn linked<'a>(metadata: &'a Metadata, name: &str) -> BTreeSet<&'a str> {
    let edges: BTreeMap<&str, &[Edge]> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), &*node.deps)).collect();
    let first = metadata.packages.iter().find(|package| package.name == name);
    let mut open: Vec<&str> = first.map(|package| package.id.as_str()).into_iter().collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            let edges = edges.get(id).copied().unwrap_or_default();
            let linked =
                edges.iter().filter(|edge| edge.dep_kinds.iter().any(|is| is.kind.is_none()));
            open.extend(linked.map(|edge| edge.pkg.as_str()));
        }
    }
    found
}

/// Returns a list of the packages, then each text once with the names of its packages.
fn written(packages: &[&Package]) -> anyhow::Result<String> {
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
