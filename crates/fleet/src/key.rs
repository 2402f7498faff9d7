//! Ground of the table of keys: all facts of a key, declared once.
//!
//! The checker reads the bounds and the default of a key here. The schema, the reference page and the plan of a reload
//! print the same facts.

use std::time::Duration;

/// The kind of value under a key.
pub(super) enum Shape {
    /// A single value.
    Scalar(Leaf),
    /// A reference to a secret.
    Secret,
    /// The path of a file, or a reference to a secret.
    File,
    /// A mapping with these keys.
    Map(&'static Keys),
    /// A text, or a mapping with these keys.
    ScalarOr(&'static Keys),
    /// A mapping whose keys are names.
    Named(&'static Self),
    /// A list.
    List(&'static Self),
}

/// The kind of a single value. Bounds are inclusive.
pub(super) enum Leaf {
    /// Any text; a number or a boolean counts as the text that is written.
    Text,
    /// Text of a form: a noun for the form, and its pattern.
    Form(&'static str, &'static str),
    /// A name of the fleet, of which YAML may make a number.
    Name,
    /// Digits, of which YAML may make a number.
    Digits(&'static str),
    /// A whole number between bounds; `u64::MAX` stands for no upper bound.
    Number(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// 0, 1 or 2.
    Qos,
    /// A speed of a UART, in bits per second.
    Rate,
    /// A number and its unit, between bounds.
    Time(Duration, Duration),
    /// Bytes, with or without a unit, between bounds; `u64::MAX` stands for no upper bound.
    Size(u64, u64),
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
}

/// The effect of another value when the agent reloads its file. A later one interrupts more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The agent applies the value at once and closes nothing.
    Live,
    /// The sessions that use the key close and open again.
    Session,
    /// The modem restarts with all its sessions.
    Modem,
    /// The value applies when the agent restarts.
    Agent,
}

impl Effect {
    /// The effect in a word or two, as the reference page has it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Live => "applies at once",
            Self::Session => "reconnects the session",
            Self::Modem => "restarts the modem",
            Self::Agent => "needs a restart of the agent",
        }
    }
}

/// The value that holds without the key.
#[derive(Clone, Copy)]
pub(super) enum Default {
    /// None: the key must be there.
    Needed,
    /// This value, as the file would have it. The checker reads it.
    Value(&'static str),
    /// No fixed value, in words.
    Words(&'static str),
}

/// A key of a mapping.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// The meaning, in sentences.
    pub(super) text: &'static str,
    pub(super) default: Default,
    /// The unit of a number.
    pub(super) unit: &'static str,
    /// A value as the file would have it.
    pub(super) example: &'static str,
    /// Another key of the mapping that this one needs, and the reason.
    pub(super) needs: Option<(&'static str, &'static str)>,
    /// The effect of a change, if it is another one than that of the mapping.
    own_effect: Option<Effect>,
}

/// The keys of one mapping.
pub(super) struct Keys {
    /// The mapping's name in messages.
    pub(super) of: &'static str,
    pub(super) keys: &'static [Key],
    /// The effect of a change of its keys, if they have none of their own. None for parts of other values.
    effect: Option<Effect>,
    /// Keys of which at least one must be there.
    pub(super) any_of: &'static [&'static str],
}

impl Keys {
    pub(super) const fn new(of: &'static str, effect: Effect, keys: &'static [Key]) -> Self {
        Self { effect: Some(effect), ..Self::plain(of, keys) }
    }

    /// The keys of a file that no reload compares, or of a part of another value.
    pub(super) const fn plain(of: &'static str, keys: &'static [Key]) -> Self {
        Self { of, keys, effect: None, any_of: &[] }
    }

    /// The keys, of which at least one of `any_of` must be there.
    pub(super) const fn any_of(self, any_of: &'static [&'static str]) -> Self {
        Self { any_of, ..self }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }

    /// The effect of a change of one of these keys.
    pub(super) fn effect(&self, key: &Key) -> Option<Effect> {
        key.own_effect.or(self.effect)
    }
}

impl Shape {
    /// The keys of a mapping.
    pub(super) fn keys(&self) -> Option<&'static Keys> {
        match self {
            Self::Map(keys) | Self::ScalarOr(keys) => Some(keys),
            Self::Scalar(_) | Self::Secret | Self::File | Self::Named(_) | Self::List(_) => None,
        }
    }

    /// The shape of a value below: under a key, a name or an index.
    pub(super) fn below(&self, key: &str) -> Option<&'static Self> {
        match self {
            Self::Named(each) | Self::List(each) => Some(each),
            shape => shape.keys()?.get(key).map(|key| &key.shape),
        }
    }
}

/// A key that may be left out.
pub(super) const fn may(name: &'static str, shape: Shape, text: &'static str) -> Key {
    Key {
        name,
        shape,
        text,
        default: Default::Words(""),
        unit: "",
        example: "",
        needs: None,
        own_effect: None,
    }
}

/// A key of a file that has no schema.
pub(super) const fn plain(name: &'static str, shape: Shape) -> Key {
    may(name, shape, "")
}

/// A key that must be there.
pub(super) const fn must(name: &'static str, shape: Shape, text: &'static str) -> Key {
    Key { default: Default::Needed, ..may(name, shape, text) }
}

impl Key {
    /// The value without the key, as the file would have it.
    pub(super) const fn or(self, value: &'static str) -> Self {
        Self { default: Default::Value(value), ..self }
    }

    /// The state without the key, if it has no fixed value.
    pub(super) const fn else_(self, words: &'static str) -> Self {
        Self { default: Default::Words(words), ..self }
    }

    pub(super) const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    pub(super) const fn like(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    pub(super) const fn needs(self, key: &'static str, reason: &'static str) -> Self {
        Self { needs: Some((key, reason)), ..self }
    }

    pub(super) const fn effect(self, effect: Effect) -> Self {
        Self { own_effect: Some(effect), ..self }
    }

    pub(super) fn is_required(&self) -> bool {
        matches!(self.default, Default::Needed)
    }
}
