//! A command line taken apart: name, form and arguments.

use std::ops::RangeInclusive;

/// An argument, quoted or bare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arg {
    value: String,
    quoted: bool,
}

impl Arg {
    /// Returns the text between the quotes; `None` for a bare argument.
    pub(crate) fn text(&self) -> Option<&str> {
        self.quoted.then_some(self.value.as_str())
    }

    /// Returns a bare number.
    pub(crate) fn number(&self) -> Option<u32> {
        let digits = !self.value.is_empty() && self.value.bytes().all(|b| b.is_ascii_digit());
        if self.quoted || !digits { None } else { self.value.parse().ok() }
    }

    /// Returns a bare number within `range`.
    pub(crate) fn within(&self, range: RangeInclusive<u32>) -> Option<u32> {
        self.number().filter(|number| range.contains(number))
    }

    /// Returns the value, quoted or not.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

/// The part after the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// No further characters.
    Execute,
    /// `?`
    Read,
    /// `=?`
    Test,
    /// `=` and arguments; there is at least an empty argument.
    Write(Vec<Arg>),
}

/// A command: its name in capitals without `AT`, and its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) form: Form,
}

impl Command {
    /// Parses a line; `None` if it is not a command. A bare `AT` has an empty name.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let rest = line.trim();
        let (prefix, rest) = rest.split_at_checked(2)?;
        if !prefix.eq_ignore_ascii_case("AT") {
            return None;
        }
        if !rest.starts_with('+') {
            // Basic commands carry their value in the name: E0, &V, I.
            return Some(Self { name: rest.to_ascii_uppercase(), form: Form::Execute });
        }
        let end = rest.find(['=', '?']).unwrap_or(rest.len());
        let (name, tail) = rest.split_at_checked(end)?;
        let form = match tail {
            "" => Form::Execute,
            "?" => Form::Read,
            "=?" => Form::Test,
            _ => Form::Write(arguments(tail.strip_prefix('=')?)?),
        };
        Some(Self { name: name.trim_end().to_ascii_uppercase(), form })
    }
}

/// Splits at commas outside quotes; `None` if a quote is left open or is inside a word.
fn arguments(text: &str) -> Option<Vec<Arg>> {
    let mut args = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let (arg, tail) = if let Some(opened) = rest.strip_prefix('"') {
            let (value, tail) = opened.split_once('"')?;
            (Arg { value: value.to_owned(), quoted: true }, tail.trim_start())
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (value, tail) = rest.split_at_checked(end)?;
            if value.contains('"') {
                return None;
            }
            (Arg { value: value.trim_end().to_owned(), quoted: false }, tail)
        };
        args.push(arg);
        match tail.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if tail.is_empty() => return Some(args),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<(String, bool)> {
        match Command::parse(line).unwrap().form {
            Form::Write(args) => args.into_iter().map(|a| (a.value, a.quoted)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn forms_are_told_apart() {
        let form = |line| Command::parse(line).unwrap().form;
        assert_eq!(form("AT+CSQ"), Form::Execute);
        assert_eq!(form("at+creg?"), Form::Read);
        assert_eq!(form("AT+CMQTTPUB=?"), Form::Test);
        assert_eq!(Command::parse("at+creg?").unwrap().name, "+CREG");
        assert_eq!(Command::parse("ate0").unwrap().name, "E0");
        assert_eq!(Command::parse("AT").unwrap().name, "");
        for no in ["", "A", "hello", "+CMQTTPUB: 0,0", "\u{e9}AT"] {
            assert_eq!(Command::parse(no), None, "{no}");
        }
    }

    #[test]
    fn arguments_keep_commas_in_quotes_and_lose_blanks_outside() {
        assert_eq!(
            args(r#"at+cmqttaccq=0, "7600|securemode=3,signmethod=hmacsha1|" , 1"#),
            [
                ("0".into(), false),
                ("7600|securemode=3,signmethod=hmacsha1|".into(), true),
                ("1".into(), false)
            ]
        );
        assert_eq!(args("AT+X=,").len(), 2);
        for bad in [r#"AT+CSSLCFG="sslversion",0,4""#, r#"AT+X="a"b"#, r#"AT+X="a"#] {
            assert_eq!(Command::parse(bad), None, "{bad}");
        }
    }
}
