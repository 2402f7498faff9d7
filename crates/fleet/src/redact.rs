//! The file as others may read it: every line in its place, and no value that may be a secret.
//!
//! Values and keys are shown as [`super::shown`] has it; all others are `***`. Comments go: people keep old passwords
//! there. Lines stay where they are, so that messages about the file still fit. A file that is not YAML shows its
//! keys only.

use std::ops::Range;

use super::keys::FLEET;
use super::problem::Report;
use super::shown::{Found, Hidden, MARKS, is_a_key};
use super::source::Source;
use super::tree;
use super::userinfo::HIDDEN;

/// The most values that are hidden one by one: each is looked for in the whole text once more.
const MAX_HIDDEN: usize = 2000;

/// The ways to write an absent value.
const NOTHING: [&str; 4] = ["~", "null", "Null", "NULL"];

/// A file without its possible secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The text.
    pub text: String,
    /// True if values are shown: the file could be read.
    pub has_values: bool,
}

/// Removes possible secrets from a fleet file.
pub fn redacted(bytes: &[u8]) -> Redacted {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    match by_tree(text) {
        Some(text) => Redacted { text, has_values: true },
        None => Redacted { text: keys_only(text), has_values: false },
    }
}

/// Redacts by the places of the values, if the file can be read.
fn by_tree(text: &str) -> Option<String> {
    if text.contains(super::is_refused) {
        return None;
    }
    let source = Source::new("fleet.yaml", text.to_owned());
    let root = tree::read(&source, &mut Report::default())?;
    let Found { shown, hidden, .. } = Found::all(&root, &FLEET, text);
    let text = replaced(text, &shown, &hidden)?;
    // The text of an alias, or of a misread place, must not show a secret after all.
    let is_gone = |secret: &&Hidden<'_>| secret.text.len() < 4 || !text.contains(secret.text);
    (hidden.len() <= MAX_HIDDEN && hidden.iter().all(|secret| is_gone(&secret))).then_some(text)
}

/// The text with hidden parts replaced, and without comments.
fn replaced(text: &str, shown: &[Range<usize>], hidden: &[Hidden<'_>]) -> Option<String> {
    // Hidden ones first: of two nodes of one place they win.
    let mut spans: Vec<(Range<usize>, Option<&str>)> = hidden
        .iter()
        .map(|it| (it.span.clone(), Some(&*it.instead)))
        .chain(shown.iter().map(|span| (span.clone(), None)))
        .collect();
    spans.sort_by_key(|(span, _)| (span.start, span.end));
    // An alias has the span of its own place; two nodes of one place are one text.
    spans.dedup_by(|next, first| next.0 == first.0);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (span, instead) in spans {
        if span.start < at {
            return None;
        }
        marks_only(text.get(at..span.start)?, &mut out);
        let value = text.get(span.clone())?;
        match instead {
            None => out.push_str(value),
            Some(instead) => {
                out.push_str(instead);
                // A value of several lines leaves the other lines in their places.
                let end = value.trim_end();
                out.extend(end.chars().filter(|c| *c == '\n'));
                out.push_str(value.get(end.len()..).unwrap_or_default());
            }
        }
        at = span.end;
    }
    marks_only(text.get(at..)?, &mut out);
    Some(out)
}

/// Copies the marks of YAML between values: no comment, anchor, tag or directive.
fn marks_only(between: &str, out: &mut String) {
    for line in between.split_inclusive('\n') {
        let (written, comment) = line.find('#').map_or((line, ""), |at| line.split_at(at));
        let is_mark = |c: char| c.is_whitespace() || MARKS.contains(c);
        let mut rest = written;
        while let Some(c) = rest.chars().next() {
            let marks = is_mark(c);
            let end = rest.find(|c| is_mark(c) != marks).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            let is_shown = marks || NOTHING.contains(&part);
            out.push_str(if is_shown { part } else { HIDDEN });
            rest = after;
        }
        out.extend((!comment.is_empty()).then_some('#'));
        out.extend(comment.ends_with('\n').then_some('\n'));
    }
}

/// Redacts a file that cannot be read: keeps each line's indentation and key, if it has one.
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
        vars: { site: hunter2, name: hunter2 }
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
            "pasword: ***, password: { ***: *** }",
            "imei: \"861234567000000\"",
            "pin: ***",
            "vars: { ***: *** }",
            "vars: { site: ***, name: *** }",
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

    /// Fleet files with a secret in an unlikely place, and the redacted form of each.
    const ODD: [(&str, &str); 15] = [
        (
            "mqtt://us:hun/hunter2@b.example.com",
            "brokers: { b: { url: \"mqtt://***@b.example.com\" } }\n",
        ),
        ("us:hunter2@host", "brokers: { b: { url: \"***@host\" } }\n"),
        ("mqtt://us:p@hunter2@host", "brokers: { b: { url: \"mqtt://***@host\" } }\n"),
        ("hunter2://x@host", "brokers: { b: { url: \"***@host\" } }\n"),
        ("\"mqtt://b\", password:hunter2", "brokers: { b: { url: \"mqtt://b\", *** } }\n"),
        ("b, password: { key: hunter2 }", "brokers: { b: { url: b, password: { key: *** } } }\n"),
        (
            "b, password: [hunter2, { hunter2: x }]",
            "brokers: { b: { url: b, password: [***, { ***: *** }] } }\n",
        ),
        ("b, pasword: { url: hunter2 }", "brokers: { b: { url: b, pasword: { url: *** } } }\n"),
        (
            "b, password: { file: /run/b }",
            "brokers: { b: { url: b, password: { file: /run/b } } }\n",
        ),
        (
            "b, tls: { ca: /ca.pem, key: '-----hunter2' }",
            "brokers: { b: { url: b, tls: { ca: /ca.pem, key: *** } } }\n",
        ),
        ("{ hunter2 }", "brokers: { b: { url: { *** } } }\n"),
        ("b, hunter2", "brokers: { b: { url: b, *** } }\n"),
        ("b }, hunter2 hunter2: {", "brokers: { b: { url: b }, ***: { } }\n"),
        (
            "b } }\nhand_in: { mqtt: { users: { mqtt: hunter2 }",
            "brokers: { b: { url: b } }\nhand_in: { mqtt: { users: { mqtt: *** } } }\n",
        ),
        (
            "b } }\nmodems: { m: { pin: { hunter2 }",
            "brokers: { b: { url: b } }\nmodems: { m: { pin: { *** } } }\n",
        ),
    ];

    #[test]
    fn a_secret_in_an_unlikely_place_is_hidden_too() {
        for (written, shown) in ODD {
            let text =
                redacted(format!("brokers: {{ b: {{ url: {written} }} }}\n").as_bytes()).text;
            assert_eq!(text, shown, "{written}");
        }
    }

    #[test]
    fn what_takes_more_than_a_line_is_hidden_with_the_comment_in_its_first() {
        let text = "brokers:\n  b:\n    url: \"b\" # hunter2\n    username: 'b' # hunter2\n\n    region: b # hunter2\n    tls:\n      ca: /ca\n      key: >-\n        hunter2hunter2hunter2\n        hunter2\n      cert: hunter2\n       hunter2\nroutes:\n  - topic: >- # old pw hunter2\n      a/b\n    to: [m/s]\n";
        let shown = redacted(text.as_bytes()).text;
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("key: >-\n        ***\n") && shown.contains("topic: >- #\n"),
            "{shown}"
        );
        assert!(shown.contains("ca: /ca\n") && shown.contains("to: [m/s]\n"), "{shown}");
        assert_eq!(shown.lines().count(), text.lines().count(), "{shown}");
    }

    #[test]
    fn what_stands_between_values_is_hidden_too() {
        for (text, expected) in [
            ("http: { token: &hunter2 }\n", "http: { token: *** }\n"),
            ("http:\n  token: &hunter2\n", "http:\n  token: ***\n"),
            ("http: &hunter2 { listen: a }\n", "http: *** { listen: a }\n"),
            ("gateway: !!str &hunter2 gw # hunter2\n", "gateway: *** *** gw #\n"),
            (
                "%TAG !hunter2! tag:hunter2:\n---\ngateway: gw\n",
                "*** *** ***:***:\n---\ngateway: gw\n",
            ),
            ("gateway: &hunter2 gw\n", "gateway: *** gw\n"),
            ("gateway: &hunter2 # hunter2\n  \"gw\" # hunter2\n", "gateway: *** #\n  \"gw\" #\n"),
            ("&hunter2 gateway: gw\n", "*** gateway: gw\n"),
            ("gateway: null\nhttp: ~\n", "gateway: null\nhttp: ~\n"),
        ] {
            let Redacted { text: shown, has_values } = redacted(text.as_bytes());
            assert!(has_values && !shown.contains("hunter2"), "{text}: {shown}");
            if !text.starts_with('%') {
                assert_eq!(shown, expected);
            }
        }
    }

    #[test]
    fn of_an_alias_the_stricter_place_counts() {
        let text =
            "x-t: &t { ca: /a, key: hunter2 }\nbrokers: { b: { url: b, tls: *t, password: *t } }\n";
        let shown = redacted(text.as_bytes()).text;
        assert!(!shown.contains("hunter2"), "{shown}");
        for (text, shown) in [
            (
                "gateway: &p hunter2\nmodems: { m: { pin: *p } }\n",
                "gateway: *** ***\nmodems: { m: { pin: *** } }\n",
            ),
            (
                "x-a: &hunter2 gw\ngateway: *hunter2\nmodems: { *hunter2 : { poll: 1s } }\n",
                "x-a: *** ***\ngateway: ***\nmodems: { *** : { poll: 1s } }\n",
            ),
            ("gateway: gw\nx-pw: gw\n", "gateway: gw\nx-pw: ***\n"),
        ] {
            assert_eq!(redacted(text.as_bytes()).text, shown, "{text}");
        }
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
