//! The list of the site's pages, docs/SUMMARY.md: complete, each page once, and in agreement with
//! docs/README.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::links::{Page, normal, pages};
use crate::{Breach, verdict};

const SUMMARY: &str = "docs/SUMMARY.md";
const INDEX: &str = "docs/README.md";

/// Returns the pages that a page links to, by their paths, in its order.
fn linked(path: &str, page: &Page) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let files = page.links.iter().filter_map(|link| {
        let file = link.target.split('#').next().filter(|file| file.ends_with(".md"))?;
        (!file.contains("://")).then(|| normal(&folder.join(file)))?
    });
    files.filter_map(|file| Some(file.to_str()?.to_owned())).collect()
}

/// Pages that an index of their own lists: the recipes' and ARCHITECTURE.md.
fn has_an_index(page: &str) -> bool {
    page.starts_with("docs/decisions/")
        || page.starts_with("docs/recipes/") && page != "docs/recipes/README.md"
}

fn breaches(pages: &BTreeMap<String, Page>) -> Vec<Breach> {
    let list = |path: &str| pages.get(path).map_or_else(Vec::new, |page| linked(path, page));
    let listed = list(SUMMARY);
    let (mut seen, mut breaches) = (BTreeSet::new(), Vec::new());
    for page in &listed {
        if !seen.insert(page.as_str()) {
            breaches.push(format!("{SUMMARY}: {page} is there twice: keep one of them"));
        }
    }
    let index: BTreeSet<String> = list(INDEX).into_iter().collect();
    let recipes: BTreeSet<String> = list("docs/recipes/README.md").into_iter().collect();
    let of_docs = pages.keys().filter(|page| page.starts_with("docs/") && *page != SUMMARY);
    for page in of_docs {
        if !seen.contains(page.as_str()) {
            breaches.push(format!("{SUMMARY}: {page} is missing: add it"));
        }
        if !has_an_index(page) && page != INDEX && !index.contains(page) {
            breaches.push(format!("{INDEX}: {page} is missing: add it"));
        }
        let is_recipe = page.starts_with("docs/recipes/") && has_an_index(page);
        if is_recipe && !recipes.contains(page) {
            breaches.push(format!("docs/recipes/README.md: {page} is missing: add it"));
        }
    }
    // A link to a page that the site lacks would be dead there.
    for page in &seen {
        for target in list(page).iter().filter(|target| !seen.contains(target.as_str())) {
            breaches
                .push(format!("{SUMMARY}: {target}, to which {page} links, is missing: add it"));
        }
    }
    breaches
}

#[test]
fn the_site_has_each_page_once_and_the_index_agrees() -> anyhow::Result<()> {
    let pages = pages()?;
    let listed = pages.get(SUMMARY).map_or(0, |page| page.links.len());
    assert!(listed >= 60, "only {listed} pages in {SUMMARY}");
    verdict(&breaches(&pages));
    Ok(())
}

#[test]
fn a_page_that_is_missing_or_twice_is_seen() {
    let page = |text: &str| Page::read(text);
    let mut pages = BTreeMap::from([
        (
            SUMMARY.to_owned(),
            page("[a](a.md) [i](README.md) [r](recipes/README.md) [x](recipes/x.md)"),
        ),
        (
            INDEX.to_owned(),
            page("[a](a.md#b) [r](recipes/README.md) [web](https://example.com/x.md)"),
        ),
        ("docs/a.md".to_owned(), page("# A\n\n[r](recipes/x.md)")),
        ("docs/recipes/README.md".to_owned(), page("[x](x.md)")),
        ("docs/recipes/x.md".to_owned(), page("# X")),
    ]);
    assert_eq!(breaches(&pages), Vec::<String>::new());
    pages.insert("docs/new.md".to_owned(), page("# New"));
    pages.insert("docs/recipes/y.md".to_owned(), page("# Y"));
    pages.insert("docs/decisions/001.md".to_owned(), page("# 001"));
    pages.insert("docs/a.md".to_owned(), page("[b](../b.md)"));
    let twice = "[a](a.md) [a](a.md) [i](README.md) [r](recipes/README.md) [x](recipes/x.md)";
    pages.insert(SUMMARY.to_owned(), page(twice));
    let found = breaches(&pages).join("\n");
    for wanted in [
        "docs/SUMMARY.md: docs/a.md is there twice",
        "docs/SUMMARY.md: docs/new.md is missing",
        "docs/README.md: docs/new.md is missing",
        "docs/SUMMARY.md: docs/recipes/y.md is missing",
        "docs/recipes/README.md: docs/recipes/y.md is missing",
        "docs/SUMMARY.md: docs/decisions/001.md is missing",
        "docs/SUMMARY.md: b.md, to which docs/a.md links, is missing",
    ] {
        assert!(found.contains(wanted), "{wanted} is not in:\n{found}");
    }
    assert_eq!(found.lines().count(), 7, "{found}");
}
