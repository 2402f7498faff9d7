//! Which parts of a file may be shown: safe by default.
//!
//! A value is shown if the schema has a value there that is not a secret. A key is shown if the schema has it, or if
//! it is a plain name with a value: a misspelt `pasword` is not a known key, and `password:hunter2` without its blank
//! is a key too. Everything else is hidden: comments, anchors and their aliases, values under an unknown key or in
//! the place of something else, and texts that an alias, or the place of a secret, repeats. Of a file that is not
//! YAML only the keys are shown that the schema has.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use super::key::{Keys, Shape};
use super::keys::SECRET;
use super::path::is_plain_name;
use super::shape;
use super::source::Source;
use super::tree::{Kind, Node};
use super::userinfo::{HIDDEN, without_user};
use super::words::{nearest, shorten};
use crate::printable::printable;

/// Longer values are no names, addresses or paths.
const LONGEST: usize = 256;

/// Characters of YAML itself, which say nothing.
pub(super) const MARKS: &str = "{}[],:-?|>";

/// The keys of secrets.
static SECRETS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let secrets = shape::all().into_iter().filter(|key| matches!(key.shape, Shape::Secret));
    secrets.map(|key| key.name).collect()
});

/// The others. A key of TLS is a file, or refers to one.
static KNOWN: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let names = shape::all().into_iter().map(|key| key.name);
    names.filter(|name| !SECRETS.contains(name)).collect()
});

/// Reports whether a word of a file that is not YAML may be shown as a key: only those of the schema.
pub(super) fn is_a_key(word: &str) -> bool {
    SECRETS.contains(word) || KNOWN.contains(word)
}

/// Which bytes of a file may be shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// Places in the order of the file, each shown or hidden.
    Parts {
        /// The places.
        parts: Vec<(Range<usize>, bool)>,
        /// Texts that may be secrets, and that messages about other places may quote.
        repeated: Repeated,
        /// Places of such texts that would be shown otherwise.
        others: HashSet<usize>,
    },
    /// Only keys of the schema: there is no tree.
    Keys,
}

impl Shown {
    /// By the places of its values, as the keys of the file have them.
    pub(super) fn of(root: &Node, file: &'static Keys, text: &str) -> Self {
        let Found { shown, hidden, others, .. } = Found::all(root, file, text);
        let repeated = hidden.iter().filter(|part| part.is_private).map(|part| part.text);
        let repeated = Repeated::of(repeated);
        let shown = shown.into_iter().map(|span| (span, true));
        let mut parts: Vec<_> =
            hidden.into_iter().map(|part| (part.span, false)).chain(shown).collect();
        parts.sort_by_key(|(span, is_shown)| (span.start, span.end, *is_shown));
        // Two nodes of one place are one text, and the stricter counts.
        parts.dedup_by(|next, first| next.0 == first.0);
        Self::Parts { parts, repeated, others }
    }

    /// Reports whether the text at `at` is hidden because of another place: a help made of it would show parts.
    pub(super) fn is_private_elsewhere(&self, at: usize) -> bool {
        matches!(self, Self::Parts { others, .. } if others.contains(&at))
    }

    /// Which characters of `around`, a part of `line`, may be shown.
    pub(super) fn visible(
        &self,
        source: &Source,
        line: &Range<usize>,
        around: &Range<usize>,
    ) -> Vec<bool> {
        match self {
            Self::Parts { parts, .. } => by_parts(parts, source, line, around),
            Self::Keys => by_keys(source, line, around),
        }
    }

    /// A message without the values that it quotes and that are not shown in their own place.
    pub(super) fn conceal(&self, message: &mut String) {
        let Self::Parts { repeated, .. } = self else { return };
        if repeated.texts.is_empty() {
            return;
        }
        let quoted = |at: usize, part: &str| at % 2 == 1 && repeated.texts.contains(&folded(part));
        let parts = message.split('`').enumerate();
        let parts = parts.map(|(at, part)| if quoted(at, part) { HIDDEN } else { part });
        *message = repeated.without_long(&parts.collect::<Vec<_>>().join("`"));
    }
}

/// Shorter texts are parts of many words: they are hidden only if a message quotes them alone.
const LONG: usize = 4;

/// Texts that messages must not repeat, in small letters, as messages have the names of gateways and hosts.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    texts: HashSet<String>,
    /// Beginnings of those of [`LONG`] characters and more.
    begins: HashSet<String>,
    /// Their length in bytes; the longest come first.
    lengths: Vec<usize>,
}

impl Repeated {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        // Messages have most values shortened, and paths as they are.
        let ways = |text: &str| {
            let whole: String = text.chars().take(LONGEST).collect();
            [folded(&shorten(text)), folded(&printable(&whole))]
        };
        let texts: HashSet<String> = texts.flat_map(ways).collect();
        let long = || texts.iter().filter_map(|text| Some((beginning(text)?, text.len())));
        let begins = long().map(|(begin, _)| begin.to_owned()).collect();
        let lengths: BTreeSet<usize> = long().map(|(_, length)| length).collect();
        let lengths = lengths.into_iter().rev().collect();
        Self { texts, begins, lengths }
    }

    /// `message` without the long ones among them, wherever they stand.
    fn without_long(&self, message: &str) -> String {
        let (mut out, mut at, folded) = (String::new(), 0, folded(message));
        while let Some(c) = message.get(at..).and_then(|rest| rest.chars().next()) {
            let length = folded.get(at..).and_then(|rest| self.at_start(rest)).unwrap_or(0);
            match length {
                0 => out.push(c),
                _ => out.push_str(HIDDEN),
            }
            at += length.max(c.len_utf8());
        }
        out
    }

    /// The length of the longest that `text` begins with.
    fn at_start(&self, text: &str) -> Option<usize> {
        self.begins.get(beginning(text)?)?;
        let is_one =
            |length: &usize| text.get(..*length).is_some_and(|part| self.texts.contains(part));
        self.lengths.iter().copied().find(is_one)
    }
}

/// The text in small letters, of as many bytes.
fn folded(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// The first [`LONG`] characters, if there are so many.
fn beginning(text: &str) -> Option<&str> {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).nth(LONG - 1)?;
    text.get(..end)
}

fn by_parts(
    parts: &[(Range<usize>, bool)],
    source: &Source,
    line: &Range<usize>,
    around: &Range<usize>,
) -> Vec<bool> {
    // From the end of the part before: a comment may begin far to the left.
    let at = parts.partition_point(|(span, _)| span.end <= around.start);
    let before = at.checked_sub(1).and_then(|at| parts.get(at)).map_or(0, |(span, _)| span.end);
    let from = before.max(line.start).min(around.start);
    let mut parts = parts.get(at..).unwrap_or_default().iter().peekable();
    let mut in_comment = false;
    let written = source.text.get(from..around.end).unwrap_or_default();
    let visible = written.char_indices().map(|(at, c)| {
        let at = from + at;
        while parts.next_if(|(span, _)| span.end <= at).is_some() {}
        let part = parts.peek().filter(|(span, _)| span.contains(&at));
        let begins = part.is_none() && !in_comment && c == '#';
        in_comment = part.is_none() && (in_comment || begins);
        let is_mark = c == ' ' || c == '\t' || begins || !in_comment && MARKS.contains(c);
        (at, part.map_or(is_mark, |(_, is_shown)| *is_shown || c == ' '))
    });
    visible.filter(|(at, _)| *at >= around.start).map(|(_, is_visible)| is_visible).collect()
}

fn by_keys(source: &Source, line: &Range<usize>, around: &Range<usize>) -> Vec<bool> {
    let text = source.text.get(line.clone()).unwrap_or_default();
    let written = source.text.get(around.clone()).unwrap_or_default();
    let indent = line.start + text.len() - text.trim_start_matches([' ', '-']).len();
    let key = text.trim_start_matches([' ', '-']).split_once(':').map_or("", |(key, _)| key);
    let key = if is_a_key(key.trim_end()) { indent..indent + key.len() + 1 } else { 0..0 };
    let is_shown = |at: usize, c: char| c == ' ' || at < indent || key.contains(&at);
    written.char_indices().map(|(at, c)| is_shown(around.start + at, c)).collect()
}

/// Finds of a walk over a file.
pub(super) struct Found<'a> {
    text: &'a str,
    /// Places of values and keys that may be shown.
    pub(super) shown: Vec<Range<usize>>,
    pub(super) hidden: Vec<Hidden<'a>>,
    /// The node of each of `shown`.
    nodes: Vec<&'a Node>,
    /// The beginnings of parts that are hidden only because of another place.
    others: HashSet<usize>,
    /// The number of nodes above that may stand in other places too.
    shared: usize,
    /// True if this is under a key for anchors, none of whose keys looks like a secret's.
    is_free: bool,
}

/// A value that is not shown.
pub(super) struct Hidden<'a> {
    pub(super) span: Range<usize>,
    pub(super) text: &'a str,
    /// True if it may be a secret that stands in other places too.
    is_private: bool,
    /// Text that is shown of it.
    pub(super) instead: Cow<'static, str>,
}

impl<'a> Found<'a> {
    /// Goes through a file whose text is `text`.
    pub(super) fn all(root: &'a Node, file: &'static Keys, text: &'a str) -> Self {
        let mut found = Self {
            text,
            shown: Vec::new(),
            hidden: Vec::new(),
            nodes: Vec::new(),
            others: HashSet::new(),
            shared: 0,
            is_free: false,
        };
        found.walk(root, Some(&Shape::Map(file)));
        found.hide_elsewhere();
        found
    }

    /// Hides texts that would be shown in their place, and may be a secret in another place.
    fn hide_elsewhere(&mut self) {
        let private = self.hidden.iter().filter(|part| part.is_private);
        let private: HashSet<String> = private.map(|part| folded(part.text)).collect();
        let shown = std::mem::take(&mut self.shown).into_iter();
        for (span, node) in shown.zip(std::mem::take(&mut self.nodes)) {
            let is_alias = self.text.get(span.start..).is_some_and(|at| at.starts_with('*'));
            let is_private = !private.is_empty()
                && (node.is_shared || beginning(&node.text).is_some())
                && private.contains(&folded(&node.text));
            if is_private {
                self.others.insert(node.span.start);
            }
            if is_private || is_alias {
                let instead = HIDDEN.into();
                self.hidden.push(Hidden { span, text: "", is_private: false, instead });
            } else {
                self.shown.push(span);
            }
        }
    }

    /// `shape` is the shape of this place; `None` if it is unknown or private.
    fn walk(&mut self, node: &'a Node, shape: Option<&Shape>) {
        self.shared += usize::from(node.is_shared);
        let of_items = match shape {
            Some(Shape::List(each)) => Some(*each),
            _ => None,
        };
        for item in &node.items {
            self.walk(item, of_items);
        }
        for (name, value) in &node.entries {
            self.entry(name, value, shape);
        }
        match shape {
            _ if node.kind != Kind::Scalar => {}
            Some(Shape::Scalar(_) | Shape::File | Shape::ScalarOr(_)) => self.value(node),
            _ => {
                self.hide(node, &node.text, HIDDEN.into());
                // A word of the schema would take messages their sense.
                let is_word = node.text.is_empty() || is_a_key(&node.text);
                let is_secret = matches!(shape, Some(Shape::Secret)) && !is_word;
                self.hidden.last_mut().into_iter().for_each(|part| part.is_private |= is_secret);
            }
        }
        self.shared -= usize::from(node.is_shared);
    }

    fn entry(&mut self, name: &'a Node, value: &'a Node, shape: Option<&Shape>) {
        let has_value = value.kind != Kind::Null || self.is_written_as_key(name);
        let known = |keys: &Keys| keys.get(&name.text).map(|key| &key.shape);
        let (is_shown, below) = match shape {
            Some(Shape::Map(keys) | Shape::ScalarOr(keys)) => {
                let below = known(keys);
                (below.is_some() || has_value && is_plain_name(&name.text), below)
            }
            // The value of an own variable may be anything.
            Some(Shape::Named(Shape::Scalar(_))) => (has_value && is_plain_name(&name.text), None),
            Some(Shape::Named(each)) => (has_value && is_plain_name(&name.text), Some(*each)),
            // The place of a secret is not a secret.
            _ => match known(&SECRET).filter(|_| has_value) {
                Some(shape) => (true, Some(shape)),
                None => {
                    (has_value && (KNOWN.contains(name.text.as_str()) || is_slip(&name.text)), None)
                }
            },
        };
        if is_shown && !self.is_of_more_lines(name) {
            self.show(name);
        } else {
            // A plain key may be shown in its own place.
            let is_plain = has_value && is_plain_name(&name.text);
            let secret = if is_plain { "" } else { &name.text };
            self.hide(name, secret, HIDDEN.into());
        }
        let is_free = self.is_free;
        self.is_free = (is_free || self.is_of_anchors(name)) && !looks_secret(&name.text);
        self.walk(value, below);
        self.is_free = is_free;
    }

    /// Reports whether a key is at the beginning of a line, as only the file's own keys are, and is for anchors.
    fn is_of_anchors(&self, name: &Node) -> bool {
        let before = self.text.get(..name.span.start).unwrap_or_default();
        name.text.starts_with("x-") && (before.is_empty() || before.ends_with('\n'))
    }

    /// Reports whether a key is written plainly and a `:` comes after it.
    fn is_written_as_key(&self, name: &Node) -> bool {
        let place = self.place(name);
        let is_plain = self.text.get(place.clone()) == Some(name.text.as_str());
        let rest = self.text.get(place.end..).unwrap_or_default();
        is_plain && rest.trim_start_matches([' ', '\t']).starts_with(':')
    }

    /// Shows a value, unless it looks like a misplaced one.
    fn value(&mut self, node: &'a Node) {
        let text = &node.text;
        if text.len() > LONGEST || text.contains("-----") || self.is_of_more_lines(node) {
            return self.hide(node, text, HIDDEN.into());
        }
        match without_user(text) {
            Some((user, instead)) => self.hide(node, user, format!("\"{instead}\"").into()),
            None => self.show(node),
        }
    }

    /// A key that was pasted in may be folded to one line, and a block may have a comment in its first.
    fn is_of_more_lines(&self, node: &Node) -> bool {
        let written = self.text.get(self.place(node)).unwrap_or_default();
        written.trim_end().contains(['\n', '\r']) || node.text.contains(['\n', '\r'])
    }

    /// Returns a node's place. Its span takes in the tag and the anchor before it, and that of a quoted one the comment
    /// behind it.
    fn place(&self, node: &Node) -> Range<usize> {
        let Range { start, end } = node.span;
        let start = start + before_value(self.text.get(start..end).unwrap_or_default());
        let written = self.text.get(start..end).unwrap_or_default();
        let mut chars = written.char_indices();
        let Some((_, quote @ ('"' | '\''))) = chars.next() else { return start..end };
        while let Some((at, c)) = chars.next() {
            if c == '\\' && quote == '"' {
                chars.next();
            } else if c == quote {
                // Two single ones are one of the text.
                if quote == '"'
                    || !written.get(at + 1..).is_some_and(|rest| rest.starts_with(quote))
                {
                    return start..start + at + 1;
                }
                chars.next();
            }
        }
        start..end
    }

    fn show(&mut self, node: &'a Node) {
        self.shown.push(self.place(node));
        self.nodes.push(node);
    }

    fn hide(&mut self, node: &Node, text: &'a str, instead: Cow<'static, str>) {
        let is_private = self.shared > 0 && !self.is_free && !text.is_empty();
        self.hidden.push(Hidden { span: self.place(node), text, is_private, instead });
    }
}

/// Returns the bytes of tags, anchors and the comments behind them. No plain text begins as they do.
fn before_value(written: &str) -> usize {
    let mut rest = written;
    while rest.starts_with(['&', '!']) {
        rest = rest.trim_start_matches(|c: char| !c.is_whitespace()).trim_start();
        while rest.starts_with('#') {
            rest = rest.trim_start_matches(|c| !matches!(c, '\n' | '\r')).trim_start();
        }
    }
    written.len() - rest.len()
}

/// Reports whether a key in a secret's place is a misspelt key of a secret.
fn is_slip(key: &str) -> bool {
    nearest(key, &SECRET.names()).is_some()
}

/// Reports whether a secret may stand under a key.
fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = ["pass", "pw", "secret", "token", "pin", "key", "cred", "auth"];
    words.iter().any(|word| key.contains(word))
}
