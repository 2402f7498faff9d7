//! `cargo xtask site`: the documentation as a site with search, made by mdBook.
//!
//! docs/SUMMARY.md lists the pages. They are copied to `target/site/src` in the folders that they
//! have in the repository, so that a link works in both. Their other files are copied as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::step::{Invocation, root, target};

/// The list of pages; its links begin at its own folder.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Pages of mdBook's own: all pages in one, and the answer to a wrong address.
const OWN_PAGES: [&str; 2] = ["print.html", "404.html"];

/// Arguments of `site`.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Builds the site, and follows its links.
///
/// # Errors
/// If mdBook is missing or fails, a page links to a page outside of the list, or a link of the site
/// is dead.
pub(crate) fn run(_: &Arguments) -> anyhow::Result<()> {
    let folder = target().join("site");
    let pages = collect(root(), &folder)?;
    println!("{} pages in {}", pages.len(), folder.join("src").display());
    let is_there = Invocation::new("mdbook", &["--version"]).succeeds();
    ensure!(is_there, "mdbook is not installed: `cargo install mdbook`, then `cargo xtask site`");
    let path = folder.to_str().context("the path of the site is not UTF-8")?;
    Invocation::new("mdbook", &["build", path]).run()?;
    let book = folder.join("book");
    let dead = dead_links(&book)?;
    ensure!(dead.is_empty(), "dead links of the site:\n{}", dead.join("\n"));
    println!("{}", book.join("index.html").display());
    Ok(())
}

/// Copies the pages and their files to `folder`, and returns the pages' paths.
fn collect(root: &Path, folder: &Path) -> anyhow::Result<Vec<String>> {
    let source = folder.join("src");
    if source.exists() {
        fs::remove_dir_all(&source)
            .with_context(|| format!("cannot empty {}", source.display()))?;
    }
    let summary = read(root, SUMMARY)?;
    let pages: Vec<String> = links(&summary).filter_map(|link| resolved(SUMMARY, link)).collect();
    let known: BTreeSet<&str> = pages.iter().map(String::as_str).collect();
    let mut files = BTreeSet::new();
    for page in &pages {
        let text = read(root, page)?;
        for target in links(&text).filter_map(|link| resolved(page, link)) {
            if target.ends_with(".md") && !known.contains(target.as_str()) {
                bail!("{page} links to {target}, which is not in {SUMMARY}: add it there");
            }
            if !target.ends_with(".md") && root.join(&target).is_file() {
                files.insert(target);
            }
        }
        write(&source.join(page), &readable(&text))?;
    }
    for file in &files {
        let to = source.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&source))?;
        fs::copy(root.join(file), &to).with_context(|| format!("cannot copy {file}"))?;
    }
    write(&source.join("SUMMARY.md"), &from_the_root(&summary))?;
    write(&folder.join("book.toml"), &read(root, "docs/book.toml")?)?;
    Ok(pages)
}

fn read(root: &Path, path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the targets of a page's links, without anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next())
}

/// Returns the path in the repository of a link of `page`; `None` if it leads elsewhere.
fn resolved(page: &str, link: &str) -> Option<String> {
    if link.is_empty() || link.contains(':') {
        return None;
    }
    let mut path = PathBuf::new();
    for part in Path::new(page).parent()?.join(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    path.into_os_string().into_string().ok()
}

/// Returns the list of pages with links that begin at the root of the repository.
fn from_the_root(summary: &str) -> String {
    let line = |line: &str| {
        let link = line.split_once("](").and_then(|(title, rest)| {
            let path = resolved(SUMMARY, rest.strip_suffix(')')?)?;
            Some(format!("{title}]({path})\n"))
        });
        link.unwrap_or_else(|| format!("{line}\n"))
    };
    summary.lines().map(line).collect()
}

/// Returns a page as the site shows it: a diagram that only GitHub draws is shown as its text.
fn readable(text: &str) -> String {
    text.replace("```mermaid\n", "```text\n")
}

/// Returns the links of a built site that lead to no file, or to no place in it.
fn dead_links(book: &Path) -> anyhow::Result<Vec<String>> {
    let mut dead = Vec::new();
    for page in html(book)? {
        let text = fs::read_to_string(book.join(&page))?;
        for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { Some(page.clone()) } else { resolved(&page, file) };
            let Some(file) = file.filter(|_| !link.contains(':')) else { continue };
            let target = fs::read_to_string(book.join(&file));
            let is_there = match &target {
                Ok(text) => anchor.is_empty() || text.contains(&format!("id=\"{anchor}\"")),
                Err(_) => anchor.is_empty() && book.join(&file).is_file(),
            };
            if !is_there {
                dead.push(format!("{page}: {link}"));
            }
        }
    }
    Ok(dead)
}

/// Returns the pages of a built site, by their paths in it.
fn html(book: &Path) -> anyhow::Result<Vec<String>> {
    let (mut open, mut pages) = (vec![book.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "html") {
                let name = path.strip_prefix(book)?.to_string_lossy().into_owned();
                pages.push(name);
            }
        }
    }
    pages.retain(|page| !OWN_PAGES.contains(&page.as_str()));
    pages.sort();
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_of_this_repository_has_all_that_its_pages_link_to() {
        let folder = target().join(format!("site-test-{}", std::process::id()));
        let pages = collect(root(), &folder).unwrap();
        assert!(pages.len() >= 60, "{} pages", pages.len());
        let summary = fs::read_to_string(folder.join("src/SUMMARY.md")).unwrap();
        assert!(summary.contains("](docs/concepts.md)") && summary.contains("](README.md)"));
        for path in
            ["docs/images/page-fleet.png", "deploy/ansible/gateways.yml", "docs/concepts.md"]
        {
            assert!(folder.join("src").join(path).is_file(), "{path}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_link_is_resolved_from_its_page() {
        for (page, link, path) in [
            ("docs/a.md", "b.md", Some("docs/b.md")),
            ("docs/recipes/a.md", "../../deploy/x/README.md", Some("deploy/x/README.md")),
            ("README.md", "docs/a.md", Some("docs/a.md")),
            ("docs/a.md", "../../x", None),
            ("docs/a.md", "https://example.com/a.md", None),
            ("docs/a.md", "", None),
        ] {
            assert_eq!(resolved(page, link).as_deref(), path, "{page} {link}");
        }
    }

    #[test]
    fn the_list_is_made_for_the_root_and_keeps_its_titles() {
        let list = "# Part\n\n- [A b](a.md)\n  - [C](../README.md)\n";
        assert_eq!(from_the_root(list), "# Part\n\n- [A b](docs/a.md)\n  - [C](README.md)\n");
    }

    #[test]
    fn dead_links_of_a_site_are_seen() {
        let folder = target().join(format!("site-links-{}", std::process::id()));
        write(&folder.join("a/b.html"), "<h2 id=\"here\"></h2>").unwrap();
        let page = "<a href=\"a/b.html#here\"><a href=\"a/b.html\"><a href=\"https://x/y\">\
            <a href=\"a/b.html#gone\"><a href=\"c.html\"><a href=\"#own\">";
        write(&folder.join("index.html"), page).unwrap();
        let dead = dead_links(&folder).unwrap();
        let wanted = ["index.html: a/b.html#gone", "index.html: c.html", "index.html: #own"];
        assert_eq!(dead, wanted);
        fs::remove_dir_all(folder).unwrap();
    }
}
