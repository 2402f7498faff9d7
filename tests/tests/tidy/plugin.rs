//! The interface for profiles: small, and without a method that no family needs.

use anyhow::Context as _;

use crate::tree::text_files;
use crate::{Breach, verdict};

/// The trait that a profile implements.
const TRAIT: &str = "crates/modem/src/profile.rs";

/// The most methods that the author of a profile can keep in mind.
const MOST: usize = 9;

/// Returns the methods of the trait, and whether each has a default.
fn methods(text: &str) -> Vec<(&str, bool)> {
    let body = text.split("pub trait Profile").nth(1).unwrap_or_default();
    let body = body.split("\n}").next().unwrap_or_default();
    let heads = body.split("    fn ").chain(body.split("async fn ")).skip(1);
    let method = |head: &'_ str| -> Option<(usize, bool)> {
        let end = head.find('(')?;
        // A head ends with a semicolon, or opens its default.
        let default = head.find([';', '{']).is_some_and(|at| head[at..].starts_with('{'));
        Some((end, default))
    };
    let mut found: Vec<(&str, bool)> = heads
        .filter_map(|head| method(head).map(|(end, default)| (&head[..end], default)))
        .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn breaches(text: &str, profiles: &[&str]) -> Vec<Breach> {
    let methods = methods(text);
    let mut breaches = Vec::new();
    if methods.len() > MOST {
        let words = format!(
            "{TRAIT}: `Profile` has {} methods, more than {MOST}: what is data belongs into models.yaml",
            methods.len()
        );
        breaches.push(words);
    }
    for (name, default) in methods {
        let overrides = |profile: &&&str| profile.contains(&format!("fn {name}(&self"));
        if default && !profiles.iter().any(|profile| overrides(&profile)) {
            breaches.push(format!(
                "{TRAIT}: no profile overrides `{name}`: make it a function beside the trait"
            ));
        }
    }
    breaches
}

#[test]
fn each_method_of_a_profile_is_needed() -> anyhow::Result<()> {
    let files = text_files()?;
    let of = |path: &str| files.iter().find(|file| file.path == path).map(|file| &file.text);
    let text = of(TRAIT).context("the trait moved: correct TRAIT")?;
    assert!(methods(text).len() > 3, "no methods found: {:?}", methods(text));
    let is_profile = |path: &str| {
        // The example is a made-up vendor, so its needs do not count.
        path.starts_with("profiles/") && path.ends_with("/src/lib.rs") && !path.contains("example")
    };
    let profiles: Vec<&str> =
        files.iter().filter(|file| is_profile(&file.path)).map(|file| file.text.as_str()).collect();
    verdict(&breaches(text, &profiles));
    Ok(())
}

#[test]
fn a_method_too_many_is_seen() {
    let text = "pub trait Profile: Send {\n    fn id(&self) -> &str;\n    async fn reset(&self) {\n        go();\n    }\n}\nfn out() {}";
    assert_eq!(methods(text), [("id", false), ("reset", true)]);
    assert_eq!(breaches(text, &["    async fn reset(&self) {}"]), Vec::<Breach>::new());
    let found = breaches(text, &["    fn id(&self) {}"]);
    assert!(matches!(&found[..], [one] if one.contains("`reset`")), "{found:?}");
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let many: String = names.map(|name| format!("    fn {name}(&self);\n")).concat();
    let found = breaches(&format!("pub trait Profile {{\n{many}}}\n"), &[]);
    assert!(matches!(&found[..], [one] if one.contains("10 methods")), "{found:?}");
}
