//! The argument list of a reply line, `+PREFIX: a,"b,c",,d`, as real modems write it.

use super::{Excerpt, ReplyError};

/// More arguments than any reply has; the rest of a longer line is ignored.
const MAX_ARGS: usize = 64;

/// The most lines read in one raw text; no answer to a query that is read here has more.
const MAX_LINES: usize = 512;

/// One argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg<'a> {
    /// The text without its quotes and without spaces around it.
    pub text: &'a str,
    /// True if it stood in quotes, which distinguishes a hex LAC from a decimal state.
    pub quoted: bool,
}

/// The arguments of one reply line.
#[derive(Debug, Clone)]
pub struct Args<'a> {
    command: &'static str,
    items: Vec<Arg<'a>>,
}

impl<'a> Args<'a> {
    /// Returns the arguments of `line` if it starts with `prefix` (given without colon) and a
    /// colon. `command` only names the command in errors.
    pub fn of_line(command: &'static str, prefix: &str, line: &'a str) -> Option<Self> {
        Some(Self::of_text(command, after_prefix(prefix, line)?))
    }

    /// Returns the arguments in a text that has no prefix.
    pub fn of_text(command: &'static str, text: &'a str) -> Self {
        let mut items = Vec::new();
        let mut rest = Some(text);
        while let Some(text) = rest
            && items.len() < MAX_ARGS
        {
            let (arg, tail) = take_arg(text);
            items.push(arg);
            rest = tail;
        }
        Self { command, items }
    }

    /// Returns the number of arguments, empty ones included.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Reports whether the line has no argument at all: `+CREG:` and nothing behind it.
    pub fn is_empty(&self) -> bool {
        self.items.iter().all(|arg| arg.text.is_empty())
    }

    /// Returns argument `index`, counted from 0; `None` if it is missing.
    pub fn arg(&self, index: usize) -> Option<Arg<'a>> {
        self.items.get(index).copied()
    }

    /// Returns the text of argument `index`. `None` if it is missing, empty, or the dashes that
    /// modems write for "not known".
    pub fn text(&self, index: usize) -> Option<&'a str> {
        self.arg(index).map(|arg| arg.text).filter(|text| !text.bytes().all(|byte| byte == b'-'))
    }

    /// Returns argument `index` as a decimal number of at most `max`, leading zeros allowed.
    ///
    /// # Errors
    /// [`ReplyError::Argument`] with `name` if it is missing, not a number, or larger.
    pub fn uint(&self, index: usize, name: &'static str, max: u32) -> Result<u32, ReplyError> {
        self.text(index)
            .and_then(parse_uint)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number <= max)
            .ok_or_else(|| self.refuse(index, name, "a decimal number in its range"))
    }

    /// Returns the error for argument `index`, called `name`, that should have been `expected`.
    pub fn refuse(&self, index: usize, name: &'static str, expected: &'static str) -> ReplyError {
        ReplyError::Argument {
            command: self.command,
            argument: name,
            expected,
            got: Excerpt::new(self.text(index).unwrap_or_default()),
        }
    }
}

/// Returns the rest of `line` behind `prefix` and its colon, if the line starts so, in any case.
pub(super) fn after_prefix<'a>(prefix: &str, line: &'a str) -> Option<&'a str> {
    behind(prefix, trim(line)).map(trim)
}

fn behind<'a>(prefix: &str, text: &'a str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    let rest = rest.trim_start().strip_prefix(':')?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Removes spaces and control characters around a text: a modem sends a NUL in front of a line
/// while its UART starts.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control())
}

/// Returns the arguments of every line that has `prefix`, in order. Rows between which the line
/// break was lost, as in iamromulan/quectel-rgmii-toolkit issue 142, are separate rows.
pub fn own_rows<'a, L: AsRef<str>>(
    command: &'static str,
    prefix: &str,
    lines: &'a [L],
) -> Vec<Args<'a>> {
    let mut rows = Vec::new();
    for line in lines {
        let mut rest = after_prefix(prefix, line.as_ref());
        while let Some(text) = rest {
            let next = text.match_indices(prefix).find_map(|(at, _)| {
                let (row, tail) = text.split_at_checked(at)?;
                Some((row, behind(prefix, tail)?))
            });
            let (row, tail) = next.map_or((text, None), |(row, tail)| (row, Some(tail)));
            rows.push(Args::of_text(command, trim(row)));
            rest = tail;
        }
    }
    rows
}

/// Splits off the first argument; the second value is the text after its comma.
fn take_arg(text: &str) -> (Arg<'_>, Option<&str>) {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    if let Some(inner) = text.strip_prefix('"')
        && let Some((inside, tail)) = split_at_closing_quote(inner)
    {
        return (Arg { text: trim(inside), quoted: true }, tail);
    }
    let (field, tail) = match text.split_once(',') {
        Some((field, tail)) => (field, Some(tail)),
        None => (text, None),
    };
    // A quote that never closes (seen in COPS) is noise, and must not cost the other arguments.
    let field = trim(field);
    (Arg { text: trim(field.trim_matches('"')), quoted: field.contains('"') }, tail)
}

/// Splits at the first quote that a comma or the end follows; quotes inside a name stay in it.
fn split_at_closing_quote(inner: &str) -> Option<(&str, Option<&str>)> {
    for (at, _) in inner.match_indices('"') {
        let (inside, after) = (inner.get(..at)?, trim(inner.get(at + 1..)?));
        if after.is_empty() {
            return Some((inside, None));
        }
        if let Some(tail) = after.strip_prefix(',') {
            return Some((inside, Some(tail)));
        }
    }
    None
}

/// Returns a modem's name in one line, without control characters and of bounded length. The
/// longest that the standards allow is an access point name of 100 bytes (23.003 §9.1).
pub(super) fn name(text: &str) -> String {
    let words = text.split(['\r', '\n']).map(trim).filter(|part| !part.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// Parses a decimal number of ASCII digits only: no sign, no spaces.
pub fn parse_uint(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Parses a hexadecimal number, with or without `0x`.
pub fn parse_hex(text: &str) -> Option<u64> {
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// Parses a signed decimal number with an optional fraction. Unlike `str::parse` it rejects `nan`,
/// `inf` and exponents, which must not become a metric.
pub fn parse_decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| {
        (1..=10).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    (all_digits(whole) && all_digits(fraction)).then(|| text.parse().ok()).flatten()
}

/// Returns the information lines of a raw reply to `command`: without the echo, blank lines, the
/// final result code and the text after it.
///
/// # Errors
/// [`ReplyError::Refused`] if the reply ends with `ERROR`, `+CME ERROR:` or `+CMS ERROR:`.
pub fn body<'a>(command: &'static str, raw: &'a str) -> Result<Vec<&'a str>, ReplyError> {
    let mut lines = Vec::new();
    let mut rest = raw;
    while let Some((line, tail)) = take_line(rest) {
        rest = tail;
        if line == "OK" || lines.len() == MAX_LINES {
            break;
        }
        if line == "ERROR" || line.starts_with("+CME ERROR") || line.starts_with("+CMS ERROR") {
            return Err(ReplyError::Refused { command, result: Excerpt::new(line) });
        }
        if !is_echo(command, line) {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Returns the next line that is not blank, and the text after it. A name whose quotes hold a line
/// break (an operator's in 4IceG/luci-app-3ginfo-lite PR 120) is part of its line.
fn take_line(text: &str) -> Option<(&str, &str)> {
    let is_break = |c: char| c.is_whitespace() || c.is_control();
    let text = text.trim_start_matches(is_break);
    let end = |from: &str| from.find(['\r', '\n']).unwrap_or(from.len());
    let open = |line: &str| line.matches('"').count() % 2 == 1;
    let mut line = text.split_at_checked(end(text)).filter(|(line, _)| !line.is_empty())?;
    if line.0.starts_with('+') && open(line.0) {
        let next = line.1.trim_start_matches(is_break);
        let (ending, after) = next.split_at_checked(end(next))?;
        if open(ending) && !ending.starts_with('+') {
            line = (text.split_at_checked(text.len() - after.len())?.0, after);
        }
    }
    Some((trim(line.0), line.1))
}

/// Reports whether a line is the echo of a command line: of this one, or of an earlier one.
fn is_echo(command: &str, line: &str) -> bool {
    let starts = |prefix: &str| {
        line.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    line.eq_ignore_ascii_case(command)
        || starts("AT+")
        || line.eq_ignore_ascii_case("AT")
        || line.eq_ignore_ascii_case("ATE0")
}
