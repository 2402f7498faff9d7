//! The file as a tree of marked nodes: syntax, duplicate keys, and where everything stands.
//!
//! serde_yaml checks types but loses places, and lets a duplicate key win in a map. So the file
//! is read into this tree first, and every later message points into it.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use saphyr::{
    AnnotatedMapping, LoadableYamlNode, MarkedYaml, Marker, Scalar, ScanError, Tag, Yaml, YamlData,
};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

use super::problem::{Report, Source};
use super::words::shorten;

/// What a node is.
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

/// A node of the file, its aliases filled in.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The bytes of the file that it takes; those of the alias where it stands for another.
    pub(super) span: Range<usize>,
    /// A scalar's text: what the quotes hold, or a number as it is written.
    pub(super) text: String,
    /// The items of a list.
    pub(super) items: Vec<Self>,
    /// The keys and values of a map in file order.
    pub(super) entries: Vec<(Self, Self)>,
}

impl Node {
    /// What an empty file holds.
    fn nothing() -> Self {
        let text = String::new();
        Self { kind: Kind::Null, span: 0..0, text, items: Vec::new(), entries: Vec::new() }
    }

    /// The entry `key` of a map.
    pub(super) fn entry(&self, key: &str) -> Option<&(Self, Self)> {
        self.entries.iter().find(|(node, _)| node.kind == Kind::Scalar && node.text == key)
    }

    /// How messages call it.
    pub(super) fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Scalar => "a single value",
            Kind::List => "a list",
            Kind::Map => "a mapping",
        }
    }
}

/// Reads the tree, or reports why there is none.
///
/// Each pass makes the next one safe: indentation ([`deep_line`]); syntax and the depth of
/// brackets, keeping nothing ([`Scan`]); nesting, aliases and keys ([`Guard`]); then the tree,
/// which has at most [`MAX_NODES`].
pub(super) fn read(source: &Source, report: &mut Report) -> Option<Node> {
    let text = source.text.as_str();
    if let Some(at) = deep_line(text) {
        report.error(source, at..at, "", TOO_DEEP, None);
        return None;
    }
    let documents = Scan::load_from_str(text).and_then(|_sound| {
        Ok(match Guard::all(text) {
            Ok(()) => Ok(MarkedYaml::load_from_str(text)?),
            Err(error) => Err(error),
        })
    });
    match documents {
        Ok(Ok(documents)) => {
            let first = documents.first();
            return Some(first.map_or_else(Node::nothing, |document| convert(document, source)));
        }
        Ok(Err(error)) => refuse_unsafe(&error, source, report),
        Err(error) => refuse_syntax(&error, source, report),
    }
    None
}

const TOO_DEEP: &str = "the file is nested too deeply";

/// Deeper indentation than any file for people, in columns.
const MAX_INDENT: usize = 200;
/// More list items opened in one line (`- - - a`) than any file for people.
const MAX_DASHES: usize = 100;

/// Where a line begins whose blocks may be nested too deeply for saphyr, which recurses over them.
///
/// A block is indented more than the one around it, by spaces or by dashes and question marks
/// before it on its line: bounding both bounds the depth, whatever else is in the line.
fn deep_line(text: &str) -> Option<usize> {
    let deep = |line: &str| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let marks = line.as_bytes().windows(2);
        let opens = marks.filter(|pair| matches!(pair, [b'-' | b'?', b' ' | b'\t'])).count();
        indent > MAX_INDENT || opens > MAX_DASHES
    };
    let mut start = 0;
    // A carriage return alone ends a line as well.
    for line in text.split_inclusive(['\n', '\r']) {
        if deep(line) {
            return Some(start);
        }
        start += line.len();
    }
    None
}

fn refuse_syntax(error: &ScanError, source: &Source, report: &mut Report) {
    let at = source.byte_of(error.marker().index());
    if error.info() != "duplicated key in mapping" {
        // `*` and `&` begin an alias and an anchor, and patterns begin with a `*`.
        let help = error.info().contains("anchor").then(|| {
            "text that begins with `*` or `&` has to be in quotes, such as \"*-01\"".to_owned()
        });
        let message = format!("no valid YAML: {}", error.info());
        return report.error(source, at..at, "", message, help);
    }
    let key = source.word_at(at);
    let path = source.text.get(key.clone()).unwrap_or_default();
    let message = format!("duplicate key `{}`", shorten(path));
    let help = "each key may stand once; there is one like it above".to_owned();
    report.error(source, key, path, message, Some(help));
}

fn refuse_unsafe(error: &serde_yaml::Error, source: &Source, report: &mut Report) {
    let mut text = error.to_string();
    if let Some(place) = error.location() {
        // The place is shown by other means.
        text =
            text.replacen(&format!(" at line {} column {}", place.line(), place.column()), "", 1);
    }
    let message = if text.contains("recursion limit") {
        TOO_DEEP.to_owned()
    } else if text.contains("repetition limit") {
        "the aliases of this file stand for too much".to_owned()
    } else if text.contains("more than one document") {
        "the file holds more than one YAML document".to_owned()
    } else {
        text
    };
    // Only a second document comes without a place.
    let second = || source.text.rfind("\n---").map_or(0, |at| at + 1);
    let at = error.location().map_or_else(second, |place| place.index());
    report.error(source, at..at, "", message, None);
}

/// A node that keeps nothing: loading it checks the syntax in bounded space and linear time.
///
/// saphyr stops at 255 nested brackets; libyaml below serde_yaml takes quadratic time over them.
#[derive(Clone, Debug)]
struct Scan {
    kind: Option<Kind>,
    list: Vec<Self>,
    map: AnnotatedMapping<'static, Self>,
}

impl Scan {
    fn new(kind: Option<Kind>) -> Self {
        Self { kind, list: Vec::new(), map: AnnotatedMapping::new() }
    }
}

/// Only for the map that holds one entry at a time.
impl PartialEq for Scan {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Scan {}

impl Hash for Scan {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.is_some().hash(state);
    }
}

impl<'input> LoadableYamlNode<'input> for Scan {
    type HashKey = Self;

    fn from_bare_yaml(yaml: Yaml<'input>) -> Self {
        Self::new(match yaml {
            Yaml::Sequence(_) => Some(Kind::List),
            Yaml::Mapping(_) => Some(Kind::Map),
            Yaml::BadValue => None,
            _ => Some(Kind::Scalar),
        })
    }

    fn is_sequence(&self) -> bool {
        self.kind == Some(Kind::List)
    }

    fn is_mapping(&self) -> bool {
        self.kind == Some(Kind::Map)
    }

    fn is_badvalue(&self) -> bool {
        self.kind.is_none()
    }

    // The loader asks for these before each insertion, so that clearing them keeps one entry.
    fn sequence_mut(&mut self) -> &mut Vec<Self> {
        self.list.clear();
        &mut self.list
    }

    fn mapping_mut(&mut self) -> &mut AnnotatedMapping<'static, Self> {
        self.map.clear();
        &mut self.map
    }

    fn into_tagged(self, _: Cow<'input, Tag>) -> Self {
        self
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(None))
    }

    fn with_end_marker(self, _: Marker) -> Self {
        Self::new(self.kind)
    }
}

fn convert(from: &MarkedYaml<'_>, source: &Source) -> Node {
    let start = source.byte_of(from.span.start.index());
    let span = start..source.byte_of(from.span.end.index()).max(start);
    let written = source.text.get(span.clone()).unwrap_or_default();
    let (mut text, mut items, mut entries) = (String::new(), Vec::new(), Vec::new());
    let kind = match &from.data {
        YamlData::Sequence(list) => {
            items.extend(list.iter().map(|item| convert(item, source)));
            Kind::List
        }
        YamlData::Mapping(map) => {
            entries.extend(map.iter().map(|(k, v)| (convert(k, source), convert(v, source))));
            Kind::Map
        }
        YamlData::Value(Scalar::String(value)) => {
            text.push_str(value);
            Kind::Scalar
        }
        // A number or a boolean: as written, since `0123` is a name and not 123.
        YamlData::Value(Scalar::Boolean(_) | Scalar::Integer(_) | Scalar::FloatingPoint(_)) => {
            text.push_str(written);
            Kind::Scalar
        }
        YamlData::Representation(value, ..) => {
            text.push_str(value);
            Kind::Scalar
        }
        YamlData::Tagged(_, inner) => return convert(inner, source),
        YamlData::Value(Scalar::Null) | YamlData::Alias(_) | YamlData::BadValue => Kind::Null,
    };
    Node { kind, span, text, items, entries }
}

/// More nodes, with what aliases stand for, than a file of the largest size holds without aliases: two bytes each.
const MAX_NODES: usize = 1024 * 1024 / 2;

/// Goes once through the file before a tree is built of it, and keeps nothing but how many nodes are left.
///
/// serde_yaml bounds nesting (128), and of aliases how many are followed, not what they hold: a long list
/// that is named a hundred thousand times is ten thousand million nodes. Nor does the tree's own bound count the
/// aliases of a list or a mapping as a key.
#[derive(Clone, Copy)]
struct Guard<'a>(&'a Cell<usize>);

/// A key: a single value.
#[derive(Clone, Copy)]
struct GuardKey;

impl Guard<'_> {
    fn all(text: &str) -> Result<(), serde_yaml::Error> {
        let left = Cell::new(MAX_NODES);
        Guard(&left).deserialize(serde_yaml::Deserializer::from_str(text))
    }
}

impl<'de> DeserializeSeed<'de> for Guard<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Some(left) = self.0.get().checked_sub(1) else {
            return Err(D::Error::custom(
                "the file holds too many values, those behind aliases counted",
            ));
        };
        self.0.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for GuardKey {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The scalars that both guards let pass.
macro_rules! pass_scalars {
    ($($method:ident: $kind:ty),*) => {
        $(fn $method<E: Error>(self, _: $kind) -> Result<(), E> {
            Ok(())
        })*

        fn visit_unit<E: Error>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_none<E: Error>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
            self.deserialize(inner)
        }

        fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
            Err(A::Error::custom("tags such as !name have no meaning in this file"))
        }
    };
}

impl<'de> Visitor<'de> for Guard<'_> {
    type Value = ();

    pass_scalars!(
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128,
        visit_f64: f64, visit_str: &str
    );

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry_seed(GuardKey, self)?.is_some() {}
        Ok(())
    }
}

impl<'de> Visitor<'de> for GuardKey {
    type Value = ();

    pass_scalars!(
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128,
        visit_f64: f64, visit_str: &str
    );

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value as a key")
    }
}
