//! MQTT topics and topic filters (MQTT 3.1.1 §4.7).

/// The longest topic in bytes: AT+CMQTTTOPIC takes no more.
const MAX_BYTES: usize = 1024;

/// Checks a topic to publish on. It is the one judge of every way in: HTTP, MQTT with its wills, the command line,
/// and the fleet file.
///
/// # Errors
/// The fault, as the end of a sentence.
pub fn check_name(topic: &str) -> Result<(), &'static str> {
    check_length(topic)?;
    check_received(topic)?;
    if topic.split('/').next() == Some("$SYS") {
        return Err("must not begin with $SYS, which belongs to the broker");
    }
    Ok(())
}

/// Checks the topic of a message that came down. Nothing limits its length but the modem, and a broker may publish on
/// `$SYS`.
///
/// # Errors
/// The fault, as the end of a sentence.
pub fn check_received(topic: &str) -> Result<(), &'static str> {
    check_text(topic)?;
    if topic.contains(['+', '#']) {
        return Err("must not hold `+` or `#`: it is a topic, not a filter");
    }
    Ok(())
}

/// Checks a topic filter.
///
/// # Errors
/// The fault, as the end of a sentence.
pub fn check_filter(filter: &str) -> Result<(), &'static str> {
    check_length(filter)?;
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

fn check_length(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_BYTES {
        return Err("must not be longer than 1024 bytes");
    }
    Ok(())
}

/// Checks the common rules of topics and filters (§4.7.3). Control characters and non-characters are refused as
/// §1.5.3 allows, since brokers close the connection for them.
fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold NUL or another control character");
    }
    if text.chars().any(is_noncharacter) {
        return Err("must not hold a non-character of Unicode, such as U+FFFE or U+FFFF");
    }
    Ok(())
}

/// Reports whether Unicode never assigns this code point to a character (Unicode §23.7).
fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// Reports whether `filter` selects `topic`. Both must be checked; for others the answer means
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
        for good in ["#", "+", "a/#", "+/a/+/#", "/", "a b", "é", "$SYS/#"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "a/b+/c", "a\0b", "a\nb", &"x".repeat(1025)] {
            assert!(check_filter(bad).is_err(), "{bad:?}");
        }
        for good in ["a/b", "$aws/things/x", "$SYSTEM/x", "a/$SYS", "\u{fdcf}\u{fdf0}\u{fffd}"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a/+", "#", "$SYS", "$SYS/x", "a\0", "\u{9f}", &"x".repeat(1025)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["$SYS/x", &"x".repeat(1025)] {
            assert_eq!(check_received(good), Ok(()), "{good}");
        }
        for bad in ["", "a/+", "a/#", "a\0", "a\r"] {
            assert!(check_received(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_topic_and_no_filter_holds_a_noncharacter() {
        let of_planes = (0..=16_u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
        let all: Vec<char> =
            (0xfdd0..=0xfdef).chain(of_planes).filter_map(char::from_u32).collect();
        assert_eq!(all.len(), 66, "as many as Unicode has");
        for c in all {
            let text = format!("a/{c}/b");
            for check in [check_name, check_received, check_filter] {
                assert!(check(&text).is_err(), "{text:?}");
            }
        }
    }
}
