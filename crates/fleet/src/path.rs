//! Paths of keys, such as `modems.north.apn`, as messages have them.

/// Reports whether a text looks like a key, and not like a misplaced value.
pub(super) fn is_plain_name(key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=64).contains(&key.len()) && key.chars().all(plain)
}

/// The last key of a path, without the brackets of a list.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// A path and one key more.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
