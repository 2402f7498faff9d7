//! Plain English of comments: words of unclear sentences, counted per 1,000 words of each package.

use std::collections::BTreeMap;

use crate::tree::text_files;
use crate::verdict;

/// Words that are counted together, and their limit per 1,000 words of a package.
const BUDGETS: &[(&str, &[&str], f64)] = &[
    ("what", &["what"], 3.0),
    ("where", &["where"], 3.0),
    ("nobody", &["nobody", "somebody"], 0.2),
    ("tell", &["tell", "tells", "told", "telling"], 1.0),
];

/// Returns the words of comments; code in backticks counts as one word.
fn words(text: &str) -> Vec<String> {
    let comments = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    let mut words = Vec::new();
    for comment in comments {
        let plain: String = comment
            .split('`')
            .enumerate()
            .map(|(at, part)| if at % 2 == 0 { part } else { "x" })
            .collect();
        let found = plain.split(|c: char| !c.is_ascii_alphabetic() && c != '\'');
        words.extend(found.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase));
    }
    words
}

/// Returns the package of a Rust file, by its path.
fn package(path: &str) -> Option<String> {
    let mut parts = path.strip_suffix(".rs")?.split('/');
    match parts.next()? {
        top @ ("crates" | "profiles") => Some(format!("{top}/{}", parts.next()?)),
        top @ ("tests" | "xtask") => Some(top.to_owned()),
        _ => None,
    }
}

fn per_thousand(words: &[String], counted: &[&str]) -> f64 {
    let found = words.iter().filter(|word| counted.contains(&word.as_str())).count();
    let number = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    1000.0 * number(found) / number(words.len().max(1))
}

#[test]
fn comments_stay_within_their_budget_of_words() -> anyhow::Result<()> {
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in text_files()? {
        if let Some(package) = package(&file.path) {
            packages.entry(package).or_default().extend(words(&file.text));
        }
    }
    let mut breaches = Vec::new();
    for (package, words) in &packages {
        for (name, counted, most) in BUDGETS {
            let found = per_thousand(words, counted);
            if found > *most {
                breaches.push(format!(
                    "{package}: `{name}` {found:.1} times in 1,000 words of comments, at most {most}: see Plain English in CONTRIBUTING.md"
                ));
            }
        }
    }
    verdict(&breaches);
    Ok(())
}

#[test]
fn words_of_comments_are_counted_and_those_of_code_are_not() {
    let text = "/// What it is: `what` and what.\nlet what = \"what\";\n    // Nobody knows.\n";
    let words = words(text);
    assert_eq!(per_thousand(&words, &["what"]), 250.0, "{words:?}");
    assert_eq!(per_thousand(&words, &["nobody"]), 125.0, "{words:?}");
}
