//! Single values of the file: the form of each, and its conversion.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use super::name::Name;
use super::topic;
use super::userinfo::without_user;
use crate::printable::printable;

/// The fault of a value, as the end of a sentence that begins with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Such as "must be …".
    pub(super) text: String,
    /// The cure.
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), help: None }
    }

    pub(super) fn help(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { text: text.into(), help: Some(help.into()) }
    }
}

/// A name that becomes a label value and a part of client ids.
pub(super) fn name(text: &str) -> Result<Name, Fault> {
    Name::new(text)
        .ok_or_else(|| Fault::new("must be a name of 1 to 32 letters, digits, `_` or `-`"))
}

/// A duration with its unit, within bounds.
pub(super) fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, Fault> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let help = format!("write `{text}s` for seconds");
        return Err(Fault::help("needs a unit", help));
    }
    let value = humantime::parse_duration(text).map_err(|_fault| {
        Fault::help("is not a time", "write a number and a unit, such as `10s`, `500ms` or `2m`")
    })?;
    if value < min || value > max {
        return Err(Fault::new(format!("must be {} to {}", shown_time(min), shown_time(max))));
    }
    Ok(value)
}

/// A time as the file would have it.
pub(super) fn shown_time(time: Duration) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let time = time.as_millis();
    let unit = units.iter().find(|(millis, _)| time > 0 && time.is_multiple_of(*millis));
    unit.map_or_else(|| "0s".to_owned(), |(millis, unit)| format!("{}{unit}", time / millis))
}

/// A size as the file would have it.
pub(super) fn shown_size(bytes: u64) -> String {
    let units = [(1024 * 1024, "MiB"), (1000, "kB"), (1, "")];
    let unit = units.iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size));
    unit.map_or_else(|| "0".to_owned(), |(size, unit)| format!("{}{unit}", bytes / size))
}

/// A size in bytes, with or without a unit, within bounds. `u64::MAX` stands for no upper bound.
pub(super) fn size<T: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<T, Fault> {
    let value = ByteSize::from_str(text).map_err(|_fault| {
        Fault::help("is not a size", "write a number and a unit, such as `64MiB`")
    })?;
    let value = Some(value.as_u64()).filter(|bytes| (min..=max).contains(bytes));
    let fault = || match max {
        u64::MAX => Fault::new(format!("must be at least {}", shown_size(min))),
        max => Fault::new(format!("must be {min} to {max} bytes")),
    };
    value.and_then(|bytes| T::try_from(bytes).ok()).ok_or_else(fault)
}

/// A whole number within bounds. `u64::MAX` stands for no upper bound. `unit` is empty, or stands in brackets.
pub(super) fn number<T: TryFrom<u64>>(
    text: &str,
    min: u64,
    max: u64,
    unit: &str,
) -> Result<T, Fault> {
    let value = text.parse().ok().filter(|number| (min..=max).contains(number));
    let fault = || match max {
        u64::MAX => Fault::new(format!("must be a whole number of at least {min}{unit}")),
        max => Fault::new(format!("must be a whole number of {min} to {max}{unit}")),
    };
    value.and_then(|number| T::try_from(number).ok()).ok_or_else(fault)
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        "yes" | "on" | "Yes" | "On" | "True" => {
            Err(Fault::help("must be `true` or `false`", "write `true`"))
        }
        "no" | "off" | "No" | "Off" | "False" => {
            Err(Fault::help("must be `true` or `false`", "write `false`"))
        }
        _ => Err(Fault::new("must be `true` or `false`")),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help = did_you_mean(text, &known);
    let text = format!("must be {}, not `{}`", listed(&known, "or"), shorten(text));
    Err(Fault { text, help })
}

/// Text that is quoted into an AT command.
pub(super) fn quoted(text: &str, max: usize) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new("is empty"));
    }
    if text.len() > max {
        return Err(Fault::new(format!("has {} bytes; the modem takes {max}", text.len())));
    }
    match text.chars().find(|c| *c == '"' || !(*c == ' ' || c.is_ascii_graphic())) {
        None => Ok(text.to_owned()),
        Some('"') => Err(Fault::new("holds a quote (\"), which cannot be sent in an AT command")),
        Some(c) if c.is_control() => Err(Fault::new(format!(
            "holds the control character U+{:04X}, which cannot be sent in an AT command",
            u32::from(c)
        ))),
        Some(c) => Err(Fault::new(format!(
            "holds `{c}`, which is beyond ASCII and cannot be sent in an AT command"
        ))),
    }
}

/// A topic to publish on.
pub(super) fn topic_name(text: &str) -> Result<String, Fault> {
    topic::check_name(text).map_err(Fault::new)?;
    Ok(text.to_owned())
}

/// A topic filter.
pub(super) fn topic_filter(text: &str) -> Result<String, Fault> {
    topic::check_filter(text).map_err(Fault::new)?;
    Ok(text.to_owned())
}

/// A host name or an IPv4 address, of which a `tcp://` URL of 256 bytes can be made.
pub(super) fn host(text: &str) -> Result<String, Fault> {
    quoted(text, 244)?;
    if text.starts_with('[') || text.matches(':').count() > 1 {
        return Err(Fault::new("is an IPv6 address; the modems take a name or an IPv4 address"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    if text.strip_suffix('.').unwrap_or(text).split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err(Fault::new("must be a host name or an IPv4 address"))
    }
}

/// A name by which a browser or a program asks for this host, in lower case and without the dot of the root.
pub(super) fn web_host(text: &str) -> Result<String, Fault> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.split(['/', ':']).next().unwrap_or_default();
    let instead = || match bare {
        "" => "write a name such as `gw.example.com`".to_owned(),
        bare => format!("write `{}`", shorten(bare)),
    };
    if text.parse::<SocketAddr>().is_ok() || is_address(text) {
        let help = "leave the address out: addresses are always accepted";
        return Err(Fault::help("is an address, not a host name", help));
    }
    if text.contains("://") {
        return Err(Fault::help("must be a host name without a scheme", instead()));
    }
    if text.contains('*') || text.starts_with('.') {
        let help = "list each name: with a wildcard, everyone who can make a name below it gets in";
        return Err(Fault::help("must be a whole host name", help));
    }
    if text.contains(':') {
        return Err(Fault::help("must be a host name without a port", instead()));
    }
    if !text.is_ascii() {
        let help = "write the name as browsers send it, in ASCII: `xn--…`";
        return Err(Fault::help("must be a host name in ASCII", help));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Browsers read a name that ends with a number as an address.
    let ends_with_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if name.len() > 253 || ends_with_number || !name.split('.').all(label) {
        return Err(Fault::help("must be a host name", "write a name such as `gw.example.com`"));
    }
    Ok(name.to_ascii_lowercase())
}

/// Reports whether it is an address, in the brackets of a URL or without.
fn is_address(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.unwrap_or(text).parse::<IpAddr>().is_ok()
}

/// `HOST` or `HOST:PORT`.
pub(super) fn host_port(text: &str, default_port: u16) -> Result<(String, u16), Fault> {
    match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => {
            let port = port
                .parse::<u16>()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| Fault::new("must have a port of 1 to 65535"))?;
            Ok((host(name)?, port))
        }
        _ => Ok((host(text)?, default_port)),
    }
}

/// The URL of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokerUrl {
    pub(super) host: String,
    pub(super) port: u16,
    /// Over TLS.
    pub(super) secured: bool,
}

/// The URL of a broker.
pub(super) fn broker_url(text: &str) -> Result<BrokerUrl, Fault> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = "the scheme is missing; for TLS it is mqtts";
        return Err(Fault::help("must be mqtt://HOST:PORT", help));
    };
    if rest.contains('@') {
        return Err(Fault::help(
            "must not hold a user name or a password",
            "write them as `username:` and `password: { file: … }`",
        ));
    }
    let address = |port| host_port(rest.strip_suffix('/').unwrap_or(rest), port);
    let (secured, (host, port)) = match scheme {
        "mqtt" => (false, address(1883)?),
        "mqtts" => (true, address(8883)?),
        "tcp" => {
            return Err(Fault::help("must begin with mqtt://", format!("write `mqtt://{rest}`")));
        }
        "ssl" | "tls" => {
            return Err(Fault::help("must begin with mqtts://", format!("write `mqtts://{rest}`")));
        }
        _ => return Err(Fault::new("must begin with mqtt:// or mqtts://")),
    };
    Ok(BrokerUrl { host, port, secured })
}

/// The address to listen on.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_fault| {
        Fault::help(
            "must be ADDRESS:PORT",
            "write an address such as `127.0.0.1:9810`, not a host name",
        )
    })
}

/// So many digits.
pub(super) fn digits(text: &str, min: usize, max: usize) -> Result<String, Fault> {
    if (min..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    let count = if min == max { min.to_string() } else { format!("{min} to {max}") };
    Err(Fault::new(format!("must be {count} digits")))
}

/// A value for a message: its beginning, and no user and password of a URL.
pub(super) fn shorten(text: &str) -> String {
    let without = without_user(text).map(|(_, without)| without);
    let text = without.as_deref().unwrap_or(text);
    let mut short: String = text.chars().take(40).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    printable(&short)
}

/// The most words of a list in a message.
const MAX_LISTED: usize = 64;

/// `a, b or c`, each in back quotes.
pub(super) fn listed(words: &[&str], last: &str) -> String {
    let mut quoted: Vec<String> =
        words.iter().take(MAX_LISTED).map(|word| format!("`{word}`")).collect();
    if let Some(more) = words.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        quoted.push(format!("{more} more"));
    }
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// The most words a slip is compared with: enough for any fleet, and bounded for any file.
const MAX_CANDIDATES: usize = 1000;

/// The known word that `word` is probably a slip of.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // Nothing of such a length is a slip of a key, and the distance takes the product of both.
    if word.is_empty() || word.len() > 80 {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    let allowed = (folded.chars().count() / 3).max(1);
    known
        .iter()
        .filter(|known| known.len().abs_diff(folded.len()) <= allowed * 4)
        .take(MAX_CANDIDATES)
        .map(|known| (distance(&folded, &known.to_lowercase().replace('-', "_")), *known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// "did you mean …?"
pub fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    nearest(word, known).map(|known| format!("did you mean `{known}`?"))
}

/// Edits between two words, a swap of two neighbours being one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = cell(&row, j) + usize::from(x != y);
            let mut best = replace.min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(cell(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    cell(&row, b.len())
}

/// A place on a USB bus as the kernel names it: the bus, and the ports on the way (`1-1.2`).
pub(super) fn usb_path(text: &str) -> Result<String, Fault> {
    if is_usb_path(text) {
        return Ok(text.to_owned());
    }
    Err(Fault::help(
        "must be a bus and its ports, such as `1-1.2`",
        "`ls /sys/bus/usb/devices` shows the devices that are plugged in",
    ))
}

/// Reports whether a text is the place of a USB device: a bus and its ports, such as `1-1.2`. USB has at most seven
/// tiers, the root and the device included.
pub fn is_usb_path(text: &str) -> bool {
    let number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.split_once('-').is_some_and(|(bus, ports)| number(bus) && ports.split('.').all(number))
        && text.split('.').count() <= 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_word_and_strangers_do_not() {
        let known = ["keep_alive", "clean_session", "will", "subscribe", "client_id"];
        for (slip, want) in [
            ("keepalive", Some("keep_alive")),
            ("keep-alive", Some("keep_alive")),
            ("kepe_alive", Some("keep_alive")),
            ("Clean_Session", Some("clean_session")),
            ("wil", Some("will")),
            ("temperature", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, &known), want, "{slip}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!(distance("rotues", "routes"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn durations_need_a_unit_and_keep_their_bounds() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(duration("90s", min, Duration::from_secs(90)), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1m", min, max), Ok(max));
        assert!(duration("10", min, max).unwrap_err().help.unwrap().contains("`10s`"));
        for bad in ["", "x", "-1s", "61s", "0s", "999999999999999999999999y"] {
            assert!(duration(bad, min, max).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_the_web_are_bare_and_whole() {
        for (text, want) in [
            ("gw.example.com", "gw.example.com"),
            ("GW.Example.com.", "gw.example.com"),
            ("gw-01", "gw-01"),
            ("agent_1", "agent_1"),
            ("xn--gtwy-5qa.example", "xn--gtwy-5qa.example"),
            ("1.example", "1.example"),
            ("a.", "a"),
        ] {
            assert_eq!(web_host(text), Ok(want.to_owned()), "{text}");
        }
        for (bad, help) in [
            ("http://gw.example.com/x", "`gw.example.com`"),
            ("https://gw:9810", "`gw`"),
            ("gw.example.com:9810", "`gw.example.com`"),
            ("gw:", "`gw`"),
            ("*", "each name"),
            ("*.example.com", "each name"),
            ("gw.*", "each name"),
            (".example.com", "each name"),
            ("192.0.2.1", "leave the address out"),
            ("192.0.2.1:80", "leave the address out"),
            ("::1", "leave the address out"),
            ("[::1]", "leave the address out"),
            ("[::1]:80", "leave the address out"),
            ("g\u{e4}teway.example", "xn--"),
            ("gw.example.com/x", "gw.example.com"),
            ("", "gw.example.com"),
            (".", "each name"),
            ("a..b", "gw.example.com"),
            ("-a", "gw.example.com"),
            ("a-", "gw.example.com"),
            ("a b", "gw.example.com"),
            ("u@gw", "gw.example.com"),
            ("1.2.3", "gw.example.com"),
            ("0x7f.1", "gw.example.com"),
            (&"a".repeat(64), "gw.example.com"),
            (&format!("{}b", "a.".repeat(127)), "gw.example.com"),
        ] {
            let fault = web_host(bad).unwrap_err();
            assert!(fault.help.as_ref().unwrap().contains(help), "{bad}: {fault:?}");
        }
    }

    #[test]
    fn urls_are_split_or_refused() {
        for (text, host, port, secured) in [
            ("mqtt://b.example.com", "b.example.com", 1883, false),
            ("mqtt://10.0.0.1:18830/", "10.0.0.1", 18830, false),
            ("mqtts://b.example.com", "b.example.com", 8883, true),
            ("mqtts://b:443/", "b", 443, true),
        ] {
            assert_eq!(broker_url(text), Ok(BrokerUrl { host: host.to_owned(), port, secured }));
        }
        for (bad, want) in [
            ("b.example.com:1883", "mqtt://HOST:PORT"),
            ("ssl://b:8883", "must begin with mqtts://"),
            ("http://b", "mqtt:// or mqtts://"),
            ("tcp://b:1883", "must begin with mqtt://"),
            ("mqtt://u:p@b", "user name"),
            ("mqtt://b:0", "1 to 65535"),
            ("mqtt://b:70000", "1 to 65535"),
            ("mqtt://", "is empty"),
            ("mqtt://b/path", "host name"),
            ("mqtt://[::1]:1883", "IPv6"),
            ("mqtt://a\"b", "quote"),
            ("mqtt://a\r\nAT", "U+000D"),
        ] {
            let fault = broker_url(bad).unwrap_err();
            assert!(fault.text.contains(want), "{bad}: {}", fault.text);
        }
    }
}
