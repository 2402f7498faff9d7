//! The allowed dependencies between our packages: the arrows of ARCHITECTURE.md, and no others.

use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::tree::root;
use crate::{Breach, verdict};

/// The dependencies that a package may have among ours.
struct Edges {
    /// The package; a `*` at the end stands for the rest of the name.
    package: &'static str,
    /// Dependencies of the package itself.
    normal: &'static [&'static str],
    /// Further dependencies of its tests.
    tests: &'static [&'static str],
}

const EDGES: &[Edges] = &[
    Edges {
        package: "modemfleet",
        normal: &[
            "agent",
            "lab",
            "api",
            "discovery",
            "fleet",
            "inbox",
            "queue",
            "modem",
            "profile-*",
        ],
        tests: &[],
    },
    // The lab sees the agent only from outside.
    Edges { package: "lab", normal: &["api", "fleet", "modem", "modem-sim"], tests: &[] },
    Edges {
        package: "agent",
        normal: &["api", "discovery", "fleet", "inbox", "queue", "modem"],
        tests: &["modem-sim", "profile-*"],
    },
    // Discovery knows no metrics, no queue and no HTTP.
    Edges { package: "discovery", normal: &["fleet", "modem"], tests: &["profile-*"] },
    Edges { package: "api", normal: &["fleet"], tests: &[] },
    // The fleet file has keys for the limits of queue and inbox, which these packages define.
    Edges { package: "fleet", normal: &["inbox", "queue", "modem"], tests: &["profile-*"] },
    Edges {
        package: "profile-*",
        normal: &["modem", "at"],
        tests: &["modem-conformance", "modem-sim"],
    },
    // The shared tests of all profiles. The package knows no profile.
    Edges { package: "modem-conformance", normal: &["modem-sim", "modem", "at"], tests: &[] },
    Edges { package: "modem", normal: &["at"], tests: &["modem-sim"] },
    // Independent of `at`, so that one misreading of a manual is not made twice.
    Edges { package: "modem-sim", normal: &[], tests: &[] },
    Edges { package: "queue", normal: &[], tests: &[] },
    Edges { package: "inbox", normal: &[], tests: &[] },
    Edges { package: "at", normal: &[], tests: &[] },
    // It calls everything that reads from outside. Only tests and the fuzzer call it.
    Edges {
        package: "fuzzed",
        normal: &[
            "modemfleet",
            "agent",
            "discovery",
            "fleet",
            "inbox",
            "queue",
            "modem",
            "at",
            "profile-*",
        ],
        tests: &[],
    },
    // The end-to-end tests see the product from outside, as a user does.
    Edges { package: "e2e", normal: &[], tests: &["modem-sim"] },
    Edges { package: "xtask", normal: &[], tests: &[] },
];

/// The dependencies that `at` may have: the protocol is a value without I/O, clock and runtime.
const AT_BUILDS_ON: &[&str] = &["thiserror", "zeroize"];

/// Packages in which errors may lose their type: tops of programs, and tests.
const MAY_USE_ANYHOW: &[&str] = &["agent", "discovery", "e2e", "lab", "modemfleet", "xtask"];

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

fn one_of(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

fn breaches(metadata: &Value) -> Vec<Breach> {
    let packages = list(metadata, "packages");
    let ours: Vec<&str> = packages.iter().map(|package| word(package, "name")).collect();
    let mut breaches = Vec::new();
    for package in packages {
        let name = word(package, "name");
        let Some(edges) = EDGES.iter().find(|edges| matches(edges.package, name)) else {
            breaches.push(format!(
                "{name}: a package without a place: give it a line in EDGES of the tidy test and in ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let tests_only = word(dependency, "kind") == "dev";
            let target = word(dependency, "name");
            let breach = if ours.contains(&target) {
                our_edge(edges, target, tests_only)
            } else {
                foreign_edge(name, target, tests_only)
            };
            breaches.extend(breach.map(|why| format!("{name} → {target}: {why}")));
        }
    }
    breaches
}

fn our_edge(edges: &Edges, target: &str, tests_only: bool) -> Option<String> {
    if one_of(edges.normal, target) || (tests_only && one_of(edges.tests, target)) {
        return None;
    }
    if one_of(edges.tests, target) {
        return Some("allowed in [dev-dependencies] only: move it there".to_owned());
    }
    Some("not an edge of ARCHITECTURE.md: move the code to the side that may know both".to_owned())
}

fn foreign_edge(package: &str, target: &str, tests_only: bool) -> Option<String> {
    if tests_only {
        return None;
    }
    if package == "at" && !AT_BUILDS_ON.contains(&target) {
        return Some(
            "the engine has no I/O, clock or runtime: pass a value in from crates/modem".to_owned(),
        );
    }
    (target == "anyhow" && !MAY_USE_ANYHOW.contains(&package))
        .then(|| "a library's callers act on its errors: write an enum with thiserror".to_owned())
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the text under a key; empty if it is null, as the kind of a normal dependency is.
fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the packages of the workspace as cargo sees them.
fn metadata() -> anyhow::Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .context("cannot start `cargo metadata`")?;
    anyhow::ensure!(
        output.status.success(),
        "`cargo metadata` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("cannot read what `cargo metadata` prints")
}

#[test]
fn packages_know_only_what_the_architecture_lets_them() -> anyhow::Result<()> {
    let metadata = metadata()?;
    let found = list(&metadata, "packages").len();
    assert!(found >= EDGES.len(), "cargo metadata names {found} packages only");
    verdict(&breaches(&metadata));
    Ok(())
}

#[test]
fn a_wrong_edge_is_seen() {
    let package = |name: &str, kind: Value, target: &str| {
        let dependency = serde_json::json!({ "name": target, "kind": kind });
        serde_json::json!({ "name": name, "dependencies": [dependency] })
    };
    let judge = |name: &str, kind: Value, target: &str| {
        let names = ["at", "modem", "modem-sim", "queue", "inbox", "agent", "lab"];
        let others = names.map(|name| serde_json::json!({ "name": name, "dependencies": [] }));
        let mut packages = others.to_vec();
        packages.push(package(name, kind, target));
        breaches(&serde_json::json!({ "packages": packages }))
    };
    let normal = || Value::Null;
    let dev = || Value::from("dev");
    let wrong = [
        (judge("agent", normal(), "at"), "not an edge"),
        (judge("agent", normal(), "modem-sim"), "[dev-dependencies] only"),
        (judge("modem-sim", dev(), "at"), "not an edge"),
        (judge("profile-quectel", normal(), "agent"), "not an edge"),
        (judge("modem-conformance", normal(), "agent"), "not an edge"),
        (judge("modem", normal(), "modem-sim"), "[dev-dependencies] only"),
        (judge("e2e", Value::from("build"), "modem-sim"), "[dev-dependencies] only"),
        (judge("at", normal(), "tokio"), "no I/O, clock or runtime"),
        (judge("queue", normal(), "anyhow"), "thiserror"),
        (judge("newcomer", normal(), "serde"), "a package without a place"),
    ];
    for (breaches, expected) in wrong {
        assert!(
            matches!(&breaches[..], [one] if one.contains(expected)),
            "{expected}: {breaches:?}"
        );
    }
    let right = [
        judge("profile-quectel", dev(), "modem-sim"),
        judge("modem-conformance", normal(), "modem-sim"),
        judge("lab", normal(), "modem-sim"),
        judge("at", dev(), "proptest"),
        judge("xtask", normal(), "anyhow"),
    ];
    for breaches in right {
        assert!(breaches.is_empty(), "{breaches:?}");
    }
}
