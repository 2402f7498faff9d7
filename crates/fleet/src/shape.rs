//! The check of keys: only known keys, each with a value of its shape.
//!
//! One walk over the tree finds every unknown key, every list in the place of a mapping and every
//! secret in plain text at once.

use std::ops::Range;
use std::rc::Rc;

use super::key::Shape::{self, File, List, Map, Named, Scalar, ScalarOr, Secret};
use super::key::{Effect, Key, Keys};
use super::keys::{FILE, SECRET};
use super::path::{join, last};
use super::problem::Report;
use super::source::Source;
use super::tree::{Kind, Node, shown_key};
use super::words::{did_you_mean, listed, nearest};

/// Checks a whole file against its keys. Returns false if the values are not to be judged: something else than a value
/// stands in the place of one, or two values of one key, and it is not known which of them is meant.
pub(super) fn check(
    file: &'static Keys,
    root: &Node,
    source: &Source,
    report: &mut Report,
) -> bool {
    below(&Map(file), root, "", source, report)
}

/// [`check`], of the value at `path`.
pub(super) fn below(
    shape: &Shape,
    node: &Node,
    path: &str,
    source: &Source,
    report: &mut Report,
) -> bool {
    let mut walk = Walk { source, report, is_whole: true };
    walk.visit(shape, node, node.span.clone(), path);
    walk.is_whole
}

struct Walk<'a> {
    source: &'a Source,
    report: &'a mut Report,
    is_whole: bool,
}

impl Walk<'_> {
    /// `name` is the place of the key, for values without a place of their own.
    fn visit(&mut self, shape: &Shape, node: &Node, name: Range<usize>, path: &str) {
        let key = last(path);
        if node.kind == Kind::Null && !path.is_empty() {
            let message = format!("`{key}` has no value");
            let help = "write a value, or leave the key out".to_owned();
            return self.report.error(self.source, name, path, message, Some(help));
        }
        match (shape, node.kind) {
            (Scalar(_) | ScalarOr(_), Kind::Scalar) => {}
            (Secret, Kind::Scalar) => self.plain_secret(node, path),
            (File, Kind::Scalar) => self.inline_file(node, path),
            (Secret | File, Kind::Map) => self.secret(node, &name, path),
            (Map(keys) | ScalarOr(keys), Kind::Map) => self.map(keys, node, path),
            (Named(each), Kind::Map) => self.named(each, node, path),
            (List(each), Kind::List) => {
                for (at, item) in node.items.iter().enumerate() {
                    if self.report.is_over() {
                        break;
                    }
                    self.visit(each, item, item.span.clone(), &format!("{path}[{at}]"));
                }
            }
            _ => self.mismatch(shape, node, path),
        }
    }

    fn named(&mut self, each: &Shape, node: &Node, path: &str) {
        for (name, value) in &node.entries {
            if self.report.is_over() {
                break;
            }
            if self.merge_key(name, path) {
                continue;
            }
            // `users: { hunter2 }` is not a user without a password, but a password without its user.
            let is_known = matches!(each, Map(_)).then_some(name.text.as_str());
            let path = join(path, &shown_key(name, value, is_known));
            self.visit(each, value, name.span.clone(), &path);
        }
    }

    fn map(&mut self, keys: &Keys, node: &Node, path: &str) {
        for (name, value) in &node.entries {
            if self.report.is_over() {
                break;
            }
            // A place for YAML anchors, at the top only.
            let is_free = path.is_empty() && name.text.starts_with("x-");
            if is_free || self.merge_key(name, path) {
                continue;
            }
            match keys.get(&name.text) {
                Some(key) => {
                    self.is_whole &=
                        node.entry(key.name).is_some_and(|(first, _)| Rc::ptr_eq(first, name));
                    let path = join(path, key.name);
                    self.visit(&key.shape, value, name.span.clone(), &path);
                }
                None => self.unknown(keys, name, value, path),
            }
        }
        self.needs(keys, node, path);
    }

    /// Reports keys that stand without another key that they need.
    fn needs(&mut self, keys: &Keys, node: &Node, path: &str) {
        let has = |key: &str| node.entry(key).is_some_and(|(_, value)| value.kind != Kind::Null);
        for key in keys.keys.iter().filter(|key| has(key.name)) {
            let Some((other, reason)) = key.needs.filter(|(other, _)| !has(other)) else {
                continue;
            };
            let Some((name, _)) = node.entry(key.name) else { continue };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let message = format!("`{}` needs `{other}`{reason}", key.name);
            let help = format!("add `{other}`, or leave `{}` out", key.name);
            let path = join(path, key.name);
            self.report.error(self.source, name.span.clone(), &path, message, Some(help));
        }
    }

    fn unknown(&mut self, keys: &Keys, name: &Node, value: &Node, path: &str) {
        let known = keys.names();
        let meant = nearest(&name.text, &known);
        // `pin: {1234}` is not a misspelt key, but `password: { environment: X }` is.
        let is_word = name.text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let is_slip = meant.is_some() || is_word && value.kind != Kind::Null;
        let is_secret = std::ptr::eq(keys, &SECRET) && !is_slip;
        let shown = if is_secret { "…".to_owned() } else { shown_key(name, value, meant) };
        let help = if shown.ends_with(":…") {
            "add a blank after the `:`".to_owned()
        } else {
            did_you_mean(&name.text, &known)
                .unwrap_or_else(|| format!("{} may have {}", keys.of, listed(&known, "and")))
        };
        let message = format!("unknown key `{shown}` in {}", keys.of);
        let path = join(path, &shown);
        self.report.error(self.source, name.span.clone(), &path, message, Some(help));
    }

    /// Reports `<<`, which serde_yaml would take for a key of that name.
    fn merge_key(&mut self, name: &Node, path: &str) -> bool {
        if name.text == "<<" {
            let message = "merge keys (`<<`) are not supported; write the keys out";
            let help = "an alias may stand for a whole value: `will: *last_will`".to_owned();
            self.report.error(self.source, name.span.clone(), path, message, Some(help));
        }
        name.text == "<<"
    }

    fn plain_secret(&mut self, node: &Node, path: &str) {
        let key = last(path);
        let message = format!("`{key}` must not be in this file in plain text");
        let help = format!(
            "put the secret into a file of its own, with the package /etc/modemfleet/credentials/{key}, and write \
             `{key}: {{ credential: {key} }}`; `{{ file: PATH }}` and `{{ env: NAME }}` work too"
        );
        self.report.error(self.source, node.span.clone(), path, message, Some(help));
    }

    /// Refuses a certificate in the place of a path: the next one could be a private key.
    fn inline_file(&mut self, node: &Node, path: &str) {
        if !node.text.contains("-----") && !node.text.contains('\n') {
            return;
        }
        let key = last(path);
        let message = format!("`{key}` must be the path of a file, not its content");
        let help = format!("write `{key}: /etc/modemfleet/{key}.pem`, or `{key}: {{ file: … }}`");
        self.report.error(self.source, node.span.clone(), path, message, Some(help));
    }

    fn secret(&mut self, node: &Node, name: &Range<usize>, path: &str) {
        self.map(&SECRET, node, path);
        let known = |(key, _): &&(Rc<Node>, Rc<Node>)| SECRET.get(&key.text).is_some();
        if node.entries.iter().filter(known).count() != 1 {
            let message =
                format!("`{}` needs exactly one of `file`, `env` and `credential`", last(path));
            self.report.error(self.source, name.clone(), path, message, None);
        }
    }

    fn mismatch(&mut self, shape: &Shape, node: &Node, path: &str) {
        self.is_whole = false;
        let wanted = match shape {
            Scalar(_) => "a single value",
            Secret => "`{ file: … }`, `{ env: … }` or `{ credential: … }`",
            File => "the path of a file, `{ file: … }`, `{ env: … }` or `{ credential: … }`",
            Map(_) => "a mapping of keys to values",
            ScalarOr(_) => "a single value or a mapping",
            Named(_) => "a mapping of names to their settings",
            List(_) => "a list, `[ … ]`",
        };
        let subject =
            if path.is_empty() { "the file".to_owned() } else { format!("`{}`", last(path)) };
        let message = format!("{subject} must be {wanted}, not {}", node.noun());
        self.report.error(self.source, node.span.clone(), path, message, None);
    }
}

/// A key of the file as it is declared.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The key's path, with `*` for a name or an index.
    pub path: String,
    /// The effect of a change at a reload.
    pub effect: Effect,
    /// A value as the file would have it; empty for most mappings of names.
    pub example: &'static str,
}

/// The keys that a file may have, at any level but for those of a secret.
pub fn keys() -> Vec<Declared> {
    let (paths, mut all) = (&mut Vec::new(), Vec::new());
    each(&FILE, paths, &mut |paths, keys, key| {
        let path = paths.join(".");
        let effect = keys.effect(key);
        all.extend(effect.map(|effect| Declared { path, effect, example: key.example }));
    });
    all
}

/// The effect of a change of a key, by a path such as `modems.*.poll`.
pub fn effect(path: &str) -> Option<Effect> {
    let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut parts = above.split('.').filter(|part| !part.is_empty());
    let keys = parts.try_fold(&FILE, |shape, part| shape.below(part))?.keys()?;
    keys.effect(keys.get(key)?)
}

/// Every key that the file may have, at any level.
pub(super) fn all() -> Vec<&'static Key> {
    let mut all: Vec<&Key> = SECRET.keys.iter().collect();
    each(&FILE, &mut Vec::new(), &mut |_, _, key| all.push(key));
    all
}

/// Visits each key below a shape.
fn each(
    shape: &'static Shape,
    path: &mut Vec<&'static str>,
    visit: &mut impl FnMut(&[&'static str], &'static Keys, &'static Key),
) {
    if let Named(below) | List(below) = shape {
        path.push("*");
        each(below, path, visit);
        path.pop();
    }
    let Some(keys) = shape.keys() else { return };
    for key in keys.keys {
        path.push(key.name);
        visit(path, keys, key);
        each(&key.shape, path, visit);
        path.pop();
    }
}
