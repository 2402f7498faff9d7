//! MQTT topics and topic filters (MQTT 3.1.1 §4.7).

/// The longest topic in bytes: AT+CMQTTTOPIC takes no more.
const MAX_BYTES: usize = 1024;

/// Checks a topic to publish on.
///
/// # Errors
/// The end of a sentence that says what is wrong.
pub fn check_name(topic: &str) -> Result<(), &'static str> {
    check_text(topic)?;
    if topic.contains(['+', '#']) {
        return Err("must not hold `+` or `#`: it is a topic, not a filter");
    }
    Ok(())
}

/// Checks a topic filter.
///
/// # Errors
/// The end of a sentence that says what is wrong.
pub fn check_filter(filter: &str) -> Result<(), &'static str> {
    check_text(filter)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err("may hold `#` only as its whole last level, as in `a/#`");
        }
        if level.contains('+') && level != "+" {
            return Err("may hold `+` only as a whole level, as in `a/+/b`");
        }
    }
    Ok(())
}

/// What topics and filters share (§4.7.3; control characters are refused as §1.5.3 allows).
fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.len() > MAX_BYTES {
        return Err("must not be longer than 1024 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold NUL or another control character");
    }
    Ok(())
}

/// Whether `filter` selects `topic`. Both are taken as checked; of others the answer means
/// nothing, but there is one.
pub fn topic_matches(filter: &str, topic: &str) -> bool {
    // §4.7.2: a wildcard in the first level does not reach $SYS and its like.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filters, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (filters.next(), levels.next()) {
            // Also the parent level: `a/#` selects `a`.
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

/// Reports whether there may be a topic that both filters select. They are taken as checked.
pub fn filters_overlap(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_overlap_where_a_topic_fits_both() {
        for (one, other, want) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a/#", "a", true),
            ("a/#", "b/#", false),
            ("#", "b/+", true),
            ("a/+", "+/b", true),
            ("a/+", "a", false),
            ("a/+/c", "a/b/d", false),
            ("a/b/#", "a/+", true),
            ("a/b/c/#", "a/+", false),
        ] {
            assert_eq!(filters_overlap(one, other), want, "{one} {other}");
            assert_eq!(filters_overlap(other, one), want, "{other} {one}");
        }
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (filter, topic, want) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player2", false),
            ("sport/#", "sport", true),
            ("#", "a/b/c", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/b", "a/B", false),
            ("a", "a/", false),
            ("a//b", "a//b", true),
        ] {
            assert_eq!(topic_matches(filter, topic), want, "{filter} {topic}");
        }
    }

    #[test]
    fn filters_and_names_are_checked() {
        for good in ["#", "+", "a/#", "+/a/+/#", "/", "a b", "é"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "a/b+/c", "a\0b", "a\nb", &"x".repeat(1025)] {
            assert!(check_filter(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_name("a/b"), Ok(()));
        assert!(check_name("a/+").is_err() && check_name("#").is_err());
    }
}
