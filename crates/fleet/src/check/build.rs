//! Ground of the check of each part: the place of a key, and the faults that are noted there.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::context::Context;
use crate::key::{Default, Leaf, Shape};
use crate::keys::FILE;
use crate::name::Name;
use crate::path::{is_plain_name, join, last};
use crate::problem::Report;
use crate::secret::{self, Ref, Rule};
use crate::source::Source;
use crate::tree::{Kind, Node};
use crate::words::{self, Fault};

/// `PATH_MAX` of Linux without its final NUL.
const MAX_PATH: usize = 4095;
/// `sun_path` of unix(7) without its final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// The place and the path of a key, which may be absent from the file.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) node: Option<&'a Node>,
    /// The key's own place, or that of the nearest key above.
    pub(super) name: Range<usize>,
    pub(super) path: String,
    /// The shape that the table of keys has for this place.
    pub(super) shape: Option<&'static Shape>,
}

impl<'a> Place<'a> {
    /// The whole file.
    pub(super) fn top(root: &'a Node) -> Self {
        Self { node: Some(root), name: 0..0, path: String::new(), shape: Some(&FILE) }
    }

    pub(super) fn at(&self, key: &str) -> Self {
        let (path, shape) = (join(&self.path, shown(key)), self.below(key));
        match self.node.and_then(|node| node.entry(key)) {
            Some((name, value)) => Self { node: Some(value), name: name.span.clone(), path, shape },
            None => Self { node: None, name: self.name.clone(), path, shape },
        }
    }

    fn below(&self, key: &str) -> Option<&'static Shape> {
        self.shape?.below(key)
    }

    /// The default of a key below, as the file would have it.
    fn default(&self, key: &str) -> Option<&'static str> {
        match self.shape?.keys()?.get(key)?.default {
            Default::Value(text) => Some(text),
            Default::Needed | Default::Words(_) => None,
        }
    }

    /// The unit of a key below, in brackets.
    fn unit(&self, key: &str) -> String {
        let key = self.shape.and_then(|shape| shape.keys()?.get(key));
        let unit = key.map(|key| key.unit).filter(|unit| !unit.is_empty());
        unit.map(|unit| format!(" ({unit})")).unwrap_or_default()
    }

    /// The bounds of a time below.
    pub(super) fn times(&self, key: &str) -> (Duration, Duration) {
        match self.leaf(key) {
            Some(Leaf::Time(min, max)) => (*min, *max),
            _ => (Duration::ZERO, Duration::MAX),
        }
    }

    /// The kind of a single value below.
    fn leaf(&self, key: &str) -> Option<&'static Leaf> {
        match self.below(key)? {
            Shape::Scalar(leaf) => Some(leaf),
            _ => None,
        }
    }

    pub(super) fn item(&self, index: usize) -> Self {
        let node: Option<&'a Node> =
            self.node.and_then(|node| node.items.get(index).map(AsRef::as_ref));
        let name = node.map_or(self.name.clone(), |node| node.span.clone());
        Self { node, name, path: format!("{}[{index}]", self.path), shape: self.below("") }
    }

    pub(super) fn exists(&self) -> bool {
        self.node.is_some()
    }

    /// Reports whether a key below has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// The single value of a key below.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.value(key).filter(|node| node.kind == Kind::Scalar).map(|node| node.text.as_str())
    }

    /// The single value of a key below, or its default.
    pub(super) fn text_or_default(&self, key: &str) -> Option<&'a str> {
        self.text(key).or_else(|| self.default(key))
    }

    /// The texts of a list below; none if the key has no value.
    pub(super) fn texts(&self, key: &str) -> Option<Vec<&'a str>> {
        let node = self.value(key)?;
        Some(node.items.iter().map(|item| item.text.as_str()).collect())
    }

    fn value(&self, key: &str) -> Option<&'a Node> {
        let (_, value) = self.node?.entry(key)?;
        (value.kind != Kind::Null).then_some(&**value)
    }

    /// The keys of a mapping whose keys are names, in file order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let entries = self.node.map_or(&[][..], |node| &node.entries);
        entries.iter().map(|(name, value)| {
            let path = join(&self.path, shown(&name.text));
            let shape = self.below(&name.text);
            let place = Self { node: Some(&**value), name: name.span.clone(), path, shape };
            (name.text.as_str(), place)
        })
    }

    /// The items of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> {
        (0..self.node.map_or(0, |node| node.items.len())).map(|index| self.item(index))
    }

    /// The value's place; the key's if there is no value to point at.
    pub(super) fn span(&self) -> Range<usize> {
        match self.node {
            Some(node) if !node.span.is_empty() => node.span.clone(),
            _ => self.name.clone(),
        }
    }

    pub(super) fn key(&self) -> &str {
        last(&self.path)
    }

    /// The key that this one stands under.
    pub(super) fn above(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(above, _)| last(above))
    }
}

/// A key in a path. A text that is not a name may be a misplaced secret.
fn shown(key: &str) -> &str {
    if is_plain_name(key) { key } else { "…" }
}

/// A key that is to be a name, as messages call it: `password: x` without its blank may stand there too.
pub(super) fn name_or_dots(text: &str) -> String {
    if text.contains([':', '=']) { "…".to_owned() } else { words::shorten(text) }
}

/// The state that the building of all parts shares.
pub(super) struct Build<'a> {
    pub(super) source: &'a Source,
    pub(super) context: &'a Context,
    pub(super) report: &'a mut Report,
    /// Every secret that is referred to, and the place of the reference.
    pub(super) secrets: Vec<(Ref, Range<usize>, String)>,
    /// Every certificate that is referred to, and the place of the reference.
    pub(super) certificates: Vec<Certificate>,
    /// The gateway for which the file is judged, in small letters; none: for all that it serves.
    pub(super) here: Option<String>,
    /// The sessions of the file that other gateways have, as `modem/session`.
    pub(super) elsewhere: BTreeSet<String>,
    /// The brokers that only such sessions name.
    pub(super) idle: BTreeSet<String>,
}

/// A certificate file, and the place of its name in the fleet file.
pub(super) struct Certificate {
    pub(super) file: Ref,
    pub(super) key: Option<Ref>,
    pub(super) span: Range<usize>,
    pub(super) path: String,
}

impl Build<'_> {
    pub(super) fn error(
        &mut self,
        place: &Place<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report.error(self.source, place.span(), &place.path, message, help);
    }

    /// An error about something that is missing or wrong as a whole: it points at the key.
    pub(super) fn error_at_name(&mut self, place: &Place<'_>, message: String, help: Option<&str>) {
        let help = help.map(str::to_owned);
        self.report.error(self.source, place.name.clone(), &place.path, message, help);
    }

    pub(super) fn warn(
        &mut self,
        place: &Place<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report.warn(self.source, place.span(), &place.path, message, help);
    }

    pub(super) fn fault(&mut self, place: &Place<'_>, fault: Fault) {
        let message = format!("`{}` {}", place.key(), fault.text);
        self.error(place, message, fault.help);
    }

    /// The value of a key, if it is there and good.
    pub(super) fn optional<T>(
        &mut self,
        parent: &Place<'_>,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        match read(parent.text(key)?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(&parent.at(key), fault);
                None
            }
        }
    }

    /// The value of a key, or its default in the table of keys; `None` without either. After a fault the default
    /// stands in, so that the rest is judged too.
    pub(super) fn value<T>(
        &mut self,
        parent: &Place<'_>,
        key: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        if let Some(value) = self.optional(parent, key, &read) {
            return Some(value);
        }
        let default = read(parent.default(key)?);
        default.map_err(|fault| self.fault(&parent.at(key), fault)).ok()
    }

    /// A time within the bounds of the table.
    pub(super) fn time(&mut self, parent: &Place<'_>, key: &str) -> Option<Duration> {
        let (min, max) = parent.times(key);
        self.value(parent, key, |text| words::duration(text, min, max))
    }

    /// A size within the bounds of the table, in bytes.
    pub(super) fn size<T: TryFrom<u64>>(&mut self, parent: &Place<'_>, key: &str) -> Option<T> {
        let (min, max) = match parent.leaf(key) {
            Some(Leaf::Size(min, max)) => (*min, *max),
            _ => (0, u64::MAX),
        };
        self.value(parent, key, |text| words::size(text, min, max))
    }

    /// A whole number within the bounds of the table.
    pub(super) fn number<T: TryFrom<u64>>(&mut self, parent: &Place<'_>, key: &str) -> Option<T> {
        let (min, max) = match parent.leaf(key) {
            Some(Leaf::Number(min, max)) => (*min, *max),
            _ => (0, u64::MAX),
        };
        let unit = parent.unit(key);
        self.value(parent, key, |text| words::number(text, min, max, &unit))
    }

    pub(super) fn boolean(&mut self, parent: &Place<'_>, key: &str) -> Option<bool> {
        self.value(parent, key, words::boolean)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        parent: &Place<'_>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        self.value(parent, key, |text| words::one_of(text, words))
    }

    /// The folder of a store.
    pub(super) fn folder(&mut self, parent: &Place<'_>) -> Option<PathBuf> {
        let folder = self.context.folder.clone();
        let path = self.value(parent, "path", |text| path_in(&folder, text))?;
        self.warn_of_writers(&path, &parent.at("path"));
        Some(path)
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(
        &mut self,
        parent: &Place<'_>,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.needed(parent, key).optional(parent, key, read)
    }

    /// Reports a key that must be there and is not.
    pub(super) fn needed(&mut self, parent: &Place<'_>, key: &str) -> &mut Self {
        if !parent.at(key).exists() {
            let message = format!("`{}` needs `{key}`", parent.key());
            self.error_at_name(parent, message, None);
        }
        self
    }

    /// The key of a named thing, as a name.
    pub(super) fn name(&mut self, text: &str, place: &Place<'_>) -> Option<Name> {
        match words::name(text) {
            Ok(name) => Some(name),
            Err(fault) => {
                let message = format!("`{}` {}", name_or_dots(text), fault.text);
                self.error_at_name(place, message, fault.help.as_deref());
                None
            }
        }
    }

    /// The path of a unix socket.
    pub(super) fn socket(&mut self, parent: &Place<'_>, key: &str) -> Option<PathBuf> {
        let folder = self.context.folder.clone();
        self.value(parent, key, |text| {
            let path = path_in(&folder, text)?;
            let fault = "is longer than the 107 bytes that a unix socket's path may have";
            let is_short = path.as_os_str().len() <= MAX_SOCKET_PATH;
            if is_short { Ok(path) } else { Err(Fault::new(fault)) }
        })
    }

    pub(super) fn path(&self, text: &str) -> Result<PathBuf, Fault> {
        path_in(&self.context.folder, text)
    }

    /// A reference to a secret, remembered for [`Self::resolve_secrets`].
    pub(super) fn secret(&mut self, parent: &Place<'_>, key: &str, rule: Rule) -> Option<Ref> {
        if !parent.has(key) {
            return None;
        }
        let place = parent.at(key);
        let variable = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let file_name = |c: char| c.is_ascii_alphanumeric() || "_-.@:".contains(c);
        let source = if let Some(text) = place.text("file") {
            let path = self.path(text);
            self.optional(&place, "file", |_| path).map(secret::Source::File)
        } else if let Some(text) = place.text("env") {
            let good = !text.is_empty() && text.chars().all(variable);
            let fault = Fault::new("must be the name of an environment variable");
            let read = |_: &str| if good { Ok(text.to_owned()) } else { Err(fault) };
            self.optional(&place, "env", read).map(secret::Source::Env)
        } else {
            let read = |text: &str| {
                // It becomes the last part of a path: never one that leads elsewhere.
                let good = (1..=255).contains(&text.len()) && text.chars().all(file_name);
                if good && !text.starts_with('.') {
                    return Ok(text.to_owned());
                }
                Err(Fault::new("must be the name of a credential, without folders"))
            };
            self.optional(&place, "credential", read).map(secret::Source::Credential)
        };
        Some(self.remember(key, source?, rule, place))
    }

    /// A reference that [`Self::resolve_secrets`] tries.
    pub(super) fn remember(
        &mut self,
        key: &str,
        source: secret::Source,
        rule: Rule,
        place: Place<'_>,
    ) -> Ref {
        let secret = Ref::new(key, source).with_rule(rule);
        self.secrets.push((secret.clone(), place.span(), place.path));
        secret
    }
}

/// A path, which begins at `folder` unless it is absolute.
fn path_in(folder: &Path, text: &str) -> Result<PathBuf, Fault> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Fault::new("must be a path without control characters"));
    }
    if text.len() > MAX_PATH {
        return Err(Fault::new(format!(
            "is longer than the {MAX_PATH} bytes that a path may have"
        )));
    }
    Ok(folder.join(text))
}
