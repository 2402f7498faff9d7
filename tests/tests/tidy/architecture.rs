//! Invariants name a test that exists, and decisions have context, choice and price.

use std::collections::BTreeSet;

use crate::tree::{TextFile, text_files};
use crate::{Breach, verdict};

/// Headings of a decision, in their order.
const PARTS: [&str; 3] = ["## Context", "## Choice", "## Price"];

/// Names of all functions in Rust files.
fn functions(files: &[TextFile]) -> BTreeSet<&str> {
    let sources = files.iter().filter(|file| file.path.ends_with(".rs"));
    sources
        .flat_map(|file| file.text.lines())
        .filter_map(|line| {
            let (_, behind) = line.split_once("fn ")?;
            behind.split(['(', '<']).next()
        })
        .collect()
}

/// Rows of the tables below `## Invariants`: the line, the invariant and the cell that names its tests.
fn invariants(page: &str) -> Vec<(usize, &str, &str)> {
    let lines = page.lines().enumerate().skip_while(|(_, line)| *line != "## Invariants").skip(1);
    lines
        .take_while(|(_, line)| !line.starts_with("## "))
        .filter_map(|(at, line)| {
            let (invariant, tests) = line.strip_prefix('|')?.strip_suffix('|')?.split_once('|')?;
            let is_row = tests.trim() != "held by" && !tests.starts_with("---");
            is_row.then_some((at + 1, invariant.trim(), tests))
        })
        .collect()
}

/// Breaches of the page's tables against the functions that exist.
fn untested(page: &str, functions: &BTreeSet<&str>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (line, invariant, tests) in invariants(page) {
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            breaches.push(format!("ARCHITECTURE.md:{line}: {invariant:?} names no test: add one"));
        }
        for name in names.iter().filter(|name| !functions.contains(*name)) {
            breaches.push(format!(
                "ARCHITECTURE.md:{line}: `{name}` does not exist: name the test that holds it now"
            ));
        }
    }
    breaches
}

#[test]
fn each_invariant_names_a_test_that_exists() -> anyhow::Result<()> {
    let files = text_files()?;
    let page = files.iter().find(|file| file.path == "ARCHITECTURE.md");
    let page = page.map_or("", |file| &file.text);
    assert!(invariants(page).len() > 40, "the tables of invariants are gone");
    verdict(&untested(page, &functions(&files)));
    Ok(())
}

#[test]
fn an_invariant_without_its_test_is_seen() {
    let page = "## Invariants\n\n| `at` | held by |\n|---|---|\n| It holds. | `gone` |\n| So does this. | |\n## Next\n";
    assert_eq!(untested(page, &BTreeSet::from(["there"])).len(), 2);
    assert_eq!(untested(page, &BTreeSet::from(["gone"])).len(), 1);
}

#[test]
fn decisions_have_context_choice_and_price_and_are_listed() -> anyhow::Result<()> {
    let files = text_files()?;
    let list = files.iter().find(|file| file.path == "ARCHITECTURE.md");
    let list = list.map_or("", |file| &file.text);
    let pages: Vec<_> =
        files.iter().filter(|file| file.path.starts_with("docs/decisions/")).collect();
    assert!(pages.len() >= 20, "the decisions are gone: {}", pages.len());
    let mut breaches = Vec::new();
    for page in pages {
        let headings: Vec<&str> =
            page.text.lines().filter(|line| line.starts_with("## ")).collect();
        if headings != PARTS {
            breaches.push(format!("{}: its headings are {headings:?}: use {PARTS:?}", page.path));
        }
        if !list.contains(&format!("({})", page.path)) {
            breaches.push(format!("{}: is not listed in ARCHITECTURE.md: add it", page.path));
        }
    }
    verdict(&breaches);
    Ok(())
}
