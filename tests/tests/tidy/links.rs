//! References of the documents and the alerts lead to existing files, and to existing headings in
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::tree::{root, text_files};
use crate::{Breach, verdict};

/// A link or a picture of a page.
pub(crate) struct Link {
    line: usize,
    pub(crate) target: String,
}

/// The links of a page, and the anchors that links may lead to.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) links: Vec<Link>,
    anchors: BTreeSet<String>,
}

impl Page {
    /// Reads a page as GitHub does, with tables and footnotes.
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let options = Options::ENABLE_TABLES | Options::ENABLE_GFM | Options::ENABLE_FOOTNOTES;
        for (event, at) in Parser::new_ext(text, options).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line =
                        1 + text.get(..at.start).map_or(0, |before| before.matches('\n').count());
                    page.links.push(Link { line, target: dest_url.into_string() });
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(words) | Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    let before = seen.entry(slug.clone()).or_default();
                    let anchor = if *before == 0 { slug } else { format!("{slug}-{before}") };
                    *before += 1;
                    page.anchors.insert(anchor);
                }
                _ => {}
            }
        }
        page
    }
}

/// Returns the anchor of a heading, as GitHub makes it: lower case, hyphens for spaces, no
/// punctuation.
fn slug(heading: &str) -> String {
    let small = heading.to_lowercase();
    let kept = small.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns a path without its `..`; `None` if it leads out of the repository.
pub(crate) fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => parts.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts)
}

/// Returns the fault of a reference from a file in `folder`, if any; `pages` are all pages with
/// anchors.
fn fault(
    folder: &Path,
    target: &str,
    pages: &BTreeMap<String, Page>,
    there: impl Fn(&Path) -> bool,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, a)| (file, Some(a)));
    let Some(path) = normal(&folder.join(file)) else {
        return Some("leads out of the repository".to_owned());
    };
    if !there(&path) {
        return Some("leads nowhere".to_owned());
    }
    let anchor = anchor?;
    match path.to_str().and_then(|path| pages.get(path)) {
        Some(page) if page.anchors.contains(anchor) => None,
        Some(_) => Some(format!("names #{anchor}, which is no heading there")),
        None => Some("names a heading of a file that is no page".to_owned()),
    }
}

fn dead_links(pages: &BTreeMap<String, Page>, there: impl Fn(&Path) -> bool) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, page) in pages {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        for Link { line, target } in &page.links {
            // An anchor of the page itself.
            let own = target.strip_prefix('#').map(|anchor| page.anchors.contains(anchor));
            let fault = match own {
                Some(true) => None,
                Some(false) => Some("is no heading of this page".to_owned()),
                None => fault(folder, target, pages, &there),
            };
            if let Some(fault) = fault {
                breaches.push(format!("{path}:{line}: the link to {target} {fault}: correct it"));
            }
        }
    }
    breaches
}

/// Returns all Markdown pages of the repository.
pub(crate) fn pages() -> anyhow::Result<BTreeMap<String, Page>> {
    let files = text_files()?;
    let pages = files.into_iter().filter(|file| file.path.ends_with(".md"));
    Ok(pages.map(|file| (file.path, Page::read(&file.text))).collect())
}

fn exists(path: &Path) -> bool {
    root().join(path).exists()
}

#[test]
fn links_and_anchors_lead_somewhere() -> anyhow::Result<()> {
    let pages = pages()?;
    let links: usize = pages.values().map(|page| page.links.len()).sum();
    assert!(pages.len() >= 25 && links >= 100, "only {links} links in {} pages", pages.len());
    verdict(&dead_links(&pages, exists));
    Ok(())
}

#[test]
fn alerts_link_to_a_runbook() -> anyhow::Result<()> {
    let pages = pages()?;
    let (mut breaches, mut urls) = (Vec::new(), 0);
    for file in text_files()?.iter().filter(|file| file.path.starts_with("deploy/")) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let Some(url) = line.trim().strip_prefix("runbook_url:").map(str::trim) else {
                continue;
            };
            urls += 1;
            if let Some(fault) = fault(Path::new(""), url, &pages, exists) {
                breaches.push(format!("{}:{number}: {url} {fault}: correct it", file.path));
            }
        }
    }
    assert!(urls >= 14, "only {urls} alerts have a runbook");
    verdict(&breaches);
    Ok(())
}

#[test]
fn dead_links_are_seen_and_live_ones_are_not() {
    let page = "# A page\n\n## `at` & *more*\n\n## Twice\n\n## Twice\n\n\
        [a](b.md) [b](b.md#b-here) [web](https://example.com/x) [own](#at--more) [own](#twice-1) `[no](link.md)`\n\n\
        | t |\n|---|\n| [bad](c.md) |\n\n[bad](b.md#gone) [bad](#nothing) [bad](../../x) ![bad](no.png)\n\n\
        [bad] and [good]\n\n[bad]: d.md\n[good]: b.md\n";
    let pages = BTreeMap::from([
        ("docs/a.md".to_owned(), Page::read(page)),
        ("docs/b.md".to_owned(), Page::read("# B, here!")),
    ]);
    let there = |path: &Path| path == Path::new("docs/b.md") || path == Path::new("docs/a.md");
    let found = dead_links(&pages, there);
    let wanted = ["c.md", "b.md#gone", "#nothing", "../../x", "no.png", "d.md"];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (breach, target) in found.iter().zip(wanted) {
        assert!(breach.contains(&format!(" {target} ")), "{target}: {breach}");
    }
    assert!(found.iter().any(|breach| breach.starts_with("docs/a.md:13: ")), "{found:#?}");
}
