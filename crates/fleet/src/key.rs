//! Ground of the table of keys: what stands under a key, and what is said of it.

/// What stands under a key.
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

/// What a single value is.
pub(super) enum Leaf {
    /// Any text; a number or a boolean counts as the text that is written.
    Text,
    /// Text of this form.
    Form(&'static str),
    /// A name of the fleet, of which YAML may make a number.
    Name,
    /// Digits, of which YAML may make a number.
    Digits(&'static str),
    /// A whole number of these.
    Number(u8, u8),
    /// `true` or `false`.
    Boolean,
    /// 0, 1 or 2.
    Qos,
    /// A speed of a UART, in bits per second.
    Rate,
    /// A number and its unit.
    Time,
    /// Bytes, with or without a unit.
    Size,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
}

/// A key of a mapping.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) is_required: bool,
    /// A sentence, and behind `Default: ` what holds without the key.
    pub(super) text: &'static str,
}

/// The keys of one mapping.
pub(super) struct Keys {
    /// How messages call the mapping.
    pub(super) of: &'static str,
    pub(super) keys: &'static [Key],
}

impl Keys {
    pub(super) const fn new(of: &'static str, keys: &'static [Key]) -> Self {
        Self { of, keys }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// A key that may be left out.
pub(super) const fn may(name: &'static str, shape: Shape, text: &'static str) -> Key {
    Key { name, shape, is_required: false, text }
}

/// A key of a file that has no schema.
pub(super) const fn plain(name: &'static str, shape: Shape) -> Key {
    may(name, shape, "")
}

/// A key that must be there.
pub(super) const fn must(name: &'static str, shape: Shape, text: &'static str) -> Key {
    Key { name, shape, is_required: true, text }
}
