//! The file as others may read it: where everything stands, and no value that may be a secret.
//!
//! A value is shown where the schema has its key and the key is none of a secret; all others are `***`,
//! since a misspelt `pasword` is no known key. Comments go: people keep old passwords there. Lines stay
//! where they are, so that messages about the file still fit. A file that is no YAML shows its keys only.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use super::problem::{Report, Source};
use super::shape::SECRET_KEYS;
use super::tree::{self, Kind, Node};

/// Longer values are no names, addresses or paths.
const LONGEST: usize = 256;

/// What stands for what is not shown.
const HIDDEN: &str = "***";

/// A file without what may be secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The text.
    pub text: String,
    /// Whether values are shown: the file could be read.
    pub has_values: bool,
}

/// Takes out of a fleet file what may be secret.
pub fn redacted(bytes: &[u8]) -> Redacted {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    match by_tree(text) {
        Some(text) => Redacted { text, has_values: true },
        None => Redacted { text: keys_only(text), has_values: false },
    }
}

/// By the places of its values, where it can be read.
fn by_tree(text: &str) -> Option<String> {
    let source = Source::new("fleet.yaml", text.to_owned());
    let root = tree::read(&source, &mut Report::default())?;
    let mut found = Found { known: known_keys(), shown: Vec::new(), hidden: Vec::new() };
    found.walk(&root, "");
    let Found { shown, hidden, .. } = found;
    let text = replaced(text, &shown, &hidden)?;
    // What an alias repeats, or a place that is not what it seems, must not show it after all.
    let is_gone = |secret: &&Hidden| secret.text.len() < 4 || !text.contains(&secret.text);
    hidden.iter().all(|secret| is_gone(&secret)).then_some(text)
}

/// The keys that the schema has, but for those of secrets.
fn known_keys() -> BTreeSet<String> {
    fn walk(value: &Value, keys: &mut BTreeSet<String>) {
        if let Some(Value::Object(properties)) = value.get("properties") {
            keys.extend(properties.keys().cloned());
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| walk(value, keys)),
            Value::Array(list) => list.iter().for_each(|value| walk(value, keys)),
            _ => {}
        }
    }
    let mut keys = BTreeSet::new();
    walk(&super::schema(), &mut keys);
    // A key of TLS is a file, or refers to one.
    keys.retain(|key| !SECRET_KEYS.contains(&key.as_str()));
    keys
}

struct Found {
    known: BTreeSet<String>,
    /// Where a value or a key stands that may be shown.
    shown: Vec<Range<usize>>,
    hidden: Vec<Hidden>,
}

/// A value that is not shown.
struct Hidden {
    span: Range<usize>,
    text: String,
    /// What is shown of it.
    instead: String,
}

impl Found {
    fn walk(&mut self, node: &Node, key: &str) {
        for item in &node.items {
            self.walk(item, key);
        }
        for (name, value) in &node.entries {
            self.shown.push(name.span.clone());
            self.walk(value, &name.text);
        }
        if node.kind != Kind::Scalar {
            return;
        }
        let text = &node.text;
        let is_known = self.known.contains(key) && text.len() <= LONGEST && !text.contains('\n');
        match user_of_url(text).filter(|_| is_known) {
            Some(user) => {
                let instead = format!("\"{}\"", text.replacen(user, HIDDEN, 1));
                self.hide(node, user, instead);
            }
            None if is_known => self.shown.push(node.span.clone()),
            None => self.hide(node, text, HIDDEN.to_owned()),
        }
    }

    fn hide(&mut self, node: &Node, text: &str, instead: String) {
        self.hidden.push(Hidden { span: node.span.clone(), text: text.to_owned(), instead });
    }
}

/// What stands before the host of a URL.
fn user_of_url(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split('/').next()?;
    authority.rsplit_once('@').map(|(user, _)| user).filter(|user| !user.is_empty())
}

/// The text with what is hidden replaced, and without comments.
fn replaced(text: &str, shown: &[Range<usize>], hidden: &[Hidden]) -> Option<String> {
    let mut spans: Vec<(Range<usize>, Option<&str>)> = shown
        .iter()
        .map(|span| (span.clone(), None))
        .chain(hidden.iter().map(|it| (it.span.clone(), Some(it.instead.as_str()))))
        .collect();
    spans.sort_by_key(|(span, _)| (span.start, span.end));
    // An alias has the span of where it stands; two nodes of one place are one text.
    spans.dedup_by(|next, first| next.0 == first.0);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (span, instead) in spans {
        if span.start < at {
            return None;
        }
        without_comments(text.get(at..span.start)?, &mut out);
        let value = text.get(span.clone())?;
        match instead {
            None => out.push_str(value),
            Some(instead) => {
                out.push_str(instead);
                // A value of several lines leaves the others where they are.
                out.extend(value.chars().filter(|c| *c == '\n'));
            }
        }
        at = span.end;
    }
    without_comments(text.get(at..)?, &mut out);
    Some(out)
}

/// What stands between values, without what a `#` begins.
fn without_comments(between: &str, out: &mut String) {
    for line in between.split_inclusive('\n') {
        match line.find('#') {
            Some(at) => {
                out.push_str(line.get(..at).unwrap_or_default());
                out.push('#');
                out.extend(line.ends_with('\n').then_some('\n'));
            }
            None => out.push_str(line),
        }
    }
}

/// A file that cannot be read: each line's indentation and key, where it has one.
fn keys_only(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let line = |line: &str| {
        let indent: String = line.chars().take_while(|c| matches!(c, ' ' | '-')).collect();
        let rest = line.trim_start_matches([' ', '-']);
        if rest.is_empty() {
            return indent;
        }
        let known = |key: &&str| !key.is_empty() && key.len() <= 32 && key.chars().all(is_name);
        match rest.split_once(':').map(|(key, _)| key.trim()).filter(known) {
            Some(key) if is_a_key(key) => format!("{indent}{key}: {HIDDEN}"),
            _ => format!("{indent}{HIDDEN}"),
        }
    };
    text.lines().map(line).fold(String::new(), |all, line| all + &line + "\n")
}

/// Whether a word may be shown as a key: those of the schema only, of a file that nobody can read.
fn is_a_key(word: &str) -> bool {
    SECRET_KEYS.contains(&word) || known_keys().contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"gateway: gw # was hunter2
http: { listen: 127.0.0.1:9810, token: { file: /run/token } }
# password: hunter2
brokers:
  lab: { url: "mqtt://us:hunter2@b.example.com:1883", username: gw, password: hunter2 }
  old: { url: "mqtt://b", pasword: 'hunter2', password: { text: hunter2 } }
modems:
  north:
    match: { imei: "861234567000000" }
    pin: hunter2
    vars: { site: hunter2 }
    apn: { name: "with # no comment", user: u, password: { env: APN } }
    sessions:
      s:
        broker: lab
        device_secret: |
          hunter2
          hunter2
        subscribe: [ { filter: "a/#", qos: 1 } ]
routes:
  - { topic: "a/#", to: [north/s] }
"#;

    #[test]
    fn what_may_be_secret_goes_and_the_rest_stays_where_it_is() {
        let Redacted { text, has_values } = redacted(FILE.as_bytes());
        assert!(has_values && !text.contains("hunter2"), "{text}");
        for kept in [
            "gateway: gw #\n",
            "listen: 127.0.0.1:9810, token: { file: /run/token }",
            "url: \"mqtt://***@b.example.com:1883\", username: gw, password: ***",
            "pasword: ***, password: { text: *** }",
            "imei: \"861234567000000\"",
            "pin: ***",
            "vars: { site: *** }",
            "name: \"with # no comment\", user: u, password: { env: APN }",
            "filter: \"a/#\", qos: 1",
            "- { topic: \"a/#\", to: [north/s] }",
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(text.lines().count(), FILE.lines().count(), "{text}");
        let line = |text: &str| text.lines().position(|line| line.contains("subscribe:"));
        assert_eq!(line(&text), line(FILE));
    }

    #[test]
    fn a_file_that_is_no_yaml_shows_its_keys() {
        let broken = "password: \"hunter2\nhttp: { token: hunter2\n  hunter2: x\n  - pin: hunter2 # x\n-----BEGIN hunter2\n\n";
        let Redacted { text, has_values } = redacted(broken.as_bytes());
        assert!(!has_values && !text.contains("hunter2"), "{text}");
        assert_eq!(text, "password: ***\nhttp: ***\n  ***\n  - pin: ***\n-----***\n\n");
        for odd in [&b"\xff\xfe"[..], b"", b"- - -", b"a: &x hunter2\nb: *x", b"{", b"a: [*a]"] {
            assert!(!redacted(odd).text.contains("hunter2"));
        }
    }
}
