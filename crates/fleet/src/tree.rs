//! The file as a tree of marked nodes: syntax, duplicate keys, and the place of every node.
//!
//! serde_yaml checks types but loses places, and lets a duplicate key win in a map. So the file
//! is read into this tree first, and every later message points into it. It is made while the parser goes through
//! the file, and too many are refused there: later passes see at most [`MAX_NODES`] values.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::str::Chars;

use saphyr_parser::{BufferedInput, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::path::is_plain_name;
use super::problem::Report;
use super::source::Source;
use super::words::shorten;

/// The kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `~`, `null` or no value at all.
    Null,
    /// A single value.
    Scalar,
    /// `[…]` or `- …`.
    List,
    /// `{…}` or `key: …`.
    Map,
}

/// A node of the file with its aliases filled in. An alias shares the node of its anchor.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The node's bytes in the file; those of the alias, if the node comes by an alias.
    pub(super) span: Range<usize>,
    /// A scalar's text: the text in quotes, or a number as it is written.
    pub(super) text: String,
    /// The items of a list.
    pub(super) items: Vec<Rc<Self>>,
    /// The keys and values of a map in file order.
    pub(super) entries: Vec<(Rc<Self>, Rc<Self>)>,
    /// Places of the entries in the order of their keys' texts, if there are many of them.
    order: Vec<u32>,
    /// True if it may stand in other places too, by an alias.
    pub(super) is_shared: bool,
    size: Size,
}

/// The size of a node with all nodes below, aliases counted as their values.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    /// Of the texts of scalars.
    bytes: usize,
}

impl Node {
    fn new(kind: Kind, span: Range<usize>, text: String) -> Self {
        let size = Size { nodes: 1, bytes: text.len() };
        Self {
            kind,
            span,
            text,
            items: Vec::new(),
            entries: Vec::new(),
            order: Vec::new(),
            is_shared: false,
            size,
        }
    }

    /// The content of an empty file.
    fn nothing() -> Self {
        Self::new(Kind::Null, 0..0, String::new())
    }

    /// The same value at the place of an alias.
    fn at(&self, span: Range<usize>) -> Self {
        Self {
            kind: self.kind,
            span,
            text: self.text.clone(),
            items: self.items.clone(),
            entries: self.entries.clone(),
            order: self.order.clone(),
            is_shared: true,
            size: self.size,
        }
    }

    /// The entry `key` of a map; the first one of those that stand there twice.
    pub(super) fn entry(&self, key: &str) -> Option<&(Rc<Self>, Rc<Self>)> {
        let is_it =
            |(name, _): &&(Rc<Self>, Rc<Self>)| name.kind == Kind::Scalar && name.text == key;
        if self.order.is_empty() {
            return self.entries.iter().find(is_it);
        }
        let entry = |at: &u32| self.entries.get(usize::try_from(*at).ok()?);
        let text = |at: &u32| entry(at).map_or("", |(name, _)| name.text.as_str());
        let from = self.order.partition_point(|at| text(at) < key);
        let same = self.order.iter().skip(from).filter_map(entry);
        same.take_while(|(name, _)| name.text == key).find(is_it)
    }

    /// Its name in messages.
    pub(super) fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Scalar => "a single value",
            Kind::List => "a list",
            Kind::Map => "a mapping",
        }
    }
}

/// A key as messages call it: `password:hunter2` lacks its blank, and in `{ hunter2 }` there is a value in the
/// place of a key. One that is `meant` as a known one may have no value.
pub(super) fn shown_key(name: &Node, value: &Node, meant: Option<&str>) -> String {
    // The key that an alias repeats may be a secret in its own place.
    if name.is_shared {
        return "…".to_owned();
    }
    if is_plain_name(&name.text) {
        let is_key = value.kind != Kind::Null || meant.is_some();
        return if is_key { shorten(&name.text) } else { "…".to_owned() };
    }
    match name.text.split_once(':') {
        Some((key, _)) if is_plain_name(key) => format!("{key}:…"),
        _ => "…".to_owned(),
    }
}

/// The most values of a file, with keys and the values of aliases. A gateway with a hundred modems has
/// about five thousand; each costs about a kilobyte until the file is judged.
const MAX_NODES: usize = 40_000;

/// The most bytes of text in a file, with the texts of aliases.
const MAX_TEXT: usize = 2 * 1024 * 1024;

/// The most levels of brackets and blocks: serde_yaml ends at 128, and goes down once more for each.
const MAX_DEPTH: usize = 100;

/// Entries of a mapping among which one is looked for by halving.
const MANY: usize = 16;

const TOO_DEEP: &str = "the file is nested too deeply";

/// Reads the tree, or reports why there is none.
pub(super) fn read(source: &Source, report: &mut Report) -> Option<Rc<Node>> {
    let mut growing = Growing {
        source,
        report,
        open: Vec::new(),
        anchors: HashMap::new(),
        left: Size { nodes: MAX_NODES, bytes: MAX_TEXT },
        root: None,
    };
    if let Some((at, directive)) = directives(&source.text).nth(MAX_DIRECTIVES) {
        growing.refuse(at..at + directive.len(), "the file has too many directives".to_owned());
        return None;
    }
    if let Some((at, directive)) = directives(&source.text).find(|(_, line)| !is_known(line)) {
        let message =
            "no directive but `%YAML 1.1`, `%YAML 1.2` and `%TAG` is allowed in this file";
        growing.refuse(at..at + directive.len(), message.to_owned());
        return None;
    }
    let tokens = Cell::new(0);
    let chars = Counted { chars: source.text.chars(), tokens: &tokens, line: Line::Begins };
    let mut parser = Parser::new(BufferedInput::new(chars));
    while let Some(next) = parser.next_event() {
        let taken = match next {
            _ if tokens.get() > MAX_TOKENS => growing.refuse_values(0..0),
            Ok((event, span)) => growing.take(event, span),
            Err(error) => growing.refuse_syntax(&error),
        };
        taken?;
        tokens.set(0);
    }
    Some(growing.root.unwrap_or_else(|| Rc::new(Node::nothing())))
}

/// The most tokens that the parser keeps before it returns the first one: those of a list or a mapping in
/// brackets, which might be a key, until its end. [`MAX_NODES`] take two or three each; a token has a hundred bytes, and
/// room is made for twice as many.
const MAX_TOKENS: usize = 100_000;

/// The characters of a file, with an estimate of the tokens in them. Beyond [`MAX_TOKENS`] the file ends.
struct Counted<'a> {
    chars: Chars<'a>,
    tokens: &'a Cell<usize>,
    line: Line,
}

/// The part of a line that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// White space at most.
    Begins,
    /// A comment, or text of several lines: there are no tokens in it before a quote.
    Comment,
    /// Part of the text that may hold tokens.
    Other,
}

impl Line {
    /// The same with one character more.
    fn and(self, next: char) -> Self {
        match (self, next) {
            (_, '\n' | '\r') => Self::Begins,
            (Self::Begins, ' ' | '\t') => self,
            (Self::Begins, '#') => Self::Comment,
            // A text in quotes may end here, and tokens come after it.
            (Self::Comment, '"' | '\'') | (Self::Begins, _) => Self::Other,
            _ => self,
        }
    }
}

impl Iterator for Counted<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        self.line = self.line.and(next);
        let tokens = match next {
            _ if self.line == Line::Comment => return Some(next),
            // A key begins and ends before it, and a value comes after it.
            ':' => 3,
            // With the text before it.
            ',' => 2,
            '[' | ']' | '{' | '}' | '&' | '*' | '!' | '?' => 1,
            _ => return Some(next),
        };
        self.tokens.set(self.tokens.get() + tokens);
        (self.tokens.get() <= MAX_TOKENS).then_some(next)
    }
}

/// More lines that begin with `%` than there are directives; libyaml compares each with all before it.
const MAX_DIRECTIVES: usize = 16;

/// The lines before the document that begin with `%`, with their places.
fn directives(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    let lines = text.split_inclusive(['\n', '\r']).map(move |line| {
        let at = start;
        start += line.len();
        (at, line.trim_end())
    });
    let is_before = |(_, line): &(usize, &str)| {
        line.trim_start().is_empty() || line.trim_start().starts_with(['%', '#'])
    };
    lines.take_while(is_before).filter(|(_, line)| line.starts_with('%'))
}

/// Reports whether a directive is one that both readers know.
fn is_known(directive: &str) -> bool {
    let mut words = directive.split_whitespace();
    match words.next() {
        Some("%TAG") => true,
        Some("%YAML") => matches!(words.next(), Some("1.1" | "1.2")),
        _ => false,
    }
}

/// A list or a mapping that has not ended yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<Rc<Node>>,
}

/// The tree under construction. `None` of its functions: the file is refused.
struct Growing<'a> {
    source: &'a Source,
    report: &'a mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    left: Size,
    root: Option<Rc<Node>>,
}

impl Growing<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let place = self.place(span);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.refuse(place, "the file holds more than one YAML document".to_owned())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.no_own_tag(Kind::Scalar, tag.as_deref(), &place)?;
                let kind = kind_of(&text, style, tag.as_deref());
                self.spend(Size { nodes: 1, bytes: text.len() }, &place)?;
                self.put(Node::new(kind, place, text.into_owned()), anchor);
                Some(())
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Kind::List, anchor, tag.as_deref(), place)
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(Kind::Map, anchor, tag.as_deref(), place)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(place.start);
                Some(())
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            _ => Some(()),
        }
    }

    fn place(&self, span: Span) -> Range<usize> {
        let start = self.source.byte_of(span.start.index());
        start..self.source.byte_of(span.end.index()).max(start)
    }

    fn begin(
        &mut self,
        kind: Kind,
        anchor: usize,
        tag: Option<&Tag>,
        place: Range<usize>,
    ) -> Option<()> {
        self.no_own_tag(kind, tag, &place)?;
        if self.open.len() >= MAX_DEPTH {
            return self.refuse(place, TOO_DEEP.to_owned());
        }
        if self.wants_key() {
            return self.refuse(place, "expected a single value as a key".to_owned());
        }
        self.spend(Size { nodes: 1, bytes: 0 }, &place)?;
        self.open.push(Open { node: Node::new(kind, place, String::new()), anchor, key: None });
        Some(())
    }

    fn end(&mut self, at: usize) {
        let Some(Open { mut node, anchor, .. }) = self.open.pop() else { return };
        node.span.end = at.max(node.span.start);
        node.entries.shrink_to_fit();
        node.items.shrink_to_fit();
        if node.kind == Kind::Map {
            self.put_in_order(&mut node);
        }
        self.put(node, anchor);
    }

    /// Sorts the keys of a mapping, and reports those that stand there twice.
    fn put_in_order(&mut self, node: &mut Node) {
        let key = |at: &usize| {
            node.entries.get(*at).map(|(name, _)| (name.kind == Kind::Null, name.text.as_str()))
        };
        let mut order: Vec<usize> = (0..node.entries.len()).collect();
        order.sort_by(|one, other| {
            let text = |at| key(at).map(|(_, text)| text);
            (text(one), one).cmp(&(text(other), other))
        });
        let twice =
            order.windows(2).filter(|pair| matches!(pair, [one, other] if key(one) == key(other)));
        let mut again: Vec<usize> = twice.filter_map(|pair| pair.last().copied()).collect();
        again.sort_unstable();
        for (name, value) in again.into_iter().filter_map(|at| node.entries.get(at)) {
            if self.report.is_over() {
                break;
            }
            let shown = shown_key(name, value, None);
            let message = format!("duplicate key `{shown}`");
            let help = "this key is there twice; remove one of the two".to_owned();
            self.report.error(self.source, name.span.clone(), &shown, message, Some(help));
        }
        if order.len() > MANY {
            node.order = order.into_iter().filter_map(|at| u32::try_from(at).ok()).collect();
        }
    }

    fn alias(&mut self, anchor: usize, place: Range<usize>) -> Option<()> {
        let Some(meant) = self.anchors.get(&anchor).map(Rc::clone) else {
            return self.refuse(place, "this alias is inside its own anchor".to_owned());
        };
        if self.wants_key() && matches!(meant.kind, Kind::List | Kind::Map) {
            return self.refuse(place, "expected a single value as a key".to_owned());
        }
        self.spend(meant.size, &place)?;
        self.put(meant.at(place), 0);
        Some(())
    }

    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.node.kind == Kind::Map && open.key.is_none())
    }

    /// Adds a node at its place.
    fn put(&mut self, mut node: Node, anchor: usize) {
        node.is_shared |= anchor > 0;
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.node.size.nodes += node.size.nodes;
        open.node.size.bytes += node.size.bytes;
        match (open.node.kind, open.key.take()) {
            (Kind::Map, None) => open.key = Some(node),
            (Kind::Map, Some(key)) => open.node.entries.push((key, node)),
            _ => open.node.items.push(node),
        }
    }

    /// Counts events, and ends early if the caller has left.
    fn spend(&mut self, size: Size, place: &Range<usize>) -> Option<()> {
        if self.report.is_stopped() {
            return None;
        }
        let Some(nodes) = self.left.nodes.checked_sub(size.nodes) else {
            return self.refuse_values(place.clone());
        };
        let Some(bytes) = self.left.bytes.checked_sub(size.bytes) else {
            let message = "the aliases of this file repeat too much text".to_owned();
            return self.refuse(place.clone(), message);
        };
        self.left = Size { nodes, bytes };
        Some(())
    }

    fn refuse_values(&mut self, place: Range<usize>) -> Option<()> {
        let message = format!(
            "the file holds too many values: at most {MAX_NODES} are allowed, with those that aliases repeat"
        );
        self.refuse(place, message)
    }

    /// Refuses `!name`, and `!!map` before anything but a mapping; `!!str` and its like change nothing.
    fn no_own_tag(&mut self, kind: Kind, tag: Option<&Tag>, place: &Range<usize>) -> Option<()> {
        let Some(tag) = tag else { return Some(()) };
        let says_so = match (of_yaml(tag).as_deref(), kind) {
            (Some("str" | "int" | "float" | "bool" | "null"), Kind::Scalar | Kind::Null)
            | (Some("seq"), Kind::List)
            | (Some("map"), Kind::Map) => true,
            (Some(_), _) => false,
            (None, _) => {
                let message = "tags such as !name have no meaning in this file";
                return self.refuse(place.clone(), message.to_owned());
            }
        };
        if says_so {
            return Some(());
        }
        self.refuse(place.clone(), "this tag does not fit the value behind it".to_owned())
    }

    fn refuse_syntax(&mut self, error: &ScanError) -> Option<()> {
        let at = self.source.byte_of(error.marker().index());
        // `*` and `&` begin an alias and an anchor, and patterns begin with a `*`.
        let help = error.info().contains("anchor").then(|| {
            "text that begins with `*` or `&` must be in quotes, such as \"*-01\"".to_owned()
        });
        let message = match error.info() {
            info if info.contains("recursion limit") => TOO_DEEP.to_owned(),
            info => format!("not valid YAML: {info}"),
        };
        self.report.error(self.source, at..at, "", message, help);
        None
    }

    fn refuse(&mut self, place: Range<usize>, message: String) -> Option<()> {
        self.report.error(self.source, place.start..place.start, "", message, None);
        None
    }
}

/// The name of a tag of YAML itself, however it is written: `!!str`, or `!<tag:yaml.org,2002:str>`.
fn of_yaml(tag: &Tag) -> Option<String> {
    let whole = format!("{}{}", tag.handle, tag.suffix);
    whole.strip_prefix("tag:yaml.org,2002:").map(str::to_owned)
}

/// Reports whether a scalar is null, as serde_yaml reads it. A number or a boolean stays as it is written: `0123` is
/// a name and not 123.
fn kind_of(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
    let is_plain = style == ScalarStyle::Plain
        && tag.is_none_or(|tag| of_yaml(tag).as_deref() == Some("null"));
    if is_plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        Kind::Null
    } else {
        Kind::Scalar
    }
}
