//! The parser of a command line (V.250 §5.2, §5.4): its commands, each with its form.
//!
//! It is strict: a line that two modems might read differently is rejected, so that no command can
//! hide in it.

/// The form of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `AT+CSQ`.
    Execute,
    /// `AT+CREG?`.
    Read,
    /// `AT+CREG=?`.
    Test,
    /// `AT+CREG=2`.
    Set,
}

/// One command of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its name in capitals with its prefix: `+CSQ`, `&F`, `E`, `S3`.
    pub(crate) name: String,
    pub(crate) form: Form,
    /// Its arguments as written: commas in quotation marks divide nothing.
    pub(crate) arguments: Vec<String>,
}

/// The reason why a line could not be parsed. Its text ends a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not begin with `AT`.
    #[error("does not begin with AT")]
    NotAt,
    /// Letters that each modem replaces in its own way, or a control byte.
    #[error("has a byte beyond printable ASCII")]
    NotAscii,
    /// A quotation mark is missing, text follows a mark directly, or a backslash stands between
    /// marks.
    #[error("has quotation marks that do not pair in every reading")]
    Quotes,
    /// A command has an unknown form.
    #[error("has a command in none of the forms of V.250")]
    Form,
}

/// The prefixes of extended commands.
const PREFIXES: &str = "+*^$%#@!";

impl Command {
    /// Returns the command for messages: its name, and `=…` if it sets something.
    pub(crate) fn head(&self) -> String {
        let form = match self.form {
            Form::Execute => self.arguments.first().map_or("", String::as_str),
            Form::Read => "?",
            Form::Test => "=?",
            Form::Set => "=…",
        };
        format!("AT{}{form}", self.name)
    }

    /// Reports whether it is an extended command, which has a prefix.
    pub(crate) fn is_extended(&self) -> bool {
        self.name.starts_with(|c| PREFIXES.contains(c))
    }
}

/// Parses a line.
pub(crate) fn commands(line: &str) -> Result<Vec<Command>, Unreadable> {
    if line.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err(Unreadable::NotAscii);
    }
    let line = without_blanks(line)?;
    let body = match line.get(..2) {
        Some(start) if start.eq_ignore_ascii_case("AT") => line.get(2..).unwrap_or_default(),
        _ => return Err(Unreadable::NotAt),
    };
    let mut commands = Vec::new();
    for part in split(body, ';') {
        let mut rest = part;
        while !rest.is_empty() {
            let (command, after) = next(rest)?;
            commands.push(command);
            rest = after;
        }
    }
    Ok(commands)
}

/// Removes blanks outside of quotation marks, which mean nothing (V.250 §5.2.1). Inside, a
/// backslash begins a character's number (§5.4.2.2), or escapes the next mark: firmware differs.
fn without_blanks(line: &str) -> Result<String, Unreadable> {
    let mut quoted = false;
    let mut kept = String::with_capacity(line.len());
    for c in line.chars() {
        quoted ^= c == '"';
        if quoted && c == '\\' {
            return Err(Unreadable::Quotes);
        }
        if quoted || c != ' ' {
            kept.push(c);
        }
    }
    if quoted { Err(Unreadable::Quotes) } else { Ok(kept) }
}

/// Returns the pieces between `by`, which divides nothing between quotation marks.
fn split(text: &str, by: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == by && !quoted
    })
}

/// Returns the first command of a piece, and the rest. Basic commands follow each other directly;
/// an extended or dialling command takes the whole rest.
fn next(piece: &str) -> Result<(Command, &str), Unreadable> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = piece.chars().next().unwrap_or_default();
    if PREFIXES.contains(first) {
        let after = piece.get(1..).unwrap_or_default();
        let end = after.find(|c| !is_name(c)).map_or(piece.len(), |end| end + 1);
        let (name, told) = piece.split_at_checked(end).unwrap_or((piece, ""));
        if name.len() < 2 {
            return Err(Unreadable::Form);
        }
        let (form, arguments) = form(told)?;
        return Ok((Command { name: name.to_ascii_uppercase(), form, arguments }, ""));
    }
    let letters = if matches!(first, '&' | '\\') { 2 } else { 1 };
    let (name, rest) = piece.split_at_checked(letters).ok_or(Unreadable::Form)?;
    if !name.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(Unreadable::Form);
    }
    let mut name = name.to_ascii_uppercase();
    if name == "D" {
        return Ok((Command { name, form: Form::Execute, arguments: vec![rest.to_owned()] }, ""));
    }
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if rest.starts_with(['?', '=']) {
        if name == "S" {
            name.push_str(digits);
        } else if !digits.is_empty() {
            return Err(Unreadable::Form);
        }
        let (form, arguments) = form(rest)?;
        return Ok((Command { name, form, arguments }, ""));
    }
    let arguments = if digits.is_empty() { Vec::new() } else { vec![digits.to_owned()] };
    Ok((Command { name, form: Form::Execute, arguments }, rest))
}

/// Parses the text after a name.
fn form(told: &str) -> Result<(Form, Vec<String>), Unreadable> {
    match told {
        "" => return Ok((Form::Execute, Vec::new())),
        "?" => return Ok((Form::Read, Vec::new())),
        "=?" => return Ok((Form::Test, Vec::new())),
        _ => {}
    }
    let told = told.strip_prefix('=').ok_or(Unreadable::Form)?;
    let arguments: Vec<String> = split(told, ',').map(str::to_owned).collect();
    // A quoted argument is quoted as a whole: otherwise the modem may see its end elsewhere.
    let is_whole = |argument: &String| {
        let marks = argument.matches('"').count();
        marks == 0 || (marks == 2 && argument.starts_with('"') && argument.ends_with('"'))
    };
    if arguments.iter().all(is_whole) {
        Ok((Form::Set, arguments))
    } else {
        Err(Unreadable::Quotes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(line: &str) -> Result<Vec<String>, Unreadable> {
        Ok(commands(line)?.iter().map(Command::head).collect())
    }

    #[test]
    fn a_line_is_taken_apart_as_modems_do() {
        for (line, expected) in [
            ("AT", &[][..]),
            ("at;;", &[]),
            ("AT+CSQ", &["AT+CSQ"]),
            ("at + csq ; + CFUN = 1 , 1", &["AT+CSQ", "AT+CFUN=…"]),
            ("AT+CSQ;+CFUN=1,1", &["AT+CSQ", "AT+CFUN=…"]),
            ("AT+C FUN=1,1", &["AT+CFUN=…"]),
            ("ATE0V1+CFUN=1,1", &["ATE0", "ATV1", "AT+CFUN=…"]),
            ("ATI;&F;\\Q3", &["ATI", "AT&F", "AT\\Q3"]),
            ("ATS3=10;S3?", &["ATS3=…", "ATS3?"]),
            ("ATE0Q0V1&F0Z", &["ATE0", "ATQ0", "ATV1", "AT&F0", "ATZ"]),
            ("ATD*99#;+CSQ", &["ATD*99#", "AT+CSQ"]),
            ("AT+COPS=?;+CREG?", &["AT+COPS=?", "AT+CREG?"]),
            (r#"AT+X="a;b, c";+CSQ"#, &["AT+X=…", "AT+CSQ"]),
            // Without a `;` in between it is one unknown name, which is not harmless.
            ("AT+CSQE0", &["AT+CSQE0"]),
        ] {
            assert_eq!(
                heads(line),
                Ok(expected.iter().map(|h| (*h).to_owned()).collect()),
                "{line}"
            );
        }
        let set = commands(r#"AT+X=1, "a, b",c d,"""#).unwrap();
        assert_eq!(set[0].arguments, ["1", "\"a, b\"", "cd", "\"\""]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for (line, fault) in [
            ("A/", Unreadable::NotAt),
            ("+++", Unreadable::NotAt),
            ("", Unreadable::NotAt),
            ("AT+CSQ\r+CFUN=1,1", Unreadable::NotAscii),
            ("AT+CSQ\t", Unreadable::NotAscii),
            ("AT\u{ff0b}CFUN=1,1", Unreadable::NotAscii),
            (r#"AT+X="a"#, Unreadable::Quotes),
            (r#"AT+X="a\";+CFUN=1,1"#, Unreadable::Quotes),
            (r#"AT+X="a\"b;+CFUN=1,1;""#, Unreadable::Quotes),
            (r#"AT+CGPADDR="\",";+CFUN=1,1;+X=""#, Unreadable::Quotes),
            (r#"AT+X="a"b"#, Unreadable::Quotes),
            (r#"AT+X=b"a""#, Unreadable::Quotes),
            ("AT+CSQ+CFUN=1,1", Unreadable::Form),
            ("AT+CSQ?+CFUN=1,1", Unreadable::Form),
            ("AT+CSQ?;?", Unreadable::Form),
            ("AT+", Unreadable::Form),
            ("AT&", Unreadable::Form),
            ("AT;=1", Unreadable::Form),
            ("ATE1?", Unreadable::Form),
            ("AT+CSQ|+CFUN", Unreadable::Form),
        ] {
            assert_eq!(heads(line), Err(fault), "{line}");
        }
    }
}
