//! A command line taken apart (V.250 §5.2, §5.4): which commands stand in it, each in which form.
//!
//! It is read strictly: what two modems might read differently is not read at all, so that nothing
//! hides in a line that is judged by its commands.

/// What a command is asked to do.
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
    /// Its name in capitals with what stands before it: `+CSQ`, `&F`, `E`, `S3`.
    pub(crate) name: String,
    pub(crate) form: Form,
    /// What it is told, as it stands there: commas in quotation marks divide nothing.
    pub(crate) arguments: Vec<String>,
}

/// Why a line could not be taken apart. Its words end a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not begin with `AT`.
    #[error("does not begin with AT")]
    NotAt,
    /// Letters that modems replace each in their own way, or a control byte.
    #[error("has a byte beyond printable ASCII")]
    NotAscii,
    /// A quotation mark is missing, something follows one, or a backslash stands between them.
    #[error("has quotation marks that do not pair in every reading")]
    Quotes,
    /// A command has no form that is known.
    #[error("has a command in none of the forms of V.250")]
    Form,
}

/// What may stand before the name of an extended command.
const PREFIXES: &str = "+*^$%#@!";

impl Command {
    /// The command as it may be sent, for messages: its name, and `=…` where it sets something.
    pub(crate) fn head(&self) -> String {
        let form = match self.form {
            Form::Execute => self.arguments.first().map_or("", String::as_str),
            Form::Read => "?",
            Form::Test => "=?",
            Form::Set => "=…",
        };
        format!("AT{}{form}", self.name)
    }

    /// Whether it is an extended command, which has a prefix.
    pub(crate) fn is_extended(&self) -> bool {
        self.name.starts_with(|c| PREFIXES.contains(c))
    }
}

/// Takes a line apart.
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

/// Blanks mean nothing outside of quotation marks (V.250 §5.2.1). Inside, a backslash begins a character's
/// number (§5.4.2.2), or takes its meaning from the next mark: firmware differs.
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

/// The pieces between `by`, which divides nothing between quotation marks.
fn split(text: &str, by: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == by && !quoted
    })
}

/// The first command of a piece, and what follows it. Basic commands follow each other directly; an
/// extended one or a dialling one takes the whole rest.
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

/// What follows a name.
fn form(told: &str) -> Result<(Form, Vec<String>), Unreadable> {
    match told {
        "" => return Ok((Form::Execute, Vec::new())),
        "?" => return Ok((Form::Read, Vec::new())),
        "=?" => return Ok((Form::Test, Vec::new())),
        _ => {}
    }
    let told = told.strip_prefix('=').ok_or(Unreadable::Form)?;
    let arguments: Vec<String> = split(told, ',').map(str::to_owned).collect();
    // A quoted argument is quoted as a whole: else the modem may see its end elsewhere.
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
            // No `;` between them: a name that nobody knows, and none that is harmless.
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
