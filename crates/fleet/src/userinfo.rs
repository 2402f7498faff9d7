//! User and password in a URL, which no message shows.

/// The replacement of a hidden text.
pub(super) const HIDDEN: &str = "***";

/// Words that may stand before `://` and are not users.
const SCHEMES: [&str; 4] = ["mqtt", "mqtts", "http", "https"];

/// Returns the text before the last `@`, as `us:pw` in `mqtt://us:pw@host`, and the text without it. A
/// password may hold anything, a `/` and an `@` too.
pub(super) fn without_user(text: &str) -> Option<(&str, String)> {
    let (before, host) = text.rsplit_once('@')?;
    let scheme = before.split_once("://").filter(|(scheme, _)| SCHEMES.contains(scheme));
    let (user, begin) = match scheme {
        Some((scheme, user)) => (user, format!("{scheme}://")),
        None => (before, String::new()),
    };
    Some((user, format!("{begin}{HIDDEN}@{host}")))
}
